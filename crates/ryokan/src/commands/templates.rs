//! `ryokan templates`.

use clap::Subcommand;
use ryokan_api::client::Client;
use ryokan_api::model::template::{ImageChoice, Template};
use ryokan_api::template::TemplateCheck;

use crate::Context;
use crate::failure::{Failure, Outcome};
use crate::table::Table;

/// Recipes for instances.
#[derive(Debug, clap::Args)]
pub(crate) struct Templates {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List templates
    List,
    /// Show a template, as TOML
    Show {
        /// Template
        name: String,
    },
}

impl Templates {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        match self.action.unwrap_or(Action::List) {
            Action::List => {
                let templates = client.templates().await?;
                if cx.out.json {
                    return cx.out.json_list(templates);
                }
                let checks = checks(&client).await?;
                let mut table = Table::new(&cx.out, &["NAME", "RUNS", ">MEMORY", "NEEDS", "SUMMARY"]);
                for template in templates {
                    let check = checks.iter().find(|check| check.template == template.name);
                    let runs = match check {
                        None => "unknown",
                        Some(check) if !check.runnable => "no",
                        Some(_) => "yes",
                    };
                    let memory = template.spec.resources.memory.to_string();
                    let (name, needs) = (template.name.to_string(), needs(&template));
                    table.row([name, runs.to_owned(), memory, needs, template.summary]);
                }
                table.print(&cx.out)?;
                for check in checks.iter().filter(|check| !check.runnable) {
                    cx.out.note(format!("{}: {}.", check.template, check.problems.join("; ")));
                }
                Ok(())
            }
            Action::Show { name } => {
                let template = client
                    .template(&name)
                    .await
                    .map_err(|e| Failure::from(e).missing("`ryokan templates list` shows what there is"))?;
                if cx.out.json {
                    return cx.out.json(&template);
                }
                let text = toml::to_string_pretty(&template).map_err(|e| {
                    Failure::new(format!("the template cannot be shown: {e}")).hint("use --json")
                })?;
                cx.out.line(text.trim_end())?;
                let needs = needs(&template);
                if !needs.is_empty() {
                    cx.out.note(format!("To be given: {needs}."));
                }
                let checks = checks(&client).await?;
                for problem in checks.iter().filter(|c| c.template == template.name).flat_map(|c| &c.problems)
                {
                    cx.out.note(format!("It cannot run here: {problem}."));
                }
                Ok(())
            }
        }
    }
}

/// Which templates can run; nothing of an older server, which does not know.
async fn checks(client: &Client) -> Outcome<Vec<TemplateCheck>> {
    match client.template_checks().await {
        Err(error) if error.status() == Some(404) => Ok(Vec::new()),
        checks => Ok(checks?),
    }
}

/// What a request must bring: an image, and variables (with `*` those that are kept secret).
fn needs(template: &Template) -> String {
    let image = (template.image == ImageChoice::Required).then(|| "--image".to_owned());
    let variables =
        template.variables.iter().filter(|(_, v)| v.required && !v.generate && v.default.is_none());
    let variables = variables.map(|(name, v)| if v.secret { format!("{name}*") } else { name.clone() });
    image.into_iter().chain(variables).collect::<Vec<_>>().join(" ")
}
