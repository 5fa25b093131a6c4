//! The durable queue: deduplication, order, leases, fencing, several servers.

use std::collections::HashSet;

use ryokan_store::test_util::{for_each_engine, on_postgres};
use ryokan_store::{Enqueued, Job, JobFilter, JobState, NewJob, Store, StoreError};
use serde_json::json;

const LEASE: i64 = 1000;

fn new_job(id: &str) -> NewJob {
    NewJob {
        id: id.into(),
        kind: "build".into(),
        key: None,
        payload: json!({"of": id}),
        priority: 0,
        run_at: 0,
        max_attempts: 3,
    }
}

async fn enqueue(store: &Store, job: NewJob) -> Enqueued {
    store.write(move |tx| tx.enqueue_job(&job, 0)).await.unwrap()
}

async fn claim(store: &Store, worker: &'static str, limit: u32, now: i64) -> Vec<Job> {
    store.write(move |tx| tx.claim_jobs(&["build", "send"], worker, limit, now, LEASE)).await.unwrap()
}

async fn get(store: &Store, id: &'static str) -> Job {
    store.read(move |tx| tx.job(id)).await.unwrap().unwrap()
}

fn ids(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.id.as_str()).collect()
}

#[tokio::test]
async fn one_live_job_a_key() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        let keyed = |id: &str| NewJob { key: Some("claw".into()), ..new_job(id) };
        assert_eq!(enqueue(&store, keyed("a")).await, Enqueued::Enqueued);
        assert_eq!(enqueue(&store, keyed("b")).await, Enqueued::Duplicate("a".into()));
        assert_eq!(enqueue(&store, NewJob { kind: "send".into(), ..keyed("c") }).await, Enqueued::Enqueued);
        assert_eq!(enqueue(&store, new_job("d")).await, Enqueued::Enqueued);
        assert_eq!(enqueue(&store, new_job("e")).await, Enqueued::Enqueued);
        assert_eq!(claim(&store, "w", 10, 5).await.len(), 4);
        assert_eq!(enqueue(&store, keyed("f")).await, Enqueued::Duplicate("a".into()), "running is live");
        store.write(|tx| tx.complete_job("a", 1, 6)).await.unwrap();
        assert_eq!(enqueue(&store, keyed("g")).await, Enqueued::Enqueued);
        let again = store.write(move |tx| tx.enqueue_job(&new_job("a"), 0)).await;
        assert_eq!(again, Err(StoreError::UniqueViolation { constraint: "jobs_pkey".into() }));
        assert_eq!(get(&store, "a").await.state, JobState::Done);
    })
    .await;
}

#[tokio::test]
async fn claims_follow_priority_time_kind_and_limit() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        for (id, priority, run_at) in [("a", 0, 30), ("b", 0, 10), ("c", 5, 50), ("d", 5, 200), ("e", 0, 20)]
        {
            enqueue(&store, NewJob { priority, run_at, ..new_job(id) }).await;
        }
        enqueue(&store, NewJob { kind: "other".into(), priority: 9, ..new_job("x") }).await;
        assert_eq!(store.read(|tx| tx.next_job_due()).await.unwrap(), Some(0));
        assert_eq!(ids(&claim(&store, "w", 2, 100).await), ["c", "b"]);
        assert_eq!(ids(&claim(&store, "w", 10, 100).await), ["a", "e"]);
        assert!(claim(&store, "w", 10, 100).await.is_empty());
        assert_eq!(ids(&claim(&store, "w", 10, 200).await), ["d"]);
        let job = get(&store, "b").await;
        assert_eq!((job.attempt, job.due_at, job.started_at), (1, 100 + LEASE, Some(100)));
        assert_eq!((job.worker.as_deref(), job.payload), (Some("w"), json!({"of": "b"})));
    })
    .await;
}

