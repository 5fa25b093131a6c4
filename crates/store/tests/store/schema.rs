//! Opening: both engines have the same tables, and a database of another version is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ryokan_store::test_util::{for_each_engine, on_postgres, sqlite};
use ryokan_store::{Dialect, Options, Store, StoreError, StoreUrl, params};

/// Column, type in our terms, NOT NULL.
type Columns = BTreeSet<(String, &'static str, bool)>;

fn kind(engine_type: &str) -> &'static str {
    match engine_type.to_ascii_lowercase().as_str() {
        // SQLite's STRICT tables know no booleans.
        "integer" | "bigint" | "boolean" => "integer",
        "text" => "text",
        "blob" | "bytea" => "bytes",
        other => panic!("a column of type {other}: use TEXT, BIGINT, BOOLEAN or BYTEA/BLOB"),
    }
}

/// Tables with their columns, and the names of indexes.
async fn schema(store: &Store) -> (BTreeMap<String, Columns>, BTreeSet<String>) {
    let (columns, indexes) = match store.dialect() {
        Dialect::Sqlite => (
            "SELECT t.name AS tab, c.name AS col, c.type AS typ, c.\"notnull\" = 1 OR c.pk > 0 AS required
             FROM sqlite_schema AS t, pragma_table_info(t.name) AS c
             WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
            "SELECT name FROM sqlite_schema WHERE type = 'index' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
        ),
        Dialect::Postgres => (
            "SELECT CAST(table_name AS TEXT) AS tab, CAST(column_name AS TEXT) AS col, CAST(data_type AS TEXT) AS typ,
                is_nullable = 'NO' AS required
             FROM information_schema.columns WHERE table_schema = 'public'",
            "SELECT i.relname AS name FROM pg_index JOIN pg_class AS i ON i.oid = indexrelid
             JOIN pg_namespace AS n ON n.oid = i.relnamespace
             WHERE n.nspname = 'public' AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid)",
        ),
    };
    store
        .read(move |tx| {
            let mut tables: BTreeMap<String, Columns> = BTreeMap::new();
            for row in tx.query(columns, params![])? {
                let column = (row.text("col")?, kind(&row.text("typ")?), row.bool("required")?);
                tables.entry(row.text("tab")?).or_default().insert(column);
            }
            let names =
                tx.query(indexes, params![])?.iter().map(|row| row.text("name")).collect::<Result<_, _>>()?;
            Ok::<_, StoreError>((tables, names))
        })
        .await
        .unwrap()
}

#[tokio::test]
async fn both_engines_have_the_same_tables_and_indexes() {
    on_postgres(|database| async move {
        let embedded = sqlite();
        let (one, two) = (schema(&embedded.open().await).await, schema(&database.open().await).await);
        assert!(one.0.contains_key("jobs") && one.0.contains_key("migrations"));
        assert_eq!(one.0, two.0);
        assert_eq!(one.1, two.1);
    })
    .await;
}

#[tokio::test]
async fn opening_again_changes_nothing_and_others_are_refused() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        let before = store.read(|tx| tx.query("SELECT applied_at FROM migrations", params![])).await.unwrap();
        let again = database.open().await;
        let after = again.read(|tx| tx.query("SELECT applied_at FROM migrations", params![])).await.unwrap();
        assert_eq!(before.len(), after.len());
        let reopen = || Store::open(Options::new(database.url()));
        let known = i64::try_from(before.len()).unwrap();
        let newer =
            "INSERT INTO migrations (version, name, checksum, applied_at) VALUES ($1, 'later', 'x', 0)";
        store.write(move |tx| tx.execute(newer, params![known + 1])).await.unwrap();
        assert_eq!(reopen().await.unwrap_err(), StoreError::NewerSchema { found: known + 1, known });
        store
            .write(move |tx| {
                tx.execute("DELETE FROM migrations WHERE version = $1", params![known + 1])?;
                tx.execute("UPDATE migrations SET checksum = 'edited' WHERE version = 1", params![])
            })
            .await
            .unwrap();
        let changed = StoreError::MigrationChanged { version: 1, applied: "0001_engine".into() };
        assert_eq!(reopen().await.unwrap_err(), changed);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_servers_may_open_an_empty_database_at_once() {
    for_each_engine(|database| async move {
        let mut opening = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let url = database.url();
            opening.spawn(Store::open(Options { pool: 1, ..Options::new(url) }));
        }
        for store in opening.join_all().await {
            store.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_opened_says_why_without_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage.db");
    std::fs::write(&garbage, "this is no database, whatever its name says ".repeat(100)).unwrap();
    let open = |url: StoreUrl| {
        Store::open(Options { statement_timeout: Duration::from_secs(5), ..Options::new(url) })
    };
    assert!(matches!(open(StoreUrl::Sqlite(garbage)).await, Err(StoreError::Corrupt(_))));
    let missing = folder.path().join("no/such/folder.db");
    assert!(matches!(open(StoreUrl::Sqlite(missing)).await, Err(StoreError::Unavailable(_))));
    for url in [
        "postgres://ada:hunter2@127.0.0.1:1/ryokan",
        "postgres://ada:hunter2@127.0.0.1:1/ryokan?sslmode=hunter2",
        "postgres://ada:hunter2@127.0.0.1:port/ryokan",
        "postgres://ada:hunter2@127.0.0.1:1/ryokan?sslmode=verify-full&sslrootcert=/no/such/file",
        "postgres://ada:hunter2@127.0.0.1:1/ryokan?hunter2=1",
    ] {
        let parsed: StoreUrl = url.parse().unwrap();
        let shown = format!("{parsed} {:?}", Options::new(parsed.clone()));
        let error = open(parsed).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_) | StoreError::Other(_)), "{error}");
        assert!(!format!("{error} {error:?} {shown}").contains("hunter2"), "{error} {shown}");
    }
    for (url, shown) in [
        ("postgres://ada:a?b@c@db.example/ryokan", "postgres:///"),
        ("postgres://ada:hunter2@db.example:5/ryokan?sslmode=verify-full", "postgres://db.example/ryokan"),
        ("postgres://db.example/ryokan?password=a@b", "postgres://db.example/ryokan"),
    ] {
        assert_eq!(url.parse::<StoreUrl>().unwrap().to_string(), shown);
    }
    assert!(!"postgre://ada:hunter2@host/".parse::<StoreUrl>().unwrap_err().contains("hunter2"));
    let file = folder.path().join("mode.db");
    Store::open(Options::new(StoreUrl::Sqlite(file.clone()))).await.unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}
