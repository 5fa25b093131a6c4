//! On a terminal: raw mode while `exec -it` runs, and the terminal as it was after every end of it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;

use futures_util::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::json;
use tokio::process::Child;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Message;

use super::exec::{exit, send};
use super::samples::stats;
use super::scripted::{Answer, Piece, Server, sse};
use super::user::User;

/// A terminal: what the program sees, and the side that a person sits at.
struct Terminal {
    person: File,
    program: OwnedFd,
}

impl Terminal {
    fn open(columns: u16, rows: u16) -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let path = ptsname(&person, Vec::new()).unwrap();
        let path = path.to_str().unwrap();
        let program = File::options().read(true).write(true).open(path).unwrap().into();
        let terminal = Self { person: person.into(), program };
        terminal.resize(columns, rows);
        terminal
    }

    fn resize(&self, columns: u16, rows: u16) {
        tcsetwinsize(&self.program, Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 })
            .unwrap();
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.program).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    fn stdio(&self) -> Stdio {
        self.program.try_clone().unwrap().into()
    }

    fn spawn(&self, user: &User, arguments: &[&str]) -> Child {
        let mut command = user.command(arguments);
        command.env("TERM", "xterm").stdin(self.stdio()).stdout(self.stdio()).stderr(self.stdio());
        command.spawn().unwrap()
    }

    /// Reads until `end` has been shown.
    async fn shown(&self, end: &str) -> String {
        let (mut person, end) = (self.person.try_clone().unwrap(), end.to_owned());
        let read = tokio::task::spawn_blocking(move || {
            let mut text = Vec::new();
            while !String::from_utf8_lossy(&text).contains(&end) {
                let mut buffer = [0; 1024];
                let length = person.read(&mut buffer).unwrap();
                text.extend_from_slice(&buffer[..length]);
            }
            String::from_utf8_lossy(&text).into_owned()
        });
        tokio::time::timeout(std::time::Duration::from_mins(1), read).await.expect("it is not shown").unwrap()
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().unwrap().cast_signed()).unwrap(), signal).unwrap();
}

