//! Custom domains: what is a domain that may be added, which records prove whose it is, and what becomes of it by what
//! DNS says.
//!
//! Pure. A finding of DNS and a time give the next standing; a proof that cannot be looked up is never a proof that is
//! missing, and nothing that works is taken away before it has been wrong for days.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Invalid, Millis, ProjectId};

/// A domain in its ASCII form, lower case, with a dot inside, never an address or below `localhost`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, example = "agent.example.com"))]
pub struct DomainName(String);

/// Leaves room for `mandala_project.` in the 253 characters that DNS has.
const LONGEST: usize = 230;

impl DomainName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `zone` or a name below it.
    pub fn is_within(&self, zone: &str) -> bool {
        let zone = zone.trim_end_matches('.');
        let (name, zone) = (self.0.as_bytes(), zone.as_bytes());
        let Some(at) = name.len().checked_sub(zone.len()) else { return false };
        !zone.is_empty()
            && name[at..].eq_ignore_ascii_case(zone)
            && (at == 0 || name.get(at - 1) == Some(&b'.'))
    }
}

impl FromStr for DomainName {
    type Err = Invalid;

    /// Takes any case, one dot at the end, and letters beyond ASCII.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let no = |why: &str| Err(Invalid::new("domain", why));
        if text.len() > 1024 {
            return no("is too long");
        }
        if text.contains('*') {
            return no("must be one domain: wildcards cannot be added");
        }
        if text.contains("://") || text.contains('/') || text.contains(':') {
            return no(
                "must be a bare domain as in \"agent.example.com\", without a scheme, a port or a path",
            );
        }
        let Ok(ascii) = idna::domain_to_ascii_cow(text.as_bytes(), idna::AsciiDenyList::STD3) else {
            return no("is not a domain as in \"agent.example.com\"");
        };
        let name = ascii.strip_suffix('.').unwrap_or(&ascii);
        let label = |l: &str| !l.is_empty() && l.len() <= 63 && !l.starts_with('-') && !l.ends_with('-');
        if !name.split('.').all(label) {
            return no("is not a domain as in \"agent.example.com\"");
        }
        if name.len() > LONGEST {
            return no("is too long: a domain may have 230 characters");
        }
        let last = name.rsplit('.').next().unwrap_or_default();
        if !name.contains('.') || last == "localhost" {
            return no("must be a public domain as in \"agent.example.com\"");
        }
        // No top-level domain is a number; what ends in one is an address to browsers, however it is written.
        if last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") {
            return no("must be a name, not an address");
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DomainName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How far a domain has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = DomainState))]
pub enum State {
    /// Its record has not been seen. Several projects may wait for the same domain.
    Pending,
    /// Its record was seen, and the domain belongs to this project alone; the gateway takes it up next.
    Verified,
    /// The gateway serves it.
    Active,
    /// Its record did not come, or has been wrong for days; not served. It can be checked or added again.
    Failed,
}

impl State {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Verified => "verified",
            Self::Active => "active",
            Self::Failed => "failed",
        }
    }

    /// Whether it is its project's alone, and served.
    pub const fn holds(self) -> bool {
        matches!(self, Self::Verified | Self::Active)
    }
}

impl FromStr for State {
    type Err = Invalid;
    fn from_str(s: &str) -> Result<Self, Invalid> {
        [Self::Pending, Self::Verified, Self::Active, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == s)
            .ok_or_else(|| Invalid::new("state", "is none: pending, verified, active or failed"))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One TXT record that would prove a domain: any of the values at the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub name: String,
    /// The first one is what we tell people to set.
    pub values: Vec<String>,
}

impl Proof {
    pub fn is_shown_by(&self, texts: &[String]) -> bool {
        texts.iter().any(|text| self.values.iter().any(|value| value == text.trim()))
    }
}

/// The records of which any one is enough: ours, and Mandala's, whose last word names a part of the deployment.
pub fn proofs(domain: &DomainName, token: &str, project: ProjectId, frontend: bool) -> [Proof; 2] {
    let mandala = |part: &str| format!("mandala-project-verification={}:{part}", project.0.simple());
    let parts: &[&str] = if frontend { &["frontend"] } else { &["agent", "backend"] };
    [
        Proof { name: format!("_ryokan.{domain}"), values: vec![format!("ryokan-verification={token}")] },
        Proof {
            name: format!("mandala_project.{domain}"),
            values: parts.iter().map(|part| mandala(part)).collect(),
        },
    ]
}

/// What DNS says about the proofs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    Proven,
    /// For certain not there: why, for people.
    Wrong(String),
    /// Nobody could say.
    Unknown(String),
}

