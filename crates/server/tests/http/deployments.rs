//! From an artifact to an agent behind its address, and everything that may go wrong on the way.

use std::io::Write as _;
use std::time::Duration;

use ryokan_ports::fake::Call;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Client, Reply, Site, eventually, on_both, on_sqlite, on_sqlite_with};

pub(super) fn artifact(files: &[(&str, &str)]) -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gzip);
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

pub(super) fn manifest(more: Value) -> String {
    let mut all = json!({
        "schema": "mandala-agent",
        "agent": {"type": "custom", "dockerfile": "Dockerfile"},
        "healthCheck": {"path": "/", "intervalSeconds": 1, "startupSeconds": 1},
    });
    for (key, value) in more.as_object().unwrap() {
        all[key] = value.clone();
    }
    all.to_string()
}

pub(super) fn agent(dockerfile: &str) -> Vec<u8> {
    artifact(&[("agent-manifest.json", &manifest(json!({}))), ("Dockerfile", dockerfile)])
}

pub(super) async fn promise(client: &Client, body: Value) -> (String, String) {
    let made = client.post("/v1/projects/operator/deployments", body).await.expect(201);
    let url = made["upload"]["url"].as_str().unwrap();
    let path = url.splitn(4, '/').nth(3).unwrap();
    (made["id"].as_str().unwrap().to_owned(), format!("/{path}"))
}

pub(super) async fn send(site: &Site, path: &str, artifact: Vec<u8>) -> Reply {
    let stranger = site.anonymous();
    let request =
        stranger.request("POST".parse().unwrap(), path).header("content-type", "application/octet-stream");
    stranger.send(request.body(artifact)).await
}

pub(super) async fn over(client: &Client, id: &str) -> Value {
    eventually("the deployment is over", async || {
        let row = client.get(&format!("/v1/deployments/{id}")).await.expect(200);
        match row["state"].as_str().unwrap() {
            "succeeded" | "failed" | "cancelled" => Ok(row),
            other => Err(other.to_owned()),
        }
    })
    .await
}

pub(super) async fn deploy(site: &Site, name: &str, artifact: Vec<u8>) -> Value {
    let operator = site.operator();
    let (id, path) = promise(&operator, json!({"name": name})).await;
    send(site, &path, artifact).await.expect(202);
    over(&operator, &id).await
}

pub(super) async fn log(client: &Client, id: &str) -> String {
    let reply = client.get(&format!("/v1/deployments/{id}/logs")).await;
    reply
        .text
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap()["text"].as_str().unwrap().to_owned() + "\n")
        .collect()
}

fn nothing_is_kept(site: &Site) {
    let data = site.config().server.data_dir;
    for folder in ["artifacts", "builds"] {
        let left: Vec<_> =
            std::fs::read_dir(data.join(folder)).into_iter().flatten().map(|e| e.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn an_artifact_becomes_an_agent_and_the_next_one_replaces_it() {
    on_both(async |site| {
        let operator = site.operator();
        let (id, path) = promise(&operator, json!({"name": "bot"})).await;
        let answer = send(site, &path, agent("FROM img\n")).await.expect(202);
        assert_eq!(answer["deploymentId"], json!(id));
        assert!(answer["agentUrl"].as_str().unwrap().starts_with("bot.localhost"), "{answer}");
        let done = over(&operator, &id).await;
        assert_eq!(
            (&done["state"], &done["message"]),
            (&json!("succeeded"), &Value::Null),
            "{}",
            log(&operator, &id).await
        );
        let bot = operator.show("bot").await;
        assert_eq!((&bot["state"], &bot["spec"]["gateway"]["access"]), (&json!("ready"), &json!("public")));
        assert!(log(&operator, &id).await.contains("bot is ready at http://bot.localhost"));
        let followed =
            operator.stream("GET", &format!("/v1/deployments/{id}/logs?follow=true"), None).await.all().await;
        assert_eq!(followed.last().unwrap().name, "end");
        let second = deploy(site, "bot", agent("FROM img\n# second\n")).await;
        assert_eq!(second["state"], json!("succeeded"));
        let revisions = operator.get("/v1/instances/bot/revisions").await.items();
        let states: Vec<_> =
            revisions.iter().map(|r| (r["number"].as_i64().unwrap(), r["state"].as_str().unwrap())).collect();
        assert_eq!(states, [(2, "live"), (1, "superseded")]);
        assert!(revisions[0]["manifest"].as_str().unwrap().contains("mandala-agent"));
        let listed = operator.get("/v1/projects/operator/deployments").await.items();
        assert_eq!(listed[0]["id"], second["id"]);
        nothing_is_kept(site);
        // And back again.
        let back = operator.stream("POST", "/v1/instances/bot/rollback", Some(json!({}))).await.all().await;
        assert_eq!(back.last().unwrap().name, "ready", "{back:?}");
        let now = operator.get("/v1/instances/bot/revisions").await.items();
        assert_eq!((&now[0]["number"], &now[0]["state"]), (&json!(3), &json!("live")));
        assert_eq!(now[0]["image"], revisions[1]["image"]);
        operator.post("/v1/instances/bot/rollback", json!({"revision": 99})).await.expect(404);
    })
    .await;
}

#[tokio::test]
async fn a_frontend_is_an_instance_of_its_own() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let files = [
            ("agent-manifest.json", manifest(json!({"frontend": {"directory": "web"}}))),
            ("Dockerfile", "FROM img".to_owned()),
            ("web/index.html", "hello".to_owned()),
        ];
        let files: Vec<_> = files.iter().map(|(n, c)| (*n, c.as_str())).collect();
        let done = deploy(site, "bot", artifact(&files)).await;
        assert_eq!(
            done["state"],
            json!("succeeded"),
            "{}",
            log(&operator, done["id"].as_str().unwrap()).await
        );
        assert_eq!(operator.show("frontend-bot").await["state"], json!("ready"));
        // Nobody else may take such a name.
        operator.post("/v1/instances", json!({"image": "img", "name": "frontend-x"})).await.expect(400);
        operator.post("/v1/projects/operator/deployments", json!({"name": "frontend-x"})).await.expect(400);
    })
    .await;
}

