//! Decisions, told one by one.

use ryokan_model::policy::{Action, Effect, Level, PolicySet, Request, Resource, Rule, Verdict, Who};
use ryokan_model::{InstanceId, Millis};
use serde_json::json;

use super::support::*;

fn verdict(rules: &[Rule], request: &Request) -> (Verdict, Level) {
    let decision = PolicySet::new(rules).judge(request);
    (decision.verdict, decision.level)
}

fn delegated() -> Rule {
    rule(
        1,
        SYSTEM,
        json!({"effect": "delegate", "action": "egress.*", "resources": {"ports": ["80", "443"]}}),
    )
}

#[test]
fn a_level_allows_only_what_is_left_to_it() {
    let request = http("GET", "api.github.com", "/user");
    let project = rule(
        2,
        of_project(),
        json!({"effect": "allow", "action": "egress.*", "resources": {"hosts": ["api.github.com"]}}),
    );
    let instance = rule(3, of_instance(), json!({"effect": "allow", "action": "egress.*"}));
    assert_eq!(verdict(&[], &request), (Verdict::Deny, Level::System));
    assert_eq!(verdict(std::slice::from_ref(&project), &request), (Verdict::Deny, Level::System));
    assert_eq!(verdict(&[delegated(), project.clone()], &request), (Verdict::Allow, Level::Project));
    // The project says nothing, so the instance has nothing to say.
    assert_eq!(verdict(&[delegated(), instance.clone()], &request), (Verdict::Deny, Level::Project));
    let on = rule(4, of_project(), json!({"effect": "delegate", "action": "egress.request"}));
    assert_eq!(
        verdict(&[delegated(), on.clone(), instance.clone()], &request),
        (Verdict::Allow, Level::Instance)
    );
    assert_eq!(verdict(&[delegated(), on.clone()], &request), (Verdict::Deny, Level::Instance));
    // Nobody delegated this port.
    assert_eq!(
        verdict(&[delegated(), on, instance], &connect("api.github.com", 22)),
        (Verdict::Deny, Level::System)
    );
    let system = rule(5, SYSTEM, json!({"effect": "allow", "action": "egress.*"}));
    let ask = rule(
        6,
        of_instance(),
        json!({"effect": "ask", "action": "egress.request", "resources": {"methods": ["POST"]}}),
    );
    assert_eq!(verdict(&[system.clone(), ask.clone()], &request), (Verdict::Allow, Level::System));
    assert_eq!(
        verdict(&[system.clone(), ask.clone()], &http("POST", "a.example", "/")),
        (Verdict::Ask, Level::Instance)
    );
    // A method in another case may be the same to whoever gets it.
    assert_eq!(verdict(&[system, ask.clone()], &http("post", "a.example", "/")).0, Verdict::Ask);
    // Asking opens nothing that is closed above.
    assert_eq!(verdict(&[ask], &http("POST", "a.example", "/")), (Verdict::Deny, Level::System));
}

#[test]
fn grants_lift_asks_of_their_level_and_below_until_they_end() {
    let ask_above = rule(2, SYSTEM, json!({"effect": "ask", "action": "git.push"}));
    let ask = rule(3, of_project(), json!({"effect": "ask", "action": "git.push"}));
    let system = rule(1, SYSTEM, json!({"effect": "delegate", "action": "git.*"}));
    let grant = |n, scope, until: i64| {
        let body = body(
            json!({"effect": "allow", "action": "git.push", "subject": format!("instance:{}", instance(1)),
            "resources": {"names": ["github.com/o/r"]}, "conditions": {"until": until}}),
        );
        Rule { id: rule_id(n), scope, body, grant: true }
    };
    let request = named(Action::GitPush, "github.com/o/r");
    assert_eq!(verdict(&[system.clone(), ask.clone()], &request), (Verdict::Ask, Level::Project));
    let granted = [system.clone(), ask.clone(), grant(9, of_project(), NOW.0 + 1)];
    assert_eq!(verdict(&granted, &request), (Verdict::Allow, Level::Project));
    let other = Request {
        who: Who { instance: Some(InstanceId(uuid::Uuid::from_u128(2))), ..agent() },
        ..request.clone()
    };
    assert_eq!(verdict(&granted, &other), (Verdict::Ask, Level::Project));
    assert_eq!(verdict(&granted, &named(Action::GitPush, "github.com/o/r2")).0, Verdict::Ask);
    assert_eq!(verdict(&granted, &Request { now: Millis(NOW.0 + 1), ..request.clone() }).0, Verdict::Ask);
    let above = [ask_above, ask.clone(), grant(9, of_project(), NOW.0 + 1)];
    assert_eq!(verdict(&above, &request), (Verdict::Ask, Level::System));
    // The same rule without a person behind it lifts nothing.
    let plain = Rule { grant: false, ..grant(9, of_project(), NOW.0 + 1) };
    assert_eq!(verdict(&[system.clone(), ask, plain], &request).0, Verdict::Ask);
    let deny = rule(4, of_instance(), json!({"effect": "deny", "action": "git.*"}));
    assert_eq!(
        verdict(&[system, deny, grant(9, SYSTEM, NOW.0 + 1)], &request),
        (Verdict::Deny, Level::Instance)
    );
}

