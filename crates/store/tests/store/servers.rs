//! Several servers on one PostgreSQL database: signals and leadership.

use std::time::Duration;

use ryokan_store::test_util::{on_postgres, skip, sqlite};
use ryokan_store::{Change, Changes, LeaderGuard, Options, Store, StoreError, params};
use tokio::time::timeout;

use crate::postgres_server::PostgresServer;

const PATIENCE: Duration = Duration::from_secs(20);

async fn signal(store: &Store, topic: &'static str) {
    store
        .write(move |tx| {
            tx.notify(topic);
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
}

async fn next(changes: &mut Changes) -> Change {
    timeout(PATIENCE, changes.next()).await.expect("a signal arrives").unwrap()
}

/// Takes the leadership as soon as it is free.
async fn takes(store: &Store) -> LeaderGuard {
    let taking = async {
        loop {
            if let Some(guard) = store.leader("billing").await {
                return guard;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, taking).await.expect("the leadership becomes free")
}

#[tokio::test]
async fn signals_reach_other_servers_once() {
    on_postgres(|database| async move {
        let (one, two) = (database.open().await, database.open().await);
        let (mut at_one, mut at_two) = (one.subscribe(), two.subscribe());
        for topic in ["instances", "jobs", "instances"] {
            signal(&one, topic).await;
            assert_eq!(next(&mut at_two).await, Change::Topic(topic.into()));
            assert_eq!(next(&mut at_one).await, Change::Topic(topic.into()));
        }
        signal(&two, "tokens").await;
        assert_eq!(next(&mut at_one).await, Change::Topic("tokens".into()), "and none came back before");
        assert_eq!(next(&mut at_two).await, Change::Topic("tokens".into()));
    })
    .await;
}

#[tokio::test]
async fn a_listener_that_was_cut_off_is_told_to_look_at_everything() {
    on_postgres(|database| async move {
        let (one, two) = (database.open().await, database.open().await);
        let mut at_two = two.subscribe();
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        one.write(move |tx| tx.query(cut, params![])).await.unwrap();
        assert_eq!(next(&mut at_two).await, Change::Resync);
        // `one` may still be reconnecting: its signal is kept until it has.
        signal(&one, "instances").await;
        while next(&mut at_two).await != Change::Topic("instances".into()) {}
    })
    .await;
}

#[tokio::test]
async fn a_slow_subscriber_is_told_to_look_at_everything() {
    let store = sqlite().open().await;
    let mut changes = store.subscribe();
    for number in 0..2000 {
        signal(&store, if number % 2 == 0 { "a" } else { "b" }).await;
    }
    assert_eq!(next(&mut changes).await, Change::Resync);
    assert!(matches!(next(&mut changes).await, Change::Topic(_)));
    drop(store);
    while changes.next().await.is_some() {}
}

#[tokio::test]
async fn one_server_leads_and_the_next_takes_over() {
    on_postgres(|database| async move {
        let (one, two) = (database.open().await, database.open().await);
        let first = one.leader("billing").await.unwrap();
        assert!(first.is_held());
        assert!(two.leader("billing").await.is_none());
        assert!(one.leader("billing").await.is_none(), "nor twice in one server");
        assert!(two.leader("other").await.is_some());
        first.release().await;
        let second = two.leader("billing").await.expect("free at once after a release");
        drop(second);
        let third = takes(&one).await;
        // The connection that holds it is cut: the guard says so, and another server may lead.
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        two.write(move |tx| tx.query(cut, params![])).await.unwrap();
        timeout(PATIENCE, third.lost()).await.expect("the loss is noticed");
        assert!(!third.is_held());
        let fourth = takes(&two).await;
        two.close().await;
        timeout(PATIENCE, fourth.lost()).await.expect("a closed store leads nothing");
        assert!(!fourth.is_held());
        takes(&one).await;
    })
    .await;
}

#[tokio::test]
async fn sqlite_always_leads() {
    let store = sqlite().open().await;
    let guard = store.leader("billing").await.unwrap();
    assert!(guard.is_held());
    assert!(timeout(Duration::from_millis(20), guard.lost()).await.is_err());
    guard.release().await;
}

#[tokio::test]
async fn tls_modes_mean_what_they_mean_to_libpq() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Some(server) = PostgresServer::start_with_tls(port) else {
        return skip("TLS: PostgreSQL or openssl is not installed");
    };
    let open = |host: &str, query: String| {
        let url = format!("postgres://postgres@{host}:{port}/postgres{query}");
        Store::open(Options { pool: 1, ..Options::new(url.parse().unwrap()) })
    };
    let root = server.certificate().display().to_string();
    for (query, encrypted) in [
        (String::new(), true),
        ("?sslmode=disable".into(), false),
        ("?sslmode=prefer".into(), true),
        ("?sslmode=require".into(), true),
        (format!("?sslmode=verify-full&sslrootcert={root}"), true),
    ] {
        let store = open("localhost", query.clone()).await.unwrap();
        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let row = store.read(move |tx| tx.query_one(sql, params![])).await.unwrap();
        assert_eq!(row.bool("ssl").unwrap(), encrypted, "{query}");
        store.close().await;
    }
    for (host, query) in [
        ("localhost", "?sslmode=verify-full".to_owned()),
        ("127.0.0.1", format!("?sslmode=verify-full&sslrootcert={root}")),
    ] {
        let refused = open(host, query).await.unwrap_err();
        assert!(matches!(&refused, StoreError::Unavailable(why) if why.contains("certificate")), "{refused}");
    }
}
