//! What an instance may use of its host, as hard limits.

use serde::{Deserialize, Serialize};

use crate::Invalid;
use crate::quantity::{Bytes, Cpus};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Resources {
    #[serde(default = "Resources::default_cpus")]
    pub cpus: Cpus,
    #[serde(default = "Resources::default_memory")]
    pub memory: Bytes,
    /// Processes and threads.
    #[serde(default = "Resources::default_pids")]
    pub pids: u32,
    /// Whole ones. An engine that cannot give them refuses the instance.
    #[serde(default, skip_serializing_if = "is_none")]
    pub gpus: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_none(gpus: &u32) -> bool {
    *gpus == 0
}

impl Resources {
    pub const MOST_GPUS: u32 = 64;

    fn default_cpus() -> Cpus {
        Cpus::from_millis(1000)
    }
    fn default_memory() -> Bytes {
        Bytes::mebi(512)
    }
    fn default_pids() -> u32 {
        512
    }

    pub(super) fn validate(&self) -> Result<(), Invalid> {
        if self.memory.get() < Bytes::MIN_MEMORY {
            return Err(Invalid::new("resources.memory", "must be at least 6Mi"));
        }
        if self.pids < 8 || self.pids > 65_536 {
            return Err(Invalid::new("resources.pids", "must be between 8 and 65536"));
        }
        if self.gpus > Self::MOST_GPUS {
            return Err(Invalid::new(
                "resources.gpus",
                format!("must be a whole number from 0 to {}", Self::MOST_GPUS),
            ));
        }
        Ok(())
    }
}

impl Default for Resources {
    fn default() -> Self {
        let (cpus, memory) = (Self::default_cpus(), Self::default_memory());
        Self { cpus, memory, pids: Self::default_pids(), gpus: 0 }
    }
}
