//! `ryokan audit`.

use ryokan_api::audit::{AuditEntry, AuditQuery};
use ryokan_api::model::policy::Verdict;
use ryokan_api::model::quantity::Span;

use crate::Context;
use crate::environment::now;
use crate::failure::Outcome;
use crate::output::Tone;
use crate::table::{Column, Table};
use crate::text::{one_line, time};

/// What was asked of the policy, what was decided and why; the newest first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: ryokan audit --instance claw --decision deny --since 1h")]
pub(crate) struct Audit {
    /// Only of this project
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Only of this instance
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// Only of this account
    #[arg(long, value_name = "LOGIN")]
    user: Option<String>,
    /// Only this action, as egress.request
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only what was decided so: allow, deny or ask
    #[arg(long, value_name = "DECISION")]
    decision: Option<Verdict>,
    /// Only resources that begin so, as `GET https://api.github.com/`
    #[arg(long, value_name = "TEXT")]
    resource: Option<String>,
    /// Only from so long ago, as 1h
    #[arg(long, value_name = "TIME")]
    since: Option<Span>,
    /// At most this many (100 when absent)
    #[arg(long, value_name = "COUNT", conflicts_with = "export")]
    limit: Option<u32>,
    /// All that match, as JSON, one a line
    #[arg(long)]
    export: bool,
}

impl Audit {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        let mut query = AuditQuery {
            project: self.project,
            instance: self.instance,
            user: self.user,
            action: self.action,
            decision: self.decision,
            resource: self.resource,
            since: self.since.map(ago),
            ..AuditQuery::default()
        };
        if self.export {
            let mut entries = client.export_audit(&query).await?;
            while let Some(entry) = entries.next().await? {
                cx.out.json_line(&entry)?;
            }
            return Ok(());
        }
        let mut left = self.limit.unwrap_or(100);
        let mut any = false;
        let mut table =
            Table::new(&cx.out, &["TIME", "ACTOR", "ACTION", "RESOURCE", "DECISION", "STATUS", "WHY"]);
        while left > 0 {
            query.limit = Some(left.min(500));
            let page = client.audit(&query).await?;
            left = left.saturating_sub(u32::try_from(page.items.len()).unwrap_or(u32::MAX));
            any |= !page.items.is_empty();
            for entry in &page.items {
                if cx.out.json {
                    cx.out.json_line(entry)?;
                } else {
                    table.row(row(entry));
                }
            }
            let Some(next) = page.next else { break };
            query.after = Some(next);
        }
        match (cx.out.json, any) {
            (true, _) => Ok(()),
            (false, true) => table.print(&cx.out),
            (false, false) => {
                cx.out.note("Nothing is recorded that fits.");
                Ok(())
            }
        }
    }
}

/// UTC milliseconds.
fn ago(span: Span) -> i64 {
    now().0.saturating_sub(i64::try_from(span.duration().as_millis()).unwrap_or(i64::MAX))
}

fn row(entry: &AuditEntry) -> [Column; 7] {
    let status = entry.ended.as_ref().and_then(|ended| ended.status);
    let tone = if entry.decision == Verdict::Allow { Tone::Plain } else { Tone::Bad };
    [
        time(entry.at).into(),
        one_line(&entry.actor).into(),
        entry.action.as_str().into(),
        one_line(&entry.resource).into(),
        Column::new(entry.decision.as_str(), tone),
        status.map_or_else(|| "-".to_owned(), |status| status.to_string()).into(),
        one_line(&entry.why).into(),
    ]
}
