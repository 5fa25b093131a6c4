//! The conformance suite of [`Runtime`]: what every engine must do, as named cases.
//!
//! A test file of an adapter builds a [`Harness`] and lets [`runtime_cases`](crate::runtime_cases) make one test of
//! each case. `portable` cases hold for the in-memory fake as well; `real` ones look at processes, kernels and networks
//! from inside. Each case has a server id of its own, so cases run beside each other; [`run`] removes what a case
//! made, also when it failed, and fails if anything is left.
//!
//! The harness' image runs `agent WORD ...` as its entry point, with these words: `serve` (HTTP on 3000 and 3001: `/`
//! says `hello from PORT`, `/health` says `ok`, all else is 404), `ignore-term`, `sleep SECONDS`, `echo WORDS`,
//! `err WORDS` (to stderr), `cat`, `env`, `exit CODE`, `log N [PAUSE-MS]` (`line 1` to stdout, `line 2` to stderr, and
//! so on, then goes on sleeping with a pause, and ends without). `real` images have a shell and busybox's small tools,
//! and `serve` answers `/cgi-bin/slow` never.
#![expect(clippy::unwrap_used, reason = "these are tests; they live here so that every adapter can run them")]

mod build;
mod config;
mod ensure;
mod exec;
mod files;
mod hardening;
mod images;
mod logs;
mod network;
mod probe;
mod removal;
mod stats;
mod stop;
mod watch;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use ryokan_model::image::ImageRef;
use ryokan_model::quantity::{Bytes, Span};
use ryokan_model::spec::{InstanceSpec, Port, Protocol, Security, VolumeMount};
use ryokan_model::{InstanceId, Millis, Name, ProjectId, ServerId};
use tokio::time::Instant;

use crate::Runtime;
use crate::runtime::{
    ExecSpec, LogLine, LogOptions, Observed, Output, Phase, RuntimeError, Volumes, Workload,
};

pub use build::*;
pub use config::*;
pub use ensure::*;
pub use exec::*;
pub use files::*;
pub use hardening::*;
pub use images::*;
pub use logs::*;
pub use network::*;
pub use probe::*;
pub use removal::*;
pub use stats::*;
pub use stop::*;
pub use watch::*;

/// Longer than any engine on a busy machine should take for anything here.
const PATIENCE: Duration = Duration::from_secs(30);

/// Calls a macro with the names of all cases.
#[macro_export]
macro_rules! runtime_cases {
    ($then:ident) => {
        $then! {
            portable: [
                info_describes_the_engine,
                ensure_runs_a_workload,
                ensure_is_idempotent,
                ensure_starts_a_stopped_container_again,
                ensure_replaces_an_older_generation,
                ensure_beside_leaves_the_older_generation_alone,
                a_candidate_that_ends_is_seen_beside_what_serves,
                retire_leaves_one_generation,
                ensure_that_was_overtaken_changes_nothing,
                ensure_that_was_cut_off_is_finished_by_the_next,
                ensure_makes_a_lost_container_anew,
                ensure_refuses_an_unknown_isolation_with_what_there_is,
                ensure_refuses_what_the_host_does_not_have,
                ensure_of_ten_at_once,
                ensure_of_the_same_five_times_at_once,
                volumes_outlive_generations,
                stop_keeps_the_disk,
                stop_lets_an_agent_end,
                stop_kills_an_agent_that_ignores_its_signal,
                stop_of_nothing_is_fine,
                remove_keeps_volumes_when_told,
                remove_takes_volumes_when_told,
                remove_of_nothing_is_fine,
                remove_does_not_wait_for_a_slow_stop,
                networks_go_when_nothing_is_attached,
                servers_do_not_see_each_other,
                list_shows_everything_of_ours,
                watch_begins_with_resync_and_tells_of_starts,
                watch_tells_of_a_lost_container_within_two_seconds,
                watch_is_of_one_server_only,
                exit_codes_are_seen,
                ports_can_be_dialled,
                addresses_are_reported_while_running,
                networks_are_listed_with_their_edge,
                ports_that_are_not_there_are_told_apart,
                variables_and_secrets_arrive,
                facts_arrive_and_restart_nothing,
                files_are_seeded_once_and_managed_always,
                logs_come_in_order_with_their_streams_and_times,
                logs_tail_counts_lines,
                logs_since_and_until_are_exact,
                logs_follow_until_the_container_ends,
                logs_of_nothing_are_not_found,
                exec_tells_output_and_exit_code,
                exec_passes_input_and_its_end,
                exec_of_a_missing_program_is_clear,
                exec_needs_a_running_container,
                stats_are_plausible_and_end_with_the_container,
                files_come_back_as_they_were_written,
                files_of_a_stopped_container,
                files_are_listed_by_name,
                files_never_leave_the_container,
                files_that_end_early_or_late_keep_the_old_one,
                probes_of_http,
                probes_of_tcp,
                probes_of_commands,
                images_are_found_by_name_only,
            ]
            real: [
                ensure_never_runs_two_generations_at_once,
                ensure_refuses_a_program_that_the_image_lacks,
                out_of_memory_is_seen,
                siblings_find_each_other_by_name,
                instances_have_no_route_out,
                the_edge_is_told_before_anything_runs,
                doors_are_in_the_environment_and_nowhere_else,
                authorities_are_seen_read_only,
                projects_are_apart,
                containers_are_fenced_in,
                containers_without_a_writable_root,
                containers_keep_declared_capabilities_only,
                containers_have_a_process_limit,
                facts_name_the_address_that_the_gateway_comes_from,
                facts_that_changed_reach_a_container_with_nothing_to_lose,
                files_and_fresh_volumes_belong_to_the_user,
                config_on_a_read_only_root_is_refused_by_its_field,
                logs_long_lines_are_joined_and_cut,
                logs_of_garbage,
                logs_of_a_line_that_never_ended,
                exec_with_a_terminal,
                exec_with_environment_user_and_folder,
                exec_ends_when_nobody_looks,
                exec_that_was_cut_off_leaves_nothing,
                exec_output_waits_for_its_reader,
                files_of_a_hundred_mebibytes,
                files_behind_links_stay_inside,
                files_behind_a_dangling_link_are_made,
                probes_end_in_time,
            ]
        }
    };
}

