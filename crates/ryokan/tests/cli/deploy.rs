//! `init` and `deploy`: what is written, what is sent, what is told.

use serde_json::json;

use super::scripted::{Answer, Server, text};
use super::user::User;

const ID: &str = "01a1ffec-0b9e-7c2b-bbf2-e9086dc887ea";

fn deployment(state: &str, more: &serde_json::Value) -> serde_json::Value {
    let mut all = json!({
        "id": ID, "project": "ada", "name": "bot", "state": state, "created_at": 1, "updated_at": 2,
        "agent_url": "http://bot.example/",
    });
    for (key, value) in more.as_object().unwrap() {
        all[key] = value.clone();
    }
    all
}

fn line(number: i64, words: &str) -> super::scripted::Piece {
    text(json!({"number": number, "at": 1, "text": words}).to_string() + "\n")
}

#[tokio::test]
async fn init_writes_a_manifest_and_keeps_one_that_is_there() {
    let user = User::new("http://nowhere");
    assert_eq!(user.run(&["init"]).await.code, Some(2), "there is nothing to run");
    std::fs::write(user.path("main.py"), "").unwrap();
    assert_eq!(user.run(&["init", "--name", "bot"]).await.code, Some(0));
    let manifest = || std::fs::read_to_string(user.path("agent-manifest.json")).unwrap();
    let first = manifest();
    assert!(first.contains("\"python\"") && first.contains("\"bot\""), "{first}");
    let again = user.run(&["init", "--name", "other"]).await;
    assert!(again.code == Some(2) && again.stderr.contains("is there already"), "{again}");
    assert_eq!(manifest(), first);
    assert_eq!(user.run(&["init", "--name", "other", "--force"]).await.code, Some(0));
    assert_ne!(manifest(), first);
}

#[tokio::test]
async fn deploy_packs_sends_and_follows() {
    let server = Server::start().await;
    let upload = json!({"upload": {"url": format!("http://other.name/api/v1/upload/{ID}/abc"), "expires_at": 9, "max_size": 9}});
    server
        .on("POST /v1/projects/team/deployments", Answer::status(201, &deployment("waiting", &upload)))
        .on(
            &format!("POST /api/v1/upload/{ID}/abc"),
            Answer::status(202, &json!({"message": "", "agentUrl": "bot.example", "deploymentId": ID})),
        )
        .on(
            &format!("GET /v1/deployments/{ID}/logs"),
            Answer::lines([line(1, "Building bot"), line(2, "Done.")]),
        )
        .on(&format!("GET /v1/deployments/{ID}"), Answer::json(&deployment("succeeded", &json!({}))));
    let user = User::of(&server);
    let none = user.run(&["deploy", "--project", "team"]).await;
    assert!(none.code == Some(2) && none.stderr.contains("ryokan init"), "{none}");
    std::fs::write(user.path("agent-manifest.json"), r#"{"schema": "mandala-agent", "agnt": {}}"#).unwrap();
    let wrong = user.run(&["deploy", "--project", "team"]).await;
    assert!(wrong.code == Some(2) && wrong.stderr.contains("did you mean `agent`?"), "{wrong}");
    assert!(server.seen().is_empty(), "nothing is sent before it is right");
    std::fs::write(
        user.path("agent-manifest.json"),
        r#"{"schema": "mandala-agent", "agent": {}, "name": "bot"}"#,
    )
    .unwrap();
    let ran = user.run(&["deploy", "--project", "team"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "http://bot.example/\n"), "{ran}");
    assert!(ran.stderr.contains("Building bot\nDone."), "{ran}");
    let seen = server.seen();
    assert_eq!(seen[0].json()["name"], "bot");
    assert_eq!(seen[0].json()["size"], seen[1].body.len());
    assert_eq!(&seen[1].body[..2], b"\x1f\x8b", "gzip");
}

#[tokio::test]
async fn a_deployment_that_fails_ends_with_1() {
    let server = Server::start().await;
    let failed = deployment("failed", &json!({"message": "the build of bot failed: no"}));
    server
        .on(&format!("GET /v1/deployments/{ID}/logs"), Answer::lines([line(1, "no")]))
        .on("GET /v1/projects/team/deployments", Answer::page(std::slice::from_ref(&failed)))
        .on(
            &format!("POST /v1/deployments/{ID}/cancel"),
            Answer::problem(409, "conflict", "the deployment is over"),
        );
    let user = User::of(&server);
    assert_eq!(user.run(&["deployments", "logs", ID]).await.stdout, "no\n");
    let listed = user.run(&["deployments", "ls", "--project", "team"]).await;
    assert!(
        listed.stdout.contains("failed") && listed.stdout.contains("the build of bot failed"),
        "{listed}"
    );
    assert_eq!(user.run(&["deployments", "cancel", ID]).await.code, Some(5));
}
