//! Accounts. Operators make, change and remove them; a user changes its own name and password.

use ryokan_model::permission::{Caller, Scope};
use ryokan_model::project::Network;
use ryokan_model::{Name, ProjectId, Secret, UserId};
use ryokan_store::users::User;
use serde_json::json;

use super::password;
use crate::idempotency::{self, IdempotencyKey};
use crate::page::one_more;
use crate::system::operators;
use crate::{App, Error, Page, Result, events};

#[derive(Default)]
pub struct NewUser {
    pub login: String,
    pub name: Option<String>,
    pub password: Option<Secret>,
    pub operator: bool,
}

#[derive(Default)]
pub struct UserChanges {
    pub name: Option<String>,
    pub password: Option<Secret>,
    pub current_password: Option<Secret>,
    pub operator: Option<bool>,
    pub disabled: Option<bool>,
}

/// 1 to 40 of `a-z 0-9 - _ .`, beginning with a letter or digit.
fn validate_login(login: &str) -> Result<()> {
    // What stands for oneself, or would be taken for an id, could never be asked for.
    let ok = (1..=40).contains(&login.len())
        && login != "me"
        && login.parse::<UserId>().is_err()
        && login.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && login.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
    if ok {
        Ok(())
    } else {
        Err(Error::invalid(
            "login",
            "must be 1 to 40 lower-case letters, digits, `-`, `_` or `.`, beginning with a letter or digit",
        ))
    }
}

/// A project name made from a login; a suffix keeps it free.
pub(super) fn personal_name(login: &str, suffix: Option<[u8; 2]>) -> Name {
    let mut text: String = login.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    while text.contains("--") {
        text = text.replace("--", "-");
    }
    text.truncate(30);
    let text = text.trim_matches('-').to_owned();
    let text = match suffix {
        Some([a, b]) => format!("{text}-{a:02x}{b:02x}"),
        None => text,
    };
    text.parse()
        .unwrap_or_else(|_| Name::generated([0, 0, suffix.map_or(0, |s| s[0]), suffix.map_or(0, |s| s[1])]))
}

impl App {
    pub async fn create_user(
        &self,
        caller: &Caller,
        new: NewUser,
        key: Option<IdempotencyKey>,
    ) -> Result<User> {
        operators(caller)?;
        validate_login(&new.login)?;
        let asked = (&new.login, &new.name, new.password.as_ref().map(Secret::expose), new.operator);
        let once = self.once(caller, key, "create_user", &asked)?;
        let password_hash = match new.password {
            Some(secret) => {
                password::validate(secret.expose())?;
                Some(password::hash(secret, self.entropy.as_ref()).await?)
            }
            None => None,
        };
        let now = self.clock.now();
        let user = User {
            id: UserId::from_parts(now, self.entropy.bytes()),
            name: new.name.unwrap_or_else(|| new.login.clone()),
            login: new.login,
            operator: new.operator,
            password_hash,
            disabled: false,
            email: None,
            created_at: now,
        };
        let project = ProjectId::from_parts(now, self.entropy.bytes());
        let suffix: [u8; 2] = self.entropy.bytes();
        let (row, caller) = (user, caller.clone());
        let user = self
            .store
            .write(move |tx| {
                if let Some(made) = once.claim(tx, &row.id.to_string(), now)? {
                    let made = made.parse().ok().map(|id| tx.user(id)).transpose()?.flatten();
                    return made.filter(|u| !u.login.starts_with("deleted:")).ok_or_else(idempotency::gone);
                }
                tx.insert_user(&row)?;
                let plain = personal_name(&row.login, None);
                let name = if tx.project_by_name(plain.as_str())?.is_some() {
                    personal_name(&row.login, Some(suffix))
                } else {
                    plain
                };
                tx.insert_project(project, &name, row.id, true, Network::Mainnet, now)?;
                events::by_caller(
                    tx,
                    now,
                    &caller,
                    None,
                    "user.created",
                    "user",
                    &row.id.to_string(),
                    &row.login,
                    json!({"operator": row.operator}),
                )?;
                Ok(row)
            })
            .await?;
        self.refresh_identity().await?;
        Ok(user)
    }

    /// By id or login, without any check of permission.
    pub(crate) async fn find_user(&self, id_or_login: &str) -> Result<User> {
        let wanted = id_or_login.to_owned();
        let user = self
            .store
            .read(move |tx| match wanted.parse::<UserId>() {
                Ok(id) => tx.user(id),
                Err(_) => tx.user_by_login(&wanted),
            })
            .await?;
        user.filter(|u| !u.login.starts_with("deleted:")).ok_or_else(|| Error::not_found("user", id_or_login))
    }

    /// Oneself, or anybody for an operator; others do not exist.
    pub async fn get_user(&self, caller: &Caller, id_or_login: &str) -> Result<User> {
        let user = self.find_user(if id_or_login == "me" { &caller.login } else { id_or_login }).await?;
        if user.id != caller.user && !caller.is_operator() {
            return Err(Error::not_found("user", id_or_login));
        }
        Ok(user)
    }

    /// By login, after the login `after`.
    pub async fn list_users(&self, caller: &Caller, after: Option<String>, limit: u32) -> Result<Page<User>> {
        operators(caller)?;
        let after = after.unwrap_or_default();
        let rows = self.store.read(move |tx| tx.users(&after, one_more(limit))).await?;
        Ok(Page::cut(rows, limit, |user| user.login.clone()))
    }

