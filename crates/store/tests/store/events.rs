//! The event log: order, filters, tailing under concurrency, immutability.

use ryokan_store::test_util::{for_each_engine, on_postgres};
use ryokan_store::{Event, EventFilter, EventOutcome, Store, StoreError, params};
use serde_json::json;

fn event(kind: &str, project: Option<&str>, subject: &str) -> Event {
    Event {
        at: 1,
        kind: kind.into(),
        project: project.map(Into::into),
        subject_kind: "instance".into(),
        subject_id: subject.into(),
        subject_name: format!("name-{subject}"),
        actor: "user:ada".into(),
        source_address: Some("192.0.2.1".into()),
        request_id: None,
        outcome: EventOutcome::Done,
        data: json!({"n": 1}),
    }
}

async fn append(store: &Store, event: Event) {
    store
        .write(move |tx| {
            tx.append_event(event);
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn events_come_back_filtered_and_in_order() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        let (p, q) = (Some("p"), Some("q"));
        for (kind, project, subject) in
            [("a", p, "1"), ("b", p, "2"), ("a", q, "3"), ("b", None, "4"), ("a", p, "2")]
        {
            append(&store, event(kind, project, subject)).await;
        }
        let subjects = |filter: EventFilter, after: i64, limit: u32| {
            let store = store.clone();
            async move {
                let page = store.read(move |tx| tx.events_after(after, &filter, limit)).await.unwrap();
                let subjects: Vec<String> = page.events.iter().map(|e| e.event.subject_id.clone()).collect();
                (subjects.join(""), page.next)
            }
        };
        let all = EventFilter::default;
        assert_eq!(subjects(all(), 0, 10).await, ("12342".into(), 5));
        assert_eq!(subjects(all(), 1, 2).await, ("23".into(), 3));
        assert_eq!(subjects(all(), 5, 2).await, (String::new(), 5));
        let of = |projects: &[&str]| EventFilter {
            projects: Some(projects.iter().map(|project| (*project).to_owned()).collect()),
            ..all()
        };
        assert_eq!(subjects(of(&["p"]), 0, 10).await.0, "122");
        assert_eq!(subjects(of(&["p", "q"]), 0, 10).await.0, "1232");
        assert_eq!(subjects(of(&[]), 0, 10).await, (String::new(), 5));
        assert_eq!(subjects(EventFilter { kinds: Some(vec!["b".into()]), ..of(&["p"]) }, 0, 9).await.0, "2");
        assert_eq!(subjects(EventFilter { subject_id: Some("2".into()), ..all() }, 0, 9).await.0, "22");
        let prefix = |prefix: &str| EventFilter { kind_prefix: Some(prefix.into()), ..all() };
        assert_eq!(subjects(prefix("b"), 0, 1).await, ("2".into(), 2));
        // Nothing in it is a pattern.
        for nothing in ["%", "_", "bb"] {
            assert_eq!(subjects(prefix(nothing), 0, 9).await, (String::new(), 5));
        }
        let newest = store.read(move |tx| tx.events_before(i64::MAX, &all(), 2)).await.unwrap();
        assert_eq!(newest.iter().map(|e| e.seq).collect::<Vec<_>>(), [5, 4]);
        assert_eq!(newest[0].event, event("a", p, "2"));
    })
    .await;
}

#[tokio::test]
async fn a_rolled_back_event_never_was() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        let failed = store
            .write(|tx| {
                tx.append_event(event("a", None, "1"));
                Err::<(), _>(StoreError::NotFound)
            })
            .await;
        assert!(failed.is_err());
        store
            .write(|tx| {
                tx.append_event(event("a", None, "2"));
                let undone: Result<(), StoreError> = tx.savepoint(|tx| {
                    tx.append_event(event("a", None, "3"));
                    Err(StoreError::NotFound)
                });
                assert!(undone.is_err());
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
        let page = store.read(|tx| tx.events_after(0, &EventFilter::default(), 10)).await.unwrap();
        assert_eq!(page.events.len(), 1);
        assert_eq!(page.events[0].event.subject_id, "2");
        let in_a_read = store
            .read(|tx| {
                tx.append_event(event("a", None, "4"));
                Ok::<_, StoreError>(())
            })
            .await;
        assert_eq!(in_a_read, Err(StoreError::ReadOnly));
    })
    .await;
}

