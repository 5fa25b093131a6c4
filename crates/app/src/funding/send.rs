//! Seeing a top-up through: signed, kept, told to the network, debited. Ends the same way however often it is called.

use std::sync::Arc;

use ryokan_brc::payment::{invoice, p2pkh, payee_key};
use ryokan_brc::{PrivateKey, PublicKey};
use ryokan_model::{Sats, Secret, TransactionId};
use ryokan_ports::PaymentProvider;
use ryokan_ports::payment::{Output, PaymentError, Signed, Spent};
use ryokan_store::Tx;
use ryokan_store::funding::{Coin, MOST_REFUSALS, TopUp, TopUpState};
use ryokan_store::ledger::{Account, Posting};
use serde_json::json;

use super::begin::cost;
use crate::{App, Error, Result, events};

/// The suffix of what comes back to us; the prefix is the top-up's id.
const CHANGE: &str = "change";

impl App {
    /// Whether it is over.
    pub(super) async fn send_top_up(
        self: &Arc<Self>,
        chain: &dyn PaymentProvider,
        mut top_up: TopUp,
    ) -> Result<bool> {
        // Whether the network may have heard of it before, whatever it says now.
        let known = top_up.extended.is_some();
        if !known {
            let id = top_up.id;
            let project = top_up.project;
            let (coins, wanted) = self
                .store
                .read(move |tx| {
                    let wanted = tx.project(project)?.is_some_and(|project| project.funding);
                    Ok::<_, ryokan_store::StoreError>((tx.coins_of(id)?, wanted))
                })
                .await?;
            if !wanted {
                self.end_refused(&top_up, "the project does not ask for it any more", 0).await?;
                return Ok(true);
            }
            let signed = match self.signed(chain, &top_up, &coins).await {
                Ok(signed) => signed,
                Err(error) => {
                    // Nobody was told of it: its outputs are free for another one.
                    self.end_refused(&top_up, &error.to_string(), 1).await?;
                    return Ok(true);
                }
            };
            (top_up.txid, top_up.extended) = (Some(signed.txid.clone()), Some(signed.extended.clone()));
            if !self.store.write(move |tx| tx.keep_top_up(id, &signed.txid, &signed.extended)).await? {
                return Ok(true);
            }
            crate::crash::point("funding.kept");
        }
        let (Some(txid), Some(extended)) = (top_up.txid.clone(), top_up.extended.as_deref()) else {
            return Err(Error::internal("a signed top-up has no transaction"));
        };
        match chain.broadcast(top_up.network, extended).await {
            Ok(()) => {}
            Err(error @ PaymentError::Unavailable(_)) => {
                tracing::warn!(top_up = %top_up.id, txid, error = %error, "a top-up is kept, and told to the network again");
                return Ok(false);
            }
            Err(error) => {
                // What may be spent already is not spent again before somebody has looked.
                let refusals = if known { MOST_REFUSALS } else { 1 };
                self.end_refused(&top_up, &error.to_string(), refusals).await?;
                return Ok(true);
            }
        }
        crate::crash::point("funding.broadcast");
        self.end_sent(top_up, txid).await?;
        crate::crash::point("funding.sent");
        Ok(true)
    }

    async fn signed(
        &self,
        chain: &dyn PaymentProvider,
        top_up: &TopUp,
        coins: &[Coin],
    ) -> Result<Signed, PaymentError> {
        let ours = &self.settings.identity.mainnet;
        let lost = |_| PaymentError::Malformed("an output's key cannot be derived".into());
        let mut inputs = Vec::with_capacity(coins.len());
        for coin in coins {
            let payer: PublicKey = coin.counterparty.parse().map_err(lost)?;
            let key = derived(ours, &payer, &coin.prefix, &coin.suffix)?;
            inputs.push(Spent {
                txid: coin.txid.clone(),
                output: coin.output,
                satoshis: coin.satoshis.0.unsigned_abs(),
                key: Secret::new(key.to_hex()),
            });
        }
        let agent: PublicKey = top_up.agent_key.parse().map_err(lost)?;
        let mut outputs =
            vec![Output { script: p2pkh(&agent).to_vec(), satoshis: top_up.amount.0.unsigned_abs() }];
        if top_up.change > Sats::ZERO {
            let own = derived(ours, &ours.public(), &top_up.id.to_string(), CHANGE)?;
            let script = p2pkh(&own.public()).to_vec();
            outputs.push(Output { script, satoshis: top_up.change.0.unsigned_abs() });
        }
        chain.sign(inputs, outputs).await
    }

