//! Tickets: how a sign-in at the zone becomes a session at an agent's own host.
//!
//! The control plane mints one after it has checked session and ownership; the gateway redeems it at
//! `/.ryokan/session` for a host-only cookie. A ticket lives at most 60 seconds, works once, and only for the
//! instance and host it names. The control plane remembers which were used, for all servers alike.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::signed::SigningKey;

/// Longest life of a ticket.
pub const TICKET_LIFETIME: Duration = Duration::from_mins(1);
const PURPOSE: &str = "ryokan ticket v1";

/// What a ticket says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub instance_id: String,
    pub user: String,
    /// The sign-in session it came from; revoking that ends the agent's session too.
    pub session: String,
    /// The agent's host as `Host::name` gives it: lower case, no port.
    pub host: String,
}

/// Makes a ticket valid for `TICKET_LIFETIME` from `now`. `nonce` is fresh randomness of the caller.
pub fn mint_ticket(key: &SigningKey, ticket: &Ticket, nonce: [u8; 16], now: SystemTime) -> String {
    let expires = seconds(now) + TICKET_LIFETIME.as_secs();
    key.seal(
        PURPOSE,
        &[
            ticket.instance_id.as_bytes(),
            ticket.user.as_bytes(),
            ticket.session.as_bytes(),
            ticket.host.as_bytes(),
            &expires.to_be_bytes(),
            &nonce,
        ],
    )
}

/// Why a ticket was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TicketRefused {
    Malformed,
    Expired,
    AnotherHost,
}

/// A ticket whose signature, time and host are right. Whether it was used before, `ControlPlane::use_ticket` knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) ticket: Ticket,
    pub(crate) nonce: [u8; 16],
}

/// Verifies a ticket for `host`. The caller still compares the instance.
pub(crate) fn open_ticket(
    key: &SigningKey,
    sealed: &str,
    host: &str,
    now: SystemTime,
) -> Result<Opened, TicketRefused> {
    let now = seconds(now);
    let fields: [Vec<u8>; 6] = key.open(PURPOSE, sealed).ok_or(TicketRefused::Malformed)?;
    let [instance_id, user, session, bound_host, expires, nonce] = fields;
    let expires = u64::from_be_bytes(expires.try_into().map_err(|_| TicketRefused::Malformed)?);
    let nonce: [u8; 16] = nonce.try_into().map_err(|_| TicketRefused::Malformed)?;
    if now >= expires || expires > now + TICKET_LIFETIME.as_secs() {
        return Err(TicketRefused::Expired);
    }
    let text = |bytes| String::from_utf8(bytes).map_err(|_| TicketRefused::Malformed);
    let ticket = Ticket {
        instance_id: text(instance_id)?,
        user: text(user)?,
        session: text(session)?,
        host: text(bound_host)?,
    };
    if ticket.host == host { Ok(Opened { ticket, nonce }) } else { Err(TicketRefused::AnotherHost) }
}

pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            instance_id: "i-1".into(),
            user: "u-1".into(),
            session: "s-1".into(),
            host: "claw.localhost".into(),
        }
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn works_only_in_time() {
        let key = SigningKey::new(&[7; 32]);
        let sealed = mint_ticket(&key, &ticket(), [1; 16], at(1000));
        let open = |now| open_ticket(&key, &sealed, "claw.localhost", at(now));
        assert_eq!(open(1060), Err(TicketRefused::Expired));
        assert_eq!(open(900), Err(TicketRefused::Expired));
        assert_eq!(open(1059), Ok(Opened { ticket: ticket(), nonce: [1; 16] }));
    }

    #[test]
    fn is_bound_to_host_key_and_content() {
        let key = SigningKey::new(&[7; 32]);
        let sealed = mint_ticket(&key, &ticket(), [1; 16], at(1000));
        assert_eq!(open_ticket(&key, &sealed, "evil.localhost", at(1000)), Err(TicketRefused::AnotherHost));
        let another = SigningKey::new(&[8; 32]);
        assert_eq!(open_ticket(&another, &sealed, "claw.localhost", at(1000)), Err(TicketRefused::Malformed));
        for index in 0..sealed.len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(bytes).unwrap();
            assert!(open_ticket(&key, &forged, "claw.localhost", at(1000)).is_err(), "{index}");
        }
        assert!(open_ticket(&key, "", "claw.localhost", at(1000)).is_err());
    }
}
