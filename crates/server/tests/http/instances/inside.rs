//! Logs, commands, files, figures, ports.

use futures_util::{SinkExt as _, StreamExt as _};
use ryokan_ports::fake::Outcome;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::support::on_sqlite;

#[tokio::test]
async fn logs_are_whole_lines() {
    on_sqlite(async |site| {
        let operator = site.operator();
        site.engine.image("chatty").logs((0..10).map(|i| format!("line {i}")));
        operator.ready("claw", json!({"image": "chatty"})).await;
        let reply = operator.get("/v1/instances/claw/logs?tail=2").await;
        assert_eq!(reply.header("content-type"), "application/x-ndjson");
        let lines: Vec<serde_json::Value> =
            reply.text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[1]["text"], &lines[1]["stream"]), (&json!("line 9"), &json!("stdout")));
        let mut follow = operator.stream("GET", "/v1/instances/claw/logs?follow=true&tail=1", None).await;
        let event = follow.next().await.unwrap();
        assert_eq!((event.name.as_str(), &event.data["text"]), ("log", &json!("line 9")));
        assert_eq!(operator.get("/v1/instances/claw/logs?since=soon").await.expect(400)["field"], "since");
        assert_eq!(operator.get("/v1/instances/claw/logs?lines=3").await.expect(400)["field"], "lines");
        // One that never ran has none, which is no error.
        operator.create("never", json!({"image": "none"})).await;
        operator.until("never", "failed").await;
        let reply = operator.get("/v1/instances/never/logs").await;
        assert_eq!((reply.status, reply.text.as_str()), (200, ""));
    })
    .await;
}

