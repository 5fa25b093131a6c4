//! Identity keys: public keys that an account proves itself with, as another does with a token. A key belongs to one
//! account.
//!
//! Whoever adds a key to its own account proves that it holds the key; else it could take the key of somebody who has not
//! registered yet, who would then work, and pay, in a stranger's account. An operator may add any.

use ryokan_brc::{PrivateKey, Protocol, PublicKey};
use ryokan_model::IdentityKeyId;
use ryokan_model::permission::{Caller, Scope};
use ryokan_store::identity_keys::IdentityKey;
use serde_json::json;

use crate::idempotency::{self, IdempotencyKey};
use crate::{App, Error, Result, events};

/// The kind of a compressed secp256k1 key that signs by BRC-104.
pub const BRC: &str = "brc";
/// Keys of one account.
const MOST: usize = 20;
/// The protocol of a key's proof; its key id and its data are the account's login.
const PROOF: &str = "ryokan identity key";

/// What an operator decides about identities, and who the server itself is.
#[derive(Debug, Clone)]
pub struct IdentitySettings {
    /// Whoever has a key may make an account for it.
    pub open_registration: bool,
    /// The server's own keys.
    pub mainnet: PrivateKey,
    pub testnet: PrivateKey,
}

pub struct NewIdentityKey {
    pub kind: String,
    pub key: String,
    pub label: Option<String>,
    /// The key's own signature for the account, in hexadecimal DER.
    pub proof: Option<String>,
}

impl App {
    /// Gives an account one more key to prove itself with.
    pub async fn add_identity_key(
        &self,
        caller: &Caller,
        user: &str,
        new: NewIdentityKey,
        key: Option<IdempotencyKey>,
    ) -> Result<IdentityKey> {
        let user = self.get_user(caller, user).await?;
        may_change(caller)?;
        if new.kind != BRC {
            return Err(Error::invalid("kind", "must be `brc`"));
        }
        let public: PublicKey = new.key.parse().map_err(|e| Error::invalid("key", format!("{e}")))?;
        let label = new.label.map_or_else(String::new, |label| label.trim().to_owned());
        if label.chars().count() > 100 {
            return Err(Error::invalid("label", "must have at most 100 characters"));
        }
        if !caller.is_operator() {
            self.check_proof(&public, &user.login, new.proof.as_deref())?;
        }
        let asked = (user.id, new.kind, public.to_string(), &label);
        let once = self.once(caller, key, "create_key", &asked)?;
        let now = self.clock.now();
        let row = IdentityKey {
            id: IdentityKeyId::from_parts(now, self.entropy.bytes()),
            user: user.id,
            kind: BRC.to_owned(),
            public_key: public.to_string(),
            label,
            created_at: now,
            last_used_at: None,
        };
        let caller = caller.clone();
        let row = self
            .store
            .write(move |tx| {
                tx.lock("identity-keys")?;
                let own = tx.identity_keys_of(row.user)?;
                if let Some(made) = once.claim(tx, &row.id.to_string(), now)? {
                    let made = own.into_iter().find(|k| k.id.to_string() == made);
                    return made.ok_or_else(idempotency::gone);
                }
                if own.len() >= MOST {
                    return Err(Error::QuotaExceeded(format!("an account has at most {MOST} keys")));
                }
                tx.insert_identity_key(&row)?;
                let (id, data) = (row.id.to_string(), json!({"kind": BRC, "user": user.login}));
                events::by_caller(tx, now, &caller, None, "key.created", "key", &id, &row.public_key, data)?;
                Ok(row)
            })
            .await?;
        self.refresh_identity().await?;
        Ok(row)
    }

    /// A wallet makes the proof: `createSignature` with the protocol `[2, "ryokan identity key"]`, the login as key id
    /// and as data, and the server's identity key as the counterparty.
    fn check_proof(&self, key: &PublicKey, login: &str, proof: Option<&str>) -> Result<()> {
        let proof = proof.ok_or_else(|| {
            let server = self.settings.identity.mainnet.public();
            Error::invalid("proof", format!("is needed to add a key to one's own account: the key's signature over `{login}` with the protocol [2, \"{PROOF}\"], the key id `{login}` and the counterparty {server}; or let an operator add it"))
        })?;
        let ours = &self.settings.identity.mainnet;
        let good = Protocol::new(2, PROOF).ok().and_then(|protocol| {
            let invoice = protocol.invoice(login).ok()?;
            let signer = ryokan_brc::derive::verifying_key(ours, key, &invoice).ok()?;
            Some(signer.verify(login.as_bytes(), &hex::decode(proof).ok()?))
        });
        if good == Some(true) {
            Ok(())
        } else {
            Err(Error::invalid("proof", "is not this key's signature for this account"))
        }
    }

    /// The account's keys, oldest first.
    pub async fn list_identity_keys(&self, caller: &Caller, user: &str) -> Result<Vec<IdentityKey>> {
        let user = self.get_user(caller, user).await?;
        Ok(self.store.read(move |tx| tx.identity_keys_of(user.id)).await?)
    }

    /// Refused from the next request on. `key` is an id or the key itself.
    pub async fn remove_identity_key(&self, caller: &Caller, user: &str, key: &str) -> Result<()> {
        let user = self.get_user(caller, user).await?;
        may_change(caller)?;
        let (now, caller, wanted) = (self.clock.now(), caller.clone(), key.to_owned());
        self.store
            .write(move |tx| {
                let keys = tx.identity_keys_of(user.id)?;
                let found = keys
                    .into_iter()
                    .find(|k| k.public_key.eq_ignore_ascii_case(&wanted) || k.id.to_string() == wanted);
                let row = found.ok_or_else(|| Error::not_found("key", wanted))?;
                tx.delete_identity_key(row.id)?;
                let (id, data) = (row.id.to_string(), json!({"kind": row.kind, "user": user.login}));
                events::by_caller(tx, now, &caller, None, "key.deleted", "key", &id, &row.public_key, data)
            })
            .await?;
        self.refresh_identity().await
    }
}

fn may_change(caller: &Caller) -> Result<()> {
    if caller.scope < Scope::Admin || caller.only_project.is_some() {
        return Err(Error::scope(Scope::Admin));
    }
    Ok(())
}
