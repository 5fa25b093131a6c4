//! Users.

use ryokan_model::{Millis, UserId};

use crate::{Result, Row, Tx, params};

/// An account. `password_hash` is an argon2id string in PHC form.
#[derive(Debug, Clone)]
pub struct User {
    pub id: UserId,
    pub login: String,
    pub name: String,
    pub operator: bool,
    pub password_hash: Option<String>,
    pub disabled: bool,
    /// As a certifier has shown it.
    pub email: Option<String>,
    pub created_at: Millis,
}

fn user(row: &Row) -> Result<User> {
    Ok(User {
        id: row.parse("id")?,
        login: row.text("login")?,
        name: row.text("name")?,
        operator: row.bool("operator")?,
        password_hash: row.opt_text("password_hash")?,
        disabled: row.bool("disabled")?,
        email: row.opt_text("email")?,
        created_at: Millis(row.int("created_at")?),
    })
}

impl Tx<'_> {
    /// A taken login is `UniqueViolation` of `users_login`.
    pub fn insert_user(&mut self, user: &User) -> Result<()> {
        self.execute(
            "INSERT INTO users (id, login, name, operator, password_hash, disabled, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
            params![
                user.id.to_string(),
                &user.login,
                &user.name,
                user.operator,
                &user.password_hash,
                user.disabled,
                user.created_at.0
            ],
        )?;
        self.notify("users");
        Ok(())
    }

    pub fn update_user(&mut self, user: &User, now: Millis) -> Result<()> {
        self.execute(
            "UPDATE users SET name = $2, operator = $3, password_hash = $4, disabled = $5, updated_at = $6 WHERE id = $1",
            params![user.id.to_string(), &user.name, user.operator, &user.password_hash, user.disabled, now.0],
        )?;
        self.notify("users");
        Ok(())
    }

    pub fn user(&mut self, id: UserId) -> Result<Option<User>> {
        self.query_opt("SELECT * FROM users WHERE id = $1", params![id.to_string()])?
            .as_ref()
            .map(user)
            .transpose()
    }

    /// Live accounts to which certifiers have shown this address; addresses are not unique.
    pub fn users_by_email(&mut self, email: &str) -> Result<Vec<User>> {
        self.query("SELECT * FROM users WHERE email = $1 AND disabled = $2 LIMIT 2", params![email, false])?
            .iter()
            .map(user)
            .collect()
    }

    pub fn user_by_login(&mut self, login: &str) -> Result<Option<User>> {
        self.query_opt("SELECT * FROM users WHERE login = $1", params![login])?.as_ref().map(user).transpose()
    }

    /// By login, after `after`.
    pub fn users(&mut self, after: &str, limit: u32) -> Result<Vec<User>> {
        self.query(
            "SELECT * FROM users WHERE login > $1 AND login NOT LIKE 'deleted:%' ORDER BY login LIMIT $2",
            params![after, limit],
        )?
        .iter()
        .map(user)
        .collect()
    }

    pub fn count_users(&mut self) -> Result<i64> {
        self.query_one("SELECT COUNT(*) AS n FROM users", params![])?.int("n")
    }

    /// Operators that can still sign in, besides `except`.
    pub fn count_other_operators(&mut self, except: UserId) -> Result<i64> {
        self.query_one(
            "SELECT COUNT(*) AS n FROM users WHERE operator = $2 AND disabled = $3 AND id <> $1",
            params![except.to_string(), true, false],
        )?
        .int("n")
    }

    /// Removes the account with its credentials and its projects' rows. It must own no live instance.
    pub fn delete_user(&mut self, id: UserId, now: Millis) -> Result<()> {
        let id = id.to_string();
        self.execute("DELETE FROM tokens WHERE user_id = $1", params![&id])?;
        self.execute("DELETE FROM identity_keys WHERE user_id = $1", params![&id])?;
        self.execute("DELETE FROM sessions WHERE user_id = $1", params![&id])?;
        self.execute("DELETE FROM login_links WHERE user_id = $1", params![&id])?;
        // What has another owner lives on with that one.
        self.execute(
            "UPDATE projects SET owner_id = (SELECT MIN(m.user_id) FROM members m
                 WHERE m.project_id = projects.id AND m.role = 'owner' AND m.user_id <> $1)
             WHERE owner_id = $1 AND personal = $2 AND deleted_at IS NULL AND EXISTS (SELECT 1 FROM members m
                 WHERE m.project_id = projects.id AND m.role = 'owner' AND m.user_id <> $1)",
            params![&id, false],
        )?;
        self.execute(
            "DELETE FROM members WHERE project_id IN (SELECT p.id FROM projects p WHERE p.owner_id = $1 AND p.deleted_at IS NULL)",
            params![&id],
        )?;
        self.execute("DELETE FROM members WHERE user_id = $1", params![&id])?;
        self.execute("DELETE FROM group_members WHERE user_id = $1", params![&id])?;
        self.execute(
            "DELETE FROM project_groups WHERE project_id IN (SELECT p.id FROM projects p WHERE p.owner_id = $1 AND p.deleted_at IS NULL)",
            params![&id],
        )?;
        // Projects stay as tombstones: events and, later, the ledger refer to them; so the row of their owner stays.
        self.execute(
            "UPDATE projects SET deleted_at = $2 WHERE owner_id = $1 AND deleted_at IS NULL",
            params![&id, now.0],
        )?;
        self.execute(
            "UPDATE users SET login = $2, name = '', email = NULL, operator = $3, password_hash = NULL, disabled = $4, updated_at = $5 WHERE id = $1",
            params![&id, format!("deleted:{id}"), false, true, now.0],
        )?;
        for topic in ["users", "tokens", "sessions", "projects"] {
            self.notify(topic);
        }
        Ok(())
    }
}
