//! `ryokan inspect`.

use std::fmt::Write as _;

use ryokan_api::instance::{Instance, PortInfo};

use super::NO_INSTANCE;
use crate::Context;
use crate::environment::now;
use crate::failure::{Failure, Outcome};
use crate::output::Tone;
use crate::table::Sheet;
use crate::text::{age, time};

/// Show all about an instance.
#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// Instance
    name: String,
}

impl Inspect {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        let instance =
            client.instance(&self.name).await.map_err(|e| Failure::from(e).missing(NO_INSTANCE))?;
        if cx.out.json {
            return cx.out.json(&instance);
        }
        let ports = client.ports(&self.name).await?;
        sheet(&instance, &ports).print(&cx.out)
    }
}

fn sheet(instance: &Instance, ports: &[PortInfo]) -> Sheet {
    let (spec, now) = (&instance.spec, now());
    let mut state = format!("{}, {} ago", instance.state, age(instance.since, now));
    if instance.crashes > 0 {
        let _ = write!(state, ", {} crashes in a row", instance.crashes);
    }
    let lines = |lines: Vec<String>| lines.join("\n");
    let mut sheet = Sheet::new();
    sheet
        .line("name", instance.name.as_str())
        .line("id", instance.id.to_string())
        .line("project", instance.project.as_str())
        .line("template", instance.template.as_str())
        .line("database", database(instance))
        .line("databases", instance.addons.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        .toned("state", state, Tone::of(instance.state))
        .line("message", instance.message.clone().unwrap_or_default())
        .line("last update", instance.update_error.as_ref().map_or(String::new(), |e| format!("failed: {e}")))
        .line("exit code", instance.exit_code.map(|c| c.to_string()).unwrap_or_default())
        .line("desired", instance.desired.as_str())
        .line("url", instance.url.as_str())
        .line("path url", if instance.addon.is_some() { "" } else { instance.path_url.as_str() })
        .line("ports", lines(ports.iter().map(|p| format!("{} {} {}", p.name, p.port, p.url)).collect()))
        .line("access", word(&spec.gateway.access))
        .line("image", spec.image.as_str())
        .line("digest", instance.image_digest.clone().unwrap_or_default())
        .line("command", spec.command.as_ref().map(|c| format!("{c:?}")).unwrap_or_default())
        .line("arguments", spec.args.as_ref().map(|c| format!("{c:?}")).unwrap_or_default())
        .line(
            "resources",
            format!(
                "{} cpu, {} memory, {} pids{}",
                spec.resources.cpus,
                spec.resources.memory,
                spec.resources.pids,
                match spec.resources.gpus {
                    0 => String::new(),
                    gpus => format!(", {gpus} gpus"),
                }
            ),
        )
        .line("isolation", spec.security.isolation.as_str())
        .line("egress", word(&spec.egress))
        .line("restart", word(&spec.restart.mode))
        .line(
            "env",
            lines(spec.env.iter().map(|(n, v)| format!("{n}={}", crate::text::one_line(v))).collect()),
        )
        .line("secrets", spec.secret_env.iter().chain(&spec.addon_env).cloned().collect::<Vec<_>>().join(" "))
        .line(
            "volumes",
            lines(
                spec.volumes
                    .iter()
                    .map(|v| format!("{}:{}{}", v.name, v.path, if v.read_only { ":ro" } else { "" }))
                    .collect(),
            ),
        )
        .line("created", time(instance.created_at))
        .line("updated", time(instance.updated_at))
        .line("generation", instance.generation.to_string());
    sheet
}

/// `redis of bot`.
fn database(instance: &Instance) -> String {
    match (instance.addon, &instance.addon_of) {
        (Some(addon), Some(agent)) => format!("{addon} of {agent}"),
        (Some(addon), None) => format!("{addon}, of an agent that was not released yet"),
        (None, _) => String::new(),
    }
}

/// A word as the API writes it.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
