//! One installation with all that can go wrong with it: its engine behind a proxy, its database, its small disk, its
//! clock.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::proxy::Proxy;
use crate::support::below::{Postgres, SmallDisk};
use crate::support::engine::Engine;
use crate::support::rig::{Place, Rig};
use crate::{Arguments, Store};

pub(crate) struct World<'a> {
    pub(crate) rig: Rig,
    pub(crate) engine: &'a Engine,
    pub(crate) proxy: Proxy,
    pub(crate) postgres: Option<Postgres>,
    pub(crate) disk: SmallDisk,
    clock: PathBuf,
    /// For temporary files of the server, which should leave none.
    pub(crate) temporary: PathBuf,
    _folder: tempfile::TempDir,
}

impl<'a> World<'a> {
    pub(crate) fn new(arguments: &Arguments, engine: &'a Engine, store: Store) -> Self {
        let proxy = Proxy::new(&engine.socket());
        let postgres = (store == Store::Postgres).then(|| Postgres::start(engine.place()));
        let disk = SmallDisk::mount(48).expect("chaos needs the right to mount a small file system");
        let folder = tempfile::tempdir().unwrap();
        let (clock, temporary) = (folder.path().join("clock"), folder.path().join("tmp"));
        std::fs::create_dir(&temporary).unwrap();
        let place = Place {
            server_socket: Some(proxy.socket()),
            database_url: postgres.as_ref().map(|p| p.url.clone()),
            data: Some(disk.data()),
            environment: vec![
                ("RYOKAN_CLOCK_OFFSET", clock.display().to_string()),
                ("RYOKAN_INSTANCES_PER_PROJECT", (arguments.instances * 10).to_string()),
                ("TMPDIR", temporary.display().to_string()),
            ],
            ..engine.place()
        };
        Self { rig: Rig::new(place), engine, proxy, postgres, disk, clock, temporary, _folder: folder }
    }

    /// Moves the server's clock, and nobody else's.
    pub(crate) fn set_clock(&self, off_by: i64) {
        // Renamed into place, so that nobody reads half a number.
        let new = self.clock.with_extension("new");
        std::fs::write(&new, off_by.to_string()).unwrap();
        std::fs::rename(new, &self.clock).unwrap();
    }

    /// The engine's client, past the proxy, bounded in time: the engine may be dying.
    pub(crate) fn docker(&self, args: &[&str]) -> String {
        let mut command = self.rig.place.command("timeout");
        command.args(["15", "docker", "-H", &format!("unix://{}", self.engine.socket().display())]);
        let output = command.args(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Ends every fault.
    pub(crate) fn heal(&self) {
        self.set_clock(0);
        self.proxy.full_pace();
        self.disk.free();
        if let Some(postgres) = &self.postgres {
            postgres.run("start");
        }
        self.revive_engine();
        self.revive_server();
    }

    fn revive_engine(&self) {
        let up = || !self.docker(&["version", "-f", "{{.Server.Version}}"]).is_empty();
        // One that was killed while it started may not find its way at once.
        for _ in 0..5 {
            for _ in 0..100 {
                if up() {
                    return;
                }
                if self.engine.has_died() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(500));
            }
            self.engine.kill();
            self.engine.launch();
        }
        self.engine.wait_up(Duration::from_mins(2));
    }

    fn revive_server(&self) {
        if self.rig.has_died() {
            self.rig.start(None);
        }
        self.rig.wait_up();
    }

    /// Removes what a round with violations left on the engine, so that the next one begins with nothing.
    pub(crate) fn wipe_engine(&self) {
        for id in self.rig.holdings("containers") {
            self.docker(&["rm", "-f", &id]);
        }
        self.docker(&["network", "prune", "-f"]);
        for name in self.rig.holdings("volumes") {
            self.docker(&["volume", "rm", "-f", &name]);
        }
    }

    /// The first container that runs, in an order that the dice give.
    pub(crate) fn running_containers(&self) -> Vec<String> {
        self.docker(&["ps", "-q"]).lines().map(str::to_owned).collect()
    }

    /// Keeps what tells of a round.
    pub(crate) fn keep(&self, folder: &std::path::Path) {
        let _ = std::fs::create_dir_all(folder);
        let _ = std::fs::copy(self.rig.log_path(), folder.join("server.log"));
        let _ = std::fs::copy(self.engine.log_path(), folder.join("dockerd.log"));
        let mut list = Command::new("sh");
        let docker = format!("docker -H unix://{}", self.engine.socket().display());
        list.arg("-c").arg(format!(
            "{docker} ps -a --no-trunc; {docker} volume ls; {docker} network ls; {docker} ps -aq | xargs -r {docker} inspect"
        ));
        if let Ok(output) = list.output() {
            let _ = std::fs::write(folder.join("engine.txt"), output.stdout);
        }
        if let Some(events) = crate::support::invariants::all_events(&self.rig) {
            let lines: Vec<String> = events.iter().map(ToString::to_string).collect();
            let _ = std::fs::write(folder.join("events.jsonl"), lines.join("\n"));
        }
        if let Some((_, rows)) = self.rig.get("/v1/instances?limit=500") {
            let _ = std::fs::write(folder.join("instances.json"), rows);
        }
        if let Some((_, jobs)) = self.rig.get("/v1/system/jobs?limit=500") {
            let _ = std::fs::write(folder.join("jobs.json"), jobs);
        }
    }
}
