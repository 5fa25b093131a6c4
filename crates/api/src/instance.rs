//! Instances: the agents themselves.

use std::collections::BTreeMap;

use ryokan_model::addon::Addon;
use ryokan_model::billing::Suspension;
use ryokan_model::instance::{Desired, State};
use ryokan_model::quantity::Span;
use ryokan_model::spec::InstanceSpec;
use ryokan_model::{InstanceId, Name};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Instance {
    pub id: InstanceId,
    pub name: Name,
    /// Name of its project.
    pub project: String,
    /// Name of the template that it was made from.
    pub template: String,
    pub desired: Desired,
    pub state: State,
    /// Why the server keeps it from running, whatever is desired: its project owes money, or a cap is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspension>,
    /// What it is, if it is a database beside an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addon: Option<Addon>,
    /// That agent's name, once it has been released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub addon_of: Option<Name>,
    /// Names of the databases beside it, when it is asked for by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addons: Vec<Name>,
    /// Since when it is in this state.
    pub since: i64,
    /// Why, in words: the last error, the wait's reason, the last log lines of a crash loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why the last update could not be carried out; what ran before it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_error: Option<String>,
    /// Crashes in a row.
    pub crashes: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Where it answers, by its own host name. A database: where its project's instances find it, without credentials;
    /// nobody else does.
    pub url: String,
    /// Where it answers when wildcard names cannot be used. A database: the same.
    pub path_url: String,
    /// The registry's digest of what runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// How the gateway reaches it: `bridge` or `loopback`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<String>,
    /// Grows with each change of the spec.
    pub generation: i64,
    pub spec: InstanceSpec,
    pub created_at: i64,
    pub updated_at: i64,
}

pub use ryokan_model::request::InstanceRequest;

/// The data of the events of a progress stream: `created`, `pending`, `ready`, `stopped`, `deleted`, `error`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Of an image pull, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// On `ready`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Which instances.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InstanceQuery {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Id or name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
}

/// `DELETE /v1/instances/{id or name}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct DeleteQuery {
    /// Do not wait for the engine: the instance is gone at once, what the engine still holds is removed when it can be.
    pub force: bool,
    /// Leave the volumes on the engine.
    pub keep_volumes: bool,
}

/// `GET /v1/instances/{id or name}/logs`: NDJSON of [`LogLine`], or SSE with event `log` when the client accepts it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    pub follow: bool,
    /// Whole lines from the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail: Option<u64>,
    /// UTC milliseconds, or a span back from now such as `10m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    pub at: i64,
    /// `stdout` or `stderr`.
    pub stream: String,
    pub text: String,
}

/// `POST /v1/instances/{id or name}/exec`: runs to its end; at most 10 minutes and 1 MiB of each output.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    pub command: Vec<String>,
    /// Given to the command's standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// At most `10m`; 1 minute when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ExecResult {
    pub exit_code: i64,
    /// Invalid UTF-8 is replaced.
    pub stdout: String,
    pub stderr: String,
    /// Output was longer and has been cut.
    pub truncated: bool,
}

/// `GET /v1/instances/{id or name}/exec` upgraded to a WebSocket. The command is in repeated `command` parameters.
/// Binary frames from the client are standard input; text frames are [`ExecControl`]. Binary frames from the server
/// begin with one byte, 1 for standard output and 2 for standard error; a final text frame is [`ExecStatus`].
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ExecQuery {
    pub command: Vec<String>,
    pub tty: bool,
    pub stdin: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u16>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ExecControl {
    Resize { columns: u16, rows: u16 },
    Eof {},
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExecStatus {
    Exit { code: i64 },
    Error { message: String },
}

/// `GET .../files?path=`: a file's content, or with `list=true` its or a folder's [`FileEntry`]s as JSON.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReadFileQuery {
    /// Absolute, inside the container, without `..`; at most 4096 bytes.
    pub path: String,
    /// What is in the folder, at most 10,000 entries by name, or the one entry of a file. Without it a folder is
    /// refused.
    #[serde(default)]
    pub list: bool,
}

/// `PUT .../files?path=&mode=` writes a file; the body is its content, `Content-Length` is needed, at most 1 GiB.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WriteFileQuery {
    /// Absolute, inside the container, without `..`; at most 4096 bytes. Missing folders are made.
    pub path: String,
    /// Octal permissions, at most `0777`; `0644` when absent, also when a file is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FileEntry {
    pub name: String,
    /// `file`, `directory`, `symlink`, `other`.
    pub kind: String,
    pub size: u64,
    /// Octal, as in `0644`.
    pub mode: String,
    pub modified: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// `GET .../stats`: one sample as JSON, or a stream of them as SSE (event `stats`) when the client accepts it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    pub at: i64,
    /// Percent of one core.
    pub cpu_percent: f64,
    pub cpu_nanos: u64,
    pub memory_bytes: u64,
    pub memory_limit_bytes: u64,
    pub network_rx_bytes: u64,
    pub network_tx_bytes: u64,
    pub block_read_bytes: u64,
    pub block_write_bytes: u64,
    pub pids: u64,
}

/// `GET .../ports`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PortInfo {
    pub name: String,
    pub port: u16,
    /// Where the gateway serves it.
    pub url: String,
}
