//! What is particular to Docker: engines that hang or go away, things of other people's, pulls from a real registry.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::models::{ContainerCreateBody, VolumeCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptions, CreateImageOptions, PushImageOptions, RemoveContainerOptions, RemoveImageOptions,
    RemoveVolumeOptions, TagImageOptions,
};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use ryokan_adapters::docker::{Docker, Options};
use ryokan_model::image::ImageRef;
use ryokan_model::probe::Check;
use ryokan_model::spec::VolumeMount;
use ryokan_model::{InstanceId, ProjectId, Secret};
use ryokan_ports::Runtime;
use ryokan_ports::conformance::{self, Harness, test_server};
use ryokan_ports::runtime::{
    Change, ExecSpec, LogOptions, Observed, Phase, PullProgress, PullRequest, Reach, RegistryCredentials,
    Result, RuntimeError, Volumes,
};
use support::Stage;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

async fn check(case: impl AsyncFnOnce(&Harness, &Stage)) {
    let Some(docker) = support::engine().await else { return };
    let stage = Stage::new(docker);
    let harness = stage.harness(stage.options()).await;
    conformance::run(harness, async |h: &Harness| case(h, &stage).await).await;
    let left = stage.leftovers().await;
    assert!(left.is_empty(), "left behind: {left:?}");
}

fn impatient(socket: &Path) -> Options {
    Options {
        socket: Some(format!("unix://{}", socket.display())),
        patience: Duration::from_secs(1),
        ..Options::new(test_server())
    }
}

/// A socket that stands before the engine's, and can be taken away or made to hang.
struct Between {
    path: PathBuf,
    _folder: tempfile::TempDir,
    /// What has been accepted gives no more sign of life, and nothing new does.
    frozen: CancellationToken,
    /// Connections break.
    cut: CancellationToken,
    _tasks: JoinSet<()>,
}

impl Between {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (frozen, cut) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let (freeze, end) = (frozen.clone(), cut.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut ours, _) = listener.accept().await.unwrap();
                let (freeze, end) = (freeze.clone(), end.clone());
                connections.spawn(async move {
                    let mut theirs = UnixStream::connect(support::socket()).await.unwrap();
                    let copy = tokio::io::copy_bidirectional(&mut ours, &mut theirs);
                    tokio::select! {
                        biased;
                        () = end.cancelled() => {}
                        () = freeze.cancelled() => std::future::pending().await,
                        _ = copy => {}
                    }
                });
            }
        });
        Self { path, _folder: folder, frozen, cut, _tasks: tasks }
    }
}

fn nothing() -> Observed {
    let id = InstanceId(test_server().0);
    Observed {
        instance: id,
        project: ProjectId(id.0),
        generation: 1,
        engine_id: "x".to_owned(),
        phase: Phase::Running { started_at: ryokan_model::Millis(0) },
        endpoints: std::collections::BTreeMap::new(),
        addresses: Vec::new(),
        reach: Reach::Bridge,
        candidate: None,
    }
}

/// Every method but `ensure`, which needs an image; what each said.
async fn call_all(docker: &Docker) -> Vec<(&'static str, Result<()>)> {
    let observed = nothing();
    let id = observed.instance;
    let command = Check::Command { command: vec!["true".to_owned()] };
    let image: ImageRef = "x".parse().unwrap();
    let pull = PullRequest { image: image.clone(), credentials: None };
    let exec = ExecSpec { command: vec!["true".to_owned()], ..ExecSpec::default() };
    let content = Box::pin(futures_util::stream::empty());
    let (second, progress) = (Duration::from_secs(1), |_: PullProgress| ());
    let calls: Vec<BoxFuture<'_, (&'static str, Result<()>)>> = vec![
        async { ("info", docker.info().await.map(drop)) }.boxed(),
        async { ("find_image", docker.find_image(&image).await.map(drop)) }.boxed(),
        async { ("pull", docker.pull(&pull, &progress).await.map(drop)) }.boxed(),
        async { ("stop", docker.stop(id, second).await) }.boxed(),
        async { ("retire", docker.retire(id, 1, second).await) }.boxed(),
        async { ("remove", docker.remove(id, Volumes::Keep).await) }.boxed(),
        async { ("remove_network", docker.remove_network(observed.project).await) }.boxed(),
        async { ("observe", docker.observe(id).await.map(drop)) }.boxed(),
        async { ("list", docker.list().await.map(drop)) }.boxed(),
        async { ("holdings", docker.holdings().await.map(drop)) }.boxed(),
        async { ("watch", docker.watch().await.map(drop)) }.boxed(),
        async { ("probe", docker.probe(&observed, &command, Duration::from_mins(1)).await.map(drop)) }
            .boxed(),
        async { ("logs", docker.logs(id.into(), LogOptions::default()).await.map(drop)) }.boxed(),
        async { ("exec", docker.exec(id.into(), exec).await.map(drop)) }.boxed(),
        async { ("stats", docker.stats(id.into()).await.map(drop)) }.boxed(),
        async { ("dial", docker.dial(id.into(), "http").await.map(drop)) }.boxed(),
        async { ("list_files", docker.list_files(id.into(), "/").await.map(drop)) }.boxed(),
        async { ("read_file", docker.read_file(id.into(), "/x").await.map(drop)) }.boxed(),
        async { ("write_file", docker.write_file(id.into(), "/x", 0o644, 0, content).await) }.boxed(),
    ];
    futures_util::future::join_all(calls).await
}

