//! One installation under test: a data folder, a server process that may be killed and started again, and a client
//! that is plain `curl`, so that it can live in another network namespace.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const IMAGE: &str = "ryokan/hello:0.1.0";

/// Where the server runs and which engine it talks to.
#[derive(Clone, Default)]
pub(crate) struct Place {
    /// Put in front of every command: `ip netns exec NAME`.
    pub(crate) prefix: Vec<String>,
    /// The engine's socket, when it is not the machine's own. Then all that this engine holds is ours.
    pub(crate) socket: Option<PathBuf>,
    /// What the server takes for the engine's socket, when that is another one.
    pub(crate) server_socket: Option<PathBuf>,
    pub(crate) database_url: Option<String>,
    /// The data folder, when it is not a scratch folder.
    pub(crate) data: Option<PathBuf>,
    /// More of the server's environment.
    pub(crate) environment: Vec<(&'static str, String)>,
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
        String::from_utf8_lossy(&self.run_docker(args).stdout).trim().to_owned()
    }

    fn run_docker(&self, args: &[&str]) -> std::process::Output {
        let mut command = self.command("docker");
        if let Some(socket) = &self.socket {
            command.arg("-H").arg(format!("unix://{}", socket.display()));
        }
        command.args(args).output().expect("docker can be run")
    }
}

