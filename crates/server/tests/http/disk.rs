//! The quota of disk: what is measured is held against it before anything new is taken in, and it is told once.

use std::time::Duration;

use ryokan_model::usage::VOLUMES;
use ryokan_model::{InstanceId, ProjectId};
use ryokan_ports::usage::Reading;
use serde_json::{Value, json};

use crate::deployments::{agent, over, promise, send};
use crate::ledger::{listener, mail_server};
use crate::support::{Client, Site, eventually, on_both, on_sqlite_with};

const MEBI: u64 = 1024 * 1024;
const QUOTAS: &str = "/v1/projects/operator/quotas";

async fn project(client: &Client) -> ProjectId {
    client.get("/v1/projects/operator").await.expect(200)["id"].as_str().unwrap().parse().unwrap()
}

/// As if its volumes had been measured now, and the sampler had looked.
async fn measure(site: &Site, project: ProjectId, sizes: &[(InstanceId, u64)]) {
    let reading = |(instance, mebi): &(InstanceId, u64)| Reading {
        instance: *instance,
        project,
        epoch: VOLUMES.into(),
        began: None,
        cpu_nanos: 0,
        memory_bytes: 0,
        disk_bytes: mebi * MEBI,
        network_bytes: 0,
        gpu_millis: 0,
    };
    site.usage.set(sizes.iter().map(reading).collect());
    site.clock.forward(Duration::from_millis(5));
    site.app().sample_usage().await.unwrap();
    site.app().watch_disk_quotas().await.unwrap();
}

fn refusal(body: &Value) -> &str {
    assert_eq!(body["code"], json!("quota_exceeded"), "{body}");
    body["detail"].as_str().unwrap()
}

async fn told(site: &Site, kind: &str) -> Vec<Value> {
    let events = site.events().await;
    events.into_iter().filter(|e| e["kind"] == json!(kind)).map(|e| e["data"].clone()).collect()
}

#[tokio::test]
async fn a_full_project_is_given_nothing_more_and_what_runs_goes_on() {
    on_both(async |site| {
        let operator = site.operator();
        let of = project(&operator).await;
        let claw = operator.ready("claw", json!({})).await;
        operator.ready("rests", json!({})).await;
        operator.post("/v1/instances/rests/stop", json!({})).await.expect(202);
        operator.until("rests", "stopped").await;
        let (id, path) = promise(&operator, json!({"name": "bot"})).await;
        operator.put(QUOTAS, json!({"disk": "100Mi"})).await.expect(200);
        measure(site, of, &[(claw, 60)]).await;
        assert_eq!(operator.get(QUOTAS).await.expect(200)["used"]["disk"], json!("60Mi"));

        // There is room, but not for so much.
        let big = operator.post("/v1/projects/operator/deployments", json!({"size": 41 * MEBI})).await;
        let big = big.expect(403);
        assert!(
            refusal(&big).contains("100Mi of disk, and its volumes hold 60.0Mi, and would have 41.0Mi more"),
            "{big}"
        );
        operator.post("/v1/projects/operator/deployments", json!({"size": 40 * MEBI})).await.expect(201);
        let file = "/v1/instances/claw/files?path=/data/x";
        assert_eq!(operator.raw("PUT", file, "x").await.status, 204);

        measure(site, of, &[(claw, 100)]).await;
        for refused in [
            operator.post("/v1/instances", json!({"image": "img"})).await,
            operator.post("/v1/instances/rests/start", json!({})).await,
            operator.post("/v1/instances/rests/restart", json!({})).await,
            operator.post("/v1/projects/operator/deployments", json!({})).await,
            operator.raw("PUT", file, "x").await,
            send(site, &path, agent("FROM img")).await,
        ] {
            let body = refused.expect(403);
            let why = refusal(&body);
            assert!(why.contains("hold 100.0Mi") && why.contains("delete files"), "{why}");
        }
        assert_eq!(operator.show("claw").await["state"], json!("ready"));
        operator.post("/v1/instances/claw/restart", json!({})).await.expect(202);

        // With room again the address is still good.
        measure(site, of, &[(claw, 50)]).await;
        send(site, &path, agent("FROM img")).await.expect(202);
        assert_eq!(over(&operator, &id).await["state"], json!("succeeded"));
        operator.post("/v1/instances/rests/start", json!({})).await.expect(202);
        operator.put(QUOTAS, json!({})).await.expect(200);
        measure(site, of, &[(claw, 5_000)]).await;
        operator.ready("more", json!({})).await;
    })
    .await;
}

