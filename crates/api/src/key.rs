//! Public keys that an account proves itself with.

use ryokan_model::IdentityKeyId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Key {
    pub id: IdentityKeyId,
    /// `brc`: signs requests by BRC-104.
    pub kind: String,
    /// 66 hexadecimal digits.
    pub key: String,
    pub label: String,
    pub created_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<i64>,
}

/// `POST /v1/users/{user}/keys`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// `brc`, also when absent.
    #[serde(default = "brc")]
    pub kind: String,
    /// 66 hexadecimal digits.
    pub key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The key's signature in hexadecimal DER, which shows that the account's owner holds it: over the login, with the
    /// protocol `[2, "ryokan identity key"]`, the login as key id, and the server's identity key as counterparty.
    /// Operators need none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

fn brc() -> String {
    "brc".to_owned()
}
