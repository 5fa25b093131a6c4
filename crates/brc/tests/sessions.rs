//! The session machine: what bounds it, and that a nonce is good once.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use ryokan_brc::message::{AuthMessage, Incoming, MessageError, RequestedCertificates};
use ryokan_brc::session::{Limits, Link, Refused, Sessions};
use ryokan_brc::{Nonce, PrivateKey};

const SMALL: Limits = Limits {
    unproven_for: 100,
    lifetime: 10_000,
    idle: 1_000,
    unproven: 6,
    unproven_of_one: 2,
    proven: 8,
    proven_of_one: 3,
    nonces_of_one: 5,
    nonces: 12,
};

fn key(n: u8) -> PrivateKey {
    PrivateKey::from_bytes(&[n; 32]).unwrap()
}

fn nonce(n: usize) -> Nonce {
    let mut bytes = [7; 48];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    Nonce::from_random(bytes)
}

/// A session of `who`, numbered `n`.
fn open(sessions: &mut Sessions, who: u8, n: usize, now: u64) -> Nonce {
    let link = Link::new(&key(99), key(who).public(), nonce(1_000_000 + n), nonce(n));
    sessions.open(Arc::new(link), now);
    nonce(n)
}

#[test]
fn a_nonce_is_good_once_in_its_session() {
    let mut sessions = Sessions::new(SMALL);
    let (one, two) = (open(&mut sessions, 1, 1, 0), open(&mut sessions, 1, 2, 0));
    assert_eq!(sessions.accept(&one, &nonce(50), 1), Ok(()));
    assert_eq!(sessions.accept(&one, &nonce(50), 2), Err(Refused::Replayed));
    assert_eq!(sessions.accept(&two, &nonce(50), 2), Ok(()));
    assert_eq!(sessions.accept(&nonce(3), &nonce(51), 2), Err(Refused::Stale));
}

#[test]
fn full_memory_ends_a_session_and_forgets_no_nonce() {
    let mut sessions = Sessions::new(SMALL);
    let one = open(&mut sessions, 1, 1, 0);
    for n in 0..5 {
        sessions.accept(&one, &nonce(50 + n), 1).unwrap();
    }
    assert_eq!(sessions.accept(&one, &nonce(52), 1), Err(Refused::Replayed));
    assert_eq!(sessions.accept(&one, &nonce(60), 1), Err(Refused::Stale));
    assert_eq!(
        sessions.accept(&one, &nonce(50), 1),
        Err(Refused::Stale),
        "the old ones are worth nothing now"
    );
    assert!(sessions.is_empty());
}

#[test]
fn sessions_end() {
    let mut sessions = Sessions::new(SMALL);
    let unused = open(&mut sessions, 1, 1, 0);
    assert!(sessions.find(&unused, 99).is_some());
    assert!(sessions.find(&unused, 100).is_none());
    let idle = open(&mut sessions, 1, 2, 0);
    sessions.accept(&idle, &nonce(50), 50).unwrap();
    assert!(sessions.find(&idle, 1_049).is_some());
    assert_eq!(sessions.accept(&idle, &nonce(51), 1_050), Err(Refused::Stale));
    let busy = open(&mut sessions, 1, 3, 0);
    for (n, now) in [(0, 50), (1, 1_000), (2, 1_900)] {
        sessions.accept(&busy, &nonce(60 + n), now).unwrap();
    }
    let old = open(&mut sessions, 2, 4, 0);
    sessions.accept(&old, &nonce(50), 99).unwrap();
    assert!(sessions.find(&busy, 2_899).is_some() && sessions.find(&busy, 10_000).is_none());
}

#[test]
fn hellos_push_out_no_session_that_was_used() {
    let mut sessions = Sessions::new(SMALL);
    let used = open(&mut sessions, 1, 1, 0);
    sessions.accept(&used, &nonce(50), 1).unwrap();
    // Somebody says hello in the name of that key, and of many others.
    for n in 2..200 {
        open(&mut sessions, if n % 2 == 0 { 1 } else { u8::try_from(n).unwrap() }, n, 2);
    }
    assert!(sessions.find(&used, 3).is_some());
    assert!(sessions.len() <= SMALL.unproven + 1, "{}", sessions.len());
    // The latest hello of a key still stands, so that its owner gets in.
    assert!(sessions.find(&nonce(198), 3).is_some());
}

