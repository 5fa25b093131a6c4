//! `exec` against a scripted WebSocket.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::scripted::{Answer, Server, Socket};
use super::user::User;

const EXEC: &str = "GET /v1/instances/claw/exec";

pub(crate) async fn send(socket: &mut Socket, stream: u8, bytes: &[u8]) {
    let frame = [&[stream], bytes].concat();
    socket.send(Message::Binary(frame.into())).await.unwrap();
}

pub(crate) async fn exit(socket: &mut Socket, code: i64) {
    let status = json!({ "exit": { "code": code } }).to_string();
    socket.send(Message::Text(status.into())).await.unwrap();
    let _ = socket.close(None).await;
    // What lies unread when a connection is closed resets it, and takes the status along.
    while let Some(Ok(_)) = socket.next().await {}
}

#[tokio::test]
async fn output_and_code_are_the_commands() {
    let server = Server::start().await;
    server.on(
        EXEC,
        Answer::socket(async |mut socket| {
            send(&mut socket, 1, b"out 1\n").await;
            send(&mut socket, 2, b"err\n").await;
            socket.send(Message::Ping("are you there".into())).await.unwrap();
            send(&mut socket, 1, b"out 2\n").await;
            exit(&mut socket, 42).await;
        }),
    );
    let ran =
        User::of(&server).run(&["exec", "claw", "--", "sh", "-c", "a -- b", "--json", "--", "-x"]).await;
    insta::assert_snapshot!("exec", ran);
    assert_eq!(
        server.lines()[0],
        format!("{EXEC}?command=sh&command=-c&command=a+--+b&command=--json&command=--&command=-x")
    );
    assert_eq!(server.seen()[0].header("authorization"), "Bearer ryk_hush");
}

#[tokio::test]
async fn input_goes_in_to_its_end() {
    let server = Server::start().await;
    server.on(
        EXEC,
        Answer::socket(async |mut socket| {
            let mut input = Vec::new();
            loop {
                match socket.next().await.unwrap().unwrap() {
                    Message::Binary(bytes) => input.extend_from_slice(&bytes),
                    Message::Text(text) => {
                        assert_eq!(text.as_str(), r#"{"eof":{}}"#);
                        break;
                    }
                    other => panic!("{other:?}"),
                }
            }
            send(&mut socket, 1, &input).await;
            exit(&mut socket, 0).await;
        }),
    );
    let input = "line\n".repeat(40_000);
    let ran = User::of(&server).run_with_input(&["exec", "-i", "claw", "cat"], &input).await;
    assert_eq!(ran.code, Some(0));
    assert!(ran.stdout == input, "{} bytes came back", ran.stdout.len());
    assert_eq!(server.lines()[0], format!("{EXEC}?command=cat&stdin=true"));
}

#[tokio::test]
async fn codes_that_do_not_fit_are_no_success() {
    for (code, ours) in [(0, 0), (255, 255), (256, 255), (-1, 255), (137, 137)] {
        let server = Server::start().await;
        server.on(EXEC, Answer::socket(move |mut socket| async move { exit(&mut socket, code).await }));
        assert_eq!(User::of(&server).run(&["exec", "claw", "true"]).await.code, Some(ours), "{code}");
    }
}

#[tokio::test]
async fn ways_in_which_it_fails() {
    let server = Server::start().await;
    server.on(
        EXEC,
        Answer::socket(async |mut socket| {
            let status = json!({ "error": { "message": "There is no program `nope` in it." } });
            socket.send(Message::Text(status.to_string().into())).await.unwrap();
        }),
    );
    server.on(
        EXEC,
        Answer::socket(async |mut socket| {
            send(&mut socket, 1, b"half").await;
            drop(socket);
        }),
    );
    server.on(EXEC, Answer::problem(409, "conflict", "The instance is stopped; start it first."));
    server.on(EXEC, Answer::json(&json!({})));
    let user = User::of(&server);
    insta::assert_snapshot!("exec_error", user.run(&["exec", "claw", "nope"]).await);
    insta::assert_snapshot!("exec_lost", user.run(&["exec", "claw", "yes"]).await);
    insta::assert_snapshot!("exec_stopped", user.run(&["exec", "claw", "ls"]).await);
    insta::assert_snapshot!("exec_no_socket", user.run(&["exec", "claw", "ls"]).await);
    insta::assert_snapshot!("exec_no_terminal", user.run(&["exec", "-it", "claw", "sh"]).await);
}

#[tokio::test]
async fn once_for_programs() {
    let server = Server::start().await;
    let result = json!({ "exit_code": 3, "stdout": "out\n", "stderr": "", "truncated": false });
    server.on("POST /v1/instances/claw/exec", Answer::json(&result));
    insta::assert_snapshot!(
        "exec_json",
        User::of(&server).run(&["exec", "--json", "claw", "--", "ls", "-l"]).await
    );
    assert_eq!(server.seen()[0].json(), json!({ "command": ["ls", "-l"] }));
}
