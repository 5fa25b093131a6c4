//! Custom domains: the record to set, whose a domain is, and that it leads where it should without a redeploy.

use std::time::Duration;

use ryokan_ports::dns::DnsError;
use serde_json::{Value, json};

use crate::support::{Client, Reply, Site, eventually, on_both, on_sqlite};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

async fn add(client: &Client, instance: &str, domain: &str) -> Value {
    let path = format!("/v1/instances/{instance}/domains");
    client.post(&path, json!({"domain": domain})).await.expect(200)
}

async fn check(client: &Client, instance: &str, domain: &str) -> Value {
    client.call("POST", &format!("/v1/instances/{instance}/domains/{domain}/check"), None).await.expect(200)
}

async fn show(client: &Client, instance: &str, domain: &str) -> Value {
    client.get(&format!("/v1/instances/{instance}/domains/{domain}")).await.expect(200)
}

/// Sets the record that the answer asks for.
fn set(site: &Site, domain: &Value, which: usize) {
    let record = &domain["verification"][which];
    assert_eq!(record["type"], "TXT");
    site.dns.set(record["name"].as_str().unwrap(), record["value"].as_str().unwrap());
}

/// What a visitor gets there.
async fn visit(site: &Site, host: &str, path: &str) -> Reply {
    let mut visitor = site.anonymous().with("host", host);
    visitor.token = None;
    visitor.get(path).await
}