#[tokio::test]
async fn commands_run_once_and_over_a_web_socket() {
    on_sqlite(async |site| {
        let operator = site.operator();
        operator.ready("claw", json!({})).await;
        let outcome = Outcome { stdout: "hi\n".into(), stderr: "warned\n".into(), code: 0 };
        site.engine.add_program("echo", outcome);
        site.engine.add_program("curl", Outcome::default());
        let run = |body| operator.post("/v1/instances/claw/exec", body);
        let result = run(json!({"command": ["echo", "hi"]})).await.expect(200);
        assert_eq!(
            result,
            json!({"exit_code": 0, "stdout": "hi\n", "stderr": "warned\n", "truncated": false})
        );
        assert_eq!(run(json!({"command": ["exit", "7"]})).await.expect(200)["exit_code"], 7);
        assert_eq!(run(json!({"command": ["cat"], "stdin": "typed"})).await.expect(200)["stdout"], "typed");
        assert_eq!(run(json!({"command": []})).await.expect(400)["field"], "command");
        assert_eq!(run(json!({"command": ["x"], "timeout": "11m"})).await.expect(400)["field"], "timeout");
        run(json!({"command": ["sleep"], "timeout": "200ms"})).await.expect(409);
        let url = format!("ws://{}/v1/instances/claw/exec?command=cat&stdin=true", site.address());
        let mut request = url.into_client_request().unwrap();
        let bearer = format!("Bearer {}", site.first_token());
        request.headers_mut().insert("authorization", bearer.parse().unwrap());
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        socket.send(Message::text(r#"{"resize":{"columns":80,"rows":24}}"#)).await.unwrap();
        socket.send(Message::binary(&b"bytes \x00\xff"[..])).await.unwrap();
        let back = socket.next().await.unwrap().unwrap();
        assert_eq!(back.into_data().as_ref(), b"\x01bytes \x00\xff");
        socket.send(Message::text(r#"{"eof":{}}"#)).await.unwrap();
        let last = socket.next().await.unwrap().unwrap();
        assert_eq!(last.to_text().unwrap(), r#"{"exit":{"code":0}}"#);
        // Arguments may be secret: only the program is recorded.
        run(json!({"command": ["curl", "https://x?key=hunter2"]})).await.expect(200);
        let events = serde_json::to_string(&site.events().await).unwrap();
        assert!(events.contains("instance.exec") && !events.contains("hunter2"));
        operator.stream("POST", "/v1/instances/claw/stop", None).await.all().await;
        run(json!({"command": ["echo"]})).await.expect(409);
    })
    .await;
}

#[tokio::test]
async fn a_command_s_end_is_told_whatever_input_it_left() {
    on_sqlite(async |site| {
        let operator = site.operator();
        operator.ready("claw", json!({})).await;
        // More than fits on the way, so that the end waits behind it.
        let stdout = "x".repeat(700_000);
        site.engine.add_program("flood", Outcome { stdout, code: 3, ..Outcome::default() });
        let url = format!("ws://{}/v1/instances/claw/exec?command=flood&stdin=true", site.address());
        let mut request = url.into_client_request().unwrap();
        let bearer = format!("Bearer {}", site.first_token());
        request.headers_mut().insert("authorization", bearer.parse().unwrap());
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        for _ in 0..50 {
            socket.send(Message::binary(&b"unwanted"[..])).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut last = String::new();
        while let Some(message) = socket.next().await {
            match message.unwrap() {
                Message::Text(text) => last = text.to_string(),
                Message::Close(_) => break,
                _ => {}
            }
        }
        assert_eq!(last, r#"{"exit":{"code":3}}"#);
    })
    .await;
}

#[tokio::test]
async fn files_go_in_and_out_and_cannot_leave() {
    on_sqlite(async |site| {
        let operator = site.operator();
        operator.ready("claw", json!({})).await;
        let path = "/v1/instances/claw/files?path=/data/notes.txt";
        let content = "x".repeat(3 * 1024 * 1024);
        let reply = operator.raw("PUT", path, &content).await;
        assert_eq!(reply.status, 204, "{}", reply.text);
        let reply = operator.get(path).await;
        assert_eq!((reply.status, reply.text.len()), (200, content.len()));
        assert_eq!(reply.header("content-disposition"), "attachment");
        assert_eq!(reply.header("content-type"), "application/octet-stream");
        let listed = operator.get("/v1/instances/claw/files?path=/data&list=true").await.items();
        assert_eq!((&listed[0]["name"], &listed[0]["mode"]), (&json!("notes.txt"), &json!("0644")));
        operator.get("/v1/instances/claw/files?path=/data/none").await.expect(404);
        for bad in ["", "notes.txt", "/a/../../etc/passwd", "/a%00b"] {
            for method in ["GET", "PUT"] {
                let reply = operator.raw(method, &format!("/v1/instances/claw/files?path={bad}"), "x").await;
                assert_eq!(reply.expect(400)["field"], "path", "{method} {bad}");
            }
        }
        let reply = operator.raw("PUT", "/v1/instances/claw/files?path=/x&mode=7777", "x").await;
        assert_eq!(reply.expect(400)["field"], "mode");
        // Each way has its own parameters; one that would do nothing is refused.
        for (method, query, field) in [
            ("GET", "", "path"),
            ("PUT", "", "path"),
            ("GET", "?path=/x&mode=0644", "mode"),
            ("PUT", "?path=/x&list=true", "list"),
        ] {
            let reply = operator.raw(method, &format!("/v1/instances/claw/files{query}"), "x").await;
            assert_eq!(reply.expect(400)["field"], field, "{method} {query}");
        }
    })
    .await;
}

#[tokio::test]
async fn figures_and_ports() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let ports = json!([{"name": "http", "port": 3000}, {"name": "admin", "port": 3001}]);
        operator.ready("claw", json!({"ports": ports})).await;
        assert_eq!(operator.get("/v1/instances/claw/stats").await.expect(200)["cpu_nanos"], 2);
        let mut samples = operator.stream("GET", "/v1/instances/claw/stats", None).await;
        for number in 1..3 {
            assert_eq!(samples.next().await.unwrap().data["cpu_nanos"], number);
        }
        let port = site.address().port();
        let listed = operator.get("/v1/instances/claw/ports").await.expect(200);
        assert_eq!(listed[0]["url"], format!("http://claw.localhost:{port}/"));
        assert_eq!(listed[1]["url"], format!("http://admin--claw.localhost:{port}/"));
        operator.stream("POST", "/v1/instances/claw/stop", None).await.all().await;
        assert_eq!(samples.all().await, [], "samples end with the container");
        operator.get("/v1/instances/claw/stats").await.expect(409);
    })
    .await;
}