#[tokio::test]
async fn events_cannot_be_changed() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        append(&store, event("a", None, "1")).await;
        let mut statements = vec!["UPDATE events SET kind = 'b'", "DELETE FROM events"];
        if store.dialect() == ryokan_store::Dialect::Postgres {
            statements.push("TRUNCATE events");
        }
        for statement in statements {
            let refused = store.write(move |tx| tx.execute(statement, params![])).await;
            assert_eq!(refused, Err(StoreError::Refused("events are append-only".into())), "{statement}");
        }
        assert_eq!(store.read(|tx| tx.latest_event_seq()).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn only_the_oldest_events_can_go() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        // The fourth was written by a clock that was put back since.
        for at in [10, 20, 30, 99, 40, 50] {
            append(&store, Event { at, ..event("a", None, "1") }).await;
        }
        let purge = |before: i64, limit: u32| {
            let store = store.clone();
            async move { store.write(move |tx| tx.purge_events(before, limit)).await.unwrap() }
        };
        let left = || {
            let store = store.clone();
            async move {
                let page = store.read(|tx| tx.events_after(0, &EventFilter::default(), 10)).await.unwrap();
                page.events.iter().map(|e| e.event.at).collect::<Vec<_>>()
            }
        };
        assert_eq!(purge(10, 10).await, 0);
        assert_eq!(purge(35, 2).await, 2);
        assert_eq!(left().await, [30, 99, 40, 50]);
        assert_eq!(purge(60, 10).await, 1);
        assert_eq!(left().await, [99, 40, 50], "none goes before an older one");
        for statement in
            ["DELETE FROM events", "DELETE FROM events WHERE seq = 5", "UPDATE events SET at = 1"]
        {
            let refused = store.write(move |tx| tx.execute(statement, params![])).await;
            assert_eq!(refused, Err(StoreError::Refused("events are append-only".into())), "{statement}");
        }
        for statement in ["UPDATE event_horizon SET seq = 0", "DELETE FROM event_horizon"] {
            let refused = store.write(move |tx| tx.execute(statement, params![])).await;
            let why = "the horizon of events never goes back";
            assert_eq!(refused, Err(StoreError::Refused(why.into())), "{statement}");
        }
        // When all are gone, numbers go on, and so does who has read up to the last.
        assert_eq!(purge(100, 10).await, 3);
        append(&store, event("b", None, "1")).await;
        let page = store.read(|tx| tx.events_after(6, &EventFilter::default(), 10)).await.unwrap();
        assert_eq!((page.events.len(), page.events[0].seq, page.next), (1, 7, 7));
    })
    .await;
}

