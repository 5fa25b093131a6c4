//! Members and what their roles allow, variables of all instances, quotas, and a project's end.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, eventually, on_both, on_sqlite};

async fn member(owner: &Client, login: &str, role: &str) {
    let reply = owner.put(&format!("/v1/projects/team/members/{login}"), json!({"role": role})).await;
    assert_eq!(reply.expect(200)["role"], role);
}

#[tokio::test]
async fn each_role_reaches_as_far_as_it_should() {
    on_both(async |site| {
        let owner = site.user("olga").await;
        owner.post("/v1/projects", json!({"name": "team", "network": "testnet"})).await.expect(201);
        owner.ready("claw", json!({"project": "team"})).await;
        // What somebody with the role gets: 404 before, then by role.
        let calls: [(&str, &str, Value, [u16; 4]); 9] = [
            ("GET", "/v1/instances/claw", json!({}), [200, 200, 200, 200]),
            ("GET", "/v1/projects/team/members", json!({}), [200, 200, 200, 200]),
            ("POST", "/v1/instances/claw/restart", json!({}), [403, 202, 202, 202]),
            ("PATCH", "/v1/projects/team/env", json!({"env": {"A": null}}), [403, 200, 200, 200]),
            ("PUT", "/v1/projects/team/members/nina", json!({"role": "viewer"}), [403, 403, 200, 200]),
            (
                "PATCH",
                "/v1/projects/team",
                json!({"requires_blockchain_funding": false}),
                [403, 403, 200, 200],
            ),
            ("PUT", "/v1/projects/team/quotas", json!({}), [403, 403, 403, 403]),
            ("PUT", "/v1/projects/team/members/nina", json!({"role": "owner"}), [403, 403, 403, 200]),
            ("DELETE", "/v1/projects/team", json!({}), [403, 403, 403, 409]),
        ];
        site.user("nina").await;
        let mary = site.user("mary").await;
        for (method, path, body, _) in &calls {
            assert_eq!(
                mary.call(method, path, Some(body.clone())).await.status,
                if path.ends_with("quotas") { 403 } else { 404 },
                "{method} {path}"
            );
        }
        for (at, role) in ["viewer", "developer", "admin", "owner"].into_iter().enumerate() {
            member(&owner, "mary", role).await;
            assert_eq!(mary.get("/v1/projects/team").await.expect(200)["role"], role);
            for (method, path, body, expected) in &calls {
                let reply = mary.call(method, path, Some(body.clone())).await;
                assert_eq!(reply.status, expected[at], "{role}: {method} {path}: {}", reply.text);
            }
            operator_takes_nina_out(&site.operator()).await;
        }
        let project = owner.get("/v1/projects/team").await.expect(200);
        assert_eq!((&project["network"], &project["owner"]), (&json!("testnet"), &json!("olga")));
    })
    .await;
}

fn is(so: bool) -> Result<(), String> {
    so.then_some(()).ok_or_else(|| "not yet".to_owned())
}

async fn operator_takes_nina_out(operator: &Client) {
    let reply = operator.delete("/v1/projects/team/members/nina").await;
    assert!([204, 404].contains(&reply.status), "{}", reply.text);
}

#[tokio::test]
async fn a_project_always_has_an_owner() {
    on_both(async |site| {
        let olga = site.user("olga").await;
        let adam = site.user("adam").await;
        olga.post("/v1/projects", json!({"name": "team"})).await.expect(201);
        let refused = olga.delete("/v1/projects/team/members/me").await.expect(409);
        assert!(refused["detail"].as_str().unwrap().contains("last owner"), "{refused}");
        olga.put("/v1/projects/team/members/olga", json!({"role": "admin"})).await.expect(409);
        member(&olga, "adam", "admin").await;
        // An admin neither makes itself an owner nor takes one out.
        adam.put("/v1/projects/team/members/adam", json!({"role": "owner"})).await.expect(403);
        adam.delete("/v1/projects/team/members/olga").await.expect(403);
        member(&olga, "adam", "owner").await;
        // Both leave at once: one of them stays.
        let (one, two) = tokio::join!(
            olga.delete("/v1/projects/team/members/me"),
            adam.delete("/v1/projects/team/members/me")
        );
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 409]);
        let (stays, gone) = if one.status == 409 { (&olga, &adam) } else { (&adam, &olga) };
        gone.get("/v1/projects/team").await.expect(404);
        let members = stays.get("/v1/projects/team/members").await.items();
        assert_eq!((members.len(), &members[0]["role"]), (1, &json!("owner")));
        assert_eq!(stays.get("/v1/projects/team").await.expect(200)["owner"], members[0]["login"]);
        // One's personal project stays one's own, though it may have members.
        adam.put("/v1/projects/adam/members/olga", json!({"role": "owner"})).await.expect(200);
        olga.delete("/v1/projects/adam/members/adam").await.expect(409);
        let refused =
            stays.put("/v1/projects/team/members/nobody", json!({"role": "viewer"})).await.expect(400);
        assert_eq!(refused["field"], "user");
        let refused = stays.put("/v1/projects/team/members/adam", json!({"role": "king"})).await.expect(400);
        assert_eq!(refused["field"], "role");
    })
    .await;
}