#[tokio::test]
async fn what_deleted_instances_leave_counts_only_while_it_is_there() {
    on_both(async |site| {
        let operator = site.operator();
        let of = project(&operator).await;
        let volume = json!({"volumes": [{"name": "d", "path": "/d"}]});
        let kept = operator.ready("kept", volume.clone()).await;
        let gone = operator.ready("gone", volume).await;
        site.keeps_volume(kept);
        operator.put(QUOTAS, json!({"disk": "100Mi"})).await.expect(200);
        measure(site, of, &[(kept, 60), (gone, 60)]).await;
        operator.post("/v1/instances", json!({"image": "img"})).await.expect(403);
        operator.delete("/v1/instances/gone").await.expect(202);
        operator.until_gone("gone").await;
        operator.delete("/v1/instances/kept?keep_volumes=true").await.expect(202);
        operator.until_gone("kept").await;
        let used = async || operator.get(QUOTAS).await.expect(200)["used"]["disk"].clone();
        assert_eq!(used().await, json!("60Mi"), "what was deleted is room at once; what was kept is not");
        site.usage.set(Vec::new());
        site.clock.forward(Duration::from_mins(6));
        assert_eq!(used().await, json!("0"), "nobody has seen it for a while");
    })
    .await;
}

#[tokio::test]
async fn each_crossing_is_told_once() {
    static PORT: std::sync::OnceLock<u16> = std::sync::OnceLock::new();
    let (port, mails) = mail_server().await;
    PORT.set(port).unwrap();
    let configure = |config: &mut ryokan_server::config::Config| {
        config.billing.webhooks_to_private = true;
        config.mail.host = Some("127.0.0.1".into());
        config.mail.port = PORT.get().copied();
        config.mail.encryption = Some("none".into());
        config.mail.from = Some("ryokan@example.com".into());
    };
    on_sqlite_with(configure, async |site| {
        let (url, posted) = listener(&[200, 200]).await;
        let operator = site.operator();
        let of = project(&operator).await;
        let claw = operator.ready("claw", json!({})).await;
        let settings =
            json!({"webhook_url": url, "webhook_secret": "a secret of sixteen", "email": "ada@example.com"});
        operator.put("/v1/projects/operator/billing", settings).await.expect(200);
        operator.put(QUOTAS, json!({"disk": "100Mi"})).await.expect(200);
        let (reached, cleared) = ("project.disk_quota_reached", "project.disk_quota_cleared");
        for (mebi, times) in
            [(99, (0, 0)), (120, (1, 0)), (130, (1, 0)), (96, (1, 0)), (100, (1, 0)), (90, (1, 1))]
        {
            measure(site, of, &[(claw, mebi)]).await;
            // Setting the same again is no news.
            operator.put(QUOTAS, json!({"disk": "100Mi"})).await.expect(200);
            site.app().watch_disk_quotas().await.unwrap();
            let counts = (told(site, reached).await.len(), told(site, cleared).await.len());
            assert_eq!(counts, times, "at {mebi}Mi");
        }
        assert_eq!(told(site, reached).await, [json!({"used": 120 * MEBI, "quota": 100 * MEBI})]);
        let body = eventually("it is posted", async || {
            let posted = posted.lock().unwrap();
            posted.first().map(|(_, body)| body.clone()).ok_or_else(|| "nothing".to_owned())
        })
        .await;
        let message: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&message["event"], &message["data"]["used"]), (&json!(reached), &json!(120 * MEBI)));
        let mail = eventually("it is mailed", async || {
            site.clock.forward(Duration::from_secs(5));
            mails.lock().unwrap().first().cloned().ok_or_else(|| "nothing".to_owned())
        })
        .await;
        assert!(
            mail.contains("the disk of operator is full") && mail.contains("may have 104857600"),
            "{mail}"
        );
        // A quota that is smaller now is another one to reach.
        operator.put(QUOTAS, json!({"disk": "80Mi"})).await.expect(200);
        site.app().watch_disk_quotas().await.unwrap();
        assert_eq!(told(site, reached).await.len(), 2);
    })
    .await;
}
