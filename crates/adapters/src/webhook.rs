//! Webhooks: the adapter of [`ryokan_ports::Webhooks`].
//!
//! Their addresses come from users, so they must not lead into our own networks: the host is resolved here, every address
//! of it must be public, and the connection goes to the address that was checked, whatever the name resolves to later.
//! No redirect is followed and no proxy is used.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use ryokan_ports::Webhooks;
use ryokan_ports::notify::NotifyError;

/// For all of a message, its answer included.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct HttpWebhooks {
    /// The operator trusts all users with its own networks.
    allow_private: bool,
}

impl HttpWebhooks {
    pub const fn new(allow_private: bool) -> Self {
        Self { allow_private }
    }

    async fn deliver(&self, url: &str, signature: &str, body: String) -> Result<(), NotifyError> {
        let refused = |what: &str| NotifyError::Refused(what.to_owned());
        let url = reqwest::Url::parse(url).map_err(|_| refused("not an address"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some()
        {
            return Err(refused("not an address for webhooks"));
        }
        let host = url.host_str().ok_or_else(|| refused("the address has no host"))?.to_owned();
        let port = url.port_or_known_default().ok_or_else(|| refused("the address has no port"))?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found: Vec<SocketAddr> = tokio::net::lookup_host((bare, port))
            .await
            .map_err(|_| NotifyError::Unavailable("the host's name cannot be resolved".into()))?
            .collect();
        if found.is_empty() {
            return Err(NotifyError::Unavailable("the host has no address".into()));
        }
        if !self.allow_private && !found.iter().all(|address| is_public(address.ip())) {
            return Err(refused("the host leads into a network that is not public"));
        }
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(PATIENCE)
            .resolve_to_addrs(bare, &found)
            .build()
            .map_err(|e| NotifyError::Unavailable(e.to_string()))?;
        let answer = client
            .post(url)
            .header("content-type", "application/json")
            .header("user-agent", "ryokan")
            .header("ryokan-signature", signature)
            .body(body)
            .send()
            .await
            .map_err(|e| NotifyError::Unavailable(e.without_url().to_string()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            // They ask us to stop.
            reqwest::StatusCode::GONE => Err(refused("it answered 410 Gone")),
            status => Err(NotifyError::Unavailable(format!("it answered {status}"))),
        }
    }
}

#[async_trait]
impl Webhooks for HttpWebhooks {
    async fn post(&self, url: &str, signature: &str, body: String) -> Result<(), NotifyError> {
        match tokio::time::timeout(2 * PATIENCE, self.deliver(url, signature, body)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(NotifyError::Unavailable("no answer in time".into())),
        }
    }
}

/// Whether anybody on the internet may have this address.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        // Carriers' own, protocols' own, benchmarks.
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b)))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    if let Some(v4) = address.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    // Only what is given out to anybody; of that, not what carries another address inside (Teredo, 6to4) or is for texts.
    (0x2000..0x4000).contains(&segments[0])
        && !(segments[0] == 0x2001 && segments[1] < 0x200)
        && !(segments[0] == 0x2001 && segments[1] == 0xdb8)
        && segments[0] != 0x2002
        && !(segments[0] == 0x3fff && segments[1] < 0x1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:0:1::",
            "2001:db8::1",
            "::7f00:1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }

    #[tokio::test]
    async fn addresses_of_our_own_networks_are_refused() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let hooks = HttpWebhooks::new(false);
        for host in ["127.0.0.1", "localhost", "[::1]", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]"] {
            let error = hooks.post(&format!("http://{host}:{port}/"), "t=1", "{}".into()).await.unwrap_err();
            assert!(matches!(error, NotifyError::Refused(_)), "{host}: {error}");
        }
        let none = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(none.is_err(), "nobody connected");
    }
}
