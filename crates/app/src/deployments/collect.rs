//! Images that were built here and that nothing can be started from any more: removed. What the engine has of ours is
//! compared with what rows need, so that it does not matter how an image came to be needless, or who died meanwhile.
//! One that a container still uses waits for the next round.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ryokan_model::{DeploymentId, Millis, ProjectId};
use ryokan_ports::build::{BuildError, Built, Forgotten};
use ryokan_store::images::{IMAGES, NeededImages};

use crate::background::Simple;
use crate::{App, Error, Result};

/// What has no name is what a failed build ended at; a next try begins from it.
const CACHE: Duration = Duration::from_hours(1);

pub fn reconciler() -> Simple {
    Simple {
        name: "images",
        topics: &[IMAGES],
        every: Duration::from_mins(5),
        once: |app| Box::pin(async move { app.collect_images().await }),
    }
}

impl App {
    /// How many are needless and still in use.
    pub async fn collect_images(self: &Arc<Self>) -> Result<i64> {
        // Listed first: what is built from now on belongs to a deployment that the rows show.
        let held = match self.builder.built().await {
            Ok(held) => held,
            Err(BuildError::Unavailable(why)) => {
                tracing::debug!(why, "images are not collected: the engine does not answer");
                return Ok(0);
            }
            Err(error) => return Err(Error::Internal(error.into())),
        };
        let mut by_project: BTreeMap<ProjectId, Vec<Built>> = BTreeMap::new();
        for built in held {
            by_project.entry(built.project).or_default().push(built);
        }
        let (kept, mut waiting) = (self.settings.deploy.keep_revisions, 0);
        for (project, built) in by_project {
            let needed = self.store.read(move |tx| tx.images_needed(project, kept)).await?;
            let now = self.clock.now();
            for image in built.iter().filter(|image| !is_needed(image, &needed, now)) {
                let name = image.tag.as_ref().map_or(image.id.as_str(), |tag| tag.as_str());
                match self.builder.forget(image).await {
                    Ok(Forgotten::Gone) => {
                        tracing::debug!(image = name, "an image that nothing needs is gone");
                    }
                    Ok(Forgotten::InUse) => waiting += 1,
                    Err(error) => {
                        tracing::info!(image = name, error = %error, "an image that nothing needs stays for now");
                        waiting += 1;
                    }
                }
                crate::crash::point("images.forgotten");
            }
        }
        Ok(waiting)
    }
}

fn is_needed(image: &Built, needed: &NeededImages, now: Millis) -> bool {
    let Some(tag) = &image.tag else {
        return !needed.deployments.is_empty() || now.since(image.created_at) < CACHE;
    };
    let deployment = tag.split().1.parse::<DeploymentId>();
    needed.images.contains(tag) || deployment.is_ok_and(|id| needed.deployments.contains(&id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployments::image_name;

    #[test]
    fn what_is_needed_stays() {
        let project = ProjectId::from_parts(Millis(1), [1; 10]);
        let deployment = |n: i64| DeploymentId::from_parts(Millis(n), [2; 10]);
        let tagged = |n| Built {
            id: format!("sha256:{n}"),
            tag: Some(image_name(project, &"bot".parse().unwrap(), deployment(n)).unwrap()),
            project,
            created_at: Millis(0),
        };
        let needed =
            NeededImages { images: tagged(1).tag.into_iter().collect(), deployments: [deployment(2)].into() };
        let late = Millis(0).plus(CACHE);
        assert!(is_needed(&tagged(1), &needed, late) && is_needed(&tagged(2), &needed, late));
        assert!(!is_needed(&tagged(3), &needed, late));
        let part = Built { tag: None, ..tagged(4) };
        let closed = NeededImages { deployments: [].into(), ..needed.clone() };
        assert!(is_needed(&part, &needed, late), "a build that is under way may begin from it");
        assert!(is_needed(&part, &closed, Millis(late.0 - 1)));
        assert!(!is_needed(&part, &closed, late));
    }
}
