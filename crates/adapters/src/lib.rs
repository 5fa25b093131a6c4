//! docker
pub mod docker;