/// The case that a naive tail gets wrong: number 1 is taken, number 2 is committed first.
#[tokio::test]
async fn an_event_that_commits_late_is_waited_for() {
    on_postgres(|database| async move {
        let store = database.open().await;
        let (entered, has_entered) = tokio::sync::oneshot::channel();
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let slow = store.write(move |tx| {
            // What `append_event` does at the end of a transaction, held open.
            tx.query("SELECT begin_events()", params![])?;
            tx.query("SELECT nextval('event_numbers')", params![])?;
            entered.send(()).unwrap();
            wait.recv().unwrap();
            let sql =
                "INSERT INTO events SELECT 1, at, kind, project, subject_kind, 'slow', subject_name, actor,
                        source_address, request_id, outcome, data FROM events WHERE seq = 2";
            tx.execute(sql, params![])
        });
        let tail = async {
            has_entered.await.unwrap();
            append(&store, event("a", None, "fast")).await;
            let filter = EventFilter::default;
            let page = store.read(move |tx| tx.events_after(0, &filter(), 10)).await.unwrap();
            assert_eq!((page.events.len(), page.next, page.settling), (0, 0, true));
            let inside = store.write(move |tx| tx.events_after(0, &filter(), 10)).await.unwrap();
            assert_eq!(inside, page);
            assert_eq!(store.read(|tx| tx.latest_event_seq()).await.unwrap(), 0);
            let people = store.read(move |tx| tx.events_before(i64::MAX, &filter(), 10)).await.unwrap();
            assert_eq!(people.len(), 1, "lists for people do not wait");
            go_on.send(()).unwrap();
        };
        let (slow, ()) = tokio::join!(slow, tail);
        assert_eq!(slow.unwrap(), 1);
        let page = store.read(|tx| tx.events_after(0, &EventFilter::default(), 10)).await.unwrap();
        let subjects: Vec<&str> = page.events.iter().map(|e| e.event.subject_id.as_str()).collect();
        assert_eq!((subjects, page.next, page.settling), (vec!["slow", "fast"], 2, false));
        // One that ends without an event holds nobody up.
        let gone = store
            .write(|tx| {
                tx.query("SELECT begin_events()", params![])?;
                tx.query("SELECT nextval('event_numbers')", params![])?;
                Err::<(), _>(StoreError::NotFound)
            })
            .await;
        assert!(gone.is_err());
        assert_eq!(store.read(|tx| tx.latest_event_seq()).await.unwrap(), 3);
        let late = store
            .read(|tx| {
                tx.setting("x")?;
                tx.latest_event_seq()
            })
            .await;
        assert!(matches!(late, Err(StoreError::Other(_))), "the snapshot is older than the bound would be");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_loses_and_repeats_nothing_while_many_append() {
    const WRITERS: usize = 12;
    const EACH: usize = 100;
    for_each_engine(|database| async move {
        let store = database.open().await;
        // The reader is another server where that is possible.
        let reader = database.open().await;
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let store = store.clone();
            writers.spawn(async move {
                for number in 0..EACH {
                    let _: Result<(), StoreError> = store
                        .write(move |tx| {
                            tx.append_event(event("a", Some("p"), &format!("{writer}-{number}")));
                            // Other locks before and after, and rollbacks that leave holes.
                            tx.put_setting(&format!("row-{}", number % 3), "x", 1)?;
                            if number % 10 == 9 { Err(StoreError::NotFound) } else { Ok(()) }
                        })
                        .await;
                }
            });
        }
        let expected = WRITERS * EACH / 10 * 9;
        let tail = async {
            let (mut after, mut seen) = (0, Vec::new());
            while seen.len() < expected {
                let page =
                    reader.read(move |tx| tx.events_after(after, &EventFilter::default(), 50)).await.unwrap();
                assert!(page.next >= after);
                after = page.next;
                seen.extend(page.events);
            }
            seen
        };
        let seen = tokio::time::timeout(std::time::Duration::from_mins(1), tail).await.unwrap();
        writers.join_all().await;
        assert!(seen.windows(2).all(|pair| pair[0].seq < pair[1].seq));
        let rest = reader.read(|tx| tx.events_after(0, &EventFilter::default(), 10_000)).await.unwrap();
        assert_eq!(rest.events, seen, "what the tail saw is what is there");
        for writer in 0..WRITERS {
            let prefix = format!("{writer}-");
            let of_writer = seen.iter().filter_map(|e| e.event.subject_id.strip_prefix(&prefix));
            let numbers: Vec<usize> = of_writer.map(|number| number.parse().unwrap()).collect();
            assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "in the writer's order");
            assert_eq!(numbers.len(), EACH / 10 * 9);
        }
    })
    .await;
}
