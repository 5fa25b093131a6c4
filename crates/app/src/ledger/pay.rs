//! Payments over a chain, from the ledger's side: a request is bound to who pays, for which project and how much, and is
//! good for one payment. Whether a payment is real is the caller's to know; here it is credited exactly once.

use std::sync::Arc;
use std::time::Duration;

use ryokan_model::{Millis, ProjectId, Sats, TransactionId};
use ryokan_store::billing::PaymentRequest;
use ryokan_store::funding::Coin;
use ryokan_store::ledger::{Account, Posting, StatementLine};
use serde_json::json;

use crate::{App, Error, Result, events};

/// How long a request to pay is good for.
pub const PAYABLE: Duration = Duration::from_hours(1);

/// A payment that was checked: its output pays us, its inputs are spent, and it was broadcast.
#[derive(Debug, Clone)]
pub struct Payment {
    /// Of the request that it answers.
    pub prefix: String,
    /// Who paid: the identity that the request was bound to.
    pub identity: String,
    pub project: ProjectId,
    /// What the output holds; at least what was asked for.
    pub amount: Sats,
    /// Of the transaction, in hexadecimal.
    pub txid: String,
}

impl App {
    /// Remembers a request to pay, which the caller was found to be allowed to make. `prefix` is the challenge's own.
    pub async fn request_payment(
        &self,
        prefix: String,
        project: ProjectId,
        identity: String,
        amount: Sats,
    ) -> Result<PaymentRequest> {
        let amount = amount.payable("amount")?;
        if prefix.is_empty() || prefix.len() > 200 || identity.is_empty() || identity.len() > 200 {
            return Err(Error::invalid("prefix", "prefix and identity have 1 to 200 characters"));
        }
        let now = self.clock.now();
        let request = PaymentRequest {
            prefix,
            project,
            identity,
            amount,
            created_at: now,
            expires_at: now.plus(PAYABLE),
            txid: None,
            transaction: None,
            received: None,
        };
        let made = request.clone();
        self.store.write(move |tx| tx.insert_payment_request(&request)).await?;
        Ok(made)
    }

    /// The open or spent request with this prefix, for whoever checks a payment before it is broadcast.
    pub async fn payment_request(&self, prefix: &str) -> Result<Option<PaymentRequest>> {
        let prefix = prefix.to_owned();
        Ok(self.store.read(move |tx| tx.payment_request(&prefix)).await?)
    }

    /// Spends the prefix and credits the project, in one transaction. The same prefix and transaction again give the
    /// first answer; everything else that was used before is a conflict. What was paid above what was asked is credited.
    pub async fn credit_payment(self: &Arc<Self>, payment: Payment) -> Result<StatementLine> {
        let now = self.clock.now();
        let id = TransactionId::from_parts(now, self.entropy.bytes());
        let app = self.clone();
        let line = self.store.write(move |tx| credit(&app, tx, &payment, id, now)).await?;
        crate::crash::point("payment.credited");
        Ok(line)
    }
}

fn credit(
    app: &App,
    tx: &mut ryokan_store::Tx<'_>,
    payment: &Payment,
    id: TransactionId,
    now: Millis,
) -> Result<StatementLine> {
    tx.lock(&format!("payment:{}", payment.txid))?;
    tx.lock(&format!("bill:{}", payment.project))?;
    let unknown = || Error::Conflict("this payment answers no request of ours; ask for a new one".into());
    let request = tx.payment_request(&payment.prefix)?.ok_or_else(unknown)?;
    if request.project != payment.project || request.identity != payment.identity {
        return Err(unknown());
    }
    if let (Some(txid), Some(before)) = (&request.txid, request.transaction) {
        if *txid != payment.txid {
            return Err(Error::Conflict("this request was paid by another transaction".into()));
        }
        return tx.statement_line(payment.project, before)?.ok_or_else(unknown);
    }
    if tx.prefix_of_payment(&payment.txid)?.is_some_and(|prefix| prefix != payment.prefix) {
        return Err(Error::Conflict("this transaction was credited before".into()));
    }
    // What came in time is credited, however long the network took.
    if request.expires_at < now && request.received.is_none() {
        return Err(Error::Conflict("this request to pay has expired; ask for a new one".into()));
    }
    let amount = payment.amount.payable("amount")?;
    if amount < request.amount {
        return Err(Error::invalid(
            "amount",
            format!("{amount} satoshis were paid where {} were asked for", request.amount),
        ));
    }
    tx.spend_payment_request(&payment.prefix, &payment.txid, id)?;
    let posting = Posting {
        id,
        kind: "payment",
        project: payment.project,
        interval: None,
        reason: format!("transaction {}", payment.txid),
        actor: payment.identity.clone(),
        price_version: None,
        reference: Some(payment.prefix.clone()),
        at: now,
        entries: vec![(Account::Project(payment.project), amount), (Account::Payments, Sats(-amount.0))],
    };
    app.post(tx, &posting)?;
    keep_output(tx, &request, &payment.txid, amount, now)?;
    let name = tx.project(payment.project)?.map(|p| p.name.to_string()).unwrap_or_default();
    let data = json!({"amount": amount, "txid": payment.txid, "transaction": id});
    let subject = payment.project.to_string();
    events::system(tx, now, "project.paid", "project", &subject, &name, Some(payment.project), data)?;
    tx.statement_line(payment.project, id)?
        .ok_or_else(|| Error::internal("a transaction vanished inside its own transaction"))
}

/// What was paid is ours to spend: on the chain of its project.
fn keep_output(
    tx: &mut ryokan_store::Tx<'_>,
    request: &PaymentRequest,
    txid: &str,
    satoshis: Sats,
    now: Millis,
) -> Result<()> {
    let suffix = request.received.as_ref().and_then(|received| received.suffix.clone());
    let (Some(suffix), Some(project)) = (suffix, tx.any_project(request.project)?) else { return Ok(()) };
    let coin = Coin {
        txid: txid.to_owned(),
        output: 0,
        network: project.network,
        satoshis,
        counterparty: request.identity.clone(),
        prefix: request.prefix.clone(),
        suffix,
    };
    tx.insert_coin(&coin, now)?;
    Ok(())
}
