//! `ryokan templates`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use ryokan_api::model::template::{ImageChoice, Template};

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
    /// Create a template from a TOML file, or replace the one of its name; for operators
    Apply {
        /// File, or - for standard input
        #[arg(value_name = "FILE.toml")]
        file: PathBuf,
    },
    /// Remove templates; one that came with the server is back at its next start. For operators
    Rm {
        /// Templates
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// The API takes no larger body.
const MAX_FILE: u64 = 1024 * 1024;
const NO_TEMPLATE: &str = "`ryokan templates list` shows what there is";

impl Templates {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        match self.action.unwrap_or(Action::List) {
            Action::List => {
                let templates = client.templates().await?;
                if cx.out.json {
                    return cx.out.json_list(templates);
                }
                let checks = client.template_checks().await?;
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
                let template =
                    client.template(&name).await.map_err(|e| Failure::from(e).missing(NO_TEMPLATE))?;
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
                let checks = client.template_checks().await?;
                for problem in checks.iter().filter(|c| c.template == template.name).flat_map(|c| &c.problems)
                {
                    cx.out.note(format!("It cannot run here: {problem}."));
                }
                Ok(())
            }
            Action::Apply { file } => {
                let template = read(&file)?;
                // Replacing is tried first: it never touches another template, whoever makes one meanwhile.
                let (made, word) = match client.update_template(&template).await {
                    Err(error) if error.status() == Some(404) => {
                        (client.create_template(&template).await?, "created")
                    }
                    result => (result?, "replaced; instances made from it stay as they are"),
                };
                if cx.out.json {
                    return cx.out.json(&made);
                }
                cx.out.note(format!("{} is {word}.", made.name));
                Ok(())
            }
            Action::Rm { names } => {
                for name in names {
                    client.delete_template(&name).await.map_err(|e| Failure::from(e).missing(NO_TEMPLATE))?;
                    cx.out.note(format!("{name} is removed."));
                }
                Ok(())
            }
        }
    }
}

fn read(file: &Path) -> Outcome<Template> {
    let name = if file.as_os_str() == "-" { "standard input".to_owned() } else { file.display().to_string() };
    let mut text = String::new();
    let source: Box<dyn std::io::Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(|e| Failure::usage(format!("{name}: {e}")))?)
    };
    source
        .take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(|e| Failure::usage(format!("{name}: {e}")))?;
    if text.len() as u64 > MAX_FILE {
        return Err(Failure::usage(format!("{name} is longer than 1 MiB, which no template is")));
    }
    toml::from_str(&text).map_err(|e| {
        let mut failure = Failure::usage(format!("{name} is not a template: {}", e.message()))
            .hint("docs/templates.md lists the fields; `ryokan templates show hello` prints one");
        // The place, without the message that follows it.
        let shown = e.to_string();
        let place = shown.lines().take_while(|line| *line != e.message());
        failure.detail = place.map(str::to_owned).collect();
        failure
    })
}

/// What a request must bring: an image, and variables (with `*` those that are kept secret).
fn needs(template: &Template) -> String {
    let image = (template.image == ImageChoice::Required).then(|| "--image".to_owned());
    let variables =
        template.variables.iter().filter(|(_, v)| v.required && !v.generate && v.default.is_none());
    let variables = variables.map(|(name, v)| if v.secret { format!("{name}*") } else { name.clone() });
    image.into_iter().chain(variables).collect::<Vec<_>>().join(" ")
}
