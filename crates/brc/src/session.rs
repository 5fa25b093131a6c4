//! Sessions of the handshake, all of them bounded: by time, in number, for each identity, and in the nonces that each
//! remembers. A hello is not signed, so whoever only says hello can never push out a session that was used.
//!
//! A nonce is never forgotten while its session lives; a session whose memory is full ends instead, and its client shakes
//! hands again by itself.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::Nonce;
use crate::derive::Protocol;
use crate::key::{KeyError, PrivateKey, PublicKey, Shared};

/// What we and a peer agreed upon in a handshake.
#[derive(Debug, Clone)]
pub struct Link {
    pub identity: PublicKey,
    /// Names the session; the client sends it with every request.
    pub ours: Nonce,
    /// The client's, to which every answer is bound.
    pub theirs: Nonce,
    shared: Shared,
}

impl Link {
    pub fn new(key: &PrivateKey, identity: PublicKey, theirs: Nonce, ours: Nonce) -> Self {
        Self { shared: key.shared(&identity), identity, ours, theirs }
    }

    /// Our signature over `data` under the peer's handshake and a nonce that is used once.
    pub fn sign(&self, key: &PrivateKey, fresh: &Nonce, data: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.sign_with(key, &format!("{fresh} {}", self.theirs), data)
    }

    pub(crate) fn sign_with(&self, key: &PrivateKey, key_id: &str, data: &[u8]) -> Result<Vec<u8>, KeyError> {
        let invoice = Protocol::auth().invoice(key_id).map_err(|_| KeyError::Derived)?;
        Ok(key.derive(&self.shared, &invoice)?.sign(data))
    }

    /// Whether the peer signed `data` in this session with `nonce`.
    pub fn verify(&self, nonce: &Nonce, data: &[u8], signature: &[u8]) -> bool {
        let invoice = Protocol::auth().invoice(&format!("{nonce} {}", self.ours));
        invoice
            .ok()
            .and_then(|invoice| self.identity.derive(&self.shared, &invoice).ok())
            .is_some_and(|key| key.verify(data, signature))
    }
}

/// Bounds. Times are milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a hello may wait for the first signed request.
    pub unproven_for: u64,
    /// How long a session lives, used or not.
    pub lifetime: u64,
    /// How long it lives unused.
    pub idle: u64,
    pub unproven: usize,
    pub unproven_of_one: usize,
    pub proven: usize,
    pub proven_of_one: usize,
    pub nonces_of_one: usize,
    /// Over all sessions.
    pub nonces: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unproven_for: 2 * 60 * 1000,
            lifetime: 24 * 60 * 60 * 1000,
            idle: 60 * 60 * 1000,
            unproven: 4096,
            unproven_of_one: 16,
            proven: 16_384,
            proven_of_one: 64,
            nonces_of_one: 10_000,
            nonces: 2_000_000,
        }
    }
}

/// Why a signed message is not taken although its signature is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the session is not known here, or has ended")]
    Stale,
    #[error("this request was sent before")]
    Replayed,
}

struct Session {
    link: Arc<Link>,
    opened: u64,
    used: u64,
    /// The order of use, for what happens within a millisecond.
    turn: u64,
    /// Somebody has signed in it, so that its peer holds the key that it claims.
    proven: bool,
    seen: HashSet<[u8; 16]>,
    email: Option<String>,
}

/// All sessions of a server.
pub struct Sessions {
    limits: Limits,
    all: HashMap<Nonce, Session>,
    of: HashMap<[u8; 33], Vec<Nonce>>,
    unproven: usize,
    nonces: usize,
    turn: u64,
}