/// What happens to an engine without the adapter: by an operator's hand, or by fate.
#[async_trait]
pub trait Meddler: Send + Sync {
    /// As `docker rm -f`: the container is gone, volumes stay.
    async fn lose(&self, instance: InstanceId);

    /// Where a text is to be read of the instance's container by whoever lists containers: in names, labels or
    /// commands. Its variables do not count.
    async fn mentions(&self, instance: InstanceId, text: &str) -> Vec<String>;
}

/// An engine under test.
pub struct Harness {
    pub runtime: Arc<dyn Runtime>,
    /// The same engine, used by another server.
    pub other: Arc<dyn Runtime>,
    pub meddler: Arc<dyn Meddler>,
    /// Present in the engine; see the module's description.
    pub image: ImageRef,
    /// The agent's path inside the image.
    pub agent: String,
    /// What every workload asks to be isolated by.
    pub isolation: String,
    ids: Ids,
    project: ProjectId,
}

/// Ids that no other test of this or another process has.
struct Ids {
    random: u64,
    next: AtomicU64,
}

impl Ids {
    fn new() -> Self {
        Self { random: RandomState::new().build_hasher().finish(), next: AtomicU64::new(0) }
    }

    /// From the year 1970, so that a person sees that it is a test's.
    fn parts(&self) -> (Millis, [u8; 10]) {
        let number = u16::try_from(self.next.fetch_add(1, Ordering::Relaxed)).unwrap();
        let mut bytes = [0; 10];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        bytes[2..].copy_from_slice(&self.random.wrapping_add(u64::from(number)).to_be_bytes());
        (Millis(0), bytes)
    }
}

/// A server id for one test.
pub fn test_server() -> ServerId {
    let (at, random) = Ids::new().parts();
    ServerId::from_parts(at, random)
}

impl Harness {
    pub fn new(
        runtime: Arc<dyn Runtime>,
        other: Arc<dyn Runtime>,
        meddler: Arc<dyn Meddler>,
        image: ImageRef,
        agent: &str,
    ) -> Self {
        let ids = Ids::new();
        let (at, random) = ids.parts();
        let project = ProjectId::from_parts(at, random);
        let isolation = Security::DEFAULT_ISOLATION.to_owned();
        Self { runtime, other, meddler, image, agent: agent.to_owned(), isolation, ids, project }
    }

