//! The typed client of the HTTP API: one method a route, the wire types of this crate in and out.
//!
//! Plain calls have a time limit, streams have none; both notice a dead peer by TCP keep-alive. A refusal of the server
//! arrives as the problem document that it sent. The credential is never part of an error, a log or a `Debug` text, and
//! no redirect is followed, so it reaches nobody but the server that it is for.

mod accounts;
mod connection;
mod credentials;
mod deployments;
mod domains;
mod error;
mod events;
mod exec;
mod files;
mod instances;
mod ledger;
mod logs;
mod models;
mod ndjson;
mod policies;
mod progress;
mod projects;
mod reconnect;
mod sse;
mod system;

pub use connection::{Client, Credential};
pub use error::ClientError;
pub use events::EventFollower;
pub use exec::{ExecFrame, ExecInput, ExecOutput};
pub use files::Download;
pub use instances::StatsStream;
pub use logs::LogFollower;
pub use ndjson::NdjsonStream;
pub use progress::{Operation, ProgressEvent, ProgressKind, ProgressStream};
pub use reconnect::Followed;
pub use sse::{SseEvent, SseParser, TooLong};