#[test]
fn one_identity_and_all_together_have_only_so_many() {
    let mut sessions = Sessions::new(SMALL);
    for n in 0..10 {
        let ours = open(&mut sessions, 1, n, n as u64);
        sessions.accept(&ours, &nonce(50), n as u64).unwrap();
    }
    assert_eq!(sessions.len(), SMALL.proven_of_one);
    assert!(sessions.find(&nonce(9), 10).is_some() && sessions.find(&nonce(6), 10).is_none());
    for n in 10..40 {
        let ours = open(&mut sessions, u8::try_from(n).unwrap(), n, n as u64);
        sessions.accept(&ours, &nonce(50), n as u64).unwrap();
        assert!(sessions.len() <= SMALL.proven + 1, "{}", sessions.len());
    }
    assert!(sessions.find(&nonce(39), 41).is_some() && sessions.find(&nonce(9), 41).is_none());
}

#[test]
fn nonces_of_all_sessions_are_bounded() {
    let mut sessions = Sessions::new(SMALL);
    let all: Vec<Nonce> = (0..6).map(|n| open(&mut sessions, u8::try_from(n).unwrap() + 1, n, 0)).collect();
    for (at, ours) in all.iter().enumerate() {
        for n in 0..4 {
            sessions.accept(ours, &nonce(50 + n), 1 + at as u64).unwrap();
        }
    }
    assert!(sessions.find(&all[0], 7).is_none(), "the one unused for longest made room");
    assert!(sessions.find(&all[5], 7).is_some());
}

#[test]
fn both_ends_of_a_handshake_agree() {
    let (server, client) = (key(99), key(1));
    let hello = format!(
        r#"{{"version":"0.1","messageType":"initialRequest","identityKey":"{}","initialNonce":"{}","requestedCertificates":{{"certifiers":[],"types":{{}}}},"new":1}}"#,
        client.public(),
        nonce(1)
    );
    let Incoming::Hello { identity, nonce: theirs } = Incoming::parse(hello.as_bytes()).unwrap() else {
        panic!("no hello")
    };
    assert_eq!(identity, client.public());
    let link = Link::new(&server, identity, theirs.clone(), nonce(2));
    let welcome = AuthMessage::welcome(&server, &link, &RequestedCertificates::default()).unwrap();
    // The client's side: our nonce is theirs, and the other way round.
    let seen = Link::new(&client, server.public(), nonce(2), theirs);
    let signed = [nonce(1).bytes(), nonce(2).bytes()].concat();
    let invoice = ryokan_brc::Protocol::auth().invoice(&format!("{} {}", nonce(1), nonce(2))).unwrap();
    let verifying = ryokan_brc::derive::verifying_key(&client, &server.public(), &invoice).unwrap();
    assert!(verifying.verify(&signed, &welcome.signature.unwrap()));
    let signature = seen.sign(&client, &nonce(3), b"data").unwrap();
    assert!(link.verify(&nonce(3), b"data", &signature));
    assert!(!link.verify(&nonce(4), b"data", &signature), "bound to its nonce");
    assert!(!link.verify(&nonce(3), b"date", &signature));
    let other = Link::new(&server, identity, nonce(1), nonce(5));
    assert!(!other.verify(&nonce(3), b"data", &signature), "bound to its session");
}

#[test]
fn messages_are_refused_with_a_reason() {
    let refused = |json: &str| Incoming::parse(json.as_bytes()).unwrap_err();
    assert!(matches!(refused("{"), MessageError::Json(_)));
    let identity = key(1).public();
    let with = |rest: &str| format!(r#"{{"version":"0.1","identityKey":"{identity}",{rest}}}"#);
    assert_eq!(refused(&with(r#""messageType":"initialRequest""#)), MessageError::Missing("initialNonce"));
    assert_eq!(refused(&with(r#""messageType":"initialResponse""#)), MessageError::Kind);
    assert_eq!(refused(&with(r#""messageType":"certificateResponse""#)), MessageError::Missing("nonce"));
    assert!(matches!(refused(&with(r#""messageType":"general""#)), MessageError::Json(_)));
    let short = r#""messageType":"initialRequest","initialNonce":"AAAA""#;
    assert!(matches!(refused(&with(short)), MessageError::Json(_)), "too little to be random");
    assert_eq!(
        refused(&with(short).replace("0.1", "1.0").replace("AAAA", nonce(1).as_str())),
        MessageError::Version
    );
    assert!(matches!(
        refused(&with(&short.replace("AAAA", nonce(1).as_str())).replace(&identity.to_string(), "02ff")),
        MessageError::Identity(_)
    ));
}
