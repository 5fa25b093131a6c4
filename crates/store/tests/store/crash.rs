//! What was acknowledged is there: after `kill -9` of our process, a full disk, and a database server that dies.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ryokan_store::test_util::{for_each_engine, skip, sqlite};
use ryokan_store::{Change, Dialect, Options, Store, StoreError, StoreUrl, params};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::postgres_server::PostgresServer;

/// Tells the child what to open.
const CHILD: &str = "RYOKAN_CRASH_CHILD";

async fn make_tables(store: &Store) {
    store
        .write(|tx| {
            tx.execute("CREATE TABLE one (id TEXT PRIMARY KEY, body TEXT)", params![])?;
            tx.execute("CREATE TABLE two (id TEXT PRIMARY KEY)", params![])
        })
        .await
        .unwrap();
}

/// One row in each of two tables: half of it must never be seen.
async fn write_pair(store: &Store, id: String, body: usize) -> Result<(), StoreError> {
    store
        .write(move |tx| {
            tx.execute("INSERT INTO one (id, body) VALUES ($1, $2)", params![&id, "x".repeat(body)])?;
            tx.execute("INSERT INTO two (id) VALUES ($1)", params![&id]).map(drop)
        })
        .await
}

/// Every acknowledged row is there, and no transaction is there by half.
async fn check_pairs(store: &Store, acknowledged: &HashSet<String>) {
    let ids = |sql: &'static str| async move {
        let rows = store.read(move |tx| tx.query(sql, params![])).await.unwrap();
        rows.iter().map(|row| row.text("id").unwrap()).collect::<HashSet<String>>()
    };
    let (one, two) = (ids("SELECT id FROM one").await, ids("SELECT id FROM two").await);
    assert_eq!(one, two);
    let lost: Vec<&String> = acknowledged.difference(&one).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}

#[tokio::test]
async fn a_killed_server_loses_nothing_acknowledged() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        make_tables(&store).await;
        store.close().await;
        let url = match database.url() {
            StoreUrl::Sqlite(path) => format!("sqlite:{}", path.display()),
            StoreUrl::Postgres(url) => url.to_string(),
        };
        let mut acknowledged = HashSet::new();
        for round in 0..3 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "crash::child_of_a_crash_test", "--ignored", "--nocapture"])
                .env(CHILD, format!("{round} {url}"))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut here = 0;
            while here < 200 {
                let line = lines.next().expect("the child writes until it is killed").unwrap();
                if let Some(id) = line.strip_prefix("acknowledged ") {
                    acknowledged.insert(id.to_owned());
                    here += 1;
                }
            }
            child.kill().unwrap();
            // What it said before it died counts; its last line may be cut.
            let rest = lines.map_while(Result::ok).filter_map(|line| {
                Some(line.strip_prefix("acknowledged ")?.strip_suffix('.')?.to_owned() + ".")
            });
            acknowledged.extend(rest);
            child.wait().unwrap();
            check_pairs(&database.open().await, &acknowledged).await;
        }
        assert!(acknowledged.len() >= 600);
    })
    .await;
}

/// Not a test: what is killed above. Says `acknowledged <id>` after each write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by a_killed_server_loses_nothing_acknowledged"]
async fn child_of_a_crash_test() {
    #[expect(clippy::disallowed_methods, reason = "how the parent tells its child what to do")]
    let Ok(task) = std::env::var(CHILD) else { return };
    let (round, url) = task.split_once(' ').unwrap();
    let store = Store::open(Options::new(url.parse().unwrap())).await.unwrap();
    let mut writers = JoinSet::new();
    for writer in 0..16 {
        let (store, round) = (store.clone(), round.to_owned());
        writers.spawn(async move {
            for number in 0.. {
                let id = format!("{round}-{writer}-{number}.");
                write_pair(&store, id.clone(), 100).await.unwrap();
                let mut out = std::io::stdout().lock();
                out.write_all(format!("acknowledged {id}\n").as_bytes()).unwrap();
                out.flush().unwrap();
            }
        });
    }
    writers.join_all().await;
}

#[tokio::test]
async fn sqlite_flushes_each_commit() {
    let store = sqlite().open().await;
    let pragma = |sql: &'static str| {
        let store = store.clone();
        async move {
            let row = store.write(move |tx| tx.query_one(sql, params![])).await.unwrap();
            row.opt_int("synchronous").or_else(|_| row.opt_int("foreign_keys")).unwrap().unwrap()
        }
    };
    assert_eq!(pragma("PRAGMA synchronous").await, 2, "FULL");
    assert_eq!(pragma("PRAGMA foreign_keys").await, 1);
}

