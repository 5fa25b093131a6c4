//! The engine in memory under the suite that every engine passes, and what only it can do: go wrong on command.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use ryokan_model::InstanceId;
use ryokan_ports::Runtime;
use ryokan_ports::conformance::{self, Harness, Meddler, test_server};
use ryokan_ports::fake::{Call, FakeRuntime, Outcome};
use ryokan_ports::runtime::{Change, LogOptions, Output, Phase, RuntimeError};

struct Hand(FakeRuntime);

#[async_trait]
impl Meddler for Hand {
    async fn lose(&self, instance: InstanceId) {
        self.0.lose(instance);
    }
}

fn harness() -> (FakeRuntime, Harness) {
    let fake = FakeRuntime::new(test_server());
    let image = "ryokan-test/agent:1".parse().expect("a name");
    fake.add_image(&image);
    let other = Arc::new(fake.beside(test_server()));
    let hand = Arc::new(Hand(fake.clone()));
    (fake.clone(), Harness::new(Arc::new(fake), other, hand, image, "/bin/agent"))
}

macro_rules! tests {
    (portable: [$($portable:ident),* $(,)?] real: [$($real:ident),* $(,)?]) => {
        $(
            #[tokio::test]
            async fn $portable() {
                conformance::run(harness().1, conformance::$portable).await;
            }
        )*
    };
}

ryokan_ports::runtime_cases!(tests);

#[tokio::test]
async fn crashes_are_told_and_seen() {
    let (fake, h) = harness();
    let (workload, _) = h.up(&["serve"]).await;
    let mut changes = fake.watch().await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap(), Change::Resync);
    fake.crash(workload.instance, 3);
    assert_eq!(changes.next().await.unwrap().unwrap(), Change::Instance(workload.instance));
    assert_eq!(h.ended(workload.instance).await, (3, false));
    fake.ensure(&workload).await.unwrap();
    fake.out_of_memory(workload.instance);
    assert_eq!(h.ended(workload.instance).await, (137, true));
}

#[tokio::test]
async fn an_engine_that_is_down_ends_watches_and_keeps_its_containers() {
    let (fake, h) = harness();
    let (workload, observed) = h.up(&["serve"]).await;
    let mut changes = fake.watch().await.unwrap();
    changes.next().await.unwrap().unwrap();
    fake.down();
    assert!(matches!(changes.next().await, Some(Err(RuntimeError::Unavailable(_)))));
    assert!(changes.next().await.is_none());
    assert!(matches!(fake.observe(workload.instance).await, Err(RuntimeError::Unavailable(_))));
    fake.up();
    assert_eq!(fake.observe(workload.instance).await.unwrap(), Some(observed));
}

#[tokio::test]
async fn calls_fail_and_hang_as_told_and_are_counted() {
    let (fake, h) = harness();
    let workload = h.workload(&["serve"]).await;
    fake.fail_for(Call::Ensure, h.instance(), 1, RuntimeError::NotRunning);
    fake.fail(Call::Ensure, RuntimeError::Exhausted("disk space".to_owned()));
    assert!(matches!(fake.ensure(&workload).await, Err(RuntimeError::Exhausted(_))));
    assert!(fake.ensure(&workload).await.unwrap().phase.is_running());
    assert_eq!(fake.take_calls(Call::Ensure), 2);

    fake.hang(Call::Stop);
    let stop = fake.stop(workload.instance, Duration::ZERO);
    let heal = async {
        fake.called(Call::Stop).await;
        assert!(fake.observe(workload.instance).await.unwrap().unwrap().phase.is_running());
        fake.heal();
    };
    tokio::join!(stop, heal).0.unwrap();
    let phase = fake.observe(workload.instance).await.unwrap().unwrap().phase;
    assert!(matches!(phase, Phase::Exited { .. }), "{phase:?}");
}

#[tokio::test(start_paused = true)]
async fn starts_take_as_long_as_told() {
    let (fake, h) = harness();
    fake.set_start_delay(Duration::from_secs(100));
    let workload = h.workload(&["serve"]).await;
    let begun = tokio::time::Instant::now();
    fake.ensure(&workload).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(100));
}

#[tokio::test]
async fn probes_programs_and_logs_are_played() {
    let (fake, h) = harness();
    let (workload, observed) = h.up(&["serve"]).await;
    let check = ryokan_model::probe::Check::Tcp { port: "http".to_owned() };
    fake.set_probe(workload.instance, Err("unwell".to_owned()));
    assert_eq!(fake.probe(&observed, &check, Duration::ZERO).await.unwrap(), Err("unwell".to_owned()));
    fake.set_probe(workload.instance, Ok(()));
    assert_eq!(fake.probe(&observed, &check, Duration::ZERO).await.unwrap(), Ok(()));

    fake.add_program("date", Outcome { stdout: "today".to_owned(), code: 4, ..Outcome::default() });
    assert_eq!(h.run(workload.instance, &["date"]).await, (4, "today".to_owned(), String::new()));

    fake.write_log(workload.instance, Output::Stderr, "ouch");
    let lines = h.log_lines(workload.instance, LogOptions::default()).await;
    assert_eq!((lines.len(), lines[0].text.as_str(), lines[0].output), (1, "ouch", Output::Stderr));
}
