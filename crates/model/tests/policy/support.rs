//! A small world of askers, rules and requests, so small that rules and requests meet often.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use ryokan_model::policy::{
    Action, AgentRole, Budget, Conditions, Effect, Host, Http, Level, Path, Request, Resource, Resources,
    Rule, RuleBody, Scheme, Scope, Subject, Target, Who,
};
use ryokan_model::{GroupId, InstanceId, Millis, ProjectId, RuleId, TaskId, UserId};
use uuid::Uuid;

pub(crate) const NOW: Millis = Millis(1_790_000_000_000);

pub(crate) fn project(n: u128) -> ProjectId {
    ProjectId(Uuid::from_u128(n))
}

pub(crate) fn instance(n: u128) -> InstanceId {
    InstanceId(Uuid::from_u128(n))
}

pub(crate) fn rule_id(n: u128) -> RuleId {
    RuleId(Uuid::from_u128(n))
}

pub(crate) fn agent() -> Who {
    Who { project: Some(project(1)), instance: Some(instance(1)), ..Who::default() }
}

/// From the JSON that people write.
pub(crate) fn body(json: serde_json::Value) -> RuleBody {
    let body: RuleBody = serde_json::from_value(json).expect("a rule");
    body.validate().expect("a good rule");
    body
}

pub(crate) fn rule(n: u128, scope: Scope, json: serde_json::Value) -> Rule {
    Rule { id: rule_id(n), scope, body: body(json), grant: false }
}

pub(crate) const SYSTEM: Scope = Scope::System;

pub(crate) fn of_project() -> Scope {
    Scope::Project(project(1))
}

pub(crate) fn of_instance() -> Scope {
    Scope::Instance(project(1), instance(1))
}

pub(crate) fn http(method: &str, host: &str, path: &str) -> Request {
    let target = Target {
        host: host.parse().expect("a host"),
        port: 443,
        addresses: None,
        http: Some(Http { scheme: Scheme::Https, method: method.into(), path: Path::parse(path) }),
    };
    Request::new(agent(), Action::EgressRequest, Resource::Network(target), NOW)
}

pub(crate) fn connect(host: &str, port: u16) -> Request {
    Request::new(agent(), Action::EgressConnect, Resource::host(host.parse().expect("a host"), port), NOW)
}

pub(crate) fn named(action: Action, name: &str) -> Request {
    Request::new(agent(), action, Resource::named(name), NOW)
}

fn scopes() -> impl Strategy<Value = Scope> {
    select(vec![
        SYSTEM,
        of_project(),
        of_instance(),
        Scope::Project(project(2)),
        Scope::Instance(project(1), instance(2)),
        Scope::Instance(project(2), instance(1)),
    ])
}

fn subjects() -> impl Strategy<Value = Subject> {
    select(vec![
        Subject::Everybody,
        Subject::Everybody,
        Subject::Everybody,
        Subject::Instance(instance(1)),
        Subject::Instance(instance(2)),
        Subject::Project(project(1)),
        Subject::User(UserId(Uuid::from_u128(1))),
        Subject::Group(GroupId(Uuid::from_u128(1))),
        Subject::Task(TaskId(Uuid::from_u128(1))),
        Subject::Role(AgentRole::Worker),
    ])
}

const HOSTS: &[&str] = &["a.example", "b.a.example", "c.b.a.example", "other.example", "1.1.1.1", "10.0.0.1"];
const ADDRESSES: &[&str] =
    &["1.1.1.1", "8.8.8.8", "10.0.0.1", "10.9.0.1", "169.254.169.254", "2606:4700::1", "fd00::1"];

fn network_resources() -> impl Strategy<Value = Resources> {
    let hosts = subsequence(vec!["a.example", "*.a.example", "b.a.example", "*", "other.example"], 0..=2);
    let addresses = subsequence(vec!["10.0.0.0/8", "1.1.1.1", "0.0.0.0/0", "fd00::/8"], 0..=1);
    let ports = subsequence(vec!["443", "80-90", "1-65535"], 0..=1);
    (hosts, addresses, ports).prop_map(|(hosts, addresses, ports)| Resources {
        hosts: hosts.iter().map(|h| h.parse().expect("a pattern")).collect(),
        addresses: addresses.iter().map(|a| a.parse().expect("a range")).collect(),
        ports: ports.iter().map(|p| p.parse().expect("ports")).collect(),
        ..Resources::default()
    })
}

fn inside() -> impl Strategy<Value = (Vec<String>, Vec<&'static str>)> {
    (
        subsequence(vec!["GET".to_owned(), "POST".to_owned()], 0..=2),
        subsequence(vec!["/**", "/a/*", "/a/b"], 0..=1),
    )
}

