//! Whether a rule can ever have effect, given the rules above it. A hint for people: it may say yes of one that never has.

use super::compiled::Compiled;
use super::{Effect, Level, PolicySet, Resources, Rule, Scope, Subject};

impl PolicySet {
    /// Why a rule can never have effect, if that is certain.
    pub fn idle(&self, rule: &Rule) -> Option<String> {
        let level = rule.scope.level();
        if rule.body.effect == Effect::Deny {
            return None;
        }
        if rule.body.effect == Effect::Delegate && level == Level::Instance {
            return Some("there is no level below an instance to leave anything to".to_owned());
        }
        let rule = Compiled::new(rule);
        let above = Level::ALL.into_iter().filter(|above| *above < level);
        for above in above {
            let mut opening = self
                .rules
                .iter()
                .filter(|other| {
                    other.level() == above && spans(other.scope, rule.scope) && meets(other, &rule)
                })
                .map(|other| other.effect)
                .filter(|effect| *effect != Effect::Deny)
                .peekable();
            let opens = opening.peek().is_some();
            // What is allowed above can be narrowed at any level below.
            if opening.any(|effect| effect == Effect::Allow) {
                return None;
            }
            if !opens {
                let (above, what) = match above {
                    Level::System => ("system", "only operators can change that"),
                    Level::Project | Level::Instance => ("project", "its admins can change that"),
                };
                return Some(format!(
                    "it has no effect for now: no rule of the {above} allows this or leaves it to lower levels; {what}"
                ));
            }
        }
        None
    }
}

/// Whether what is below `lower` is below `upper` too.
fn spans(upper: Scope, lower: Scope) -> bool {
    upper.project().is_none_or(|project| lower.project() == Some(project))
}

fn meets(a: &Compiled, b: &Compiled) -> bool {
    a.action.actions().any(|action| b.action.fits(action))
        && subjects(a.subject, b.subject)
        && resources(&a.resources, &b.resources)
        && addresses(a, b)
}

/// What allows or delegates without naming addresses is about public ones.
fn addresses(upper: &Compiled, lower: &Compiled) -> bool {
    let (above, below) = (&upper.resources.addresses, &lower.resources.addresses);
    let public = above.is_empty() && !upper.effect.restricts();
    !public || below.is_empty() || below.iter().any(super::Network::may_be_public)
}

/// Whether one asker may be both.
fn subjects(a: Subject, b: Subject) -> bool {
    a == b || std::mem::discriminant(&a) != std::mem::discriminant(&b) || matches!(a, Subject::Group(_))
}

fn resources(a: &Resources, b: &Resources) -> bool {
    fn lists<T>(a: &[T], b: &[T], meets: impl Fn(&T, &T) -> bool) -> bool {
        a.is_empty() || b.is_empty() || a.iter().any(|a| b.iter().any(|b| meets(a, b)))
    }
    lists(&a.hosts, &b.hosts, super::HostPattern::meets)
        && lists(&a.addresses, &b.addresses, super::Network::meets)
        && lists(&a.ports, &b.ports, |a, b| a.meets(*b))
        && lists(&a.schemes, &b.schemes, |a, b| a == b)
        && lists(&a.methods, &b.methods, |a, b| a == b)
        && lists(&a.names, &b.names, super::Glob::meets)
}
