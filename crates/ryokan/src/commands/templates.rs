//! `ryokan templates`.

use clap::Subcommand;

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
                let mut table = Table::new(&cx.out, &["NAME", "IMAGE", "SUMMARY"]);
                for template in templates {
                    table.row([template.name.to_string(), template.spec.image.to_string(), template.summary]);
                }
                table.print(&cx.out)
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
                cx.out.line(text.trim_end())
            }
        }
    }
}