#[tokio::test]
async fn an_engine_that_accepts_and_never_answers_is_unavailable_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut hole = JoinSet::new();
    hole.spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    });
    let docker = Docker::connect(impatient(&path)).unwrap();
    let begun = Instant::now();
    for (method, outcome) in call_all(&docker).await {
        assert!(matches!(&outcome, Err(RuntimeError::Unavailable(_))), "{method}: {outcome:?}");
    }
    // The version is asked for by one call at a time, so each waits for its own turn at worst.
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_unavailable_at_once_and_found_when_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.sock");
    let docker = Docker::connect(impatient(&path)).unwrap();
    for (method, outcome) in call_all(&docker).await {
        let said = format!("{outcome:?}");
        assert!(matches!(&outcome, Err(RuntimeError::Unavailable(_))), "{method}: {said}");
        assert!(said.contains("engine.sock") && said.contains("no such socket"), "{method}: {said}");
    }
    drop(UnixListener::bind(&path).unwrap());
    let refused = docker.list().await.unwrap_err().to_string();
    assert!(refused.contains("nothing listens there"), "{refused}");
    std::fs::remove_file(&path).unwrap();
    if support::engine().await.is_none() {
        return;
    }
    std::os::unix::fs::symlink(support::socket(), &path).unwrap();
    assert_eq!(docker.list().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_hangs_later_ends_watches_and_calls() {
    if support::engine().await.is_none() {
        return;
    }
    let between = Between::new();
    let docker = Docker::connect(impatient(&between.path)).unwrap();
    assert_eq!(docker.info().await.unwrap().engine, "docker");
    let mut changes = docker.watch().await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap(), Change::Resync);
    between.frozen.cancel();
    let begun = Instant::now();
    assert!(matches!(changes.next().await, Some(Err(RuntimeError::Unavailable(_)))));
    assert!(changes.next().await.is_none());
    for (method, outcome) in call_all(&docker).await {
        assert!(matches!(&outcome, Err(RuntimeError::Unavailable(_))), "{method}: {outcome:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_ends_watches_at_once() {
    if support::engine().await.is_none() {
        return;
    }
    let between = Between::new();
    let options = Options { patience: Duration::from_mins(10), ..impatient(&between.path) };
    let docker = Docker::connect(options).unwrap();
    let mut changes = docker.watch().await.unwrap();
    assert_eq!(changes.next().await.unwrap().unwrap(), Change::Resync);
    between.cut.cancel();
    let end = tokio::time::timeout(Duration::from_secs(5), changes.next()).await.unwrap();
    assert!(matches!(end, Some(Err(RuntimeError::Unavailable(_)))), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_others_hold_are_left_alone() {
    check(async |h, stage| {
        let (mut workload, observed) = h.up(&["sleep", "600"]).await;
        workload.spec.volumes =
            vec![VolumeMount { name: "data".to_owned(), path: "/data".to_owned(), read_only: false }];
        let inspected = stage.docker.inspect_container(&observed.engine_id, None).await.unwrap();
        let name = inspected.name.unwrap().trim_start_matches('/').to_owned();
        h.runtime.remove(workload.instance, Volumes::Remove).await.unwrap();

        let options =
            CreateContainerOptions { name: Some(name.clone()), ..CreateContainerOptions::default() };
        let body =
            ContainerCreateBody { image: Some(workload.image_id.clone()), ..ContainerCreateBody::default() };
        let foreign = stage.docker.create_container(Some(options), body).await.unwrap().id;
        let refused = h.runtime.ensure(&workload).await.unwrap_err().to_string();
        assert!(refused.contains(&name) && refused.contains("not ours"), "{refused}");
        stage.docker.inspect_container(&foreign, None).await.unwrap();
        stage.docker.remove_container(&foreign, None::<RemoveContainerOptions>).await.unwrap();

        h.runtime.remove(workload.instance, Volumes::Remove).await.unwrap();
        let volume = name.replace(&format!("-{}-", workload.name), "-").replace("-g1", "-data");
        let labels = Some([("made-by".to_owned(), "somebody else".to_owned())].into());
        let request =
            VolumeCreateRequest { name: Some(volume.clone()), labels, ..VolumeCreateRequest::default() };
        stage.docker.create_volume(request).await.unwrap();
        let refused = h.runtime.ensure(&workload).await.unwrap_err().to_string();
        assert!(refused.contains(&volume) && refused.contains("not this instance's"), "{refused}");
        h.runtime.remove(workload.instance, Volumes::Remove).await.unwrap();
        stage.docker.remove_volume(&volume, None::<RemoveVolumeOptions>).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_without_labels_are_told_by_their_names_and_others_left_alone() {
    check(async |h, stage| {
        let (workload, observed) = h.serving().await;
        let inspected = stage.docker.inspect_container(&observed.engine_id, None).await.unwrap();
        let name = inspected.name.unwrap().trim_start_matches('/').to_owned();
        h.runtime.remove(workload.instance, Volumes::Remove).await.unwrap();
        let torn = name.replace(&format!("-{}-", workload.name), "-").replace("-g1", "-torn");
        let plant = async |name: String, labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let request = VolumeCreateRequest {
                name: Some(name),
                labels: Some(labels),
                ..VolumeCreateRequest::default()
            };
            stage.docker.create_volume(request).await.unwrap();
        };
        let foreign = [format!("{torn}-labelled"), format!("my-{torn}"), format!("{torn}.x")];
        plant(torn.clone(), &[]).await;
        plant(foreign[0].clone(), &[("made-by", "somebody else")]).await;
        plant(foreign[1].clone(), &[]).await;
        plant(foreign[2].clone(), &[]).await;
        let end = workload.instance.to_string().split_off(24);
        let held = h.runtime.holdings().await.unwrap();
        let ours: Vec<_> = held.torn.iter().filter(|t| t.id_end == end).collect();
        assert_eq!(ours.len(), 1, "{held:?}");
        assert_eq!(ours[0].volume, "torn");
        assert!(ours[0].created_at.0 > 1_700_000_000_000, "{held:?}");
        h.runtime.remove(workload.instance, Volumes::Remove).await.unwrap();
        assert!(stage.docker.inspect_volume(&torn).await.is_err(), "it is removed");
        let left = h.runtime.holdings().await.unwrap();
        assert!(left.torn.iter().all(|t| t.id_end != end), "{left:?}");
        for name in foreign {
            stage.docker.remove_volume(&name, None::<RemoveVolumeOptions>).await.expect("it was left alone");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_containers_go_on_and_end_politely() {
    check(async |h, stage| {
        let (workload, first) = h.serving().await;
        stage.docker.pause_container(&first.engine_id).await.unwrap();
        let paused = h.runtime.observe(workload.instance).await.unwrap().unwrap();
        assert!(matches!(paused.phase, Phase::Paused { .. }) && paused.endpoints.is_empty(), "{paused:?}");
        assert_eq!(h.runtime.ensure(&workload).await.unwrap(), first);
        h.answers(&workload, "http").await;
        stage.docker.pause_container(&first.engine_id).await.unwrap();
        h.runtime.stop(workload.instance, Duration::from_secs(20)).await.unwrap();
        assert_eq!(h.ended(workload.instance).await, (0, false));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_somebody_removed_is_made_again() {
    check(async |h, stage| {
        let (workload, observed) = h.serving().await;
        h.runtime.stop(workload.instance, Duration::from_secs(5)).await.unwrap();
        let inspected = stage.docker.inspect_container(&observed.engine_id, None).await.unwrap();
        let networks = inspected.network_settings.unwrap().networks.unwrap();
        for name in networks.keys() {
            stage.docker.remove_network(name).await.unwrap();
        }
        assert_eq!(h.runtime.ensure(&workload).await.unwrap().engine_id, observed.engine_id);
        h.answers(&workload, "http").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_end_with_their_container() {
    check(async |h, _| {
        let (workload, _) = h.serving().await;
        let spec = ExecSpec { command: vec!["sleep".to_owned(), "600".to_owned()], ..ExecSpec::default() };
        let mut exec = h.runtime.exec(workload.instance.into(), spec).await.unwrap();
        h.runtime.stop(workload.instance, Duration::from_secs(5)).await.unwrap();
        let end = async {
            while exec.output.next().await.is_some() {}
            exec.exit.await
        };
        let code = tokio::time::timeout(Duration::from_secs(20), end).await.unwrap().unwrap();
        assert_ne!(code, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_ends_streams_and_waits_for_nothing_else() {
    check(async |h, stage| {
        let (workload, _) = h.serving().await;
        let docker = Docker::connect(stage.options()).unwrap();
        let follow = LogOptions { follow: true, ..LogOptions::default() };
        let mut lines = docker.logs(workload.instance.into(), follow).await.unwrap();
        let exec = ExecSpec { command: vec!["cat".to_owned()], stdin: true, ..ExecSpec::default() };
        let mut exec = docker.exec(workload.instance.into(), exec).await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), docker.close()).await.expect("closes");
        let ends = async {
            while lines.next().await.is_some_and(|l| l.is_ok()) {}
            while exec.output.next().await.is_some_and(|c| c.is_ok()) {}
        };
        tokio::time::timeout(Duration::from_secs(10), ends).await.expect("streams end");
        assert!(h.runtime.observe(workload.instance).await.unwrap().unwrap().phase.is_running());
    })
    .await;
}

/// A registry on a free port of this machine, run by the project's script.
struct Registry {
    folder: tempfile::TempDir,
    address: String,
}

impl Registry {
    fn script(folder: &Path, action: &str, login: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/registry");
        let ran = std::process::Command::new(script).arg(action).arg(folder).args(login).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap().trim().to_owned()
    }

    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = Self::script(folder.path(), "start", &[]);
        Self { folder, address }
    }

    fn stop(&self) {
        Self::script(self.folder.path(), "stop", &[]);
    }

    fn again(&self, login: &[&str]) {
        self.stop();
        assert_eq!(Self::script(self.folder.path(), "start", login), self.address);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Makes an image that nobody has seen, pushes it, and forgets it; its id.
async fn publish(docker: &bollard::Docker, repository: &str, tag: &str) -> String {
    let server = test_server();
    let seed = server.0.as_u128();
    let mut noise = vec![0_u8; 12 * 1024 * 1024];
    let mut word = seed | 1;
    for chunk in noise.chunks_mut(16) {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(noise.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "noise", noise.as_slice()).unwrap();
    let local = format!("ryokan-test/noise-{}", &server.to_string()[24..]);
    let options = CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: Some(local.clone()),
        tag: Some("1".to_owned()),
        ..CreateImageOptions::default()
    };
    let body = bollard::body_full(tar.into_inner().unwrap().into());
    docker.create_image(Some(options), Some(body), None).try_collect::<Vec<_>>().await.unwrap();
    let local = format!("{local}:1");
    let id = docker.inspect_image(&local).await.unwrap().id.unwrap();
    let options = TagImageOptions { repo: Some(repository.to_owned()), tag: Some(tag.to_owned()) };
    docker.tag_image(&local, Some(options)).await.unwrap();
    let options = PushImageOptions { tag: Some(tag.to_owned()), ..PushImageOptions::default() };
    let none = bollard::auth::DockerCredentials::default();
    docker.push_image(repository, Some(options), Some(none)).try_collect::<Vec<_>>().await.unwrap();
    for name in [format!("{repository}:{tag}"), local] {
        docker.remove_image(&name, None::<RemoveImageOptions>, None).await.unwrap();
    }
    id
}

fn asks(image: &str, login: Option<(&str, &str)>) -> PullRequest {
    let credentials = login.map(|(username, password)| RegistryCredentials {
        username: username.to_owned(),
        password: Secret::new(password),
    });
    PullRequest { image: image.parse::<ImageRef>().unwrap(), credentials }
}

fn why(outcome: Result<ryokan_ports::runtime::Image>) -> (bool, String) {
    match outcome {
        Err(RuntimeError::Image { reason, retry, .. }) => (retry, reason),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_are_pulled_from_a_registry() {
    let Some(engine) = support::engine().await else { return };
    let registry = Registry::start();
    let repository = format!("{}/team/agent", registry.address);
    let docker = Docker::connect(Options::new(test_server())).unwrap();
    let seen = Arc::new(Mutex::new(Vec::<PullProgress>::new()));
    let progress = {
        let seen = seen.clone();
        move |step: PullProgress| seen.lock().unwrap().push(step)
    };
    let (one, latest) = (format!("{repository}:1"), format!("{repository}:latest"));
    let id = publish(&engine, &repository, "1").await;

    assert_eq!(docker.find_image(&one.parse().unwrap()).await.unwrap(), None);
    let pulled = docker.pull(&asks(&one, None), &progress).await.unwrap();
    assert_eq!(pulled.id, id);
    let digest = pulled.digest.clone().unwrap();
    assert!(digest.starts_with("sha256:") && digest != id, "{digest}");
    {
        let seen = seen.lock().unwrap();
        let last = seen.last().unwrap();
        assert!(last.total > 10_000_000 && last.done == last.total, "{seen:?}");
        assert!(seen.windows(2).all(|w| w[0].done <= w[1].done), "{seen:?}");
    }

    let (retry, reason) = why(docker.pull(&asks(&format!("{repository}:2"), None), &progress).await);
    assert!(!retry && reason.contains("check name and tag"), "{reason}");

    // The same by its digest, and ten callers at once.
    engine.remove_image(&one, None::<RemoveImageOptions>, None).await.unwrap();
    let by_digest = format!("{repository}@{digest}");
    let request = asks(&by_digest, None);
    let all = futures_util::future::join_all((0..10).map(|_| docker.pull(&request, &|_| ()))).await;
    for image in all {
        assert_eq!(image.unwrap(), pulled);
    }

    // A pull looks at `latest` again.
    let first = publish(&engine, &repository, "latest").await;
    let got = docker.pull(&asks(&latest, None), &progress).await.unwrap();
    assert_eq!(got.id, first);
    let second = {
        let other = format!("{}/elsewhere/agent", registry.address);
        // Publishing forgets its tags, so the first one is kept under another name meanwhile.
        let options = TagImageOptions { repo: Some(other.clone()), tag: Some("kept".to_owned()) };
        engine.tag_image(&latest, Some(options)).await.unwrap();
        let second = publish(&engine, &repository, "latest").await;
        let options = TagImageOptions { repo: Some(repository.clone()), tag: Some("latest".to_owned()) };
        engine.tag_image(&format!("{other}:kept"), Some(options)).await.unwrap();
        engine.remove_image(&format!("{other}:kept"), None::<RemoveImageOptions>, None).await.unwrap();
        second
    };
    let got = docker.find_image(&latest.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(got.id, first);
    let got = docker.pull(&asks(&latest, None), &progress).await.unwrap();
    assert_eq!(got.id, second);

    // A registry that is away stops only those who ask it.
    registry.stop();
    assert!(docker.find_image(&latest.parse().unwrap()).await.unwrap().is_some());
    let (retry, reason) = why(docker.pull(&asks(&latest, None), &progress).await);
    assert!(retry && reason.contains("cannot be reached"), "{reason}");
    engine.remove_image(&by_digest, None::<RemoveImageOptions>, None).await.unwrap();

    // One that wants to know who asks. This password needs the alphabet of header values to be right.
    let password = "p+/w?~>>>???ÿÿÿ\u{1F511}";
    registry.again(&["somebody", password]);
    let (retry, reason) = why(docker.pull(&asks(&one, None), &progress).await);
    assert!(!retry && reason.contains("credentials to the project"), "{reason}");
    let login = Some(("somebody", "wrong"));
    let (retry, reason) = why(docker.pull(&asks(&one, login), &progress).await);
    assert!(!retry && reason.contains("refuses the stored credentials"), "{reason}");
    assert!(!reason.contains("wrong"), "{reason}");
    let login = Some(("somebody", password));
    let got = docker.pull(&asks(&one, login), &progress).await.unwrap();
    assert_eq!(got, pulled);
    for name in [&one, &latest] {
        engine.remove_image(name, None::<RemoveImageOptions>, None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_stands_still_is_given_up() {
    if support::engine().await.is_none() {
        return;
    }
    // A registry that accepts and says nothing.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let image = format!("{}/x:1", listener.local_addr().unwrap());
    let mut hole = JoinSet::new();
    hole.spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    });
    let options = Options { pull_stall: Duration::from_secs(1), ..Options::new(test_server()) };
    let docker = Docker::connect(options).unwrap();
    let (retry, reason) = why(docker.pull(&asks(&image, None), &|_| ()).await);
    assert!(retry && reason.contains("stood still"), "{reason}");
}

/// A socket before the engine's that answers the first request whose first line holds `what` with an error of its own.
fn spoil(socket: &Path, what: &'static str, error: &'static str) -> JoinSet<()> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = UnixListener::bind(socket).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut connections, mut spoilt) = (JoinSet::new(), false);
        loop {
            let (mut ours, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(ours.read_u8().await.unwrap());
            }
            let first = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
            if first.contains(what) && !std::mem::replace(&mut spoilt, true) {
                let body = format!("{{\"message\":\"{error}\"}}");
                let length = body.len();
                let head = "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n";
                let answer = format!("{head}Content-Length: {length}\r\n\r\n{body}");
                ours.write_all(answer.as_bytes()).await.unwrap();
                continue;
            }
            connections.spawn(async move {
                let mut theirs = UnixStream::connect(support::socket()).await.unwrap();
                theirs.write_all(&head).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await;
            });
        }
    });
    tasks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_a_killed_engine_cannot_start_any_more_is_made_anew() {
    check(async |h, stage| {
        let (workload, first) = h.serving().await;
        h.runtime.stop(workload.instance, Duration::from_secs(5)).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("engine.sock");
        let _tasks = spoil(&socket, "/start", "task 0123abc: already exists: unknown");
        let socket = Some(format!("unix://{}", socket.display()));
        let docker = Docker::connect(Options { socket, ..stage.options() }).unwrap();
        let again = docker.ensure(&workload).await.unwrap();
        assert!(again.engine_id != first.engine_id, "the same container would never start");
        h.answers(&workload, "http").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_prepared_a_volume_and_was_left_behind_is_swept_up() {
    check(async |h, stage| {
        let (workload, observed) = h.serving().await;
        let inspected = stage.docker.inspect_container(&observed.engine_id, None).await.unwrap();
        let ours = inspected.config.unwrap().labels.unwrap();
        let plant = async |server: Option<&str>| {
            let mut labels = ours.clone();
            labels.insert("ryokan.purpose".to_owned(), "volume".to_owned());
            labels.extend(server.map(|id| ("ryokan.server".to_owned(), id.to_owned())));
            let image = Some(workload.image_id.clone());
            let body = ContainerCreateBody { image, labels: Some(labels), ..ContainerCreateBody::default() };
            stage.docker.create_container(None, body).await.unwrap().id
        };
        let (left, foreign) = (plant(None).await, plant(Some("0198f3a1-7c2b-7def-8123-456789abcdef")).await);
        let listed = h.runtime.list().await.unwrap();
        assert!(listed.iter().any(|o| o.engine_id == observed.engine_id), "{listed:?}");
        assert!(stage.docker.inspect_container(&left, None).await.is_err(), "it is removed");
        stage
            .docker
            .remove_container(&foreign, None::<RemoveContainerOptions>)
            .await
            .expect("it was left alone");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_that_was_cut_off_shows_what_runs_and_leaves_nothing() {
    check(async |h, stage| {
        let (mut workload, first) = h.serving().await;
        workload.generation += 1;
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("engine.sock");
        let _tasks = spoil(&socket, "/stop", "the engine dies");
        let socket = Some(format!("unix://{}", socket.display()));
        let docker = Docker::connect(Options { socket, ..stage.options() }).unwrap();
        docker.ensure(&workload).await.unwrap_err();
        // The new one is made, the old one runs: whoever wants it stopped has to see that.
        let seen = h.runtime.observe(workload.instance).await.unwrap().unwrap();
        assert_eq!((seen.engine_id, seen.generation), (first.engine_id.clone(), first.generation));
        let listed = h.runtime.list().await.unwrap();
        let seen: Vec<_> = listed.iter().filter(|o| o.instance == workload.instance).collect();
        assert!(seen.len() == 1 && seen[0].engine_id == first.engine_id, "{seen:?}");
        h.runtime.stop(workload.instance, Duration::from_secs(5)).await.unwrap();
        h.runtime.list().await.unwrap();
        assert!(
            stage.docker.inspect_container(&first.engine_id, None).await.is_err(),
            "the old one is removed"
        );
        let left = h.runtime.observe(workload.instance).await.unwrap().unwrap();
        assert_eq!((left.generation, left.phase), (workload.generation, Phase::Created));
    })
    .await;
}
