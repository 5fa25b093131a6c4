//! Running and stopping. A first signal stops softly: no new connections, streams drained, jobs released. After the
//! grace period, or at a second signal, everything is cut. Whatever is cut is safe: the store has it.

use std::sync::Arc;
use std::time::Duration;

use ryokan_app::{
    approvals, audit, deployments, domains, funding, housekeeping, instances, jobs, metering, models,
    policies,
};
use ryokan_gateway::Gateway;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::compose::Server;
use crate::edge::keep_doors;
use crate::ports::{keep_identity, keep_keyring, keep_routes};

/// How long the engine may take to let go of us.
const ENGINE: Duration = Duration::from_secs(5);

/// The two steps of a stop.
#[derive(Clone, Default)]
pub struct Shutdown {
    pub soft: CancellationToken,
    pub hard: CancellationToken,
}

impl Server {
    /// Runs until `shutdown.soft`, then drains; at `shutdown.hard` or after the grace period the rest is cut.
    /// Returns whether everything ended by itself.
    pub async fn run(self, shutdown: Shutdown) -> bool {
        let background = TaskTracker::new();
        let leave = CancellationToken::new();
        let leader = {
            let (app, leave) = (self.app.clone(), leave.clone());
            background.spawn(async move { lead(app, leave).await })
        };
        background.spawn(keep_routes(self.app.clone(), self.routes.clone(), leave.clone()));
        background.spawn(keep_identity(self.app.clone(), leave.clone()));
        background.spawn(keep_doors(self.app.clone(), self.doors.clone(), leave.clone()));
        background.spawn(keep_keyring(self.app.clone(), leave.clone()));
        background.spawn(policies::keeper().run(self.app.clone(), leave.clone()));
        background.spawn(audit::completions().run(self.app.clone(), leave.clone()));
        background.spawn(models::reconciler().run(self.app.clone(), leave.clone()));
        background.spawn(models::providers().run(self.app.clone(), leave.clone()));
        background.spawn(models::record::run(self.app.clone(), leave.clone()));
        background.spawn(housekeeping::token_use().run(self.app.clone(), leave.clone()));
        for pool in jobs::run::POOLS {
            background.spawn(jobs::run::run(self.app.clone(), pool, leave.clone()));
        }

        let serving = background.spawn(serve_on_all_cores(self.gateway, self.listeners, shutdown.clone()));
        shutdown.soft.cancelled().await;
        tracing::info!(grace = ?self.stop_grace, "stopping: no new connections; waiting for what is under way");
        // Our own streams end at once; agents' streams have the grace period.
        self.stop.cancel();
        let drained = async {
            tokio::join!(async { drop(serving.await) }, self.doors.drain());
            self.writes.close();
            self.writes.wait().await;
            // Last, so that what a request has just written can still be acted on.
            leave.cancel();
            let _ = leader.await;
            background.close();
            background.wait().await;
        };
        let soft = tokio::select! {
            () = drained => true,
            () = tokio::time::sleep(self.stop_grace) => false,
            () = shutdown.hard.cancelled() => false,
        };
        if !soft {
            tracing::warn!("the grace period is over: cutting what is left");
            shutdown.hard.cancel();
            self.doors.cut();
            leave.cancel();
            background.close();
            let _ = tokio::time::timeout(Duration::from_secs(5), background.wait()).await;
        }
        // Nobody asks the engine any more; commands that clients ran inside containers are ended.
        if tokio::time::timeout(ENGINE, self.app.runtime.close()).await.is_err() {
            tracing::warn!("the container engine does not answer; what ran inside containers may run on");
        }
        if let Err(error) = self.app.write_ends().await {
            tracing::warn!(error = %error, "how some requests ended could not be written to the audit");
        }
        self.app.store.close().await;
        soft
    }
}

/// One single-threaded runtime a listener, each with its own connections to agents: measured at 0.92 of nginx where one
/// shared runtime reaches 0.75. Returns when all have drained.
async fn serve_on_all_cores(gateway: Gateway, listeners: Vec<std::net::TcpListener>, shutdown: Shutdown) {
    let mut workers = Vec::new();
    for (core, listener) in listeners.into_iter().enumerate() {
        let (gateway, shutdown) = (gateway.worker(), shutdown.clone());
        let worker = std::thread::Builder::new().name(format!("gateway-{core}")).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                gateway.serve(listener, shutdown.soft, shutdown.hard).await;
                Ok::<_, std::io::Error>(())
            })
        });
        match worker {
            Ok(worker) => workers.push(worker),
            Err(error) => tracing::error!(error = %error, "a gateway thread cannot be started"),
        }
    }
    let joined = tokio::task::spawn_blocking(move || {
        for worker in workers {
            match worker.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(error = %error, "a gateway thread ended"),
                Err(_) => tracing::error!("a gateway thread panicked"),
            }
        }
    });
    let _ = joined.await;
}

/// Runs what only one of several servers may run, while this one holds the lead.
async fn lead(app: Arc<ryokan_app::App>, leave: CancellationToken) {
    while !leave.is_cancelled() {
        let guard = tokio::select! {
            guard = app.store.leader("reconcilers") => guard,
            () = leave.cancelled() => return,
        };
        let Some(guard) = guard else {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(2)) => continue,
                () = leave.cancelled() => return,
            }
        };
        let term = leave.child_token();
        let loops = TaskTracker::new();
        loops.spawn(instances::reconcile::run(app.clone(), term.clone()));
        loops.spawn(housekeeping::reconciler().run(app.clone(), term.clone()));
        loops.spawn(deployments::collect::reconciler().run(app.clone(), term.clone()));
        loops.spawn(approvals::reconciler().run(app.clone(), term.clone()));
        loops.spawn(domains::reconciler().run(app.clone(), term.clone()));
        loops.spawn(metering::sample::reconciler(&app).run(app.clone(), term.clone()));
        loops.spawn(metering::close::reconciler().run(app.clone(), term.clone()));
        loops.spawn(funding::reconciler().run(app.clone(), term.clone()));
        loops.close();
        tokio::select! {
            () = leave.cancelled() => {}
            () = guard.lost() => tracing::warn!("this server has lost the lead; another one may take it"),
        }
        term.cancel();
        loops.wait().await;
        guard.release().await;
    }
}
