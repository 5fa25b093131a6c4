//! From a PostgreSQL URL to something that connects: libpq's `sslmode` and `sslrootcert` on top of tokio-postgres.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Result, StoreError};

/// A connection to be driven.
pub(crate) type Driver = Connection<Socket, <Tls as MakeTlsConnect<Socket>>::Stream>;

/// How long a whole connect may take: the driver's own limit ends with TCP's, and a stopped server still has that.
const GREETING: Duration = Duration::from_secs(15);

/// Where and how to connect.
pub(crate) struct Target {
    config: Config,
    tls: Tls,
    pub(crate) statement_timeout: Duration,
}

impl Target {
    /// Parses a URL or a `key=value` string. Errors never repeat the text.
    pub(crate) fn parse(url: &str, statement_timeout: Duration) -> Result<Self> {
        let (url, mode) = take_option(url, "sslmode");
        let (url, roots) = take_option(&url, "sslrootcert");
        let mut config: Config =
            url.parse().map_err(|_| StoreError::Other("the PostgreSQL URL cannot be parsed".into()))?;
        let verify = match mode.as_deref() {
            Some("disable") => {
                config.ssl_mode(SslMode::Disable);
                false
            }
            None | Some("prefer" | "allow") => {
                config.ssl_mode(SslMode::Prefer);
                false
            }
            // As libpq: a root certificate turns `require` into a check.
            Some("require") => {
                config.ssl_mode(SslMode::Require);
                roots.is_some()
            }
            Some("verify-ca" | "verify-full") => {
                config.ssl_mode(SslMode::Require);
                true
            }
            Some(_) => {
                return Err(StoreError::Other("the PostgreSQL URL's sslmode is not one of libpq's".into()));
            }
        };
        // As libpq: no TLS on a Unix socket, whatever the mode.
        let hosts = config.get_hosts();
        if !hosts.is_empty() && hosts.iter().all(|host| matches!(host, Host::Unix(_))) {
            config.ssl_mode(SslMode::Disable);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(10));
        }
        if config.get_application_name().is_none() {
            config.application_name("ryokan");
        }
        // A peer that vanished is noticed in about a minute, also while nothing is sent.
        config.keepalives_idle(Duration::from_secs(20)).keepalives_interval(Duration::from_secs(10));
        config.keepalives_retries(3).tcp_user_timeout(Duration::from_secs(30));
        let tls = Tls(MakeRustlsConnect::new(tls(verify, roots.as_deref())?));
        Ok(Self { config, tls, statement_timeout })
    }

    /// A new connection; nothing is sent on it yet beyond the greeting.
    pub(crate) async fn connect(&self) -> Result<(Client, Driver)> {
        let greeting = timeout(GREETING, self.config.connect(self.tls.clone()));
        Ok(greeting.await.map_err(|_| StoreError::Unavailable("PostgreSQL does not answer".into()))??)
    }
}

/// TLS that can be asked for by a connection without a host's name: to a Unix socket, which then does not use it.
#[derive(Clone)]
pub(crate) struct Tls(MakeRustlsConnect);

impl MakeTlsConnect<Socket> for Tls {
    type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
    type TlsConnect = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;
    type Error = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<Self::TlsConnect, Self::Error> {
        let host = if host.is_empty() { "localhost" } else { host };
        <MakeRustlsConnect as MakeTlsConnect<Socket>>::make_tls_connect(&mut self.0, host)
    }
}

/// Removes `name` from the URL's query or from the `key=value` list, and returns its value.
fn take_option(url: &str, name: &str) -> (String, Option<String>) {
    if let Some((place, query)) = url.split_once('?')
        && url.contains("://")
    {
        let mut value = None;
        let rest: Vec<&str> = query
            .split('&')
            .filter(|pair| match pair.split_once('=') {
                Some((key, text)) if key == name => {
                    value = Some(text.replace("%2F", "/").replace("%2f", "/"));
                    false
                }
                _ => true,
            })
            .collect();
        let url = if rest.is_empty() { place.to_owned() } else { format!("{place}?{}", rest.join("&")) };
        return (url, value);
    }
    if url.contains("://") {
        return (url.to_owned(), None);
    }
    let mut value = None;
    let rest: Vec<&str> = url
        .split(' ')
        .filter(|pair| match pair.split_once('=') {
            Some((key, text)) if key == name => {
                value = Some(text.to_owned());
                false
            }
            _ => true,
        })
        .collect();
    (rest.join(" "), value)
}

fn tls(verify: bool, roots: Option<&str>) -> Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Other(format!("TLS: {error}")))?;
    if !verify {
        let unchecked = Arc::new(Unchecked { provider });
        return Ok(builder.dangerous().with_custom_certificate_verifier(unchecked).with_no_client_auth());
    }
    let mut store = RootCertStore::empty();
    match roots {
        None | Some("system") => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let wrong = |what: String| StoreError::Other(format!("sslrootcert {path}: {what}"));
            for certificate in
                CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?
            {
                let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
                store.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
            if store.is_empty() {
                return Err(wrong("holds no certificate".into()));
            }
        }
    }
    Ok(builder.with_root_certificates(store).with_no_client_auth())
}

/// What `sslmode=prefer` and `require` ask for: encryption against listeners, no proof of who answers.
#[derive(Debug)]
struct Unchecked {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
