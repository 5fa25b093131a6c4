//! Access tokens of the client credentials grant (RFC 6749 §4.4). The address of the issuer comes from a user, so it is
//! kept out of our own networks; the client's secret goes there and nowhere else.

use std::time::Duration;

use ryokan_model::Secret;
use serde::Deserialize;

use crate::outward::{self, Unsent};

/// When the issuer does not say.
const LIFETIME: Duration = Duration::from_mins(5);
const LARGEST: usize = 64 * 1024;

/// Who asks whom, for what.
#[derive(Debug, Clone)]
pub struct Client {
    pub token_url: String,
    pub id: String,
    pub secret: Secret,
    /// None when empty.
    pub scope: String,
}

#[derive(Deserialize)]
struct Granted {
    access_token: Secret,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// The token and how long it is good. The error is for the log: it holds no secret.
pub async fn token(client: &Client, allow_private: bool) -> Result<(Secret, Duration), String> {
    let (http, url) =
        outward::client_for(&client.token_url, allow_private).await.map_err(|unsent| match unsent {
            Unsent::Refused(why) => why.to_owned(),
            Unsent::Unavailable(why) => why,
        })?;
    let mut form = vec![("grant_type", "client_credentials")];
    if !client.scope.is_empty() {
        form.push(("scope", client.scope.as_str()));
    }
    // RFC 6749 §2.3.1: both are form-encoded before they become Basic's.
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let mut answer = http
        .post(url)
        .basic_auth(encoded(&client.id), Some(encoded(client.secret.expose())))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("accept", "application/json")
        .body(body)
        .send()
        .await
        .map_err(|e| e.without_url().to_string())?;
    if !answer.status().is_success() {
        return Err(format!("the issuer answered {}", answer.status()));
    }
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|e| e.without_url().to_string())? {
        if text.len() + chunk.len() > LARGEST {
            return Err("the issuer's answer is too large".to_owned());
        }
        text.extend_from_slice(&chunk);
    }
    // What is wrong with it is not repeated: it may be the token.
    let granted: Granted =
        serde_json::from_slice(&text).map_err(|_| "the issuer's answer holds no access token".to_owned())?;
    let lifetime = granted.expires_in.map_or(LIFETIME, Duration::from_secs);
    Ok((granted.access_token, lifetime))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "the other side of a test")]
    async fn issuer(answer: &'static str) -> (Client, tokio::task::JoinHandle<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let token_url = format!("http://{}/token", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = vec![0; 8192];
            let mut read = 0;
            while !String::from_utf8_lossy(&text[..read]).contains("client_credentials") {
                read += stream.read(&mut text[read..]).await.unwrap();
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&text[..read]).into_owned()
        });
        let client =
            Client { token_url, id: "tea".into(), secret: "h:u/sh".into(), scope: "read write".into() };
        (client, asked)
    }

    #[tokio::test]
    async fn a_token_is_asked_for_as_the_standard_says() {
        let (client, asked) = issuer("HTTP/1.1 200 OK\r\ncontent-length: 45\r\n\r\n{\"access_token\":\"fresh\",     \"expires_in\":60}").await;
        let (fresh, lifetime) = token(&client, true).await.unwrap();
        assert_eq!((fresh.expose(), lifetime), ("fresh", Duration::from_mins(1)));
        let asked = asked.await.unwrap();
        use base64::Engine as _;
        let basic = base64::engine::general_purpose::STANDARD.encode("tea:h%3Au%2Fsh");
        assert!(asked.contains(&format!("Basic {basic}")), "{asked}");
        assert!(asked.ends_with("grant_type=client_credentials&scope=read+write"), "{asked}");
    }

    #[tokio::test]
    async fn what_goes_wrong_tells_no_secret() {
        for answer in [
            "HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 302 Go\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nh:u/sh..",
        ] {
            let (client, asked) = issuer(answer).await;
            let why = token(&client, true).await.unwrap_err();
            assert!(!why.contains("h:u/sh"), "{why}");
            asked.await.unwrap();
        }
        let (client, asked) = issuer("").await;
        let why = token(&client, false).await.unwrap_err();
        assert!(why.contains("not public"), "{why}");
        asked.abort();
    }
}
