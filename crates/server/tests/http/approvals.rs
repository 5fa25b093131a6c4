//! An agent asks, a person answers: once, in time, and no further than the person could allow by a rule.

use std::time::Duration;

use ryokan_app::Error;
use ryokan_app::approvals::Wanted;
use ryokan_model::policy::{Action, Verdict, Who};
use serde_json::{Value, json};

use crate::policies::{agent, question};
use crate::support::{Client, Site, eventually, on_both};

const RESOURCE: &str = "GET https://api.github.com/user";

async fn ask(site: &Site, who: &Who, reason: &str) -> Result<ryokan_store::approvals::Approval, Error> {
    let question = question(who, Action::EgressRequest, RESOURCE);
    site.app().request_approval(Wanted { question, reason: reason.into() }).await
}

async fn verdict(site: &Site, who: &Who) -> Verdict {
    site.app().judge(question(who, Action::EgressRequest, RESOURCE)).await.unwrap().decision.verdict
}

async fn team(site: &Site) -> (Client, Who) {
    let owner = site.user("olga").await;
    owner.post("/v1/projects", json!({"name": "team"})).await.expect(201);
    owner.ready("claw", json!({"project": "team"})).await;
    let who = agent(&owner, "claw").await;
    (owner, who)
}

#[tokio::test]
async fn what_is_not_allowed_is_asked_for_once_and_granted_for_a_time() {
    on_both(async |site| {
        let (owner, who) = team(site).await;
        let reason = format!("please\u{202e}\n\u{1b}[31m {}", "x".repeat(2_000));
        let one = ask(site, &who, &reason).await.unwrap();
        let two = ask(site, &who, "other words").await.unwrap();
        assert_eq!((one.id, two.id, two.times), (one.id, one.id, 2));
        let inbox = owner.get("/v1/approvals?state=open").await.items();
        assert_eq!(inbox.len(), 1);
        let shown = inbox[0]["untrusted_reason"].as_str().unwrap();
        assert!(shown.starts_with("please [31m xxx") && shown.len() <= 500, "{shown}");
        assert_eq!((&inbox[0]["level"], &inbox[0]["resource"]), (&json!("project"), &json!(RESOURCE)));
        // Whoever could not write the rule cannot grant it.
        let mary = site.user("mary").await;
        let path = format!("/v1/approvals/{}", one.id);
        mary.post(&format!("{path}/grant"), json!({})).await.expect(404);
        owner.put("/v1/projects/team/members/mary", json!({"role": "developer"})).await.expect(200);
        mary.get(&path).await.expect(200);
        mary.post(&format!("{path}/grant"), json!({})).await.expect(403);
        mary.post(&format!("{path}/refuse"), json!({})).await.expect(403);
        owner.post(&format!("{path}/grant"), json!({"for": "25h"})).await.expect(400);
        assert_eq!(verdict(site, &who).await, Verdict::Deny);
        let granted = owner.post(&format!("{path}/grant"), json!({"for": "10m"})).await.expect(200);
        assert_eq!((&granted["state"], &granted["decided_by"]), (&json!("granted"), &json!("olga")));
        assert_eq!(verdict(site, &who).await, Verdict::Allow);
        // This and nothing else, and nobody else.
        for other in [
            "GET https://api.github.com/users",
            "POST https://api.github.com/user",
            "GET https://github.com/user",
            "GET http://api.github.com/user",
        ] {
            let judged = site.app().judge(question(&who, Action::EgressRequest, other)).await.unwrap();
            assert_eq!(judged.decision.verdict, Verdict::Deny, "{other}");
        }
        let brother = Who { instance: "00000000-0000-7000-8000-000000000001".parse().ok(), ..who.clone() };
        assert_eq!(verdict(site, &brother).await, Verdict::Deny);
        assert!(matches!(ask(site, &who, "").await, Err(Error::Conflict(_))), "it is allowed");
        owner.post(&format!("{path}/refuse"), json!({})).await.expect(409);
        // It ends by itself, to the second.
        site.clock.forward(Duration::from_secs(599));
        assert_eq!(verdict(site, &who).await, Verdict::Allow);
        site.clock.forward(Duration::from_secs(2));
        assert_eq!(verdict(site, &who).await, Verdict::Deny);
        let kinds: Vec<Value> = site.events().await.iter().map(|e| e["kind"].clone()).collect();
        for kind in ["approval.asked", "approval.granted"] {
            assert_eq!(kinds.iter().filter(|k| *k == kind).count(), 1, "{kind}");
        }
    })
    .await;
}

