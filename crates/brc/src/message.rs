//! Messages of the handshake and of certificates (BRC-103), as genuine clients send them to `/.well-known/auth`.
//!
//! Fields that we do not know are let through, because the protocol is not ours. What is signed in a message is the JSON
//! text that its sender wrote, so that text is kept as it came.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::key::{KeyError, PrivateKey, PublicKey};
use crate::session::Link;
use crate::{Nonce, nonce};

/// The version on the wire.
pub const VERSION: &str = "0.1";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    InitialRequest,
    InitialResponse,
    CertificateRequest,
    CertificateResponse,
}

/// Certificates that a peer asks for: by whom they may be, and of which types which fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestedCertificates {
    pub certifiers: Vec<String>,
    pub types: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthMessage {
    pub version: String,
    pub message_type: Kind,
    pub identity_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<Nonce>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_nonce: Option<Nonce>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub your_nonce: Option<Nonce>,
    /// The array as its sender wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Box<RawValue>>,
    /// The object as its sender wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_certificates: Option<Box<RawValue>>,
    /// DER.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Vec<u8>>,
}

/// Why a message was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("the body is not a message of BRC-103: {0}")]
    Json(String),
    #[error("version: must be `{VERSION}`")]
    Version,
    #[error("identityKey: {0}")]
    Identity(#[from] KeyError),
    #[error("{0}: is missing")]
    Missing(&'static str),
    #[error(
        "messageType: this server takes `initialRequest`, `certificateRequest` and `certificateResponse`"
    )]
    Kind,
}

/// A message that somebody sent us, with what its kind must have.
#[derive(Debug)]
pub enum Incoming {
    Hello {
        identity: PublicKey,
        nonce: Nonce,
    },
    /// Signed over `certificates` as text.
    Certificates {
        signed: Signed,
        certificates: Box<RawValue>,
    },
    /// Signed over `requested` as text.
    Wanted {
        signed: Signed,
        requested: Box<RawValue>,
    },
}

/// What a signed message says of its signature.
#[derive(Debug)]
pub struct Signed {
    pub identity: PublicKey,
    pub nonce: Nonce,
    /// Our session's.
    pub session: Nonce,
    pub signature: Vec<u8>,
}

impl Incoming {
    pub fn parse(body: &[u8]) -> Result<Self, MessageError> {
        let message: AuthMessage =
            serde_json::from_slice(body).map_err(|e| MessageError::Json(e.to_string()))?;
        if message.version != VERSION {
            return Err(MessageError::Version);
        }
        let identity = message.identity_key.parse()?;
        let signed = |nonce: Option<Nonce>, session: Option<Nonce>, signature: Option<Vec<u8>>| {
            Ok::<_, MessageError>(Signed {
                identity,
                nonce: nonce.ok_or(MessageError::Missing("nonce"))?,
                session: session.ok_or(MessageError::Missing("yourNonce"))?,
                signature: signature.ok_or(MessageError::Missing("signature"))?,
            })
        };
        match message.message_type {
            Kind::InitialRequest => Ok(Self::Hello {
                identity,
                nonce: message.initial_nonce.ok_or(MessageError::Missing("initialNonce"))?,
            }),
            Kind::CertificateResponse => Ok(Self::Certificates {
                signed: signed(message.nonce, message.your_nonce, message.signature)?,
                certificates: message.certificates.ok_or(MessageError::Missing("certificates"))?,
            }),
            Kind::CertificateRequest => Ok(Self::Wanted {
                signed: signed(message.nonce, message.your_nonce, message.signature)?,
                requested: message
                    .requested_certificates
                    .ok_or(MessageError::Missing("requestedCertificates"))?,
            }),
            Kind::InitialResponse => Err(MessageError::Kind),
        }
    }
}

impl AuthMessage {
    /// The answer to a client's hello: it proves that we hold our key, and names the session.
    pub fn welcome(key: &PrivateKey, link: &Link, wanted: &RequestedCertificates) -> Result<Self, KeyError> {
        let data = [link.theirs.bytes(), link.ours.bytes()].concat();
        let key_id = format!("{} {}", link.theirs, link.ours);
        Ok(Self {
            version: VERSION.to_owned(),
            message_type: Kind::InitialResponse,
            identity_key: key.public().to_string(),
            nonce: None,
            initial_nonce: Some(link.ours.clone()),
            your_nonce: Some(link.theirs.clone()),
            certificates: None,
            requested_certificates: serde_json::value::to_raw_value(wanted).ok(),
            signature: Some(link.sign_with(key, &key_id, &data)?),
        })
    }

    /// Our certificates, of which there are none: the well-formed answer to a peer that sends or wants some.
    pub fn no_certificates(key: &PrivateKey, link: &Link, fresh: Nonce) -> Result<Self, KeyError> {
        let none = "[]";
        Ok(Self {
            version: VERSION.to_owned(),
            message_type: Kind::CertificateResponse,
            identity_key: key.public().to_string(),
            signature: Some(link.sign(key, &fresh, none.as_bytes())?),
            nonce: Some(fresh),
            initial_nonce: Some(link.ours.clone()),
            your_nonce: Some(link.theirs.clone()),
            certificates: RawValue::from_string(none.to_owned()).ok(),
            requested_certificates: None,
        })
    }
}

/// The headers of a signed request that say who signed it and how.
#[derive(Debug)]
pub struct SignedHeaders {
    pub signed: Signed,
    pub request_id: crate::preimage::RequestId,
    /// As the client wrote it, to be given back.
    pub request_id_text: String,
}

/// A header that is missing or wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is missing or malformed")]
pub struct BadHeader(pub &'static str);

impl SignedHeaders {
    /// `header` looks one up by its name.
    pub fn read<'a>(header: impl Fn(&'static str) -> Option<&'a str>) -> Result<Self, BadHeader> {
        let get = |name: &'static str| header(name).ok_or(BadHeader(name));
        let nonce = |name| get(name)?.parse::<Nonce>().map_err(|_| BadHeader(name));
        if get(names::VERSION)? != VERSION {
            return Err(BadHeader(names::VERSION));
        }
        let request_id_text = get(names::REQUEST_ID)?.to_owned();
        let request_id = nonce::decode(&request_id_text)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(BadHeader(names::REQUEST_ID))?;
        Ok(Self {
            signed: Signed {
                identity: get(names::IDENTITY_KEY)?.parse().map_err(|_| BadHeader(names::IDENTITY_KEY))?,
                nonce: nonce(names::NONCE)?,
                session: nonce(names::YOUR_NONCE)?,
                signature: hex::decode(get(names::SIGNATURE)?).map_err(|_| BadHeader(names::SIGNATURE))?,
            },
            request_id,
            request_id_text,
        })
    }
}

/// Names of the headers of BRC-104.
pub mod names {
    pub const VERSION: &str = "x-bsv-auth-version";
    pub const IDENTITY_KEY: &str = "x-bsv-auth-identity-key";
    pub const NONCE: &str = "x-bsv-auth-nonce";
    pub const YOUR_NONCE: &str = "x-bsv-auth-your-nonce";
    pub const SIGNATURE: &str = "x-bsv-auth-signature";
    pub const REQUEST_ID: &str = "x-bsv-auth-request-id";
}
