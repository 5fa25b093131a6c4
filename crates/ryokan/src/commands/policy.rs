//! `ryokan policy`.

use clap::Subcommand;
use ryokan_api::client::Client;
use ryokan_api::model::policy::{Action as What, ActionPattern, Conditions, Effect, Level, Resources};
use ryokan_api::model::quantity::Span;
use ryokan_api::policy::{CreateRule, Explain, Explanation, Rule, RuleQuery};

use crate::Context;
use crate::environment::now;
use crate::failure::{Failure, Outcome};
use crate::output::Tone;
use crate::table::{Column, Table};
use crate::text::{one_line, time};

/// Who may do what: rules of the system, of projects and of instances.
#[derive(Debug, clap::Args)]
pub(crate) struct Policy {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List rules
    List {
        #[command(flatten)]
        of: Of,
    },
    /// Add a rule
    #[command(
        after_help = "Example: ryokan policy add --project team allow egress.request --host api.github.com --method GET"
    )]
    Add(Box<Add>),
    /// Take rules away
    Rm {
        /// Ids
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Say which rule would decide, and why
    #[command(
        after_help = "Example: ryokan policy explain --instance claw --action egress.request --resource 'GET https://api.github.com/user'"
    )]
    Explain {
        /// Who would ask; you when absent
        #[arg(long, value_name = "NAME")]
        instance: Option<String>,
        /// What it would do
        #[arg(long, value_name = "ACTION")]
        action: What,
        /// To what: `GET https://host/path`, host:port, or a name
        #[arg(long, value_name = "RESOURCE")]
        resource: String,
        /// Supposing that it has read what nobody vouches for
        #[arg(long)]
        tainted: bool,
    },
}

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Of {
    /// Of a project (and listed, of the instances in it)
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Of an instance
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// Of the system; for operators
    #[arg(long)]
    system: bool,
}

#[derive(Debug, clap::Args)]
struct Add {
    #[command(flatten)]
    of: Of,
    /// allow, deny, ask or delegate
    #[arg(required_unless_present = "file")]
    effect: Option<Effect>,
    /// As egress.request, or all that begin so, as egress.*
    #[arg(required_unless_present = "file")]
    action: Option<ActionPattern>,
    /// A JSON file with the whole rule; - reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["effect", "action", "subject", "host", "address", "port", "method", "path", "name", "lasts", "note", "project", "instance", "system"])]
    file: Option<std::path::PathBuf>,
    /// everybody, or user:, group:, project:, instance: with a name, or role:worker
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// api.github.com, or *.github.com for what is below it
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// Range of addresses, as 10.0.0.0/8
    #[arg(long, value_name = "RANGE")]
    address: Vec<String>,
    /// Port, or range as 8000-8100
    #[arg(long, value_name = "PORT")]
    port: Vec<String>,
    /// In upper case
    #[arg(long, value_name = "METHOD")]
    method: Vec<String>,
    /// As /repos/*/issues or /v1/**
    #[arg(long, value_name = "PATH")]
    path: Vec<String>,
    /// Model, tool, credential, repository and the like; * stands for any characters
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// For so long, as 2h
    #[arg(long = "for", value_name = "TIME")]
    lasts: Option<Span>,
    /// Why it is there
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

impl Policy {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        match self.action {
            Action::List { of } => list(cx, &client, of).await,
            Action::Add(add) => {
                let rule = client.create_rule(&add.request()?).await?;
                if cx.out.json {
                    return cx.out.json(&rule);
                }
                if let Some(warning) = &rule.warning {
                    cx.out.warn(&one_line(warning));
                }
                cx.out.line(rule.id.to_string())
            }
            Action::Rm { ids } => {
                for id in ids {
                    let gone = client.delete_rule(&id).await;
                    gone.map_err(|e| Failure::from(e).missing("`ryokan policy list` shows rules"))?;
                    cx.out.note(format!("Rule {} is gone.", one_line(&id)));
                }
                Ok(())
            }
            Action::Explain { instance, action, resource, tainted } => {
                let request = Explain {
                    instance,
                    action,
                    resource,
                    role: None,
                    tainted,
                    budgets: std::collections::BTreeMap::new(),
                    at: None,
                    addresses: None,
                };
                let told = client.explain_policy(&request).await;
                explain(cx, &told.map_err(|e| Failure::from(e).missing(super::NO_INSTANCE))?)
            }
        }
    }
}

