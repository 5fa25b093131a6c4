//! Outputs of ours: each is spent by one transaction, and what was sent is what was charged.

use ryokan_model::project::Network;
use ryokan_model::{Millis, ProjectId, ReservationId, Sats, TopUpId, TransactionId};
use ryokan_store::funding::{Coin, Funding, MOST_REFUSALS, TopUp, TopUpState};
use ryokan_store::ledger::{Account, Posting};
use ryokan_store::test_util::for_each_engine;
use ryokan_store::{Store, StoreError, params};

const NOW: Millis = Millis(1_763_000_000_000);

fn project(n: u8) -> ProjectId {
    ProjectId::from_parts(NOW, [n; 10])
}

fn coin(n: u8, network: Network) -> Coin {
    Coin {
        txid: format!("{n:064x}"),
        output: u32::from(n),
        network,
        satoshis: Sats(1_000 * i64::from(n)),
        counterparty: "02ab".into(),
        prefix: "p".into(),
        suffix: "s".into(),
    }
}

fn top_up(n: u8, of: u8) -> TopUp {
    TopUp {
        id: TopUpId::from_parts(NOW, [n; 10]),
        project: project(of),
        network: Network::Mainnet,
        agent_key: "02cd".into(),
        reservation: ReservationId::from_parts(NOW, [n; 10]),
        amount: Sats(500),
        fee: Sats(23),
        change: Sats(477),
        state: TopUpState::Open,
        txid: None,
        extended: None,
        reason: None,
        created_at: Millis(NOW.0 + i64::from(n)),
        ended_at: None,
    }
}

async fn free(store: &Store) -> Vec<i64> {
    let coins = store.read(|tx| tx.free_coins(Network::Mainnet, 10)).await.unwrap();
    coins.iter().map(|c| c.satoshis.0 / 1_000).collect()
}

#[tokio::test]
async fn an_output_is_spent_by_one_transaction() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        store
            .write(|tx| {
                for n in [2, 1, 3] {
                    tx.insert_coin(&coin(n, Network::Mainnet), NOW)?;
                }
                tx.insert_coin(&coin(9, Network::Testnet), NOW)?;
                // The same again, whatever it says.
                tx.insert_coin(&Coin { satoshis: Sats(5), ..coin(1, Network::Mainnet) }, NOW)
            })
            .await
            .unwrap();
        assert_eq!(free(&store).await, [3, 2, 1], "the largest first, of one chain");
        let sum = store.read(|tx| tx.free_coins_sum(Network::Mainnet)).await.unwrap();
        assert_eq!(sum, (Sats(6_000), 3));
        let begin =
            async |t: TopUp, coins: Vec<Coin>| store.write(move |tx| tx.insert_top_up(&t, &coins)).await;
        let two = vec![coin(3, Network::Mainnet), coin(1, Network::Mainnet)];
        begin(top_up(1, 1), two).await.unwrap();
        assert_eq!(free(&store).await, [2]);
        // What is taken, or not there, is not taken; and nothing of the refused one is left.
        for n in [1, 7] {
            let coins = vec![coin(2, Network::Mainnet), coin(n, Network::Mainnet)];
            begin(top_up(2, 2), coins).await.unwrap_err();
        }
        assert_eq!(free(&store).await, [2]);
        assert_eq!(store.read(|tx| tx.top_up(top_up(2, 2).id)).await.unwrap(), None);
        let second = begin(top_up(3, 1), vec![coin(2, Network::Mainnet)]).await.unwrap_err();
        assert!(matches!(second, StoreError::UniqueViolation { .. }), "one of a project at a time: {second}");

        let spent = store.read(|tx| tx.coins_of(top_up(1, 1).id)).await.unwrap();
        assert_eq!(spent, [coin(1, Network::Mainnet), coin(3, Network::Mainnet)], "always in one order");
        let id = top_up(1, 1).id;
        let kept = store.write(move |tx| tx.keep_top_up(id, "aa", b"raw")).await.unwrap();
        assert!(kept);
        let open = store.read(|tx| tx.open_top_ups(10)).await.unwrap();
        assert_eq!((open.len(), open[0].extended.as_deref()), (1, Some(&b"raw"[..])));
        assert_eq!(store.read(|tx| tx.funded_since(project(1), NOW)).await.unwrap(), Sats(523));
        // Refused: free again, until it was too often.
        let end = async |id, state, refusals| {
            store.write(move |tx| tx.end_top_up(id, state, Some("no"), refusals, NOW)).await.unwrap()
        };
        assert!(end(id, TopUpState::Refused, MOST_REFUSALS - 1).await);
        assert!(!end(id, TopUpState::Sent, 0).await, "it is over");
        assert!(!store.write(move |tx| tx.keep_top_up(id, "bb", b"raw")).await.unwrap());
        assert_eq!(free(&store).await, [3, 2, 1]);
        assert_eq!(store.read(|tx| tx.funded_since(project(1), NOW)).await.unwrap(), Sats::ZERO);
        begin(top_up(4, 1), vec![coin(3, Network::Mainnet)]).await.unwrap();
        assert!(end(top_up(4, 1).id, TopUpState::Refused, 1).await);
        assert_eq!(free(&store).await, [2, 1]);
        let of = store.read(|tx| tx.top_ups_of(project(1), 10)).await.unwrap();
        assert_eq!(of.iter().map(|t| t.id).collect::<Vec<_>>(), [top_up(4, 1).id, id], "the newest first");
        assert_eq!(
            (of[0].reason.as_deref(), of[0].ended_at, of[0].extended.as_ref()),
            (Some("no"), Some(NOW), None)
        );
    })
    .await;
}

