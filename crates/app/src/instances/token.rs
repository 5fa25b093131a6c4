//! The token that a sandbox holds: it says which instance and which of its generations asks, and is good only together
//! with the address that the engine gave that container. It is computed, never stored: whoever has the database has
//! none, and a new generation has another one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use ryokan_model::{InstanceId, Secret};
use sha2::Sha256;

/// Begins as all secrets of ours do, so that scanners find it and the gateway strips it.
pub const PREFIX: &str = "ryk_agent_";

const MAC: usize = 16;

/// Makes and reads them.
#[derive(Clone)]
pub struct InstanceTokens(Hmac<Sha256>);

impl InstanceTokens {
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Hmac::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes any key")))
    }

    fn mac(&self, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(b"ryokan instance token\0");
        mac.update(body);
        mac
    }

    pub(crate) fn mint(&self, instance: InstanceId, generation: i64) -> Secret {
        let mut token = Vec::with_capacity(24 + MAC);
        token.extend(instance.0.as_bytes());
        token.extend(generation.to_be_bytes());
        let mac = self.mac(&token).finalize().into_bytes();
        token.extend(&mac[..MAC]);
        Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(token)))
    }

    /// Whose it is, if it is one of ours. In constant time where it matters.
    pub fn read(&self, token: &str) -> Option<(InstanceId, i64)> {
        let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix(PREFIX)?).ok()?;
        let (body, mac) = bytes.split_at_checked(24).filter(|(_, mac)| mac.len() == MAC)?;
        self.mac(body).verify_truncated_left(mac).ok()?;
        let (instance, generation) = body.split_at(16);
        Some((
            InstanceId(uuid::Uuid::from_slice(instance).ok()?),
            i64::from_be_bytes(generation.try_into().ok()?),
        ))
    }
}

impl std::fmt::Debug for InstanceTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InstanceTokens([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use ryokan_model::Millis;

    use super::*;

    #[test]
    fn a_token_says_whose_it_is_and_cannot_be_made_up() {
        let tokens = InstanceTokens::new(&[7; 32]);
        let (one, other) =
            (InstanceId::from_parts(Millis(1), [1; 10]), InstanceId::from_parts(Millis(1), [2; 10]));
        let token = tokens.mint(one, 3);
        assert_eq!(tokens.read(token.expose()), Some((one, 3)));
        assert_eq!(InstanceTokens::new(&[8; 32]).read(token.expose()), None);
        assert_ne!(token, tokens.mint(one, 4));
        assert_ne!(token, tokens.mint(other, 3));
        let text = token.expose();
        for at in PREFIX.len()..text.len() {
            let mut bad = text.as_bytes().to_vec();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            let read = tokens.read(std::str::from_utf8(&bad).unwrap());
            // The last character has bits that stand for nothing; a text that uses them is no token.
            assert_eq!(read, None, "at {at}");
        }
        for bad in ["", PREFIX, "ryk_agent_AAAA", &text[..text.len() - 1], &format!("{text}A"), &text[4..]] {
            assert_eq!(tokens.read(bad), None, "{bad}");
        }
    }
}
