//! Whether a template can run here: what it asks of the engine against what the engine has. Known before anybody makes
//! an instance of it; nothing is fetched and nothing is promised.

use std::time::Duration;

use ryokan_model::spec::PullPolicy;
use ryokan_model::template::{ImageChoice, Template};
use ryokan_ports::runtime::{EngineInfo, ImageRequest};

use crate::{App, Result};

/// A list must not wait for an engine that hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was found out about one template.
pub struct Checked {
    pub template: Template,
    pub problems: Vec<String>,
    pub image_present: Option<bool>,
}

impl App {
    pub async fn check_templates(&self) -> Result<Vec<Checked>> {
        let templates = self.list_templates().await?;
        let info = tokio::time::timeout(PATIENCE, self.runtime.info()).await.ok().and_then(Result::ok);
        let mut checked = Vec::with_capacity(templates.len());
        for template in templates {
            let Some(info) = &info else {
                let problems =
                    vec!["the container engine does not answer; `ryokan system` says more".to_owned()];
                checked.push(Checked { template, problems, image_present: None });
                continue;
            };
            let image_present = self.has_image(&template).await;
            let mut problems = unmet(&template, info);
            if image_present == Some(false) && template.spec.pull == PullPolicy::Never {
                problems.push(format!(
                    "its image {} is not in the engine and is in no registry: build it as its description says, or name another with --image",
                    template.spec.image
                ));
            }
            checked.push(Checked { template, problems, image_present });
        }
        Ok(checked)
    }

    async fn has_image(&self, template: &Template) -> Option<bool> {
        if template.image == ImageChoice::Required {
            return None;
        }
        let image = template.spec.image.clone();
        let request = ImageRequest { image, policy: PullPolicy::Never, credentials: None };
        match tokio::time::timeout(PATIENCE, self.runtime.image(&request, &|_| ())).await {
            Ok(Ok(_)) => Some(true),
            Ok(Err(ryokan_ports::runtime::RuntimeError::Image { .. })) => Some(false),
            _ => None,
        }
    }
}

/// What it asks for that this engine does not have.
fn unmet(template: &Template, info: &EngineInfo) -> Vec<String> {
    let (spec, mut problems) = (&template.spec, Vec::new());
    let wanted = &spec.security.isolation;
    if !info.isolations.contains(wanted) {
        problems.push(format!(
            "it needs the runtime `{wanted}`, which this server's engine does not have (it has {}): install it there",
            info.isolations.join(", ")
        ));
    }
    if spec.resources.memory.get() > info.memory {
        problems.push(format!("it needs {} of memory, more than this server has", spec.resources.memory));
    }
    if spec.resources.cpus.millis() > info.cpus * 1000 {
        problems.push(format!(
            "it needs {} cores and this server has {}: ask for fewer with --cpus",
            spec.resources.cpus, info.cpus
        ));
    }
    problems
}
