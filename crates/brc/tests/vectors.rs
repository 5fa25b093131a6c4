//! Our functions against what the genuine SDK made of the same input: `e2e/interop/vectors.js` writes the files.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use ryokan_brc::certificate::{Certificate, CertificateError, FieldOrder};
use ryokan_brc::encrypt::SymmetricKey;
use ryokan_brc::message::RequestedCertificates;
use ryokan_brc::preimage::{Request, Response, request_headers, response_headers};
use ryokan_brc::{Invoice, PrivateKey, Protocol, PublicKey, order, payment};
use serde::Deserialize;
use sha2::{Digest, Sha256};

fn read<T: for<'a> Deserialize<'a>>(json: &str) -> T {
    serde_json::from_str(json).unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

fn id() -> [u8; 32] {
    std::array::from_fn(|i| u8::try_from(i).unwrap())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Derived {
    ours: String,
    theirs: String,
    level: u8,
    protocol: String,
    key_id: String,
    invoice: String,
    private: String,
    public: String,
    data: String,
    signature: String,
    ciphertext: String,
}

#[test]
fn keys_signatures_and_ciphertexts() {
    let all: Vec<Derived> = read(include_str!("../vectors/derive.json"));
    assert!(all.len() > 70);
    for v in all {
        let (ours, theirs) = (PrivateKey::from_hex(&v.ours).unwrap(), v.theirs.parse::<PublicKey>().unwrap());
        let invoice: Invoice = Protocol::new(v.level, &v.protocol).unwrap().invoice(&v.key_id).unwrap();
        assert_eq!(invoice.as_str(), v.invoice);
        let shared = ours.shared(&theirs);
        let private = ours.derive(&shared, &invoice).unwrap();
        assert_eq!(private.to_hex(), v.private);
        assert_eq!(theirs.derive(&shared, &invoice).unwrap().to_string(), v.public);
        let (data, signature) = (unhex(&v.data), unhex(&v.signature));
        assert!(private.public().verify(&data, &signature));
        assert!(private.public().verify(&data, &private.sign(&data)));
        assert!(!private.public().verify(b"other data", &signature));
        let key = SymmetricKey::derive(&ours, &theirs, &invoice).unwrap();
        let mut sealed = unhex(&v.ciphertext);
        assert_eq!(key.decrypt(&sealed).unwrap(), data);
        assert_eq!(key.decrypt(&key.encrypt(&data, [7; 32])).unwrap(), data);
        *sealed.last_mut().unwrap() ^= 1;
        key.decrypt(&sealed).unwrap_err();
        key.decrypt(&sealed[..20]).unwrap_err();
    }
}

#[derive(Deserialize)]
struct RequestVector {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
    /// A body of so many `x`.
    fill: Option<usize>,
    preimage: Option<String>,
    sha256: String,
}

#[test]
fn requests() {
    let all: Vec<RequestVector> = read(include_str!("../vectors/requests.json"));
    for v in all {
        let request = Request {
            id: id(),
            method: v.method,
            path: Some(v.path),
            query: Some(v.query).filter(|q| !q.is_empty()),
            headers: request_headers(v.headers.iter().map(|(n, v)| (n.as_str(), v.as_str()))),
            body: v.body.map(String::into_bytes).or(v.fill.map(|n| vec![b'x'; n])),
        };
        let bytes = request.to_bytes();
        if let Some(preimage) = v.preimage {
            assert_eq!(hex::encode(&bytes), preimage, "{request:?}");
        }
        assert_eq!(hex::encode(Sha256::digest(&bytes)), v.sha256);
        assert_eq!(Request::parse(&bytes).unwrap(), request);
    }
}

#[derive(Deserialize)]
struct ResponseVector {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
    preimage: String,
}

#[test]
fn answers() {
    let all: Vec<ResponseVector> = read(include_str!("../vectors/responses.json"));
    for v in all {
        let response = Response {
            id: id(),
            status: v.status,
            headers: response_headers(v.headers.iter().map(|(n, v)| (n.as_str(), v.as_str()))),
            body: v.body.into_bytes(),
        };
        let bytes = response.to_bytes();
        assert_eq!(hex::encode(&bytes), v.preimage);
        assert_eq!(Response::parse(&bytes).unwrap(), response);
    }
}

#[derive(Deserialize)]
struct CertificateVector {
    verifier: String,
    certificate: Certificate,
    binary: String,
    revealed: BTreeMap<String, String>,
}

#[test]
fn certificates() {
    let all: Vec<CertificateVector> = read(include_str!("../vectors/certificates.json"));
    for v in all {
        let (certificate, ours) = (v.certificate, PrivateKey::from_hex(&v.verifier).unwrap());
        assert_eq!(hex::encode(certificate.to_bytes(FieldOrder::Locale).unwrap()), v.binary);
        certificate.verify().unwrap();
        assert_eq!(certificate.reveal(&ours).unwrap(), v.revealed);
        let sender: PublicKey = certificate.subject.parse().unwrap();
        let wanted = RequestedCertificates {
            certifiers: vec![certificate.certifier.clone()],
            types: [(certificate.kind.clone(), vec!["email".to_owned()])].into(),
        };
        let revealed = certificate.check(&sender, &wanted, &ours).unwrap();
        assert_eq!(
            revealed,
            [("email".to_owned(), "alice@example.com".to_owned())].into(),
            "no more than asked"
        );

        let refused = |certificate: &Certificate, wanted: &RequestedCertificates, sender: &PublicKey| {
            certificate.check(sender, wanted, &ours).unwrap_err()
        };
        let other = ours.public();
        assert_eq!(refused(&certificate, &wanted, &other), CertificateError::Subject);
        let nobody = RequestedCertificates { certifiers: vec![other.to_string()], ..wanted.clone() };
        assert_eq!(refused(&certificate, &nobody, &sender), CertificateError::Unasked);
        let nothing = RequestedCertificates { types: BTreeMap::new(), ..wanted.clone() };
        assert_eq!(refused(&certificate, &nothing, &sender), CertificateError::Unasked);
        let mut forged = certificate.clone();
        forged.revocation_outpoint = forged.revocation_outpoint.replace("ab", "cd");
        assert_eq!(refused(&forged, &wanted, &sender), CertificateError::Signature);
        let mut forged = certificate.clone();
        forged.keyring.insert("email".into(), "AAAA".into());
        assert_eq!(refused(&forged, &wanted, &sender), CertificateError::Field("email".into()));
        let mut forged = certificate.clone();
        forged.keyring.insert("absent".into(), forged.keyring["email"].clone());
        assert_eq!(refused(&forged, &wanted, &sender), CertificateError::Field("absent".into()));
    }
}

#[test]
fn names_are_sorted_as_wallets_sort_them() {
    let sorted: Vec<String> = read(include_str!("../vectors/order.json"));
    let mut ours = sorted.clone();
    ours.reverse();
    ours.sort_by(|a, b| order::compare(a, b));
    assert_eq!(ours, sorted);
}

#[derive(Deserialize)]
struct PaymentVector {
    payee: String,
    payer: String,
    prefix: String,
    suffix: String,
    key: String,
    script: String,
}

#[test]
fn payments() {
    let all: Vec<PaymentVector> = read(include_str!("../vectors/payments.json"));
    for v in all {
        let invoice = payment::invoice(&v.prefix, &v.suffix).unwrap();
        let payee = PrivateKey::from_hex(&v.payee).unwrap();
        let key = payment::payee_key(&payee, &v.payer.parse().unwrap(), &invoice).unwrap().public();
        assert_eq!(key.to_string(), v.key);
        assert_eq!(hex::encode(payment::p2pkh(&key)), v.script);
    }
}
