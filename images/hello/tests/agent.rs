//! The agent as its tests and its users meet it: the real binary, over real sockets and pipes.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message};

struct Agent {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
    address: String,
}

impl Agent {
    fn start(command: &str) -> Self {
        let mut process = hello().arg(command).env("PORT", "0").stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let port = line.trim().rsplit_once(':').unwrap().1.to_owned();
        Self { process, output, address: format!("127.0.0.1:{port}") }
    }

    /// Status line and headers, then the body. The server is asked to close, so both are whole.
    fn ask(&self, request: &str, body: &[u8]) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        write!(stream, "{request} HTTP/1.1\r\nhost: x\r\nx-twice: 1\r\nx-twice: 2\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n").unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
    }

    fn json(&self, request: &str) -> Value {
        serde_json::from_slice(&self.ask(request, b"").1).unwrap()
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn hello() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hello"));
    command.env("RYOKAN_INSTANCE_NAME", "claw <1>");
    command
}

fn run(args: &[&str]) -> Output {
    hello().args(args).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn pages_answer_and_each_request_is_logged() {
    let mut agent = Agent::start("serve");
    let (head, page) = agent.ask("GET /", b"");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(String::from_utf8(page).unwrap().contains("claw &lt;1>"));
    assert_eq!(agent.json("GET /health")["status"], "ok");
    assert_eq!(agent.json("GET /headers?a=b")["headers"]["x-twice"], serde_json::json!(["1", "2"]));
    assert!(agent.json("GET /env")["names"].as_array().unwrap().contains(&"RYOKAN_INSTANCE_NAME".into()));
    assert!(agent.ask("GET /nowhere", b"").0.starts_with("HTTP/1.1 404"));
    agent.signal("-TERM");
    assert_eq!(agent.exit_code(), Some(0));
    let mut log = String::new();
    agent.output.read_to_string(&mut log).unwrap();
    assert_eq!(
        log,
        "GET / 200\nGET /health 200\nGET /headers 200\nGET /env 200\nGET /nowhere 404\nhello: ending with code 0\n"
    );
}

#[test]
fn bodies_of_many_chunks_arrive_whole_both_ways() {
    let agent = Agent::start("serve");
    let expected: Vec<u8> = (0..=255).cycle().take(1_000_003).collect();
    let (head, bytes) = agent.ask("GET /bytes?n=1000003", b"");
    assert!(head.contains("content-length: 1000003"), "{head}");
    assert!(bytes == expected);
    let answer: Value = serde_json::from_slice(&agent.ask("POST /upload", &expected).1).unwrap();
    assert_eq!(answer["bytes"], 1_000_003);
    assert_eq!(answer["sha256"], hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&expected)));
}

#[test]
fn health_can_be_turned_off_and_on() {
    let agent = Agent::start("serve");
    let port = agent.address.rsplit_once(':').unwrap().1;
    let asks_itself = || hello().arg("health").env("PORT", port).status().unwrap().code();
    assert_eq!(asks_itself(), Some(0));
    assert!(agent.ask("POST /unhealthy", b"").0.starts_with("HTTP/1.1 503"));
    assert_eq!(asks_itself(), Some(1));
    assert!(agent.ask("POST /unhealthy", b"").0.starts_with("HTTP/1.1 200"));
    assert_eq!(asks_itself(), Some(0));
}

#[test]
fn the_clock_ticks_at_once_and_counts_on() {
    let agent = Agent::start("serve");
    let mut stream = TcpStream::connect(&agent.address).unwrap();
    stream.write_all(b"GET /clock HTTP/1.1\r\nhost: x\r\nlast-event-id: 41\r\n\r\n").unwrap();
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    let ids: Vec<String> = lines.filter(|line| line.starts_with("id: ")).take(2).collect();
    assert_eq!(ids, ["id: 42", "id: 43"]);
}