    /// The network has it: the project is debited, and what came back is ours to spend.
    async fn end_sent(self: &Arc<Self>, top_up: TopUp, txid: String) -> Result<()> {
        let (app, now) = (self.clone(), self.clock.now());
        let id = TransactionId::from_parts(now, self.entropy.bytes());
        let ours = self.settings.identity.mainnet.public().to_string();
        self.store
            .write(move |tx| {
                lock(tx, &top_up)?;
                if !tx.end_top_up(top_up.id, TopUpState::Sent, None, 0, now)? {
                    return Ok(());
                }
                let cost = cost(top_up.amount, top_up.fee)?;
                close(tx, &top_up, cost, now)?;
                if top_up.change > Sats::ZERO {
                    let change = Coin {
                        txid: txid.clone(),
                        output: 1,
                        network: top_up.network,
                        satoshis: top_up.change,
                        counterparty: ours.clone(),
                        prefix: top_up.id.to_string(),
                        suffix: CHANGE.into(),
                    };
                    tx.insert_coin(&change, now)?;
                }
                let posting = Posting {
                    id,
                    kind: "funding",
                    project: top_up.project,
                    interval: None,
                    reason: format!("transaction {txid}"),
                    actor: events::SYSTEM.into(),
                    price_version: None,
                    reference: Some(top_up.id.to_string()),
                    at: now,
                    entries: vec![
                        (Account::Project(top_up.project), Sats(-cost.0)),
                        (Account::Funding, cost),
                    ],
                };
                app.post(tx, &posting)?;
                let data =
                    json!({"amount": top_up.amount, "fee": top_up.fee, "txid": txid, "transaction": id});
                tell(tx, &top_up, "project.funded", data, now)
            })
            .await
    }

    /// Nothing was sent: what was set aside is given back, and the outputs are free unless they were refused too often.
    async fn end_refused(&self, top_up: &TopUp, why: &str, refusals: i64) -> Result<()> {
        tracing::error!(top_up = %top_up.id, txid = top_up.txid, why, "a top-up was refused");
        let (top_up, why, now) = (top_up.clone(), why.to_owned(), self.clock.now());
        self.store
            .write(move |tx| {
                lock(tx, &top_up)?;
                if !tx.end_top_up(top_up.id, TopUpState::Refused, Some(&why), refusals, now)? {
                    return Ok(());
                }
                close(tx, &top_up, Sats::ZERO, now)?;
                let mut seen = tx.funding(top_up.project)?.unwrap_or_default();
                seen.refused = Some(why.clone());
                tx.put_funding(top_up.project, &seen)?;
                let data = json!({"reason": why, "amount": top_up.amount, "txid": top_up.txid});
                tell(tx, &top_up, "project.funding_refused", data, now)
            })
            .await
    }
}

/// In the order in which `begin` takes them.
fn lock(tx: &mut Tx<'_>, top_up: &TopUp) -> Result<()> {
    tx.lock(&format!("caps:{}", top_up.project))?;
    tx.lock(&format!("bill:{}", top_up.project))?;
    tx.lock(&format!("coins:{}", top_up.network))?;
    Ok(())
}

fn close(tx: &mut Tx<'_>, top_up: &TopUp, spent: Sats, now: ryokan_model::Millis) -> Result<()> {
    let held = tx
        .reservation(top_up.reservation)?
        .ok_or_else(|| Error::internal("what was set aside for a top-up is not there"))?;
    if !tx.close_reservation(&held, spent, now)? {
        return Err(Error::internal("what was set aside for a top-up was given back before its end"));
    }
    Ok(())
}

fn tell(
    tx: &mut Tx<'_>,
    top_up: &TopUp,
    kind: &str,
    data: serde_json::Value,
    now: ryokan_model::Millis,
) -> Result<()> {
    let name = tx.any_project(top_up.project)?.map(|p| p.name.to_string()).unwrap_or_default();
    let id = top_up.project.to_string();
    events::system(tx, now, kind, "project", &id, &name, Some(top_up.project), data)
}

fn derived(
    ours: &PrivateKey,
    other: &PublicKey,
    prefix: &str,
    suffix: &str,
) -> Result<PrivateKey, PaymentError> {
    let lost = || PaymentError::Malformed("an output's key cannot be derived".into());
    let invoice = invoice(prefix, suffix).map_err(|_| lost())?;
    payee_key(ours, other, &invoice).map_err(|_| lost())
}
