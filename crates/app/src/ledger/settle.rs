//! Payments over a chain, from the challenge to the credit (BRC-105, BRC-29).
//!
//! What must hold: a challenge comes only after the caller was found to be allowed to pay; a transaction is kept before
//! the network is told of it, so that whoever paid is credited whatever dies in between; it is credited only when the
//! network has taken it, and once.

use std::sync::Arc;

use base64::Engine as _;
use ryokan_brc::PublicKey;
use ryokan_brc::payment::{Payment as Offer, p2pkh, payee_key};
use ryokan_model::permission::{Caller, Role};
use ryokan_model::{JobId, Sats};
use ryokan_ports::payment::PaymentError;
use ryokan_store::billing::{PaymentRequest, Received};
use ryokan_store::ledger::StatementLine;
use serde_json::json;

use super::pay::Payment;
use crate::jobs::{JobError, NewJobParts};
use crate::{App, Error, Result};

pub(crate) const KIND: &str = "payment";
/// How long the request itself sees to it that a payment ends, before the job does.
const HEAD_START: std::time::Duration = std::time::Duration::from_secs(25);

/// What somebody who wants to pay is answered.
pub enum Answer {
    /// This is to be paid.
    Asked(PaymentRequest),
    /// It was paid, now or by the same transaction before.
    Paid { line: StatementLine, project: String },
}

impl App {
    /// `identity` has signed the request. Without an offer it is told what to pay; with one, the payment is carried out.
    pub async fn pay(
        self: &Arc<Self>,
        caller: &Caller,
        identity: &str,
        project: &str,
        amount: Sats,
        offer: Option<Offer>,
    ) -> Result<Answer> {
        let project = self.find_project_as(caller, Role::Viewer, project).await?;
        let amount = amount.payable("amount")?;
        let Some(provider) = self.payments.clone() else {
            return Err(Error::NotImplemented(
                "this server takes no payments over a chain; its operator credits projects".into(),
            ));
        };
        let Some(offer) = offer else {
            let random: [u8; 32] = self.entropy.bytes();
            let prefix = base64::engine::general_purpose::STANDARD.encode(random);
            return Ok(Answer::Asked(
                self.request_payment(prefix, project.id, identity.to_owned(), amount).await?,
            ));
        };
        let unknown = || {
            Error::invalid(
                "x-bsv-payment",
                "answers no request of ours for this project, amount and identity; ask for a new one",
            )
        };
        let request = self.payment_request(&offer.derivation_prefix).await?.ok_or_else(unknown)?;
        if request.project != project.id || request.identity != identity || request.amount != amount {
            return Err(unknown());
        }
        let is_new = request.received.is_none() && request.txid.is_none();
        if is_new && request.expires_at < self.clock.now() {
            return Err(unknown());
        }
        let payer: PublicKey = identity.parse().map_err(|_| unknown())?;
        let ours = &self.settings.identity.mainnet;
        let script = offer
            .invoice()
            .ok()
            .and_then(|invoice| payee_key(ours, &payer, &invoice).ok())
            .map(|key| p2pkh(&key.public()))
            .ok_or_else(|| Error::invalid("x-bsv-payment", "its derivation is not one of BRC-29"))?;
        let verified =
            provider.verify(project.network, offer.transaction(), &script).await.map_err(refused)?;
        let paid = Sats(i64::try_from(verified.satoshis).unwrap_or(i64::MAX));
        if paid < amount {
            return Err(Error::invalid(
                "x-bsv-payment",
                format!("output 0 holds {paid} satoshis where {amount} are asked for; it was not taken"),
            ));
        }
        let received = Received {
            txid: verified.txid,
            amount: paid,
            suffix: Some(offer.derivation_suffix.clone()),
            extended: verified.extended,
        };
        self.receive(&request, received).await?;
        crate::crash::point("payment.received");
        let line = self.complete_payment(&request.prefix).await?;
        Ok(Answer::Paid { line, project: project.name.to_string() })
    }

