//! What an address holds, asked as `WhatsOnChain` has it.

use bsv_rs::primitives::PublicKey;
use ryokan_model::project::Network;
use ryokan_ports::payment::PaymentError;
use serde::Deserialize;

use super::{Chain, ask};

const WHAT: &str = "the service of addresses";

/// `GET {base}/address/{address}/confirmed/balance` and `.../unconfirmed/balance`.
#[derive(Deserialize)]
struct Confirmed {
    confirmed: i64,
}

#[derive(Deserialize)]
struct Unconfirmed {
    /// The change by what is not mined yet: below zero while something is being spent.
    unconfirmed: i64,
}

/// The address that pays to the hash of a public key.
pub(super) fn of(network: Network, key: &str) -> Result<String, PaymentError> {
    let key = PublicKey::from_hex(key).map_err(|e| PaymentError::Malformed(format!("a public key: {e}")))?;
    Ok(key.to_address_with_prefix(match network {
        Network::Mainnet => 0x00,
        Network::Testnet => 0x6f,
    }))
}

pub(super) async fn funds(
    http: &reqwest::Client,
    chain: &Chain,
    network: Network,
    key: &str,
) -> Result<u64, PaymentError> {
    let base = format!("{}/address/{}", chain.addresses_url, of(network, key)?);
    let key = chain.addresses_key.as_ref();
    // An address that nobody has seen is a 404.
    let confirmed = ask::<Confirmed>(WHAT, http.get(format!("{base}/confirmed/balance")), key).await?;
    let unconfirmed = ask::<Unconfirmed>(WHAT, http.get(format!("{base}/unconfirmed/balance")), key).await?;
    let sum = confirmed.map_or(0, |c| c.confirmed).checked_add(unconfirmed.map_or(0, |u| u.unconfirmed));
    sum.map(|sum| u64::try_from(sum).unwrap_or(0))
        .ok_or_else(|| PaymentError::Unavailable(format!("{WHAT} tells of more than all money")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the private key 1, as every explorer shows it.
    #[test]
    fn addresses_of_both_chains() {
        let key = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        assert_eq!(of(Network::Mainnet, key).unwrap(), "1BgGZ9tcN4rm9KBzDn7KprQz87SZ26SAMH");
        assert_eq!(of(Network::Testnet, key).unwrap(), "mrCDrCybB6J1vRfbwM5hemdJz73FwDBC8r");
        assert!(of(Network::Mainnet, "02ff").is_err());
    }
}
