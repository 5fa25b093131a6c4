//! Rules at their levels, what they decide, and that a change is in force everywhere.

use std::time::Duration;

use ryokan_app::policies::Question;
use ryokan_model::policy::{Action, Request, Resource, Verdict, Who};
use ryokan_model::{InstanceId, Millis, ProjectId};
use serde_json::{Value, json};

use crate::support::{Client, Running, Site, on_both, on_postgres_only, on_sqlite, within};

/// An instance as the door knows it.
pub(crate) async fn agent(owner: &Client, name: &str) -> Who {
    let row = owner.get(&format!("/v1/instances/{name}")).await.expect(200);
    let id = |key: &str| row[key].as_str().unwrap().to_owned();
    let project = owner.get(&format!("/v1/projects/{}", id("project"))).await.expect(200);
    let project: ProjectId = project["id"].as_str().unwrap().parse().unwrap();
    let instance: InstanceId = id("id").parse().unwrap();
    Who { project: Some(project), instance: Some(instance), ..Who::default() }
}

pub(crate) fn question(who: &Who, action: Action, resource: &str) -> Question {
    let resource = Resource::parse(action, resource).unwrap();
    Question::new(Request::new(who.clone(), action, resource, Millis(0)), "instance:claw")
}

async fn verdict(site: &Site, who: &Who, action: Action, resource: &str) -> Verdict {
    site.app().judge(question(who, action, resource)).await.unwrap().decision.verdict
}

fn rule(level: &str, of: &str, effect: &str, action: &str, resources: Value) -> Value {
    let mut rule = json!({"level": level, "effect": effect, "action": action, "resources": resources});
    if !of.is_empty() {
        rule[level] = json!(of);
    }
    rule
}

