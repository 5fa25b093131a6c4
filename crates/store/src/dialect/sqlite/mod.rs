//! SQLite: connections with the pragmas that durability rests on, and statements on them.

pub(crate) mod reader;
pub(crate) mod writer;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, OpenFlags};

use crate::error::{Result, StoreError};
use crate::row::Row;
use crate::value::Value;

/// How long to wait for another process (a backup, an operator's shell) that holds the write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Statements kept prepared a connection; above the number of distinct queries of ours.
const STATEMENTS: usize = 512;

/// The connection that writes; makes the file, readable by its owner only.
pub(crate) fn open_writer(path: &Path) -> Result<Connection> {
    let made = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    made.map_err(|error| StoreError::Unavailable(format!("cannot open {}: {error}", path.display())))?;
    let connection = Connection::open(path)?;
    prepare(&connection)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::Other(format!(
            "SQLite cannot use a write-ahead log at {} (got {mode}): a network file system?",
            path.display()
        )));
    }
    // FULL: a commit is on the disk before it is acknowledged. A WAL that once grew is cut back to 64 MiB.
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 67108864")?;
    Ok(connection)
}

/// A connection that cannot write.
pub(crate) fn open_reader(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    prepare(&connection)?;
    connection.execute_batch("PRAGMA query_only = ON")?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.execute_batch(
        "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16000",
    )?;
    Ok(())
}

/// See [`crate::Tx::execute`].
pub(crate) fn execute(connection: &Connection, sql: &str, params: &[Value]) -> Result<u64> {
    let step = || -> Result<u64> {
        let mut statement = bind(connection, sql, params)?;
        let mut returned = 0;
        let mut rows = statement.raw_query();
        while rows.next()?.is_some() {
            returned += 1;
        }
        drop(rows);
        Ok(if statement.readonly() { returned } else { connection.changes() })
    };
    step().map_err(|error| name_constraint(connection, error))
}

/// See [`crate::Tx::query`].
pub(crate) fn query(connection: &Connection, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
    let step = || -> Result<Vec<Row>> {
        let mut statement = bind(connection, sql, params)?;
        let mut columns: Option<Arc<[String]>> = None;
        let mut found = Vec::new();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let columns = columns
                .get_or_insert_with(|| row.as_ref().column_names().map(ToOwned::to_owned).collect())
                .clone();
            let mut values = Vec::with_capacity(columns.len());
            for (index, column) in columns.iter().enumerate() {
                values.push(match row.get_ref(index)? {
                    ValueRef::Null => Value::Null,
                    ValueRef::Integer(value) => Value::Int(value),
                    ValueRef::Text(text) => Value::Text(
                        std::str::from_utf8(text)
                            .map_err(|_| StoreError::Decode { column: column.clone(), expected: "UTF-8" })?
                            .to_owned(),
                    ),
                    ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
                    ValueRef::Real(_) => {
                        return Err(StoreError::Decode {
                            column: column.clone(),
                            expected: "free of floats",
                        });
                    }
                });
            }
            found.push(Row::new(columns, values));
        }
        Ok(found)
    };
    step().map_err(|error| name_constraint(connection, error))
}

/// Binds by name: SQLite numbers `$n` by first appearance, and PostgreSQL by n.
fn bind<'c>(connection: &'c Connection, sql: &str, params: &[Value]) -> Result<CachedStatement<'c>> {
    let mut statement = connection.prepare_cached(sql)?;
    if statement.parameter_count() != params.len() {
        return Err(wrong_count(statement.parameter_count(), params.len()));
    }
    for index in 1..=params.len() {
        let number =
            statement.parameter_name(index).and_then(|name| name.strip_prefix('$')?.parse::<usize>().ok());
        let value = number.and_then(|number| params.get(number.checked_sub(1)?));
        let value =
            value.ok_or_else(|| StoreError::Other("a statement's parameters are not $1, $2, …".into()))?;
        statement.raw_bind_parameter(index, value)?;
    }
    Ok(statement)
}

/// What both engines say when a call gives too many or too few parameters.
pub(crate) fn wrong_count(expected: usize, given: usize) -> StoreError {
    StoreError::Other(format!("the statement takes {expected} parameters, {given} were given"))
}

/// SQLite names the columns of a violated unique index, PostgreSQL the index: finds the index by its columns. Indexes
/// without a name of their own get the one that PostgreSQL would give.
fn name_constraint(connection: &Connection, error: StoreError) -> StoreError {
    let StoreError::UniqueViolation { constraint } = &error else { return error };
    if let Some(index) = constraint.strip_prefix("index '").and_then(|rest| rest.strip_suffix('\'')) {
        return StoreError::UniqueViolation { constraint: index.to_owned() };
    }
    let Some((table, _)) = constraint.split_once('.') else { return error };
    let columns: Vec<&str> =
        constraint.split(", ").filter_map(|part| part.split_once('.').map(|(_, column)| column)).collect();
    let unnamed = |origin: &str| match origin {
        "u" => format!("{table}_{}_key", columns.join("_")),
        _ => format!("{table}_pkey"),
    };
    let found = || -> rusqlite::Result<Option<String>> {
        let mut indexes = connection.prepare_cached(
            "SELECT l.name, l.origin, (SELECT group_concat(name, ' ') FROM
                (SELECT name FROM pragma_index_info(l.name) ORDER BY seqno)) AS columns
             FROM pragma_index_list($table) AS l WHERE l.\"unique\" = 1",
        )?;
        let mut rows = indexes.query([table])?;
        while let Some(row) = rows.next()? {
            let (name, origin, of): (String, String, Option<String>) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            if of.as_deref() == Some(columns.join(" ").as_str()) {
                return Ok(Some(if origin == "c" { name } else { unnamed(&origin) }));
            }
        }
        Ok(None)
    };
    let constraint = found().ok().flatten().unwrap_or_else(|| unnamed("pk"));
    StoreError::UniqueViolation { constraint }
}
