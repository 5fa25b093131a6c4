//! Access tokens for OAuth credentials: one for each credential and revision, fetched when first needed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ryokan_adapters::oauth;
use ryokan_app::credentials::Held;
use ryokan_gateway::Clock;
use ryokan_gateway::egress::{CachedToken, Grant, Granted, Later, NoToken, TokenSource};
use ryokan_model::CredentialId;
use ryokan_model::credential::Kind;

pub(crate) struct Tokens {
    clock: Arc<dyn Clock>,
    allow_private: bool,
    known: Mutex<HashMap<CredentialId, (i64, Arc<CachedToken>)>>,
}

impl Tokens {
    pub(crate) fn new(clock: Arc<dyn Clock>, allow_private: bool) -> Self {
        Self { clock, allow_private, known: Mutex::default() }
    }

    /// Where the credential's tokens come from. One that is no client's has none.
    pub(crate) fn of(&self, held: &Arc<Held>) -> Arc<dyn TokenSource> {
        let row = &held.row;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((revision, tokens)) = known.get(&row.id)
            && *revision == row.revision
        {
            return tokens.clone();
        }
        let grant =
            ClientGrant { held: held.clone(), clock: self.clock.clone(), allow_private: self.allow_private };
        let tokens = Arc::new(CachedToken::new(Arc::new(grant), self.clock.clone()));
        known.insert(row.id, (row.revision, tokens.clone()));
        tokens
    }
}

struct ClientGrant {
    held: Arc<Held>,
    clock: Arc<dyn Clock>,
    allow_private: bool,
}

impl Grant for ClientGrant {
    fn fetch(&self) -> Later<'_, Result<Granted, NoToken>> {
        Box::pin(async {
            let row = &self.held.row;
            let Kind::OauthClient { token_url, client_id, scope } = &row.credential.kind else {
                return Err(NoToken);
            };
            let client = oauth::Client {
                token_url: token_url.clone(),
                id: client_id.clone(),
                secret: self.held.value.clone(),
                scope: scope.clone(),
            };
            match oauth::token(&client, self.allow_private).await {
                Ok((token, lifetime)) => Ok(Granted { token, expires_at: self.clock.now() + lifetime }),
                Err(why) => {
                    tracing::warn!(credential = %row.name, why, "no access token could be got");
                    Err(NoToken)
                }
            }
        })
    }
}
