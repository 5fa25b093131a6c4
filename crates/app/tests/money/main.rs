//! Money from end to end, on both stores: servers that die and come back over one database, with a clock, counters and a
//! chain that the tests hold in their hands.
#![expect(clippy::unwrap_used, reason = "tests")]

mod funding;
mod ledger;
mod rig;
