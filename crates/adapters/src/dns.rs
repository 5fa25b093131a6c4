//! Lookups over the system's name servers, or those of the configuration. Nothing is cached here, a lookup ends
//! within seconds, and only so many run at once.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as Said, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData};
use ryokan_ports::dns::{DnsError, DnsResolver};
use tokio::sync::Semaphore;

/// For each try of each server.
const TRY: Duration = Duration::from_secs(3);
/// For a lookup in all, the wait for its turn included.
const LOOKUP: Duration = Duration::from_secs(10);
const AT_ONCE: usize = 64;
/// What a name may answer; more is not read.
const RECORDS: usize = 100;
const LONGEST: usize = 4096;

/// Looks names up.
pub struct Dns {
    resolver: TokioResolver,
    turns: Semaphore,
    lookup: Duration,
}

impl Dns {
    /// With the system's servers when none are given. The system's search list and `hosts` file are not used.
    /// A system without servers is survived: every lookup fails.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, DnsError> {
        let servers = if servers.is_empty() {
            match hickory_resolver::system_conf::read_system_conf() {
                Ok((system, _)) => system.name_servers().to_vec(),
                Err(error) => {
                    tracing::warn!(error = %error, "the system names no name servers: custom domains cannot be verified, and agents reach no host by its name, unless `dns.servers` does");
                    Vec::new()
                }
            }
        } else {
            servers.iter().map(server).collect()
        };
        let config = ResolverConfig::from_name_servers(servers);
        let mut options = ResolverOpts::default();
        options.timeout = TRY;
        options.attempts = 2;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let resolver = builder.build().map_err(meaning)?;
        Ok(Self { resolver, turns: Semaphore::new(AT_ONCE), lookup: LOOKUP })
    }
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

#[async_trait]
impl DnsResolver for Dns {
    async fn txt(&self, name: &str) -> Result<Vec<String>, DnsError> {
        let lookup = async {
            let _turn = self.turns.acquire().await;
            // As text it would be taken for UTF-8, which refuses the underscore within `mandala_project`.
            let name = Name::from_ascii(format!("{name}.")).map_err(NetError::from)?;
            self.resolver.txt_lookup(name).await
        };
        let answer = tokio::time::timeout(self.lookup, lookup).await.map_err(|_| DnsError::Timeout)?;
        let answer = answer.map_err(meaning)?;
        let texts = answer.answers().iter().filter_map(|record| match &record.data {
            RData::TXT(text) => {
                let bytes: Vec<u8> = text.txt_data.iter().flat_map(|part| part.iter().copied()).collect();
                (bytes.len() <= LONGEST).then(|| String::from_utf8_lossy(&bytes).into_owned())
            }
            _ => None,
        });
        let texts: Vec<String> = texts.take(RECORDS).collect();
        if texts.is_empty() { Err(DnsError::NoRecord) } else { Ok(texts) }
    }

    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, DnsError> {
        let lookup = async {
            let _turn = self.turns.acquire().await;
            let name = Name::from_ascii(format!("{name}.")).map_err(NetError::from)?;
            self.resolver.lookup_ip(name).await
        };
        let answer = tokio::time::timeout(self.lookup, lookup).await.map_err(|_| DnsError::Timeout)?;
        let mut addresses: Vec<IpAddr> = answer.map_err(meaning)?.iter().take(RECORDS).collect();
        // Machines without a route for IPv6 are more common than hosts that have nothing else.
        addresses.sort_by_key(IpAddr::is_ipv6);
        if addresses.is_empty() { Err(DnsError::NoRecord) } else { Ok(addresses) }
    }
}

fn meaning(error: NetError) -> DnsError {
    match &error {
        NetError::Dns(Said::NoRecordsFound(none))
            if matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError) =>
        {
            DnsError::NoRecord
        }
        NetError::Dns(Said::NoRecordsFound(none)) => DnsError::ServerFailure(none.response_code.to_string()),
        NetError::Dns(Said::ResponseCode(code)) => DnsError::ServerFailure(code.to_string()),
        NetError::Timeout => DnsError::Timeout,
        _ => {
            tracing::debug!(error = %error, "a name could not be looked up");
            DnsError::ServerFailure("it cannot be reached, or its answer is not one".into())
        }
    }
}
