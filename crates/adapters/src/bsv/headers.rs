//! Which merkle root a block has, asked of a service of headers.

use ryokan_ports::payment::PaymentError;
use serde::Deserialize;

use super::{Chain, ask};

const WHAT: &str = "the service of headers";

/// Where headers come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderSource {
    /// As `WhatsOnChain` has it: `GET {base}/block/{height}/header`.
    WhatsOnChain(String),
    /// As `Block Headers Service` has it, for one's own: `POST {base}/api/v1/chain/merkleroot/verify`.
    BlockHeadersService(String),
}

/// Whether the block at `height` has `root`, in hexadecimal as explorers show it.
pub(super) async fn carries(
    http: &reqwest::Client,
    chain: &Chain,
    height: u64,
    root: &str,
) -> Result<bool, PaymentError> {
    // A service that knows no such block says 404.
    let key = chain.headers_key.as_ref();
    match &chain.headers {
        HeaderSource::WhatsOnChain(base) => {
            #[derive(Deserialize)]
            struct Header {
                merkleroot: String,
            }
            let request = http.get(format!("{base}/block/{height}/header"));
            let Some(header) = ask::<Header>(WHAT, request, key).await? else { return Ok(false) };
            Ok(header.merkleroot.eq_ignore_ascii_case(root))
        }
        HeaderSource::BlockHeadersService(base) => {
            #[derive(Deserialize)]
            #[serde(rename_all = "camelCase")]
            struct Verified {
                confirmation_state: String,
            }
            let asked = serde_json::json!([{"merkleRoot": root, "blockHeight": height}]);
            let request = http.post(format!("{base}/api/v1/chain/merkleroot/verify")).json(&asked);
            let Some(verified) = ask::<Verified>(WHAT, request, key).await? else { return Ok(false) };
            match verified.confirmation_state.as_str() {
                "CONFIRMED" => Ok(true),
                "INVALID" => Ok(false),
                _ => Err(PaymentError::Unavailable(
                    "the service of headers has not seen the payment's blocks yet".into(),
                )),
            }
        }
    }
}
