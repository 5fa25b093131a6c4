//! TLS towards hosts: the web's authorities and the operator's own, nothing resumed.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::host::RemoteHost;
use super::limits::EgressLimits;
use super::refusal::Refusal;

pub(crate) const H2: &[u8] = b"h2";
pub(crate) const H1: &[u8] = b"http/1.1";

/// A certificate of the operator's that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRoot;

impl std::fmt::Display for BadRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not PEM certificates of authorities")
    }
}

impl std::error::Error for BadRoot {}

/// Whom we trust.
#[derive(Clone, Debug, Default)]
pub struct TlsParts {
    extra: Vec<CertificateDer<'static>>,
}

impl TlsParts {
    /// The web's authorities and those in `pem`, which may be empty.
    pub fn with_roots(pem: &str) -> Result<Self, BadRoot> {
        let mut extra = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            extra.push(certificate.map_err(|_| BadRoot)?);
        }
        let mut store = RootCertStore::empty();
        let (_, ignored) = store.add_parsable_certificates(extra.iter().cloned());
        if ignored > 0 || (extra.is_empty() && !pem.trim().is_empty()) {
            return Err(BadRoot);
        }
        Ok(Self { extra })
    }
}

pub(crate) struct UpstreamTls {
    config: ClientConfig,
}

impl UpstreamTls {
    pub(crate) fn new(parts: TlsParts) -> Self {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        roots.add_parsable_certificates(parts.extra);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider supports the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        // A resumed session would tie one instance's connections to another's.
        config.resumption = Resumption::disabled();
        Self { config }
    }

    /// TLS over a connection to `host`, offering these protocols.
    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
        host: &RemoteHost,
        protocols: Vec<Vec<u8>>,
        limits: &EgressLimits,
    ) -> Result<TlsStream<TcpStream>, Refusal> {
        let name = match host {
            RemoteHost::Name(name) => {
                ServerName::try_from(name.to_string()).map_err(|_| Refusal::CertificateRefused)?
            }
            RemoteHost::Address(address) => ServerName::IpAddress((*address).into()),
        };
        let mut config = self.config.clone();
        config.alpn_protocols = protocols;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        match tokio::time::timeout(limits.connect_timeout, connecting).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => {
                Err(if is_certificate(&error) { Refusal::CertificateRefused } else { Refusal::Unreachable })
            }
            Err(_) => Err(Refusal::TooSlow),
        }
    }
}

fn is_certificate(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented))
}

/// Whether a connection speaks HTTP/2.
pub(crate) fn is_h2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(H2)
}
