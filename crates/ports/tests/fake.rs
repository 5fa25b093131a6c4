//! The engine in memory under the suite that every engine passes, and what only it can do: go wrong on command.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use ryokan_model::{InstanceId, Secret};
use ryokan_ports::Runtime;
use ryokan_ports::conformance::{self, Harness, Meddler, test_server};
use ryokan_ports::fake::{Call, FakeRuntime, Outcome};
use ryokan_ports::runtime::{Change, LogOptions, Phase, PullRequest, RegistryCredentials, RuntimeError};

struct Hand(FakeRuntime);

#[async_trait]
impl Meddler for Hand {
    async fn lose(&self, instance: InstanceId) {
        self.0.lose(instance);
    }

    async fn mentions(&self, _instance: InstanceId, _text: &str) -> Vec<String> {
        Vec::new()
    }
}

fn harness() -> (FakeRuntime, Harness) {
    let fake = FakeRuntime::new(test_server());
    let image = "ryokan-test/agent:1".parse().expect("a name");
    fake.image("ryokan-test/agent:1").loaded();
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
    assert_eq!((fake.running(workload.instance), fake.starts(workload.instance)), (true, 2));
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
    fake.fail(Call::Ensure, RuntimeError::Exhausted("disk space".to_owned()));
    assert!(matches!(fake.ensure(&workload).await, Err(RuntimeError::Exhausted(_))));
    fake.heal();
    assert!(fake.ensure(&workload).await.unwrap().phase.is_running());
    assert_eq!((fake.calls(Call::Ensure), fake.calls_about(Call::Ensure, h.instance())), (2, 0));

    fake.stick(workload.instance);
    fake.stop(h.instance(), Duration::ZERO).await.unwrap();
    let stop = fake.stop(workload.instance, Duration::ZERO);
    let heal = async {
        while fake.calls_about(Call::Stop, workload.instance) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(fake.observe(workload.instance).await.unwrap().unwrap().phase.is_running());
        fake.heal();
    };
    tokio::join!(stop, heal).0.unwrap();
    let phase = fake.observe(workload.instance).await.unwrap().unwrap().phase;
    assert!(matches!(phase, Phase::Exited { .. }), "{phase:?}");
}

#[tokio::test(start_paused = true)]
async fn what_hangs_is_given_up_after_the_patience() {
    let (fake, h) = harness();
    let (workload, _) = h.up(&["serve"]).await;
    let mut changes = fake.watch().await.unwrap();
    changes.next().await.unwrap().unwrap();
    fake.set_patience(Duration::from_secs(7));
    fake.hang_all();
    assert!(matches!(changes.next().await, Some(Err(RuntimeError::Unavailable(_)))));
    let begun = tokio::time::Instant::now();
    assert!(matches!(fake.observe(workload.instance).await, Err(RuntimeError::Unavailable(_))));
    assert_eq!(begun.elapsed(), Duration::from_secs(7));
    fake.heal();
    fake.observe(workload.instance).await.unwrap().unwrap();
}

#[tokio::test]
async fn images_do_as_told() {
    let (fake, h) = harness();
    let name = "img:1";
    let request = |credentials: Option<(&str, &str)>| PullRequest {
        image: name.parse().unwrap(),
        credentials: credentials.map(|(user, password)| RegistryCredentials {
            username: user.to_owned(),
            password: Secret::new(password),
        }),
    };
    let pull = async |request| h.runtime.pull(&request, &|_| ()).await;
    let why = async |request| pull(request).await.unwrap_err().to_string();
    assert!(why(request(None)).await.contains("no such image"));
    fake.image(name).pull_fails(RuntimeError::Exhausted("disk".to_owned()));
    assert!(why(request(None)).await.contains("out of disk"));
    fake.image(name).wants("me", "word");
    assert!(why(request(Some(("me", "other")))).await.contains("credentials"));
    pull(request(Some(("me", "word")))).await.unwrap();

    let mut workload = h.workload(&["serve"]).await;
    workload.spec.image = name.parse().unwrap();
    fake.image(name).exits(3).logs(["oh"]);
    h.runtime.ensure(&workload).await.unwrap();
    assert_eq!(h.ended(workload.instance).await, (3, false));
    assert_eq!(h.log_lines(workload.instance, LogOptions::default()).await[0].text, "oh");
    fake.image(name).refuses("args", "no such program");
    assert_eq!(fake.ensure(&workload).await.unwrap_err().to_string(), "args: no such program");
    fake.image(name).vanishes();
    assert!(fake.ensure(&h.workload(&["serve"]).await).await.is_ok(), "another image's");
    workload.generation += 1;
    assert!(matches!(fake.ensure(&workload).await, Err(RuntimeError::Image { .. })));
    // With a pull it is there again, and the pull waits for a word.
    fake.image(name).pull_waits();
    let mut waiting = std::pin::pin!(pull(request(None)));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    fake.heal();
    waiting.await.unwrap();
    assert!(fake.ensure(&workload).await.unwrap().phase.is_running());
}

#[tokio::test]
async fn a_listener_is_behind_all_ports() {
    let (fake, h) = harness();
    let serving = fake.listen().await.unwrap();
    let (workload, observed) = h.up(&["serve"]).await;
    assert!(observed.endpoints.values().all(|address| address.ip().is_loopback()));
    let answer = h.get(workload.instance, "http", "/path");
    let answer = tokio::select! { answer = answer => answer.unwrap(), () = serving => unreachable!() };
    assert!(answer.ends_with("GET /path HTTP/1.0\r\nHost: x\r\n\r\n"), "{answer}");
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
async fn probes_and_programs_are_played() {
    let (fake, h) = harness();
    let (workload, observed) = h.up(&["serve"]).await;
    let check = ryokan_model::probe::Check::Tcp { port: "http".to_owned() };
    fake.sicken(workload.instance, "unwell");
    assert_eq!(fake.probe(&observed, &check, Duration::ZERO).await.unwrap(), Err("unwell".to_owned()));
    fake.recover(workload.instance);
    assert_eq!(fake.probe(&observed, &check, Duration::ZERO).await.unwrap(), Ok(()));

    fake.add_program("date", Outcome { stdout: "today".to_owned(), code: 4, ..Outcome::default() });
    assert_eq!(h.run(workload.instance, &["date"]).await, (4, "today".to_owned(), String::new()));
}

#[tokio::test]
async fn builds_make_a_named_image_as_often_as_asked() {
    let fake = FakeRuntime::new(test_server());
    let shop = conformance::Workshop {
        builder: &fake,
        base: "base:1".parse().expect("a name"),
        context: env!("CARGO_TARGET_TMPDIR").into(),
        tag: "built:1".parse().expect("a name"),
    };
    conformance::builds_make_a_named_image_as_often_as_asked(&shop).await;
}
