//! Fresh databases for tests, on both engines: SQLite in a scratch folder, PostgreSQL where
//! `RYOKAN_TEST_POSTGRES_URL` points (a user who may create databases; the path of the URL is replaced).
//!
//! Each test gets a database of its own, dropped at the end also when the test panics. Without the variable the
//! PostgreSQL half is reported as skipped, and `RYOKAN_REFUSE_SKIPS=1` makes that a failure.

use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tempfile::TempDir;

use crate::dialect::Dialect;
use crate::dialect::postgres::target::Target;
use crate::error::{Result, StoreError};
use crate::options::{Options, StoreUrl};
use crate::store::Store;

/// A database of one test. It is empty until a store opens it.
#[derive(Debug)]
pub struct TestDatabase {
    url: StoreUrl,
    scratch: TempDir,
}

impl TestDatabase {
    /// Where the database is.
    pub fn url(&self) -> StoreUrl {
        self.url.clone()
    }

    /// Which engine it is on.
    pub fn dialect(&self) -> Dialect {
        match self.url {
            StoreUrl::Sqlite(_) => Dialect::Sqlite,
            StoreUrl::Postgres(_) => Dialect::Postgres,
        }
    }

    /// A folder that is removed after the test.
    pub fn scratch(&self) -> &std::path::Path {
        self.scratch.path()
    }

    /// Opens the database; a second call opens it as a second server would.
    pub async fn open(&self) -> Store {
        let options = Options { readers: 2, pool: 4, ..Options::new(self.url()) };
        Store::open(options).await.expect("the test's database opens")
    }
}

/// A new SQLite database in a scratch folder, for tests that need one engine only.
pub fn sqlite() -> TestDatabase {
    let scratch = TempDir::new().expect("a scratch folder");
    TestDatabase { url: StoreUrl::Sqlite(scratch.path().join("ryokan.db")), scratch }
}

/// Runs `test` on a fresh database of each engine, one after the other.
pub async fn for_each_engine<F, R>(test: F)
where
    F: Fn(Arc<TestDatabase>) -> R,
    R: Future<Output = ()>,
{
    let database = Arc::new(sqlite());
    if let Err(panic) = guarded(test(Arc::clone(&database))).await {
        report("SQLite");
        resume_unwind(panic);
    }
    on_postgres(test).await;
}

/// Runs `test` on a fresh PostgreSQL database, or reports it as skipped.
pub async fn on_postgres<F, R>(test: F)
where
    F: Fn(Arc<TestDatabase>) -> R,
    R: Future<Output = ()>,
{
    let Some(server) = setting("RYOKAN_TEST_POSTGRES_URL") else {
        return skip("PostgreSQL: RYOKAN_TEST_POSTGRES_URL is not set");
    };
    let name = format!("ryokan_test_{:016x}", RandomState::new().hash_one(std::process::id()));
    administer(&server, &format!("CREATE DATABASE {name}")).await.expect("the test server makes a database");
    let scratch = TempDir::new().expect("a scratch folder");
    let url = StoreUrl::postgres(with_database(&server, &name));
    let outcome = guarded(test(Arc::new(TestDatabase { url, scratch }))).await;
    let dropped = administer(&server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
    if let Err(panic) = outcome {
        report("PostgreSQL");
        resume_unwind(panic);
    }
    dropped.expect("the test's database is dropped");
}

/// Reports a test that cannot run here; a failure where `RYOKAN_REFUSE_SKIPS=1`.
pub fn skip(reason: &str) {
    assert!(setting("RYOKAN_REFUSE_SKIPS").as_deref() != Some("1"), "refused to skip: {reason}");
    report_line(&format!("SKIPPED: {reason}"));
}

fn report(engine: &str) {
    report_line(&format!("the test failed on {engine}"));
}

#[expect(clippy::print_stdout, reason = "a test's report")]
fn report_line(line: &str) {
    println!("{line}");
}

#[expect(clippy::disallowed_methods, reason = "the only configuration of tests")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Runs a test to its end or its panic, so that what follows can clean up.
async fn guarded(test: impl Future<Output = ()>) -> std::thread::Result<()> {
    let mut test = pin!(test);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| test.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

async fn administer(server: &str, sql: &str) -> Result<()> {
    let target = Target::parse(server, Duration::from_mins(1))?;
    let (client, driver) = target.connect().await?;
    tokio::runtime::Handle::current().spawn(async move {
        let _ = driver.await;
    });
    client.batch_execute(sql).await.map_err(StoreError::from)
}

/// The URL with another database.
fn with_database(url: &str, name: &str) -> String {
    let (place, query) = url.split_once('?').map_or((url, None), |(place, query)| (place, Some(query)));
    let (scheme, rest) = place.split_once("://").expect("RYOKAN_TEST_POSTGRES_URL is a URL");
    let host = rest.split('/').next().unwrap_or_default();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{host}/{name}{query}")
}
