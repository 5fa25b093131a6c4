//! Money: the payment by a wallet (BRC-105), and the statement.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use ryokan_app::Error;
use ryokan_app::ledger::settle::Answer;
use ryokan_brc::payment::{Challenge, Payment, names};
use ryokan_model::Sats;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Known, MandalaResult, Old, time};
use crate::http::Context;
use crate::http::brc::BrcIdentity;

#[derive(Deserialize)]
pub(super) struct Pay {
    amount: i64,
}

pub(super) async fn pay(
    State(context): State<Context>,
    Known(caller): Known,
    identity: Option<Extension<BrcIdentity>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Old(request): Old<Pay>,
) -> MandalaResult<Response> {
    let Some(Extension(identity)) = identity else {
        return Err(Error::Forbidden(
            "only a wallet pays: sign the request with an identity key (BRC-104)".into(),
        )
        .into());
    };
    let offer = match headers.get(names::PAYMENT) {
        Some(value) => {
            let text = value.to_str().map_err(|_| Error::invalid(names::PAYMENT, "is not text"))?;
            Some(Payment::parse(text).map_err(|e| Error::invalid(names::PAYMENT, e.to_string()))?)
        }
        None => None,
    };
    let answer = context.app.pay(&caller, &identity.key, &id, Sats(request.amount), offer).await?;
    Ok(match answer {
        Answer::Asked(request) => {
            let satoshis = u64::try_from(request.amount.0).unwrap_or_default();
            let challenge = Challenge { satoshis, derivation_prefix: request.prefix };
            let body = json!({"status": "error", "code": "ERR_PAYMENT_REQUIRED", "satoshisRequired": satoshis,
                "error": "a payment is required", "description": format!("pay {satoshis} satoshis to go on")});
            let mut response = (StatusCode::PAYMENT_REQUIRED, Json(body)).into_response();
            for (name, value) in challenge.headers() {
                if let Ok(value) = HeaderValue::try_from(value) {
                    response.headers_mut().insert(HeaderName::from_static(name), value);
                }
            }
            response
        }
        Answer::Paid { line, project } => {
            let body = json!({"message": format!("{} satoshis were credited to {project}", line.amount),
                "balance": line.balance_after, "amount": line.amount});
            let mut response = Json(body).into_response();
            if let Ok(value) = HeaderValue::try_from(line.amount.to_string()) {
                response.headers_mut().insert(HeaderName::from_static(names::SATOSHIS_PAID), value);
            }
            response
        }
    })
}

#[derive(Deserialize, Default)]
pub(super) struct Stats {
    #[serde(rename = "type")]
    kind: Option<String>,
    start: Option<String>,
    end: Option<String>,
}

/// The most that is given at once.
const MOST: u32 = 500;

fn day(field: &'static str, text: Option<&str>) -> Result<Option<i64>, Error> {
    let Some(text) = text else { return Ok(None) };
    let whole = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    whole
        .parse::<jiff::Timestamp>()
        .map(|time| Some(time.as_millisecond()))
        .map_err(|_| Error::invalid(field, "must be a date (2026-11-21) or a time (RFC 3339)"))
}

pub(super) async fn stats(
    State(context): State<Context>,
    Known(caller): Known,
    Path(id): Path<String>,
    Old(wanted): Old<Stats>,
) -> MandalaResult<Json<Value>> {
    let (from, to) = (day("start", wanted.start.as_deref())?, day("end", wanted.end.as_deref())?);
    if wanted.kind.as_deref().is_some_and(|kind| kind != "debit" && kind != "credit") {
        return Err(Error::invalid("type", "must be `debit` or `credit`").into());
    }
    let lines = context.app.list_ledger(&caller, &id, None, MOST).await?.items;
    let kind = |amount: Sats| if amount.0 < 0 { "debit" } else { "credit" };
    let records: Vec<Value> = lines
        .into_iter()
        .filter(|line| wanted.kind.as_deref().is_none_or(|wanted| wanted == kind(line.amount)))
        .filter(|line| from.is_none_or(|from| line.at.0 >= from) && to.is_none_or(|to| line.at.0 <= to))
        .map(|line| {
            json!({"id": line.transaction, "timestamp": time(line.at), "type": kind(line.amount),
                "amount_sats": line.amount.0.unsigned_abs().to_string(), "balance_after": line.balance_after.to_string(),
                "metadata": {"kind": line.kind, "reason": line.reason, "actor": line.actor,
                    "interval": line.interval.map(time)}})
        })
        .collect();
    Ok(Json(json!({ "records": records })))
}