#[tokio::test]
async fn rules_of_all_levels_decide_together() {
    on_both(async |site| {
        let owner = site.user("olga").await;
        owner.post("/v1/projects", json!({"name": "team"})).await.expect(201);
        owner.ready("claw", json!({"project": "team"})).await;
        let who = agent(&owner, "claw").await;
        let get = "GET https://api.github.com/user";
        // As installed: models are allowed, the internet is the project's to open.
        assert_eq!(verdict(site, &who, Action::ModelCall, "m").await, Verdict::Allow);
        assert_eq!(verdict(site, &who, Action::EgressRequest, get).await, Verdict::Deny);
        let hosts = json!({"hosts": ["api.github.com"]});
        let made = owner.post("/v1/policies", rule("project", "team", "allow", "egress.*", hosts.clone())).await;
        let made = made.expect(201);
        assert_eq!(made["warning"], Value::Null);
        assert_eq!(verdict(site, &who, Action::EgressRequest, get).await, Verdict::Allow);
        assert_eq!(verdict(site, &who, Action::EgressConnect, "api.github.com:443").await, Verdict::Allow);
        assert_eq!(verdict(site, &who, Action::EgressConnect, "api.github.com:22").await, Verdict::Deny);
        assert_eq!(verdict(site, &who, Action::EgressConnect, "10.0.0.1:443").await, Verdict::Deny);
        // A project cannot open what the system does not leave to it, and is told so.
        let private = json!({"addresses": ["10.0.0.0/8"]});
        let idle = owner.post("/v1/policies", rule("project", "team", "allow", "egress.*", private)).await.expect(201);
        assert!(idle["warning"].as_str().unwrap().contains("only operators"), "{idle}");
        assert_eq!(verdict(site, &who, Action::EgressConnect, "10.0.0.1:443").await, Verdict::Deny);
        // An instance narrows.
        let deny = owner
            .post("/v1/policies", rule("instance", "claw", "deny", "egress.request", json!({"methods": ["GET"], "paths": ["/user/**"]})))
            .await
            .expect(201);
        assert_eq!(verdict(site, &who, Action::EgressRequest, get).await, Verdict::Deny);
        assert_eq!(verdict(site, &who, Action::EgressRequest, "GET https://api.github.com/%75ser").await, Verdict::Deny);
        assert_eq!(verdict(site, &who, Action::EgressRequest, "GET https://api.github.com/repos").await, Verdict::Allow);
        // Why.
        let explain = json!({"instance": "claw", "action": "egress.request", "resource": get});
        let told = owner.post("/v1/policies/explain", explain).await.expect(200);
        assert_eq!(
            (told["decision"].as_str(), told["rule"].as_str(), told["level"].as_str()),
            (Some("deny"), deny["id"].as_str(), Some("instance"))
        );
        let says: Vec<_> = told["levels"].as_array().unwrap().iter().map(|l| l["says"].as_str().unwrap()).collect();
        assert_eq!(says, ["leaves it to the levels below", "allows it", "refuses it"]);
        owner.delete(&format!("/v1/policies/{}", deny["id"].as_str().unwrap())).await.expect(204);
        assert_eq!(verdict(site, &who, Action::EgressRequest, get).await, Verdict::Allow);
        // An operator's word is last.
        let operator = site.operator();
        let system = operator.post("/v1/policies", rule("system", "", "deny", "egress.*", hosts)).await.expect(201);
        assert_eq!(verdict(site, &who, Action::EgressRequest, get).await, Verdict::Deny);
        operator.delete(&format!("/v1/policies/{}", system["id"].as_str().unwrap())).await.expect(204);
        operator.delete(&format!("/v1/policies/{}", system["id"].as_str().unwrap())).await.expect(404);
        // All of it is told.
        let kinds: Vec<_> = site.events().await.iter().map(|e| e["kind"].as_str().unwrap().to_owned()).collect();
        assert_eq!(kinds.iter().filter(|k| *k == "policy.rule_created").count(), 4);
        assert_eq!(kinds.iter().filter(|k| *k == "policy.rule_deleted").count(), 2);
        // What is decided by the name alone is decided again by the addresses.
        let addresses = json!({"instance": "claw", "action": "egress.connect", "resource": "api.github.com:443", "addresses": ["169.254.169.254"]});
        assert_eq!(owner.post("/v1/policies/explain", addresses).await.expect(200)["decision"], "deny");
        // A restart finds the rules, and seeds none twice.
        let before = operator.get("/v1/policies").await.items();
        site.restart().await;
        assert_eq!(site.operator().get("/v1/policies").await.items(), before);
        assert_eq!(verdict(site, &who, Action::EgressRequest, get).await, Verdict::Allow);
        // The rules of an instance go with it.
        let owner = site.with_token(owner.token.as_deref().unwrap());
        owner.post("/v1/policies", rule("instance", "claw", "deny", "*", json!({}))).await.expect(201);
        owner.delete("/v1/instances/claw").await.expect(202);
        within(Duration::from_secs(20), "the rule goes with the instance", async || {
            let left = owner.get("/v1/policies?project=team").await.items();
            if left.len() == 2 { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn who_may_write_rules_of_which_level() {
    on_both(async |site| {
        let owner = site.user("olga").await;
        owner.post("/v1/projects", json!({"name": "team"})).await.expect(201);
        owner.ready("claw", json!({"project": "team"})).await;
        let mary = site.user("mary").await;
        let all = json!({});
        let levels = [("system", ""), ("project", "team"), ("instance", "claw")];
        let mut tries: Vec<(Option<&str>, [u16; 3])> = vec![(None, [403, 404, 404])];
        tries.push((Some("viewer"), [403, 403, 403]));
        tries.push((Some("developer"), [403, 403, 201]));
        tries.push((Some("admin"), [403, 201, 201]));
        for (role, expected) in tries {
            if let Some(role) = role {
                owner.put("/v1/projects/team/members/mary", json!({"role": role})).await.expect(200);
            }
            for ((level, of), expected) in levels.into_iter().zip(expected) {
                let reply = mary.post("/v1/policies", rule(level, of, "deny", "git.push", all.clone())).await;
                assert_eq!(reply.status, expected, "{role:?} {level}: {}", reply.text);
                if expected == 201 {
                    let id = reply.expect(201)["id"].as_str().unwrap().to_owned();
                    mary.delete(&format!("/v1/policies/{id}")).await.expect(204);
                }
            }
        }
        // A narrow token is no admin's, whatever the account is.
        let system = site.operator().get("/v1/policies?level=system").await.items();
        let id = system[0]["id"].as_str().unwrap();
        mary.delete(&format!("/v1/policies/{id}")).await.expect(404);
        mary.get("/v1/policies").await.expect(403);
        mary.get("/v1/policies?level=system").await.expect(403);
        mary.get("/v1/policies?project=team").await.expect(200);
        let refused = [
            (json!({"level": "project", "effect": "allow", "action": "egress.*"}), "project"),
            (json!({"level": "system", "project": "team", "effect": "allow", "action": "egress.*"}), "level"),
            (json!({"level": "project", "project": "team", "effect": "permit", "action": "egress.*"}), "effect"),
            (json!({"level": "project", "project": "team", "effect": "allow", "action": "egress"}), "action"),
            (json!({"level": "project", "project": "team", "effect": "allow", "action": "egress.*", "resources": {"hosts": ["https://x"]}}), "resources.hosts[0]"),
            (json!({"level": "project", "project": "team", "effect": "allow", "action": "egress.*", "resources": {"paths": ["/x"]}}), "action"),
            (json!({"level": "project", "project": "team", "effect": "allow", "action": "egress.*", "subject": "user:nobody"}), "subject"),
            (json!({"level": "project", "project": "team", "effect": "allow", "action": "egress.*", "conditions": {"until": 1}}), "conditions.until"),
            (json!({"level": "project", "project": "team", "effect": "allow", "action": "egress.*", "conditions": {"window": {"from": "09:00", "to": "17:00", "zone": "Nowhere"}}}), "conditions.window.zone"),
            (json!({"level": "project", "project": "team", "effect": "allow", "action": "egress.*", "priority": 1}), "priority"),
        ];
        for (body, field) in refused {
            let problem = mary.post("/v1/policies", body.clone()).await.expect(400);
            assert_eq!(problem["field"], field, "{body} {problem}");
        }
        // Subjects are named as people do.
        let named = json!({"level": "project", "project": "team", "effect": "deny", "action": "git.push", "subject": "user:mary"});
        let made = mary.post("/v1/policies", named).await.expect(201);
        assert!(made["subject"].as_str().unwrap().starts_with("user:0"), "{made}");
        // The same request again makes no second rule.
        let key = mary.with("idempotency-key", "once");
        let body = rule("project", "team", "deny", "git.clone", json!({}));
        let (one, two) = (key.post("/v1/policies", body.clone()).await, key.post("/v1/policies", body).await);
        assert_eq!(one.expect(201)["id"], two.expect(201)["id"]);
    })
    .await;
}

#[tokio::test]
async fn a_change_is_in_force_on_all_servers_within_a_second() {
    on_postgres_only(async |site| {
        let operator = site.operator();
        operator.ready("claw", json!({})).await;
        let who = agent(&operator, "claw").await;
        let other: Running = site.beside().await;
        for round in 0..5 {
            let allow = rule("system", "", "allow", "git.push", json!({"names": ["github.com/o/r"]}));
            let id =
                operator.post("/v1/policies", allow).await.expect(201)["id"].as_str().unwrap().to_owned();
            for (expected, last) in [(Verdict::Allow, false), (Verdict::Deny, true)] {
                if last {
                    operator.delete(&format!("/v1/policies/{id}")).await.expect(204);
                }
                within(Duration::from_secs(1), "the other server decides alike", async || {
                    let asked = question(&who, Action::GitPush, "github.com/o/r");
                    let found = other.app.judge(asked).await.unwrap().decision.verdict;
                    if found == expected { Ok(()) } else { Err(format!("round {round}: {found:?}")) }
                })
                .await;
            }
        }
        // So are groups.
        site.user("ada").await;
        operator.post("/v1/groups", json!({"name": "devs"})).await.expect(201);
        operator.put("/v1/groups/devs/members/ada", json!({})).await.expect(200);
        operator.put("/v1/projects/operator/groups/devs", json!({"role": "viewer"})).await.expect(200);
        assert!(other.stop().await);
    })
    .await;
}

#[tokio::test]
async fn groups_give_the_greater_of_all_roles() {
    on_both(async |site| {
        let operator = site.operator();
        let owner = site.user("olga").await;
        owner.post("/v1/projects", json!({"name": "team"})).await.expect(201);
        let ada = site.user("ada").await;
        owner.post("/v1/groups", json!({"name": "devs"})).await.expect(403);
        operator.post("/v1/groups", json!({"name": "devs"})).await.expect(201);
        operator.post("/v1/groups", json!({"name": "devs"})).await.expect(409);
        operator.post("/v1/groups", json!({"name": "Bad Name"})).await.expect(400);
        ada.get("/v1/projects/team").await.expect(404);
        let put = json!({"role": "developer"});
        assert_eq!(owner.put("/v1/projects/team/groups/devs", put).await.expect(200)["role"], "developer");
        owner.put("/v1/projects/team/groups/devs", json!({"role": "owner"})).await.expect(400);
        owner.put("/v1/projects/team/groups/nobody", json!({"role": "viewer"})).await.expect(400);
        ada.get("/v1/projects/team").await.expect(404);
        let group = operator.put("/v1/groups/devs/members/ada", json!({})).await.expect(200);
        assert_eq!(group["members"], json!(["ada"]));
        assert_eq!(ada.get("/v1/projects/team").await.expect(200)["role"], "developer");
        // A lesser role of her own takes nothing away, a greater one adds.
        owner.put("/v1/projects/team/members/ada", json!({"role": "viewer"})).await.expect(200);
        assert_eq!(ada.get("/v1/projects/team").await.expect(200)["role"], "developer");
        owner.put("/v1/projects/team/members/ada", json!({"role": "admin"})).await.expect(200);
        assert_eq!(ada.get("/v1/projects/team").await.expect(200)["role"], "admin");
        owner.delete("/v1/projects/team/members/ada").await.expect(204);
        assert_eq!(ada.get("/v1/projects/team").await.expect(200)["role"], "developer");
        // A rule about the group is about her.
        let rule =
            json!({"level": "system", "effect": "deny", "action": "model.call", "subject": "group:devs"});
        operator.post("/v1/policies", rule).await.expect(201);
        let explain = json!({"action": "model.call", "resource": "m"});
        assert_eq!(ada.post("/v1/policies/explain", explain.clone()).await.expect(200)["decision"], "deny");
        assert_eq!(
            owner.post("/v1/policies/explain", explain.clone()).await.expect(200)["decision"],
            "allow"
        );
        operator.delete("/v1/groups/devs/members/ada").await.expect(204);
        operator.delete("/v1/groups/devs/members/ada").await.expect(404);
        assert_eq!(ada.post("/v1/policies/explain", explain).await.expect(200)["decision"], "allow");
        ada.get("/v1/projects/team").await.expect(404);
        // At once, and for good.
        operator.put("/v1/groups/devs/members/ada", json!({})).await.expect(200);
        ada.get("/v1/projects/team").await.expect(200);
        operator.delete("/v1/groups/devs").await.expect(204);
        ada.get("/v1/projects/team").await.expect(404);
        assert_eq!(owner.get("/v1/projects/team/groups").await.items(), Vec::<Value>::new());
    })
    .await;
}

#[tokio::test]
async fn rules_are_bounded() {
    on_sqlite(async |site| {
        let operator = site.operator();
        operator.ready("claw", json!({})).await;
        for n in 0..100 {
            let names = json!({"names": [format!("m{n}")]});
            operator
                .post("/v1/policies", rule("instance", "claw", "deny", "model.call", names))
                .await
                .expect(201);
        }
        let reply =
            operator.post("/v1/policies", rule("instance", "claw", "deny", "model.call", json!({}))).await;
        assert_eq!(reply.expect(403)["code"], "quota_exceeded");
        let first = operator.get("/v1/policies?instance=claw&limit=60").await.expect(200);
        let next = first["next"].as_str().unwrap();
        let rest =
            operator.get(&format!("/v1/policies?instance=claw&limit=60&after={next}")).await.expect(200);
        assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (40, &Value::Null));
    })
    .await;
}
