//! Ctrl-C: what runs on the server goes on, and that is said.

use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::sync::Notify;

use super::scripted::{Answer, Piece, Server, sse};
use super::user::User;

#[tokio::test]
async fn waiting_can_be_given_up() {
    let server = Server::start().await;
    let forever = Arc::new(Notify::new());
    server.on(
        "POST /v1/instances",
        Answer::events([
            sse("created", &json!({ "name": "claw", "state": "pending" })),
            Piece::Wait(forever),
        ]),
    );
    let user = User::of(&server);
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut child = user.command(&["run", "hello"]).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).await.unwrap();
        assert_eq!(line, "claw: pending\n");
        let pid = Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
        let ran = user.finish(child).await;
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).await.unwrap();
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""));
        insta::assert_snapshot!("interrupted", rest);
    }
}