#[test]
fn only_operators_open_what_is_not_public() {
    let to = |host: &str, addresses: &[&str]| {
        let mut request = connect(host, 443);
        let Resource::Network(target) = &mut request.resource else { panic!() };
        target.addresses = Some(addresses.iter().map(|a| a.parse().unwrap()).collect());
        request
    };
    let names = rule(
        2,
        of_project(),
        json!({"effect": "allow", "action": "egress.*", "resources": {"hosts": ["*"]}}),
    );
    let ranges = rule(
        3,
        of_project(),
        json!({"effect": "allow", "action": "egress.*", "resources": {"addresses": ["0.0.0.0/0", "::/0"]}}),
    );
    let rules = [delegated(), names, ranges];
    assert_eq!(verdict(&rules, &connect("gitlab.corp", 443)).0, Verdict::Allow);
    assert_eq!(verdict(&rules, &to("gitlab.corp", &["8.8.8.8"])).0, Verdict::Allow);
    for addresses in [
        &["10.1.0.1"][..],
        &["8.8.8.8", "10.1.0.1"],
        &["169.254.169.254"],
        &["::1"],
        &["::ffff:10.0.0.1"],
        &[],
    ] {
        assert_eq!(
            verdict(&rules, &to("gitlab.corp", addresses)),
            (Verdict::Deny, Level::System),
            "{addresses:?}"
        );
    }
    for literal in ["127.0.0.1", "[::1]", "[::ffff:169.254.169.254]", "10.0.0.1", "[fd00::1]"] {
        assert_eq!(verdict(&rules, &connect(literal, 443)), (Verdict::Deny, Level::System), "{literal}");
    }
    assert_eq!(verdict(&rules, &connect("1.1.1.1", 443)).0, Verdict::Allow);
    let inside = rule(
        4,
        SYSTEM,
        json!({"effect": "allow", "action": "egress.*", "resources": {"hosts": ["gitlab.corp"], "addresses": ["10.1.0.0/16"]}}),
    );
    let rules = [inside];
    assert_eq!(verdict(&rules, &connect("gitlab.corp", 443)).0, Verdict::Allow);
    assert_eq!(verdict(&rules, &to("gitlab.corp", &["10.1.0.1"])).0, Verdict::Allow);
    // Somebody has the name lead elsewhere.
    assert_eq!(verdict(&rules, &to("gitlab.corp", &["169.254.169.254"])).0, Verdict::Deny);
    assert_eq!(verdict(&rules, &to("gitlab.corp", &["10.1.0.1", "10.2.0.1"])).0, Verdict::Deny);
    // A range alone has no name looked up, for looking up tells others of it.
    let range = [rule(
        5,
        SYSTEM,
        json!({"effect": "allow", "action": "egress.*", "resources": {"addresses": ["10.1.0.0/16"]}}),
    )];
    assert_eq!(verdict(&range, &connect("secret.evil.example", 443)).0, Verdict::Deny);
    assert_eq!(verdict(&range, &connect("10.1.2.3", 443)).0, Verdict::Allow);
    // A deny of a range fits as soon as one of the addresses is known to be in it.
    let deny = rule(
        6,
        of_instance(),
        json!({"effect": "deny", "action": "egress.*", "resources": {"addresses": ["8.8.8.0/24"]}}),
    );
    let open = rule(7, SYSTEM, json!({"effect": "allow", "action": "egress.*"}));
    let rules = [open, deny];
    assert_eq!(verdict(&rules, &connect("dns.example", 443)).0, Verdict::Allow);
    assert_eq!(verdict(&rules, &to("dns.example", &["1.1.1.1", "8.8.8.8"])).0, Verdict::Deny);
}

#[test]
fn paths_and_methods_bind_requests_and_not_mere_connections() {
    let read = rule(
        2,
        of_project(),
        json!({"effect": "allow", "action": "egress.request",
        "resources": {"hosts": ["api.github.com"], "methods": ["GET"], "paths": ["/repos/o/*/issues/**"]}}),
    );
    let set = PolicySet::new(&[delegated(), read]);
    let verdict = |request: &Request| set.judge(request).verdict;
    for path in [
        "/repos/o/r/issues",
        "/repos/o/r/issues/7/comments?x=/y",
        "//repos/./o/x/../r/issues/",
        "/repos/o/%72/issues",
    ] {
        assert_eq!(verdict(&http("GET", "api.github.com", path)), Verdict::Allow, "{path}");
    }
    for path in [
        "/repos/o/r",
        "/repos/o/a/b/issues",
        "/repos/o/r/issues/../../../../user",
        "/repos/o/r/issues/..%2f..%2fuser",
        "/Repos/o/r/issues",
        "/repos/o/r/issues/..;/x",
        "/",
    ] {
        assert_eq!(verdict(&http("GET", "api.github.com", path)), Verdict::Deny, "{path}");
    }
    assert_eq!(verdict(&http("DELETE", "api.github.com", "/repos/o/r/issues")), Verdict::Deny);
    assert_eq!(verdict(&connect("api.github.com", 443)), Verdict::Deny);
    let target = |host: &str| match connect(host, 443).resource {
        Resource::Network(target) => target,
        Resource::Named(_) => panic!(),
    };
    assert!(set.looks_into(&agent(), &target("api.github.com"), NOW));
    assert!(!set.looks_into(&agent(), &target("example.com"), NOW));
    assert!(!set.looks_into(&Who { project: Some(project(2)), ..agent() }, &target("api.github.com"), NOW));
}

