//! The section `[build]`: what deployments are built from, and what a build may use.

use std::path::Path;

use ryokan_app::deployments::Settings;
use ryokan_model::image::ImageRef;
use ryokan_model::quantity::{Bytes, Cpus, Span};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuildSection {
    /// What Dockerfiles that we write begin from: Node.js with npm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_base: Option<ImageRef>,
    /// Python with venv.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python_base: Option<ImageRef>,
    /// Serves `/usr/share/nginx/html` on port 8080, as `nginx-unprivileged` does; a small server of ours when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frontend_base: Option<ImageRef>,
    /// The engine's network that builds run in; `none` for no network at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// How long one build may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// What one build may write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Bytes>,
    /// The largest artifact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_artifact: Option<Bytes>,
    /// How long an upload address is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_time: Option<Span>,
    /// Of an instance, the images of so many of its newest revisions that were ever ready are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_revisions: Option<u32>,
}

impl BuildSection {
    pub(crate) fn check(&self) -> Result<(), String> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        match &self.network {
            Some(n) if n == "host" || n.is_empty() || n.len() > 100 || !n.bytes().all(plain) => Err(format!(
                "build.network: `{n}` is not allowed: name a network of the engine, or `none`; never the host's own"
            )),
            _ if self.keep_revisions.is_some_and(|n| !(1..=100).contains(&n)) => {
                Err("build.keep_revisions: must be from 1 to 100".into())
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn settings(&self, data: &Path) -> anyhow::Result<Settings> {
        let mut settings = Settings::new(data.join("builds"))?;
        let given = self.clone();
        fn set<T>(target: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *target = value;
            }
        }
        set(&mut settings.node_base, given.node_base);
        set(&mut settings.python_base, given.python_base);
        settings.frontend_base = given.frontend_base;
        set(&mut settings.limits.network, given.network);
        set(&mut settings.limits.time, given.time.map(Span::duration));
        set(&mut settings.limits.memory, given.memory);
        set(&mut settings.limits.cpus, given.cpus);
        set(&mut settings.limits.disk, given.disk);
        set(&mut settings.max_artifact, given.max_artifact);
        set(&mut settings.upload_time, given.upload_time.map(Span::duration));
        set(&mut settings.keep_revisions, given.keep_revisions);
        Ok(settings)
    }
}
