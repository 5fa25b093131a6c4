//! What implements the ports. One folder an engine or service; nothing else knows its SDK.

pub mod bsv;
pub mod directory;
pub mod dns;
pub mod docker;
pub mod firewall;
pub mod models;
pub mod oauth;
mod outward;
pub mod prometheus;
pub mod smtp;
pub mod webhook;
