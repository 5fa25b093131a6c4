//! The port, on an engine in memory.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use ryokan_model::image::ImageRef;
use ryokan_model::probe::Check;
use ryokan_model::{InstanceId, ProjectId};
use tokio::sync::mpsc;

use super::agent::{Play, Server};
use super::{CPUS, Call, FakeRuntime, ISOLATIONS, MEMORY, NO_GPUS, exec, files};
use crate::edge::{Drops, EdgeNetwork};
use crate::runtime::{
    BoxStream, Change, EngineInfo, Exec, ExecSpec, FileInfo, Holdings, Image, Io, LogLine, LogOptions,
    Observed, OnProgress, PullRequest, Reach, Result, RuntimeError, Stats, Target, TornVolume, Volumes,
    Workload,
};
use crate::{Edge, Runtime};

#[async_trait]
impl Runtime for FakeRuntime {
    async fn info(&self) -> Result<EngineInfo> {
        self.enter(Call::Info, "").await?;
        Ok(EngineInfo {
            engine: "fake".to_owned(),
            version: "1".to_owned(),
            isolations: ISOLATIONS.map(str::to_owned).into(),
            rootless: false,
            reach: Reach::Bridge,
            cpus: CPUS,
            memory: MEMORY,
            no_gpus: (!self.state().has_gpus).then(|| NO_GPUS.to_owned()),
            unlimited: Vec::new(),
            warnings: Vec::new(),
        })
    }

    async fn find_image(&self, image: &ImageRef) -> Result<Option<Image>> {
        self.enter(Call::FindImage, image.as_str()).await?;
        Ok(self.present(image))
    }

    async fn pull(&self, request: &PullRequest, progress: OnProgress<'_>) -> Result<Image> {
        self.enter(Call::Pull, request.image.as_str()).await?;
        self.fetch(request, progress).await
    }

    async fn ensure(&self, workload: &Workload) -> Result<Observed> {
        self.enter(Call::Ensure, workload.instance).await?;
        self.refuse_impossible(workload)?;
        let _lock = self.lock(workload.instance).await;
        {
            let state = self.state();
            if let Ok(newest) = self.newest(&state, workload.instance)
                && newest.workload.generation > workload.generation
            {
                return Ok(state.observed(newest));
            }
        }
        let (id, mut older) = self.create(workload)?;
        self.open_edge(workload.project).await?;
        {
            let state = self.state();
            older.retain(|id| !state.serves(*id, workload.beside));
        }
        for stale in older {
            self.end(stale, workload.spec.stop_grace.duration()).await;
            self.drop_container(&mut self.state(), stale);
        }
        let delay = self.state().start_delay;
        if delay.is_zero() {
            tokio::task::yield_now().await;
        } else {
            let starting = self.engine.starting.clone();
            {
                let mut state = self.state();
                state.most_starts_at_once = state.most_starts_at_once.max(Arc::strong_count(&starting) - 1);
            }
            tokio::time::sleep(delay).await;
        }
        let mut state = self.state();
        self.start(&mut state, id)?;
        let made = state.containers.iter().find(|c| c.id == id);
        made.map(|c| state.observed(c)).ok_or(RuntimeError::NotRunning)
    }

    async fn retire(&self, instance: InstanceId, keep: i64, grace: Duration) -> Result<()> {
        self.enter(Call::Retire, instance).await?;
        let retired: Vec<u64> = {
            let state = self.state();
            let of = state.of(self.server, instance);
            of.filter(|c| c.workload.generation != keep).map(|c| c.id).collect()
        };
        for id in retired {
            self.end(id, grace).await;
            self.drop_container(&mut self.state(), id);
        }
        Ok(())
    }

    async fn stop(&self, instance: InstanceId, grace: Duration) -> Result<()> {
        self.enter(Call::Stop, instance).await?;
        let ids: Vec<u64> = {
            let _lock = self.lock(instance).await;
            let state = self.state();
            state.of(self.server, instance).filter(|c| c.phase.is_running()).map(|c| c.id).collect()
        };
        for id in ids {
            self.end(id, grace).await;
        }
        Ok(())
    }

    async fn remove(&self, instance: InstanceId, volumes: Volumes) -> Result<()> {
        self.enter(Call::Remove, instance).await?;
        for wait in [false, true] {
            // First without the lock: a replacement may be waiting for an agent that does not end.
            let _lock = if wait { Some(self.lock(instance).await) } else { None };
            let mut state = self.state();
            for id in state.ids(self.server, instance) {
                self.drop_container(&mut state, id);
            }
        }
        if volumes == Volumes::Remove {
            let mut state = self.state();
            state.volumes.retain(|(s, i, _), _| *s != self.server || *i != instance);
            state.torn.remove(&instance);
        }
        Ok(())
    }

    async fn remove_network(&self, project: ProjectId) -> Result<()> {
        self.enter(Call::RemoveNetwork, project).await?;
        {
            let mut state = self.state();
            if state.containers.iter().any(|c| c.server == self.server && c.workload.project == project) {
                return Err(RuntimeError::Other(format!("the network of project {project} is in use")));
            }
            if !state.networks.remove(&(self.server, project)) {
                return Ok(());
            }
        }
        if let Some(edge) = self.engine.edge.get() {
            edge.close(project).await;
        }
        Ok(())
    }

    async fn networks(&self) -> Result<Vec<EdgeNetwork>> {
        self.enter(Call::Networks, "").await?;
        let state = self.state();
        let ours = state.networks.iter().filter(|(server, _)| *server == self.server);
        Ok(ours.map(|(_, project)| state.network(*project)).collect())
    }

