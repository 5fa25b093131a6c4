//! Registration by an identity key that has proved itself: an account without a password, named after the key. Asked for
//! again it changes nothing, also by two servers at once.

use ryokan_model::project::Network;
use ryokan_model::{IdentityKeyId, ProjectId, UserId};
use ryokan_store::identity_keys::IdentityKey;
use ryokan_store::users::User;
use serde_json::json;

use super::authenticate::IDENTITY;
use super::keys::BRC;
use super::users::personal_name;
use crate::{App, Error, Result, events};

/// Whom a key belongs to.
pub struct Registered {
    pub user: User,
    /// It had no account before.
    pub created: bool,
    /// All accounts of this installation.
    pub user_count: i64,
}

impl App {
    /// `key` has proved itself just now.
    pub async fn register_identity(&self, key: &str, address: &str) -> Result<Registered> {
        let open = self.settings.identity.open_registration;
        let now = self.clock.now();
        let user = UserId::from_parts(now, self.entropy.bytes());
        let project = ProjectId::from_parts(now, self.entropy.bytes());
        let id = IdentityKeyId::from_parts(now, self.entropy.bytes());
        let suffix: [u8; 2] = self.entropy.bytes();
        let (key, address) = (key.to_owned(), address.to_owned());
        let registered = self
            .store
            .write(move |tx| {
                tx.lock("identity-keys")?;
                if let Some(known) = tx.identity_key(BRC, &key)? {
                    let user = tx.user(known.user)?.filter(|u| !u.disabled);
                    let user = user.ok_or_else(|| Error::Forbidden("this account is locked".into()))?;
                    return Ok(Registered { user, created: false, user_count: tx.count_users()? });
                }
                if !open {
                    return Err(Error::Forbidden(
                        "this server makes accounts by its operator alone: ask for one, and for your identity key to be added to it".into(),
                    ));
                }
                let short = format!("{BRC}-{}", &key[..18]);
                let login = if tx.user_by_login(&short)?.is_some() { format!("{BRC}-{}", &key[..36]) } else { short };
                let row = User {
                    id: user,
                    name: login.clone(),
                    login,
                    operator: false,
                    password_hash: None,
                    disabled: false,
                    email: None,
                    created_at: now,
                };
                tx.insert_user(&row)?;
                let plain = personal_name(&row.login, None);
                let taken = tx.project_by_name(plain.as_str())?.is_some();
                let name = if taken { personal_name(&row.login, Some(suffix)) } else { plain };
                tx.insert_project(project, &name, row.id, true, Network::Mainnet, now)?;
                tx.insert_identity_key(&IdentityKey {
                    id,
                    user: row.id,
                    kind: BRC.to_owned(),
                    public_key: key,
                    label: "registration".to_owned(),
                    created_at: now,
                    last_used_at: None,
                })?;
                let actor = events::Actor { login: &row.login, address: Some(&address), request_id: None };
                let (id, data) = (row.id.to_string(), json!({"by": IDENTITY}));
                events::allowed(tx, now, &actor, None, "user.created", "user", &id, &row.login, data)?;
                Ok(Registered { user: row, created: true, user_count: tx.count_users()? })
            })
            .await?;
        if registered.created {
            self.refresh_identity().await?;
        }
        Ok(registered)
    }

    /// A certificate has shown the address of the key's owner. Nothing happens when the key is nobody's yet.
    pub async fn certified_email(&self, key: &str, email: &str) -> Result<()> {
        let (now, key, email) = (self.clock.now(), key.to_owned(), email.to_owned());
        self.store
            .write(move |tx| {
                let Some(known) = tx.identity_key(BRC, &key)? else { return Ok(()) };
                let Some(user) = tx.user(known.user)?.filter(|u| !u.disabled) else { return Ok(()) };
                if user.email.as_deref() == Some(email.as_str()) {
                    return Ok(());
                }
                tx.set_email(user.id, &email, now)?;
                let actor = events::Actor { login: &user.login, address: None, request_id: None };
                let (id, data) = (user.id.to_string(), json!({"by": "certificate"}));
                events::allowed(tx, now, &actor, None, "user.email_certified", "user", &id, &user.login, data)
            })
            .await?;
        self.refresh_identity().await
    }
}

/// Whether a certificate's text may stand as an address: one `@`, no spaces or control characters, bounded.
pub fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    text.len() <= 254
        && !local.is_empty()
        && domain.contains('.')
        && !domain.starts_with('.')
        && !domain.ends_with('.')
        && !domain.contains('@')
        && text.chars().all(|c| !c.is_whitespace() && !c.is_control() && !"<>\",;".contains(c))
}

#[cfg(test)]
mod tests {
    use super::is_email;

    #[test]
    fn addresses() {
        for good in ["a@b.c", "alice+x@example.com", "ä@bücher.example"] {
            assert!(is_email(good), "{good}");
        }
        for bad in
            ["", "a", "@b.c", "a@b", "a@b@c.d", "a b@c.d", "a@b.c\r\nTo: x@y.z", "<a@b.c>", "a@.b", "a@b."]
        {
            assert!(!is_email(bad), "{bad}");
        }
    }
}
