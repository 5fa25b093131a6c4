//! A `dockerd` of one test alone, in a network namespace of its own, which may be killed and started again. The
//! machine's own engine is never touched.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use super::rig::{IMAGE, Place, eventually};

pub(crate) struct Engine {
    folder: tempfile::TempDir,
    namespace: String,
    child: Mutex<Option<Child>>,
}

impl Engine {
    /// Started, and with the test agent's image. `None` when this machine does not let us.
    pub(crate) fn new() -> Option<Self> {
        let namespace = format!("ryokan-crash-{}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &namespace]).output();
        if !made.is_ok_and(|o| o.status.success()) {
            return None;
        }
        let engine = Self {
            folder: tempfile::Builder::new().prefix("ryokan-crash-engine").tempdir_in("/tmp").unwrap(),
            namespace,
            child: Mutex::new(None),
        };
        let up = engine.place().command("ip").args(["link", "set", "lo", "up"]).status();
        if !up.is_ok_and(|s| s.success()) {
            return None;
        }
        engine.start();
        let image = engine.folder.path().join("hello.tar");
        let saved = Command::new("docker").args(["save", "-o"]).arg(&image).arg(IMAGE).status().unwrap();
        assert!(saved.success(), "the test agent's image can be saved");
        engine.place().docker(&["load", "-i", &image.display().to_string()]);
        Some(engine)
    }

    pub(crate) fn place(&self) -> Place {
        // Unlike `ip netns exec`, this leaves `/sys` and with it the control groups as they are.
        let prefix = vec!["nsenter".to_owned(), format!("--net=/run/netns/{}", self.namespace)];
        Place { prefix, socket: Some(self.socket()), ..Place::default() }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.folder.path().join("dockerd.log")
    }

    pub(crate) fn start(&self) {
        self.launch();
        self.wait_up(Duration::from_mins(1));
    }

    /// Starts it and does not wait until it answers.
    pub(crate) fn launch(&self) {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let child = self
            .place()
            .command("dockerd")
            .args([
                "--data-root",
                &path("data"),
                "--exec-root",
                &path("exec"),
                "--pidfile",
                &path("docker.pid"),
            ])
            .args(["-H", &format!("unix://{}", self.socket().display()), "--bip", "172.31.77.1/24"])
            .args(["--default-address-pool", "base=172.31.128.0/17,size=24"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        *self.child.lock().unwrap() = Some(child);
    }

    pub(crate) fn wait_up(&self, within: Duration) {
        eventually(
            within,
            || {
                format!(
                    "the test's engine does not start:\n{}",
                    std::fs::read_to_string(self.log_path()).unwrap_or_default()
                )
            },
            || (!self.place().docker(&["version", "-f", "{{.Server.Version}}"]).is_empty()).then_some(()),
        );
    }

    /// Whether it was killed, or has ended by itself: a `dockerd` that finds remains of a killed one may refuse to start.
    pub(crate) fn has_died(&self) -> bool {
        match self.child.lock().unwrap().as_mut() {
            Some(child) => matches!(child.try_wait(), Ok(Some(_))),
            None => true,
        }
    }

    /// `kill -9` of dockerd alone; its containers' shims live on for a while.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // Its containerd dies with it; where nobody reaps orphans, the next dockerd would take the dead one for alive.
        for file in ["docker.pid", "exec/containerd/containerd.pid"] {
            let _ = std::fs::remove_file(self.folder.path().join(file));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
        // Its containerd and shims are in a folder of ours: end exactly those.
        let folder = self.folder.path().display().to_string();
        let list = Command::new("ps").args(["-eo", "pid,args", "--no-headers"]).output().unwrap();
        for line in String::from_utf8_lossy(&list.stdout).lines().filter(|l| l.contains(&folder)) {
            if let Some(pid) = line.split_whitespace().next() {
                let _ = Command::new("kill").args(["-9", pid]).status();
            }
        }
        let in_namespace = Command::new("ip").args(["netns", "pids", &self.namespace]).output().unwrap();
        for pid in String::from_utf8_lossy(&in_namespace.stdout).lines() {
            let _ = Command::new("kill").args(["-9", pid]).status();
        }
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        for mount in mounts.lines().filter_map(|l| l.split(' ').nth(1)).filter(|m| m.starts_with(&folder)) {
            let _ = Command::new("umount").args(["-l", mount]).status();
        }
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).status();
    }
}
