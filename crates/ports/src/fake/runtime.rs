//! The port, on an engine in memory.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use ryokan_model::probe::Check;
use ryokan_model::spec::PullPolicy;
use ryokan_model::{InstanceId, ProjectId};
use tokio::sync::mpsc;

use super::agent::{self, Play};
use super::{CPUS, Call, FakeRuntime, ISOLATIONS, MEMORY, files, state};
use crate::Runtime;
use crate::runtime::{
    BoxStream, Change, EngineInfo, Exec, ExecSpec, FileInfo, Holdings, Image, ImageRequest, Io, LogLine,
    LogOptions, Observed, OnProgress, PullProgress, Reach, Result, RuntimeError, Stats, Volumes, Workload,
};

#[async_trait]
impl Runtime for FakeRuntime {
    async fn info(&self) -> Result<EngineInfo> {
        self.enter(Call::Info, None).await?;
        Ok(EngineInfo {
            engine: "fake".to_owned(),
            version: "1".to_owned(),
            isolations: ISOLATIONS.map(str::to_owned).into(),
            rootless: false,
            reach: Reach::Bridge,
            cpus: CPUS,
            memory: MEMORY,
        })
    }

    async fn image(&self, request: &ImageRequest, progress: OnProgress<'_>) -> Result<Image> {
        self.enter(Call::Image, None).await?;
        let text = request.image.as_str();
        let failure = |reason: &str| {
            let (image, reason) = (text.to_owned(), reason.to_owned());
            Err(RuntimeError::Image { image, reason, retry: false })
        };
        if request.policy != PullPolicy::Always
            && let Some(image) = self.state().images.get(text)
        {
            return Ok(image.clone());
        }
        if request.policy == PullPolicy::Never {
            return failure("is not in the engine, and its pull policy is `never`");
        }
        for done in [0, 500, 1000] {
            progress(PullProgress { message: "Downloading".to_owned(), done, total: 1000 });
            tokio::task::yield_now().await;
        }
        let image = state::image_of(&request.image);
        self.state().images.insert(text.to_owned(), image.clone());
        Ok(image)
    }

