//! Whether a template can run here: what it asks of the engine against what the engine has. Known before anybody makes
//! an instance of it; nothing is fetched and nothing is promised.

use futures_util::future::join_all;
use ryokan_model::spec::PullPolicy;
use ryokan_model::template::{ImageChoice, Template};
use ryokan_ports::runtime::EngineInfo;

use crate::instances::fit::{Lack, PATIENCE, lacks};
use crate::{App, Result};

/// What was found out about one template.
pub struct Checked {
    pub template: Template,
    pub problems: Vec<String>,
    pub image_present: Option<bool>,
}

impl App {
    pub async fn check_templates(&self) -> Result<Vec<Checked>> {
        let templates = self.list_templates().await?;
        let Some(info) = self.engine_soon().await else {
            let problems = vec!["the container engine does not answer; `ryokan system` says more".to_owned()];
            let unknown = |template| Checked { template, problems: problems.clone(), image_present: None };
            return Ok(templates.into_iter().map(unknown).collect());
        };
        // Side by side, so that an engine that hangs now is waited for once.
        Ok(join_all(templates.into_iter().map(|template| self.check_template(template, &info))).await)
    }

    async fn check_template(&self, template: Template, info: &EngineInfo) -> Checked {
        let image_present = self.has_image(&template).await;
        let mut problems = unmet(&template, info);
        if image_present == Some(false) && template.spec.pull == PullPolicy::Never {
            problems.push(format!(
                "its image {} is not in the engine and is in no registry: build it as its description says, or name another with --image",
                template.spec.image
            ));
        }
        Checked { template, problems, image_present }
    }

    async fn has_image(&self, template: &Template) -> Option<bool> {
        if template.image == ImageChoice::Required {
            return None;
        }
        let found = tokio::time::timeout(PATIENCE, self.runtime.find_image(&template.spec.image)).await;
        Some(found.ok()?.ok()?.is_some())
    }
}

/// What it asks for that this engine does not have.
fn unmet(template: &Template, info: &EngineInfo) -> Vec<String> {
    let spec = &template.spec;
    let said = |lack| match lack {
        Lack::Isolation => format!(
            "it needs the runtime `{}`, which this server's engine does not have (it has {}): install it there",
            spec.security.isolation,
            info.isolations.join(", ")
        ),
        Lack::Memory => format!("it needs {} of memory, more than this server has", spec.resources.memory),
        Lack::Cpus => format!(
            "it needs {} cores and this server has {}: ask for fewer with --cpus",
            spec.resources.cpus, info.cpus
        ),
        Lack::Gpus => {
            let why = info.no_gpus.as_deref().unwrap_or_default();
            format!("it needs {} GPUs: {why}", spec.resources.gpus)
        }
    };
    lacks(spec, info).map(said).collect()
}
