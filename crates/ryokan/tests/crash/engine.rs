//! The engine dies under the server: a `dockerd` of this test alone, in a network namespace of its own, is killed and
//! started again during a storm. The machine's own engine is never touched.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::invariants::check;
use crate::rig::{IMAGE, Place, Rig, engine_is_there, eventually, skip};
use crate::storm::{Field, blow, known, seed};

struct Engine {
    folder: tempfile::TempDir,
    namespace: String,
    child: Option<Child>,
}

impl Engine {
    /// `None` when this machine does not let us.
    fn new() -> Option<Self> {
        let namespace = format!("ryokan-crash-{}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &namespace]).output();
        if !made.is_ok_and(|o| o.status.success()) {
            return None;
        }
        let engine = Self {
            folder: tempfile::Builder::new().prefix("ryokan-crash-engine").tempdir_in("/tmp").unwrap(),
            namespace,
            child: None,
        };
        let up = engine.place().command("ip").args(["link", "set", "lo", "up"]).status();
        up.is_ok_and(|s| s.success()).then_some(engine)
    }

    fn place(&self) -> Place {
        // Unlike `ip netns exec`, this leaves `/sys` and with it the control groups as they are.
        let prefix = vec!["nsenter".to_owned(), format!("--net=/run/netns/{}", self.namespace)];
        Place { prefix, socket: Some(self.folder.path().join("docker.sock")), ..Place::default() }
    }

    fn start(&mut self) {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(path("dockerd.log")).unwrap();
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
            .args(["-H", &format!("unix://{}", path("docker.sock")), "--bip", "172.31.77.1/24"])
            .args(["--default-address-pool", "base=172.31.128.0/17,size=24"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        eventually(
            Duration::from_mins(1),
            || {
                format!(
                    "the test's engine does not start:\n{}",
                    std::fs::read_to_string(self.folder.path().join("dockerd.log")).unwrap_or_default()
                )
            },
            || (!self.place().docker(&["version", "-f", "{{.Server.Version}}"]).is_empty()).then_some(()),
        );
    }

    /// `kill -9` of dockerd alone; its containers' shims live on for a while.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
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

#[test]
fn the_engine_is_killed_under_it() {
    if !engine_is_there() {
        return;
    }
    let Some(mut engine) = Engine::new() else { return skip("no right to make a network namespace") };
    engine.start();
    let image = engine.folder.path().join("hello.tar");
    assert!(Command::new("docker").args(["save", "-o"]).arg(&image).arg(IMAGE).status().unwrap().success());
    engine.place().docker(&["load", "-i", &image.display().to_string()]);

    let seed = seed();
    let mut rig = Rig::new(engine.place());
    rig.up();
    let field = Arc::new(Mutex::new(Field::default()));
    for round in 0..2 {
        blow(&rig, &field, seed + round, Duration::from_millis(1500));
        engine.kill();
        // Asking goes on while the engine is away; nothing is lost, nothing hangs.
        blow(&rig, &field, seed + 100 + round, Duration::from_millis(500));
        let (_, body) = rig.get("/readyz").unwrap();
        assert!(body.contains("\"runtime\""), "{body}");
        engine.start();
    }
    // A forced deletion needs no engine; what is left is removed when it is back.
    rig.create("doomed");
    engine.kill();
    let (code, _) = rig.call("DELETE", "/v1/instances/doomed?force=true", "").unwrap();
    assert_eq!(code, 202);
    assert_eq!(rig.get("/v1/instances/doomed").unwrap().0, 404);
    engine.start();
    let mut known = known(&field);
    known.created.insert("doomed".into());
    known.deleted.insert("doomed".into());
    check(&rig, &known);
    rig.tear_down();
}
