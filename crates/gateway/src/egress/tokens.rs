//! OAuth access tokens: kept until shortly before they end, fetched once however many ask.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ryokan_model::Secret;
use tokio::sync::Mutex;

use super::keys::{NoToken, TokenSource};
use super::ports::Later;
use crate::ports::Clock;

/// A token is not used any more this long before its end.
const MARGIN: Duration = Duration::from_secs(30);
/// After a failure, those who come next are not let loose on the issuer at once.
const PAUSE: Duration = Duration::from_secs(2);

/// What an issuer gave.
#[derive(Clone, Debug)]
pub struct Granted {
    pub token: Secret,
    pub expires_at: SystemTime,
}

/// Fetches a token, such as by OAuth client credentials.
pub trait Grant: Send + Sync + 'static {
    fn fetch(&self) -> Later<'_, Result<Granted, NoToken>>;
}

/// A `TokenSource` over a `Grant`.
pub struct CachedToken {
    grant: Arc<dyn Grant>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    granted: Option<Granted>,
    failed_at: Option<SystemTime>,
}

impl CachedToken {
    pub fn new(grant: Arc<dyn Grant>, clock: Arc<dyn Clock>) -> Self {
        Self { grant, clock, state: Mutex::default() }
    }
}

impl TokenSource for CachedToken {
    fn token(&self) -> Later<'_, Result<Secret, NoToken>> {
        Box::pin(async {
            // Who comes while one fetches waits here, and then finds the token.
            let mut state = self.state.lock().await;
            let now = self.clock.now();
            if let Some(granted) = state.granted.as_ref().filter(|granted| now + MARGIN < granted.expires_at)
            {
                return Ok(granted.token.clone());
            }
            let is_too_soon = |at: SystemTime| now.duration_since(at).is_ok_and(|since| since < PAUSE);
            if state.failed_at.is_some_and(is_too_soon) {
                return Err(NoToken);
            }
            match self.grant.fetch().await {
                Ok(granted) => {
                    let token = granted.token.clone();
                    *state = State { granted: Some(granted), failed_at: None };
                    Ok(token)
                }
                Err(NoToken) => {
                    state.failed_at = Some(now);
                    Err(NoToken)
                }
            }
        })
    }
}