#[tokio::test]
async fn an_address_is_good_once_and_only_for_what_was_announced() {
    on_both(async |site| {
        let operator = site.operator();
        let good = agent("FROM img");
        let hash = hex::encode(Sha256::digest(&good));
        let (id, path) = promise(&operator, json!({"name": "bot", "sha256": hash, "size": good.len()})).await;
        // Another content, too much of it, and another signature: the address stays good.
        send(site, &path, agent("FROM other")).await.expect(400);
        send(site, &path, vec![0; good.len() + 1]).await.expect(400);
        let (cut, last) = path.split_at(path.len() - 1);
        send(site, &format!("{cut}{}", if last == "0" { "1" } else { "0" }), good.clone()).await.expect(404);
        nothing_is_kept(site);
        // One that breaks off in the middle.
        let mut socket = std::net::TcpStream::connect(site.address()).unwrap();
        write!(
            socket,
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\nabc",
            good.len()
        )
        .unwrap();
        drop(socket);
        eventually("the broken upload is gone", async || {
            let left = std::fs::read_dir(site.config().server.data_dir.join("artifacts")).unwrap().count();
            if left == 0 { Ok(()) } else { Err(format!("{left} files")) }
        })
        .await;
        // Two at the same time: one wins.
        let (one, two) = tokio::join!(send(site, &path, good.clone()), send(site, &path, good.clone()));
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [202, 409]);
        send(site, &path, good).await.expect(409);
        assert_eq!(over(&operator, &id).await["state"], json!("succeeded"));
        nothing_is_kept(site);
        // Another deployment's signature is not this one's.
        let (_, other) = promise(&operator, json!({})).await;
        let (_, signature) = other.rsplit_once('/').unwrap();
        send(site, &format!("/api/v1/upload/{id}/{signature}"), vec![1]).await.expect(404);
        // And they run out.
        let (late, path) = promise(&operator, json!({})).await;
        site.clock.forward(Duration::from_secs(3601));
        send(site, &path, vec![1]).await.expect(403);
        assert_eq!(
            operator.get(&format!("/v1/deployments/{late}")).await.expect(200)["state"],
            json!("waiting")
        );
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_an_artifact_is_said_and_nothing_stays() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let with = |more: Value, dockerfile: &str| {
            artifact(&[("agent-manifest.json", manifest(more).as_str()), ("Dockerfile", dockerfile)])
        };
        for (artifact, expected) in [
            (b"not an archive".to_vec(), "not a gzipped tar"),
            (artifact(&[("x", "y")]), "there is no `agent-manifest.json`"),
            (artifact(&[("agent-manifest.json", "{")]), "it is not JSON"),
            (with(json!({"ports": [0]}), "FROM img"), "ports[0]: 0 is not a port"),
            (
                with(json!({"agent": {"dockerfile": "no/such"}}), "FROM img"),
                "agent.dockerfile: there is no `no/such`",
            ),
            (with(json!({"resources": {"gpu": 1}}), "FROM img"), "resources.gpu"),
            (with(json!({"databases": {"oracle": true}}), "FROM img"), "databases.oracle"),
            (with(json!({"resources": {"memory": "900Gi"}}), "FROM img"), "memory: at most"),
            (with(json!({"agent": {"image": "ryokan.local/0/x:1"}}), ""), "there is no image"),
            (with(json!({}), "FROM ryokan.local/0/x:1"), "cannot be built from here"),
            (with(json!({}), "FROM $X"), "the Dockerfile: line 1"),
            (
                with(json!({}), "FROM img\n# fails the command returned 7"),
                "the build of bad failed: the command returned 7",
            ),
            (with(json!({}), "FROM img\n# fills"), "more than 10Gi, which is all that a build may take"),
            (with(json!({"agent": {"runtime": "python"}}), ""), "there is no `main.py`"),
        ] {
            let done = deploy(site, "bad", artifact).await;
            let message = done["message"].as_str().unwrap_or_default();
            assert!(done["state"] == json!("failed") && message.contains(expected), "{expected}: {done}");
            assert!(log(&operator, done["id"].as_str().unwrap()).await.contains(expected));
        }
        operator.get("/v1/instances/bad").await.expect(404);
        nothing_is_kept(site);
    })
    .await;
}

