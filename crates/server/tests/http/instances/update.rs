//! Changes in place.

use ryokan_ports::fake::Call;
use serde_json::{Value, json};

use super::rollout::running;
use crate::support::{eventually, on_both, on_sqlite};

#[tokio::test]
async fn a_new_image_replaces_the_container_and_keeps_the_volume() {
    on_both(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", json!({"volumes": [{"name": "d", "path": "/d"}]})).await;
        let container = site.engine.engine_id(id);
        site.engine.image("img:2");
        let events =
            operator.stream("PATCH", "/v1/instances/claw", Some(json!({"image": "img:2"}))).await.all().await;
        assert_eq!(events.last().unwrap().name, "ready", "{events:?}");
        let row = operator.show("claw").await;
        assert_eq!((&row["generation"], &row["spec"]["image"]), (&json!(2), &json!("img:2")));
        assert_ne!(site.engine.engine_id(id), container);
        assert_eq!(site.engine.workload(id).unwrap().generation, 2);
        assert!(site.engine.has_volume(id));
    })
    .await;
}

#[tokio::test]
async fn what_only_we_read_needs_no_new_container() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", json!({})).await;
        let (container, starts) = (site.engine.engine_id(id), site.engine.starts(id));
        for change in [
            json!({"access": "public"}),
            json!({"stop_grace": "3s"}),
            json!({"restart": {"max_crashes": 3}}),
            json!({"readiness": {"check": {"tcp": {"port": "http"}}}}),
        ] {
            let events =
                operator.stream("PATCH", "/v1/instances/claw", Some(change.clone())).await.all().await;
            assert_eq!(events.last().unwrap().name, "ready", "{change}: {events:?}");
        }
        let row = operator.show("claw").await;
        assert_eq!((&row["generation"], &row["spec"]["gateway"]["access"]), (&json!(1), &json!("public")));
        assert_eq!((site.engine.engine_id(id), site.engine.starts(id)), (container, starts));
        // Nothing changed: nothing happens, not even an event.
        let before = site.events().await.len();
        operator.patch("/v1/instances/claw", json!({"access": "public"})).await.expect(202);
        operator.patch("/v1/instances/claw", json!({})).await.expect(202);
        assert_eq!(site.events().await.len(), before);
    })
    .await;
}

#[tokio::test]
async fn null_removes_and_what_is_absent_stays() {
    on_both(async |site| {
        let operator = site.operator();
        let probe = json!({"check": {"tcp": {"port": "http"}}, "interval": "1s", "retries": 1, "start_period": "0s"});
        let made = json!({
            "command": ["agent"], "args": ["serve"], "user": "1000", "hostname": "inside",
            "ports": [{"name": "http", "port": 80}], "startup": probe, "readiness": probe,
            "restart": {"mode": "on_failure", "max_crashes": 3}, "gateway": {"origin": "remove"},
        });
        let id = operator.ready("claw", made).await;
        site.engine.sicken(id, "it says no");
        operator.until("claw", "unhealthy").await;
        let patch = json!({"startup": null, "readiness": null, "restart": {"max_crashes": 5}, "gateway": {"access": "token"}});
        let events = operator.stream("PATCH", "/v1/instances/claw", Some(patch)).await.all().await;
        assert_eq!(events.last().unwrap().name, "ready", "{events:?}");
        let spec = operator.show("claw").await["spec"].clone();
        assert!(spec.get("startup").is_none() && spec.get("readiness").is_none(), "{spec}");
        assert_eq!((&spec["restart"]["mode"], &spec["restart"]["max_crashes"]), (&json!("on_failure"), &json!(5)));
        assert_eq!((&spec["gateway"]["origin"], &spec["gateway"]["access"]), (&json!("remove"), &json!("token")));
        let patch = json!({"command": null, "args": null, "user": null, "hostname": null});
        operator.stream("PATCH", "/v1/instances/claw", Some(patch)).await.all().await;
        running(site, id, &[2]).await;
        let spec = site.engine.workload(id).unwrap().spec;
        assert_eq!((spec.command, spec.args, spec.security.user, spec.hostname), (None, None, None, None));
        for (patch, field) in [
            (json!({"memory": null}), "memory"),
            (json!({"restart": {"mode": null}}), "restart.mode"),
            (json!({"readiness": {"check": null}}), "readiness.check"),
        ] {
            let refused = operator.patch("/v1/instances/claw", patch).await.expect(400);
            assert_eq!(refused["field"], field, "{refused}");
        }
    })
    .await;
}

#[tokio::test]
async fn secrets_change_and_go() {
    on_both(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", json!({"secret_env": {"K": "one", "L": "two"}})).await;
        let value = |name: &str| {
            site.engine.workload(id).unwrap().secret_env.get(name).map(|s| s.expose().to_owned())
        };
        assert_eq!(value("K").as_deref(), Some("one"));
        let change = json!({"secret_env": {"K": "three", "L": null}});
        let events = operator.stream("PATCH", "/v1/instances/claw", Some(change)).await.all().await;
        assert_eq!(events.last().unwrap().name, "ready");
        running(site, id, &[2]).await;
        assert_eq!((value("K").as_deref(), value("L")), (Some("three"), None));
        assert!(!operator.show("claw").await.to_string().contains("three"));
        // What is sealed cannot become plain by the way.
        let reply = operator.patch("/v1/instances/claw", json!({"env": {"K": "plain"}})).await;
        assert_eq!(reply.expect(400)["field"], "env.K");
    })
    .await;
}

