//! The engine's builder under the suite that every builder passes.
#![expect(clippy::unwrap_used, reason = "tests")]

#[expect(dead_code, reason = "the other suites use the rest")]
mod support;

use std::time::Duration;

use bollard::query_parameters::ListContainersOptions;
use ryokan_adapters::docker::Docker;
use ryokan_model::image::ImageRef;
use ryokan_model::quantity::{Bytes, Cpus};
use ryokan_model::{DeploymentId, InstanceId, ProjectId};
use ryokan_ports::build::{BuildLimits, BuildRequest, ImageBuilder as _};
use ryokan_ports::conformance::{self, Workshop, test_server};
use ryokan_ports::runtime::Runtime as _;
use support::Stage;

async fn check(case: impl AsyncFnOnce(&Workshop<'_>)) {
    let Some(engine) = support::engine().await else { return };
    let stage = Stage::new(engine);
    let base = support::image(&stage.docker).await;
    let docker = Docker::connect(stage.options()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let tag = format!("ryokan.local/test/build:{}", test_server()).parse().unwrap();
    let shop = Workshop { builder: &docker, base, context: folder.path().to_owned(), tag };
    case(&shop).await;
    let left = stage.leftovers().await;
    assert!(left.is_empty(), "left behind: {left:?}");
}

macro_rules! tests {
    ($($case:ident),*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                check(conformance::$case).await;
            }
        )*
    };
}

tests!(
    builds_make_a_named_image_as_often_as_asked,
    builds_that_fail_say_why,
    builds_are_held_to_their_limits,
    builds_that_fill_the_disk_are_ended,
    builds_send_links_as_links
);

/// A Dockerfile's labels are a stranger's words. A step that calls itself an instance's container, in an image that was
/// built here, must not be taken for one: requests to that instance would go to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_is_never_taken_for_an_instance() {
    let Some(engine) = support::engine().await else { return };
    let stage = Stage::new(engine);
    let base = support::image(&stage.docker).await;
    let docker = Docker::connect(stage.options()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let victim = InstanceId(test_server().0);
    let request = |name: &str, dockerfile: String| BuildRequest {
        deployment: DeploymentId(test_server().0),
        project: ProjectId(victim.0),
        tag: format!("ryokan.local/test/{name}:{victim}").parse::<ImageRef>().unwrap(),
        context: folder.path().to_owned(),
        dockerfile,
        limits: BuildLimits {
            time: Duration::from_mins(1),
            memory: Bytes::mebi(64),
            cpus: Cpus::from_millis(1000),
            disk: Bytes::mebi(64),
            log_bytes: 64 * 1024,
            network: "none".into(),
        },
    };
    let first = request("first", format!("FROM {base}\n"));
    docker.build(&first, &|_| ()).await.unwrap();
    let claim = format!(
        "LABEL ryokan.instance={victim} ryokan.project={victim} ryokan.generation=9 ryokan.port.http=3000 ryokan.name=x"
    );
    let second = request("second", format!("FROM {}\n{claim}\nRUN sleep 3\n", first.tag));
    let mut seen = false;
    let watch = async {
        loop {
            let filters = [("label".to_owned(), vec![format!("ryokan.instance={victim}")])].into();
            let options =
                ListContainersOptions { filters: Some(filters), ..ListContainersOptions::default() };
            seen |= !stage.docker.list_containers(Some(options)).await.unwrap().is_empty();
            assert_eq!(docker.list().await.unwrap(), []);
            assert_eq!(docker.observe(victim).await.unwrap(), None);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        built = docker.build(&second, &|_| ()) => drop(built.unwrap()),
        () = watch => {}
    }
    assert!(seen, "its step was there to be mistaken");
    for built in docker.built().await.unwrap() {
        docker.forget(&built).await.unwrap();
    }
    let left = stage.leftovers().await;
    assert!(left.is_empty(), "left behind: {left:?}");
}
