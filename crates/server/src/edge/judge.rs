//! The proxy's questions, put to the policy. What is allowed is in the audit before anything is opened.

use std::net::IpAddr;
use std::sync::Arc;

use ryokan_app::App;
use ryokan_app::policies::Question;
use ryokan_gateway::egress::{self, Ask, Caller, Judgement, Later, Outcome, Rebuff, Record};
use ryokan_model::policy::{
    Action, AgentRole, Host, Http, Path, Request, Resource, Scheme, Target, Verdict, Who, is_public,
};
use ryokan_model::{AuditId, Millis};
use ryokan_store::audit::Ended;

pub(crate) struct PolicyJudge(pub(crate) Arc<App>);

/// Who an instance is to the policy.
pub(crate) fn who(caller: &Caller) -> Who {
    Who {
        project: caller.project.parse().ok(),
        instance: caller.instance.parse().ok(),
        role: Some(AgentRole::Worker),
        ..Who::default()
    }
}

fn target(ask: &Ask, addresses: Option<Vec<IpAddr>>) -> Option<Target> {
    let host: Host = ask.host().to_string().parse().ok()?;
    let http = match ask {
        Ask::Connect { .. } => None,
        Ask::Request { method, scheme, path, .. } => Some(Http {
            scheme: match scheme {
                egress::Scheme::Http => Scheme::Http,
                egress::Scheme::Https => Scheme::Https,
            },
            method: method.as_str().to_ascii_uppercase(),
            path: Path::parse(path),
        }),
    };
    Some(Target { host, port: ask.port(), addresses, http })
}

fn question(caller: &Caller, ask: &Ask, addresses: Option<Vec<IpAddr>>, now: Millis) -> Option<Request> {
    let action = match ask {
        Ask::Connect { .. } => Action::EgressConnect,
        Ask::Request { .. } => Action::EgressRequest,
    };
    Some(Request::new(who(caller), action, Resource::Network(target(ask, addresses)?), now))
}

fn refused(code: &str, why: &str) -> Judgement {
    Judgement::Denied { code: code.to_owned(), sentence: why.to_owned() }
}

impl egress::Judge for PolicyJudge {
    fn judge<'a>(&'a self, caller: &'a Caller, ask: &'a Ask) -> Later<'a, Judgement> {
        Box::pin(async move {
            let Some(request) = question(caller, ask, None, self.0.clock.now()) else {
                return refused("not_a_host", "this is no host that rules could speak of");
            };
            // Decided, and recorded, request by request.
            if self.is_looked_into(caller, ask) && !self.allows(&request) {
                return Judgement::Allowed { record: Record("".into()) };
            }
            let hidden = self.hides_its_path(&request, ask);
            let mut question = Question::new(request, format!("instance:{}", caller.instance));
            question.address = caller.token.split_once('@').map(|(_, source)| source.to_owned());
            if hidden {
                let why = "rules look at the paths of this host, and this one could be read in two ways";
                if let Err(error) = self.0.record_refusal(question, why).await {
                    tracing::error!(error = %error, "a refusal could not be recorded");
                }
                return refused("path_not_plain", why);
            }
            match self.0.judge(question).await {
                Ok(judged) if judged.decision.is_allowed() => {
                    Judgement::Allowed { record: Record(judged.audit.to_string().into()) }
                }
                Ok(judged) if judged.decision.verdict == Verdict::Ask => {
                    refused("approval_needed", &judged.decision.why)
                }
                Ok(judged) => refused("not_allowed", &judged.decision.why),
                Err(error) => {
                    tracing::error!(error = %error, "a decision could not be recorded; refused");
                    refused(
                        "audit_unavailable",
                        "what is allowed cannot be recorded at the moment, so it is refused",
                    )
                }
            }
        })
    }

    fn may_reach(&self, caller: &Caller, ask: &Ask, addresses: &[IpAddr]) -> Option<bool> {
        let now = self.0.clock.now();
        let request = question(caller, ask, Some(addresses.to_vec()), now);
        // What is looked into has no allowance of its own to go by before a request is seen: public addresses only.
        let blind =
            || self.is_looked_into(caller, ask) && addresses.iter().all(|address| is_public(*address));
        Some(request.is_some_and(|request| self.allows(&request)) || blind())
    }

    fn is_still_allowed(&self, caller: &Caller, ask: &Ask) -> bool {
        question(caller, ask, None, self.0.clock.now()).is_some_and(|request| self.allows(&request))
            || self.is_looked_into(caller, ask)
    }

    fn done(&self, record: Record, outcome: Outcome) {
        let Ok(audit) = record.0.parse::<AuditId>() else { return };
        self.0.note_end(
            audit,
            Ended {
                status: (outcome.status > 0).then_some(outcome.status),
                // To the asker, and from it.
                bytes_in: outcome.bytes_out,
                bytes_out: outcome.bytes_in,
                millis: outcome.millis,
            },
        );
    }

    fn rebuffed(&self, rebuff: Rebuff) {
        metrics::counter!("ryokan_egress_rebuffed_total", "code" => rebuff.code).increment(1);
        tracing::info!(code = rebuff.code, source = %rebuff.source, project = %rebuff.door.0, "a request to a door was turned away");
    }
}

impl PolicyJudge {
    /// A path is sent on as it came. Where rules speak of paths it must be in the one form that they are judged in.
    fn hides_its_path(&self, request: &Request, ask: &Ask) -> bool {
        let (Ask::Request { path: raw, .. }, Resource::Network(target)) = (ask, &request.resource) else {
            return false;
        };
        let clear = target.http.as_ref().and_then(|http| http.path.clear());
        clear != Some(raw) && self.0.policies().names_paths(&request.who, target, request.now)
    }

    fn allows(&self, request: &Request) -> bool {
        self.0.policies().judge(request).is_allowed()
    }

    /// Whether it opens a connection whose requests are judged one by one.
    fn is_looked_into(&self, caller: &Caller, ask: &Ask) -> bool {
        let now = self.0.clock.now();
        matches!(ask, Ask::Connect { .. })
            && target(ask, None)
                .is_some_and(|target| self.0.policies().looks_into(&who(caller), &target, now))
    }
}