/// Writes from several callers until the disk is full, makes room, and checks that all is well.
async fn fill_and_recover<R: Future<Output = ()>>(store: &Store, make_room: impl FnOnce() -> R) {
    let acknowledged = Arc::new(std::sync::Mutex::new(HashSet::new()));
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let (store, acknowledged) = (store.clone(), Arc::clone(&acknowledged));
        writers.spawn(async move {
            for number in 0..5000 {
                let id = format!("{writer}-{number}");
                match write_pair(&store, id.clone(), 4000).await {
                    Ok(()) => drop(acknowledged.lock().unwrap().insert(id)),
                    Err(error) => return error,
                }
            }
            panic!("the disk never filled");
        });
    }
    for error in writers.join_all().await {
        assert_eq!(error, StoreError::DiskFull);
        assert!(error.is_retryable());
    }
    let mut acknowledged = acknowledged.lock().unwrap().clone();
    assert!(!acknowledged.is_empty());
    // Reading goes on while the disk is full.
    check_pairs(store, &acknowledged).await;
    assert_eq!(write_pair(store, "still full".into(), 500_000).await, Err(StoreError::DiskFull));
    make_room().await;
    for number in 0..20 {
        let id = format!("after-{number}");
        write_pair(store, id.clone(), 4000).await.unwrap();
        acknowledged.insert(id);
    }
    check_pairs(store, &acknowledged).await;
    let fine = store.read(|tx| tx.query_one("PRAGMA quick_check", params![])).await.unwrap();
    assert_eq!(fine.text("quick_check").unwrap(), "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_database_recovers_once_there_is_room() {
    let database = sqlite();
    let store = database.open().await;
    make_tables(&store).await;
    let limit = |sql: &'static str| {
        let store = store.clone();
        async move { drop(store.write(move |tx| tx.query(sql, params![])).await.unwrap()) }
    };
    limit("PRAGMA max_page_count = 400").await;
    fill_and_recover(&store, || limit("PRAGMA max_page_count = 1000000")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_recovers_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let mount = |options: &str| {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder.path()).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success())
    };
    if !mount("size=4m") {
        return skip("a full disk: a tmpfs cannot be mounted here");
    }
    let _unmount = Unmount(folder.path());
    let path = folder.path().join("ryokan.db");
    let store = Store::open(Options::new(StoreUrl::Sqlite(path))).await.unwrap();
    make_tables(&store).await;
    fill_and_recover(&store, || async { assert!(mount("remount,size=64m")) }).await;
    store.close().await;
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_server_that_is_killed_and_comes_back_loses_nothing() {
    let Some(mut server) = PostgresServer::start() else {
        return skip("PostgreSQL's programs are not installed");
    };
    let options = Options { pool: 4, ..Options::new(server.url()) };
    let store = Store::open(options).await.unwrap();
    assert_eq!(store.dialect(), Dialect::Postgres);
    make_tables(&store).await;
    let mut changes = store.subscribe();
    let leader = store.leader("loop").await.unwrap();
    let acknowledged = Arc::new(std::sync::Mutex::new(HashSet::new()));
    let (count, refused, stop) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let (store, acknowledged) = (store.clone(), Arc::clone(&acknowledged));
        let (count, refused, stop) = (Arc::clone(&count), Arc::clone(&refused), Arc::clone(&stop));
        writers.spawn(async move {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let id = format!("{writer}-{number}");
                match write_pair(&store, id.clone(), 100).await {
                    Ok(()) => {
                        acknowledged.lock().unwrap().insert(id);
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => {
                        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
                        refused.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            }
        });
    }
    let reaches = |what: &Arc<AtomicUsize>, goal: usize| {
        let what = Arc::clone(what);
        async move {
            while what.load(Ordering::Relaxed) < goal {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let patience = Duration::from_mins(1);
    for _ in 0..2 {
        timeout(patience, reaches(&count, count.load(Ordering::Relaxed) + 200)).await.unwrap();
        server.kill();
        timeout(patience, reaches(&refused, refused.load(Ordering::Relaxed) + 8)).await.unwrap();
        assert!(matches!(store.read(|tx| tx.setting("x")).await, Err(StoreError::Unavailable(_))));
        server.restart();
        timeout(patience, reaches(&count, count.load(Ordering::Relaxed) + 200)).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    timeout(patience, leader.lost()).await.expect("the leadership ended with its connection");
    assert!(!leader.is_held());
    assert_eq!(timeout(patience, changes.next()).await.unwrap(), Some(Change::Resync));
    let acknowledged = acknowledged.lock().unwrap().clone();
    check_pairs(&store, &acknowledged).await;
    store.close().await;
}
