//! The policy: rules at three levels, in memory on every server, and the one question that all front ends ask of them.
//!
//! A change is in force on the server that answered it before it answers, and on the others as soon as they are signalled.

mod explain;
mod judge;
mod rules;
mod seed;
mod snapshot;

pub use explain::Supposed;
pub use judge::{Judgement, Question};
pub use rules::{LevelOf, Made};
pub use snapshot::keeper;
