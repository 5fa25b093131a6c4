//! What operators look at: version, health, jobs, reconcilers.

use ryokan_model::JobId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/system`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct System {
    pub version: String,
    pub server_id: String,
    pub zone: String,
    /// `sqlite` or `postgresql`.
    pub store: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
    pub started_at: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Engine {
    /// `docker`, `podman`.
    pub name: String,
    pub version: String,
    /// What `security.isolation` may name.
    pub isolations: Vec<String>,
    pub rootless: bool,
    /// `bridge`: at the container's own address; `loopback`: at a published port.
    pub reach: String,
    pub cpus: u32,
    pub memory_bytes: u64,
    /// Of `memory`, `cpus` and `pids`, what this engine cannot limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unlimited: Vec<String>,
    /// What whoever runs the engine must know and mend, each with its remedy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// `GET /readyz`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    pub ready: bool,
    pub capabilities: Vec<Capability>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Capability {
    /// `store`, `runtime`, `gateway`.
    pub name: String,
    pub ready: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `GET /v1/system/jobs`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Job {
    pub id: JobId,
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `ready`, `running`, `done`, `dead`.
    pub state: String,
    pub attempt: i64,
    pub max_attempts: i64,
    pub run_at: i64,
    pub created_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `GET /v1/system/reconcilers`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Reconciler {
    pub name: String,
    pub started_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<i64>,
    /// `ok` or `failed`.
    pub outcome: String,
    /// Things not yet as they should be.
    pub backlog: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