#[tokio::test]
async fn what_was_sent_is_what_was_charged() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        let stray = async || store.read(|tx| tx.stray_top_ups()).await.unwrap();
        let post = |t: &TopUp, cost: i64| Posting {
            id: TransactionId::from_parts(NOW, [9; 10]),
            kind: "funding",
            project: t.project,
            interval: None,
            reason: "transaction aa".into(),
            actor: "system".into(),
            price_version: None,
            reference: Some(t.id.to_string()),
            at: NOW,
            entries: vec![(Account::Project(t.project), Sats(-cost)), (Account::Funding, Sats(cost))],
        };
        let t = top_up(1, 1);
        let (id, begun) = (t.id, t.clone());
        store.write(move |tx| tx.insert_top_up(&begun, &[])).await.unwrap();
        assert_eq!(stray().await, [""; 0]);
        store.write(move |tx| tx.end_top_up(id, TopUpState::Sent, None, 0, NOW)).await.unwrap();
        assert_eq!(stray().await, [id.to_string()], "sent, and nobody paid");
        let posting = post(&t, 523);
        store.write(move |tx| tx.post(&posting)).await.unwrap();
        assert_eq!(stray().await, [""; 0]);
        // Charged, and then somebody changes what was sent.
        for tamper in ["UPDATE top_ups SET amount = amount - 1", "UPDATE top_ups SET state = 'refused'"] {
            let undo = "UPDATE top_ups SET amount = 500, state = 'sent'";
            store.write(move |tx| tx.execute(tamper, params![])).await.unwrap();
            assert_eq!(stray().await, [id.to_string()], "{tamper}");
            store.write(move |tx| tx.execute(undo, params![])).await.unwrap();
        }
        let seen = Funding { balance: Some(Sats(7)), checked_at: NOW, refused: Some("why".into()) };
        for seen in [Funding { balance: None, ..seen.clone() }, seen] {
            let put = seen.clone();
            store.write(move |tx| tx.put_funding(project(1), &put)).await.unwrap();
            assert_eq!(store.read(|tx| tx.funding(project(1))).await.unwrap(), Some(seen));
        }
        assert_eq!(store.read(|tx| tx.funding(project(2))).await.unwrap(), None);
    })
    .await;
}
