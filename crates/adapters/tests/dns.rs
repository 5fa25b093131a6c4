//! Lookups of a real name server on loopback.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{CNAME, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record};
use ryokan_adapters::dns::Dns;
use ryokan_ports::dns::{DnsError, DnsResolver as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

/// What the server says of a name; `None` is silence.
fn answer(request: &Message, over_tcp: bool) -> Option<Message> {
    let query = request.queries.first()?.clone();
    let name = query.name.clone();
    let mut answer = Message::response(request.metadata.id, request.metadata.op_code);
    answer.metadata.recursion_available = true;
    answer.add_query(query);
    let txt = |of: &Name, parts: &[&str]| {
        let parts = parts.iter().map(|part| (*part).to_owned()).collect();
        Record::from_rdata(of.clone(), 60, RData::TXT(TXT::new(parts)))
    };
    match name.to_utf8().to_ascii_lowercase().as_str() {
        "_ryokan.one.example.com." => {
            answer.add_answer(txt(&name, &["ryokan-verification=one"]));
        }
        "mandala_project.one.example.com." => {
            answer.add_answer(txt(&name, &["mandala-project-verification=one"]));
        }
        "_ryokan.two.example.com." => {
            answer.add_answer(txt(&name, &["v=spf1 -all"]));
            answer.add_answer(txt(&name, &["ryokan-", "verification", "=two"]));
        }
        "_ryokan.alias.example.com." => {
            let other: Name = "elsewhere.example.net.".parse().unwrap();
            answer.add_answer(Record::from_rdata(name, 60, RData::CNAME(CNAME(other.clone()))));
            answer.add_answer(txt(&other, &["ryokan-verification=alias"]));
        }
        // Too much for a datagram: asked for again over TCP.
        "_ryokan.long.example.com." => {
            if over_tcp {
                for n in 0..40 {
                    answer.add_answer(txt(&name, &[&format!("{n}-{}", "x".repeat(200))]));
                }
                answer.add_answer(txt(&name, &["ryokan-verification=long"]));
            } else {
                answer.metadata.truncation = true;
            }
        }
        "_ryokan.empty.example.com." => {}
        "_ryokan.broken.example.com." => answer.metadata.response_code = ResponseCode::ServFail,
        "_ryokan.refused.example.com." => answer.metadata.response_code = ResponseCode::Refused,
        "_ryokan.silent.example.com." => return None,
        _ => answer.metadata.response_code = ResponseCode::NXDomain,
    }
    Some(answer)
}

struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    tasks: tokio::task::JoinSet<()>,
}

async fn server() -> Server {
    // The port for datagrams may be taken for streams.
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    let counter = asked.clone();
    tasks.spawn(async move {
        let mut buffer = [0; 2048];
        loop {
            let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            let request = Message::from_vec(&buffer[..length]).unwrap();
            if let Some(answer) = answer(&request, false) {
                udp.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        }
    });
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            while let Ok(length) = stream.read_u16().await {
                let mut buffer = vec![0; length.into()];
                stream.read_exact(&mut buffer).await.unwrap();
                let Some(answer) = answer(&Message::from_vec(&buffer).unwrap(), true) else { break };
                let bytes = answer.to_vec().unwrap();
                stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
                stream.write_all(&bytes).await.unwrap();
            }
        }
    });
    Server { address, asked, tasks }
}

#[tokio::test]
async fn records_are_found_as_they_are_written() {
    let mut server = server().await;
    let dns = Dns::new(&[server.address]).unwrap();
    let one = dns.txt("_ryokan.one.example.com").await.unwrap();
    assert_eq!(one, ["ryokan-verification=one"]);
    let mandala = dns.txt("mandala_project.one.example.com").await.unwrap();
    assert_eq!(mandala, ["mandala-project-verification=one"]);
    let two = dns.txt("_ryokan.two.example.com").await.unwrap();
    assert!(
        two.contains(&"ryokan-verification=two".to_owned()),
        "the strings of a record are one text: {two:?}"
    );
    let alias = dns.txt("_ryokan.alias.example.com").await.unwrap();
    assert_eq!(alias, ["ryokan-verification=alias"]);
    let long = dns.txt("_ryokan.long.example.com").await.unwrap();
    assert!(long.contains(&"ryokan-verification=long".to_owned()), "{} records", long.len());

    let before = server.asked.load(Ordering::SeqCst);
    dns.txt("_ryokan.one.example.com").await.unwrap();
    assert!(server.asked.load(Ordering::SeqCst) > before, "asked anew each time");
    server.tasks.shutdown().await;
}

#[tokio::test]
async fn no_record_is_not_no_answer() {
    let mut server = server().await;
    let dns = Dns::new(&[server.address]).unwrap();
    let missing =
        ["_ryokan.none.example.com", "_ryokan.empty.example.com", "mandala_project.none.example.com"];
    for name in missing {
        assert_eq!(dns.txt(name).await, Err(DnsError::NoRecord), "{name}");
    }
    // What is no name at all is nobody's record that is missing.
    let malformed = dns.txt(&format!("{}.example.com", "x".repeat(64))).await;
    assert!(matches!(malformed, Err(DnsError::ServerFailure(_))), "{malformed:?}");
    for name in ["_ryokan.broken.example.com", "_ryokan.refused.example.com"] {
        let failed = dns.txt(name).await;
        assert!(matches!(failed, Err(DnsError::ServerFailure(_))), "{name}: {failed:?}");
    }
    let begin = Instant::now();
    assert_eq!(dns.txt("_ryokan.silent.example.com").await, Err(DnsError::Timeout));
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    // One server of two that works is enough.
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let both = Dns::new(&[silent.local_addr().unwrap(), server.address]).unwrap();
    assert_eq!(both.txt("_ryokan.one.example.com").await.unwrap(), ["ryokan-verification=one"]);
    server.tasks.shutdown().await;
    // Nobody there at all.
    let gone = dns.txt("_ryokan.one.example.com").await;
    assert!(matches!(gone, Err(DnsError::ServerFailure(_) | DnsError::Timeout)), "{gone:?}");
}
