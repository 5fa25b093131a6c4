//! The Docker adapter under the suite that every engine passes.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use ryokan_adapters::docker::Options;
use ryokan_ports::conformance::{self, Harness};
use ryokan_ports::runtime::Reach;
use support::Stage;

async fn check(case: impl AsyncFnOnce(&Harness)) {
    check_with(|_| (), case).await;
}

async fn check_with(change: impl FnOnce(&mut Options), case: impl AsyncFnOnce(&Harness)) {
    let Some(docker) = support::engine().await else { return };
    let stage = Stage::new(docker);
    let mut options = stage.options();
    change(&mut options);
    let harness = stage.harness(options).await;
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

/// Engines whose containers' own addresses cannot be reached, as rootless ones: what has to do with addresses, again.
mod loopback {
    use super::*;

    macro_rules! tests {
        ($($case:ident),*) => {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    check_with(|options| options.reach = Some(Reach::Loopback), conformance::$case).await;
                }
            )*
        };
    }

    tests!(ensure_runs_a_workload, ports_can_be_dialled, probes_of_http, probes_of_tcp, projects_are_apart);
}
