//! The name server of closed networks: it knows siblings, and of all other names that they are not. It asks nobody, so
//! names carry nothing out; that it answers at all is for programs that would otherwise wait for seconds.
//!
//! Docker's own name server knows siblings and comes here with the rest. Podman's would ask the world, so it is not used,
//! and siblings are looked up here. Where the machine's rules cannot be written, port 53 does not lead here, and names
//! other than siblings' take their time to fail.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ryokan_model::ProjectId;
use ryokan_ports::runtime::Result;
use tokio::net::UdpSocket;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Inner, label};

/// Longer ones are no question for an address.
const MAX_QUERY: usize = 512;
const MAX_NAME: usize = 253;
const FRESH: Duration = Duration::from_secs(1);
/// Podman's addresses change with each start.
const TTL_SECONDS: u32 = 2;
const NO_SUCH_NAME: u8 = 3;
const REFUSED: u8 = 5;
const TYPE_A: u16 = 1;

/// The sockets that are open, by project.
#[derive(Default)]
pub(super) struct Names(Mutex<HashMap<ProjectId, (IpAddr, CancellationToken)>>);

impl Names {
    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<ProjectId, (IpAddr, CancellationToken)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn close(&self, project: ProjectId) {
        if let Some((_, end)) = self.open().remove(&project) {
            end.cancel();
        }
    }
}

impl Inner {
    /// Answers in a project's closed network from now on. Failing is not the end of it: siblings of Docker's are found
    /// without.
    pub(super) fn serve_names(self: &Arc<Self>, project: ProjectId, host: IpAddr, podman: bool) {
        let (Some(port), IpAddr::V4(address)) = (self.options.firewall.names, host) else { return };
        let end = {
            let mut open = self.names.open();
            match open.get(&project) {
                Some((at, end)) if *at == host && !end.is_cancelled() => return,
                Some((_, end)) => end.cancel(),
                None => {}
            }
            let end = self.ending.child_token();
            open.insert(project, (host, end.clone()));
            end
        };
        let socket = match bind(SocketAddr::from((address, port))) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(project = %project, error = %error, "no names are served at {address}:{port}");
                self.names.open().remove(&project);
                return;
            }
        };
        let inner = self.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = inner.answer_names(project, &socket, podman) => {}
                () = end.cancelled() => {}
            }
        });
    }

    async fn answer_names(&self, project: ProjectId, socket: &UdpSocket, podman: bool) {
        let mut siblings = Siblings::default();
        let mut query = [0; MAX_QUERY];
        loop {
            let Ok((length, from)) = socket.recv_from(&mut query).await else {
                // What an earlier answer met, told late.
                tokio::task::yield_now().await;
                continue;
            };
            let Some(question) = Question::read(&query[..length]) else { continue };
            let answer = if podman {
                self.refresh(project, &mut siblings).await;
                match siblings.addresses.get(question.sibling()) {
                    Some(address) => question.answer((question.kind == TYPE_A).then_some(*address)),
                    // Another server of the asker's may know.
                    None => question.refuse(REFUSED),
                }
            } else {
                question.refuse(NO_SUCH_NAME)
            };
            // One that asks and goes away has no answer.
            let _ = socket.send_to(&answer, from).await;
        }
    }

    /// Looks again after a while, however often it is asked.
    async fn refresh(&self, project: ProjectId, siblings: &mut Siblings) {
        if siblings.at.is_some_and(|at| at.elapsed() < FRESH) {
            return;
        }
        siblings.at = Some(Instant::now());
        match self.siblings(project).await {
            Ok(addresses) => siblings.addresses = addresses,
            Err(error) => tracing::debug!(project = %project, error = %error, "siblings cannot be listed"),
        }
    }

    async fn siblings(&self, project: ProjectId) -> Result<HashMap<String, Ipv4Addr>> {
        let mut addresses = HashMap::new();
        for listed in self.list_containers(&[(label::PROJECT, Some(project.to_string()))]).await? {
            let (true, Some(name)) = (listed.runs(), listed.labels.get(label::NAME).cloned()) else {
                continue;
            };
            let Some(tag) = label::Tag::read(self.server, &listed.labels) else { continue };
            let held = super::container::Held::new(listed.id, tag);
            let observed = self.inspect(&held).await?;
            let own = observed.into_iter().flat_map(|o| o.addresses).find_map(|address| match address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            });
            addresses.extend(own.map(|address| (name, address)));
        }
        Ok(addresses)
    }
}

#[derive(Default)]
struct Siblings {
    at: Option<Instant>,
    addresses: HashMap<String, Ipv4Addr>,
}

