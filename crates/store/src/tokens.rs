//! What a caller proves itself with: API tokens, browser sessions, one-time login links. Only hashes are stored.

use ryokan_model::permission::Scope;
use ryokan_model::{Millis, ProjectId, SessionId, TokenId, UserId};

use crate::{Result, Row, Tx, params};

/// A token without its secret. `hash` is the hexadecimal SHA-256 of the secret, which is random and long.
#[derive(Debug, Clone)]
pub struct Token {
    pub id: TokenId,
    pub user: UserId,
    pub label: String,
    pub hash: String,
    pub scope: Scope,
    pub project: Option<ProjectId>,
    pub created_at: Millis,
    pub expires_at: Option<Millis>,
    pub last_used_at: Option<Millis>,
}

#[derive(Debug, Clone)]
pub struct Session {
    pub id: SessionId,
    pub user: UserId,
    pub hash: String,
    pub created_at: Millis,
    pub expires_at: Millis,
}

fn token(row: &Row) -> Result<Token> {
    Ok(Token {
        id: row.parse("id")?,
        user: row.parse("user_id")?,
        label: row.text("label")?,
        hash: row.text("hash")?,
        scope: row.parse("scope")?,
        project: row.opt_parse("project_id")?,
        created_at: Millis(row.int("created_at")?),
        expires_at: row.opt_int("expires_at")?.map(Millis),
        last_used_at: row.opt_int("last_used_at")?.map(Millis),
    })
}

fn session(row: &Row) -> Result<Session> {
    Ok(Session {
        id: row.parse("id")?,
        user: row.parse("user_id")?,
        hash: row.text("hash")?,
        created_at: Millis(row.int("created_at")?),
        expires_at: Millis(row.int("expires_at")?),
    })
}

impl Tx<'_> {
    pub fn insert_token(&mut self, token: &Token) -> Result<()> {
        self.execute(
            "INSERT INTO tokens (id, user_id, label, hash, scope, project_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            params![
                token.id.to_string(),
                token.user.to_string(),
                &token.label,
                &token.hash,
                token.scope.as_str(),
                token.project.map(|p| p.to_string()),
                token.created_at.0,
                token.expires_at.map(|t| t.0)
            ],
        )?;
        self.notify("tokens");
        Ok(())
    }

    pub fn token(&mut self, id: TokenId) -> Result<Option<Token>> {
        self.query_opt("SELECT * FROM tokens WHERE id = $1", params![id.to_string()])?
            .as_ref()
            .map(token)
            .transpose()
    }

    pub fn token_by_hash(&mut self, hash: &str) -> Result<Option<Token>> {
        self.query_opt("SELECT * FROM tokens WHERE hash = $1", params![hash])?.as_ref().map(token).transpose()
    }

    /// The user's tokens, or everybody's, of one project or of all; oldest first, after the token `after`.
    pub fn tokens(
        &mut self,
        user: Option<UserId>,
        project: Option<ProjectId>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Token>> {
        self.query(
            "SELECT * FROM tokens WHERE (CAST($1 AS TEXT) IS NULL OR user_id = $1)
                AND (CAST($2 AS TEXT) IS NULL OR project_id = $2) AND id > $3 ORDER BY id LIMIT $4",
            params![user.map(|u| u.to_string()), project.map(|p| p.to_string()), after, limit],
        )?
        .iter()
        .map(token)
        .collect()
    }

    /// Whether there was one.
    pub fn delete_token(&mut self, id: TokenId) -> Result<bool> {
        self.notify("tokens");
        Ok(self.execute("DELETE FROM tokens WHERE id = $1", params![id.to_string()])? > 0)
    }

    /// Not signalled: nobody waits for it.
    pub fn touch_token(&mut self, id: TokenId, now: Millis) -> Result<()> {
        self.execute("UPDATE tokens SET last_used_at = $2 WHERE id = $1", params![id.to_string(), now.0])
            .map(drop)
    }

    pub fn insert_session(&mut self, session: &Session) -> Result<()> {
        self.execute(
            "INSERT INTO sessions (id, user_id, hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
            params![
                session.id.to_string(),
                session.user.to_string(),
                &session.hash,
                session.created_at.0,
                session.expires_at.0
            ],
        )?;
        self.notify("sessions");
        Ok(())
    }

    /// All live sessions, for the snapshot that requests are checked against.
    pub fn live_sessions(&mut self, now: Millis) -> Result<Vec<Session>> {
        self.query("SELECT * FROM sessions WHERE expires_at > $1", params![now.0])?
            .iter()
            .map(session)
            .collect()
    }

    pub fn delete_session(&mut self, id: SessionId) -> Result<bool> {
        self.notify("sessions");
        Ok(self.execute("DELETE FROM sessions WHERE id = $1", params![id.to_string()])? > 0)
    }

    pub fn delete_sessions_of(&mut self, user: UserId) -> Result<()> {
        self.notify("sessions");
        self.execute("DELETE FROM sessions WHERE user_id = $1", params![user.to_string()]).map(drop)
    }

    pub fn insert_login_link(&mut self, hash: &str, user: UserId, expires_at: Millis) -> Result<()> {
        self.execute(
            "INSERT INTO login_links (hash, user_id, expires_at) VALUES ($1, $2, $3)",
            params![hash, user.to_string(), expires_at.0],
        )
        .map(drop)
    }

    /// Until when the link is good, unless it was used.
    pub fn login_link_expiry(&mut self, hash: &str) -> Result<Option<Millis>> {
        self.query_opt("SELECT expires_at FROM login_links WHERE hash = $1", params![hash])?
            .map(|row| row.int("expires_at").map(Millis))
            .transpose()
    }

    /// Uses the link up; whose it was, when it was still good.
    pub fn take_login_link(&mut self, hash: &str, now: Millis) -> Result<Option<UserId>> {
        let row = self.query_opt(
            "DELETE FROM login_links WHERE hash = $1 AND expires_at > $2 RETURNING user_id",
            params![hash, now.0],
        )?;
        row.map(|row| row.parse("user_id")).transpose()
    }

    /// Forgets what has expired; how many rows that were.
    pub fn purge_credentials(&mut self, now: Millis) -> Result<u64> {
        let links = self.execute("DELETE FROM login_links WHERE expires_at <= $1", params![now.0])?;
        let sessions = self.execute("DELETE FROM sessions WHERE expires_at <= $1", params![now.0])?;
        Ok(links + sessions + self.purge_idempotency_keys(now)?)
    }
}