#[tokio::test]
async fn of_two_who_decide_one_does() {
    on_both(async |site| {
        let (owner, who) = team(site).await;
        for round in 0..8 {
            let asked = site.app();
            let resource = format!("GET https://api.github.com/{round}");
            let question = question(&who, Action::EgressRequest, &resource);
            let id = asked.request_approval(Wanted { question, reason: String::new() }).await.unwrap().id;
            let (path, operator) = (format!("/v1/approvals/{id}"), site.operator());
            let (grant, refuse) = (format!("{path}/grant"), format!("{path}/refuse"));
            let (a, b) = tokio::join!(owner.post(&grant, json!({})), operator.post(&refuse, json!({})));
            let mut statuses = [a.status, b.status];
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 409], "{} {}", a.text, b.text);
            let loser = if a.status == 409 { a } else { b };
            assert!(loser.text.contains("already"), "{}", loser.text);
            let state = owner.get(&path).await.expect(200)["state"].clone();
            let judged =
                site.app().judge(self::question(&who, Action::EgressRequest, &resource)).await.unwrap();
            assert_eq!(judged.decision.is_allowed(), state == "granted");
        }
    })
    .await;
}

#[tokio::test]
async fn a_refusal_stands_and_a_silence_ends() {
    on_both(async |site| {
        let (owner, who) = team(site).await;
        let asked = ask(site, &who, "").await.unwrap();
        owner.post(&format!("/v1/approvals/{}/refuse", asked.id), json!({})).await.expect(200);
        assert_eq!(verdict(site, &who).await, Verdict::Deny);
        let again = ask(site, &who, "").await;
        assert!(matches!(again, Err(Error::TooManyRequests { retry_after: 3_000..=3_601, .. })), "{again:?}");
        site.clock.forward(Duration::from_secs(3_601));
        let later = ask(site, &who, "").await.unwrap();
        assert_ne!(later.id, asked.id);
        site.clock.forward(Duration::from_hours(24));
        let late = owner.post(&format!("/v1/approvals/{}/grant", later.id), json!({})).await;
        assert_eq!(late.status, 409, "{}", late.text);
        // Asked anew before anybody has tidied up.
        let newest = ask(site, &who, "").await.unwrap();
        assert_ne!(newest.id, later.id);
        let states: Vec<Value> =
            owner.get("/v1/approvals").await.items().iter().map(|a| a["state"].clone()).collect();
        assert_eq!(states, ["open", "expired", "refused"]);
        eventually("the end is told", async || {
            let told = site.events().await.iter().filter(|e| e["kind"] == "approval.expired").count();
            if told == 1 { Ok(()) } else { Err(format!("{told}")) }
        })
        .await;
        // What a rule refuses is nobody's to grant.
        let deny = json!({"level": "project", "project": "team", "effect": "deny", "action": "egress.*"});
        owner.post("/v1/policies", deny).await.expect(201);
        assert!(matches!(ask(site, &who, "").await, Err(Error::Forbidden(_))));
        owner.post(&format!("/v1/approvals/{}/grant", newest.id), json!({})).await.expect(200);
        assert_eq!(verdict(site, &who).await, Verdict::Deny, "a grant overrides no deny");
        // An instance that goes asks nothing any more.
        let other = question(&who, Action::GitPush, "github.com/o/r");
        let open =
            site.app().request_approval(Wanted { question: other, reason: String::new() }).await.unwrap();
        owner.delete("/v1/instances/claw").await.expect(202);
        eventually("its questions are closed", async || {
            let state = owner.get(&format!("/v1/approvals/{}", open.id)).await.expect(200)["state"].clone();
            if state == "expired" { Ok(()) } else { Err(state.to_string()) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_rule_that_asks_opens_the_question_by_itself() {
    on_both(async |site| {
        let (owner, who) = team(site).await;
        let ask = json!({"level": "system", "effect": "ask", "action": "egress.request"});
        site.operator().post("/v1/policies", ask).await.expect(201);
        let asked = question(&who, Action::EgressRequest, RESOURCE);
        let (one, two) =
            (site.app().judge(asked.clone()).await.unwrap(), site.app().judge(asked).await.unwrap());
        assert_eq!((one.decision.verdict, one.approval), (Verdict::Ask, two.approval));
        let id = one.approval.unwrap();
        // It is the system's rule, so it is an operator's to answer.
        owner.post(&format!("/v1/approvals/{id}/grant"), json!({})).await.expect(403);
        site.operator().post(&format!("/v1/approvals/{id}/grant"), json!({})).await.expect(200);
        assert_eq!(verdict(site, &who).await, Verdict::Allow);
        // A path that nobody can tell is refused without a question.
        let odd = question(&who, Action::EgressRequest, "GET https://api.github.com/a%2fb");
        let judged = site.app().judge(odd).await.unwrap();
        assert_eq!((judged.decision.verdict, judged.approval), (Verdict::Ask, None));
        // Nor may anybody flood people.
        let mut opened = 0;
        for n in 0..40 {
            let one = question(&who, Action::EgressRequest, &format!("GET https://api.github.com/{n}"));
            opened += usize::from(site.app().judge(one).await.unwrap().approval.is_some());
        }
        assert_eq!(opened, 20);
        let one = question(&who, Action::EgressRequest, "GET https://api.github.com/more");
        let refused = site.app().request_approval(Wanted { question: one, reason: String::new() }).await;
        assert!(matches!(refused, Err(Error::TooManyRequests { .. })));
    })
    .await;
}
