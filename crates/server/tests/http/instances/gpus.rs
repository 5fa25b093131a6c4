//! GPUs: given where the engine can, counted where the operator says how many there are, and never dropped.

use serde_json::json;

use crate::deployments::{deploy, manifest};
use crate::support::{on_both_with, on_sqlite, on_sqlite_with};

fn agent(gpu: u32) -> Vec<u8> {
    let manifest = manifest(json!({"resources": {"gpu": gpu}}));
    crate::deployments::artifact(&[("agent-manifest.json", manifest.as_str()), ("Dockerfile", "FROM img")])
}

#[tokio::test]
async fn an_engine_without_gpus_is_said_to_have_none() {
    on_sqlite(async |site| {
        let operator = site.operator();
        operator.ready("claw", json!({})).await;
        let asked = json!({"image": "img", "gpus": 1});
        for refused in [
            operator.post("/v1/instances", asked).await,
            operator.patch("/v1/instances/claw", json!({"gpus": 1})).await,
        ] {
            let body = refused.expect(400);
            let text = body.to_string();
            assert!(text.contains("\"gpus\"") && text.contains("give it some"), "{text}");
        }
        for bad in [json!(-1), json!("1"), json!(0.5), json!(65), json!(null)] {
            operator.post("/v1/instances", json!({"image": "img", "gpus": bad})).await.expect(400);
        }
        let isolated = json!({"image": "img", "gpus": 1, "isolation": "runsc"});
        let body = operator.post("/v1/instances", isolated).await.expect(400);
        assert!(body.to_string().contains("not known to pass GPUs on"), "{body}");
        let failed = deploy(site, "bot", agent(1)).await;
        let message = failed["message"].as_str().unwrap();
        assert!(message.contains("resources.gpu: ") && message.contains("give it some"), "{message}");
        assert_eq!(deploy(site, "bot", agent(0)).await["state"], json!("succeeded"));
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_has_them_is_asked_for_them() {
    on_sqlite(async |site| {
        let operator = site.operator();
        site.engine.give_gpus();
        let id = operator.ready("claw", json!({"image": "img", "gpus": 3})).await;
        assert_eq!(site.engine.workload(id).unwrap().spec.resources.gpus, 3);
        assert_eq!(operator.show("claw").await["spec"]["resources"]["gpus"], json!(3));
        operator.patch("/v1/instances/claw", json!({"gpus": 0})).await.expect(202);
        crate::support::eventually("it runs without", async || {
            let gpus = site.engine.workload(id).map(|w| w.spec.resources.gpus);
            if gpus == Some(0) { Ok(()) } else { Err(format!("{gpus:?}")) }
        })
        .await;
        assert_eq!(deploy(site, "bot", agent(2)).await["state"], json!("succeeded"));
        assert_eq!(operator.show("bot").await["spec"]["resources"]["gpus"], json!(2));
    })
    .await;
}

#[tokio::test]
async fn what_the_operator_counts_is_given_once() {
    on_both_with(
        |config| config.engine.gpus = Some(3),
        async |site| {
            let operator = site.operator();
            site.engine.give_gpus();
            let make = |name: &str, gpus: u32| {
                operator.post("/v1/instances", json!({"name": name, "image": "img", "gpus": gpus}))
            };
            let more = make("more", 4).await.expect(400);
            assert!(more.to_string().contains("only 3 here"), "{more}");
            // Two that want the last: one has it.
            make("a", 2).await.expect(202);
            let (b, c) = tokio::join!(make("b", 1), make("c", 1));
            let mut statuses = [b.status, c.status];
            statuses.sort_unstable();
            assert_eq!(statuses, [202, 409], "{} {}", b.text, c.text);
            let refused = if b.status == 409 { b } else { c };
            assert!(refused.text.contains("running instances hold 3"), "{}", refused.text);
            make("none", 0).await.expect(202);
            let grown = operator.patch("/v1/instances/a", json!({"gpus": 3})).await;
            assert_eq!(grown.status, 409, "{}", grown.text);
            let failed = deploy(site, "bot", agent(1)).await;
            assert!(failed["message"].as_str().unwrap().contains("running instances hold 3"), "{failed}");

            operator.until("a", "ready").await;
            operator.post("/v1/instances/a/stop", json!({})).await.expect(202);
            operator.until("a", "stopped").await;
            make("d", 1).await.expect(202);
            let start = operator.post("/v1/instances/a/start", json!({})).await;
            assert_eq!(start.status, 409, "{}", start.text);
            operator.delete("/v1/instances/d").await.expect(202);
            operator.until_gone("d").await;
            operator.post("/v1/instances/a/start", json!({})).await.expect(202);
            operator.until("a", "ready").await;
        },
    )
    .await;
}

#[tokio::test]
async fn nobody_counts_where_nobody_says_how_many_there_are() {
    on_sqlite_with(
        |config| config.engine.gpus = None,
        async |site| {
            site.engine.give_gpus();
            for name in ["a", "b"] {
                site.operator().ready(name, json!({"image": "img", "gpus": 8})).await;
            }
        },
    )
    .await;
}
