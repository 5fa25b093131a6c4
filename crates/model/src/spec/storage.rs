//! What is put into the container's tree: disks that outlive it, and files that are written before it starts.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::field::{absolute, label, text};
use crate::Invalid;

const MAX_FILES: usize = 64;
const MAX_VOLUME_NAME: usize = 30;

/// A named disk of the instance that outlives its containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VolumeMount {
    pub name: String,
    pub path: String,
    #[serde(default)]
    pub read_only: bool,
}

/// A file put into the container before it starts. Its content is no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigFile {
    pub path: String,
    pub content: String,
    /// Octal permissions, as in `"0640"`.
    #[serde(default = "ConfigFile::default_mode")]
    pub mode: String,
    /// `seed`: written only when the path does not exist, then the agent's own. `managed`: written at every start.
    #[serde(default)]
    pub ownership: FileOwnership,
}

impl ConfigFile {
    fn default_mode() -> String {
        "0644".to_owned()
    }

    /// The permissions as a number; [`super::InstanceSpec::validate`] has checked that it is one.
    pub fn mode_bits(&self) -> u32 {
        u32::from_str_radix(&self.mode, 8).unwrap_or(0o644) & 0o777
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum FileOwnership {
    #[default]
    Seed,
    Managed,
}

pub(super) fn validate(volumes: &[VolumeMount], files: &[ConfigFile]) -> Result<(), Invalid> {
    if volumes.len() > 16 {
        return Err(Invalid::new("volumes", "at most 16"));
    }
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (i, volume) in volumes.iter().enumerate() {
        let at = format!("volumes[{i}]");
        label(&format!("{at}.name"), &volume.name, MAX_VOLUME_NAME)?;
        absolute(&format!("{at}.path"), &volume.path)?;
        if !names.insert(&volume.name) || !paths.insert(&volume.path) {
            return Err(Invalid::new(at, "its name or path is used twice"));
        }
    }
    if files.len() > MAX_FILES {
        return Err(Invalid::new("files", format!("at most {MAX_FILES}")));
    }
    for (i, file) in files.iter().enumerate() {
        let at = format!("files[{i}]");
        absolute(&format!("{at}.path"), &file.path)?;
        text(&format!("{at}.content"), &file.content, 256 * 1024)?;
        let ok = (3..=4).contains(&file.mode.len())
            && u32::from_str_radix(&file.mode, 8).is_ok_and(|m| m <= 0o777);
        if !ok {
            return Err(Invalid::new(
                format!("{at}.mode"),
                "must be octal permissions from \"000\" to \"0777\"",
            ));
        }
    }
    Ok(())
}

/// Whether a spec's volume may be called so.
pub fn is_volume_name(name: &str) -> bool {
    label("", name, MAX_VOLUME_NAME).is_ok()
}
