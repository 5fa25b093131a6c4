//! Images that we built, as the engine has them. An image is ours if it bears our label, which the engine puts on each;
//! of its names only those below [`REGISTRY`] are ours to take away.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::time::Duration;

use bollard::errors::Error as BollardError;
use bollard::query_parameters::RemoveImageOptions;
use ryokan_model::image::ImageRef;
use ryokan_model::{Millis, ProjectId};
use ryokan_ports::build::{Built, Forgotten, REGISTRY};
use ryokan_ports::runtime::{Result, RuntimeError};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use tokio::time::Instant;

use super::look::{self, escape};
use super::{Inner, label};

/// A step's container stands still for a moment before it starts, and after it has ended.
const STALE: Duration = Duration::from_mins(2);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    #[serde(default)]
    created: i64,
    #[serde(default, deserialize_with = "or_null")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "or_null")]
    labels: label::Labels,
}

fn or_null<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Inner {
    pub(super) async fn built_images(&self) -> Result<Vec<Built>> {
        let wanted = [(label::BUILT_BY, Some(self.server.to_string()))];
        let filters = escape(&json!(label::filter(&wanted)).to_string());
        let path = self.link.versioned(&format!("/images/json?filters={filters}")).await?;
        let mut listed: Vec<Listed> = self.link.get("images", &path).await?;
        listed.retain(|image| label::carries(&image.labels, &wanted));
        Ok(listed.into_iter().flat_map(ours).collect())
    }

    /// An engine that dies in the middle of a build comes back with the container of the step, which would hold its
    /// image for ever. Those that have stood still for a while are no build's any more.
    pub(super) async fn sweep_builds(&self) -> Result<()> {
        let filters = json!(label::filter(&[(label::BUILT_BY, Some(self.server.to_string()))]));
        let filters = escape(&filters.to_string());
        let path = self.link.versioned(&format!("/containers/json?all=true&filters={filters}")).await?;
        let listed: Vec<look::Listed> = self.link.get("containers", &path).await?;
        // Instances have the labels of their images, too.
        let idle: HashSet<String> = listed
            .into_iter()
            .filter(|c| !c.labels.contains_key(label::SERVER) && !c.runs())
            .map(|c| c.id)
            .collect();
        let stale: Vec<String> = {
            let mut known = self.idle_builds.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|id, _| idle.contains(id));
            for id in idle {
                known.entry(id).or_insert_with(Instant::now);
            }
            known.iter().filter(|(_, since)| since.elapsed() >= STALE).map(|(id, _)| id.clone()).collect()
        };
        for id in stale {
            tracing::info!(container = id, "removing what a build left behind");
            self.remove_container(&id).await?;
        }
        Ok(())
    }

    pub(super) async fn forget_image(&self, image: &Built) -> Result<Forgotten> {
        let name = image.tag.as_ref().map_or(image.id.as_str(), ImageRef::as_str);
        let api = self.link.api().await?;
        let removed = async {
            match api.remove_image(name, None::<RemoveImageOptions>, None).await {
                Err(BollardError::DockerResponseServerError { status_code: 409, .. }) => Ok(Forgotten::InUse),
                other => other.map(|_| Forgotten::Gone),
            }
        };
        match self.link.call("image", removed).await {
            Err(RuntimeError::NotFound(_)) => Ok(Forgotten::Gone),
            other => other,
        }
    }
}

/// One for each name below our registry, or one for an image that has no name at all.
fn ours(image: Listed) -> Vec<Built> {
    let Some(project) = image.labels.get(label::BUILT_FOR).and_then(|id| id.parse::<ProjectId>().ok()) else {
        return Vec::new();
    };
    let built = |tag| Built {
        id: image.id.clone(),
        tag,
        project,
        created_at: Millis(image.created.saturating_mul(1000)),
    };
    // Docker's word for no name.
    let names: Vec<&String> = image.repo_tags.iter().filter(|name| !name.starts_with("<none>")).collect();
    if names.is_empty() {
        return vec![built(None)];
    }
    let below = |name: &ImageRef| name.registry() == REGISTRY;
    names
        .into_iter()
        .filter_map(|name| name.parse::<ImageRef>().ok().filter(below))
        .map(|name| built(Some(name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_others_gave_are_not_ours() {
        let project = "0192f000-0000-7000-8000-000000000002";
        let image = |tags: serde_json::Value, labels: serde_json::Value| {
            let listed = json!({"Id": "sha256:1", "Created": 5, "RepoTags": tags, "Labels": labels});
            ours(serde_json::from_value(listed).unwrap())
        };
        let names = |tags| {
            let labels = json!({label::BUILT_FOR: project});
            image(tags, labels).into_iter().map(|b| b.tag.map(|t| t.to_string())).collect::<Vec<_>>()
        };
        assert_eq!(
            names(json!(["ryokan.local/a/b:1", "mine:1", "ryokan.local/a/b:2"])),
            [Some("ryokan.local/a/b:1".to_owned()), Some("ryokan.local/a/b:2".to_owned())]
        );
        assert_eq!(names(json!(["mine:1", "ryokan.local.example/x:1", "ryokan/hello:1"])), []);
        for none in [json!(null), json!([]), json!(["<none>:<none>"])] {
            assert_eq!(names(none), [None]);
        }
        assert_eq!(image(json!([]), json!(null)), []);
        assert_eq!(image(json!([]), json!({label::BUILT_FOR: project}))[0].created_at, Millis(5_000));
    }
}
