//! Requests of ours to addresses that users name: webhooks, issuers of tokens. They must not lead into our own networks:
//! the host is resolved here, every address of it must be public, and the connection goes to the addresses that were
//! checked, whatever the name resolves to later. No redirect is followed and no proxy is used.

use std::net::SocketAddr;
use std::time::Duration;

use ryokan_model::policy::is_public;

/// For all of an exchange.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Why nothing was sent. For people; names no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// Nobody may send there; trying again is pointless.
    Refused(&'static str),
    Unavailable(String),
}

/// A client for this one URL.
pub(crate) async fn client_for(
    url: &str,
    allow_private: bool,
) -> Result<(reqwest::Client, reqwest::Url), Unsent> {
    let url = reqwest::Url::parse(url).map_err(|_| Unsent::Refused("not an address"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return Err(Unsent::Refused("not an address of the web"));
    }
    let host = url.host_str().ok_or(Unsent::Refused("the address has no host"))?;
    let port = url.port_or_known_default().ok_or(Unsent::Refused("the address has no port"))?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let unresolved = || Unsent::Unavailable("the host's name cannot be resolved".into());
    let found: Vec<SocketAddr> =
        tokio::net::lookup_host((bare, port)).await.map_err(|_| unresolved())?.collect();
    if found.is_empty() {
        return Err(unresolved());
    }
    if !allow_private && !found.iter().all(|address| is_public(address.ip())) {
        return Err(Unsent::Refused("the host leads into a network that is not public"));
    }
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(PATIENCE)
        .resolve_to_addrs(bare, &found)
        .build()
        .map_err(|e| Unsent::Unavailable(e.to_string()))?;
    Ok((client, url))
}
