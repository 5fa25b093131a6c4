//! API tokens: made, listed, revoked. A token never gives more than the credential that made it.

use ryokan_model::permission::{Caller, Scope};
use ryokan_model::quantity::Span;
use ryokan_model::{Secret, TokenId};
use ryokan_store::tokens::Token;
use serde_json::json;

use super::keys::BRC;
use super::{TOKEN_PREFIX, fingerprint};
use crate::idempotency::{self, IdempotencyKey};
use crate::page::one_more;
use crate::{App, Error, Page, Result, events};

pub struct NewToken {
    pub label: String,
    pub scope: Scope,
    /// Id or name.
    pub project: Option<String>,
    pub expires_in: Option<Span>,
    /// Id or login of another user; operators only.
    pub user: Option<String>,
}

impl App {
    /// Returns the token's row and its secret, which is not stored; but sealed for a day when the request has a key.
    pub async fn create_token(
        &self,
        caller: &Caller,
        new: NewToken,
        key: Option<IdempotencyKey>,
    ) -> Result<(Token, Secret)> {
        if new.label.trim().is_empty() || new.label.chars().count() > 100 {
            return Err(Error::invalid("label", "must have 1 to 100 characters"));
        }
        if caller.scope < Scope::Write {
            return Err(Error::scope(Scope::Write));
        }
        if new.scope > caller.scope {
            return Err(Error::scope(new.scope));
        }
        let user = match &new.user {
            None => caller.user,
            Some(user) => {
                let found = self.find_user(user).await?;
                if found.id != caller.user && !caller.is_operator() {
                    return Err(Error::not_found("user", user));
                }
                found.id
            }
        };
        let project = match (&new.project, caller.only_project) {
            (Some(project), _) => Some(self.find_project(caller, Scope::Read, project).await?.id),
            (None, only) => only,
        };
        let asked = (new.label.trim(), new.scope, user, project, new.expires_in);
        let once = self.once(caller, key, "create_token", &asked)?;
        let now = self.clock.now();
        let secret = self.entropy.secret(TOKEN_PREFIX);
        let token = Token {
            id: TokenId::from_parts(now, self.entropy.bytes()),
            user,
            label: new.label.trim().to_owned(),
            hash: fingerprint(secret.expose()),
            scope: new.scope,
            project,
            created_at: now,
            // Not beyond the credential that makes it, or an end would be no end.
            expires_at: match (new.expires_in.map(|span| now.plus(span.duration())), caller.expires_at) {
                (Some(wanted), Some(end)) => Some(wanted.min(end)),
                (wanted, end) => wanted.or(end),
            },
            last_used_at: None,
        };
        let (row, caller, seal) = (token, caller.clone(), self.seal.clone());
        let made = self
            .store
            .write(move |tx| {
                // Revoked since the request was let in: then it makes nothing that would outlive it.
                if let Some(id) = caller.credential.strip_prefix("token:").and_then(|id| id.parse().ok()) {
                    tx.token(id)?.ok_or(Error::Unauthenticated)?;
                }
                if let Some(key) = caller.credential.strip_prefix("identity:") {
                    tx.identity_key(BRC, key)?.ok_or(Error::Unauthenticated)?;
                }
                if let Some(made) = once.claim(tx, &row.id.to_string(), now)? {
                    let made = made.parse().ok().map(|id| tx.token(id)).transpose()?.flatten();
                    return Ok((made.ok_or_else(idempotency::gone)?, once.secret(tx, &seal)?));
                }
                tx.insert_token(&row)?;
                once.keep_secret(tx, &seal, &secret, now)?;
                let data = json!({"label": row.label, "scope": row.scope});
                events::by_caller(
                    tx,
                    now,
                    &caller,
                    row.project,
                    "token.created",
                    "token",
                    &row.id.to_string(),
                    &row.label,
                    data,
                )?;
                Ok::<_, Error>((row, secret))
            })
            .await?;
        self.refresh_identity().await?;
        Ok(made)
    }

    /// The caller's own tokens, everybody's for an operator; oldest first, after the token `after`. A project's token
    /// sees only that project's.
    pub async fn list_tokens(
        &self,
        caller: &Caller,
        after: Option<String>,
        limit: u32,
    ) -> Result<Page<Token>> {
        let user = if caller.is_operator() { None } else { Some(caller.user) };
        let (only, after) = (caller.only_project, after.unwrap_or_default());
        let rows = self.store.read(move |tx| tx.tokens(user, only, &after, one_more(limit))).await?;
        Ok(Page::cut(rows, limit, |token| token.id.to_string()))
    }

    /// Refused from the next request on.
    pub async fn revoke_token(&self, caller: &Caller, id: &str) -> Result<()> {
        let hidden = || Error::not_found("token", id);
        let token: TokenId = id.parse().map_err(|_| hidden())?;
        let row = self.store.read(move |tx| tx.token(token)).await?.ok_or_else(hidden)?;
        let inside = caller.only_project.is_none_or(|only| row.project == Some(only));
        if !(caller.is_operator() || (row.user == caller.user && inside)) {
            return Err(hidden());
        }
        if caller.scope < Scope::Write {
            return Err(Error::scope(Scope::Write));
        }
        let (now, caller) = (self.clock.now(), caller.clone());
        self.store
            .write(move |tx| {
                tx.delete_token(token)?;
                events::by_caller(
                    tx,
                    now,
                    &caller,
                    row.project,
                    "token.revoked",
                    "token",
                    &token.to_string(),
                    &row.label,
                    json!({}),
                )
            })
            .await?;
        self.refresh_identity().await
    }
}
