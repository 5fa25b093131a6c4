//! The Docker adapter under the suite that every engine passes.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use ryokan_adapters::docker::Options;
use ryokan_ports::conformance::{self, Harness};
use ryokan_ports::runtime::Reach;
use support::Stage;

/// Cases that cannot hold for an engine or an isolation, and why. Users read of the same in `docs/engines.md`.
const NOT_APPLICABLE: &[(&str, &str, &str)] = &[
    (
        "podman",
        "config_on_a_read_only_root_is_refused_by_its_field",
        "Podman places files in a read-only root",
    ),
    ("podman", "files_behind_a_dangling_link_are_made", "Podman puts the file in the place of the link"),
    (
        "podman",
        "logs_of_a_line_that_never_ended",
        "pieces of lines are told apart by their times: whole seconds",
    ),
    (
        "podman",
        "out_of_memory_is_seen",
        "Podman 4.3 does not tell, with cgroup v1; the exit code is 137 all the same",
    ),
    ("runsc", "containers_are_fenced_in", "gVisor shows neither limits nor filters inside"),
    ("runsc", "containers_without_a_writable_root", "gVisor says `permission denied` for `read-only`"),
    (
        "runsc",
        "containers_have_a_process_limit",
        "it holds gVisor's own threads too, and reaching it ends them all",
    ),
    ("runsc", "exec_with_environment_user_and_folder", "gVisor takes a missing folder for a missing program"),
    (
        "runsc",
        "out_of_memory_is_seen",
        "Docker may hear of the end before its reason; the exit code is 137 all the same",
    ),
    ("runsc", "exec_ends_when_nobody_looks", NOT_OURS),
    ("runsc", "exec_that_was_cut_off_leaves_nothing", NOT_OURS),
    ("runsc", "probes_end_in_time", NOT_OURS),
    ("runsc", "files_behind_links_stay_inside", "gVisor 2022 makes no hard links from folder to folder"),
    ("runsc", "files_behind_a_dangling_link_are_made", "gVisor remembers that there was no such file"),
    ("runsc", "siblings_find_each_other_by_name", NO_NAMES),
    ("runsc", "projects_are_apart", NO_NAMES),
    ("podman-rootless", "containers_are_fenced_in", NO_LIMITS),
    ("podman-rootless", "containers_have_a_process_limit", NO_LIMITS),
    ("podman-rootless", "stats_are_plausible_and_end_with_the_container", NO_LIMITS),
    (
        "podman-rootless",
        "projects_are_apart",
        "netavark 1.4 opens networks where only its user can look; a warning says so",
    ),
    (
        "podman-rootless",
        "facts_name_the_address_that_the_gateway_comes_from",
        "it comes from the container's own address, which nobody knows before, so agents are told none",
    ),
    ("podman-rootless", "exec_ends_when_nobody_looks", NO_GROUPS),
    ("podman-rootless", "exec_that_was_cut_off_leaves_nothing", NO_GROUPS),
    ("podman-rootless", "probes_end_in_time", NO_GROUPS),
];
const NOT_OURS: &str = "processes in gVisor are not the machine's; an abandoned command ends by itself";
const NO_NAMES: &str = "Docker's name server is on a loopback that gVisor has its own of";
const NO_GROUPS: &str = "without a control group a command cannot be recognised, and ends by itself";
const NO_LIMITS: &str = "a rootless engine limits nothing with cgroup v1";

/// Why a case is not for the engine under test.
async fn not_applicable(harness: &Harness, case: &str) -> Option<&'static str> {
    if !NOT_APPLICABLE.iter().any(|(_, name, _)| *name == case) {
        return None;
    }
    let info = harness.runtime.info().await.unwrap();
    let rootless = format!("{}-rootless", info.engine);
    NOT_APPLICABLE
        .iter()
        .filter(|(of, _, _)| {
            *of == info.engine || *of == harness.isolation || info.rootless && *of == rootless
        })
        .find_map(|(_, name, reason)| (*name == case).then_some(*reason))
}

async fn check(name: &str, case: impl AsyncFnOnce(&Harness)) {
    check_with(name, |_| (), case).await;
}

#[expect(clippy::print_stdout, reason = "a test's word to whoever runs it")]
async fn check_with(name: &str, change: impl FnOnce(&mut Options), case: impl AsyncFnOnce(&Harness)) {
    let Some(docker) = support::engine().await else { return };
    let stage = Stage::new(docker);
    let mut options = stage.options();
    change(&mut options);
    let harness = stage.harness(options).await;
    if let Some(reason) = not_applicable(&harness, name).await {
        println!("NOT APPLICABLE: {name}: {reason}");
        return;
    }
    conformance::run(harness, case).await;
    let left = stage.leftovers().await;
    assert!(left.is_empty(), "left behind: {left:?}");
}

macro_rules! tests {
    (portable: [$($portable:ident),* $(,)?] real: [$($real:ident),* $(,)?]) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $portable() {
                check(stringify!($portable), conformance::$portable).await;
            }
        )*
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $real() {
                check(stringify!($real), conformance::$real).await;
            }
        )*
    };
}

ryokan_ports::runtime_cases!(tests);

/// An engine that forgets limits is given nothing to run, unless it is said that this is fine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_that_would_be_forgotten_are_refused() {
    let strict = |options: &mut Options| options.allow_unlimited = false;
    check_with("limits_that_would_be_forgotten_are_refused", strict, async |h: &Harness| {
        let unlimited = h.runtime.info().await.unwrap().unlimited;
        let outcome = h.runtime.ensure(&h.workload(&["sleep", "600"]).await).await;
        match unlimited.first() {
            None => assert!(outcome.unwrap().phase.is_running()),
            Some(resource) => {
                let refused = outcome.unwrap_err().to_string();
                assert!(refused.starts_with(&format!("resources.{resource}: ")), "{refused}");
            }
        }
    })
    .await;
}

/// Engines whose containers' own addresses cannot be reached, as rootless ones: what has to do with addresses, again.
mod loopback {
    use super::*;

    macro_rules! tests {
        ($($case:ident),*) => {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let change = |options: &mut Options| options.reach = Some(Reach::Loopback);
                    check_with(stringify!($case), change, conformance::$case).await;
                }
            )*
        };
    }

    tests!(ensure_runs_a_workload, ports_can_be_dialled, probes_of_http, probes_of_tcp, projects_are_apart);
}