#[test]
fn a_path_that_nobody_can_tell_fits_denies_that_name_one() {
    let open = rule(1, SYSTEM, json!({"effect": "allow", "action": "egress.*"}));
    let deny = rule(
        2,
        of_project(),
        json!({"effect": "deny", "action": "egress.request", "resources": {"hosts": ["a.example"], "paths": ["/admin/**"]}}),
    );
    let rules = [open, deny];
    assert_eq!(verdict(&rules, &http("GET", "a.example", "/public")).0, Verdict::Allow);
    for path in [
        "/admin",
        "/admin/",
        "/%61dmin/x",
        "/x/../admin",
        "//admin",
        "/public/..%2fadmin",
        "/public\\..\\admin",
        "/%2561dmin",
        "/%zz",
        "/x/..;/admin",
        "/../admin",
    ] {
        assert_eq!(verdict(&rules, &http("GET", "a.example", path)).0, Verdict::Deny, "{path}");
    }
    // Elsewhere nobody looks at paths, and scoped packages of npm have escaped slashes.
    assert_eq!(verdict(&rules, &http("GET", "registry.npmjs.org", "/@types%2fnode")).0, Verdict::Allow);
}

#[test]
fn conditions_hold_or_do_not() {
    let rule_with = |effect: Effect, conditions: serde_json::Value| {
        rule(2, SYSTEM, json!({"effect": effect, "action": "model.call", "conditions": conditions}))
    };
    let open = rule(1, SYSTEM, json!({"effect": "allow", "action": "*"}));
    let request = named(Action::ModelCall, "m");
    let tainted = Request { tainted: true, ..request.clone() };
    let deny = rule_with(Effect::Deny, json!({"tainted": true}));
    assert_eq!(verdict(&[open.clone(), deny.clone()], &request).0, Verdict::Allow);
    assert_eq!(verdict(&[open.clone(), deny], &tainted).0, Verdict::Deny);
    let rich = |tokens: u64| Request { budgets: [("tokens".to_owned(), tokens)].into(), ..request.clone() };
    let budget = json!({"budget": {"name": "tokens", "at_least": 10}});
    let allow = [rule_with(Effect::Allow, budget.clone())];
    assert_eq!(verdict(&allow, &rich(10)).0, Verdict::Allow);
    assert_eq!(verdict(&allow, &rich(9)).0, Verdict::Deny);
    assert_eq!(verdict(&allow, &request).0, Verdict::Deny);
    // Nobody knows what is left: that is a reason to refuse, not to allow.
    assert_eq!(verdict(&[open.clone(), rule_with(Effect::Deny, budget)], &request).0, Verdict::Deny);
    // NOW is Monday, 2026-09-21, 14:13 UTC.
    let office = |from: &str, to: &str| {
        [rule_with(Effect::Allow, json!({"window": {"days": ["mon"], "from": from, "to": to}}))]
    };
    assert_eq!(verdict(&office("14:13", "14:14"), &request).0, Verdict::Allow);
    assert_eq!(verdict(&office("14:14", "14:13"), &request).0, Verdict::Deny);
}

#[test]
fn rules_that_can_have_no_effect_are_told() {
    let set = PolicySet::new(&[delegated()]);
    let idle = |scope, json| set.idle(&rule(9, scope, json)).is_some();
    assert!(!idle(
        of_project(),
        json!({"effect": "allow", "action": "egress.*", "resources": {"hosts": ["x.example"]}})
    ));
    assert!(idle(
        of_project(),
        json!({"effect": "allow", "action": "egress.*", "resources": {"ports": ["22"]}})
    ));
    assert!(idle(
        of_project(),
        json!({"effect": "allow", "action": "egress.*", "resources": {"addresses": ["10.0.0.0/8"]}})
    ));
    assert!(idle(of_project(), json!({"effect": "allow", "action": "git.push"})));
    assert!(!idle(of_project(), json!({"effect": "deny", "action": "git.push"})));
    assert!(idle(of_instance(), json!({"effect": "allow", "action": "egress.*"})));
    assert!(idle(of_instance(), json!({"effect": "delegate", "action": "egress.*"})));
    assert!(!idle(SYSTEM, json!({"effect": "allow", "action": "*"})));
}

#[test]
fn a_resource_of_another_kind_is_refused() {
    let open = [rule(1, SYSTEM, json!({"effect": "allow", "action": "*"}))];
    assert_eq!(verdict(&open, &named(Action::EgressConnect, "a.example")).0, Verdict::Deny);
    let mut request = connect("a.example", 443);
    request.action = Action::ModelCall;
    assert_eq!(verdict(&open, &request).0, Verdict::Deny);
}
