//! One installation under test: a data folder, a server process that may be killed and started again, and a client
//! that is plain `curl`, so that it can live in another network namespace.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const IMAGE: &str = "ryokan/hello:0.1.0";

/// Where the server runs and which engine it talks to.
#[derive(Clone, Default)]
pub(crate) struct Place {
    /// Put in front of every command: `ip netns exec NAME`.
    pub(crate) prefix: Vec<String>,
    /// The engine's socket, when it is not the machine's own.
    pub(crate) socket: Option<PathBuf>,
    pub(crate) database_url: Option<String>,
    /// The data folder, when it is not a scratch folder.
    pub(crate) data: Option<PathBuf>,
}

impl Place {
    pub(crate) fn command(&self, program: &str) -> Command {
        match self.prefix.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        }
    }

    pub(crate) fn docker(&self, args: &[&str]) -> String {
        let mut command = self.command("docker");
        if let Some(socket) = &self.socket {
            command.arg("-H").arg(format!("unix://{}", socket.display()));
        }
        let output = command.args(args).output().expect("docker can be run");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

pub(crate) struct Rig {
    pub(crate) place: Place,
    scratch: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
    token: String,
    cleaned: bool,
}

/// Says that a test cannot run here, or fails when that is not accepted.
pub(crate) fn skip(reason: &str) {
    assert!(std::env::var("RYOKAN_REFUSE_SKIPS").is_err(), "cannot run: {reason}");
    println!("SKIPPED: {reason}");
}

/// Whether the machine's engine answers and has the test agent's image.
pub(crate) fn engine_is_there() -> bool {
    let ready = Command::new("docker")
        .args(["image", "inspect", IMAGE])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    if !ready {
        skip("no container engine with the hello image (scripts/hello-image makes it)");
    }
    ready
}

/// Polls until `done` gives something, or fails with what `explain` says.
pub(crate) fn eventually<T>(
    within: Duration,
    explain: impl Fn() -> String,
    mut done: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < deadline, "{}", explain());
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Rig {
    pub(crate) fn new(place: Place) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        drop(socket);
        Self { place, scratch, port, child: None, token: String::new(), cleaned: false }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.place.data.clone().unwrap_or_else(|| self.scratch.path().join("data"))
    }

    fn log_path(&self) -> PathBuf {
        self.scratch.path().join("server.log")
    }

    /// Starts the server; with a crash point and how often it is passed before it kills.
    pub(crate) fn start(&mut self, crash_at: Option<(&str, u32)>) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = self.place.command(env!("CARGO_BIN_EXE_ryokan"));
        command
            .arg("server")
            .arg("--data-dir")
            .arg(self.data())
            .args(["--listen", &format!("127.0.0.1:{}", self.port)]);
        command.env("RYOKAN_LOG", "info,ryokan_app=debug").env("RYOKAN_REQUESTS_PER_SECOND", "1000");
        for name in ["RYOKAN_CRASH_AT", "RYOKAN_CRASH_SKIP", "RYOKAN_DATABASE_URL", "RYOKAN_ENGINE_SOCKET"] {
            command.env_remove(name);
        }
        if let Some((point, skip)) = crash_at {
            command.env("RYOKAN_CRASH_AT", point).env("RYOKAN_CRASH_SKIP", skip.to_string());
        }
        if let Some(socket) = &self.place.socket {
            command.env("RYOKAN_ENGINE_SOCKET", format!("unix://{}", socket.display()));
        }
        if let Some(url) = &self.place.database_url {
            command.env("RYOKAN_DATABASE_URL", url);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().expect("the server's binary starts"));
    }

    /// Starts it and waits until it answers.
    pub(crate) fn up(&mut self) {
        self.start(None);
        self.wait_up();
    }

    pub(crate) fn wait_up(&mut self) {
        eventually(
            Duration::from_secs(30),
            || format!("the server did not come up; its log:\n{}", self.log()),
            || self.get("/healthz").filter(|(code, _)| *code == 200),
        );
        if self.token.is_empty() {
            let text = std::fs::read_to_string(self.data().join("cli.json")).unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            value["token"].as_str().unwrap().clone_into(&mut self.token);
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether the server has died by itself, at a crash point.
    pub(crate) fn has_died(&mut self) -> bool {
        match self.child.as_mut().map(Child::try_wait) {
            Some(Ok(Some(_))) => {
                self.child = None;
                true
            }
            Some(_) => false,
            None => true,
        }
    }

    /// Softly, as a service manager would; it must end by itself.
    pub(crate) fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the server does not stop; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn log(&self) -> String {
        let text = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(120)..].join("\n")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn curl(&self, args: &[&str], path: &str) -> Option<(u16, String)> {
        let mut command = self.place.command("curl");
        command.args(["-sS", "-m", "15", "-o", "-", "-w", "\n%{http_code}"]).args(args);
        if !self.token.is_empty() {
            command.args(["-H", &format!("Authorization: Bearer {}", self.token)]);
        }
        let output = command.arg(self.url(path)).stderr(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, code) = text.rsplit_once('\n')?;
        let code: u16 = code.trim().parse().ok()?;
        // Cut off in the middle by a dying server: the client knows nothing.
        (code != 0 && output.status.success()).then(|| (code, body.to_owned()))
    }

    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        self.curl(&[], path)
    }

    /// Status and JSON; `None` when the answer did not come.
    pub(crate) fn call(&self, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
        let (code, text) =
            self.curl(&["-X", method, "-H", "Content-Type: application/json", "-d", body], path)?;
        Some((code, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    pub(crate) fn instances(&self) -> Option<Vec<Value>> {
        let (code, text) = self.get("/v1/instances?limit=500")?;
        if code != 200 {
            return None;
        }
        Some(serde_json::from_str::<Value>(&text).ok()?["items"].as_array()?.clone())
    }

    pub(crate) fn instance(&self, name: &str) -> Option<Value> {
        let (code, text) = self.get(&format!("/v1/instances/{name}"))?;
        (code == 200).then(|| serde_json::from_str(&text).unwrap())
    }

    pub(crate) fn create(&self, name: &str) -> Option<(u16, Value)> {
        self.call("POST", "/v1/instances", &format!(r#"{{"name":"{name}","template":"hello"}}"#))
    }

    pub(crate) fn wait_state(&self, name: &str, state: &str) -> Value {
        eventually(
            Duration::from_mins(1),
            || format!("{name} did not become {state}: {:?}\n{}", self.instance(name), self.log()),
            || self.instance(name).filter(|i| i["state"] == state),
        )
    }

    pub(crate) fn server_id(&self) -> String {
        std::fs::read_to_string(self.data().join("server-id")).unwrap_or_default()
    }

    /// Ids or names of what the engine holds with this server's label.
    pub(crate) fn holdings(&self, what: &str) -> Vec<String> {
        let filter = format!("label=ryokan.server={}", self.server_id());
        let text = match what {
            "containers" => self.place.docker(&["ps", "-aq", "--no-trunc", "--filter", &filter]),
            "networks" => self.place.docker(&["network", "ls", "-q", "--filter", &filter]),
            _ => self.place.docker(&["volume", "ls", "-q", "--filter", &filter]),
        };
        text.lines().map(str::to_owned).filter(|l| !l.is_empty()).collect()
    }

    /// Deletes every instance through the API and checks that the engine holds nothing of ours any more.
    pub(crate) fn tear_down(&mut self) {
        for instance in self.instances().unwrap_or_default() {
            let name = instance["name"].as_str().unwrap();
            self.call("DELETE", &format!("/v1/instances/{name}"), "");
        }
        eventually(
            Duration::from_secs(90),
            || format!("instances are left: {:?}\n{}", self.instances(), self.log()),
            || self.instances().filter(Vec::is_empty),
        );
        for what in ["containers", "networks", "volumes"] {
            eventually(
                Duration::from_mins(1),
                || format!("{what} are left: {:?}\n{}", self.holdings(what), self.log()),
                || self.holdings(what).is_empty().then_some(()),
            );
        }
        self.stop();
        self.cleaned = true;
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.kill();
        if self.cleaned || self.server_id().is_empty() {
            return;
        }
        // A failed test must not leave its containers to the next one.
        for id in self.holdings("containers") {
            self.place.docker(&["rm", "-f", &id]);
        }
        for id in self.holdings("networks") {
            self.place.docker(&["network", "rm", &id]);
        }
        for id in self.holdings("volumes") {
            self.place.docker(&["volume", "rm", "-f", &id]);
        }
    }
}