fn what() -> impl Strategy<Value = (&'static str, Resources)> {
    prop_oneof![
        Just(("*", Resources::default())),
        (select(vec!["egress.*", "egress.connect", "egress.request"]), network_resources()),
        (network_resources(), inside()).prop_map(|(resources, (methods, paths))| {
            let paths = paths.iter().map(|p| p.parse().expect("a path")).collect();
            ("egress.request", Resources { methods, paths, ..resources })
        }),
        (
            select(vec!["model.call", "tool.invoke"]),
            subsequence(vec!["m/*", "m/1", "*", "x"], 0..=2).prop_map(|names| Resources {
                names: names.iter().map(|n| n.parse().expect("a name")).collect(),
                ..Resources::default()
            })
        ),
    ]
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let rarely =
        |strategy: BoxedStrategy<Conditions>| prop_oneof![6 => Just(Conditions::default()), 1 => strategy];
    let until = select(vec![Millis(NOW.0 - 1), NOW, Millis(NOW.0 + 1)]);
    let some = prop_oneof![
        until.prop_map(|until| Conditions { until: Some(until), ..Conditions::default() }),
        any::<bool>().prop_map(|tainted| Conditions { tainted: Some(tainted), ..Conditions::default() }),
        (0..3u64).prop_map(|at_least| Conditions {
            budget: Some(Budget { name: "tokens".into(), at_least }),
            ..Conditions::default()
        }),
    ];
    rarely(some.boxed())
}

pub(crate) fn effects() -> impl Strategy<Value = Effect> {
    prop_oneof![1 => Just(Effect::Deny), 1 => Just(Effect::Ask), 3 => Just(Effect::Allow), 3 => Just(Effect::Delegate)]
}

pub(crate) fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let one = (scopes(), effects(), subjects(), what(), conditions(), any::<bool>());
    prop::collection::vec(one, 0..12).prop_map(|all| {
        let mut rules = Vec::new();
        for (i, (scope, effect, subject, (action, resources), conditions, grant)) in
            all.into_iter().enumerate()
        {
            let action = action.parse().expect("an action");
            let body = RuleBody { effect, action, subject, resources, conditions, note: String::new() };
            rules.push(Rule { id: rule_id(i as u128), scope, grant: grant && effect == Effect::Allow, body });
        }
        for rule in &rules {
            rule.body.validate().expect("a good rule");
        }
        rules
    })
}

pub(crate) fn requests() -> impl Strategy<Value = Request> {
    let who = (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(user, group, role)| Who {
        user: user.then_some(UserId(Uuid::from_u128(1))),
        groups: group.then_some(GroupId(Uuid::from_u128(1))).into_iter().collect(),
        role: role.then_some(AgentRole::Worker),
        ..agent()
    });
    let addresses = prop::option::of(subsequence(ADDRESSES.to_vec(), 0..=2));
    let target = (select(HOSTS.to_vec()), select(vec![443u16, 80, 85, 22]), addresses);
    let network = (
        target,
        prop::option::of((
            select(vec!["GET", "POST", "PUT"]),
            select(vec!["/", "/a/b", "/a/%2e/b", "/a%2fb", "/x"]),
        )),
    )
        .prop_map(|((host, port, addresses), inside)| {
            let http = inside.map(|(method, path)| Http {
                scheme: Scheme::Https,
                method: method.into(),
                path: Path::parse(path),
            });
            let action = if http.is_some() { Action::EgressRequest } else { Action::EgressConnect };
            let addresses = addresses.map(|all| all.iter().map(|a| a.parse().expect("an address")).collect());
            let host: Host = host.parse().expect("a host");
            (action, Resource::Network(Target { host, port, addresses, http }))
        });
    let name = (select(vec![Action::ModelCall, Action::ToolInvoke]), select(vec!["m/1", "m/2", "x"]))
        .prop_map(|(action, name)| (action, Resource::named(name)));
    (who, prop_oneof![network, name], any::<bool>(), prop::option::of(0..3u64)).prop_map(
        |(who, (action, resource), tainted, tokens)| Request {
            tainted,
            budgets: tokens.map(|n| ("tokens".to_owned(), n)).into_iter().collect(),
            ..Request::new(who, action, resource, NOW)
        },
    )
}

pub(crate) fn levels_below(level: Level) -> Vec<Scope> {
    [SYSTEM, of_project(), of_instance()].into_iter().filter(|scope| scope.level() > level).collect()
}