impl Add {
    fn request(self) -> Result<CreateRule, Failure> {
        if let Some(file) = self.file {
            let text = if file.as_os_str() == "-" {
                std::io::read_to_string(std::io::stdin())
            } else {
                std::fs::read_to_string(&file)
            };
            let text = text.map_err(|e| Failure::usage(format!("{} cannot be read: {e}", file.display())))?;
            return serde_json::from_str(&text)
                .map_err(|e| Failure::usage(format!("{} is no rule: {e}", file.display())));
        }
        let (Some(effect), Some(action)) = (self.effect, self.action) else {
            return Err(Failure::usage("a rule has an effect and an action"));
        };
        let level = match (&self.of.project, &self.of.instance, self.of.system) {
            (Some(_), ..) => Level::Project,
            (_, Some(_), _) => Level::Instance,
            (.., true) => Level::System,
            _ => return Err(Failure::usage("say whose rule it is: --project, --instance or --system")),
        };
        let resources = Resources {
            hosts: parsed(&self.host)?,
            addresses: parsed(&self.address)?,
            ports: parsed(&self.port)?,
            schemes: Vec::new(),
            methods: self.method,
            paths: parsed(&self.path)?,
            names: parsed(&self.name)?,
        };
        let until = self.lasts.map(|span| now().plus(span.duration()));
        let conditions = Conditions { until, ..Conditions::default() };
        Ok(CreateRule {
            level,
            project: self.of.project,
            instance: self.of.instance,
            effect,
            action,
            subject: self.subject,
            resources,
            conditions,
            note: self.note.unwrap_or_default(),
        })
    }
}

fn parsed<T: std::str::FromStr<Err = ryokan_api::model::Invalid>>(
    texts: &[String],
) -> Result<Vec<T>, Failure> {
    texts
        .iter()
        .map(|text| {
            text.parse()
                .map_err(|e: ryokan_api::model::Invalid| Failure::usage(format!("`{text}` {}", e.problem)))
        })
        .collect()
}

async fn list(cx: &Context, client: &Client, of: Of) -> Outcome {
    let level = of.system.then_some(Level::System);
    let query = RuleQuery { level, project: of.project, instance: of.instance, ..RuleQuery::default() };
    let rules = client.rules(&query).await?;
    if cx.out.json {
        return cx.out.json_list(rules);
    }
    let mut table = Table::new(&cx.out, &["ID", "LEVEL", "EFFECT", "ACTION", "SUBJECT", "ABOUT", "NOTE"]);
    for rule in rules {
        let about = about(&rule);
        table.row([
            rule.id.to_string().into(),
            rule.level.to_string().into(),
            Column::new(rule.effect.as_str(), tone(rule.effect)),
            rule.action.to_string().into(),
            rule.subject.to_string().into(),
            about.into(),
            one_line(&rule.note).into(),
        ]);
    }
    table.print(&cx.out)
}

fn tone(effect: Effect) -> Tone {
    if effect == Effect::Deny { Tone::Bad } else { Tone::Plain }
}

/// What a rule is about, in one line.
fn about(rule: &Rule) -> String {
    fn join<T: std::fmt::Display>(list: &[T]) -> Option<String> {
        let texts: Vec<String> = list.iter().map(ToString::to_string).collect();
        (!texts.is_empty()).then(|| texts.join(","))
    }
    let resources = &rule.resources;
    let ports = join(&resources.ports).map(|ports| format!("port {ports}"));
    let until = rule.conditions.until.map(|until| format!("until {}", time(until.0)));
    let parts = [
        join(&resources.methods),
        join(&resources.hosts),
        join(&resources.addresses),
        ports,
        join(&resources.paths),
        join(&resources.names),
        until,
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "anything".to_owned() } else { parts.join(" ") }
}

fn explain(cx: &Context, told: &Explanation) -> Outcome {
    if cx.out.json {
        return cx.out.json(told);
    }
    cx.out.line(format!("{}: {}", told.decision.as_str(), one_line(&told.why)))?;
    if let Some(rule) = told.rule {
        cx.out.line(format!("rule {rule}"))?;
    }
    for level in &told.levels {
        cx.out.line(format!("  {} {}", level.level, level.says))?;
        for rule in &level.rules {
            let note =
                if rule.note.is_empty() { String::new() } else { format!(" ({})", one_line(&rule.note)) };
            cx.out.line(format!("    {} {}{note}", rule.id, rule.effect.as_str()))?;
        }
    }
    Ok(())
}
