//! The ledger under many writers: nothing is lost, nothing is created, nothing can be rewritten.

use ryokan_model::billing::{Period, Spend};
use ryokan_model::{InstanceId, Millis, ProjectId, ReservationId, Sats, TransactionId};
use ryokan_store::billing::{MICROS, PaymentRequest, Reservation};
use ryokan_store::ledger::{Account, Posting};
use ryokan_store::test_util::{for_each_engine, on_postgres};
use ryokan_store::{Store, StoreError, params};

const NOW: Millis = Millis(1_763_000_000_000);

fn project(n: u8) -> ProjectId {
    ProjectId::from_parts(NOW, [n; 10])
}

fn random(n: u32) -> [u8; 10] {
    let mut bytes = [7; 10];
    bytes[6..].copy_from_slice(&n.to_be_bytes());
    bytes
}

fn posting(n: u32, of: ProjectId, from: Account, amount: i64) -> Posting {
    Posting {
        id: TransactionId::from_parts(NOW, random(n)),
        kind: "credit",
        project: of,
        interval: None,
        reason: "test".into(),
        actor: "user:ada".into(),
        price_version: None,
        reference: None,
        at: NOW,
        entries: vec![(Account::Project(of), Sats(amount)), (from, Sats(-amount))],
    }
}

async fn all_is_well(store: &Store) {
    let (checks, unbalanced) = store
        .read(|tx| Ok::<_, StoreError>((tx.account_checks()?, tx.unbalanced_transactions()?)))
        .await
        .unwrap();
    assert_eq!(unbalanced, [""; 0]);
    assert_eq!(Sats::sum(checks.iter().map(|c| c.balance)), Some(Sats::ZERO));
    for check in checks {
        assert_eq!(check.balance, check.sum, "{check:?}");
        assert_eq!((check.entries, check.broken), (check.count, 0), "{check:?}");
        assert_eq!(check.last_seq, check.count, "{check:?}");
    }
}

/// Fault 6 of the seed: balances were read, changed elsewhere, and overwritten. Here credits and debits of several
/// projects meet on shared accounts, and the sum is exact.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_lost_updates_concurrent_postings_all_count() {
    for_each_engine(|database| async move {
        let (here, elsewhere) = (database.open().await, database.open().await);
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..200u32 {
            let store = if n % 2 == 0 { here.clone() } else { elsewhere.clone() };
            let of = project(u8::try_from(n % 3).unwrap());
            let amount = if n % 5 == 0 { -i64::from(n) - 1 } else { i64::from(n) + 1 };
            let from = if n % 2 == 0 { Account::Grants } else { Account::Revenue("cpu") };
            tasks.spawn(async move {
                let posting = posting(n, of, from, amount);
                loop {
                    let posting = posting.clone();
                    match store.write(move |tx| tx.post(&posting)).await {
                        Err(StoreError::Busy) => {}
                        other => break other.unwrap(),
                    }
                }
            });
        }
        tasks.join_all().await;
        for of in 0..3u8 {
            let wanted: i64 = (0..200u32)
                .filter(|n| n % 3 == u32::from(of))
                .map(|n| if n % 5 == 0 { -i64::from(n) - 1 } else { i64::from(n) + 1 })
                .sum();
            let balance = here.read(move |tx| tx.balance(project(of))).await.unwrap();
            assert_eq!(balance, Sats(wanted));
        }
        all_is_well(&here).await;
    })
    .await;
}