/// Where a domain stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub state: State,
    /// Why it is not what its owner wants, if so.
    pub reason: Option<String>,
    /// Since when it waits.
    pub since: Millis,
    pub last_check: Option<Millis>,
    /// `None`: not by itself.
    pub next_check: Option<Millis>,
    /// Since when its record has been wrong at every check that got an answer.
    pub wrong_since: Option<Millis>,
    pub wrong_checks: u32,
}

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// A record that has not come by then is not waited for any longer.
pub const PATIENCE: Duration = Duration::from_hours(7 * 24);
/// What was proven and is wrong for so long, at so many checks, fails.
pub const GRACE: Duration = Duration::from_hours(3 * 24);
const GRACE_CHECKS: u32 = 12;

impl Standing {
    /// Newly added: checked at once.
    pub fn new(now: Millis) -> Self {
        Self {
            state: State::Pending,
            reason: None,
            since: now,
            last_check: None,
            next_check: Some(now),
            wrong_since: None,
            wrong_checks: 0,
        }
    }

    /// After a check at `now`. `taken`: another project holds the domain.
    #[must_use]
    pub fn after(&self, finding: &Finding, taken: bool, now: Millis) -> Self {
        let mut next = Self { last_check: Some(now), ..self.clone() };
        match finding {
            Finding::Proven if taken && !self.state.holds() => {
                next.reason = Some(
                    "the record is right, but the domain is served for another project; it is free once that one removes it, or its record has been gone for three days".into(),
                );
            }
            Finding::Proven => {
                if !self.state.holds() {
                    next.state = State::Verified;
                    next.since = now;
                }
                (next.reason, next.wrong_since, next.wrong_checks) = (None, None, 0);
            }
            Finding::Wrong(why) => {
                next.reason = Some(why.clone());
                next.wrong_since = Some(self.wrong_since.unwrap_or(now));
                next.wrong_checks = self.wrong_checks.saturating_add(1);
            }
            Finding::Unknown(why) => next.reason = Some(why.clone()),
        }
        let wrong_for = next.wrong_since.map_or(Duration::ZERO, |since| now.since(since));
        let lapsed = self.state.holds()
            && matches!(finding, Finding::Wrong(_))
            && wrong_for >= GRACE
            && next.wrong_checks >= GRACE_CHECKS;
        let given_up = next.state == State::Pending && now.since(self.since) >= PATIENCE;
        if lapsed || given_up {
            next.state = State::Failed;
        }
        next.next_check = match next.state {
            State::Failed => None,
            State::Pending => Some(now.plus(pending_wait(now.since(self.since)))),
            State::Verified | State::Active if next.reason.is_none() => Some(now.plus(DAY)),
            State::Verified | State::Active => Some(now.plus(HOUR)),
        };
        next
    }
}

