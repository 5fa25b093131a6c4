//! A PostgreSQL server of a test's own, to be killed and restarted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ryokan_store::StoreUrl;
use tempfile::TempDir;

/// A server on a Unix socket in a scratch folder. Killed and removed when dropped.
pub(crate) struct PostgresServer {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl PostgresServer {
    /// Makes and starts a server; `None` if PostgreSQL is not installed.
    pub(crate) fn start() -> Option<Self> {
        let mut server = Self::new()?;
        server.restart();
        Some(server)
    }

    /// A server that also listens on `port` of 127.0.0.1, with TLS and a certificate of its own; `None` if PostgreSQL
    /// or openssl is not installed.
    pub(crate) fn start_with_tls(port: u16) -> Option<Self> {
        let mut server = Self::new()?;
        let (certificate, key) = (server.certificate(), server.folder.path().join("data/server.key"));
        let made = as_postgres(Path::new("openssl"))
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
            .args([
                "-addext",
                "subjectAltName=DNS:localhost",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .stderr(Stdio::null())
            .status();
        made.ok().filter(ExitStatus::success)?;
        assert!(as_postgres(Path::new("chmod")).arg("600").arg(&key).status().unwrap().success());
        let settings = format!("ssl = on\nlisten_addresses = '127.0.0.1'\nport = {port}\n");
        let file = server.folder.path().join("data/postgresql.auto.conf");
        fs::write(file, settings).unwrap();
        server.port = port;
        server.restart();
        Some(server)
    }

    /// The certificate that a client must trust.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("data/server.crt")
    }

    fn new() -> Option<Self> {
        let programs = programs()?;
        let folder = tempfile::tempdir().unwrap();
        // PostgreSQL refuses root, so its user owns the folder.
        if is_root() {
            assert!(Command::new("chown").arg("postgres").arg(folder.path()).status().unwrap().success());
        }
        let made = as_postgres(&programs.join("initdb"))
            .args(["--auth=trust", "--username=postgres", "--no-sync", "-D"])
            .arg(folder.path().join("data"))
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
        let settings = folder.path().join("data/postgresql.auto.conf");
        fs::write(settings, "listen_addresses = ''\n").unwrap();
        Some(Self { programs, folder, port: 5432, process: None })
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> StoreUrl {
        StoreUrl::postgres(format!("host={} user=postgres dbname=postgres", self.folder.path().display()))
    }

    /// SIGKILL, as a power cut would end it.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it and waits until it accepts connections.
    pub(crate) fn restart(&mut self) {
        let end = Instant::now() + Duration::from_mins(1);
        while Instant::now() < end {
            // The killed server's children may hold the shared memory for a moment: then it ends at once.
            let process = self.process.get_or_insert_with(|| {
                as_postgres(&self.programs.join("postgres"))
                    .arg("-D")
                    .arg(self.folder.path().join("data"))
                    .arg("-k")
                    .arg(self.folder.path())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap()
            });
            if process.try_wait().unwrap().is_some() {
                self.process = None;
            }
            let ready = Command::new(self.programs.join("pg_isready"))
                .args(["--quiet", "--timeout=1", "-p", &self.port.to_string(), "-h"])
                .arg(self.folder.path())
                .status()
                .unwrap();
            if ready.success() && self.process.is_some() {
                return;
            }
            pause();
        }
        panic!("PostgreSQL did not start");
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.kill();
        // Its children write for a moment after it: the folder goes once they are gone.
        for _ in 0..50 {
            if fs::remove_dir_all(self.folder.path().join("data")).is_ok() {
                return;
            }
            pause();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "waits for another program, looking again and again")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

/// The folder of the newest installed server.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let folders = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    folders.filter(|folder| folder.join("initdb").exists()).max()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// `program`, as the user `postgres` if we are root, in this process' place so that its id is the one to kill.
fn as_postgres(program: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/");
    command
}
