//! Asking the policy, and recording the answer: one step. An answer that cannot be recorded is a refusal.

use ryokan_model::policy::{Decision, Level, Request, Verdict};
use ryokan_model::{ApprovalId, AuditId, Millis};
use ryokan_store::audit::AuditRow;

use crate::approvals::{Asked, open_question};
use crate::{App, Error, Result};

/// Texts of the audit are cut there.
const LONGEST: usize = 1024;

/// What a front end asks, and what the audit is to know of it beyond that.
#[derive(Debug, Clone)]
pub struct Question {
    /// `now` is filled in by [`App::judge`].
    pub request: Request,
    /// `user:LOGIN`, `instance:NAME`, `system`.
    pub actor: String,
    /// The name of the credential that would be put in.
    pub credential: Option<String>,
    pub request_id: Option<String>,
    /// Where the request came from.
    pub address: Option<String>,
}

impl Question {
    pub fn new(request: Request, actor: impl Into<String>) -> Self {
        Self { request, actor: actor.into(), credential: None, request_id: None, address: None }
    }
}

/// An answer that is recorded.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// The row of the audit, to be completed by [`App::note_end`].
    pub audit: AuditId,
    pub decision: Decision,
    /// The question to a person that an `ask` has opened, or that was open; none when too much is asked.
    pub approval: Option<ApprovalId>,
}

impl App {
    /// Decides by the rules as they are now, and records it. Only an `Ok` whose decision allows is a leave to act.
    pub async fn judge(&self, mut question: Question) -> Result<Judgement> {
        question.request.now = self.clock.now();
        let decision = self.policies.load().judge(&question.request);
        self.record(question, decision).await
    }

    /// Records a refusal that was decided elsewhere: by an address that a name led to, a limit, a broken request.
    pub async fn record_refusal(&self, mut question: Question, why: impl Into<String>) -> Result<Judgement> {
        question.request.now = self.clock.now();
        let decision = Decision { verdict: Verdict::Deny, rule: None, level: Level::System, why: why.into() };
        self.record(question, decision).await
    }

    async fn record(&self, question: Question, decision: Decision) -> Result<Judgement> {
        let now = question.request.now;
        // What cannot be asked (a path that is ambiguous, too many questions) stays refused all the same.
        let ask = (decision.verdict == Verdict::Ask)
            .then(|| self.new_question(&question, &decision, "").ok())
            .flatten();
        let row = self.audit_row(question, &decision, now);
        let audit = row.id;
        let written = self.store.write(move |tx| {
            tx.insert_audit(&row)?;
            let Some(ask) = ask else { return Ok(None) };
            Ok::<_, Error>(match open_question(tx, ask, now)? {
                Asked::New(approval) | Asked::Again(approval) => Some(approval.id),
                Asked::Not(..) => None,
            })
        });
        let approval = written.await.map_err(|error| Error::AuditUnavailable(error.into()))?;
        Ok(Judgement { audit, decision, approval })
    }

    fn audit_row(&self, question: Question, decision: &Decision, now: Millis) -> AuditRow {
        let Question { request, actor, credential, request_id, address } = question;
        AuditRow {
            id: AuditId::from_parts(now, self.entropy.bytes()),
            at: now,
            actor: cut(actor),
            project: request.who.project,
            instance: request.who.instance,
            task: request.who.task,
            action: request.action.to_string(),
            resource: cut(request.resource.to_string()),
            decision: decision.verdict,
            rule: decision.rule,
            level: decision.level,
            why: cut(decision.why.clone()),
            credential: credential.map(cut),
            request_id: request_id.map(cut),
            address: address.map(cut),
            ended: None,
        }
    }
}

/// Bounded, in one line, and without what a terminal would act on.
fn cut(text: String) -> String {
    let plain = text.len() <= LONGEST && !text.chars().any(char::is_control);
    if plain {
        return text;
    }
    let mut out: String = text.chars().filter(|c| !c.is_control()).collect();
    if out.len() > LONGEST {
        let end = (0..=LONGEST - 3).rev().find(|i| out.is_char_boundary(*i)).unwrap_or(0);
        out.truncate(end);
        out.push('…');
    }
    out
}