#[tokio::test]
async fn what_does_not_balance_is_refused_and_what_is_posted_stays() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        let good = posting(1, project(1), Account::Grants, 10);
        let mut crooked = posting(2, project(1), Account::Grants, 10);
        crooked.entries[1].1 = Sats(-9);
        let mut twice = posting(3, project(1), Account::Grants, 10);
        twice.entries = vec![
            (Account::Project(project(1)), Sats(4)),
            (Account::Project(project(1)), Sats(6)),
            (Account::Grants, Sats(-10)),
        ];
        let mut nobody = posting(4, project(1), Account::Grants, 10);
        nobody.entries = vec![(Account::Payments, Sats(1)), (Account::Grants, Sats(-1))];
        let mut nothing = posting(5, project(1), Account::Grants, 0);
        nothing.entries.truncate(2);
        for bad in [crooked, twice, nobody, nothing] {
            store.write(move |tx| tx.post(&bad)).await.unwrap_err();
        }
        store.write(move |tx| tx.post(&good)).await.unwrap();
        for sql in [
            "UPDATE ledger_entries SET amount = 1",
            "DELETE FROM ledger_entries",
            "UPDATE ledger_transactions SET reason = 'x'",
            "DELETE FROM ledger_transactions",
        ] {
            let error = store.write(move |tx| tx.execute(sql, params![])).await.unwrap_err();
            assert_eq!(error, StoreError::Refused("the ledger is append-only".into()), "{sql}");
        }
        all_is_well(&store).await;
    })
    .await;
}

#[tokio::test]
async fn postgres_itself_refuses_a_transaction_that_does_not_sum_to_zero() {
    on_postgres(|database| async move {
        let store = database.open().await;
        store.write(|tx| tx.post(&posting(1, project(1), Account::Grants, 10))).await.unwrap();
        let smuggled = store
            .write(|tx| {
                tx.execute(
                    "INSERT INTO ledger_transactions (id, kind, project_id, reason, actor, created_at)
                     VALUES ('x', 'credit', 'p', '', '', 1)",
                    params![],
                )?;
                tx.execute(
                    "INSERT INTO ledger_entries (account_id, seq, transaction_id, amount, balance_after)
                     VALUES ('grants', 2, 'x', 5, 0)",
                    params![],
                )
            })
            .await;
        assert!(smuggled.is_err());
        all_is_well(&store).await;
    })
    .await;
}

#[tokio::test]
async fn an_interval_and_a_reference_are_charged_once() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        let interval = ryokan_model::usage::Interval::of(NOW);
        let mut first = posting(1, project(1), Account::Revenue("cpu"), -10);
        first.interval = Some(interval);
        let mut again = posting(2, project(1), Account::Revenue("cpu"), -10);
        again.interval = Some(interval);
        store.write(move |tx| tx.post(&first)).await.unwrap();
        let error = store.write(move |tx| tx.post(&again)).await.unwrap_err();
        assert!(matches!(error, StoreError::UniqueViolation { .. }), "{error}");
        let mut paid = posting(3, project(1), Account::Payments, 10);
        paid.reference = Some("prefix".into());
        let mut twice = posting(4, project(1), Account::Payments, 10);
        twice.reference = Some("prefix".into());
        store.write(move |tx| tx.post(&paid)).await.unwrap();
        let error = store.write(move |tx| tx.post(&twice)).await.unwrap_err();
        assert!(matches!(error, StoreError::UniqueViolation { .. }), "{error}");
        assert_eq!(store.read(|tx| tx.balance(project(1))).await.unwrap(), Sats::ZERO);
        all_is_well(&store).await;
    })
    .await;
}

