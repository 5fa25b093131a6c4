//! What an instance may reach. The wire keeps to it (no route, and rules of the machine's firewall); what may pass by
//! the door is for policies to say.

use serde::{Deserialize, Serialize};

/// What the instance may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum EgressProfile {
    /// Its siblings and our door: what the policies allow passes there, and nothing else gets out.
    #[default]
    Proxy,
    /// Also any public address by DNS, HTTP and HTTPS, for programs that cannot use a proxy. Hosts are not told apart.
    Ports,
    /// Its siblings only.
    None,
}

impl EgressProfile {
    /// Whether it is given what it takes to use the door.
    pub const fn has_door(self) -> bool {
        !matches!(self, Self::None)
    }
}