#[tokio::test]
async fn an_expired_lease_passes_on_and_the_late_worker_is_fenced() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        enqueue(&store, new_job("a")).await;
        assert_eq!(claim(&store, "first", 1, 0).await[0].attempt, 1);
        store.write(|tx| tx.renew_job("a", 1, 1500)).await.unwrap();
        assert!(claim(&store, "second", 1, 1499).await.is_empty());
        assert_eq!(claim(&store, "second", 1, 1500).await[0].attempt, 2);
        // Whatever the first does now changes nothing, its own effects in the same transaction included.
        let late = store
            .write(|tx| {
                tx.put_setting("effect", "of the first", 1)?;
                tx.complete_job("a", 1, 1600)
            })
            .await;
        assert_eq!(late, Err(StoreError::Fenced));
        assert_eq!(store.write(|tx| tx.renew_job("a", 1, 9999)).await, Err(StoreError::Fenced));
        assert_eq!(store.write(|tx| tx.retry_job("a", 1, 9, "late")).await, Err(StoreError::Fenced));
        assert_eq!(store.write(|tx| tx.dead_letter_job("a", 1, "late", 9)).await, Err(StoreError::Fenced));
        assert_eq!(store.read(|tx| tx.setting("effect")).await.unwrap(), None);
        let job = get(&store, "a").await;
        assert_eq!((job.state, job.due_at, job.error), (JobState::Running, 1500 + LEASE, None));
        store.write(|tx| tx.complete_job("a", 2, 1700)).await.unwrap();
        assert_eq!(store.write(|tx| tx.complete_job("a", 2, 1800)).await, Err(StoreError::Fenced), "once");
        assert_eq!(get(&store, "a").await.finished_at, Some(1700));
    })
    .await;
}

#[tokio::test]
async fn retries_end_in_a_dead_letter_that_an_operator_requeues() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        let keyed = |id: &str| NewJob { key: Some("k".into()), ..new_job(id) };
        enqueue(&store, keyed("a")).await;
        claim(&store, "w", 1, 0).await;
        store.write(|tx| tx.retry_job("a", 1, 50, "no engine")).await.unwrap();
        assert!(claim(&store, "w", 1, 49).await.is_empty());
        let job = &claim(&store, "w", 1, 50).await[0];
        assert_eq!((job.attempt, job.error.as_deref()), (2, Some("no engine")));
        let whole = "line\n".repeat(10_000);
        let error = whole.clone();
        store.write(move |tx| tx.dead_letter_job("a", 2, &error, 60)).await.unwrap();
        let dead = get(&store, "a").await;
        assert_eq!((dead.state, dead.error), (JobState::Dead, Some(whole)));
        let listed = store
            .read(|tx| tx.list_jobs(&JobFilter { state: Some(JobState::Dead), kind: None }, None, 10))
            .await
            .unwrap();
        assert_eq!(ids(&listed), ["a"]);
        enqueue(&store, keyed("b")).await;
        let taken = store.write(|tx| tx.requeue_job("a", 70)).await;
        assert_eq!(taken, Err(StoreError::UniqueViolation { constraint: "jobs_live_key".into() }));
        claim(&store, "w", 1, 70).await;
        store.write(|tx| tx.complete_job("b", 1, 71)).await.unwrap();
        assert!(store.write(|tx| tx.requeue_job("a", 70)).await.unwrap());
        assert!(!store.write(|tx| tx.requeue_job("a", 70)).await.unwrap(), "it is not dead now");
        assert_eq!(claim(&store, "w", 1, 70).await[0].attempt, 3, "the fence never goes back");
    })
    .await;
}

#[tokio::test]
async fn a_job_that_kills_its_workers_is_given_up() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        enqueue(&store, new_job("a")).await;
        for (attempt, now) in [(1, 0), (2, 2000), (3, 4000)] {
            assert_eq!(claim(&store, "w", 1, now).await[0].attempt, attempt);
        }
        assert!(claim(&store, "w", 1, 6000).await.is_empty());
        let job = get(&store, "a").await;
        assert_eq!(job.state, JobState::Dead);
        assert!(job.error.unwrap().contains("fell silent"));
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_gives_jobs_back_without_using_up_attempts() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        enqueue(&store, NewJob { max_attempts: 1, ..new_job("a") }).await;
        enqueue(&store, new_job("b")).await;
        claim(&store, "w", 1, 0).await;
        claim(&store, "other", 1, 0).await;
        assert_eq!(store.write(|tx| tx.release_jobs("w", 5)).await.unwrap(), 1);
        assert_eq!(store.write(|tx| tx.complete_job("a", 1, 6)).await, Err(StoreError::Fenced));
        let again = claim(&store, "w", 5, 5).await;
        assert_eq!((ids(&again), again[0].attempt, again[0].max_attempts), (vec!["a"], 2, 2));
    })
    .await;
}

