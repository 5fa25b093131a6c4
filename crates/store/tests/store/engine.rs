//! Transactions: values, rows, errors, rollback, panics, callers that go away, concurrency.

use std::time::Duration;

use ryokan_store::test_util::for_each_engine;
use ryokan_store::{Change, Dialect, Store, StoreError, Tx, params};

type Result<T> = std::result::Result<T, StoreError>;

/// A table of the test's own. Returns the open store.
async fn with_table(store: Store) -> Store {
    store
        .write(|tx| {
            let blob = if tx.dialect() == Dialect::Sqlite {
                "CREATE TABLE thing (id TEXT PRIMARY KEY, n BIGINT, flag BOOLEAN, data BLOB, name TEXT)"
            } else {
                "CREATE TABLE thing (id TEXT PRIMARY KEY, n BIGINT, flag BOOLEAN, data BYTEA, name TEXT)"
            };
            tx.execute(blob, params![])?;
            tx.execute("CREATE UNIQUE INDEX thing_name ON thing (name) WHERE name IS NOT NULL", params![])?;
            tx.execute(
                "CREATE TABLE part (id BIGINT PRIMARY KEY, thing TEXT NOT NULL REFERENCES thing (id),
                    size BIGINT CONSTRAINT part_size CHECK (size > 0))",
                params![],
            )?;
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
    store
}

fn insert(tx: &mut Tx<'_>, id: &str) -> Result<u64> {
    tx.execute("INSERT INTO thing (id) VALUES ($1)", params![id])
}

async fn count(store: &Store) -> i64 {
    store.read(|tx| tx.query_one("SELECT count(*) AS n FROM thing", params![])?.int("n")).await.unwrap()
}

#[tokio::test]
async fn values_come_back_as_they_were() {
    for_each_engine(|database| async move {
        let store = with_table(database.open().await).await;
        store
            .write(|tx| {
                // Placeholders out of order and repeated: bound by number on both engines.
                tx.execute(
                    "INSERT INTO thing (name, data, flag, n, id) VALUES ($5, $4, $3, $2, $1)",
                    params!["a", i64::MIN, true, vec![0_u8, 255], "naïve ☃"],
                )?;
                tx.execute(
                    "INSERT INTO thing (id, n, flag, data, name) VALUES ($1, $2, $3, $4, $5)",
                    params!["b", None::<i64>, None::<bool>, None::<Vec<u8>>, None::<&str>],
                )
            })
            .await
            .unwrap();
        let rows = store.read(|tx| tx.query("SELECT * FROM thing ORDER BY id", params![])).await.unwrap();
        assert_eq!(rows[0].int("n").unwrap(), i64::MIN);
        assert!(rows[0].bool("flag").unwrap());
        assert_eq!(rows[0].bytes("data").unwrap(), [0, 255]);
        assert_eq!(rows[0].text("name").unwrap(), "naïve ☃");
        assert_eq!(rows[1].opt_int("n").unwrap(), None);
        assert_eq!(rows[1].opt_bool("flag").unwrap(), None);
        assert_eq!(rows[1].opt_bytes("data").unwrap(), None);
        assert!(matches!(rows[1].text("name"), Err(StoreError::Decode { .. })));
        assert!(matches!(rows[1].text("nothing"), Err(StoreError::Decode { .. })));
        let found = store
            .read(|tx| {
                tx.query(
                    "SELECT id FROM thing WHERE id IN (SELECT value FROM json_each(CAST($1 AS TEXT)))
                     AND (CAST($2 AS TEXT) IS NULL OR id = $2) LIMIT $3",
                    params![r#"["a","c"]"#, None::<&str>, 5],
                )
            })
            .await
            .unwrap();
        assert_eq!(found.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn errors_are_the_same_on_both_engines() {
    for_each_engine(|database| async move {
        let store = with_table(database.open().await).await;
        let failing = |sql: &'static str| {
            let store = store.clone();
            async move { store.write(move |tx| tx.execute(sql, params![])).await.unwrap_err() }
        };
        let unique = |constraint: &str| StoreError::UniqueViolation { constraint: constraint.into() };
        failing("INSERT INTO thing (id, nothing) VALUES ('a', 1)").await;
        store
            .write(|tx| tx.execute("INSERT INTO thing (id, name) VALUES ('a', 'x')", params![]))
            .await
            .unwrap();
        assert_eq!(failing("INSERT INTO thing (id) VALUES ('a')").await, unique("thing_pkey"));
        assert_eq!(failing("INSERT INTO thing (id, name) VALUES ('b', 'x')").await, unique("thing_name"));
        assert_eq!(failing("INSERT INTO part (id, thing) VALUES (1, 'none')").await, StoreError::ForeignKey);
        store
            .write(|tx| tx.execute("INSERT INTO part (id, thing) VALUES (1, 'a')", params![]))
            .await
            .unwrap();
        assert_eq!(failing("INSERT INTO part (id, thing) VALUES (1, 'a')").await, unique("part_pkey"));
        assert_eq!(failing("DELETE FROM thing").await, StoreError::ForeignKey);
        let check = |constraint: &str| StoreError::Check { constraint: constraint.into() };
        assert_eq!(
            failing("INSERT INTO part (id, thing, size) VALUES (2, 'a', 0)").await,
            check("part_size")
        );
        assert_eq!(failing("INSERT INTO part (id, thing) VALUES (2, NULL)").await, check("part.thing"));
        let written = store.read(|tx| insert(tx, "c")).await;
        assert_eq!(written, Err(StoreError::ReadOnly));
        let missing = store.read(|tx| tx.query_one("SELECT id FROM thing WHERE id = 'z'", params![])).await;
        assert_eq!(missing.unwrap_err(), StoreError::NotFound);
        for params in [params![].to_vec(), params!["a", "b"].to_vec()] {
            let wrong = store.read(move |tx| tx.query("SELECT id FROM thing WHERE id = $1", &params)).await;
            assert!(matches!(wrong, Err(StoreError::Other(_))));
        }
        assert_eq!(count(&store).await, 1);
    })
    .await;
}

#[tokio::test]
async fn no_error_repeats_a_value() {
    for_each_engine(|database| async move {
        let store = with_table(database.open().await).await;
        store.write(|tx| insert(tx, "hunter2")).await.unwrap();
        let errors = [
            store.write(|tx| insert(tx, "hunter2")).await.unwrap_err(),
            store
                .write(|tx| {
                    tx.execute("INSERT INTO thing (id, n) VALUES ('x', CAST($1 AS TEXT))", params!["hunter2"])
                })
                .await
                .err()
                .unwrap_or(StoreError::Busy),
            store
                .read(|tx| tx.query("SELECT n FROM thing WHERE n = $1", params![vec![1_u8; 3]]))
                .await
                .err()
                .unwrap_or(StoreError::Busy),
        ];
        for error in errors {
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_failed_statement_ends_the_transaction_unless_in_a_savepoint() {
    for_each_engine(|database| async move {
        let store = with_table(database.open().await).await;
        let ignored: Result<()> = store
            .write(|tx| {
                insert(tx, "a")?;
                let _ = insert(tx, "a");
                assert_eq!(insert(tx, "b"), Err(StoreError::Aborted));
                Ok(())
            })
            .await;
        assert_eq!(ignored, Err(StoreError::Aborted));
        assert_eq!(count(&store).await, 0);
        store
            .write(|tx| {
                insert(tx, "a")?;
                let inner: Result<()> = tx.savepoint(|tx| {
                    insert(tx, "lost")?;
                    insert(tx, "a").map(drop)
                });
                assert!(matches!(inner, Err(StoreError::UniqueViolation { .. })));
                tx.savepoint(|tx| insert(tx, "b"))
            })
            .await
            .unwrap();
        assert_eq!(count(&store).await, 2);
    })
    .await;
}

#[tokio::test]
async fn a_panic_rolls_back_and_the_store_lives() {
    for_each_engine(|database| async move {
        let store = with_table(database.open().await).await;
        for _ in 0..10 {
            let panicked: Result<()> = store
                .write(|tx| {
                    insert(tx, "a")?;
                    panic!("a panic that the test wants")
                })
                .await;
            assert_eq!(panicked, Err(StoreError::Panicked));
            let panicked: Result<()> = store.read(|_| panic!("a panic that the test wants")).await;
            assert_eq!(panicked, Err(StoreError::Panicked));
        }
        assert_eq!(count(&store).await, 0);
        store.write(|tx| insert(tx, "a")).await.unwrap();
        assert_eq!(count(&store).await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_write_outlives_its_caller() {
    for_each_engine(|database| async move {
        let store = with_table(database.open().await).await;
        let (entered, wait) = std::sync::mpsc::channel::<()>();
        let (started, has_started) = tokio::sync::oneshot::channel();
        let call = store.write(move |tx| {
            started.send(()).unwrap();
            insert(tx, "a")?;
            wait.recv().unwrap();
            insert(tx, "b")
        });
        tokio::select! {
            biased;
            _ = call => panic!("the write cannot have ended"),
            _ = has_started => {}
        }
        // The future is dropped here, half-way through the transaction.
        entered.send(()).unwrap();
        store.close().await;
        assert_eq!(count(&database.open().await).await, 2);
        assert_eq!(store.write(|tx| insert(tx, "c")).await, Err(StoreError::Closed));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_200_writers_one_wins_each_name() {
    for_each_engine(|database| async move {
        let store = with_table(database.open().await).await;
        let mut calls = tokio::task::JoinSet::new();
        for writer in 0..200 {
            let store = store.clone();
            calls.spawn(async move {
                store
                    .write(move |tx| {
                        let (id, name) = (format!("id-{writer}"), format!("name-{}", writer % 10));
                        tx.execute("INSERT INTO thing (id, name) VALUES ($1, $2)", params![id, name])
                    })
                    .await
            });
        }
        let outcomes = calls.join_all().await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 10);
        let lost = StoreError::UniqueViolation { constraint: "thing_name".into() };
        assert_eq!(outcomes.iter().filter(|outcome| *outcome == &Err(lost.clone())).count(), 190);
        assert_eq!(count(&store).await, 10);
    })
    .await;
}

#[tokio::test]
async fn reads_see_one_snapshot() {
    for_each_engine(|database| async move {
        let store = with_table(database.open().await).await;
        let (looked, first) = tokio::sync::oneshot::channel();
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let reading = store.read(move |tx| {
            let before = tx.query("SELECT id FROM thing", params![])?.len();
            looked.send(()).unwrap();
            wait.recv().unwrap();
            Ok::<_, StoreError>((before, tx.query("SELECT id FROM thing", params![])?.len()))
        });
        let writing = async {
            first.await.unwrap();
            store.write(|tx| insert(tx, "a")).await.unwrap();
            go_on.send(()).unwrap();
        };
        assert_eq!(tokio::join!(reading, writing).0.unwrap(), (0, 0));
        assert_eq!(count(&store).await, 1);
    })
    .await;
}

#[tokio::test]
async fn changes_are_told_after_the_commit_only() {
    for_each_engine(|database| async move {
        let store = with_table(database.open().await).await;
        let mut changes = store.subscribe();
        let failed: Result<()> = store
            .write(|tx| {
                tx.notify("lost");
                Err(StoreError::NotFound)
            })
            .await;
        assert!(failed.is_err());
        store
            .write(|tx| {
                tx.notify("things");
                insert(tx, "a")
            })
            .await
            .unwrap();
        let change = tokio::time::timeout(Duration::from_secs(10), changes.next()).await.unwrap();
        assert_eq!(change, Some(Change::Topic("things".into())));
        assert_eq!(count(&store).await, 1);
        let waiting = tokio::time::timeout(Duration::from_millis(50), changes.next()).await;
        assert!(waiting.is_err(), "one signal a topic and transaction");
    })
    .await;
}
