//! Browser sessions: made from a password or a one-time link, ended by signing out.

use std::time::Duration;

use ryokan_model::permission::Caller;
use ryokan_model::{Millis, Secret, SessionId};
use ryokan_store::tokens::Session;
use ryokan_store::users::User;
use serde_json::json;

use super::{fingerprint, password};
use crate::idempotency::{self, IdempotencyKey};
use crate::system::operators;
use crate::{App, Error, Result, events};

const LIFETIME: Duration = Duration::from_hours(7 * 24);
const LINK_LIFETIME: Duration = Duration::from_mins(15);

/// How a ticket stands among the one-time links. Those stand by their fingerprint, which has no `:`, so that no ticket
/// ever opens what a link does.
fn ticket_name(nonce: [u8; 16]) -> String {
    format!("ticket:{:032x}", u128::from_be_bytes(nonce))
}

/// A new session; `secret` goes into the cookie and nowhere else.
pub struct NewSession {
    pub secret: Secret,
    pub user: User,
    pub expires_at: Millis,
}

impl App {
    /// Signs in by password. Wrong login and wrong password look alike, in words and in time.
    pub async fn sign_in(&self, login: &str, secret: Secret, address: &str) -> Result<NewSession> {
        let (by_address, by_login) = (format!("address:{address}"), format!("login:{login}"));
        let keys = [by_address.as_str(), by_login.as_str()];
        self.throttle.begin(&keys, self.clock.as_ref())?;
        let wanted = login.to_owned();
        let user = self.store.read(move |tx| tx.user_by_login(&wanted)).await?.filter(|u| !u.disabled);
        let good = password::verify(secret, user.as_ref().and_then(|u| u.password_hash.clone())).await?;
        match user {
            Some(user) if good => {
                self.throttle.succeeded(&by_login);
                self.throttle.take_back(&by_address);
                self.open_session(user, address, "password").await
            }
            _ => {
                let (now, login, address) =
                    (self.clock.now(), login.chars().take(80).collect::<String>(), address.to_owned());
                self.store
                    .write(move |tx| {
                        events::denied(
                            tx,
                            now,
                            "session.refused",
                            "session",
                            "",
                            &login,
                            &address,
                            None,
                            json!({}),
                        )
                    })
                    .await?;
                Err(Error::Forbidden("login or password is wrong".into()))
            }
        }
    }

    /// Signs in by a one-time link, which is used up.
    pub async fn sign_in_by_link(&self, link: &str, address: &str) -> Result<NewSession> {
        let key = format!("address:{address}");
        self.throttle.begin(&[&key], self.clock.as_ref())?;
        let (hash, now) = (fingerprint(link), self.clock.now());
        let user = self
            .store
            .write(move |tx| match tx.take_login_link(&hash, now)? {
                Some(id) => tx.user(id),
                None => Ok(None),
            })
            .await?;
        match user.filter(|u| !u.disabled) {
            Some(user) => {
                self.throttle.take_back(&key);
                self.open_session(user, address, "link").await
            }
            None => Err(Error::Forbidden("this link was used already or has expired; an operator can make another with `ryokan users login-link`".into())),
        }
    }

    async fn open_session(&self, user: User, address: &str, by: &'static str) -> Result<NewSession> {
        let now = self.clock.now();
        let secret = self.entropy.secret("rys_");
        let session = Session {
            id: SessionId::from_parts(now, self.entropy.bytes()),
            user: user.id,
            hash: fingerprint(secret.expose()),
            created_at: now,
            expires_at: now.plus(LIFETIME),
        };
        let expires_at = session.expires_at;
        let (login, address) = (user.login.clone(), address.to_owned());
        self.store
            .write(move |tx| {
                tx.insert_session(&session)?;
                let actor = events::Actor { login: &login, address: Some(&address), request_id: None };
                events::allowed(
                    tx,
                    now,
                    &actor,
                    None,
                    "session.created",
                    "session",
                    &session.id.to_string(),
                    &login,
                    json!({"by": by}),
                )
            })
            .await?;
        self.refresh_identity().await?;
        Ok(NewSession { secret, user, expires_at })
    }

    pub async fn sign_out(&self, caller: &Caller, session: SessionId) -> Result<()> {
        let (now, caller) = (self.clock.now(), caller.clone());
        self.store
            .write(move |tx| {
                tx.delete_session(session)?;
                events::by_caller(
                    tx,
                    now,
                    &caller,
                    None,
                    "session.deleted",
                    "session",
                    &session.to_string(),
                    &caller.login,
                    json!({}),
                )
            })
            .await?;
        self.refresh_identity().await
    }

    /// The number of a new ticket, which takes a caller's session to an agent's host, once within `lifetime`.
    pub async fn issue_ticket(&self, caller: &Caller, lifetime: Duration) -> Result<[u8; 16]> {
        let (nonce, user) = (self.entropy.bytes(), caller.user);
        let (name, until) = (ticket_name(nonce), self.clock.now().plus(lifetime));
        self.store.write(move |tx| tx.insert_login_link(&name, user, until)).await?;
        Ok(nonce)
    }

    /// Uses a ticket up; whether it was unused, on any server.
    pub async fn use_ticket(&self, nonce: [u8; 16]) -> Result<bool> {
        let (name, now) = (ticket_name(nonce), self.clock.now());
        Ok(self.store.write(move |tx| tx.take_login_link(&name, now)).await?.is_some())
    }

    /// A link that signs `user` in once; operators only.
    pub async fn login_link(
        &self,
        caller: &Caller,
        user: &str,
        key: Option<IdempotencyKey>,
    ) -> Result<(Secret, Millis)> {
        operators(caller)?;
        let user = self.find_user(user).await?;
        let (once, user) = (self.once(caller, key, "login_link", &user.id)?, user.id);
        let now = self.clock.now();
        let (link, expires_at) = (self.entropy.secret("ryl_"), now.plus(LINK_LIFETIME));
        let (hash, caller, seal) = (fingerprint(link.expose()), caller.clone(), self.seal.clone());
        self.store
            .write(move |tx| {
                if let Some(made) = once.claim(tx, &hash, now)? {
                    let good_until = tx.login_link_expiry(&made)?.filter(|end| *end > now);
                    return Ok((once.secret(tx, &seal)?, good_until.ok_or_else(idempotency::gone)?));
                }
                once.keep_secret(tx, &seal, &link, now)?;
                tx.insert_login_link(&hash, user, expires_at)?;
                events::by_caller(
                    tx,
                    now,
                    &caller,
                    None,
                    "user.login_link_created",
                    "user",
                    &user.to_string(),
                    "",
                    json!({}),
                )?;
                Ok((link, expires_at))
            })
            .await
    }
}
