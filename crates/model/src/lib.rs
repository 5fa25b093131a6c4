//! The pure domain of ryokan: ids, names, quantities, instance specs and their state machine, templates, permissions.
//!
//! Nothing here does IO, reads a clock or draws a random number. Types that go over the wire as they are derive their
//! `OpenAPI` schema behind feature `openapi`. What parses here is valid everywhere else.

pub mod addon;
pub mod billing;
pub mod change;
pub mod clock;
pub mod credential;
pub mod deployment;
pub mod dockerfile;
pub mod domain;
pub mod event;
pub mod id;
pub mod image;
pub mod instance;
pub mod invalid;
pub mod manifest;
pub mod models;
pub mod money;
pub mod name;
pub mod permission;
pub mod policy;
pub mod price;
pub mod probe;
pub mod project;
pub mod quantity;
pub mod request;
pub mod secret;
pub mod spec;
pub mod template;
pub mod usage;

pub use clock::{Clock, Millis};
pub use id::{
    ApprovalId, AuditId, CredentialId, DeploymentId, GroupId, IdentityKeyId, InstanceId, JobId, ModelCallId,
    ProjectId, ReservationId, RuleId, ServerId, SessionId, TaskId, TokenId, TopUpId, TransactionId, UserId,
};
pub use invalid::Invalid;
pub use money::Sats;
pub use name::Name;
pub use secret::Secret;
