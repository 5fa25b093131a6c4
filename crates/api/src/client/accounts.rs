//! Sessions, users and tokens.

use reqwest::Method;
use reqwest::header::SET_COOKIE;
use ryokan_model::Secret;

use super::connection::{Client, Credential};
use super::error::ClientError;
use crate::key::{CreateKey, Key};
use crate::session::{CreateSession, Session};
use crate::token::{CreateToken, CreatedToken, Token};
use crate::user::{CreateUser, LoginLink, UpdateUser, User};

impl Client {
    /// Signs in; the credential is the session's cookie, for a client that acts in that session.
    pub async fn sign_in(&self, request: &CreateSession) -> Result<(Session, Credential), ClientError> {
        let request = self
            .request(Method::POST, self.url(&["v1", "sessions"], &())?)
            .json(request)
            .timeout(std::time::Duration::from_secs(30));
        let response = self.open(request).await?;
        let cookies: Vec<String> = response
            .headers()
            .get_all(SET_COOKIE)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .filter_map(|v| v.split(';').next())
            .map(|v| v.trim().to_owned())
            .collect();
        if cookies.is_empty() {
            return Err(ClientError::Protocol(format!("{} signed in without a session cookie", self.base())));
        }
        Ok((self.decode(response).await?, Credential::Session(Secret::new(cookies.join("; ")))))
    }

    /// Ends the session that this client acts in.
    pub async fn sign_out(&self) -> Result<(), ClientError> {
        self.act(Method::DELETE, &["v1", "sessions"]).await
    }

    pub async fn me(&self) -> Result<User, ClientError> {
        self.get(&["v1", "users", "me"], &()).await
    }

    pub async fn users(&self) -> Result<Vec<User>, ClientError> {
        self.all(&["v1", "users"], &()).await
    }

    /// `user` is an id or a login, here and below.
    pub async fn user(&self, user: &str) -> Result<User, ClientError> {
        self.get(&["v1", "users", user], &()).await
    }

    pub async fn create_user(&self, request: &CreateUser) -> Result<User, ClientError> {
        self.create(&["v1", "users"], request).await
    }

    pub async fn update_user(&self, user: &str, request: &UpdateUser) -> Result<User, ClientError> {
        self.send(Method::PATCH, &["v1", "users", user], request).await
    }

    pub async fn delete_user(&self, user: &str) -> Result<(), ClientError> {
        self.act(Method::DELETE, &["v1", "users", user]).await
    }

    pub async fn create_login_link(&self, user: &str) -> Result<LoginLink, ClientError> {
        self.create(&["v1", "users", user, "login-link"], &serde_json::json!({})).await
    }

    pub async fn keys(&self, user: &str) -> Result<Vec<Key>, ClientError> {
        self.all(&["v1", "users", user, "keys"], &()).await
    }

    pub async fn create_key(&self, user: &str, request: &CreateKey) -> Result<Key, ClientError> {
        self.create(&["v1", "users", user, "keys"], request).await
    }

    /// `key` is an id or the key itself.
    pub async fn delete_key(&self, user: &str, key: &str) -> Result<(), ClientError> {
        self.act(Method::DELETE, &["v1", "users", user, "keys", key]).await
    }

    pub async fn tokens(&self) -> Result<Vec<Token>, ClientError> {
        self.all(&["v1", "tokens"], &()).await
    }

    pub async fn create_token(&self, request: &CreateToken) -> Result<CreatedToken, ClientError> {
        self.create(&["v1", "tokens"], request).await
    }

    pub async fn revoke_token(&self, id: &str) -> Result<(), ClientError> {
        self.act(Method::DELETE, &["v1", "tokens", id]).await
    }
}
