//! Builds in memory: nothing runs. What a Dockerfile's comments say is what becomes of it: `# fails WHY` (which leaves
//! a part without a name), `# fills` (the disk), `# hangs`, `# ill` (an image whose probe fails), `# exits N`.

use std::hash::{DefaultHasher, Hash, Hasher};

use async_trait::async_trait;
use ryokan_model::image::ImageRef;

use super::{Call, FakeRuntime};
use crate::Runtime as _;
use crate::build::{BuildError, BuildRequest, Built, Forgotten, ImageBuilder, OnLine};
use crate::runtime::{Image, RuntimeError};

#[async_trait]
impl ImageBuilder for FakeRuntime {
    async fn build(&self, request: &BuildRequest, line: OnLine<'_>) -> Result<Image, BuildError> {
        tokio::time::timeout(request.limits.time, self.pretend(request, line))
            .await
            .unwrap_or(Err(BuildError::TooLong(request.limits.time)))
    }

    async fn built(&self) -> Result<Vec<Built>, BuildError> {
        self.enter(Call::Built, "").await.map_err(away)?;
        let state = self.state();
        let ours = state.built.iter().filter(|(server, _)| *server == self.server).map(|(_, built)| built);
        let there =
            |built: &&Built| built.tag.as_ref().is_none_or(|tag| state.images.contains_key(tag.as_str()));
        Ok(ours.filter(there).cloned().collect())
    }

    async fn forget(&self, image: &Built) -> Result<Forgotten, BuildError> {
        self.enter(Call::Forget, image.tag.as_ref().map_or(image.id.as_str(), ImageRef::as_str))
            .await
            .map_err(away)?;
        let mut state = self.state();
        if let Some(tag) = &image.tag {
            if state.containers.iter().any(|c| c.workload.spec.image == *tag) {
                return Ok(Forgotten::InUse);
            }
            state.images.remove(tag.as_str());
        }
        state.built.retain(|(_, built)| built != image);
        Ok(Forgotten::Gone)
    }
}

fn away(e: RuntimeError) -> BuildError {
    BuildError::Unavailable(e.to_string())
}

impl FakeRuntime {
    async fn pretend(&self, request: &BuildRequest, line: OnLine<'_>) -> Result<Image, BuildError> {
        self.info().await.map_err(away)?;
        if !request.context.is_dir() {
            return Err(BuildError::Failed("the context is no folder".into()));
        }
        let image = self.image(request.tag.as_str());
        image.loaded();
        for (number, text) in request.dockerfile.lines().enumerate() {
            line(format!("Step {number} : {text}"));
            let comment = text.strip_prefix("# ").unwrap_or_default();
            if let Some(why) = comment.strip_prefix("fails ") {
                self.forget_image(request.tag.as_str());
                let mut hasher = DefaultHasher::new();
                request.dockerfile.hash(&mut hasher);
                self.left(request, format!("sha256:{:016x}", hasher.finish()), None);
                return Err(BuildError::Failed(why.to_owned()));
            }
            if comment == "fills" {
                self.forget_image(request.tag.as_str());
                return Err(BuildError::TooLarge(request.limits.disk));
            }
            if comment == "hangs" {
                std::future::pending::<()>().await;
            }
            if comment == "ill" {
                image.ill("503");
            }
            if let Some(code) = comment.strip_prefix("exits ") {
                image.exits(code.parse().unwrap_or(1));
            }
        }
        let image = self.find_image(&request.tag).await.map_err(away)?;
        let image = image.ok_or_else(|| BuildError::Failed("no image".into()))?;
        self.left(request, image.id.clone(), Some(request.tag.clone()));
        Ok(image)
    }

    fn left(&self, request: &BuildRequest, id: String, tag: Option<ImageRef>) {
        let mut state = self.state();
        let created_at = self.now(&mut state);
        state.built.retain(|(_, built)| built.id != id || built.tag != tag);
        state.built.push((self.server, Built { id, tag, project: request.project, created_at }));
    }
}