    pub fn project(&self) -> ProjectId {
        let (at, random) = self.ids.parts();
        ProjectId::from_parts(at, random)
    }

    pub fn instance(&self) -> InstanceId {
        let (at, random) = self.ids.parts();
        InstanceId::from_parts(at, random)
    }

    /// A small workload that runs the agent with these words.
    pub async fn workload(&self, words: &[&str]) -> Workload {
        let found = self.runtime.find_image(&self.image).await.expect("the engine answers");
        let image = found.expect("the test image is in the engine");
        let mut spec = InstanceSpec::new(self.image.clone());
        spec.args = Some(words.iter().map(|w| (*w).to_owned()).collect());
        // What has a kernel of its own needs room for it.
        let plain = self.isolation == Security::DEFAULT_ISOLATION;
        spec.resources.memory = Bytes::mebi(if plain { 64 } else { 256 });
        spec.resources.pids = if plain { 64 } else { 512 };
        spec.security.isolation.clone_from(&self.isolation);
        spec.stop_grace = Span::seconds(5);
        if words == ["serve"] {
            spec.ports = [("http", 3000), ("admin", 3001)]
                .map(|(name, port)| Port { name: name.to_owned(), port, protocol: Protocol::Http })
                .into();
        }
        let instance = self.instance();
        let name: Name = format!("t-{}", &instance.to_string()[31..]).parse().unwrap();
        spec.validate().unwrap();
        Workload {
            instance,
            project: self.project,
            name,
            generation: 1,
            spec,
            image_id: image.id,
            secret_env: BTreeMap::new(),
            facts: BTreeMap::new(),
            beside: None,
            door: None,
            trust: None,
        }
    }

    /// A workload that runs a shell script; `real` engines only.
    pub async fn script(&self, script: &str) -> Workload {
        let mut workload = self.workload(&[]).await;
        workload.spec.command = Some(["sh", "-c", script].map(str::to_owned).to_vec());
        workload.spec.args = None;
        workload
    }

    pub async fn up(&self, words: &[&str]) -> (Workload, Observed) {
        let workload = self.workload(words).await;
        let observed = self.runtime.ensure(&workload).await.unwrap();
        (workload, observed)
    }

    pub async fn up_script(&self, script: &str) -> (Workload, Observed) {
        let workload = self.script(script).await;
        let observed = self.runtime.ensure(&workload).await.unwrap();
        (workload, observed)
    }

    /// A server that answers on its first port.
    pub async fn serving(&self) -> (Workload, Observed) {
        let (workload, observed) = self.up(&["serve"]).await;
        self.answers(&workload, "http").await;
        (workload, observed)
    }

