//! The Docker adapter under the suite that every engine passes.

mod support;

use ryokan_ports::conformance::{self, Harness};
use support::Stage;

async fn check(case: impl AsyncFnOnce(&Harness)) {
    let Some(docker) = support::engine().await else { return };
    let stage = Stage::new(docker);
    let harness = stage.harness(stage.options()).await;
    conformance::run(harness, case).await;
    let left = stage.leftovers().await;
    assert!(left.is_empty(), "left behind: {left:?}");
}

macro_rules! tests {
    (portable: [$($portable:ident),* $(,)?] real: [$($real:ident),* $(,)?]) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $portable() {
                check(conformance::$portable).await;
            }
        )*
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $real() {
                check(conformance::$real).await;
            }
        )*
    };
}

ryokan_ports::runtime_cases!(tests);
