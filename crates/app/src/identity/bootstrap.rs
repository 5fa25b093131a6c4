//! The first start: one operator without a password, a one-time link and a token for whoever started the server.
//! Nothing is default and nothing is guessable.

use std::time::Duration;

use ryokan_model::permission::Scope;
use ryokan_model::project::Network;
use ryokan_model::{ProjectId, Secret, TokenId, UserId};
use ryokan_store::tokens::Token;
use ryokan_store::users::User;

use super::{TOKEN_PREFIX, fingerprint};
use crate::{App, Result};

/// Shown once, on the terminal of whoever started the server for the first time.
pub struct FirstStart {
    pub link: Secret,
    pub token: Secret,
}

pub const OPERATOR: &str = "operator";

impl App {
    /// Makes the operator if there is no user yet. Two servers that start at once make one.
    pub async fn first_start(&self) -> Result<Option<FirstStart>> {
        let now = self.clock.now();
        let user = UserId::from_parts(now, self.entropy.bytes());
        let project = ProjectId::from_parts(now, self.entropy.bytes());
        let token_id = TokenId::from_parts(now, self.entropy.bytes());
        let (link, token) = (self.entropy.secret("ryl_"), self.entropy.secret(TOKEN_PREFIX));
        let (link_hash, token_hash) = (fingerprint(link.expose()), fingerprint(token.expose()));
        let made = self
            .store
            .write(move |tx| {
                tx.lock("first-start")?;
                if tx.count_users()? > 0 {
                    return Ok(false);
                }
                tx.insert_user(&User {
                    id: user,
                    login: OPERATOR.to_owned(),
                    name: "Operator".to_owned(),
                    operator: true,
                    password_hash: None,
                    disabled: false,
                    email: None,
                    created_at: now,
                })?;
                let name = OPERATOR.parse().map_err(crate::Error::from)?;
                tx.insert_project(project, &name, user, true, Network::Mainnet, now)?;
                tx.insert_token(&Token {
                    id: token_id,
                    user,
                    label: "first start".to_owned(),
                    hash: token_hash,
                    scope: Scope::Admin,
                    project: None,
                    created_at: now,
                    expires_at: None,
                    last_used_at: None,
                })?;
                tx.insert_login_link(&link_hash, user, now.plus(Duration::from_hours(24)))?;
                crate::events::system(
                    tx,
                    now,
                    "user.created",
                    "user",
                    &user.to_string(),
                    OPERATOR,
                    None,
                    serde_json::json!({"first": true}),
                )?;
                Ok::<bool, crate::Error>(true)
            })
            .await?;
        self.refresh_identity().await?;
        Ok(made.then_some(FirstStart { link, token }))
    }
}