    pub async fn answers(&self, workload: &Workload, port: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.get(workload.instance, port, "/").await {
                Ok(answer) if !answer.is_empty() => return answer,
                failure => {
                    assert!(Instant::now() < deadline, "{} does not answer: {failure:?}", workload.name);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    /// The answer to a GET, headers and all.
    pub async fn get(&self, instance: InstanceId, port: &str, path: &str) -> Result<String, String> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut io = self.runtime.dial(instance.into(), port).await.map_err(|e| e.to_string())?;
        let ask = format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n");
        io.write_all(ask.as_bytes()).await.map_err(|e| e.to_string())?;
        let mut answer = Vec::new();
        io.read_to_end(&mut answer).await.map_err(|e| e.to_string())?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Looks until it is as wanted.
    pub async fn until(
        &self,
        instance: InstanceId,
        wanted: impl Fn(Option<&Observed>) -> bool,
    ) -> Option<Observed> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let observed = self.runtime.observe(instance).await.unwrap();
            if wanted(observed.as_ref()) {
                return observed;
            }
            assert!(Instant::now() < deadline, "it stays {observed:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for its end; its exit code and whether it ran out of memory.
    pub async fn ended(&self, instance: InstanceId) -> (i64, bool) {
        let observed =
            self.until(instance, |o| o.is_some_and(|o| matches!(o.phase, Phase::Exited { .. }))).await;
        match observed.map(|o| o.phase) {
            Some(Phase::Exited { code, out_of_memory, .. }) => (code, out_of_memory),
            other => panic!("{other:?}"),
        }
    }

    pub async fn log_lines(&self, instance: InstanceId, options: LogOptions) -> Vec<LogLine> {
        let lines = self.runtime.logs(instance.into(), options).await.unwrap();
        let lines: Vec<_> = tokio::time::timeout(PATIENCE, lines.collect()).await.expect("logs end");
        lines.into_iter().map(Result::unwrap).collect()
    }

    /// Waits until it has written this many lines.
    pub async fn written(&self, instance: InstanceId, count: usize) -> Vec<LogLine> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lines = self.log_lines(instance, LogOptions::default()).await;
            if lines.len() >= count {
                return lines;
            }
            assert!(Instant::now() < deadline, "it wrote only {lines:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs a command inside: its exit code, what it wrote to stdout, and to stderr.
    pub async fn run(&self, instance: InstanceId, command: &[&str]) -> (i64, String, String) {
        let spec =
            ExecSpec { command: command.iter().map(|w| (*w).to_owned()).collect(), ..ExecSpec::default() };
        self.run_spec(instance, spec).await.unwrap()
    }

    pub async fn run_spec(
        &self,
        instance: InstanceId,
        spec: ExecSpec,
    ) -> Result<(i64, String, String), RuntimeError> {
        let mut exec = self.runtime.exec(instance.into(), spec).await?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while let Some(chunk) = exec.output.next().await {
            match chunk? {
                (Output::Stdout, bytes) => out.extend_from_slice(&bytes),
                (Output::Stderr, bytes) => err.extend_from_slice(&bytes),
            }
        }
        let code = exec.exit.await?;
        Ok((code, String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned()))
    }

    /// Runs a shell script inside and wants it to succeed; what it wrote.
    pub async fn sh(&self, instance: InstanceId, script: &str) -> String {
        let (code, out, err) = self.run(instance, &["sh", "-c", script]).await;
        assert_eq!(code, 0, "{script}: {out}{err}");
        out.trim().to_owned()
    }

    /// Removes everything that the case's two servers hold; what could not be removed.
    async fn clean(&self) -> Vec<String> {
        let mut left = Vec::new();
        for runtime in [&self.runtime, &self.other] {
            let mut instances: Vec<InstanceId> = match runtime.list().await {
                Ok(all) => all.into_iter().map(|o| o.instance).collect(),
                Err(e) => return vec![e.to_string()],
            };
            let holdings = match runtime.holdings().await {
                Ok(holdings) => holdings,
                Err(e) => return vec![e.to_string()],
            };
            instances.extend(holdings.volumes);
            for instance in instances {
                if let Err(e) = runtime.remove(instance, Volumes::Remove).await {
                    left.push(e.to_string());
                }
            }
            for project in holdings.networks {
                if let Err(e) = runtime.remove_network(project).await {
                    left.push(e.to_string());
                }
            }
            left.extend(runtime.list().await.unwrap().into_iter().map(|o| format!("{o:?}")));
            let holdings = runtime.holdings().await.unwrap();
            left.extend(holdings.volumes.iter().map(|v| format!("volumes of {v}")));
            left.extend(holdings.networks.iter().map(|n| format!("network of {n}")));
        }
        left
    }
}

/// Runs a case and cleans up after it.
pub async fn run(harness: Harness, case: impl AsyncFnOnce(&Harness)) {
    let outcome = AssertUnwindSafe(case(&harness)).catch_unwind().await;
    let left = harness.clean().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
    assert!(left.is_empty(), "left behind: {left:?}");
}

fn volume(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), path: path.to_owned(), read_only: false }
}

/// The next generation of a workload.
fn next(workload: &Workload) -> Workload {
    Workload { generation: workload.generation + 1, ..workload.clone() }
}

/// A content in pieces.
fn content(bytes: &[u8]) -> crate::runtime::BoxStream<std::io::Result<bytes::Bytes>> {
    let pieces: Vec<_> = bytes.chunks(1000).map(|c| Ok(bytes::Bytes::copy_from_slice(c))).collect();
    Box::pin(futures_util::stream::iter(pieces))
}

impl Harness {
    async fn write(&self, instance: InstanceId, path: &str, text: &str) {
        let size = text.len() as u64;
        self.runtime.write_file(instance.into(), path, 0o644, size, content(text.as_bytes())).await.unwrap();
    }

    async fn read(&self, instance: InstanceId, path: &str) -> Result<String, RuntimeError> {
        let (info, mut chunks) = self.runtime.read_file(instance.into(), path).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        assert_eq!(info.size, bytes.len() as u64);
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
