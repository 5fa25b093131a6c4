//! The port of name lookups: what TXT records and which addresses a name has. "There is none" is an answer, and never confused with nobody
//! having answered: what was proven once is not given up because a server is down.

use std::net::IpAddr;

use async_trait::async_trait;

/// Why there are no records. `Display` is for people and names no server of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// For certain: the name, or such a record at it, does not exist.
    #[error("there is no such record")]
    NoRecord,
    /// A server answered that it cannot say.
    #[error("the name server could not answer: {0}")]
    ServerFailure(String),
    #[error("no name server answered in time")]
    Timeout,
}

#[async_trait]
pub trait DnsResolver: Send + Sync + 'static {
    /// The texts of all TXT records at `name`, an absolute name in ASCII without a dot at the end; the strings of one
    /// record joined (RFC 7208, 3.3). Never an empty list. Bounded in time, count and size by the adapter, and asked
    /// anew each time.
    async fn txt(&self, name: &str) -> Result<Vec<String>, DnsError>;

    /// The addresses of `name`, IPv4 first; of such a name as for [`DnsResolver::txt`], and bounded alike. Whether they
    /// may be connected to is not asked here.
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, DnsError>;
}