/// Quickly while somebody waits at the screen, then ever more seldom.
fn pending_wait(age: Duration) -> Duration {
    if age < 10 * MINUTE {
        MINUTE / 2
    } else if age < HOUR {
        2 * MINUTE
    } else if age < 6 * HOUR {
        15 * MINUTE
    } else if age < DAY {
        HOUR
    } else {
        4 * HOUR
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> String {
        match text.parse::<DomainName>() {
            Ok(name) => name.to_string(),
            Err(invalid) => format!("no: {}", invalid.problem),
        }
    }

    #[test]
    fn domains_are_brought_to_one_form() {
        assert_eq!(parsed("Agent.Example.COM."), "agent.example.com");
        assert_eq!(parsed("bücher.example"), "xn--bcher-kva.example");
        assert_eq!(parsed("BÜCHER.example"), "xn--bcher-kva.example");
        assert_eq!(parsed("xn--bcher-kva.example"), "xn--bcher-kva.example");
        assert_eq!(parsed("a.b"), "a.b");
    }

    #[test]
    fn what_is_no_domain_of_somebody_is_refused() {
        let long = format!("{}.example.com", ["a".repeat(60).as_str(); 4].join("."));
        for text in [
            "",
            ".",
            "..",
            "com",
            "localhost",
            "a.localhost",
            "*.example.com",
            "https://example.com",
            "example.com/x",
            "example.com:80",
            "127.0.0.1",
            "0x7f.0x1",
            "a.0x7f",
            "[::1]",
            "a..b",
            "-a.example.com",
            "a-.example.com",
            "a_b.example.com",
            "a b.example.com",
            "a\0.example.com",
            "xn--zzzzzz99999.example",
            "example.com..",
            "user@example.com",
            &long,
            &"a".repeat(2000),
        ] {
            assert!(parsed(text).starts_with("no: "), "{text:?} is {}", parsed(text));
        }
    }

    #[test]
    fn a_zone_has_what_is_below_it() {
        let name = |text: &str| text.parse::<DomainName>().unwrap();
        assert!(name("agents.example.com").is_within("agents.example.com"));
        assert!(name("a.b.agents.example.com").is_within("Agents.example.com."));
        assert!(!name("example.com").is_within("agents.example.com"));
        assert!(!name("myagents.example.com").is_within("agents.example.com"));
        assert!(!name("example.com").is_within(""));
    }

    #[test]
    fn any_one_of_the_records_is_enough() {
        let project = ProjectId::from_parts(Millis(5), [7; 10]);
        let domain: DomainName = "a.example.com".parse().unwrap();
        let [ours, mandala] = proofs(&domain, "tok", project, false);
        assert_eq!(ours.name, "_ryokan.a.example.com");
        assert!(ours.is_shown_by(&["v=spf1".into(), " ryokan-verification=tok ".into()]));
        assert!(!ours.is_shown_by(&["ryokan-verification=tok2".into(), "ryokan-verification=TOK".into()]));
        let id = project.0.simple().to_string();
        assert_eq!(mandala.name, "mandala_project.a.example.com");
        assert_eq!(id.len(), 32);
        for (part, good) in [("agent", true), ("backend", true), ("frontend", false), ("", false)] {
            let text = format!("mandala-project-verification={id}:{part}");
            assert_eq!(mandala.is_shown_by(std::slice::from_ref(&text)), good, "{part}");
            let [_, frontend] = proofs(&domain, "tok", project, true);
            assert_eq!(frontend.is_shown_by(&[text]), part == "frontend", "{part}");
        }
    }

    #[test]
    fn a_proven_domain_outlives_three_days_of_wrong_answers_but_no_more() {
        let start = Millis(1_000_000);
        let mut standing = Standing::new(start).after(&Finding::Proven, false, start);
        assert_eq!((standing.state, standing.next_check), (State::Verified, Some(start.plus(DAY))));
        standing.state = State::Active;
        let wrong = Finding::Wrong("gone".into());
        let mut now = start.plus(DAY);
        let first = now;
        while now.since(first) < GRACE {
            standing = standing.after(&wrong, false, now);
            assert_eq!(standing.state, State::Active);
            assert_eq!(standing.next_check, Some(now.plus(HOUR)));
            now = now.plus(HOUR);
        }
        // A server that does not answer at the very end proves nothing.
        assert_eq!(standing.after(&Finding::Unknown("timeout".into()), false, now).state, State::Active);
        let healed = standing.after(&Finding::Proven, false, now);
        assert_eq!((healed.state, healed.wrong_since, healed.wrong_checks), (State::Active, None, 0));
        let failed = standing.after(&wrong, false, now);
        assert_eq!((failed.state, failed.next_check), (State::Failed, None));
        assert_eq!(failed.after(&Finding::Proven, false, now).state, State::Verified);
    }

    #[test]
    fn two_wrong_answers_three_days_apart_are_not_enough() {
        let start = Millis(1_000_000);
        let wrong = Finding::Wrong("gone".into());
        let proven = Standing::new(start).after(&Finding::Proven, false, start);
        let standing = proven.after(&wrong, false, start).after(&wrong, false, start.plus(2 * GRACE));
        assert_eq!(standing.state, State::Verified);
    }

    fn finding() -> impl Strategy<Value = Finding> {
        prop_oneof![
            Just(Finding::Proven),
            Just(Finding::Wrong("w".into())),
            Just(Finding::Unknown("u".into()))
        ]
    }

    proptest! {
        #[test]
        fn parsing_is_stable_and_bounded(text in "\\PC{0,40}(\\.\\PC{1,20}){0,3}") {
            if let Ok(name) = text.parse::<DomainName>() {
                prop_assert!(name.as_str().len() <= LONGEST);
                prop_assert!(name.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.'));
                prop_assert_eq!(name.as_str().parse::<DomainName>(), Ok(name.clone()));
            }
        }

        #[test]
        fn a_standing_keeps_its_rules(steps in prop::collection::vec((finding(), any::<bool>(), 0u64..200_000), 1..60)) {
            let mut now = Millis(1_000_000);
            let mut standing = Standing::new(now);
            let mut last_good = now;
            for (finding, taken, seconds) in steps {
                now = now.plus(Duration::from_secs(seconds));
                let next = standing.after(&finding, taken, now);
                if finding == Finding::Proven { last_good = now; }
                // Nothing but a proof brings a domain to its project, and never while another holds it.
                if next.state.holds() && !standing.state.holds() {
                    prop_assert!(finding == Finding::Proven && !taken);
                }
                if standing.state.holds() && !next.state.holds() {
                    prop_assert!(matches!(finding, Finding::Wrong(_)));
                    prop_assert!(now.since(last_good) >= GRACE);
                }
                if standing.state == State::Pending && next.state == State::Failed {
                    prop_assert!(now.since(standing.since) >= PATIENCE);
                }
                prop_assert_eq!(next.next_check.is_none(), next.state == State::Failed);
                prop_assert!(next.next_check.is_none_or(|at| at > now && at.since(now) <= DAY));
                standing = next;
            }
        }
    }
}
