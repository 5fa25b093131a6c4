//! Password hashes: argon2id with the library's current defaults, in PHC form. Slow on purpose, so hashing happens on
//! a blocking thread and only few at a time; otherwise a flood of sign-ins would be a memory exhaustion.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use ryokan_model::Secret;
use tokio::sync::Semaphore;

use crate::entropy::Entropy;
use crate::{Error, Result};

static AT_A_TIME: Semaphore = Semaphore::const_new(2);

pub const MIN_LEN: usize = 10;

/// Checks length only; what else makes a good password is not ours to say.
pub fn validate(password: &str) -> Result<()> {
    if password.chars().count() < MIN_LEN || password.len() > 1024 {
        return Err(Error::invalid("password", format!("must have {MIN_LEN} to 1024 characters")));
    }
    Ok(())
}

pub async fn hash(password: Secret, entropy: &dyn Entropy) -> Result<String> {
    let salt =
        SaltString::encode_b64(&entropy.bytes::<16>()).map_err(|e| Error::internal(format!("salt: {e}")))?;
    blocking(move || {
        let hash = argon2::Argon2::default().hash_password(password.expose().as_bytes(), &salt);
        hash.map(|h| h.to_string()).map_err(|e| Error::internal(format!("argon2: {e}")))
    })
    .await?
}

/// Whether it matches. Without a hash the same work is done and the answer is no, so that time tells nothing about
/// which accounts exist.
pub async fn verify(password: Secret, hash: Option<String>) -> Result<bool> {
    blocking(move || {
        const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let known = hash.is_some();
        let text = hash.unwrap_or_else(|| NOBODY.to_owned());
        let parsed = PasswordHash::new(&text).map_err(|e| Error::internal(format!("a stored password hash is damaged: {e}")))?;
        Ok(argon2::Argon2::default().verify_password(password.expose().as_bytes(), &parsed).is_ok() && known)
    })
    .await?
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let _permit = AT_A_TIME.acquire().await.map_err(|_| Error::internal("the hashing gate is closed"))?;
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(format!("hashing: {e}")))
}
