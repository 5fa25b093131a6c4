//! What implements the ports. One folder an engine or service; nothing else knows its SDK.

pub mod directory;
pub mod docker;