#[tokio::test]
async fn a_stopped_instance_stays_stopped_and_starts_with_the_change() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", json!({})).await;
        operator.stream("POST", "/v1/instances/claw/stop", None).await.all().await;
        site.engine.image("img:2");
        let events =
            operator.stream("PATCH", "/v1/instances/claw", Some(json!({"image": "img:2"}))).await.all().await;
        assert_eq!(events.last().unwrap().name, "stopped", "{events:?}");
        assert!(!site.engine.running(id));
        operator.stream("POST", "/v1/instances/claw/start", None).await.all().await;
        assert_eq!(site.engine.workload(id).unwrap().spec.image.as_str(), "img:2");
    })
    .await;
}

#[tokio::test]
async fn a_bad_update_changes_nothing_and_one_that_fails_is_taken_back() {
    on_sqlite(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", json!({"secret_env": {"K": "old", "L": "old"}})).await;
        let (container, starts) = (site.engine.engine_id(id), site.engine.starts(id));
        for (change, field) in [
            (json!({"name": "x"}), "name"),
            (json!({"project": "x"}), "project"),
            (json!({"template": "hello"}), "template"),
            (json!({"memory": "1"}), "memory"),
            (json!({"isolation": "kata"}), "isolation"),
            (json!({"ports": [{"name": "http", "port": 1}, {"name": "http", "port": 2}]}), "ports[1].name"),
        ] {
            let reply = operator.patch("/v1/instances/claw", change.clone()).await.expect(400);
            assert_eq!(reply["field"], field, "{change}");
        }
        assert_eq!(operator.show("claw").await["generation"], 1);
        let change = json!({"image": "none:1", "secret_env": {"K": "new", "L": null}});
        let events = operator.stream("PATCH", "/v1/instances/claw", Some(change)).await.all().await;
        let last = events.last().unwrap();
        assert_eq!(last.name, "error", "{events:?}");
        assert!(last.data["message"].as_str().unwrap().contains("taken back"), "{last:?}");
        let row = operator.show("claw").await;
        assert_eq!((&row["state"], &row["spec"]["image"]), (&json!("ready"), &json!("img")), "{row}");
        assert_eq!((site.engine.engine_id(id), site.engine.starts(id)), (container, starts), "it ran on");
        // It comes back as it was, also after a loss.
        site.engine.lose(id);
        eventually("it runs again", async || {
            if site.engine.running(id) { Ok(()) } else { Err(operator.show("claw").await.to_string()) }
        })
        .await;
        let workload = site.engine.workload(id).unwrap();
        let secrets: Vec<_> = workload.secret_env.iter().map(|(k, v)| (k.as_str(), v.expose())).collect();
        assert_eq!(secrets, [("K", "old"), ("L", "old")]);
        operator.until("claw", "ready").await;
        // The next update has a number of its own, and is not taken for the one that failed.
        site.engine.image("img:2");
        let change = json!({"image": "img:2"});
        let events = operator.stream("PATCH", "/v1/instances/claw", Some(change)).await.all().await;
        assert_eq!(events.last().unwrap().name, "ready", "{events:?}");
        let row = operator.show("claw").await;
        assert_eq!((&row["generation"], &row["update_error"]), (&json!(3), &Value::Null));
    })
    .await;
}

#[tokio::test]
async fn updates_at_once_lose_nothing_silently() {
    on_both(async |site| {
        let operator = site.operator();
        operator.ready("claw", json!({})).await;
        let changes = (0..8).map(|i| {
            let operator = operator.clone();
            async move {
                operator.patch("/v1/instances/claw", json!({"env": {format!("V{i}"): "x"}})).await.status
            }
        });
        let statuses = futures_util::future::join_all(changes).await;
        let accepted = statuses.iter().filter(|s| **s == 202).count();
        assert!(accepted >= 1 && statuses.iter().all(|s| [202, 409].contains(s)), "{statuses:?}");
        let row = operator.until("claw", "ready").await;
        assert_eq!(row["spec"]["env"].as_object().unwrap().len(), accepted, "{row}");
    })
    .await;
}

#[tokio::test]
async fn an_update_that_the_engine_refuses_half_way_brings_back_what_ran() {
    on_both(async |site| {
        let operator = site.operator();
        let id = operator.ready("claw", json!({"volumes": [{"name": "d", "path": "/d"}]})).await;
        site.engine.image("odd").refuses("args", "no such program");
        let events =
            operator.stream("PATCH", "/v1/instances/claw", Some(json!({"image": "odd"}))).await.all().await;
        let last = events.last().unwrap();
        assert_eq!(last.name, "error", "{events:?}");
        assert!(last.data["message"].as_str().unwrap().contains("no such program"), "{last:?}");
        let row = operator.until("claw", "ready").await;
        assert_eq!(row["spec"]["image"], "img");
        assert!(row["update_error"].as_str().unwrap().contains("no such program"), "{row}");
        assert!(site.engine.running(id) && site.engine.workload(id).unwrap().spec.image.as_str() == "img");
        // The next update is a new one, and gets none of the remains.
        site.engine.image("img:3");
        let events =
            operator.stream("PATCH", "/v1/instances/claw", Some(json!({"image": "img:3"}))).await.all().await;
        assert_eq!(events.last().unwrap().name, "ready", "{events:?}");
        assert_eq!(site.engine.workload(id).unwrap().spec.image.as_str(), "img:3");
        assert!(
            site.engine.calls(Call::Ensure) < 10,
            "{} starts were tried",
            site.engine.calls(Call::Ensure)
        );
    })
    .await;
}