fn reservation(n: u32, instance: Option<InstanceId>, amount: i64) -> Reservation {
    Reservation {
        id: ReservationId::from_parts(NOW, random(n)),
        project: project(1),
        instance,
        kind: Spend::Models,
        amount: Sats(amount),
        created_at: NOW,
        expires_at: Millis(NOW.0 + 60_000),
        closed_at: None,
        settled: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_reservations_at_once_never_overspend() {
    for_each_engine(|database| async move {
        let (here, elsewhere) = (database.open().await, database.open().await);
        here.write(|tx| {
            tx.put_cap(project(1), None, Spend::Models, Period::Day, Some(Sats(777)), NOW)?;
            tx.put_cap(project(1), None, Spend::Models, Period::Total, Some(Sats(900)), NOW)
        })
        .await
        .unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..1_000u32 {
            let store = if n % 2 == 0 { here.clone() } else { elsewhere.clone() };
            tasks.spawn(async move {
                let asked = reservation(n, None, 7);
                let made = store
                    .write(move |tx| {
                        tx.lock(&format!("caps:{}", asked.project))?;
                        let fits = tx.caps(asked.project, NOW)?.iter().all(|c| c.has_room(7 * MICROS));
                        if fits {
                            tx.insert_reservation(&asked)?;
                        }
                        Ok::<_, StoreError>(fits)
                    })
                    .await
                    .unwrap();
                // Half of those that fit are spent in part, the rest given back; again by a second caller, in vain.
                if made && n % 4 == 0 {
                    for settled in [Sats(3), Sats(5)] {
                        let asked = reservation(n, None, 7);
                        store.write(move |tx| tx.close_reservation(&asked, settled, NOW)).await.unwrap();
                    }
                }
                i64::from(made)
            });
        }
        let made: i64 = tasks.join_all().await.into_iter().sum();
        assert!(made >= 777 / 7, "{made}");
        let used = here.read(|tx| tx.caps(project(1), NOW)).await.unwrap();
        for cap in used {
            assert!(cap.spent + cap.reserved <= cap.cap.amount.0 * MICROS, "{cap:?}");
            assert!(cap.spent >= 0 && cap.reserved >= 0, "{cap:?}");
        }
        let reserved = here.read(|tx| tx.reserved(project(1))).await.unwrap();
        let day = here.read(|tx| tx.caps(project(1), NOW)).await.unwrap()[0];
        assert_eq!(day.reserved, reserved.0 * MICROS);
        assert_eq!(day.spent % (3 * MICROS), 0, "settled once each");
    })
    .await;
}

#[tokio::test]
async fn caps_count_by_period_and_by_instance() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        let instance = InstanceId::from_parts(NOW, [9; 10]);
        let tomorrow = Millis(NOW.0 + 86_400_000);
        let caps = store
            .write(move |tx| {
                for period in Period::ALL {
                    tx.put_cap(project(1), Some(instance), Spend::Compute, *period, Some(Sats(5)), NOW)?;
                }
                tx.add_spending(project(1), Some(instance), Spend::Compute, NOW, 5 * MICROS, 0)?;
                tx.add_spending(project(1), None, Spend::Compute, NOW, 100 * MICROS, 0)?;
                tx.caps(project(1), tomorrow)
            })
            .await
            .unwrap();
        let reached: Vec<_> = caps.iter().map(|c| (c.cap.period, c.is_reached())).collect();
        assert_eq!(reached, [(Period::Day, false), (Period::Month, true), (Period::Total, true)]);
    })
    .await;
}

#[tokio::test]
async fn a_payment_s_prefix_is_spent_once_and_its_transaction_too() {
    for_each_engine(|database| async move {
        let store = database.open().await;
        let request = |prefix: &str| PaymentRequest {
            received: None,
            prefix: prefix.into(),
            project: project(1),
            identity: "02ab".into(),
            amount: Sats(777),
            created_at: NOW,
            expires_at: Millis(NOW.0 + 1),
            txid: None,
            transaction: None,
        };
        let (one, two) = (request("one"), request("two"));
        let id = TransactionId::from_parts(NOW, [1; 10]);
        store
            .write(move |tx| {
                tx.insert_payment_request(&one)?;
                tx.insert_payment_request(&two)?;
                assert!(tx.spend_payment_request("one", "tx", id)?);
                assert!(!tx.spend_payment_request("one", "tx", id)?);
                assert_eq!(tx.prefix_of_payment("tx")?.as_deref(), Some("one"));
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
        let other = store.write(move |tx| tx.spend_payment_request("two", "tx", id)).await.unwrap_err();
        assert!(matches!(other, StoreError::UniqueViolation { .. }), "{other}");
    })
    .await;
}
