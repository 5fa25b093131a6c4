//! `ask`: the same question is one question however often it is asked, and nobody may ask too much.

use std::time::Duration;

use ryokan_model::policy::{
    Action, Decision, Effect, HostPattern, Level, Network, PathPattern, PortRange, Request, Resource,
    Resources, RuleBody, Subject, Verdict,
};
use ryokan_model::{ApprovalId, Invalid, Millis};
use ryokan_store::Tx;
use ryokan_store::approvals::{Approval, ApprovalState};
use serde_json::json;

use crate::policies::Question;
use crate::{App, Error, Result, events};

/// After that nobody is asked any more.
const PATIENCE: Duration = Duration::from_hours(24);
/// What was refused is not asked again before.
const REFUSED: Duration = Duration::from_hours(1);
/// Of one asker: open at a time, and new ones in an hour.
const MOST_OPEN: i64 = 20;
const MOST_AN_HOUR: i64 = 60;
/// Of its words.
const LONGEST_REASON: usize = 500;

/// What an agent wants, in its own words.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub question: Question,
    pub reason: String,
}

/// What came of asking.
#[derive(Debug)]
pub(crate) enum Asked {
    New(Box<Approval>),
    Again(Box<Approval>),
    /// Not asked: why, for the asker, and for how many seconds.
    Not(String, u64),
}

impl App {
    /// Asks a person for what is not allowed. What a rule refuses cannot be asked for, and what is allowed need not be.
    pub async fn request_approval(&self, wanted: Wanted) -> Result<Approval> {
        let Wanted { mut question, reason } = wanted;
        let now = self.clock.now();
        question.request.now = now;
        let decision = self.policies().judge(&question.request);
        let new = self.new_question(&question, &decision, &reason)?;
        let asked = self.store.write(move |tx| open_question(tx, new, now)).await?;
        match asked {
            Asked::New(approval) | Asked::Again(approval) => Ok(*approval),
            Asked::Not(message, retry_after) => Err(Error::TooManyRequests { message, retry_after }),
        }
    }

    /// The question that a decision leaves to a person.
    pub(crate) fn new_question(
        &self,
        question: &Question,
        decision: &Decision,
        reason: &str,
    ) -> Result<Approval> {
        let request = &question.request;
        match (decision.verdict, decision.rule) {
            (Verdict::Allow, _) => return Err(Error::Conflict("it is allowed already".into())),
            (Verdict::Deny, Some(_)) => {
                return Err(Error::Forbidden(format!("nobody is asked for that: {}", decision.why)));
            }
            (Verdict::Deny, None) | (Verdict::Ask, _) => {}
        }
        let who = &request.who;
        // Without a project only the system can answer.
        let level = if who.project.is_none() { Level::System } else { decision.level };
        let subject = who
            .instance
            .map(Subject::Instance)
            .or(who.task.map(Subject::Task))
            .or(who.user.map(Subject::User));
        let subject = subject.ok_or_else(|| Error::invalid("who", "nobody knows who asks"))?;
        let (resource, now) = (request.resource.to_string(), request.now);
        Ok(Approval {
            id: ApprovalId::from_parts(now, self.entropy.bytes()),
            question: format!("{subject} {} {level} {resource}", request.action),
            state: ApprovalState::Open,
            level,
            actor: question.actor.clone(),
            project: who.project,
            instance: who.instance,
            task: who.task,
            user: who.user,
            action: request.action.to_string(),
            resource,
            body: grant(request, subject)?,
            reason: plain(reason),
            times: 1,
            asked_at: now,
            expires_at: now.plus(PATIENCE),
            decided_by: None,
            decided_at: None,
            until: None,
            rule: None,
        })
    }
}

/// The rule that would allow this, and nothing else.
fn grant(request: &Request, subject: Subject) -> Result<RuleBody> {
    let only = |text: &str| {
        if text.contains('*') {
            return Err(Error::invalid("resource", "has a `*`, which a rule would take for anything"));
        }
        Ok(text.to_owned())
    };
    let resources = match &request.resource {
        Resource::Named(name) => Resources { names: vec![only(name)?.parse()?], ..Resources::default() },
        Resource::Network(target) => {
            let mut resources =
                Resources { ports: vec![PortRange::one(target.port)], ..Resources::default() };
            match target.host.address() {
                Some(address) => resources.addresses.push(address.to_string().parse::<Network>()?),
                None => resources.hosts.push(target.host.to_string().parse::<HostPattern>()?),
            }
            if let Some(http) = &target.http
                && request.action != Action::EgressConnect
            {
                let path = http.path.clear().ok_or_else(|| {
                    Error::invalid("resource", "has a path that servers would read in different ways")
                })?;
                resources.schemes.push(http.scheme);
                resources.methods.push(http.method.clone());
                resources.paths.push(only(path)?.parse::<PathPattern>()?);
            }
            resources
        }
    };
    let body = RuleBody {
        effect: Effect::Allow,
        action: ryokan_model::policy::ActionPattern::One(request.action),
        subject,
        resources,
        conditions: ryokan_model::policy::Conditions::default(),
        note: String::new(),
    };
    body.validate().map_err(|invalid: Invalid| Error::invalid("resource", invalid.problem))?;
    Ok(body)
}

/// Opens the question, or counts it once more. Whoever asks too much is told to wait.
pub(crate) fn open_question(tx: &mut Tx<'_>, new: Approval, now: Millis) -> Result<Asked> {
    tx.lock(&format!("approval:{}", new.question))?;
    if let Some(open) = tx.ask_again(&new.question, now)? {
        return Ok(Asked::Again(Box::new(open)));
    }
    let before =
        |span: Duration| Millis(now.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)));
    if let Some(at) = tx.refused_since(&new.question, before(REFUSED))? {
        let wait = at.plus(REFUSED).since(now).as_secs() + 1;
        return Ok(Asked::Not("a person has refused that; it can be asked again later".into(), wait));
    }
    let hour = Duration::from_hours(1);
    let (open, asked) = tx.count_asked(&new.actor, before(hour))?;
    if open >= MOST_OPEN || asked >= MOST_AN_HOUR {
        return Ok(Asked::Not(
            format!(
                "too many questions: at most {MOST_OPEN} may be open, and {MOST_AN_HOUR} asked in an hour"
            ),
            hour.as_secs() / 6,
        ));
    }
    // One that lapsed a moment ago and is not marked so yet would stand in the way.
    for lapsed in tx.expire_approvals(now, 100)? {
        super::expire::tell(tx, &lapsed, now)?;
    }
    tx.insert_approval(&new)?;
    let data = json!({"action": new.action, "resource": new.resource, "level": new.level, "reason": new.reason,
        "instance": new.instance, "actor": new.actor, "expires_at": new.expires_at});
    let id = new.id.to_string();
    events::system(tx, now, "approval.asked", "approval", &id, "", new.project, data)?;
    Ok(Asked::New(Box::new(new)))
}

/// One bounded line without what a terminal or a page would act on.
fn plain(text: &str) -> String {
    let spaced = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c });
    // Marks that turn the direction of writing can make a text read as another.
    let turns = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let mut out = String::new();
    for c in spaced.filter(|c| !c.is_control() && !turns(*c)) {
        if out.len() + c.len_utf8() > LONGEST_REASON {
            break;
        }
        out.push(c);
    }
    out.trim().to_owned()
}
