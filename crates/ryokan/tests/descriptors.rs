//! The real server runs out of file descriptors, says so once, keeps whom it has, and recovers by itself.
#![expect(clippy::unwrap_used, reason = "a test")]
#![expect(clippy::disallowed_methods, reason = "waits for another process, without a runtime")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(folder: &Path, address: SocketAddr) -> Server {
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ryokan"));
    command.args(["server", "--listen", &address.to_string(), "--data-dir"]).arg(folder.join("data"));
    command.env_remove("RYOKAN_DATABASE_URL");
    // No engine: it is not what this is about.
    command.env("RYOKAN_ENGINE_SOCKET", format!("unix://{}", folder.join("none.sock").display()));
    command.env("RYOKAN_LOG", "info");
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    Server(command.spawn().unwrap())
}

/// The status of `GET /healthz` on an open connection, if it comes within `patience`.
fn health(connection: &mut TcpStream, patience: Duration) -> Option<String> {
    connection.set_read_timeout(Some(patience)).unwrap();
    connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").ok()?;
    status(connection)
}

fn status(connection: &mut TcpStream) -> Option<String> {
    let mut answer = Vec::new();
    // To the end of the small document.
    while answer.last() != Some(&b'}') {
        let mut byte = [0];
        connection.read_exact(&mut byte).ok()?;
        answer.extend(byte);
    }
    Some(String::from_utf8_lossy(&answer).split(' ').nth(1)?.to_owned())
}

fn until(what: &str, log: &Path, done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        assert!(begin.elapsed() < Duration::from_secs(30), "{what}: not within 30 s; the log:\n{text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn running_out_of_descriptors_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut server = start(folder.path(), address);
    let answers = || {
        let connection = TcpStream::connect(address).ok();
        connection
            .and_then(|mut c| health(&mut c, Duration::from_secs(5)))
            .is_some_and(|status| status == "200")
    };
    until("the server answers", &log, answers);

    let pid = Pid::from_child(&server.0);
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.0.id())).unwrap().count() as u64;
    let most = Some(open + 20);
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();

    let mut early = TcpStream::connect(address).unwrap();
    assert_eq!(health(&mut early, Duration::from_secs(5)).as_deref(), Some("200"));
    // The kernel takes them all; the server cannot.
    let mut crowd: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
    let complaints = || std::fs::read_to_string(&log).unwrap().matches("cannot accept connections").count();
    until("it says so", &log, || complaints() > 0);
    assert_eq!(
        health(crowd.last_mut().unwrap(), Duration::from_secs(2)),
        None,
        "who came last has no place yet"
    );
    assert_eq!(health(&mut early, Duration::from_secs(5)).as_deref(), Some("200"), "who was there is served");

    let mut last = crowd.pop().unwrap();
    drop(crowd);
    until("new clients are served again", &log, answers);
    last.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(status(&mut last).as_deref(), Some("200"), "who waited in the queue is served too");
    assert_eq!(complaints(), 1, "{}", std::fs::read_to_string(&log).unwrap());

    kill_process(pid, Signal::TERM).unwrap();
    until("it still stops softly", &log, || {
        std::fs::read_to_string(&log).unwrap().contains("stopped") && !answers()
    });
    assert!(server.0.wait().unwrap().success());
}
