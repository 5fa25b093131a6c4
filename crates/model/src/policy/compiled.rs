//! One rule made ready to be asked, and whether it fits a request.

use super::conditions::Budget;
use super::request::{Http, Request, Resource, Target};
use super::window::CompiledWindow;
use super::{
    Action, ActionPattern, Effect, HostPattern, Level, Path, Resources, Rule, Scope, Subject, Who, is_public,
};
use crate::{Millis, RuleId};

#[derive(Debug, Clone)]
pub(super) struct Compiled {
    pub(super) id: RuleId,
    pub(super) scope: Scope,
    pub(super) effect: Effect,
    pub(super) grant: bool,
    pub(super) note: String,
    pub(super) action: ActionPattern,
    pub(super) subject: Subject,
    pub(super) resources: Resources,
    window: Times,
    tainted: Option<bool>,
    budget: Option<Budget>,
    until: Option<Millis>,
}

#[derive(Debug, Clone)]
enum Times {
    All,
    Within(CompiledWindow),
    /// Of a zone that this build does not know.
    Unknown,
}

impl Compiled {
    pub(super) fn new(rule: &Rule) -> Self {
        let body = &rule.body;
        Self {
            id: rule.id,
            scope: rule.scope,
            effect: body.effect,
            grant: rule.grant && body.effect == Effect::Allow,
            note: body.note.clone(),
            action: body.action,
            subject: body.subject,
            resources: body.resources.clone(),
            window: match body.conditions.window.as_ref().map(super::Window::compile) {
                None => Times::All,
                Some(Some(window)) => Times::Within(window),
                Some(None) => Times::Unknown,
            },
            tainted: body.conditions.tainted,
            budget: body.conditions.budget.clone(),
            until: body.conditions.until,
        }
    }

    pub(super) const fn level(&self) -> Level {
        self.scope.level()
    }

    /// What a request must be about for the rule to fit, if it is one of a few names.
    pub(super) fn exact(&self) -> Option<Vec<&str>> {
        let Resources { hosts, names, .. } = &self.resources;
        let exact_hosts = hosts.iter().map(|host| match host {
            HostPattern::Exact(name) => Some(name.as_str()),
            _ => None,
        });
        let exact: Option<Vec<&str>> = exact_hosts.chain(names.iter().map(super::Glob::exact)).collect();
        exact.filter(|names| !names.is_empty())
    }

    /// For everything but the action, which the index has looked at.
    pub(super) fn fits(&self, request: &Request) -> bool {
        self.concerns(&request.who, request.now)
            && self.conditions_hold(request)
            && match &request.resource {
                Resource::Named(name) => {
                    self.resources.names.is_empty() || self.resources.names.iter().any(|glob| glob.fits(name))
                }
                Resource::Network(target) => self.fits_target(target),
            }
    }

    /// Whether it is in force for somebody at all.
    pub(super) fn concerns(&self, who: &Who, now: Millis) -> bool {
        self.until.is_none_or(|until| now < until) && self.scope.fits(who) && self.subject.fits(who)
    }

    /// Whether it must see the requests of a connection to be decided.
    pub(super) fn looks_into(&self, target: &Target) -> bool {
        self.action.fits(Action::EgressRequest) && self.resources.looks_inside() && self.fits_place(target)
    }

    pub(super) fn names_paths(&self, target: &Target) -> bool {
        !self.resources.paths.is_empty() && self.looks_into(target)
    }

    fn conditions_hold(&self, request: &Request) -> bool {
        let unsure = self.effect.restricts();
        let window = match &self.window {
            Times::All => true,
            Times::Within(window) => window.contains(request.now),
            Times::Unknown => unsure,
        };
        let budget = match &self.budget {
            None => true,
            Some(budget) => request.budgets.get(&budget.name).map_or(unsure, |left| *left >= budget.at_least),
        };
        window && budget && self.tainted.is_none_or(|tainted| tainted == request.tainted)
    }

    fn fits_place(&self, target: &Target) -> bool {
        let Resources { hosts, ports, .. } = &self.resources;
        (hosts.is_empty() || hosts.iter().any(|pattern| pattern.fits(&target.host)))
            && (ports.is_empty() || ports.iter().any(|range| range.contains(target.port)))
    }

    fn fits_target(&self, target: &Target) -> bool {
        self.fits_place(target) && self.fits_addresses(target) && self.fits_http(target.http.as_ref())
    }

    fn fits_addresses(&self, target: &Target) -> bool {
        let Resources { hosts, addresses, .. } = &self.resources;
        let restricts = self.effect.restricts();
        let literal = target.host.address();
        let known = literal.as_ref().map(std::slice::from_ref).or(target.addresses.as_deref());
        let inside = |address: &std::net::IpAddr| addresses.iter().any(|network| network.contains(*address));
        match known {
            _ if addresses.is_empty() && restricts => true,
            Some(known) if addresses.is_empty() => !known.is_empty() && known.iter().all(|a| is_public(*a)),
            Some(known) if restricts => known.iter().any(inside),
            Some(known) => !known.is_empty() && known.iter().all(inside),
            None if addresses.is_empty() => true,
            // It is asked again once the addresses are known.
            None if restricts => false,
            // Looking a name up tells others of it: that takes a rule that names it.
            None => hosts.iter().any(|host| *host != HostPattern::Any && host.fits(&target.host)),
        }
    }

    fn fits_http(&self, http: Option<&Http>) -> bool {
        let Resources { schemes, methods, paths, .. } = &self.resources;
        if !self.resources.looks_inside() {
            return true;
        }
        let restricts = self.effect.restricts();
        let Some(http) = http else { return restricts };
        let method =
            |m: &String| if restricts { m.eq_ignore_ascii_case(&http.method) } else { *m == http.method };
        (schemes.is_empty() || schemes.contains(&http.scheme))
            && (methods.is_empty() || methods.iter().any(method))
            && (paths.is_empty()
                || match &http.path {
                    Path::Clear(path) => paths.iter().any(|pattern| pattern.fits(path)),
                    Path::Ambiguous(_) => restricts,
                })
    }
}
