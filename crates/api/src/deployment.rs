//! Deployments: an artifact is uploaded, built and released as instances. And the revisions that come of it.

use ryokan_model::deployment::{DeploymentState, RevisionState};
use ryokan_model::image::ImageRef;
use ryokan_model::{DeploymentId, Name};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// `POST /v1/projects/{p}/deployments`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateDeployment {
    /// The instance that it makes or changes; generated when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// SHA-256 of the artifact in hexadecimal; another artifact is then refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Size of the artifact in bytes; a larger one is then refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    pub id: DeploymentId,
    /// The project's name.
    pub project: String,
    /// The instance that it makes or changes.
    pub name: Option<String>,
    pub state: DeploymentState,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Of the artifact, once it is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    pub created_at: i64,
    pub updated_at: i64,
    /// Where the agent answers once it is released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_url: Option<String>,
    /// Where the artifact is to be sent: only in the answer to its creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<Upload>,
}

/// `POST` the artifact, a gzipped tar, as `application/octet-stream`. The address is the credential: good once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Upload {
    pub url: String,
    /// UTC milliseconds.
    pub expires_at: i64,
    /// In bytes.
    pub max_size: u64,
}

/// The answer to an upload, in Mandala's words.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Uploaded {
    pub message: String,
    /// A host name, without a scheme.
    pub agent_url: String,
    /// Where the frontend will be, if the manifest has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frontend_url: Option<String>,
    pub deployment_id: DeploymentId,
}

/// One line of a deployment's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentLine {
    /// From 1, without gaps; pass it as `after` to go on.
    pub number: i64,
    pub at: i64,
    pub text: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeploymentLogQuery {
    /// Go on until the deployment is over.
    #[serde(default)]
    #[param(required = false)]
    pub follow: bool,
    /// Only lines after this number.
    #[serde(default)]
    #[param(required = false)]
    pub after: i64,
}

/// What was once asked of an instance.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Revision {
    pub number: i64,
    pub state: RevisionState,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub image: ImageRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentId>,
    /// The manifest, as it was in the artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    pub created_at: i64,
}

/// `POST /v1/instances/{i}/rollback`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The revision to go back to; the last that was ready before the present one, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
}
