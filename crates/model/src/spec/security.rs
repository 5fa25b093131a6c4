//! How a container is fenced in. What is not granted here is dropped, and what is not on the short list cannot be
//! granted.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::field::{absolute, label};
use crate::Invalid;

const KNOWN_CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// How the container is fenced in. What is not granted here is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Security {
    /// The engine's runtime: `runc`, or any other that it offers, such as `runsc`, `kata`, `sysbox-runc`.
    #[serde(default = "Security::default_isolation")]
    pub isolation: String,
    /// `UID[:GID]`; the image's own user when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default)]
    pub read_only_root: bool,
    /// Capabilities kept, as in `NET_BIND_SERVICE`. All others are dropped.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub capabilities: BTreeSet<String>,
    /// Writable memory-backed folders for a read-only root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tmpfs: Vec<String>,
}

impl Security {
    pub const DEFAULT_ISOLATION: &'static str = "runc";

    fn default_isolation() -> String {
        Self::DEFAULT_ISOLATION.to_owned()
    }

    pub(super) fn validate(&self) -> Result<(), Invalid> {
        label("security.isolation", &self.isolation, 40)?;
        if let Some(user) = &self.user {
            let numeric = |s: &str| !s.is_empty() && s.len() <= 10 && s.bytes().all(|b| b.is_ascii_digit());
            let ok = match user.split_once(':') {
                Some((u, g)) => numeric(u) && numeric(g),
                None => numeric(user),
            };
            if !ok {
                return Err(Invalid::new(
                    "security.user",
                    "must be a number, as in \"1000\" or \"1000:1000\"",
                ));
            }
        }
        for capability in &self.capabilities {
            if !KNOWN_CAPABILITIES.contains(&capability.as_str()) {
                return Err(Invalid::new(
                    "security.capabilities",
                    format!(
                        "`{capability}` cannot be granted; allowed are {}",
                        KNOWN_CAPABILITIES.join(", ")
                    ),
                ));
            }
        }
        if self.tmpfs.len() > 16 {
            return Err(Invalid::new("security.tmpfs", "at most 16"));
        }
        self.tmpfs
            .iter()
            .enumerate()
            .try_for_each(|(i, path)| absolute(&format!("security.tmpfs[{i}]"), path))
    }
}

impl Default for Security {
    fn default() -> Self {
        Self {
            isolation: Self::default_isolation(),
            user: None,
            read_only_root: false,
            capabilities: BTreeSet::new(),
            tmpfs: Vec::new(),
        }
    }
}
