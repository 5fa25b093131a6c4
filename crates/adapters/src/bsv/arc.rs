//! The broadcast, by ARC's HTTP API.

use ryokan_ports::payment::PaymentError;
use serde::Deserialize;

use super::{Chain, bounded, unanswered};

const WHAT: &str = "the broadcaster (ARC)";
/// Its refusals of a transaction itself: malformed, fees too low, conflicts and their like.
const REFUSALS: std::ops::RangeInclusive<u16> = 460..=475;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    tx_status: String,
    extra_info: Option<String>,
    detail: Option<String>,
    title: Option<String>,
}

impl Answer {
    fn why(&self) -> String {
        let texts = [&self.detail, &self.extra_info, &self.title];
        let text = texts.into_iter().flatten().find(|text| !text.is_empty()).unwrap_or(&self.tx_status);
        text.chars().filter(|c| !c.is_control()).take(300).collect()
    }
}

pub(super) async fn broadcast(
    http: &reqwest::Client,
    chain: &Chain,
    extended: &[u8],
) -> Result<(), PaymentError> {
    let mut request = http
        .post(format!("{}/v1/tx", chain.arc_url))
        // Answers when miners have it, or when it gave up waiting for that.
        .header("X-WaitFor", "SEEN_ON_NETWORK")
        .json(&serde_json::json!({"rawTx": hex::encode(extended)}));
    if let Some(key) = &chain.arc_key {
        request = request.bearer_auth(key.expose());
    }
    let response = request.send().await.map_err(|e| unanswered(WHAT, &e))?;
    let status = response.status();
    let body = bounded(response, WHAT).await?;
    let answer: Answer = serde_json::from_slice(&body).unwrap_or_default();
    if status.as_u16() == 400 || status.as_u16() == 422 || REFUSALS.contains(&status.as_u16()) {
        return Err(PaymentError::Refused(answer.why()));
    }
    if !status.is_success() {
        return Err(PaymentError::Unavailable(format!("{WHAT} answered {status}")));
    }
    match answer.tx_status.as_str() {
        "REJECTED" | "DOUBLE_SPEND_ATTEMPTED" => Err(PaymentError::Refused(answer.why())),
        "SEEN_ON_NETWORK" | "ACCEPTED_BY_NETWORK" | "MINED" => Ok(()),
        // Taken in, and not yet seen by miners: asked again until it is.
        other => {
            Err(PaymentError::Unavailable(format!("{WHAT} has the transaction, which is {other:?} yet")))
        }
    }
}
