//! The model gateway's data plane: OpenAI's and Anthropic's dialects in, providers of either dialect out.
//!
//! A call is decided from a snapshot (which providers, in which order, and why), paid for before it is sent where it costs
//! something (`Books`), passed on byte by byte where both sides speak the same dialect, and translated where they do not;
//! a translation that would lie is refused. Another provider is tried only before the first byte of an answer. What came
//! of a call is told to `Books` exactly once, also when its client goes away. Prompts and answers are never kept or logged.

mod asked;
mod fault;
mod fields;
mod ports;
mod queue;
mod relay;
mod route;
mod serve;
mod sse;
mod translate;
mod upstream;
mod usage;

pub use asked::Endpoint;
pub use fault::{Dialect, Fault, Kind};
pub use ports::{Books, BoxFuture};
pub use serve::ModelGateway;