    async fn ensure(&self, workload: &Workload) -> Result<Observed> {
        self.enter(Call::Ensure, Some(workload.instance)).await?;
        Self::refuse_impossible(workload)?;
        let _lock = self.lock(workload.instance).await;
        let (id, older) = {
            let mut state = self.state();
            if let Ok(newest) = self.newest(&state, workload.instance)
                && newest.workload.generation > workload.generation
            {
                return Ok(Self::observed(newest));
            }
            state.networks.insert((self.server, workload.project));
            for volume in &workload.spec.volumes {
                state.volumes.entry((self.server, workload.instance, volume.name.clone())).or_default();
            }
            let same = state
                .of(self.server, workload.instance)
                .find(|c| c.workload.generation == workload.generation)
                .map(|c| c.id);
            let id = match same {
                Some(id) => id,
                None => {
                    let id = state.create(self.server, workload);
                    self.changed(&mut state, workload.instance);
                    id
                }
            };
            let older: Vec<u64> =
                state.of(self.server, workload.instance).map(|c| c.id).filter(|other| *other != id).collect();
            (id, older)
        };
        for stale in older {
            self.end(stale, workload.spec.stop_grace.duration()).await;
            self.drop_container(&mut self.state(), stale);
        }
        let delay = self.state().start_delay;
        if delay.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(delay).await;
        }
        let mut state = self.state();
        self.start(&mut state, id)?;
        self.newest(&state, workload.instance).map(Self::observed)
    }

    async fn stop(&self, instance: InstanceId, grace: Duration) -> Result<()> {
        self.enter(Call::Stop, Some(instance)).await?;
        let ids: Vec<u64> = {
            let _lock = self.lock(instance).await;
            self.state().of(self.server, instance).filter(|c| c.phase.is_running()).map(|c| c.id).collect()
        };
        for id in ids {
            self.end(id, grace).await;
        }
        Ok(())
    }

    async fn remove(&self, instance: InstanceId, volumes: Volumes) -> Result<()> {
        self.enter(Call::Remove, Some(instance)).await?;
        for wait in [false, true] {
            // First without the lock: a replacement may be waiting for an agent that does not end.
            let _lock = if wait { Some(self.lock(instance).await) } else { None };
            let mut state = self.state();
            let ids: Vec<u64> = state.of(self.server, instance).map(|c| c.id).collect();
            for id in ids {
                self.drop_container(&mut state, id);
            }
        }
        if volumes == Volumes::Remove {
            let server = self.server;
            self.state().volumes.retain(|(s, i, _), _| *s != server || *i != instance);
        }
        Ok(())
    }

    async fn remove_network(&self, project: ProjectId) -> Result<()> {
        self.enter(Call::RemoveNetwork, None).await?;
        let mut state = self.state();
        if state.containers.iter().any(|c| c.server == self.server && c.workload.project == project) {
            return Err(RuntimeError::Other(format!("the network of project {project} is in use")));
        }
        state.networks.remove(&(self.server, project));
        Ok(())
    }

    async fn observe(&self, instance: InstanceId) -> Result<Option<Observed>> {
        self.enter(Call::Observe, Some(instance)).await?;
        Ok(self.newest(&self.state(), instance).ok().map(Self::observed))
    }

    async fn list(&self) -> Result<Vec<Observed>> {
        self.enter(Call::List, None).await?;
        let state = self.state();
        let instances: BTreeSet<InstanceId> = state
            .containers
            .iter()
            .filter(|c| c.server == self.server)
            .map(|c| c.workload.instance)
            .collect();
        Ok(instances.into_iter().filter_map(|i| self.newest(&state, i).ok().map(Self::observed)).collect())
    }

    async fn holdings(&self) -> Result<Holdings> {
        self.enter(Call::Holdings, None).await?;
        let state = self.state();
        let volumes: BTreeSet<InstanceId> =
            state.volumes.keys().filter(|(s, ..)| *s == self.server).map(|(_, i, _)| *i).collect();
        let networks = state.networks.iter().filter(|(s, _)| *s == self.server).map(|(_, p)| *p);
        let torn = Vec::new();
        Ok(Holdings { volumes: volumes.into_iter().collect(), torn, networks: networks.collect() })
    }

    async fn watch(&self) -> Result<BoxStream<Result<Change>>> {
        self.enter(Call::Watch, None).await?;
        let (tell, changes) = mpsc::unbounded_channel();
        // There is a receiver, so this cannot fail.
        let _ = tell.send(Ok(Change::Resync));
        self.state().watchers.push((self.server, tell));
        Ok(Box::pin(stream::unfold(changes, |mut changes| async move {
            changes.recv().await.map(|change| (change, changes))
        })))
    }

    async fn probe(
        &self,
        observed: &Observed,
        check: &Check,
        _timeout: Duration,
    ) -> Result<std::result::Result<(), String>> {
        self.enter(Call::Probe, Some(observed.instance)).await?;
        let state = self.state();
        let Ok(container) = self.running(&state, observed.instance) else {
            return Ok(Err("is not running".to_owned()));
        };
        match state.probes.get(&observed.instance) {
            Some(answer) => Ok(answer.clone()),
            None => Ok(container.play.answer(&container.workload, check)),
        }
    }

    async fn logs(&self, instance: InstanceId, options: LogOptions) -> Result<BoxStream<Result<LogLine>>> {
        self.enter(Call::Logs, Some(instance)).await?;
        let (id, lines) = {
            let state = self.state();
            let container = self.newest(&state, instance)?;
            (container.id, container.logs.clone())
        };
        let seen = lines.len();
        let wanted = move |line: &LogLine| {
            options.since.is_none_or(|t| line.at >= t) && options.until.is_none_or(|t| line.at <= t)
        };
        let mut lines: Vec<LogLine> = lines.into_iter().filter(|l| wanted(l)).collect();
        if let Some(tail) = options.tail {
            lines.drain(..lines.len().saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX)));
        }
        let history = stream::iter(lines);
        if !options.follow {
            return Ok(Box::pin(history.map(Ok)));
        }
        let state = (self.clone(), self.engine.version.subscribe(), seen);
        let rest = stream::unfold(state, move |(fake, mut versions, seen)| async move {
            loop {
                {
                    let state = fake.state();
                    let container = state.containers.iter().find(|c| c.id == id)?;
                    if let Some(line) = container.logs.get(seen) {
                        let line = line.clone();
                        drop(state);
                        return Some((line, (fake, versions, seen + 1)));
                    }
                    if !container.phase.is_running() {
                        return None;
                    }
                }
                versions.changed().await.ok()?;
            }
        });
        Ok(Box::pin(history.chain(rest).filter(move |l| std::future::ready(wanted(l))).map(Ok)))
    }

    async fn exec(&self, instance: InstanceId, spec: ExecSpec) -> Result<Exec> {
        self.enter(Call::Exec, Some(instance)).await?;
        let state = self.state();
        let container = self.running(&state, instance)?;
        agent::exec(&state.programs, &container.workload, &spec)
    }

    async fn stats(&self, instance: InstanceId) -> Result<BoxStream<Result<Stats>>> {
        self.enter(Call::Stats, Some(instance)).await?;
        let id = self.running(&self.state(), instance)?.id;
        let state = (self.clone(), self.engine.version.subscribe(), 0_u64);
        Ok(Box::pin(stream::unfold(state, move |(fake, mut versions, count)| async move {
            let runs = || fake.state().containers.iter().any(|c| c.id == id && c.phase.is_running());
            let second = tokio::time::sleep(Duration::from_secs(u64::from(count > 0)));
            let ended = async { while runs() && versions.changed().await.is_ok() {} };
            tokio::select! {
                biased;
                () = ended => return None,
                () = second => {}
            }
            let sample = {
                let mut state = fake.state();
                let at = fake.now(&mut state);
                let limit =
                    state.containers.iter().find(|c| c.id == id)?.workload.spec.resources.memory.get();
                Stats {
                    at,
                    cpu_nanos: count * 10_000_000,
                    cpu_centipercent: 100,
                    memory_bytes: limit / 4,
                    memory_limit_bytes: limit,
                    pids: 2,
                    ..Stats::default()
                }
            };
            Some((Ok(sample), (fake, versions, count + 1)))
        })))
    }

    async fn dial(&self, instance: InstanceId, port: &str) -> Result<Box<dyn Io>> {
        self.enter(Call::Dial, Some(instance)).await?;
        let address = {
            let state = self.state();
            let container = self.running(&state, instance)?;
            let number = container.workload.spec.ports.iter().find(|p| p.name == port).map(|p| p.port);
            let number =
                number.ok_or_else(|| RuntimeError::NotFound(format!("port {port} of {instance}")))?;
            match container.endpoints.get(port) {
                Some(address) => *address,
                None if container.play == Play::Serve => return Ok(Box::new(agent::Server::new(number))),
                None => return Err(RuntimeError::Other(format!("port {port} refuses connections"))),
            }
        };
        let stream = tokio::net::TcpStream::connect(address).await;
        stream
            .map(|s| Box::new(s) as Box<dyn Io>)
            .map_err(|e| RuntimeError::Other(format!("port {port}: {e}")))
    }

    async fn list_files(&self, instance: InstanceId, path: &str) -> Result<Vec<FileInfo>> {
        self.enter(Call::ListFiles, Some(instance)).await?;
        let path = crate::files::normal(path)?;
        let state = self.state();
        state.list(self.newest(&state, instance)?, &path)
    }

    async fn read_file(
        &self,
        instance: InstanceId,
        path: &str,
    ) -> Result<(FileInfo, BoxStream<Result<Bytes>>)> {
        self.enter(Call::ReadFile, Some(instance)).await?;
        let path = crate::files::normal(path)?;
        let state = self.state();
        let (info, content) = state.read(self.newest(&state, instance)?, &path)?;
        let pieces: Vec<_> =
            content.chunks(64 * 1024).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Ok((info, Box::pin(stream::iter(pieces))))
    }

    async fn write_file(
        &self,
        instance: InstanceId,
        path: &str,
        mode: u32,
        size: u64,
        content: BoxStream<std::io::Result<Bytes>>,
    ) -> Result<()> {
        self.enter(Call::WriteFile, Some(instance)).await?;
        let path = crate::files::normal(path)?;
        self.newest(&self.state(), instance)?;
        let content = files::whole(&path, size, content).await?;
        let mut state = self.state();
        let at = self.now(&mut state);
        let id = self.newest(&state, instance)?.id;
        state.write(id, &path, files::File { content, mode: mode & 0o777, modified: at })
    }
}
