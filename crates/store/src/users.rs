//! Users, and the projects that they own or are members of.

use std::collections::BTreeSet;

use ryokan_model::{Millis, Name, ProjectId, UserId};

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

#[derive(Debug, Clone)]
pub struct Project {
    pub id: ProjectId,
    pub name: Name,
    pub owner: UserId,
    pub owner_login: String,
    pub personal: bool,
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

fn project(row: &Row) -> Result<Project> {
    Ok(Project {
        id: row.parse("id")?,
        name: row.parse("name")?,
        owner: row.parse("owner_id")?,
        owner_login: row.text("login")?,
        personal: row.bool("personal")?,
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
        self.execute("DELETE FROM members WHERE user_id = $1", params![&id])?;
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

    /// A taken name is `UniqueViolation` of `projects_name`. The owner becomes its first member.
    pub fn insert_project(
        &mut self,
        id: ProjectId,
        name: &Name,
        owner: UserId,
        personal: bool,
        now: Millis,
    ) -> Result<()> {
        self.execute(
            "INSERT INTO projects (id, name, owner_id, personal, created_at) VALUES ($1, $2, $3, $4, $5)",
            params![id.to_string(), name.as_str(), owner.to_string(), personal, now.0],
        )?;
        self.execute(
            "INSERT INTO members (project_id, user_id, role) VALUES ($1, $2, 'owner')",
            params![id.to_string(), owner.to_string()],
        )?;
        self.notify("projects");
        Ok(())
    }

    pub fn rename_project(&mut self, id: ProjectId, name: &Name) -> Result<()> {
        self.execute("UPDATE projects SET name = $2 WHERE id = $1", params![id.to_string(), name.as_str()])?;
        self.notify("projects");
        Ok(())
    }

    pub fn delete_project(&mut self, id: ProjectId, now: Millis) -> Result<()> {
        self.execute("DELETE FROM members WHERE project_id = $1", params![id.to_string()])?;
        self.execute("DELETE FROM tokens WHERE project_id = $1", params![id.to_string()])?;
        self.execute("DELETE FROM registries WHERE project_id = $1", params![id.to_string()])?;
        self.execute("UPDATE projects SET deleted_at = $2 WHERE id = $1", params![id.to_string(), now.0])?;
        self.notify("projects");
        self.notify("tokens");
        Ok(())
    }

    pub fn project(&mut self, id: ProjectId) -> Result<Option<Project>> {
        let sql = "SELECT p.id, p.name, p.owner_id, u.login, p.personal, p.created_at FROM projects p JOIN users u ON u.id = p.owner_id
                   WHERE p.deleted_at IS NULL AND p.id = $1";
        self.query_opt(sql, params![id.to_string()])?.as_ref().map(project).transpose()
    }

    pub fn project_by_name(&mut self, name: &str) -> Result<Option<Project>> {
        let sql = "SELECT p.id, p.name, p.owner_id, u.login, p.personal, p.created_at FROM projects p JOIN users u ON u.id = p.owner_id
                   WHERE p.deleted_at IS NULL AND p.name = $1";
        self.query_opt(sql, params![name])?.as_ref().map(project).transpose()
    }

    pub fn personal_project(&mut self, owner: UserId) -> Result<Option<Project>> {
        let sql = "SELECT p.id, p.name, p.owner_id, u.login, p.personal, p.created_at FROM projects p JOIN users u ON u.id = p.owner_id
                   WHERE p.deleted_at IS NULL AND p.owner_id = $1 AND p.personal = $2";
        self.query_opt(sql, params![owner.to_string(), true])?.as_ref().map(project).transpose()
    }

    /// Live projects by name, after `after`; the caller filters by what may be seen.
    pub fn projects(&mut self) -> Result<Vec<Project>> {
        let sql = "SELECT p.id, p.name, p.owner_id, u.login, p.personal, p.created_at FROM projects p JOIN users u ON u.id = p.owner_id
                   WHERE p.deleted_at IS NULL ORDER BY p.name";
        self.query(sql, params![])?.iter().map(project).collect()
    }

    /// Projects that the user is a member of.
    pub fn memberships(&mut self, user: UserId) -> Result<BTreeSet<ProjectId>> {
        let rows =
            self.query("SELECT project_id FROM members WHERE user_id = $1", params![user.to_string()])?;
        rows.iter().map(|row| row.parse("project_id")).collect()
    }

    /// All memberships, for the gateway's snapshot.
    pub fn all_memberships(&mut self) -> Result<Vec<(ProjectId, UserId)>> {
        let rows = self.query("SELECT project_id, user_id FROM members", params![])?;
        rows.iter().map(|row| Ok((row.parse("project_id")?, row.parse("user_id")?))).collect()
    }

    pub fn put_registry(&mut self, project: ProjectId, host: &str, username: &str) -> Result<()> {
        self.execute(
            "INSERT INTO registries (project_id, host, username) VALUES ($1, $2, $3)
             ON CONFLICT (project_id, host) DO UPDATE SET username = $3",
            params![project.to_string(), host, username],
        )
        .map(drop)
    }

    /// Host and user name of each registry that the project has credentials for.
    pub fn registries(&mut self, project: ProjectId) -> Result<Vec<(String, String)>> {
        let rows = self.query(
            "SELECT host, username FROM registries WHERE project_id = $1 ORDER BY host",
            params![project.to_string()],
        )?;
        rows.iter().map(|row| Ok((row.text("host")?, row.text("username")?))).collect()
    }

    pub fn delete_registry(&mut self, project: ProjectId, host: &str) -> Result<bool> {
        let n = self.execute(
            "DELETE FROM registries WHERE project_id = $1 AND host = $2",
            params![project.to_string(), host],
        )?;
        Ok(n > 0)
    }
}