    pub async fn update_user(
        &self,
        caller: &Caller,
        id_or_login: &str,
        changes: UserChanges,
    ) -> Result<User> {
        let user = self.get_user(caller, id_or_login).await?;
        if caller.scope < Scope::Admin || caller.only_project.is_some() {
            return Err(Error::scope(Scope::Admin));
        }
        if (changes.operator.is_some() || changes.disabled.is_some()) && !caller.is_operator() {
            return Err(Error::operators_only());
        }
        let name = changes.name.map(|name| name.trim().to_owned());
        if name.as_ref().is_some_and(|name| name.is_empty() || name.chars().count() > 100) {
            return Err(Error::invalid("name", "must have 1 to 100 characters"));
        }
        let new_hash = match changes.password {
            Some(secret) => {
                self.check_current_password(caller, &user, changes.current_password).await?;
                password::validate(secret.expose())?;
                Some(password::hash(secret, self.entropy.as_ref()).await?)
            }
            None => None,
        };
        let (now, caller) = (self.clock.now(), caller.clone());
        let user = self
            .store
            .write(move |tx| {
                tx.lock("operators")?;
                // Read again: what others changed meanwhile must stand.
                let mut row =
                    tx.user(user.id)?.ok_or_else(|| Error::not_found("user", user.login.as_str()))?;
                if new_hash.is_some() && row.password_hash != user.password_hash {
                    return Err(Error::Conflict("the password was just changed by somebody else".into()));
                }
                row.name = name.unwrap_or(row.name);
                row.operator = changes.operator.unwrap_or(row.operator);
                row.disabled = changes.disabled.unwrap_or(row.disabled);
                let password_changed = new_hash.is_some();
                row.password_hash = new_hash.or(row.password_hash);
                if (row.disabled || !row.operator) && tx.count_other_operators(row.id)? == 0 {
                    return Err(Error::Conflict("this is the last operator; make another one first".into()));
                }
                tx.update_user(&row, now)?;
                // A new password or a locked account ends what was signed in with the old state.
                if password_changed || row.disabled {
                    tx.delete_sessions_of(row.id)?;
                }
                let data = json!({"operator": row.operator, "disabled": row.disabled, "password_changed": password_changed});
                events::by_caller(tx, now, &caller, None, "user.updated", "user", &row.id.to_string(), &row.login, data)?;
                Ok(row)
            })
            .await?;
        self.refresh_identity().await?;
        Ok(user)
    }

    /// Whoever changes its own password proves that it knows the old one, so that a session left open is no takeover.
    async fn check_current_password(
        &self,
        caller: &Caller,
        user: &User,
        current: Option<Secret>,
    ) -> Result<()> {
        if user.id != caller.user || user.password_hash.is_none() {
            return Ok(());
        }
        let current = current
            .ok_or_else(|| Error::invalid("current_password", "is needed to change one's own password"))?;
        let key = format!("login:{}", user.login);
        self.throttle.begin(&[&key], self.clock.as_ref())?;
        if !password::verify(current, user.password_hash.clone()).await? {
            return Err(Error::invalid("current_password", "is wrong"));
        }
        self.throttle.take_back(&key);
        Ok(())
    }

    /// Its instances must be gone first, so that nothing is deleted by accident.
    pub async fn delete_user(&self, caller: &Caller, id_or_login: &str) -> Result<()> {
        operators(caller)?;
        let user = self.find_user(id_or_login).await?;
        let (now, caller) = (self.clock.now(), caller.clone());
        self.store
            .write(move |tx| {
                tx.lock("operators")?;
                if user.operator && tx.count_other_operators(user.id)? == 0 {
                    return Err(Error::Conflict("this is the last operator; make another one first".into()));
                }
                for project in tx.projects_ending_with(user.id)? {
                    if tx.count_instances_of(project)? > 0 {
                        return Err(Error::Conflict(
                            "the user still owns instances; delete them first".into(),
                        ));
                    }
                }
                tx.delete_user(user.id, now)?;
                events::by_caller(
                    tx,
                    now,
                    &caller,
                    None,
                    "user.deleted",
                    "user",
                    &user.id.to_string(),
                    &user.login,
                    json!({}),
                )?;
                Ok(())
            })
            .await?;
        self.refresh_identity().await
    }

    pub async fn default_project_name(&self, user: UserId) -> Result<String> {
        let project = self.store.read(move |tx| tx.personal_project(user)).await?;
        Ok(project.map_or_else(String::new, |p| p.name.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_login_gives_a_project_name() {
        for login in
            ["alice", "a.b", "x_-_y", "admin", "9", "a--b", "abcdefghijklmnopqrstuvwxyz0123456789abcd"]
        {
            validate_login(login).unwrap();
            let _ = personal_name(login, None);
            assert_ne!(personal_name(login, None), personal_name(login, Some([1, 2])));
        }
        for bad in ["", "Alice", "-a", "a b", "ä", "deleted:1", "me", "01890a5d-ac96-774b-bcce-b302099a8057"]
        {
            assert!(validate_login(bad).is_err(), "{bad}");
        }
    }
}
