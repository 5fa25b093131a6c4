//! `POST /.well-known/auth`: a hello, certificates, or the wish to see ours. A hello is not signed, so each address may say
//! only so many, and a session that was never used is forgotten soon.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ryokan_app::Error;
use ryokan_app::identity::register::is_email;
use ryokan_brc::certificate::Certificate;
use ryokan_brc::message::{AuthMessage, Incoming, Signed};
use ryokan_brc::session::{Link, Refused};
use ryokan_brc::{Nonce, PublicKey};

use super::{Wallets, refusal, stale, steady};
use crate::http::Context;
use crate::http::error::ApiError;
use crate::http::extract::PeerAddress;

pub(super) async fn answer(
    State(context): State<Context>,
    PeerAddress(address): PeerAddress,
    body: Bytes,
) -> Response {
    let incoming = match Incoming::parse(&body) {
        Ok(incoming) => incoming,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, "invalid", error.to_string()),
    };
    let done = match incoming {
        Incoming::Hello { identity, nonce } => hello(&context, &address, identity, nonce),
        Incoming::Certificates { signed, certificates } => {
            certified(&context, &address, signed, certificates.get()).await
        }
        Incoming::Wanted { signed, requested } => {
            known(&context, &address, &signed, requested.get().as_bytes())
                .and_then(|link| none(&context, &link))
        }
    };
    match done {
        Ok(message) => Json(message).into_response(),
        Err(Ended(response)) => *response,
    }
}

/// An answer that ends it. Boxed, for it is large and seldom.
struct Ended(Box<Response>);

impl From<Response> for Ended {
    fn from(response: Response) -> Self {
        Self(Box::new(response))
    }
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        ApiError(error).into_response().into()
    }
}

fn hello(context: &Context, address: &str, identity: PublicKey, theirs: Nonce) -> Result<AuthMessage, Ended> {
    let wallets: &Wallets = &context.wallets;
    wallets.admit(address)?;
    let ours = Nonce::from_random(context.app.nonce());
    let link = Arc::new(Link::new(&wallets.key, identity, theirs, ours));
    let message = AuthMessage::welcome(&wallets.key, &link, &wallets.wanted)
        .map_err(|e| Ended::from(Error::invalid("identityKey", e.to_string())))?;
    wallets.sessions().open(link, steady(&context.app));
    Ok(message)
}

/// The session of a signed message, whose signature is checked and whose nonce is used up.
fn known(context: &Context, address: &str, signed: &Signed, data: &[u8]) -> Result<Arc<Link>, Ended> {
    let (app, wallets) = (&context.app, &context.wallets);
    let link = wallets
        .sessions()
        .find(&signed.session, steady(app))
        .ok_or_else(|| Ended::from(stale(&signed.session)))?;
    if app.signatures_locked(address) {
        app.refuse_signature(address)?;
    }
    if link.identity != signed.identity || !link.verify(&signed.nonce, data, &signed.signature) {
        app.refuse_signature(address)?;
        return Err(Ended::from(refusal(
            StatusCode::UNAUTHORIZED,
            "wrong_signature",
            "the message's signature is not good",
        )));
    }
    match wallets.sessions().accept(&signed.session, &signed.nonce, steady(app)) {
        Ok(()) => Ok(link),
        Err(Refused::Stale) => Err(Ended::from(stale(&signed.session))),
        Err(Refused::Replayed) => {
            Err(Ended::from(refusal(StatusCode::UNAUTHORIZED, "replayed", "this message was sent before")))
        }
    }
}

fn none(context: &Context, link: &Link) -> Result<AuthMessage, Ended> {
    let fresh = Nonce::from_random(context.app.nonce());
    AuthMessage::no_certificates(&context.wallets.key, link, fresh)
        .map_err(|e| Ended::from(Error::internal(e.to_string())))
}

/// Certificates that the wallet shows. Those that were not asked for, because none are, are let pass unread.
async fn certified(
    context: &Context,
    address: &str,
    signed: Signed,
    certificates: &str,
) -> Result<AuthMessage, Ended> {
    let link = known(context, address, &signed, certificates.as_bytes())?;
    let wallets = &context.wallets;
    if !wallets.wanted.certifiers.is_empty() {
        let bad = |e: &dyn std::fmt::Display| {
            Ended::from(refusal(StatusCode::BAD_REQUEST, "invalid", e.to_string()))
        };
        for certificate in Certificate::parse_all(certificates).map_err(|e| bad(&e))? {
            let shown =
                certificate.check(&link.identity, &wallets.wanted, &wallets.key).map_err(|e| bad(&e))?;
            let Some(email) = shown.get("email") else { continue };
            if !is_email(email) {
                return Err(bad(&"certificates: the field `email` is not an e-mail address"));
            }
            wallets.sessions().set_email(&link.ours, email.clone());
            let key = link.identity.to_string();
            context.app.certified_email(&key, email).await?;
        }
    }
    none(context, &link)
}
