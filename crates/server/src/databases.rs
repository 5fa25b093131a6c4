//! The section `[databases]`: what databases beside agents run. Images keep the contract of the official ones.

use std::collections::BTreeMap;

use ryokan_model::addon::Addon;
use ryokan_model::image::ImageRef;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabasesSection {
    /// `MySQL`, or `MariaDB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mysql_image: Option<ImageRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mongo_image: Option<ImageRef>,
    /// Has `sh`, `redis-server` and `redis-cli`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_image: Option<ImageRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres_image: Option<ImageRef>,
}

impl DatabasesSection {
    /// Puts the images that are named in the place of those that are not.
    pub(crate) fn set(&self, images: &mut BTreeMap<Addon, ImageRef>) {
        for (addon, image) in [
            (Addon::Mysql, &self.mysql_image),
            (Addon::Mongo, &self.mongo_image),
            (Addon::Redis, &self.redis_image),
            (Addon::Postgres, &self.postgres_image),
        ] {
            images.extend(image.clone().map(|image| (addon, image)));
        }
    }
}