    /// Keeps a transaction and the job that sees it through. The same again is fine.
    async fn receive(&self, request: &PaymentRequest, received: Received) -> Result<()> {
        let now = self.clock.now();
        let job = crate::jobs::new_job(NewJobParts {
            id: JobId::from_parts(now, self.entropy.bytes()),
            kind: KIND,
            key: request.prefix.clone(),
            payload: json!({"prefix": request.prefix}),
            run_at: now.plus(HEAD_START),
            max_attempts: 20,
        });
        let prefix = request.prefix.clone();
        self.store
            .write(move |tx| {
                tx.lock(&format!("payment:{}", received.txid))?;
                if tx.prefix_of_payment(&received.txid)?.is_some_and(|other| other != prefix) {
                    return Err(Error::Conflict(
                        "this transaction has paid for something else before".into(),
                    ));
                }
                if tx.receive_payment(&prefix, &received)? {
                    tx.enqueue_job(&job, now.0)?;
                    return Ok(());
                }
                let before = tx.payment_request(&prefix)?;
                let known = before.and_then(|r| r.txid.or(r.received.map(|r| r.txid)));
                if known.as_deref() == Some(received.txid.as_str()) {
                    Ok(())
                } else {
                    Err(Error::Conflict("this request is being paid by another transaction".into()))
                }
            })
            .await
    }

    /// Tells the network of what came for a prefix, and credits it. Ends the same way however often it is called.
    async fn complete_payment(self: &Arc<Self>, prefix: &str) -> Result<StatementLine> {
        let lost = || Error::Conflict("nothing has come for this request to pay".into());
        let request = self.payment_request(prefix).await?.ok_or_else(lost)?;
        let received = request.received.clone().ok_or_else(lost)?;
        let provider = self.payments.clone().ok_or_else(lost)?;
        if request.txid.is_none() {
            let project = request.project;
            let network = self.store.read(move |tx| tx.any_project(project)).await?.ok_or_else(lost)?.network;
            match provider.broadcast(network, &received.extended).await {
                Ok(()) => {}
                Err(error @ PaymentError::Refused(_)) => {
                    let (prefix, txid) = (request.prefix.clone(), received.txid.clone());
                    self.store.write(move |tx| tx.forget_received(&prefix, &txid)).await?;
                    return Err(refused(error));
                }
                Err(error) => {
                    return Err(Error::Unavailable {
                        message: "your payment is kept, and is credited as soon as the network takes it; do not pay again".into(),
                        source: Some(error.into()),
                    });
                }
            }
            crate::crash::point("payment.broadcast");
        }
        self.credit_payment(Payment {
            prefix: request.prefix,
            identity: request.identity,
            project: request.project,
            amount: received.amount,
            txid: received.txid,
        })
        .await
    }

    /// Sees to a payment whose request died, or whose network did not answer.
    pub(crate) async fn run_settlement_job(
        self: &Arc<Self>,
        payload: serde_json::Value,
    ) -> Result<(), JobError> {
        let prefix = payload["prefix"].as_str().ok_or_else(|| JobError::fatal("payload: prefix"))?;
        let request = self.payment_request(prefix).await.map_err(JobError::retry)?;
        if request.is_none_or(|request| request.received.is_none() || request.txid.is_some()) {
            return Ok(());
        }
        match self.complete_payment(prefix).await {
            Ok(_) => Ok(()),
            // The network is asked for as long as it takes: somebody has paid.
            Err(error @ Error::Unavailable { .. }) => Err(JobError::patient(error)),
            Err(error @ Error::Internal(_)) => Err(JobError::retry(error)),
            Err(error) => Err(JobError::fatal(error)),
        }
    }
}

fn refused(error: PaymentError) -> Error {
    match error {
        PaymentError::Unavailable(why) => {
            Error::Unavailable { message: format!("the payment cannot be checked now: {why}"), source: None }
        }
        other => Error::invalid("x-bsv-payment", other.to_string()),
    }
}
