//! The engine's builder under the suite that every builder passes.
#![expect(clippy::unwrap_used, reason = "tests")]

#[expect(dead_code, reason = "the other suites use the rest")]
mod support;

use ryokan_adapters::docker::Docker;
use ryokan_ports::conformance::{self, Workshop, test_server};
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
