//! `ryokan open`.

use std::process::Stdio;

use super::NO_INSTANCE;
use crate::Context;
use crate::failure::{Failure, Outcome};

/// Print the address of an instance, or of the dashboard; on a desktop, open it in the browser.
#[derive(Debug, clap::Args)]
pub(crate) struct Open {
    /// Instance (the dashboard when absent)
    name: Option<String>,
    /// Only print
    #[arg(long)]
    print: bool,
}

impl Open {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        let url = match &self.name {
            Some(name) => {
                let instance =
                    client.instance(name).await.map_err(|e| Failure::from(e).missing(NO_INSTANCE))?;
                if cx.out.json {
                    return cx.out.json(&client.ports(name).await?);
                }
                instance.url
            }
            None => client.base(),
        };
        cx.out.line(&url)?;
        if self.print || !cx.out.terminal || !cx.environment.desktop {
            return Ok(());
        }
        let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
        let opened = tokio::process::Command::new(program)
            .arg(&url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .await;
        if !opened.is_ok_and(|status| status.success()) {
            cx.out.note(format!("{program} could not open it."));
        }
        Ok(())
    }
}
