//! One connection of PostgreSQL as blocking calls: connect, begin, run, commit; prepared statements are kept.
//!
//! A connection that failed is never used again: the next transaction makes a new one. Only `BEGIN` is tried twice,
//! since nothing has happened before it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Statement};

use super::target::Target;
use crate::dialect::sqlite::wrong_count;
use crate::error::{Result, StoreError};
use crate::row::Row;
use crate::value::Value;

/// What each session starts with. A transaction that its client forgot must not hold locks for ever.
const SETUP: &str = "SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '60s';
    SET client_min_messages = 'warning'; SET timezone = 'UTC'";

pub(crate) const BEGIN_WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
/// Takes its snapshot at the first statement after it.
pub(crate) const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A connection, made when it is first needed.
pub(crate) struct Session {
    pub(crate) runtime: Arc<Runtime>,
    target: Arc<Target>,
    /// How long one statement may take.
    patience: Duration,
    link: Option<Link>,
}

struct Link {
    client: Client,
    statements: HashMap<&'static str, Statement>,
}

impl Session {
    /// A session that is not connected yet, with a runtime for the calling thread alone.
    pub(crate) fn new(target: Arc<Target>) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| StoreError::Other(format!("cannot make a runtime: {error}")))?;
        let patience = target.statement_timeout;
        Ok(Self { runtime: Arc::new(runtime), target, patience, link: None })
    }

    /// A session whose statements, and waits for locks, may take as long as a migration needs.
    pub(crate) fn patient(target: Arc<Target>) -> Result<Self> {
        let mut session = Self { patience: Duration::from_hours(24), ..Self::new(target)? };
        session.begin("SET lock_timeout = 0")?;
        Ok(session)
    }

    fn connect(&mut self) -> Result<()> {
        let client = self.runtime.block_on(async {
            let (client, driver) = self.target.connect().await?;
            self.runtime.spawn(async move {
                // What ended the connection is reported to the call that was using it.
                let _ = driver.await;
            });
            timeout(self.target.statement_timeout, client.batch_execute(SETUP))
                .await
                .map_err(|_| silent())??;
            Ok::<_, StoreError>(client)
        })?;
        self.link = Some(Link { client, statements: HashMap::new() });
        Ok(())
    }

    /// Starts a transaction with `sql`, on a new connection if the old one is gone.
    pub(crate) fn begin(&mut self, sql: &str) -> Result<()> {
        let reused = self.link.as_ref().is_some_and(|link| !link.client.is_closed());
        if !reused {
            self.connect()?;
        }
        match self.batch(sql) {
            Err(error) if reused && error.breaks_connection() => {
                self.connect()?;
                self.batch(sql)
            }
            outcome => outcome,
        }
    }

    /// Ends the transaction with `COMMIT` or `ROLLBACK`.
    pub(crate) fn end(&mut self, sql: &str) -> Result<()> {
        self.batch(sql).inspect_err(|_| self.link = None)
    }

    pub(crate) fn batch(&mut self, sql: &str) -> Result<()> {
        let link = self.link.as_ref().ok_or_else(gone)?;
        let outcome = wait(&self.runtime, self.patience, link.client.batch_execute(sql));
        self.settle(outcome)
    }

    pub(crate) fn execute(&mut self, sql: &'static str, params: &[Value]) -> Result<u64> {
        let statement = self.prepare(sql, params.len())?;
        let link = self.link.as_ref().ok_or_else(gone)?;
        let outcome = wait(&self.runtime, self.patience, link.client.execute_raw(&statement, refs(params)));
        self.forget_if_stale(sql, &outcome);
        self.settle(outcome)
    }

    pub(crate) fn query(&mut self, sql: &'static str, params: &[Value]) -> Result<Vec<Row>> {
        let statement = self.prepare(sql, params.len())?;
        let link = self.link.as_ref().ok_or_else(gone)?;
        let given: Vec<&(dyn ToSql + Sync)> =
            params.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        let outcome = wait(&self.runtime, self.patience, link.client.query(&statement, &given));
        self.forget_if_stale(sql, &outcome);
        let rows = self.settle(outcome)?;
        let columns: Arc<[String]> =
            statement.columns().iter().map(|column| column.name().to_owned()).collect();
        rows.iter()
            .map(|row| {
                let values: Result<Vec<Value>> = (0..columns.len()).map(|index| column(row, index)).collect();
                Ok(Row::new(Arc::clone(&columns), values?))
            })
            .collect()
    }

    fn prepare(&mut self, sql: &'static str, given: usize) -> Result<Statement> {
        let link = self.link.as_mut().ok_or_else(gone)?;
        let statement = if let Some(statement) = link.statements.get(sql) {
            statement.clone()
        } else {
            let outcome = wait(&self.runtime, self.patience, link.client.prepare(sql));
            if let Ok(Ok(statement)) = &outcome {
                link.statements.insert(sql, statement.clone());
            }
            self.settle(outcome)?
        };
        // The driver would panic.
        if statement.params().len() != given {
            return Err(wrong_count(statement.params().len(), given));
        }
        Ok(statement)
    }

    /// A statement whose tables another server has migrated must be prepared again.
    fn forget_if_stale<T>(&mut self, sql: &'static str, outcome: &Outcome<T>) {
        let Ok(Err(error)) = outcome else { return };
        let stale = [&SqlState::FEATURE_NOT_SUPPORTED, &SqlState::INVALID_SQL_STATEMENT_NAME];
        if error.code().is_some_and(|code| stale.contains(&code))
            && let Some(link) = self.link.as_mut()
        {
            link.statements.remove(sql);
        }
    }

    fn settle<T>(&mut self, outcome: Outcome<T>) -> Result<T> {
        let outcome = match outcome {
            Ok(answer) => answer.map_err(StoreError::from),
            Err(_) => Err(silent()),
        };
        outcome.inspect_err(|error| {
            if error.breaks_connection() {
                self.link = None;
            }
        })
    }
}