#[tokio::test]
async fn a_member_who_is_taken_out_loses_everything_at_once() {
    on_both(async |site| {
        let olga = site.user("olga").await;
        let mary = site.user("mary").await;
        olga.post("/v1/projects", json!({"name": "team"})).await.expect(201);
        member(&olga, "mary", "developer").await;
        let made = mary.post("/v1/tokens", json!({"label": "x", "project": "team"})).await.expect(201);
        let token = site.with_token(made["secret"].as_str().unwrap());
        token.ready("claw", json!({"project": "team"})).await;
        mary.delete("/v1/projects/team/members/me").await.expect(204);
        for client in [&mary, &token] {
            client.get("/v1/instances/claw").await.expect(404);
            client.get("/v1/projects/team").await.expect(404);
        }
        // The owner's account goes: what it alone owns must be empty, what another owns too lives on.
        member(&olga, "mary", "owner").await;
        let operator = site.operator();
        operator.delete("/v1/users/olga").await.expect(204);
        assert_eq!(mary.get("/v1/projects/team").await.expect(200)["owner"], "mary");
        operator.delete("/v1/users/mary").await.expect(409);
    })
    .await;
}

#[tokio::test]
async fn variables_reach_all_instances_at_once_and_their_own_win() {
    on_both(async |site| {
        let operator = site.operator();
        operator.post("/v1/projects", json!({"name": "team"})).await.expect(201);
        let env = "/v1/projects/team/env";
        operator.patch(env, json!({"env": {"A": "1", "OWN": "theirs"}})).await.expect(200);
        operator.put("/v1/projects/team/secrets/KEY", json!({"value": "s3cret-1"})).await.expect(204);
        let made = json!({"project": "team", "env": {"OWN": "mine"}});
        let id = operator.ready("claw", made.clone()).await;
        let other = operator.ready("other", made.clone()).await;
        let given = |id| {
            let workload = site.engine.workload(id).unwrap();
            let mut all = workload.spec.env.clone();
            all.extend(workload.secret_env.iter().map(|(n, v)| (n.clone(), v.expose().to_owned())));
            serde_json::to_value(all).unwrap()
        };
        assert_eq!(given(id), json!({"A": "1", "OWN": "mine", "KEY": "s3cret-1"}));
        operator.patch(env, json!({"env": {"A": null, "B": "2"}})).await.expect(200);
        let expected = json!({"B": "2", "OWN": "mine", "KEY": "s3cret-1"});
        for id in [id, other] {
            eventually("both have it", async || is(given(id) == expected)).await;
        }
        // A secret becomes another one, and then none.
        operator.put("/v1/projects/team/secrets/KEY", json!({"value": "s3cret-2"})).await.expect(204);
        eventually("the new secret", async || is(given(id)["KEY"] == "s3cret-2")).await;
        let shown = operator.get(env).await.expect(200);
        assert_eq!(shown, json!({"env": {"B": "2", "OWN": "theirs"}, "secrets": ["KEY"]}));
        let events = site.events().await;
        assert!(!serde_json::to_string(&events).unwrap().contains("s3cret"));
        let stored = site.database_bytes();
        assert!(!stored.windows(6).any(|w| w == b"s3cret"), "a secret is in the database");
        operator.delete("/v1/projects/team/secrets/KEY").await.expect(204);
        eventually("no secret", async || is(given(id) == json!({"B": "2", "OWN": "mine"}))).await;
        operator.delete("/v1/projects/team/secrets/KEY").await.expect(404);
        // The same again is no change, and makes no new containers.
        operator.until("claw", "ready").await;
        let generation = operator.show("claw").await["generation"].clone();
        operator.patch(env, json!({"env": {"B": "2", "GONE": null}})).await.expect(200);
        operator.put(env, json!({"env": {"B": "2", "OWN": "theirs"}})).await.expect(200);
        assert_eq!(operator.show("claw").await["generation"], generation);
        // All others go.
        operator.put(env, json!({"env": {"C": "3"}})).await.expect(200);
        eventually("only C", async || is(given(id) == json!({"C": "3", "OWN": "mine"}))).await;
        for (body, field) in [
            (json!({"env": {"1X": "a"}}), "env"),
            (json!({"env": {"X": "a\0b"}}), "env.X"),
            (json!({"env": {"X": 1}}), "env.X"),
            (json!({"vars": {}}), "vars"),
        ] {
            let refused = operator.patch(env, body).await.expect(400);
            assert_eq!(refused["field"], field, "{refused}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_cannot_live_with_a_change_goes_back() {
    on_sqlite(async |site| {
        let operator = site.operator();
        operator.post("/v1/projects", json!({"name": "team"})).await.expect(201);
        operator.put("/v1/projects/team/secrets/KEY", json!({"value": "good"})).await.expect(204);
        let id = operator.ready("claw", json!({"project": "team", "pull": "always"})).await;
        site.engine.image("img").pull_fails(ryokan_ports::runtime::RuntimeError::Image {
            image: "img".into(),
            reason: "gone".into(),
            retry: false,
        });
        operator.put("/v1/projects/team/secrets/KEY", json!({"value": "bad"})).await.expect(204);
        eventually("the update is taken back", async || {
            is(!operator.show("claw").await["update_error"].is_null())
        })
        .await;
        assert_eq!(site.engine.workload(id).unwrap().secret_env["KEY"].expose(), "good");
        site.engine.image("img");
    })
    .await;
}

#[tokio::test]
async fn quotas_hold_when_two_want_the_last_place() {
    on_both(async |site| {
        let operator = site.operator();
        operator.post("/v1/projects", json!({"name": "team"})).await.expect(201);
        let quotas = "/v1/projects/team/quotas";
        operator.put(quotas, json!({"instances": 3, "memory": "1Gi", "cpus": "2"})).await.expect(200);
        let make = |name: &str| {
            let body =
                json!({"name": name, "image": "img", "project": "team", "memory": "512Mi", "cpus": "500m"});
            operator.post("/v1/instances", body)
        };
        let replies = futures_util::future::join_all([make("a"), make("b"), make("c"), make("d")]).await;
        let made = replies.iter().filter(|r| r.status == 202).count();
        assert_eq!(made, 2, "{:?}", replies.iter().map(|r| &r.text).collect::<Vec<_>>());
        for refused in replies.iter().filter(|r| r.status != 202) {
            let body = refused.expect(403);
            assert!(body["detail"].as_str().unwrap().contains("memory"), "{body}");
        }
        let names: BTreeSet<String> = ["a", "b", "c", "d"].map(str::to_owned).into();
        let (up, down): (Vec<String>, Vec<String>) =
            names.into_iter().zip(&replies).fold((vec![], vec![]), |(mut up, mut down), (name, reply)| {
                if reply.status == 202 {
                    up.push(name);
                } else {
                    down.push(name);
                }
                (up, down)
            });
        for name in &up {
            operator.until(name, "ready").await;
        }
        // A stopped one leaves its memory to others, and cannot start while there is none.
        operator.stream("POST", &format!("/v1/instances/{}/stop", up[0]), None).await.all().await;
        make(&down[0]).await.expect(202);
        let refused = operator.post(&format!("/v1/instances/{}/start", up[0]), json!({})).await.expect(403);
        assert!(refused["detail"].as_str().unwrap().contains("memory"), "{refused}");
        // Nor may one grow.
        let grown = operator.patch(&format!("/v1/instances/{}", up[1]), json!({"memory": "1Gi"})).await;
        grown.expect(403);
        make(&down[1]).await.expect(403);
        let used = operator.get(quotas).await.expect(200)["used"].clone();
        assert_eq!(used, json!({"instances": 3, "cpus": "1", "memory": "1Gi", "disk": "0"}));
        // Lifted: it starts.
        operator.put(quotas, json!({})).await.expect(200);
        operator.post(&format!("/v1/instances/{}/start", up[0]), json!({})).await.expect(202);
        for bad in [json!({"instances": -1}), json!({"memory": "lots"}), json!({"rooms": 1})] {
            operator.put(quotas, bad).await.expect(400);
        }
    })
    .await;
}

#[tokio::test]
async fn a_project_goes_with_all_that_it_has() {
    on_both(async |site| {
        let operator = site.operator();
        let olga = site.user("olga").await;
        olga.post("/v1/projects", json!({"name": "team"})).await.expect(201);
        olga.put("/v1/projects/team/secrets/KEY", json!({"value": "s3cret"})).await.expect(204);
        let volumes = json!({"project": "team", "volumes": [{"name": "d", "path": "/d"}]});
        let ids = [olga.ready("one", volumes.clone()).await, olga.ready("two", volumes).await];
        let project = olga.get("/v1/projects/team").await.expect(200)["id"].as_str().unwrap().to_owned();
        olga.delete("/v1/projects/team").await.expect(409);
        olga.delete("/v1/projects/team?cascade=maybe").await.expect(400);
        olga.delete("/v1/projects/team?cascade=true").await.expect(204);
        olga.get("/v1/projects/team").await.expect(404);
        for id in ids {
            eventually("nothing is left of it", async || {
                is(site.engine.workload(id).is_none() && !site.engine.has_volume(id))
            })
            .await;
        }
        // Its name is free; what happened is still to be read by operators.
        olga.post("/v1/projects", json!({"name": "team"})).await.expect(201);
        let events = operator.get(&format!("/v1/events?limit=500&project={project}")).await;
        let kinds: BTreeSet<String> =
            site.events().await.iter().map(|e| e["kind"].as_str().unwrap_or_default().to_owned()).collect();
        assert!(
            kinds.contains("project.deleted") && kinds.contains("instance.deleted"),
            "{kinds:?} {}",
            events.status
        );
        site.clock.forward(Duration::from_secs(1));
    })
    .await;
}
