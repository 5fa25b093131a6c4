//! The ports that an agent listens on. The first is the gateway's.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::field::label;
use crate::Invalid;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Port {
    pub name: String,
    pub port: u16,
    #[serde(default)]
    pub protocol: Protocol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Protocol {
    #[default]
    Http,
    Tcp,
}

/// Names and numbers are given once each.
pub(super) fn validate(ports: &[Port]) -> Result<(), Invalid> {
    if ports.len() > 16 {
        return Err(Invalid::new("ports", "at most 16"));
    }
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (i, port) in ports.iter().enumerate() {
        let at = format!("ports[{i}]");
        label(&format!("{at}.name"), &port.name, 15)?;
        if port.port == 0 {
            return Err(Invalid::new(format!("{at}.port"), "must be between 1 and 65535"));
        }
        if !names.insert(&port.name) {
            return Err(Invalid::new(format!("{at}.name"), format!("`{}` is used twice", port.name)));
        }
        if !numbers.insert(port.port) {
            return Err(Invalid::new(format!("{at}.port"), format!("{} is used twice", port.port)));
        }
    }
    Ok(())
}
