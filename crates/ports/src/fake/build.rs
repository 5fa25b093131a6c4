//! Builds in memory: nothing runs. What a Dockerfile's comments say is what becomes of it: `# fails WHY`, `# hangs`,
//! `# ill` (an image whose probe fails), `# exits N`.

use async_trait::async_trait;
use ryokan_model::image::ImageRef;

use super::FakeRuntime;
use crate::Runtime as _;
use crate::build::{BuildError, BuildRequest, ImageBuilder, OnLine};
use crate::runtime::{Image, RuntimeError};

#[async_trait]
impl ImageBuilder for FakeRuntime {
    async fn build(&self, request: &BuildRequest, line: OnLine<'_>) -> Result<Image, BuildError> {
        tokio::time::timeout(request.limits.time, self.pretend(request, line))
            .await
            .unwrap_or(Err(BuildError::TooLong(request.limits.time)))
    }

    async fn forget(&self, tag: &ImageRef) -> Result<(), BuildError> {
        self.forget_image(tag.as_str());
        Ok(())
    }
}

impl FakeRuntime {
    async fn pretend(&self, request: &BuildRequest, line: OnLine<'_>) -> Result<Image, BuildError> {
        let away = |e: RuntimeError| BuildError::Unavailable(e.to_string());
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
                return Err(BuildError::Failed(why.to_owned()));
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
        self.find_image(&request.tag)
            .await
            .map_err(away)?
            .ok_or_else(|| BuildError::Failed("no image".into()))
    }
}
