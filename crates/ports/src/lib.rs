//! The contracts with the outside. A port exists only where there are two real implementations or a network.
//!
//! Each port's module says what must hold; its conformance suite and its fake live behind feature `test-util`, and
//! every implementation passes the same suite. The worker links this crate without the heart and without SQL.

pub mod blob;
pub mod build;
pub mod crash;
pub mod dns;
pub mod edge;
pub mod files;
pub mod models;
pub mod notify;
pub mod payment;
pub mod runtime;
pub mod usage;

#[cfg(feature = "test-util")]
pub mod conformance;
#[cfg(feature = "test-util")]
pub mod fake;

pub use blob::BlobStore;
pub use build::ImageBuilder;
pub use dns::DnsResolver;
pub use edge::Edge;
pub use models::ModelProviders;
pub use notify::{Mailer, Webhooks};
pub use payment::PaymentProvider;
pub use runtime::Runtime;
pub use usage::UsageSource;
