//! BSV: transactions are read and run here (`bsv-rs`), headers come from a service of headers, and the broadcast goes to
//! ARC. Neither service is believed about the payment itself: a service of headers can only say which root a block has,
//! and ARC only whether miners take the transaction. What addresses hold is asked of a service of its own.

mod address;
mod arc;
mod beef;
mod headers;
mod spend;

use std::time::Duration;

use async_trait::async_trait;
use reqwest::StatusCode;
use ryokan_model::Secret;
use ryokan_model::project::Network;
use ryokan_ports::payment::{Output, PaymentError, PaymentProvider, Signed, Spent, Verified};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

pub use headers::HeaderSource;

/// The most that is read of any service's answer.
const LONGEST_ANSWER: usize = 256 * 1024;
const PATIENCE: Duration = Duration::from_secs(20);
/// Transactions that are run at a time: their scripts are a stranger's.
const AT_A_TIME: usize = 2;

/// The services of one chain.
#[derive(Debug, Clone)]
pub struct Chain {
    /// ARC's base address, without `/v1`.
    pub arc_url: String,
    pub arc_key: Option<Secret>,
    pub headers: HeaderSource,
    pub headers_key: Option<Secret>,
    /// Who tells what addresses hold: its base address, as `WhatsOnChain` has it.
    pub addresses_url: String,
    pub addresses_key: Option<Secret>,
}

/// Both chains.
pub struct Bsv {
    mainnet: Chain,
    testnet: Chain,
    http: reqwest::Client,
    running: Semaphore,
}

impl Bsv {
    pub fn new(mainnet: Chain, testnet: Chain) -> Result<Self, PaymentError> {
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| PaymentError::Unavailable(e.to_string()))?;
        Ok(Self { mainnet, testnet, http, running: Semaphore::new(AT_A_TIME) })
    }

    fn chain(&self, network: Network) -> &Chain {
        match network {
            Network::Mainnet => &self.mainnet,
            Network::Testnet => &self.testnet,
        }
    }
}

#[async_trait]
impl PaymentProvider for Bsv {
    async fn verify(&self, network: Network, beef: Vec<u8>, script: &[u8]) -> Result<Verified, PaymentError> {
        let turn = self.running.acquire().await;
        let turn = turn.map_err(|_| PaymentError::Unavailable("the server is stopping".into()))?;
        let script = script.to_vec();
        let read = tokio::task::spawn_blocking(move || beef::read(&beef, &script)).await;
        drop(turn);
        let (verified, roots) =
            read.map_err(|_| PaymentError::Malformed("its scripts cannot be run".into()))??;
        for (height, root) in roots {
            if !headers::carries(&self.http, self.chain(network), height, &root).await? {
                return Err(PaymentError::Unproven { network, height });
            }
        }
        Ok(verified)
    }

    async fn broadcast(&self, network: Network, extended: &[u8]) -> Result<(), PaymentError> {
        arc::broadcast(&self.http, self.chain(network), extended).await
    }

    async fn funds(&self, network: Network, key: &str) -> Result<u64, PaymentError> {
        address::funds(&self.http, self.chain(network), network, key).await
    }

    async fn sign(&self, inputs: Vec<Spent>, outputs: Vec<Output>) -> Result<Signed, PaymentError> {
        let runtime = tokio::runtime::Handle::current();
        // A transaction of the library is not `Send`, and hundreds of signatures are not quick.
        let signed = tokio::task::spawn_blocking(move || runtime.block_on(spend::sign(inputs, outputs)));
        signed.await.map_err(|_| PaymentError::Malformed("it cannot be signed".into()))?
    }
}

/// What a service knows, asked with its key if it wants one. `None` when it answers 404.
async fn ask<T: DeserializeOwned>(
    what: &str,
    mut request: reqwest::RequestBuilder,
    key: Option<&Secret>,
) -> Result<Option<T>, PaymentError> {
    if let Some(key) = key {
        request = request.bearer_auth(key.expose());
    }
    let response = request.send().await.map_err(|e| unanswered(what, &e))?;
    let status = response.status();
    let body = bounded(response, what).await?;
    match status {
        StatusCode::NOT_FOUND => Ok(None),
        status if status.is_success() => serde_json::from_slice(&body)
            .map(Some)
            .map_err(|_| PaymentError::Unavailable(format!("{what} gave an answer that is not understood"))),
        status => Err(PaymentError::Unavailable(format!("{what} answered {status}"))),
    }
}

/// A bounded answer of a service.
async fn bounded(mut response: reqwest::Response, what: &str) -> Result<Vec<u8>, PaymentError> {
    let mut body = Vec::new();
    loop {
        let piece = response.chunk().await.map_err(|e| unanswered(what, &e))?;
        let Some(piece) = piece else { return Ok(body) };
        if body.len() + piece.len() > LONGEST_ANSWER {
            return Err(PaymentError::Unavailable(format!("{what} gave an answer that is too long")));
        }
        body.extend_from_slice(&piece);
    }
}

/// Without the address, which may hold a key.
fn unanswered(what: &str, error: &reqwest::Error) -> PaymentError {
    let why = if error.is_timeout() {
        "did not answer in time"
    } else if error.is_connect() {
        "cannot be reached"
    } else {
        "broke off"
    };
    PaymentError::Unavailable(format!("{what} {why}"))
}
