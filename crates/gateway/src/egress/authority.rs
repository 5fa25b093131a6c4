//! The install's own authority: it vouches, inside sandboxes only, for hosts that are looked into.
//!
//! Its certificate goes into the bundle that sandboxes trust; its key never leaves the server. Leaves live for a day, are
//! kept for a while, and share one key that exists in memory only.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac as _};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::sign::CertifiedKey;
use ryokan_model::Secret;
use sha2::{Digest as _, Sha256};

use super::host::RemoteHost;
use super::tls::{H1, H2};

const DAY: Duration = Duration::from_hours(24);
/// A sandbox's clock may be behind ours.
const LEEWAY: Duration = Duration::from_hours(1);
const AUTHORITY_LIFETIME: Duration = Duration::from_hours(24 * 365 * 10);

/// The authority's texts do not fit together, or are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAuthority;

impl std::fmt::Display for BadAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not the certificate and the key of an authority made by `Authority::create`")
    }
}

impl std::error::Error for BadAuthority {}

/// A new authority, as it is kept.
pub struct AuthorityText {
    /// For the bundle that sandboxes trust.
    pub certificate: String,
    /// To be sealed.
    pub key: Secret,
}

/// Makes certificates for hosts.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    leaf_key: KeyPair,
    signing_key: Arc<dyn rustls::sign::SigningKey>,
    provider: Arc<rustls::crypto::CryptoProvider>,
    /// Numbers the leaves; see `serial`.
    serials: AtomicU64,
    kept: Mutex<HashMap<RemoteHost, Kept>>,
    most: usize,
}

struct Kept {
    key: Arc<CertifiedKey>,
    /// Not given out from here on, long before it ends.
    stale: SystemTime,
    used: u64,
}

impl Authority {
    /// A new authority. Its key comes from the cryptography library's own random source.
    pub fn create(now: SystemTime) -> Result<AuthorityText, BadAuthority> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_| BadAuthority)?;
        let mut params = authority_params(&key);
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + seconds(now - LEEWAY);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + seconds(now + AUTHORITY_LIFETIME);
        params.serial_number = Some(serial(&key, 0, now));
        let certificate = params.self_signed(&key).map_err(|_| BadAuthority)?;
        Ok(AuthorityText { certificate: certificate.pem(), key: Secret::new(key.serialize_pem()) })
    }

    /// The authority that `create` made. Keeps at most `most` certificates for hosts.
    pub fn load(certificate: &str, key: &Secret, most: usize) -> Result<Self, BadAuthority> {
        let key = KeyPair::from_pem(key.expose()).map_err(|_| BadAuthority)?;
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|_| BadAuthority)?;
        // The key of the one must be in the other.
        if super::scrub::find(&certificate, key.public_key_raw()).is_none() {
            return Err(BadAuthority);
        }
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let leaf_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_| BadAuthority)?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let signing_key = provider.key_provider.load_private_key(der).map_err(|_| BadAuthority)?;
        let issuer = Issuer::new(authority_params(&key), key);
        Ok(Self {
            issuer,
            certificate,
            leaf_key,
            signing_key,
            provider: Arc::new(provider),
            serials: AtomicU64::new(1),
            kept: Mutex::new(HashMap::new()),
            most: most.max(1),
        })
    }

    /// How TLS is spoken in the name of `host`, with one protocol on offer or none.
    pub(crate) fn server_config(
        &self,
        host: &RemoteHost,
        protocol: Option<bool>,
        now: SystemTime,
    ) -> Option<ServerConfig> {
        let resolver = rustls::sign::SingleCertAndKey::from(self.leaf(host, now)?);
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .ok()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = match protocol {
            None => Vec::new(),
            Some(true) => vec![H2.to_vec()],
            Some(false) => vec![H1.to_vec()],
        };
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Some(config)
    }

    fn leaf(&self, host: &RemoteHost, now: SystemTime) -> Option<Arc<CertifiedKey>> {
        let number = self.serials.fetch_add(1, Relaxed);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.get_mut(host).filter(|known| now < known.stale) {
            known.used = number;
            return Some(Arc::clone(&known.key));
        }
        let certificate = self.make_leaf(host, number, now)?;
        let key =
            CertifiedKey::new(vec![certificate, self.certificate.clone()], Arc::clone(&self.signing_key));
        let key = Arc::new(key);
        if kept.len() >= self.most
            && let Some(oldest) = kept.iter().min_by_key(|(_, kept)| kept.used).map(|(host, _)| host.clone())
        {
            kept.remove(&oldest);
        }
        kept.insert(host.clone(), Kept { key: Arc::clone(&key), stale: now + DAY / 2, used: number });
        Some(key)
    }

    fn make_leaf(&self, host: &RemoteHost, number: u64, now: SystemTime) -> Option<CertificateDer<'static>> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let san = match host {
            RemoteHost::Name(name) => SanType::DnsName(name.to_string().try_into().ok()?),
            RemoteHost::Address(address) => SanType::IpAddress(*address),
        };
        // A common name has 64 characters at most; nothing reads it any more.
        let name: String = host.to_string().chars().take(64).collect();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = vec![san];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + seconds(now - LEEWAY);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + seconds(now + DAY);
        params.serial_number = Some(serial(self.issuer.key(), number, now));
        let certificate = params.signed_by(&self.leaf_key, &self.issuer).ok()?;
        Some(certificate.der().clone())
    }
}

