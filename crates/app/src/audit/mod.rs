//! The record of every decision: how what was allowed ended, pages for people, and the whole for export.

mod end;
mod list;

pub use end::completions;
pub use list::AuditQuery;
pub use ryokan_store::audit::{AuditFilter, AuditRow, Ended};
