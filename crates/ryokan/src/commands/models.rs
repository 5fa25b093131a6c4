//! `ryokan models`.

use clap::Subcommand;
use ryokan_api::model::Millis;
use ryokan_api::model::billing::Period;
use ryokan_api::models::{
    BudgetUnit, Candidate, ModelBudget, ModelCall, ModelUsage, PutModelRoute, SetModelBudget, SetModelPrice,
    SetModelRules, TokenPrices,
};

use crate::Context;
use crate::failure::{Failure, Outcome};
use crate::table::Table;

const NO_PROJECT: &str = "`ryokan projects list` shows yours";

/// Models: names to call, what was spent, budgets, prices, and the switch that stops all calls.
#[derive(Debug, clap::Args)]
pub(crate) struct Models {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the names that calls may use
    Ls,
    /// Show what a project (for operators: everybody) spent, by day and model
    Usage {
        /// Project
        project: Option<String>,
        /// The last so many days
        #[arg(long, default_value_t = 30)]
        days: u32,
    },
    /// List a project's newest calls
    Calls {
        /// Project
        project: String,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Stop a project's calls, or (operators) everybody's
    Stop {
        /// Project; everybody when absent
        project: Option<String>,
    },
    /// Let calls go on
    Start {
        /// Project; everybody when absent
        project: Option<String>,
    },
    /// List or set a project's budgets; they are hard
    Budget {
        /// Project
        project: String,
        /// tokens or satoshis
        #[arg(requires = "period")]
        unit: Option<BudgetUnit>,
        /// day, month (UTC) or total
        #[arg(requires = "amount")]
        period: Option<Period>,
        /// How many; `none` takes the budget away
        amount: Option<String>,
        /// Of one instance only
        #[arg(long, value_name = "NAME")]
        instance: Option<String>,
    },
    /// Set the price of a million tokens, from now on (operators)
    Price {
        /// Provider
        provider: String,
        /// Of this model only
        #[arg(long)]
        model: Option<String>,
        /// Satoshis for a million tokens of input
        #[arg(long, value_name = "SATOSHIS")]
        input: i64,
        /// The same, of input that the provider had in its cache
        #[arg(long, value_name = "SATOSHIS")]
        cached: Option<i64>,
        /// The same, of output
        #[arg(long, value_name = "SATOSHIS")]
        output: i64,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// List routes, or set what a name leads to (operators)
    Route {
        /// Name
        name: Option<String>,
        /// What it leads to, in this order, as PROVIDER/MODEL; none removes the route
        #[arg(value_name = "PROVIDER/MODEL")]
        candidates: Vec<String>,
    },
}

impl Models {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        let missing = |e| Failure::from(e).missing(NO_PROJECT);
        match self.action {
            Action::Ls => names(cx, &client.model_names().await?),
            Action::Usage { project, days } => {
                usage(cx, client.model_usage(project.as_deref(), days).await.map_err(missing)?.items)
            }
            Action::Calls { project, limit } => {
                calls(cx, client.model_calls(&project, limit).await.map_err(missing)?.items)
            }
            Action::Stop { project } => switch(cx, project.as_deref(), true).await,
            Action::Start { project } => switch(cx, project.as_deref(), false).await,
            Action::Budget { project, unit, period, amount, instance } => {
                let found = match (unit, period, amount) {
                    (Some(unit), Some(period), Some(amount)) => {
                        let amount = match amount.as_str() {
                            "none" => None,
                            text => Some(
                                text.parse().map_err(|_| Failure::new("the amount is no whole number"))?,
                            ),
                        };
                        let request = SetModelBudget { instance, unit, period, amount };
                        client.set_model_budget(&project, &request).await
                    }
                    _ => client.model_budgets(&project).await,
                };
                budgets(cx, found.map_err(missing)?.items)
            }
            Action::Price { provider, model, input, cached, output, reason } => {
                let prices = TokenPrices { input, cached: cached.unwrap_or(input), output };
                let made = client.set_model_price(&SetModelPrice { provider, model, prices, reason }).await?;
                if cx.out.json { cx.out.json(&made) } else { cx.out.line(made.version.to_string()) }
            }
            Action::Route { name: None, .. } => {
                let routes = client.model_routes().await?.items;
                if cx.out.json {
                    return cx.out.json_list(routes);
                }
                let mut table = Table::new(&cx.out, &["NAME", "LEADS TO"]);
                for route in routes {
                    let to: Vec<_> =
                        route.candidates.iter().map(|c| format!("{}/{}", c.provider, c.model)).collect();
                    table.row([route.name, to.join(", ")]);
                }
                table.print(&cx.out)
            }
            Action::Route { name: Some(name), candidates } if candidates.is_empty() => {
                client.delete_model_route(&name).await?;
                cx.out.line(name)
            }
            Action::Route { name: Some(name), candidates } => {
                let parse = |text: &String| {
                    let (provider, model) = text.split_once('/').ok_or_else(|| {
                        Failure::new(format!("`{text}` is not PROVIDER/MODEL, as in `ollama/llama3.2`"))
                    })?;
                    Ok(Candidate { provider: provider.to_owned(), model: model.to_owned() })
                };
                let candidates = candidates.iter().map(parse).collect::<Result<_, Failure>>()?;
                let made = client.put_model_route(&name, &PutModelRoute { candidates }).await?;
                if cx.out.json { cx.out.json(&made) } else { cx.out.line(made.name) }
            }
        }
    }
}

async fn switch(cx: &Context, project: Option<&str>, stopped: bool) -> Outcome {
    let request = SetModelRules { stopped: Some(stopped), external: None, keep_prompts: None };
    let rules = cx.client()?.set_model_rules(project, &request).await;
    let rules = rules.map_err(|e| Failure::from(e).missing(NO_PROJECT))?;
    if cx.out.json {
        return cx.out.json(&rules);
    }
    let whose = project.map_or_else(|| "everybody".to_owned(), |project| format!("project {project}"));
    let state = if rules.stopped_at.is_some() { "stopped" } else { "allowed" };
    cx.out.line(format!("calls of models of {whose}: {state}"))
}

fn names(cx: &Context, list: &serde_json::Value) -> Outcome {
    if cx.out.json {
        return cx.out.json(list);
    }
    let mut table = Table::new(&cx.out, &["NAME", "PROVIDER", ">CONTEXT", "WHERE"]);
    for model in list["data"].as_array().map_or(&[][..], Vec::as_slice) {
        let text = |name: &str| model[name].as_str().unwrap_or("?").to_owned();
        let context = model["context_length"].as_i64().map_or("?".to_owned(), |n| n.to_string());
        let place = if model["local"] == true { "local" } else { "external" };
        table.row([text("id"), text("owned_by"), context, place.to_owned()]);
    }
    table.print(&cx.out)
}

fn usage(cx: &Context, sums: Vec<ModelUsage>) -> Outcome {
    if cx.out.json {
        return cx.out.json_list(sums);
    }
    let header =
        ["DAY", "MODEL", "PROVIDER", ">CALLS", ">FAILED", ">INPUT", ">CACHED", ">OUTPUT", ">SATOSHIS"];
    let mut table = Table::new(&cx.out, &header);
    for sum in sums {
        let day: String = Millis(sum.day).to_string().chars().take(10).collect();
        table.row([
            day,
            sum.model,
            sum.provider,
            sum.calls.to_string(),
            sum.failed.to_string(),
            sum.tokens.input.to_string(),
            sum.tokens.cached.to_string(),
            sum.tokens.output.to_string(),
            sum.satoshis.to_string(),
        ]);
    }
    table.print(&cx.out)
}

fn calls(cx: &Context, calls: Vec<ModelCall>) -> Outcome {
    if cx.out.json {
        return cx.out.json_list(calls);
    }
    let header = ["AT", "MODEL", "PROVIDER", "OUTCOME", ">INPUT", ">OUTPUT", ">SATOSHIS", ">MS", "WHY"];
    let mut table = Table::new(&cx.out, &header);
    for call in calls {
        table.row([
            Millis(call.at).to_string(),
            call.model,
            call.provider,
            call.outcome.to_string(),
            call.tokens.input.to_string(),
            call.tokens.output.to_string(),
            call.satoshis.to_string(),
            call.millis.to_string(),
            call.reason,
        ]);
    }
    table.print(&cx.out)
}

fn budgets(cx: &Context, budgets: Vec<ModelBudget>) -> Outcome {
    if cx.out.json {
        return cx.out.json_list(budgets);
    }
    let mut table = Table::new(&cx.out, &["OF", "UNIT", "PERIOD", ">SPENT", ">SET ASIDE", ">BUDGET"]);
    for budget in budgets {
        table.row([
            budget.scope.to_string(),
            budget.unit.to_string(),
            budget.period.to_string(),
            budget.spent.to_string(),
            budget.held.to_string(),
            budget.amount.to_string(),
        ]);
    }
    table.print(&cx.out)
}