    fn set_edge(&self, edge: Arc<dyn Edge>) {
        // A second one is overlooked, as the port says.
        let _ = self.engine.edge.set(edge);
    }

    async fn drops(&self) -> Result<Vec<Drops>> {
        self.enter(Call::Drops, "").await?;
        Ok(self.state().drops.clone())
    }

    async fn observe(&self, instance: InstanceId) -> Result<Option<Observed>> {
        self.enter(Call::Observe, instance).await?;
        let state = self.state();
        Ok(self.observed(&state, instance))
    }

    async fn list(&self) -> Result<Vec<Observed>> {
        self.enter(Call::List, "").await?;
        let state = self.state();
        let instances: BTreeSet<InstanceId> = state
            .containers
            .iter()
            .filter(|c| c.server == self.server)
            .map(|c| c.workload.instance)
            .collect();
        Ok(instances.into_iter().filter_map(|i| self.observed(&state, i)).collect())
    }

    async fn holdings(&self) -> Result<Holdings> {
        self.enter(Call::Holdings, "").await?;
        let state = self.state();
        let volumes: BTreeSet<InstanceId> =
            state.volumes.keys().filter(|(s, ..)| *s == self.server).map(|(_, i, _)| *i).collect();
        let networks = state.networks.iter().filter(|(s, _)| *s == self.server).map(|(_, p)| *p);
        let torn = state.torn.iter().map(|(instance, created_at)| TornVolume {
            id_end: instance.to_string().split_off(24),
            volume: "data".to_owned(),
            created_at: *created_at,
        });
        Ok(Holdings {
            volumes: volumes.into_iter().collect(),
            torn: torn.collect(),
            networks: networks.collect(),
        })
    }

    async fn watch(&self) -> Result<BoxStream<Result<Change>>> {
        self.enter(Call::Watch, "").await?;
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
        self.enter(Call::Probe, observed.instance).await?;
        let state = self.state();
        let running = state.of(self.server, observed.instance).filter(|c| c.phase.is_running());
        let Some(container) = running.filter(|c| c.engine_id() == observed.engine_id).last() else {
            return Ok(Err("is not running".to_owned()));
        };
        match &container.ill {
            Some(answer) => Ok(Err(answer.clone())),
            None => Ok(container.play.answer(&container.workload, check, &state.programs)),
        }
    }

    async fn logs(&self, of: Target, options: LogOptions) -> Result<BoxStream<Result<LogLine>>> {
        self.enter(Call::Logs, of.instance).await?;
        self.log_lines(of, options)
    }

    async fn exec(&self, of: Target, spec: ExecSpec) -> Result<Exec> {
        self.enter(Call::Exec, of.instance).await?;
        let state = self.state();
        let container = self.live(&state, of)?;
        exec::exec(&state.programs, &container.workload, &spec)
    }

    async fn stats(&self, of: Target) -> Result<BoxStream<Result<Stats>>> {
        self.enter(Call::Stats, of.instance).await?;
        self.samples(of)
    }

    async fn dial(&self, of: Target, port: &str) -> Result<Box<dyn Io>> {
        self.enter(Call::Dial, of.instance).await?;
        let address = {
            let state = self.state();
            let container = self.live(&state, of)?;
            let number = container.workload.spec.ports.iter().find(|p| p.name == port).map(|p| p.port);
            let number =
                number.ok_or_else(|| RuntimeError::NotFound(format!("port {port} of {}", of.instance)))?;
            match state.listener {
                Some(address) => address,
                None if container.play == Play::Serve => return Ok(Box::new(Server::new(number))),
                None => return Err(RuntimeError::Other(format!("port {port} refuses connections"))),
            }
        };
        let stream = tokio::net::TcpStream::connect(address).await;
        stream
            .map(|s| Box::new(s) as Box<dyn Io>)
            .map_err(|e| RuntimeError::Other(format!("port {port}: {e}")))
    }

    async fn list_files(&self, of: Target, path: &str) -> Result<Vec<FileInfo>> {
        self.enter(Call::ListFiles, of.instance).await?;
        let path = crate::files::normal(path)?;
        let state = self.state();
        state.list(self.meant(&state, of)?, &path)
    }

    async fn read_file(&self, of: Target, path: &str) -> Result<(FileInfo, BoxStream<Result<Bytes>>)> {
        self.enter(Call::ReadFile, of.instance).await?;
        let path = crate::files::normal(path)?;
        let state = self.state();
        let (info, content) = state.read(self.meant(&state, of)?, &path)?;
        let pieces: Vec<_> =
            content.chunks(64 * 1024).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Ok((info, Box::pin(stream::iter(pieces))))
    }

    async fn write_file(
        &self,
        of: Target,
        path: &str,
        mode: u32,
        size: u64,
        content: BoxStream<std::io::Result<Bytes>>,
    ) -> Result<()> {
        self.enter(Call::WriteFile, of.instance).await?;
        let path = crate::files::normal(path)?;
        self.meant(&self.state(), of)?;
        let content = files::whole(&path, size, content).await?;
        let mut state = self.state();
        let at = self.now(&mut state);
        let id = self.meant(&state, of)?.id;
        state.write(id, &path, files::File { content, mode: mode & 0o777, modified: at })
    }

    async fn close(&self) {
        // However that ends: a server that stops asks once.
        let _ = self.enter(Call::Close, "").await;
    }
}
