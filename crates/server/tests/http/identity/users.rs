//! Accounts and projects.

use serde_json::json;

use crate::support::on_both;

#[tokio::test]
async fn changes_at_once_do_not_undo_each_other() {
    on_both(async |site| {
        let operator = site.operator();
        let alice = site.user("alice").await;
        for round in 0..10 {
            let name = json!({"name": format!("Alice {round}")});
            let lock = json!({"disabled": true});
            let (_, locked) =
                tokio::join!(alice.patch("/v1/users/me", name), operator.patch("/v1/users/alice", lock));
            locked.expect(200);
            assert_eq!(operator.get("/v1/users/alice").await.expect(200)["disabled"], true, "round {round}");
            operator.patch("/v1/users/alice", json!({"disabled": false})).await.expect(200);
        }
    })
    .await;
}

#[tokio::test]
async fn the_last_operator_stays() {
    on_both(async |site| {
        let operator = site.operator();
        for change in [json!({"operator": false}), json!({"disabled": true})] {
            operator.patch("/v1/users/operator", change).await.expect(409);
        }
        operator.delete("/v1/users/operator").await.expect(409);
        operator.post("/v1/users", json!({"login": "second", "operator": true})).await.expect(201);
        let token = json!({"label": "t", "scope": "admin", "user": "second"});
        let second = operator.post("/v1/tokens", token).await.expect(201);
        let second = site.with_token(second["secret"].as_str().unwrap());
        // Both try to lock out the other at once: one remains.
        let (a, b) = tokio::join!(
            operator.patch("/v1/users/second", json!({"operator": false})),
            second.patch("/v1/users/operator", json!({"operator": false})),
        );
        let won = [&a, &b].iter().filter(|r| r.status == 200).count();
        assert!(won <= 1, "{a:?} {b:?}");
        let left = if operator.get("/v1/users").await.status == 200 { &operator } else { &second };
        let operators = left.get("/v1/users").await.items().iter().filter(|u| u["operator"] == true).count();
        assert!(operators >= 1);
        left.patch("/v1/users/operator", json!({"operator": true})).await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn users_are_made_listed_and_removed() {
    on_both(async |site| {
        let operator = site.operator();
        for login in ["", "Alice", "a b", "me", "-a", "01890a5d-ac96-774b-bcce-b302099a8057", "deleted:x"] {
            assert_eq!(
                operator.post("/v1/users", json!({"login": login})).await.expect(400)["field"],
                "login"
            );
        }
        assert_eq!(operator.post("/v1/users", json!({})).await.expect(400)["field"], "login");
        for login in ["u1", "u2", "u3", "u4"] {
            operator.post("/v1/users", json!({"login": login})).await.expect(201);
        }
        operator.post("/v1/users", json!({"login": "u1"})).await.expect(409);
        let alice = site.user("alice").await;
        alice.create("hers", json!({})).await;
        operator.delete("/v1/users/alice").await.expect(409);
        alice.until("hers", "ready").await;
        operator.delete("/v1/users/u2").await.expect(204);
        operator.delete("/v1/users/u2").await.expect(404);
        // A removed one leaves no hole in the pages, and its login is free.
        let (mut after, mut seen) = (String::new(), Vec::new());
        loop {
            let page = operator.get(&format!("/v1/users?limit=1{after}")).await.expect(200);
            seen.extend(
                page["items"].as_array().unwrap().iter().map(|u| u["login"].as_str().unwrap().to_owned()),
            );
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(seen, ["alice", "operator", "u1", "u3", "u4"]);
        operator.post("/v1/users", json!({"login": "u2"})).await.expect(201);
        // Its tokens went with the account.
        let gone = site.user("gone").await;
        gone.get("/v1/users/me").await.expect(200);
        operator.delete("/v1/users/gone").await.expect(204);
        gone.get("/v1/users/me").await.expect(401);
    })
    .await;
}

#[tokio::test]
async fn projects_are_their_owner_s() {
    on_both(async |site| {
        let alice = site.user("alice").await;
        alice.post("/v1/projects", json!({"name": "side"})).await.expect(201);
        alice.post("/v1/projects", json!({"name": "side"})).await.expect(409);
        assert_eq!(alice.post("/v1/projects", json!({"name": "Bad"})).await.expect(400)["field"], "name");
        alice.patch("/v1/projects/side", json!({"name": "renamed"})).await.expect(200);
        alice.get("/v1/projects/side").await.expect(404);
        alice.ready("one", json!({"project": "renamed"})).await;
        assert_eq!(alice.show("one").await["project"], "renamed");
        alice.delete("/v1/projects/renamed").await.expect(409);
        alice.delete("/v1/instances/one").await.expect(202);
        alice.until_gone("one").await;
        alice.delete("/v1/projects/renamed").await.expect(204);
        alice.delete("/v1/projects/alice").await.expect(409);
        alice.post("/v1/projects", json!({"name": "renamed"})).await.expect(201);
        for host in ["bad_host", "a%20b"] {
            let body = json!({"username": "u", "password": "p"});
            assert_eq!(
                alice.put(&format!("/v1/projects/alice/registries/{host}"), body).await.expect(400)["field"],
                "host"
            );
        }
    })
    .await;
}
