//! What the crash suite and the chaos runs share: the installation under test, what lies under it, what must hold.

pub(crate) mod below;
pub(crate) mod dice;
pub(crate) mod engine;
pub(crate) mod invariants;
pub(crate) mod rig;