#[tokio::test]
async fn a_shell() {
    let server = Server::start().await;
    let script = Answer::socket(async |mut socket| {
        send(&mut socket, 1, b"$ ").await;
        let mut told = Vec::new();
        // Everything that is typed arrives unchanged, Ctrl-C too; then the new size.
        loop {
            match socket.next().await.unwrap().unwrap() {
                Message::Binary(bytes) => {
                    told.extend_from_slice(&bytes);
                    if told.ends_with(b"\x03") {
                        send(&mut socket, 1, b"[typed]").await;
                    }
                }
                Message::Text(text) => {
                    assert_eq!(told, b"ls\r\x03");
                    assert_eq!(text.as_str(), r#"{"resize":{"columns":120,"rows":40}}"#);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        send(&mut socket, 1, b"[resized]").await;
        exit(&mut socket, 7).await;
    });
    server.on("GET /v1/instances/claw/exec", script);
    let user = User::of(&server);
    let terminal = Terminal::open(80, 24);
    assert!(!terminal.is_raw());
    let mut child = terminal.spawn(&user, &["exec", "-it", "claw", "sh"]);
    terminal.shown("$ ").await;
    assert!(terminal.is_raw());
    (&terminal.person).write_all(b"ls\r\x03").unwrap();
    terminal.shown("[typed]").await;
    terminal.resize(120, 40);
    // The terminal is nobody's controlling one, so the kernel does not tell by itself.
    signal(&child, Signal::WINCH);
    terminal.shown("[resized]").await;
    assert_eq!(child.wait().await.unwrap().code(), Some(7));
    assert!(!terminal.is_raw());
    assert_eq!(
        server.lines(),
        ["GET /v1/instances/claw/exec?columns=80&command=sh&rows=24&stdin=true&tty=true"]
    );
}

#[tokio::test]
async fn the_terminal_is_restored_whatever_happens() {
    for (ending, code) in [(Some(Signal::TERM), 143), (Some(Signal::HUP), 129), (None, 6)] {
        let server = Server::start().await;
        let over = Arc::new(Notify::new());
        let end = over.clone();
        let script = Answer::socket(move |mut socket| {
            let end = end.clone();
            async move {
                send(&mut socket, 1, b"$ ").await;
                end.notified().await;
            }
        });
        server.on("GET /v1/instances/claw/exec", script);
        let user = User::of(&server);
        let terminal = Terminal::open(80, 24);
        let mut child = terminal.spawn(&user, &["exec", "-it", "claw", "sh"]);
        terminal.shown("$ ").await;
        assert!(terminal.is_raw());
        match ending {
            Some(ending) => signal(&child, ending),
            None => over.notify_one(),
        }
        assert_eq!(child.wait().await.unwrap().code(), Some(code), "{ending:?}");
        assert!(!terminal.is_raw(), "{ending:?}");
    }
}

#[tokio::test]
async fn progress_is_drawn_and_taken_away() {
    let server = Server::start().await;
    let go_on = Arc::new(Notify::new());
    let pull = json!({ "name": "claw", "state": "building", "message": "pulling", "done": 10, "total": 100 });
    server.on(
        "POST /v1/instances",
        Answer::events([
            sse("created", &json!({ "name": "claw", "state": "pending" })),
            sse("pending", &pull),
            Piece::Wait(go_on.clone()),
            sse("ready", &json!({ "name": "claw", "url": "http://claw.localhost:7700" })),
        ]),
    );
    let user = User::of(&server);
    let terminal = Terminal::open(80, 24);
    let mut child = terminal.spawn(&user, &["run", "hello"]);
    let shown = terminal.shown("10 B/100 B").await;
    assert!(shown.contains("claw: building, pulling [==>"), "{shown:?}");
    go_on.notify_one();
    let rest = terminal.shown("http://claw.localhost:7700\r\n").await;
    assert!(rest.ends_with("\r\x1b[2Kclaw is ready.\r\nhttp://claw.localhost:7700\r\n"), "{rest:?}");
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn samples_are_redrawn_in_place() {
    let server = Server::start().await;
    let go_on = Arc::new(Notify::new());
    let mut second = stats();
    second["pids"] = json!(77);
    server.on(
        "GET /v1/instances/claw/stats",
        Answer::events([sse("stats", &stats()), Piece::Wait(go_on.clone()), sse("stats", &second)]),
    );
    let user = User::of(&server);
    let terminal = Terminal::open(120, 24);
    let mut child = terminal.spawn(&user, &["stats", "claw", "--color", "never"]);
    terminal.shown("4.0 KiB     3").await;
    go_on.notify_one();
    let rest = terminal.shown("runs any more.").await;
    assert!(rest.contains("\x1b[2A\x1b[J"), "{rest:?}");
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_deletion_is_asked_about() {
    let server = Server::start().await;
    server.on("DELETE /v1/instances/claw", Answer::empty());
    let user = User::of(&server);
    let terminal = Terminal::open(80, 24);
    let mut child = terminal.spawn(&user, &["rm", "claw"]);
    let shown = terminal.shown("[y/N]").await;
    assert_eq!(shown.trim_end(), "Delete claw with all data on their disks? [y/N]");
    (&terminal.person).write_all(b"\n").unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(1));
    assert_eq!(server.lines().len(), 0);
    let mut child = terminal.spawn(&user, &["rm", "claw"]);
    terminal.shown("[y/N]").await;
    (&terminal.person).write_all(b"y\n").unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    assert_eq!(server.lines(), ["DELETE /v1/instances/claw"]);
}

#[tokio::test]
async fn a_token_is_typed_unseen() {
    let server = Server::start().await;
    server.on("GET /v1/users/me", Answer::json(&super::samples::user("ann", true)));
    let user = User::new(&server.url).with("RYOKAN_URL", &server.url);
    let terminal = Terminal::open(80, 24);
    let mut child = terminal.spawn(&user, &["login"]);
    terminal.shown("Token for").await;
    // Typed once the program listens unseen; before, the terminal itself would show it.
    let unseen = async {
        while !terminal.is_raw() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), unseen).await.expect("it never listens unseen");
    (&terminal.person).write_all(b"ryk_hushx\x7f\r").unwrap();
    let shown = terminal.shown("as ann.").await;
    assert!(!shown.contains("hush"), "{shown}");
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    assert!(!terminal.is_raw());
    assert_eq!(server.seen()[0].header("authorization"), "Bearer ryk_hush");
}
