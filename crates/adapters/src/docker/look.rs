//! Looking at containers, in words that both engines use. bollard's own types refuse an answer that holds a state they
//! have not heard of, as Podman's `stopped` and `initialized`; and one such container would hide all others of a list.

use bollard::models::ContainerInspectResponse;
use ryokan_ports::runtime::{Result, RuntimeError};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{Inner, label};

/// A container of ours in a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    pub(super) id: String,
    #[serde(default)]
    pub(super) created: i64,
    #[serde(default, deserialize_with = "or_null")]
    pub(super) labels: label::Labels,
    #[serde(default)]
    state: String,
}

impl Listed {
    pub(super) fn runs(&self) -> bool {
        ["running", "paused"].contains(&self.state.as_str())
    }
}

/// Whoever has none may have `null`.
fn or_null<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<label::Labels, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Inner {
    /// Containers of ours, running or not, with these labels too.
    pub(super) async fn list_containers(&self, labels: &[(&str, Option<String>)]) -> Result<Vec<Listed>> {
        let mut wanted = vec![(label::SERVER, Some(self.server.to_string()))];
        wanted.extend_from_slice(labels);
        let filters = escape(&json!(label::filter(&wanted)).to_string());
        let path = self.link.versioned(&format!("/containers/json?all=true&filters={filters}")).await?;
        let mut listed: Vec<Listed> = self.link.get("containers", &path).await?;
        listed.retain(|container| label::carries(&container.labels, &wanted));
        Ok(listed)
    }

    pub(super) async fn inspect_container(&self, what: &str, id: &str) -> Result<ContainerInspectResponse> {
        let path = self.link.versioned(&format!("/containers/{}/json", escape(id))).await?;
        let mut found: Value = self.link.get(what, &path).await?;
        if let Some(status) = found.pointer_mut("/State/Status") {
            let known = common(status.as_str().unwrap_or_default()).to_owned();
            *status = Value::String(known);
        }
        serde_json::from_value(found)
            .map_err(|e| RuntimeError::Other(format!("{what}: a container that we do not understand: {e}")))
    }
}

/// Docker's word for a state of Podman's.
fn common(status: &str) -> &str {
    match status {
        // It has ended, and its mounts are still being let go.
        "stopped" => "exited",
        // Made by the runtime, its first process does not run yet; or Podman has lost track of it, which a start mends.
        "configured" | "initialized" | "unknown" => "created",
        other => other,
    }
}

/// Percent-encoding of everything but what is safe everywhere.
pub(super) fn escape(text: &str) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if safe(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_podman_become_dockers() {
        assert_eq!(
            ["stopped", "initialized", "configured", "running", "exited", "removing"].map(common),
            ["exited", "created", "created", "running", "exited", "removing"]
        );
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(escape(r#"{"label":["a=b"]}"#), "%7B%22label%22%3A%5B%22a%3Db%22%5D%7D");
    }
}