/// Podman makes a bridge, and its address, with the first container; we are there before.
fn bind(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::sockopt::set_ip_freebind(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    UdpSocket::from_std(std::net::UdpSocket::from(socket))
}

/// A question for one name (RFC 1035, section 4).
struct Question<'a> {
    header: [u8; 4],
    /// As it came: the labels, the type and the class.
    asked: &'a [u8],
    name: String,
    kind: u16,
}

impl<'a> Question<'a> {
    /// `None` for whatever is no plain question.
    fn read(query: &'a [u8]) -> Option<Self> {
        let (header, rest) = query.split_at_checked(12)?;
        let is_question = header[2] & 0b1111_1000 == 0;
        if !is_question || header[4..6] != [0, 1] {
            return None;
        }
        let (mut name, mut at) = (String::new(), 0);
        loop {
            let length = usize::from(*rest.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            let label = rest.get(at..at + length).filter(|_| length < 64)?;
            at += length;
            if !name.is_empty() {
                name.push('.');
            }
            name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
            if name.len() > MAX_NAME {
                return None;
            }
        }
        let kind = u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]);
        let asked = rest.get(..at + 4)?;
        Some(Self { header: [header[0], header[1], header[2], header[3]], asked, name, kind })
    }

    /// The name of the sibling that is meant, should there be one.
    fn sibling(&self) -> &str {
        self.name.strip_suffix(".internal").unwrap_or(&self.name)
    }

    fn answer(&self, address: Option<Ipv4Addr>) -> Vec<u8> {
        let mut answer = self.head(0, u8::from(address.is_some()));
        if let Some(address) = address {
            // The name is where the question begins.
            answer.extend([0xC0, 12, 0, 1, 0, 1]);
            answer.extend(TTL_SECONDS.to_be_bytes());
            answer.extend([0, 4]);
            answer.extend(address.octets());
        }
        answer
    }

    fn refuse(&self, code: u8) -> Vec<u8> {
        self.head(code, 0)
    }

    fn head(&self, code: u8, answers: u8) -> Vec<u8> {
        let [first, second, flags, _] = self.header;
        // An answer, with authority; whether recursion was wished for is said again, and that there is some, as clients
        // expect of a server that they are pointed to.
        let mut head = vec![first, second, flags & 1 | 0b1000_0100, 0b1000_0000 | code];
        head.extend([0, 1, 0, answers, 0, 0, 0, 0]);
        head.extend(self.asked);
        head
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut query = vec![7, 9, 1, 0x20, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(u8::try_from(label.len()).expect("short"));
            query.extend(label.bytes());
        }
        query.push(0);
        query.extend(kind.to_be_bytes());
        query.extend([0, 1]);
        query
    }

    #[test]
    fn siblings_are_told_and_nobody_else() {
        let asked = query("Claw.internal", TYPE_A);
        let question = Question::read(&asked).expect("a question");
        assert_eq!((question.name.as_str(), question.sibling()), ("claw.internal", "claw"));
        let answer = question.answer(Some(Ipv4Addr::new(10, 1, 2, 3)));
        assert_eq!(answer[..8], [7, 9, 0x85, 0x80, 0, 1, 0, 1]);
        assert_eq!(answer[12..12 + asked.len() - 12], asked[12..]);
        assert!(answer.ends_with(&[0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 2, 0, 4, 10, 1, 2, 3]));
        assert_eq!(question.answer(None)[..8], [7, 9, 0x85, 0x80, 0, 1, 0, 0]);
        assert_eq!(question.refuse(NO_SUCH_NAME)[3], 0x83);
    }

    #[test]
    fn what_is_no_question_has_no_answer() {
        let whole = query("claw", TYPE_A);
        for length in 0..whole.len() {
            assert!(Question::read(&whole[..length]).is_none(), "{length}");
        }
        let mut answer = whole.clone();
        answer[2] |= 0x80;
        let mut two = whole.clone();
        two[5] = 2;
        let mut pointer = whole;
        pointer[12] = 0xC0;
        for odd in [answer, two, pointer] {
            assert!(Question::read(&odd).is_none(), "{odd:?}");
        }
    }

    proptest! {
        #[test]
        fn no_datagram_is_answered_with_much_more(query in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Some(question) = Question::read(&query) {
                prop_assert!(question.name.len() <= MAX_NAME);
                prop_assert!(question.answer(Some(Ipv4Addr::LOCALHOST)).len() <= query.len() + 16);
            }
        }
    }
}