async fn until_served(site: &Site, client: &Client, instance: &str, domain: &str) {
    eventually(&format!("{domain} is served"), async || {
        let now = show(client, instance, domain).await;
        if now["state"] == "active" { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    assert_eq!(visit(site, domain, "/").await.status, 200);
}

async fn until_unknown(site: &Site, domain: &str) {
    eventually(&format!("{domain} leads nowhere"), async || {
        let reply = visit(site, domain, "/").await;
        if reply.status == 421 || reply.status == 404 { Ok(()) } else { Err(format!("{reply:?}")) }
    })
    .await;
}

fn public() -> Value {
    json!({"gateway": {"access": "public"}, "readiness": null})
}

/// Runs what the leader does every ten seconds, now.
async fn recheck(site: &Site) {
    site.app().check_due_domains().await.unwrap();
}

#[tokio::test]
async fn a_domain_goes_live_by_its_record() {
    on_both(async |site| {
        let operator = site.operator();
        operator.ready("claw", public()).await;
        let unknown = visit(site, "claw.example.com", "/").await;
        assert_ne!(unknown.status, 200, "{}", unknown.text);

        let added = add(&operator, "claw", "Claw.Example.COM.").await;
        assert_eq!(added["domain"], "claw.example.com");
        assert_eq!(added["state"], "pending");
        assert_eq!(
            added["target"],
            json!({"type": "CNAME", "name": "claw.example.com", "value": "claw.localhost"})
        );
        assert_eq!(added["verification"][0]["name"], "_ryokan.claw.example.com");
        let value = added["verification"][0]["value"].as_str().unwrap();
        assert!(value.strip_prefix("ryokan-verification=").unwrap().len() >= 32, "{value}");
        assert_eq!(added["verification"][1]["name"], "mandala_project.claw.example.com");

        let checked = check(&operator, "claw", "claw.example.com").await;
        assert_eq!(checked["state"], "pending");
        assert!(checked["reason"].as_str().unwrap().contains("_ryokan.claw.example.com"), "{checked}");
        assert_ne!(visit(site, "claw.example.com", "/").await.status, 200);

        // A record of somebody else's is none.
        site.dns.set("_ryokan.claw.example.com", "ryokan-verification=0123");
        assert_eq!(check(&operator, "claw", "claw.example.com").await["state"], "pending");
        set(site, &added, 0);
        let checked = check(&operator, "claw", "CLAW.example.com").await;
        assert!(checked["state"] == "verified" || checked["state"] == "active", "{checked}");
        assert_eq!(checked["reason"], Value::Null);
        until_served(site, &operator, "claw", "claw.example.com").await;
        // The answer to a repeated request, and after a restart.
        assert_eq!(add(&operator, "claw", "claw.example.com").await["state"], "active");
        site.restart().await;
        let operator = site.operator();
        operator.until("claw", "ready").await;
        eventually("served after a restart", async || {
            let reply = visit(site, "claw.example.com", "/").await;
            if reply.status == 200 { Ok(()) } else { Err(reply.text) }
        })
        .await;

        operator.delete("/v1/instances/claw/domains/claw.example.com").await.expect(204);
        operator.delete("/v1/instances/claw/domains/claw.example.com").await.expect(404);
        until_unknown(site, "claw.example.com").await;
        let kinds: Vec<String> = site
            .events()
            .await
            .iter()
            .filter_map(|e| e["kind"].as_str())
            .filter(|kind| kind.starts_with("domain."))
            .map(str::to_owned)
            .collect();
        assert_eq!(kinds, ["domain.added", "domain.verified", "domain.removed"]);
    })
    .await;
}

#[tokio::test]
async fn mandalas_record_counts_and_the_reconciler_finds_it() {
    on_both(async |site| {
        let operator = site.operator();
        operator.ready("claw", public()).await;
        let project =
            operator.get("/v1/projects/operator").await.expect(200)["id"].as_str().unwrap().replace('-', "");
        for (domain, part) in [("a.example.com", "agent"), ("b.example.com", "backend")] {
            add(&operator, "claw", domain).await;
            let text = format!("mandala-project-verification={project}:{part}");
            site.dns.set(&format!("mandala_project.{domain}"), &text);
        }
        let frontend = add(&operator, "claw", "c.example.com").await;
        assert_eq!(
            frontend["verification"][1]["value"],
            format!("mandala-project-verification={project}:agent")
        );
        site.dns.set(
            "mandala_project.c.example.com",
            &format!("mandala-project-verification={project}:frontend"),
        );
        // Some of them may have been looked up before their record was there.
        site.clock.forward(Duration::from_mins(1));
        recheck(site).await;
        until_served(site, &operator, "claw", "a.example.com").await;
        until_served(site, &operator, "claw", "b.example.com").await;
        assert_eq!(show(&operator, "claw", "c.example.com").await["state"], "pending");
    })
    .await;
}

#[tokio::test]
async fn only_one_project_holds_a_domain() {
    on_both(async |site| {
        let (alice, bob) = (site.user("alice").await, site.user("bob").await);
        alice.ready("hers", public()).await;
        bob.ready("his", public()).await;
        let (a, b) = (add(&alice, "hers", "x.example.com").await, add(&bob, "his", "x.example.com").await);
        assert_ne!(a["verification"], b["verification"]);
        set(site, &a, 0);
        set(site, &b, 0);
        // Both records are right; all at once, from both.
        let checks = (0..4).flat_map(|_| [(&alice, "hers"), (&bob, "his")]);
        let checks = checks.map(|(client, name)| check(client, name, "x.example.com"));
        futures_util::future::join_all(checks).await;
        let states = [
            show(&alice, "hers", "x.example.com").await["state"].clone(),
            show(&bob, "his", "x.example.com").await["state"].clone(),
        ];
        let held = |state: &Value| state == "verified" || state == "active";
        assert_eq!(states.iter().filter(|s| held(s)).count(), 1, "{states:?}");
        assert_eq!(states.iter().filter(|s| *s == "pending").count(), 1, "{states:?}");
        let (winner, won, loser, lost) =
            if held(&states[0]) { (&alice, "hers", &bob, "his") } else { (&bob, "his", &alice, "hers") };
        let reason = show(loser, lost, "x.example.com").await["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains("another project") && !reason.contains(won), "{reason}");
        // The winner's stays, and is not the loser's to look at or take away.
        winner.get(&format!("/v1/instances/{won}/domains/x.example.com")).await.expect(200);
        loser.delete(&format!("/v1/instances/{won}/domains/x.example.com")).await.expect(404);
        winner.delete(&format!("/v1/instances/{won}/domains/x.example.com")).await.expect(204);
        let now = check(loser, lost, "x.example.com").await;
        assert!(held(&now["state"]), "{now}");
        until_served(site, loser, lost, "x.example.com").await;
    })
    .await;
}

#[tokio::test]
async fn what_works_outlives_servers_that_fail_and_three_days_of_a_missing_record() {
    on_both(async |site| {
        let operator = site.operator();
        operator.ready("claw", public()).await;
        let added = add(&operator, "claw", "claw.example.com").await;
        set(site, &added, 0);
        check(&operator, "claw", "claw.example.com").await;
        until_served(site, &operator, "claw", "claw.example.com").await;

        // No server answers for a month.
        site.dns.fail(Some(DnsError::Timeout));
        for _ in 0..30 {
            site.clock.forward(DAY);
            let now = check(&operator, "claw", "claw.example.com").await;
            assert_eq!(now["state"], "active", "{now}");
        }
        let now = show(&operator, "claw", "claw.example.com").await;
        assert!(now["reason"].as_str().unwrap().contains("in time"), "{now}");
        site.dns.fail(Some(DnsError::ServerFailure("SERVFAIL".into())));
        assert_eq!(check(&operator, "claw", "claw.example.com").await["state"], "active");
        site.dns.fail(None);
        assert_eq!(check(&operator, "claw", "claw.example.com").await["reason"], Value::Null);

        // The record is gone: three days of hourly checks.
        site.dns.remove("_ryokan.claw.example.com");
        for hour in 0..72 {
            let now = check(&operator, "claw", "claw.example.com").await;
            assert_eq!(now["state"], "active", "after {hour} hours: {now}");
            site.clock.forward(HOUR);
        }
        assert_eq!(visit(site, "claw.example.com", "/").await.status, 200);
        site.clock.forward(HOUR);
        recheck(site).await;
        eventually("it fails", async || {
            let now = show(&operator, "claw", "claw.example.com").await;
            if now["state"] == "failed" { Ok(()) } else { Err(now.to_string()) }
        })
        .await;
        until_unknown(site, "claw.example.com").await;
        let events = site.events().await;
        let of = |kind: &str| events.iter().filter(|e| e["kind"] == kind).count();
        assert_eq!((of("domain.record_missing"), of("domain.failed")), (1, 1));

        // The record is back: one check is enough.
        set(site, &added, 0);
        check(&operator, "claw", "claw.example.com").await;
        until_served(site, &operator, "claw", "claw.example.com").await;
    })
    .await;
}

#[tokio::test]
async fn a_record_is_waited_for_for_seven_days() {
    on_both(async |site| {
        let operator = site.operator();
        operator.ready("claw", public()).await;
        add(&operator, "claw", "claw.example.com").await;
        site.clock.forward(167 * HOUR);
        assert_eq!(check(&operator, "claw", "claw.example.com").await["state"], "pending");
        site.clock.forward(2 * HOUR);
        let failed = check(&operator, "claw", "claw.example.com").await;
        assert_eq!((&failed["state"], &failed["next_check"]), (&json!("failed"), &Value::Null));
        site.dns.asked();
        site.clock.forward(DAY);
        recheck(site).await;
        assert_eq!(site.dns.asked(), Vec::<String>::new(), "nobody asks about what failed");
        let again = add(&operator, "claw", "claw.example.com").await;
        assert_eq!(again["state"], "pending");
        set(site, &again, 0);
        check(&operator, "claw", "claw.example.com").await;
        until_served(site, &operator, "claw", "claw.example.com").await;
    })
    .await;
}

#[tokio::test]
async fn domains_go_with_what_they_lead_to() {
    on_both(async |site| {
        let alice = site.user("alice").await;
        let bob = site.user("bob").await;
        alice.post("/v1/projects", json!({"name": "shop"})).await.expect(201);
        let mut more = public();
        more["project"] = "shop".into();
        for (name, domain) in [("one", "one.example.com"), ("two", "two.example.com")] {
            alice.ready(name, more.clone()).await;
            let added = add(&alice, name, domain).await;
            set(site, &added, 0);
            check(&alice, name, domain).await;
            until_served(site, &alice, name, domain).await;
        }
        alice.delete("/v1/instances/one").await.expect(202);
        alice.until_gone("one").await;
        until_unknown(site, "one.example.com").await;
        // A new instance of the same name, somebody else's, does not inherit it.
        eventually("the name is free", async || {
            let mut body = public();
            body["name"] = "one".into();
            body["image"] = "img".into();
            body["ports"] = json!([{"name": "http", "port": 3000}]);
            let reply = bob.post("/v1/instances", body).await;
            if reply.status == 202 { Ok(()) } else { Err(reply.text) }
        })
        .await;
        bob.until("one", "ready").await;
        assert_ne!(visit(site, "one.example.com", "/").await.status, 200);
        assert_eq!(bob.get("/v1/instances/one/domains").await.items(), Vec::<Value>::new());

        alice.delete("/v1/projects/shop?cascade=true").await;
        until_unknown(site, "two.example.com").await;
        let added = add(&bob, "one", "two.example.com").await;
        set(site, &added, 0);
        check(&bob, "one", "two.example.com").await;
        until_served(site, &bob, "one", "two.example.com").await;
    })
    .await;
}

#[tokio::test]
async fn the_servers_own_hosts_and_what_is_no_domain_are_refused() {
    on_sqlite(async |site| {
        let operator = site.operator();
        operator.ready("claw", public()).await;
        for domain in [
            "localhost",
            "claw.localhost",
            "a.b.localhost",
            "admin.localhost",
            "*.example.com",
            "example",
            "",
            "https://example.com",
            "127.0.0.1",
            "a_b.example.com",
            "example.com:80",
        ] {
            let refused =
                operator.post("/v1/instances/claw/domains", json!({"domain": domain})).await.expect(400);
            assert_eq!(refused["field"], "domain", "{domain}: {refused}");
        }
        let body = json!({"domain": "a.example.com", "wildcard": true});
        operator.post("/v1/instances/claw/domains", body).await.expect(400);
        operator.ready("other", public()).await;
        add(&operator, "claw", "a.example.com").await;
        let taken = operator.post("/v1/instances/other/domains", json!({"domain": "a.example.com"})).await;
        assert!(taken.expect(409)["detail"].as_str().unwrap_or_default().contains("claw"), "{}", taken.text);
        operator.get("/v1/instances/other/domains/a.example.com").await.expect(404);
    })
    .await;
}

#[tokio::test]
async fn a_zone_that_is_not_localhost_and_the_dashboards_host_are_ours() {
    crate::support::on_sqlite_with(
        |config| {
            config.server.zone = "agents.example.org".into();
            config.server.public_url = Some("https://panel.example.net".into());
        },
        async |site| {
            let operator = site.operator();
            operator.ready("claw", public()).await;
            for domain in
                ["agents.example.org", "x.y.agents.example.org", "panel.example.net", "x.panel.example.net"]
            {
                let body = json!({"domain": domain});
                operator.post("/v1/instances/claw/domains", body).await.expect(400);
            }
            for domain in ["example.org", "myagents.example.org"] {
                add(&operator, "claw", domain).await;
            }
        },
    )
    .await;
}

#[tokio::test]
async fn who_may_only_develop_may_look() {
    on_sqlite(async |site| {
        let (alice, dev) = (site.user("alice").await, site.user("dev").await);
        alice.post("/v1/projects", json!({"name": "shop"})).await.expect(201);
        alice.put("/v1/projects/shop/members/dev", json!({"role": "developer"})).await.expect(200);
        let mut more = public();
        more["project"] = "shop".into();
        alice.ready("claw", more).await;
        add(&alice, "claw", "a.example.com").await;
        assert_eq!(dev.get("/v1/instances/claw/domains").await.items().len(), 1);
        dev.post("/v1/instances/claw/domains", json!({"domain": "b.example.com"})).await.expect(403);
        dev.delete("/v1/instances/claw/domains/a.example.com").await.expect(403);
        dev.post("/v1/instances/claw/domains/a.example.com/check", json!({})).await.expect(403);
    })
    .await;
}

#[tokio::test]
async fn a_private_agent_is_signed_in_to_at_its_domain() {
    on_sqlite(async |site| {
        let operator = site.operator();
        operator.ready("claw", json!({"gateway": {"access": "private"}, "readiness": null})).await;
        let added = add(&operator, "claw", "claw.example.com").await;
        set(site, &added, 0);
        check(&operator, "claw", "claw.example.com").await;
        eventually("served", async || {
            let now = show(&operator, "claw", "claw.example.com").await;
            if now["state"] == "active" { Ok(()) } else { Err(now.to_string()) }
        })
        .await;
        let port = site.address().port();
        let host = format!("claw.example.com:{port}");
        let browser = site.anonymous().with("accept", "text/html").with("sec-fetch-mode", "navigate");
        let at_agent = browser.with("host", &host);
        let sent = at_agent.get("/page?x=1").await;
        assert_eq!(sent.status, 302, "{}", sent.text);
        let authorize = sent.header("location").to_owned();
        let (_, path) = authorize.split_once(&format!("//localhost:{port}")).expect("to the zone");

        // Signed in to the zone, by the operator's one-time link.
        let signed_in = site.anonymous().post("/v1/sessions", json!({"link": site.first_link()})).await;
        let cookie = signed_in.header("set-cookie").split(';').next().unwrap().to_owned();
        assert!(signed_in.status < 300 && !cookie.is_empty(), "{}", signed_in.text);
        let at_zone = browser.with("host", &format!("localhost:{port}")).with("cookie", &cookie);
        let ticket = at_zone.get(path).await;
        assert_eq!(ticket.status, 303, "{}", ticket.text);
        let to = ticket.header("location");
        let path = to.strip_prefix(&format!("http://{host}")).unwrap_or_else(|| panic!("{to}"));
        let begun = at_agent.get(path).await;
        assert_eq!((begun.status, begun.header("location")), (302, "/page?x=1"), "{}", begun.text);
        let session = begun.header("set-cookie").split(';').next().unwrap().to_owned();
        assert_eq!(at_agent.with("cookie", &session).get("/").await.status, 200);

        // Neither to a domain that is not the instance's, nor once the record is not right.
        let elsewhere = "/v1/gateway/authorize?instance=claw&return=http://evil.example.com/";
        assert_eq!(at_zone.get(elsewhere).await.status, 400);
        site.dns.remove("_ryokan.claw.example.com");
        check(&operator, "claw", "claw.example.com").await;
        let (_, path) = authorize.split_once(&format!("//localhost:{port}")).unwrap();
        assert_eq!(at_zone.get(path).await.status, 400);
    })
    .await;
}