#[test]
fn asked_to_exit_it_answers_first() {
    let mut agent = Agent::start("serve");
    assert_eq!(agent.json("GET /exit?code=7")["exit"], 7);
    assert_eq!(agent.exit_code(), Some(7));
}

#[test]
fn sigterm_can_be_ignored_but_sigint_ends() {
    let mut agent = Agent::start("ignore-term");
    agent.signal("-TERM");
    let mut line = String::new();
    agent.output.read_line(&mut line).unwrap();
    assert_eq!(line, "hello: SIGTERM ignored\n");
    agent.signal("-INT");
    assert_eq!(agent.exit_code(), Some(0));
}

#[tokio::test]
async fn the_socket_echoes_text_and_binary_and_says_why_it_closes() {
    let mut agent = Agent::start("serve");
    let url = format!("ws://{}/ws", agent.address);
    let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    let binary = Message::Binary(Bytes::from((0..=255).cycle().take(300_000).collect::<Vec<u8>>()));
    for message in [Message::text("grüß dich"), binary, Message::text("")] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    socket.send(Message::Ping(Bytes::from_static(b"p"))).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"p")));
    agent.signal("-TERM");
    let Message::Close(Some(frame)) = socket.next().await.unwrap().unwrap() else {
        panic!("no closing frame")
    };
    assert_eq!(frame.code, CloseCode::Away);
    assert!(socket.next().await.is_none());
    assert_eq!(agent.exit_code(), Some(0));

    let agent = Agent::start("serve");
    let (mut socket, _) =
        tokio_tungstenite::connect_async(format!("ws://{}/ws", agent.address)).await.unwrap();
    socket.close(None).await.unwrap();
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(None)))));
    assert!(socket.next().await.is_none());
    assert!(agent.ask("GET /ws", b"").0.starts_with("HTTP/1.1 426"));
}

#[test]
fn commands_use_their_streams_and_codes() {
    assert_eq!(run(&["echo", "a", "b"]).stdout, b"a b\n");
    assert_eq!(run(&["err", "x y"]).stderr, b"x y\n");
    assert_eq!(run(&["exit", "9"]).status.code(), Some(9));
    assert_eq!(run(&["exit", "900"]).status.code(), Some(1));
    assert_eq!(run(&["nonsense"]).status.code(), Some(2));
    let log = run(&["log", "5"]);
    assert_eq!(
        (log.stdout.as_slice(), log.stderr.as_slice()),
        (&b"line 1\nline 3\nline 5\n"[..], &b"line 2\nline 4\n"[..])
    );
    assert!(String::from_utf8(run(&["id"]).stdout).unwrap().contains("CapEff:"));
    assert!(String::from_utf8(run(&["env"]).stdout).unwrap().contains("RYOKAN_INSTANCE_NAME=claw <1>\n"));
    assert_eq!(run(&["alloc", "3"]).stdout, b"allocated 3 MiB\n");
    assert_eq!(run(&["fork", "3"]).stdout, b"started 3 of 3\n");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("filled");
    assert!(run(&["fill", path.to_str().unwrap(), "2"]).status.success());
    assert_eq!(path.metadata().unwrap().len(), 2 * 1024 * 1024);
    assert_eq!(run(&["tty"]).status.code(), Some(1), "no terminal");

    let mut cat = hello().arg("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    cat.stdin.take().unwrap().write_all(b"\0\xff through").unwrap();
    assert_eq!(cat.wait_with_output().unwrap().stdout, b"\0\xff through");
}

#[test]
fn a_command_ends_on_sigterm() {
    let mut process = hello().args(["log", "2", "60000"]).stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(process.stdout.take().unwrap());
    let mut sleeper = Agent { process, output, address: String::new() };
    let mut first = String::new();
    sleeper.output.read_line(&mut first).unwrap();
    assert_eq!(first, "line 1\n");
    sleeper.signal("-TERM");
    assert_eq!(sleeper.exit_code(), Some(128 + 15));
}
