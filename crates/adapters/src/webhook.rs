//! Webhooks: the adapter of [`ryokan_ports::Webhooks`]. Their addresses come from users; see `outward`.

use async_trait::async_trait;
use ryokan_ports::Webhooks;
use ryokan_ports::notify::NotifyError;

use crate::outward::{self, PATIENCE, Unsent};

pub struct HttpWebhooks {
    /// The operator trusts all users with its own networks.
    allow_private: bool,
}

impl HttpWebhooks {
    pub const fn new(allow_private: bool) -> Self {
        Self { allow_private }
    }

    async fn deliver(&self, url: &str, signature: &str, body: String) -> Result<(), NotifyError> {
        let refused = |what: &str| NotifyError::Refused(what.to_owned());
        let (client, url) =
            outward::client_for(url, self.allow_private).await.map_err(|unsent| match unsent {
                Unsent::Refused(why) => refused(why),
                Unsent::Unavailable(why) => NotifyError::Unavailable(why),
            })?;
        let answer = client
            .post(url)
            .header("content-type", "application/json")
            .header("user-agent", "ryokan")
            .header("ryokan-signature", signature)
            .body(body)
            .send()
            .await
            .map_err(|e| NotifyError::Unavailable(e.without_url().to_string()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            // They ask us to stop.
            reqwest::StatusCode::GONE => Err(refused("it answered 410 Gone")),
            status => Err(NotifyError::Unavailable(format!("it answered {status}"))),
        }
    }
}

#[async_trait]
impl Webhooks for HttpWebhooks {
    async fn post(&self, url: &str, signature: &str, body: String) -> Result<(), NotifyError> {
        match tokio::time::timeout(2 * PATIENCE, self.deliver(url, signature, body)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(NotifyError::Unavailable("no answer in time".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn addresses_of_our_own_networks_are_refused() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let hooks = HttpWebhooks::new(false);
        for host in ["127.0.0.1", "localhost", "[::1]", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]"] {
            let error = hooks.post(&format!("http://{host}:{port}/"), "t=1", "{}".into()).await.unwrap_err();
            assert!(matches!(error, NotifyError::Refused(_)), "{host}: {error}");
        }
        let none = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(none.is_err(), "nobody connected");
    }
}