impl Sessions {
    pub fn new(limits: Limits) -> Self {
        Self { limits, all: HashMap::new(), of: HashMap::new(), unproven: 0, nonces: 0, turn: 0 }
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// After a hello.
    pub fn open(&mut self, link: Arc<Link>, now: u64) {
        self.make_room(&link.identity, false, now);
        self.of.entry(link.identity.to_bytes()).or_default().push(link.ours.clone());
        self.unproven += 1;
        self.turn += 1;
        let turn = self.turn;
        let session =
            Session { opened: now, used: now, turn, proven: false, seen: HashSet::new(), email: None, link };
        self.all.insert(session.link.ours.clone(), session);
    }

    /// The session that a message names.
    pub fn find(&mut self, ours: &Nonce, now: u64) -> Option<Arc<Link>> {
        let session = self.all.get(ours)?;
        if self.is_over(session, now) {
            self.end(ours);
            return None;
        }
        Some(session.link.clone())
    }

    /// Takes a message whose signature was verified; once for each nonce.
    pub fn accept(&mut self, ours: &Nonce, nonce: &Nonce, now: u64) -> Result<(), Refused> {
        let link = self.find(ours, now).ok_or(Refused::Stale)?;
        let (limits, total) = (self.limits, self.nonces);
        self.turn += 1;
        let turn = self.turn;
        let session = self.all.get_mut(ours).ok_or(Refused::Stale)?;
        let digest = Sha256::digest(nonce.as_str());
        let mut mark = [0; 16];
        mark.copy_from_slice(&digest[..16]);
        if session.seen.contains(&mark) {
            return Err(Refused::Replayed);
        }
        if session.seen.len() >= limits.nonces_of_one {
            self.end(ours);
            return Err(Refused::Stale);
        }
        session.seen.insert(mark);
        session.used = now;
        session.turn = turn;
        self.nonces += 1;
        if !session.proven {
            session.proven = true;
            self.unproven -= 1;
            self.make_room(&link.identity, true, now);
        }
        if total >= limits.nonces {
            self.evict(|session| session.proven, Some(ours));
        }
        Ok(())
    }

    /// Remembers an address that a certificate has shown, for when its owner registers.
    pub fn set_email(&mut self, ours: &Nonce, email: String) {
        if let Some(session) = self.all.get_mut(ours) {
            session.email = Some(email);
        }
    }

    pub fn email(&self, ours: &Nonce) -> Option<String> {
        self.all.get(ours)?.email.clone()
    }

    fn is_over(&self, session: &Session, now: u64) -> bool {
        let unused = now.saturating_sub(session.used);
        let idle = if session.proven { self.limits.idle } else { self.limits.unproven_for };
        unused >= idle || now.saturating_sub(session.opened) >= self.limits.lifetime
    }

    /// Ends old sessions until one more of this identity and standing fits.
    fn make_room(&mut self, identity: &PublicKey, proven: bool, now: u64) {
        let (of_one, of_all) = if proven {
            (self.limits.proven_of_one, self.limits.proven)
        } else {
            // The one that is opened is not there yet.
            (self.limits.unproven_of_one.saturating_sub(1), self.limits.unproven.saturating_sub(1))
        };
        let own = self.of.get(&identity.to_bytes()).cloned().unwrap_or_default();
        let mut same: Vec<(u64, Nonce)> = own
            .into_iter()
            .filter_map(|ours| {
                let session = self.all.get(&ours).filter(|s| s.proven == proven)?;
                Some((session.turn, ours))
            })
            .collect();
        same.sort_by_key(|(turn, _)| *turn);
        for (_, ours) in &same[..same.len().saturating_sub(of_one)] {
            self.end(ours);
        }
        let count = if proven { self.all.len() - self.unproven } else { self.unproven };
        if count > of_all {
            let over: Vec<Nonce> =
                self.all.iter().filter(|(_, s)| self.is_over(s, now)).map(|(ours, _)| ours.clone()).collect();
            for ours in &over {
                self.end(ours);
            }
            let count = if proven { self.all.len() - self.unproven } else { self.unproven };
            if count > of_all {
                self.evict(|session| session.proven == proven, None);
            }
        }
    }

    /// Ends the one that was unused for longest.
    fn evict(&mut self, which: impl Fn(&Session) -> bool, but: Option<&Nonce>) {
        let oldest = self
            .all
            .iter()
            .filter(|(ours, session)| which(session) && Some(*ours) != but)
            .min_by_key(|(_, session)| session.turn)
            .map(|(ours, _)| ours.clone());
        if let Some(ours) = oldest {
            self.end(&ours);
        }
    }

    fn end(&mut self, ours: &Nonce) {
        let Some(session) = self.all.remove(ours) else { return };
        self.nonces -= session.seen.len();
        if !session.proven {
            self.unproven -= 1;
        }
        let identity = session.link.identity.to_bytes();
        if let Some(own) = self.of.get_mut(&identity) {
            own.retain(|known| known != ours);
            if own.is_empty() {
                self.of.remove(&identity);
            }
        }
    }
}
