//! TLS that ends here: first the host is spoken to, in the protocol that the caller offers, then the caller in the
//! protocol that the host chose. So HTTP/2 stays HTTP/2 from end to end, and nothing is translated.

use std::sync::Arc;

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustls::server::Accepted;
use tokio::net::TcpStream;
use tokio_rustls::server::StartHandshake;

use super::connect::Tunnel;
use super::ports::Scheme;
use super::refusal::Refusal;
use super::tls::{self, H1, H2};
use super::upstream::Link;

pub(crate) async fn run(tunnel: Tunnel, caller: TokioIo<Upgraded>, stream: TcpStream, accepted: Accepted) {
    let house = &tunnel.visit.house;
    let shared = &house.shared;
    let offered: Option<Vec<Vec<u8>>> =
        accepted.client_hello().alpn().map(|offered| offered.map(<[u8]>::to_vec).collect());
    let known = |protocol: &[u8]| protocol == H2 || protocol == H1;
    let protocols = match &offered {
        Some(offered) => offered.iter().filter(|protocol| known(protocol)).cloned().collect(),
        None => vec![H1.to_vec()],
    };
    if protocols.is_empty() {
        return tunnel.refuse(Refusal::BadRequest("Only HTTP/1.1 and HTTP/2 can be looked into."));
    }
    let speaks_h1 = protocols.iter().any(|protocol| protocol == H1);
    // A failure is told within the tunnel, where the caller can read it: each request tries again.
    let (link, is_h2) = match shared.tls.connect(stream, &tunnel.host, protocols, &shared.limits).await {
        Ok(stream) => {
            let is_h2 = tls::is_h2(&stream);
            (Link::handshake(stream, is_h2, &house.tracker, shared.limits.head()).await.ok(), is_h2)
        }
        Err(_) => (None, !speaks_h1),
    };
    let protocol = offered.is_some().then_some(is_h2);
    let Some(config) = shared.authority.server_config(&tunnel.host, protocol, shared.clock.now()) else {
        return tunnel.refuse(Refusal::BadRequest("No certificate can be made for this name."));
    };
    let handshake = StartHandshake::from_parts(accepted, caller).into_stream(Arc::new(config));
    let Ok(Ok(stream)) = tokio::time::timeout(shared.limits.header_timeout, handshake).await else {
        // Most often a client that does not know our authority.
        tunnel.course.ended_by("tls_broken_off");
        return;
    };
    tunnel.serve(stream, Bytes::new(), Scheme::Https, is_h2, link).await;
}