pub(crate) struct Rig {
    pub(crate) place: Place,
    scratch: tempfile::TempDir,
    port: u16,
    child: Mutex<Option<Child>>,
    token: OnceLock<String>,
    cleaned: AtomicBool,
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

/// Somebody wants an end: nothing is waited for any more, so that all that was made is taken down.
pub(crate) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Polls until `done` gives something; `None` when it does not in time.
pub(crate) fn settle<T>(within: Duration, mut done: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = done() {
            return Some(value);
        }
        if Instant::now() >= deadline || INTERRUPTED.load(Ordering::Relaxed) {
            return None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Polls until `done` gives something, or fails with what `explain` says.
pub(crate) fn eventually<T>(
    within: Duration,
    explain: impl Fn() -> String,
    done: impl FnMut() -> Option<T>,
) -> T {
    settle(within, done).unwrap_or_else(|| panic!("{}", explain()))
}

impl Rig {
    pub(crate) fn new(place: Place) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        drop(socket);
        Self {
            place,
            scratch,
            port,
            child: Mutex::new(None),
            token: OnceLock::new(),
            cleaned: AtomicBool::new(false),
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.place.data.clone().unwrap_or_else(|| self.scratch.path().join("data"))
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.scratch.path().join("server.log")
    }

    /// Starts the server; with a crash point and how often it is passed before it kills.
    pub(crate) fn start(&self, crash_at: Option<(&str, u32)>) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = self.place.command(env!("CARGO_BIN_EXE_ryokan"));
        command
            .arg("server")
            .arg("--data-dir")
            .arg(self.data())
            .args(["--listen", &format!("127.0.0.1:{}", self.port)]);
        command.env("RYOKAN_LOG", "info,ryokan_app=debug").env("NO_COLOR", "1");
        command.env("RYOKAN_REQUESTS_PER_SECOND", "1000");
        for name in ["RYOKAN_CRASH_AT", "RYOKAN_CRASH_SKIP", "RYOKAN_DATABASE_URL", "RYOKAN_ENGINE_SOCKET"] {
            command.env_remove(name);
        }
        if let Some((point, skip)) = crash_at {
            command.env("RYOKAN_CRASH_AT", point).env("RYOKAN_CRASH_SKIP", skip.to_string());
        }
        if let Some(socket) = self.place.server_socket.as_ref().or(self.place.socket.as_ref()) {
            command.env("RYOKAN_ENGINE_SOCKET", format!("unix://{}", socket.display()));
        }
        if let Some(url) = &self.place.database_url {
            command.env("RYOKAN_DATABASE_URL", url);
        }
        command.envs(self.place.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        *self.child.lock().unwrap() = Some(command.spawn().expect("the server's binary starts"));
    }

    /// Starts it and waits until it answers.
    pub(crate) fn up(&self) {
        self.start(None);
        self.wait_up();
    }

    pub(crate) fn wait_up(&self) {
        eventually(
            Duration::from_secs(30),
            || format!("the server did not come up; its log:\n{}", self.log()),
            || self.get("/healthz").filter(|(code, _)| *code == 200),
        );
        self.token.get_or_init(|| {
            let text = std::fs::read_to_string(self.data().join("cli.json")).unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            value["token"].as_str().unwrap().to_owned()
        });
    }

    /// `kill -9`.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether the server has died by itself, at a crash point.
    pub(crate) fn has_died(&self) -> bool {
        self.exit_status().is_some() || self.child.lock().unwrap().is_none()
    }

    /// How the server ended, if it did so by itself since it was last asked.
    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        let mut child = self.child.lock().unwrap();
        let status = child.as_mut()?.try_wait().ok().flatten()?;
        *child = None;
        Some(status)
    }

    /// The server's process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.lock().unwrap().as_ref().map(Child::id)
    }

    /// Softly, as a service manager would; it must end by itself.
    pub(crate) fn stop(&self) {
        let Some(mut child) = self.child.lock().unwrap().take() else { return };
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
        if let Some(token) = self.token.get() {
            command.args(["-H", &format!("Authorization: Bearer {token}")]);
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
        self.call_once(method, path, body, "")
    }

    /// The same with an idempotency key, if it is not empty.
    pub(crate) fn call_once(&self, method: &str, path: &str, body: &str, key: &str) -> Option<(u16, Value)> {
        let key = format!("Idempotency-Key: {key}");
        // curl leaves a header without a value out.
        let headers = ["-H", "Content-Type: application/json", "-H", &key];
        let (code, text) = self.curl(&[&["-X", method, "-d", body], &headers[..]].concat(), path)?;
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

    /// Ids or names of what the engine holds of this server; of an engine of our own, everything.
    pub(crate) fn holdings(&self, what: &str) -> Vec<String> {
        let (label, own) = (format!("label=ryokan.server={}", self.server_id()), self.place.socket.is_some());
        let filter = |own_filter| if own { own_filter } else { label.as_str() };
        let text = match what {
            "containers" => self.place.docker(&["ps", "-aq", "--no-trunc", "--filter", filter("name=")]),
            "networks" => self.place.docker(&["network", "ls", "-q", "--filter", filter("type=custom")]),
            _ => self.place.docker(&["volume", "ls", "-q", "--filter", filter("name=")]),
        };
        text.lines().map(str::to_owned).filter(|l| !l.is_empty()).collect()
    }

    /// A line for each of them, as the template says; without those that are gone meanwhile.
    pub(crate) fn inspected(&self, what: &str, template: &str) -> Vec<String> {
        let all = self.holdings(what);
        if all.is_empty() {
            return Vec::new();
        }
        let command: &[&str] = match what {
            "containers" => &["inspect", "-f", template],
            _ => &["volume", "inspect", "-f", template],
        };
        let names: Vec<&str> = all.iter().map(String::as_str).collect();
        self.place.docker(&[command, &names].concat()).lines().map(str::to_owned).collect()
    }

    /// Docker 20.10 sometimes counts an endpoint of a container that died while it started for ever, and keeps its
    /// network until its own restart. Nobody else can remove such a network.
    fn is_miscounted(&self, network: &str) -> bool {
        let attached = self.place.docker(&["network", "inspect", "-f", "{{len .Containers}}", network]);
        let refused = self.place.run_docker(&["network", "rm", network]);
        attached == "0" && String::from_utf8_lossy(&refused.stderr).contains("has active endpoints")
    }

    /// Deletes every instance through the API and waits until the engine holds nothing of ours any more; what is left.
    pub(crate) fn clear(&self, within: Duration) -> Result<(), String> {
        for instance in self.instances().unwrap_or_default() {
            let name = instance["name"].as_str().unwrap();
            self.call("DELETE", &format!("/v1/instances/{name}"), "");
        }
        let done = settle(within, || self.instances().filter(Vec::is_empty));
        done.ok_or_else(|| format!("instances are left: {:?}", self.instances()))?;
        for what in ["containers", "networks", "volumes"] {
            let mut left = Vec::new();
            let done = settle(Duration::from_mins(1), || {
                left = self.holdings(what);
                left.is_empty().then_some(())
            });
            if done.is_none() && what == "networks" {
                left.retain(|network| !self.is_miscounted(network));
            }
            if done.is_none() && !left.is_empty() {
                return Err(format!("{what} are left: {left:?}"));
            }
        }
        Ok(())
    }

    /// The same, and a soft end of the server. What is left fails the test.
    pub(crate) fn tear_down(&self) {
        self.clear(Duration::from_secs(90)).unwrap_or_else(|left| panic!("{left}\n{}", self.log()));
        self.stop();
        self.cleaned.store(true, Ordering::Relaxed);
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.kill();
        // An engine of our own goes as a whole.
        let own = self.place.socket.is_some();
        if own || self.cleaned.load(Ordering::Relaxed) || self.server_id().is_empty() {
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
