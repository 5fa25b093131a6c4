//! Idempotency keys: a client's name for one request, so that asking twice makes one thing.
//!
//! The key is claimed inside the transaction that makes the thing, before anything else in it is written. It stands
//! for one request by one credential; a use case authorises before it claims, so a key opens nothing to whoever could
//! not ask for it anew. What is compared is a keyed fingerprint, since requests hold secrets.

use ryokan_model::permission::Caller;
use ryokan_model::{Millis, Secret, UserId};
use ryokan_store::{Claimed, Seal, Tx};
use serde::Serialize;

use crate::{App, Error, Result};

/// As the client sent it.
pub struct IdempotencyKey {
    pub key: String,
    /// What was asked, when the request holds something that was made up on its way here.
    pub asked: Option<String>,
}

/// A request that is carried out once, if it came with a key.
#[derive(Clone)]
pub(crate) struct Once(Option<Claim>);

#[derive(Clone)]
struct Claim {
    user: UserId,
    key: String,
    fingerprints: Vec<String>,
}

impl App {
    /// `action` names the use case; `request` is all that decides what it makes.
    pub(crate) fn once(
        &self,
        caller: &Caller,
        key: Option<IdempotencyKey>,
        action: &str,
        request: &impl Serialize,
    ) -> Result<Once> {
        let Some(IdempotencyKey { key, asked }) = key else { return Ok(Once(None)) };
        let text = serde_json::to_string(&(action, &caller.credential, asked, request))
            .map_err(|e| Error::Internal(e.into()))?;
        let fingerprints = self.seal.fingerprints("idempotency", text.as_bytes());
        Ok(Once(Some(Claim { user: caller.user, key, fingerprints })))
    }
}

impl Once {
    /// The id of what this very request made before; `None` when it is to be carried out, and make `subject_id`.
    pub(crate) fn claim(&self, tx: &mut Tx<'_>, subject_id: &str, now: Millis) -> Result<Option<String>> {
        let Some(claim) = &self.0 else { return Ok(None) };
        match tx.claim_idempotency_key(claim.user, &claim.key, &claim.fingerprints, subject_id, now)? {
            Claimed::First => Ok(None),
            Claimed::Again(made) => Ok(Some(made)),
            Claimed::Taken => Err(Error::Conflict(
                "this `Idempotency-Key` was used for another request; send a new key with a new request"
                    .into(),
            )),
        }
    }

    /// Keeps the secret that the answer shows, sealed, for as long as the key is remembered.
    pub(crate) fn keep_secret(
        &self,
        tx: &mut Tx<'_>,
        seal: &Seal,
        secret: &Secret,
        now: Millis,
    ) -> Result<()> {
        if let Some(claim) = &self.0 {
            tx.put_idempotent_secret(seal, claim.user, &claim.key, secret, now)?;
        }
        Ok(())
    }

    /// The secret that the first answer showed.
    pub(crate) fn secret(&self, tx: &mut Tx<'_>, seal: &Seal) -> Result<Secret> {
        let claim = self.0.as_ref().ok_or_else(gone)?;
        tx.idempotent_secret(seal, claim.user, &claim.key)?.ok_or_else(gone)
    }
}

/// What a key made is not there any more.
pub(crate) fn gone() -> Error {
    Error::Conflict("what this `Idempotency-Key` made is gone; send a new key to make another".into())
}
