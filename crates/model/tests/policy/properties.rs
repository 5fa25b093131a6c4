//! What holds for all rules and all requests.

use proptest::prelude::*;
use ryokan_model::policy::{
    ActionPattern, Effect, Glob, HostPattern, Level, Network, Path, PathPattern, PolicySet, PortRange,
    Request, Rule, RuleBody, Subject, Verdict,
};

use super::support::*;

fn judge(rules: &[Rule], request: &Request) -> Verdict {
    PolicySet::new(rules).judge(request).verdict
}

/// Whether a rule fits a request, by asking a set of it alone.
fn fits(rule: &Rule, request: &Request) -> bool {
    let alone = PolicySet::new([rule]).explain(request);
    alone.levels.iter().any(|level| !level.rules.is_empty())
}

/// Whether what levels down to `level` say leaves room for those below: the definition, without indexes and shortcuts.
fn leaves_room(rules: &[Rule], request: &Request, level: Level) -> bool {
    let upper: Vec<&Rule> = rules.iter().filter(|r| r.scope.level() <= level && fits(r, request)).collect();
    if upper.iter().any(|r| r.body.effect == Effect::Deny) {
        return false;
    }
    let has = |level: Level, effect: Effect| {
        upper.iter().any(|r| r.scope.level() == level && r.body.effect == effect)
    };
    for at in Level::ALL.into_iter().filter(|at| *at <= level) {
        if has(at, Effect::Allow) {
            return true;
        }
        if !has(at, Effect::Delegate) {
            return false;
        }
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_rules_deny_everything(request in requests()) {
        prop_assert_eq!(judge(&[], &request), Verdict::Deny);
    }

    #[test]
    fn any_deny_that_fits_denies_whatever_else_there_is(rules in rules(), request in requests()) {
        let denied = rules.iter().any(|r| r.body.effect == Effect::Deny && fits(r, &request));
        if denied {
            prop_assert_eq!(judge(&rules, &request), Verdict::Deny);
        }
        // A deny is also named.
        let decision = PolicySet::new(&rules).judge(&request);
        let by = rules.iter().find(|r| Some(r.id) == decision.rule);
        prop_assert_eq!(denied, by.is_some_and(|r| r.body.effect == Effect::Deny));
    }

    #[test]
    fn the_order_of_rules_never_matters(rules in rules(), request in requests(), turn in 0usize..12) {
        let one = PolicySet::new(&rules).judge(&request);
        let mut other = rules.clone();
        other.reverse();
        let n = other.len().max(1);
        other.rotate_left(turn % n);
        prop_assert_eq!(PolicySet::new(&other).judge(&request), one);
    }

    #[test]
    fn lower_levels_never_widen(rules in rules(), request in requests()) {
        for level in [Level::System, Level::Project] {
            if !leaves_room(&rules, &request, level) {
                // Whatever is added below.
                let mut more = rules.clone();
                for (i, scope) in levels_below(level).into_iter().enumerate() {
                    for (j, grant) in [false, true].into_iter().enumerate() {
                        let id = rule_id(1_000 + (2 * i + j) as u128);
                        let body = body(serde_json::json!({"effect": "allow", "action": "*"}));
                        more.push(Rule { id, scope, body, grant });
                    }
                }
                prop_assert_ne!(judge(&more, &request), Verdict::Allow, "{}", level);
            }
        }
    }

    #[test]
    fn what_is_allowed_is_allowed_by_the_definition(rules in rules(), request in requests()) {
        let fitting: Vec<&Rule> = rules.iter().filter(|r| fits(r, &request)).collect();
        let asked = |ask: &&&Rule| {
            let granted = |r: &&&Rule| r.grant && r.scope.level() <= ask.scope.level();
            ask.body.effect == Effect::Ask && !fitting.iter().any(|r| granted(&r))
        };
        let open_ask = fitting.iter().find(|r| asked(r)).is_some();
        let all_levels = leaves_room(&rules, &request, Level::Instance)
            && fitting.iter().any(|r| r.body.effect == Effect::Allow);
        // With rules that delegate down to the last level and none that allows, nothing is allowed.
        let reached = Level::ALL.into_iter().any(|at| {
            fitting.iter().any(|r| r.scope.level() == at && r.body.effect == Effect::Allow)
                && (at == Level::System || leaves_room(&rules, &request, if at == Level::Project { Level::System } else { Level::Project }))
        });
        let allowed = judge(&rules, &request) == Verdict::Allow;
        prop_assert_eq!(allowed, all_levels && reached && !open_ask);
    }

    #[test]
    fn removing_a_deny_never_refuses_more(rules in rules(), request in requests()) {
        if judge(&rules, &request) == Verdict::Allow {
            let fewer: Vec<Rule> = rules.iter().filter(|r| r.body.effect != Effect::Deny).cloned().collect();
            prop_assert_eq!(judge(&fewer, &request), Verdict::Allow);
        }
        for (i, rule) in rules.iter().enumerate().filter(|(_, r)| r.body.effect == Effect::Deny) {
            let mut fewer = rules.clone();
            fewer.remove(i);
            let before = judge(&rules, &request);
            let after = judge(&fewer, &request);
            prop_assert!(before == Verdict::Deny || before == after, "{:?}: {:?} {:?}", rule, before, after);
        }
    }

    #[test]
    fn a_grant_overrides_no_deny_and_only_asks_of_its_level_and_below(rules in rules(), request in requests()) {
        let plain: Vec<Rule> = rules.iter().cloned().map(|r| Rule { grant: false, ..r }).collect();
        for at in [SYSTEM, of_project(), of_instance()] {
            let mut granted = plain.clone();
            granted.push(Rule { id: rule_id(999), scope: at, body: body(serde_json::json!({"effect": "allow", "action": "*"})), grant: true });
            let higher = plain.iter().any(|r| r.body.effect == Effect::Ask && r.scope.level() < at.level() && fits(r, &request));
            let denied = plain.iter().any(|r| r.body.effect == Effect::Deny && fits(r, &request));
            if higher || denied {
                prop_assert_ne!(judge(&granted, &request), Verdict::Allow);
            }
        }
    }

    #[test]
    fn explaining_tells_the_decision(rules in rules(), request in requests()) {
        let set = PolicySet::new(&rules);
        let explained = set.explain(&request);
        prop_assert_eq!(&explained.decision, &set.judge(&request));
        prop_assert!(!explained.decision.why.is_empty());
        if let Some(rule) = explained.decision.rule {
            prop_assert!(explained.levels.iter().any(|l| l.level == explained.decision.level && l.rules.iter().any(|r| r.id == rule)));
        }
    }

    #[test]
    fn a_rule_that_decides_is_never_called_idle(rules in rules(), request in requests()) {
        let set = PolicySet::new(&rules);
        let decision = set.judge(&request);
        if let Some(rule) = rules.iter().find(|r| Some(r.id) == decision.rule) {
            prop_assert_eq!(set.idle(rule), None);
        }
    }

    #[test]
    fn unresolved_names_are_judged_no_stricter_than_public_ones_are(rules in rules(), request in requests()) {
        // What is refused by its name alone would not be allowed by any public address, so no lookup is owed to it;
        // but for rules that name addresses, whose names must be known first.
        use ryokan_model::policy::Resource;
        let names_addresses = rules.iter().any(|r| !r.body.resources.addresses.is_empty());
        if let Resource::Network(target) = &request.resource && !names_addresses {
            let with = |addresses| {
                let mut request = request.clone();
                request.resource = Resource::Network(ryokan_model::policy::Target { addresses, ..target.clone() });
                judge(&rules, &request)
            };
            if with(None) == Verdict::Deny {
                prop_assert_ne!(with(Some(vec!["8.8.8.8".parse().unwrap()])), Verdict::Allow);
            }
        }
    }

    #[test]
    fn bodies_round_trip(rules in rules()) {
        for rule in rules {
            let text = serde_json::to_string(&rule.body).unwrap();
            prop_assert_eq!(serde_json::from_str::<RuleBody>(&text).unwrap(), rule.body);
        }
    }

    #[test]
    fn patterns_round_trip(text in "[*a-zA-Z0-9./:\\-%\\[\\]ü@ ]{0,20}") {
        fn check<T: std::str::FromStr + std::fmt::Display + PartialEq + std::fmt::Debug>(text: &str) -> Result<(), TestCaseError> {
            if let Ok(value) = text.parse::<T>() {
                let again = value.to_string().parse::<T>().ok();
                prop_assert_eq!(Some(value), again);
            }
            Ok(())
        }
        check::<HostPattern>(&text)?;
        check::<ryokan_model::policy::Host>(&text)?;
        check::<PathPattern>(&format!("/{text}"))?;
        check::<Glob>(&text)?;
        check::<Network>(&text)?;
        check::<PortRange>(&text)?;
        check::<Subject>(&text)?;
        check::<ActionPattern>(&text)?;
    }

    #[test]
    fn a_path_has_one_form(raw in "(/|%2[eE]|\\.|;|%41|a|%2f|%25|%|\\\\|%5c| |é|%c3%a9|\\*){0,12}") {
        if let Some(once) = Path::parse(&format!("/{raw}")).clear() {
            let again = Path::parse(once);
            prop_assert_eq!(again.clear(), Some(once), "{}", raw);
            prop_assert!(once.starts_with('/') && !once.contains("//"));
            prop_assert!(once.split('/').all(|s| s != "." && s != ".."));
            // A path is its own pattern, unless it has stars.
            if !once.contains('*') {
                prop_assert!(once.parse::<PathPattern>().unwrap().fits(once));
            }
            prop_assert!("/**".parse::<PathPattern>().unwrap().fits(once));
        }
    }
}