#[tokio::test]
async fn a_release_that_is_never_ready_is_taken_back() {
    on_both(async |site| {
        let operator = site.operator();
        assert_eq!(deploy(site, "bot", agent("FROM img")).await["state"], json!("succeeded"));
        let first = operator.show("bot").await;
        for broken in ["# ill", "# exits 3"] {
            let done = {
                let (id, path) = promise(&operator, json!({"name": "bot"})).await;
                send(site, &path, agent(&format!("FROM img\n{broken}\n"))).await.expect(202);
                eventually("it is over", async || {
                    // Starts and waits between them take their time.
                    site.clock.forward(Duration::from_secs(2));
                    let row = operator.get(&format!("/v1/deployments/{id}")).await.expect(200);
                    if row["state"] == json!("failed") { Ok(row) } else { Err(row.to_string()) }
                })
                .await
            };
            assert!(done["message"].as_str().unwrap().contains("taken back"), "{done}");
            let now = operator.until("bot", "ready").await;
            assert_eq!(now["spec"]["image"], first["spec"]["image"]);
            let revisions = operator.get("/v1/instances/bot/revisions").await.items();
            assert_eq!(revisions[0]["state"], json!("failed"), "{revisions:?}");
            assert_eq!(revisions.iter().filter(|r| r["state"] == json!("live")).count(), 1);
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_under_way_can_be_cancelled() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let (waiting, path) = promise(&operator, json!({})).await;
        operator.post(&format!("/v1/deployments/{waiting}/cancel"), json!({})).await.expect(202);
        send(site, &path, agent("FROM img")).await.expect(409);
        let (id, path) = promise(&operator, json!({"name": "bot"})).await;
        send(site, &path, agent("FROM img\n# hangs\n")).await.expect(202);
        eventually("it builds", async || {
            let text = log(&operator, &id).await;
            if text.contains("# hangs") { Ok(()) } else { Err(text) }
        })
        .await;
        operator.post(&format!("/v1/deployments/{id}/cancel"), json!({})).await.expect(202);
        assert_eq!(over(&operator, &id).await["state"], json!("cancelled"));
        operator.post(&format!("/v1/deployments/{id}/cancel"), json!({})).await.expect(409);
        operator.get("/v1/instances/bot").await.expect(404);
        nothing_is_kept(site);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stops_in_the_middle_goes_on_afterwards() {
    on_both(async |site| {
        let operator = site.operator();
        site.engine.hang(Call::Info);
        let (id, path) = promise(&operator, json!({"name": "bot"})).await;
        send(site, &path, agent("FROM img")).await.expect(202);
        eventually("it has begun", async || {
            let row = operator.get(&format!("/v1/deployments/{id}")).await.expect(200);
            if row["state"] == json!("building") { Ok(()) } else { Err(row.to_string()) }
        })
        .await;
        site.stop().await;
        site.engine.heal();
        site.start().await;
        let operator = site.operator();
        let done = over(&operator, &id).await;
        assert_eq!(done["state"], json!("succeeded"), "{}", log(&operator, &id).await);
        assert_eq!(operator.get("/v1/instances/bot/revisions").await.items().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_name_of_another_project_is_not_to_be_had() {
    on_sqlite(async |site| {
        let operator = site.operator();
        operator.ready("claw", json!({})).await;
        let ada = site.user("ada").await;
        ada.post("/v1/projects/ada/deployments", json!({"name": "claw"})).await.expect(409);
        // Taken between the promise and the release.
        let made = ada.post("/v1/projects/ada/deployments", json!({"name": "late"})).await.expect(201);
        operator.ready("late", json!({})).await;
        let url = made["upload"]["url"].as_str().unwrap().splitn(4, '/').nth(3).unwrap().to_owned();
        send(site, &format!("/{url}"), agent("FROM img")).await.expect(202);
        let done = over(&ada, made["id"].as_str().unwrap()).await;
        assert!(done["message"].as_str().unwrap().contains("is taken"), "{done}");
        // What was built for one project is not another's.
        assert_eq!(deploy(site, "bot", agent("FROM img")).await["state"], json!("succeeded"));
        let image = operator.show("bot").await["spec"]["image"].clone();
        ada.post("/v1/instances", json!({"image": image, "pull": "never"})).await.expect(400);
    })
    .await;
}

#[tokio::test]
async fn a_wide_project_has_only_so_many_open() {
    on_sqlite_with(
        |config| config.build.upload_time = "1m".parse().ok(),
        async |site| {
            let operator = site.operator();
            for _ in 0..20 {
                promise(&operator, json!({})).await;
            }
            let refused = operator.post("/v1/projects/operator/deployments", json!({})).await;
            assert_eq!(refused.status, 403, "{}", refused.text);
            let key = site.operator().with("idempotency-key", "k");
            assert_eq!(key.post("/v1/projects/operator/deployments", json!({})).await.status, 403);
        },
    )
    .await;
}