#[tokio::test]
async fn lists_page_counts_count_and_old_rows_go() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        for number in 0..5 {
            enqueue(&store, new_job(&format!("job-{number}"))).await;
        }
        claim(&store, "w", 2, 10).await;
        store.write(|tx| tx.complete_job("job-0", 1, 20)).await.unwrap();
        let page = store.read(|tx| tx.list_jobs(&JobFilter::default(), None, 3)).await.unwrap();
        assert_eq!(ids(&page), ["job-4", "job-3", "job-2"]);
        let page = store.read(|tx| tx.list_jobs(&JobFilter::default(), Some("job-2"), 3)).await.unwrap();
        assert_eq!(ids(&page), ["job-1", "job-0"]);
        let counts = store.read(|tx| tx.count_jobs()).await.unwrap();
        let counts: Vec<_> = counts.iter().map(|count| (count.state, count.count)).collect();
        assert_eq!(counts, [(JobState::Done, 1), (JobState::Ready, 3), (JobState::Running, 1)]);
        assert_eq!(store.write(|tx| tx.purge_jobs(JobState::Done, 20, 10)).await.unwrap(), 0);
        assert_eq!(store.write(|tx| tx.purge_jobs(JobState::Dead, 21, 10)).await.unwrap(), 0);
        assert_eq!(store.write(|tx| tx.purge_jobs(JobState::Done, 21, 10)).await.unwrap(), 1);
        assert_eq!(store.read(|tx| tx.job("job-0")).await.unwrap(), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_enqueues_of_one_key_make_one_job() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..50 {
            let store = store.clone();
            let job = NewJob { key: Some("k".into()), ..new_job(&format!("{number}")) };
            calls.spawn(async move { enqueue(&store, job).await });
        }
        let outcomes = calls.join_all().await;
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Enqueued::Enqueued).count(), 1);
    })
    .await;
}

/// Claims everything from two stores at once; each job must be given exactly once.
async fn claim_everything(stores: [Store; 2], jobs: usize) {
    for number in 0..jobs {
        enqueue(&stores[0], new_job(&format!("{number:05}"))).await;
    }
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..8 {
        let store = stores[worker % 2].clone();
        workers.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let claimed = claim(&store, "w", 7, 10).await;
                if claimed.is_empty() {
                    return mine;
                }
                assert!(claimed.len() <= 7);
                for job in &claimed {
                    let (id, attempt) = (job.id.clone(), job.attempt);
                    store.write(move |tx| tx.complete_job(&id, attempt, 11)).await.unwrap();
                }
                mine.extend(claimed);
            }
        });
    }
    let claimed: Vec<Job> = workers.join_all().await.into_iter().flatten().collect();
    let different: HashSet<&str> = claimed.iter().map(|job| job.id.as_str()).collect();
    assert!(claimed.iter().all(|job| job.attempt == 1));
    // SKIP LOCKED may end a worker early, but never gives a job twice; with the last worker gone, none is left.
    assert_eq!(different.len(), claimed.len());
    assert!(claim(&stores[0], "w", 10, 10).await.is_empty());
    assert_eq!(different.len(), jobs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_job_is_claimed_twice() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        claim_everything([store.clone(), store], 300).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_job_is_claimed_twice_by_two_servers() {
    on_postgres(|database| async move {
        claim_everything([database.open().await, database.open().await], 300).await;
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_goes_back_holds_up_no_job() {
    for_each_engine(|database| async move {
        let (store, hour) = (database.open().await, 3_600_000);
        let later = |id: &str, at: i64| NewJob { run_at: at, ..new_job(id) };
        enqueue(&store, new_job("held")).await;
        enqueue(&store, later("put-off", hour + 5000)).await;
        enqueue(&store, later("soon", 5000)).await;
        assert_eq!(ids(&claim(&store, "w", 10, hour).await), ["held", "soon"]);
        store.write(move |tx| tx.retry_job("soon", 1, hour + 5000, "no")).await.unwrap();
        // The worker dies and the clock is put right. What waits for its time still waits.
        enqueue(&store, later("not-yet", 5000)).await;
        assert_eq!(ids(&claim(&store, "x", 10, 10).await), ["held", "put-off", "soon"]);
        assert!(claim(&store, "y", 10, 10 + LEASE - 1).await.is_empty(), "a lease of now holds");
        let fenced = store.write(|tx| tx.complete_job("held", 1, 20)).await;
        assert_eq!(fenced, Err(StoreError::Fenced), "the dead worker's lease is over");
        assert_eq!(ids(&claim(&store, "z", 10, 5000).await), ["held", "not-yet", "put-off", "soon"]);
    })
    .await;
}
