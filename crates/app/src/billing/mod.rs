//! Limits on money: who owes is suspended after a grace, who reached a cap until its period turns, and what is spent on
//! models and tools is reserved before and settled after.

pub mod caps;
pub mod judge;
pub mod notify;
pub mod reserve;
pub mod settings;