type Outcome<T> =
    std::result::Result<std::result::Result<T, tokio_postgres::Error>, tokio::time::error::Elapsed>;

fn wait<T>(
    runtime: &Runtime,
    patience: Duration,
    call: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
) -> Outcome<T> {
    runtime.block_on(async { timeout(patience, call).await })
}

fn refs(params: &[Value]) -> impl ExactSizeIterator<Item = &Value> {
    params.iter()
}

fn silent() -> StoreError {
    StoreError::Unavailable("PostgreSQL does not answer".into())
}

fn gone() -> StoreError {
    StoreError::Unavailable("PostgreSQL: the connection was lost".into())
}

/// One column as a value of ours.
fn column(row: &tokio_postgres::Row, index: usize) -> Result<Value> {
    let column = &row.columns()[index];
    let value = match *column.type_() {
        Type::BOOL => row.try_get::<_, Option<bool>>(index)?.map(Value::Bool),
        Type::INT8 => row.try_get::<_, Option<i64>>(index)?.map(Value::Int),
        Type::INT4 => row.try_get::<_, Option<i32>>(index)?.map(|value| Value::Int(value.into())),
        Type::INT2 => row.try_get::<_, Option<i16>>(index)?.map(|value| Value::Int(value.into())),
        Type::TEXT | Type::VARCHAR | Type::NAME | Type::BPCHAR | Type::UNKNOWN => {
            row.try_get::<_, Option<String>>(index)?.map(Value::Text)
        }
        Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(index)?.map(Value::Bytes),
        // `pg_advisory_xact_lock` and the like.
        Type::VOID => None,
        // A sum of BIGINT is NUMERIC: `CAST(sum(x) AS BIGINT)`.
        _ => {
            return Err(StoreError::Decode {
                column: column.name().to_owned(),
                expected: "BOOLEAN, BIGINT, TEXT or BYTEA: CAST it in the query",
            });
        }
    };
    Ok(value.unwrap_or(Value::Null))
}
