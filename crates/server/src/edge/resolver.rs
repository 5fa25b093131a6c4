//! Names as the proxy looks them up: by the server's name servers, never by the machine's `hosts` or search list.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use ryokan_gateway::egress::{Later, Resolver};
use ryokan_ports::DnsResolver;

pub(crate) struct ByDns(pub(crate) Arc<dyn DnsResolver>);

impl Resolver for ByDns {
    fn resolve<'a>(&'a self, name: &'a str) -> Later<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { self.0.addresses(name).await.map_err(io::Error::other) })
    }
}
