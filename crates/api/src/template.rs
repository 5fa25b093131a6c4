//! Whether a template can run on this server.

use ryokan_model::Name;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An item of `GET /v1/template-checks`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TemplateCheck {
    #[schema(value_type = String)]
    pub template: Name,
    /// Whether nothing stands in the way, as far as is known before an image is named and variables are given.
    pub runnable: bool,
    /// What does, and what would help; for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// Whether the engine has the image. Absent where the request has to name one, and when the engine does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_present: Option<bool>,
}
