//! Money on the chain for agents, from a low address to a debited project: with a network that fails, an owner who spends,
//! and a server that dies anywhere.

use std::sync::Arc;
use std::time::Duration;

use ryokan_app::funding::Funding;
use ryokan_app::metering::Billing;
use ryokan_brc::payment::p2pkh;
use ryokan_brc::{PrivateKey, PublicKey};
use ryokan_model::billing::{Period, Spend};
use ryokan_model::project::Network;
use ryokan_model::{Millis, Sats};
use ryokan_ports::payment::PaymentError;
use ryokan_store::StoreError;
use ryokan_store::funding::{Coin, TopUp, TopUpState};
use ryokan_store::test_util::{TestDatabase, for_each_engine};

use crate::rig::{BEGIN, Dice, PROJECTS, Rig, operator, project};

fn key_of(n: u8) -> String {
    PrivateKey::from_bytes(&[n; 32]).unwrap().public().to_string()
}

/// Each project has a key, whose address the chain watches.
async fn rig(database: Arc<TestDatabase>, funding: Funding) -> Rig {
    let rig = Rig::new(database, Billing { funding, ..Billing::default() }).await;
    rig.app
        .store
        .write(|tx| {
            for n in 1..=PROJECTS {
                tx.set_project_agent_key(project(n), &key_of(n))?;
            }
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
    for n in 1..=PROJECTS {
        let key: PublicKey = key_of(n).parse().unwrap();
        rig.chain.watch(&key_of(n), &p2pkh(&key));
    }
    rig
}

impl Rig {
    fn forward(&self, by: Duration) {
        self.clock.forward(i64::try_from(by.as_millis()).unwrap());
    }

    async fn wants(&self, n: u8) {
        self.app.store.write(move |tx| tx.set_project_funding(project(n), true)).await.unwrap();
    }

    async fn credit(&self, n: u8, amount: i64) {
        let (caller, name) = (operator(), format!("p{n}"));
        self.app.credit_project(&caller, &name, Sats(amount), "test".into(), None).await.unwrap();
    }

    /// As if somebody had paid the server so much.
    async fn mint(&mut self, satoshis: u64) {
        self.minted += 1;
        let txid = format!("{:064x}", self.minted);
        self.chain.mint(&txid, satoshis);
        let coin = Coin {
            txid,
            output: 0,
            network: Network::Mainnet,
            satoshis: Sats(i64::try_from(satoshis).unwrap()),
            counterparty: key_of(9),
            prefix: format!("prefix-{}", self.minted),
            suffix: "suffix".into(),
        };
        self.app.store.write(move |tx| tx.insert_coin(&coin, Millis(BEGIN))).await.unwrap();
    }

    async fn run(&self) {
        self.app.fund_agents().await.unwrap();
    }

    async fn top_ups(&self, n: u8) -> Vec<TopUp> {
        self.app.store.read(move |tx| tx.top_ups_of(project(n), 1_000)).await.unwrap()
    }

    async fn free(&self) -> i64 {
        self.app.store.read(|tx| tx.free_coins_sum(Network::Mainnet)).await.unwrap().0.0
    }

    async fn sound(&self) {
        self.verified().await;
        assert_eq!(self.chain.wrongs(), [""; 0]);
    }

    /// Reasons why nothing was sent, as they were told.
    async fn refusals(&self) -> Vec<String> {
        let filter = ryokan_store::EventFilter {
            kinds: Some(vec!["project.funding_refused".into()]),
            ..Default::default()
        };
        let events = self.app.store.read(move |tx| tx.events_after(0, &filter, 100)).await.unwrap().events;
        events.iter().map(|e| e.event.data["reason"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_low_address_is_topped_up_at_the_cost_of_its_project() {
    for_each_engine(|database| async move {
        let mut rig = rig(database, Funding::default()).await;
        rig.mint(5_000).await;
        rig.credit(1, 10_000).await;
        rig.credit(2, 10_000).await;
        rig.wants(1).await;
        rig.run().await;
        assert_eq!(rig.chain.held(&key_of(1)), 500);
        assert_eq!(rig.chain.held(&key_of(2)), 0, "it has not asked");
        // One input and two outputs: 227 bytes at a tenth of a satoshi.
        let sent = rig.top_ups(1).await.pop().unwrap();
        assert_eq!(
            (sent.amount, sent.fee, sent.change, sent.state),
            (Sats(500), Sats(23), Sats(4_477), TopUpState::Sent)
        );
        assert_eq!((rig.balance(1).await, rig.balance(2).await), (10_000 - 523, 10_000));
        assert_eq!(rig.free().await, 4_477, "what came back is ours to spend");
        let lines = rig.app.list_ledger(&operator(), "p1", None, 10).await.unwrap().items;
        assert_eq!((lines[0].kind.as_str(), lines[0].amount), ("funding", Sats(-523)));
        assert_eq!(lines[0].reason, format!("transaction {}", rig.chain.taken()[0]));
        assert_eq!(rig.app.store.read(|tx| tx.reserved(project(1))).await.unwrap(), Sats::ZERO);
        // It is not looked at again before its time, and then has enough.
        let looks = rig.chain.looks();
        rig.run().await;
        assert_eq!(rig.chain.looks(), looks);
        rig.forward(Duration::from_mins(20));
        rig.run().await;
        assert_eq!((rig.chain.looks(), rig.chain.taken().len()), (looks + 1, 1));
        // Its agents spend it. Change of change pays.
        for round in 2..=4 {
            rig.chain.empty(&key_of(1));
            rig.forward(Duration::from_mins(20));
            rig.run().await;
            assert_eq!((rig.chain.held(&key_of(1)), rig.chain.taken().len()), (500, round));
        }
        assert_eq!((rig.balance(1).await, rig.free().await), (10_000 - 4 * 523, 5_000 - 4 * 523));
        assert_eq!(rig.refusals().await, [""; 0]);
        rig.sound().await;
    })
    .await;
}

#[tokio::test]
async fn a_service_that_lags_behind_is_not_paid_twice() {
    for_each_engine(|database| async move {
        let mut rig = rig(database, Funding { every: Duration::from_mins(1), ..Funding::default() }).await;
        rig.mint(5_000).await;
        rig.credit(1, 10_000).await;
        rig.wants(1).await;
        rig.run().await;
        // As if it did not see the transaction yet.
        rig.chain.empty(&key_of(1));
        for _ in 0..10 {
            rig.forward(Duration::from_mins(1));
            rig.run().await;
        }
        assert_eq!(rig.chain.taken().len(), 1);
        rig.forward(Duration::from_mins(6));
        rig.run().await;
        assert_eq!(rig.chain.taken().len(), 2, "by now it would have");
        rig.sound().await;
    })
    .await;
}

#[tokio::test]
async fn nothing_is_sent_without_money_or_over_a_cap_and_the_reason_is_told_once() {
    for_each_engine(|database| async move {
        let mut rig = rig(database, Funding { per_day: Sats(1_000), ..Funding::default() }).await;
        rig.wants(1).await;
        let again = async |rig: &Rig| {
            for _ in 0..3 {
                rig.forward(Duration::from_mins(20));
                rig.chain.empty(&key_of(1));
                rig.run().await;
            }
        };
        rig.credit(1, 522).await;
        again(&rig).await;
        rig.mint(50_000).await;
        again(&rig).await;
        rig.credit(1, 100_000).await;
        let cap = async |rig: &Rig, amount| {
            rig.app.set_cap(&operator(), "p1", None, Spend::Funding, Period::Month, amount).await.unwrap();
        };
        cap(&rig, Some(Sats(522))).await;
        again(&rig).await;
        cap(&rig, None).await;
        assert_eq!(rig.chain.taken(), [""; 0]);
        again(&rig).await;
        assert_eq!(rig.chain.taken().len(), 1, "a second one would be more than a day's");
        let told = rig.refusals().await;
        let words =
            ["was not paid enough", "leaves no room for 523", "cap for funding", "1000 satoshis a day"];
        assert_eq!(told.len(), words.len(), "{told:#?}");
        for (reason, word) in told.iter().zip(words) {
            assert!(reason.contains(word), "{reason} is not about {word}");
        }
        let kept = rig.app.store.read(|tx| tx.funding(project(1))).await.unwrap().unwrap();
        assert_eq!(kept.refused.as_deref(), told.last().map(String::as_str));
        // Another day; then all that it may ever have.
        rig.forward(Duration::from_hours(24));
        again(&rig).await;
        assert_eq!(rig.chain.taken().len(), 2);
        rig.billing.funding.in_all = Sats(1_046);
        rig.reborn().await;
        rig.forward(Duration::from_hours(24));
        again(&rig).await;
        assert_eq!(rig.chain.taken().len(), 2);
        assert!(rig.refusals().await.last().unwrap().contains("1046 satoshis in all"));
        rig.sound().await;
    })
    .await;
}

#[tokio::test]
async fn a_refused_transaction_costs_nothing_and_its_outputs_are_free_again() {
    for_each_engine(|database| async move {
        let mut rig = rig(database, Funding::default()).await;
        rig.mint(5_000).await;
        rig.credit(1, 10_000).await;
        rig.wants(1).await;
        rig.chain.fail(Some(PaymentError::Refused("fee too low".into())));
        rig.run().await;
        assert_eq!(rig.top_ups(1).await[0].state, TopUpState::Refused);
        assert_eq!((rig.balance(1).await, rig.free().await), (10_000, 5_000));
        assert_eq!(rig.app.store.read(|tx| tx.reserved(project(1))).await.unwrap(), Sats::ZERO);
        // An output with which nothing goes is left alone after a while.
        for _ in 0..5 {
            rig.forward(Duration::from_mins(20));
            rig.run().await;
        }
        assert_eq!(rig.top_ups(1).await.len(), 3);
        assert_eq!(rig.free().await, 0);
        // One that was kept while the network was away, and is refused when it is back, may have been heard of.
        rig.mint(700).await;
        rig.chain.fail(Some(PaymentError::Unavailable("away".into())));
        rig.forward(Duration::from_mins(20));
        rig.run().await;
        assert_eq!(rig.top_ups(1).await[0].state, TopUpState::Open);
        rig.chain.fail(Some(PaymentError::Refused("unwilling".into())));
        rig.run().await;
        assert_eq!((rig.top_ups(1).await[0].state, rig.free().await), (TopUpState::Refused, 0));
        rig.chain.fail(None);
        rig.mint(600).await;
        rig.forward(Duration::from_mins(20));
        rig.run().await;
        assert_eq!(rig.chain.held(&key_of(1)), 500);
        let told = rig.refusals().await;
        assert!(told[0].contains("fee too low") && told[3].contains("was not paid enough"), "{told:#?}");
        rig.sound().await;
    })
    .await;
}

/// Days of agents that spend, a network that is away, deaf or unwilling, a server that dies at any moment, and several
/// servers at once. No output is spent twice, no satoshi is lost, and projects pay what was sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_dies_every_satoshi_is_accounted_for() {
    for_each_engine(|database| async move {
        let funding = Funding { per_day: Sats(6_000), ..Funding::default() };
        let mut rig = rig(database, funding).await;
        let mut dice = Dice(0x5eed_f00d_ca5e_0001);
        let (mut minted, mut credited) = (0u64, [0i64; PROJECTS as usize + 1]);
        for n in 1..=PROJECTS {
            rig.wants(n).await;
        }
        for _ in 0..250 {
            match dice.roll(12) {
                0 => {
                    let satoshis = 1 + dice.roll(3_000);
                    minted += satoshis;
                    rig.mint(satoshis).await;
                }
                1 => {
                    let (n, amount) = (
                        u8::try_from(1 + dice.roll(3)).unwrap(),
                        i64::try_from(1 + dice.roll(2_000)).unwrap(),
                    );
                    credited[usize::from(n)] += amount;
                    rig.credit(n, amount).await;
                }
                2..=4 => rig.chain.empty(&key_of(u8::try_from(1 + dice.roll(3)).unwrap())),
                5 => rig.chain.fail(Some(PaymentError::Unavailable("away".into()))),
                6 => rig.chain.deafen(true),
                7 => rig.chain.fail(Some(PaymentError::Refused("unwilling".into()))),
                8 => rig.chain.blind(Some(PaymentError::Unavailable("away".into()))),
                _ => {
                    rig.chain.fail(None);
                    rig.chain.deafen(false);
                    rig.chain.blind(None);
                }
            }
            rig.forward(Duration::from_mins(1 + dice.roll(40)));
            match dice.roll(4) {
                0 => {
                    // It dies wherever the future is when it is dropped.
                    let (app, micros) = (rig.app.clone(), dice.roll(4_000));
                    let _ = tokio::time::timeout(Duration::from_micros(micros), app.fund_agents()).await;
                    rig.reborn().await;
                }
                1 => {
                    let both = [rig.app.clone(), rig.app.clone()];
                    let mut tasks = tokio::task::JoinSet::new();
                    for app in both {
                        tasks.spawn(async move { app.fund_agents().await.unwrap() });
                    }
                    tasks.join_all().await;
                }
                _ => rig.run().await,
            }
        }
        rig.chain.fail(None);
        rig.chain.deafen(false);
        rig.chain.blind(None);
        rig.reborn().await;
        rig.run().await;

        let (mut sent, mut txids) = (0, Vec::new());
        for n in 1..=PROJECTS {
            let mut cost = 0;
            for top_up in rig.top_ups(n).await {
                assert_ne!(top_up.state, TopUpState::Open, "everything ends: {top_up:?}");
                if top_up.state == TopUpState::Sent {
                    cost += top_up.amount.0 + top_up.fee.0;
                    txids.push(top_up.txid.unwrap());
                }
            }
            assert_eq!(
                rig.balance(n).await,
                credited[usize::from(n)] - cost,
                "project {n} pays what was sent"
            );
            assert!(rig.balance(n).await >= 0);
            sent += cost;
        }
        txids.sort();
        assert_eq!(txids, rig.chain.taken(), "what the network took is what was charged");
        assert!(txids.len() > 10, "{} were sent", txids.len());
        let ours =
            "SELECT CAST(coalesce(sum(satoshis), 0) AS BIGINT) AS total FROM coins WHERE top_up_id IS NULL";
        let left = rig
            .app
            .store
            .read(move |tx| tx.query_one(ours, ryokan_store::params![])?.int("total"))
            .await
            .unwrap();
        assert_eq!(i64::try_from(minted).unwrap(), left + sent, "what was taken in is there or was sent");
        rig.sound().await;
    })
    .await;
}