/// The same for the same key, so that the issuer need not be read out of its certificate.
fn authority_params(key: &KeyPair) -> CertificateParams {
    let print = Sha256::digest(key.public_key_raw());
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "ryokan");
    let name = format!("ryokan egress {:02x}{:02x}{:02x}{:02x}", print[0], print[1], print[2], print[3]);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Never the same twice for one authority, and not to be guessed: no source of chance is needed for it.
fn serial(key: &KeyPair, number: u64, now: SystemTime) -> SerialNumber {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.serialized_der()).expect("HMAC takes keys of any length");
    mac.update(b"serial");
    mac.update(&number.to_be_bytes());
    mac.update(&now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_be_bytes());
    let mut bytes = mac.finalize().into_bytes()[..16].to_vec();
    // Positive, and of full length.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// Certificates count in whole seconds.
fn seconds(at: SystemTime) -> Duration {
    Duration::from_secs(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(most: usize) -> Authority {
        let text = Authority::create(UNIX_EPOCH + DAY * 20_000).unwrap();
        Authority::load(&text.certificate, &text.key, most).unwrap()
    }

    fn host(name: &str) -> RemoteHost {
        RemoteHost::parse(name).unwrap()
    }

    #[test]
    fn certificates_are_kept_for_a_while_and_not_too_many() {
        let (authority, now) = (authority(2), UNIX_EPOCH + DAY * 20_001);
        let leaf = |name: &str, at| authority.leaf(&host(name), at).unwrap().cert[0].clone();
        let first = leaf("a.test", now);
        assert_eq!(first, leaf("a.test", now + DAY / 3));
        // Renewed long before its end, with another number.
        assert_ne!(first, leaf("a.test", now + DAY / 2));
        let (a, b) = (leaf("a.test", now), leaf("b.test", now));
        assert_eq!(a, leaf("a.test", now));
        leaf("c.test", now);
        // The one that was used longest ago had to go.
        assert_eq!(authority.kept.lock().unwrap().len(), 2);
        assert_eq!(a, leaf("a.test", now));
        assert_ne!(b, leaf("b.test", now));
        for odd in ["10.0.0.1", "[2001:4860::1]", "_x.test", "xn--bcher-kva.test"] {
            leaf(odd, now);
        }
        leaf(&format!("{}.test", vec!["a".repeat(60); 4].join(".")), now);
    }

    #[test]
    fn texts_that_do_not_fit_together_are_refused() {
        let now = UNIX_EPOCH + DAY * 20_000;
        let (one, two) = (Authority::create(now).unwrap(), Authority::create(now).unwrap());
        assert!(Authority::load(&one.certificate, &one.key, 1).is_ok());
        for (certificate, key) in
            [(&one.certificate, &two.key), (&String::new(), &one.key), (&one.certificate, &Secret::from("x"))]
        {
            assert_eq!(Authority::load(certificate, key, 1).err(), Some(BadAuthority));
        }
    }
}
