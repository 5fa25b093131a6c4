//! The ledger from end to end: samples, intervals, charges, suspension, payments, and a month of all of it in which the
//! server dies again and again. Each fault of `MandalaNode`'s that concerns money has a test named after it.

use std::collections::BTreeMap;
use std::time::Duration;

use ryokan_app::Error;
use ryokan_app::ledger::pay::Payment;
use ryokan_app::metering::Billing;
use ryokan_model::billing::{Period, Spend, Suspension};
use ryokan_model::price::{GRAINS, Rates};
use ryokan_model::spec::InstanceSpec;
use ryokan_model::usage::INTERVAL;
use ryokan_model::{Clock, InstanceId, Millis, Sats};
use ryokan_ports::usage::Reading;
use ryokan_store::instances::Instance;
use ryokan_store::params;
use ryokan_store::test_util::for_each_engine;

use crate::rig::{BEGIN, Dice, Rig, operator, project};

impl Rig {
    async fn settle(&self) {
        self.app.close_intervals().await.unwrap();
        self.app.judge_projects().await.unwrap();
    }
}

fn instance(n: u8) -> InstanceId {
    InstanceId::from_parts(Millis(1), [n; 10])
}

fn on() -> Billing {
    Billing { enabled: true, grace: Duration::from_mins(10), ..Billing::default() }
}

fn reading(of: u8, n: u8, epoch: &str, counter: u64, memory: u64, disk: u64) -> Reading {
    Reading {
        instance: instance(n),
        project: project(of),
        epoch: epoch.into(),
        began: Some(Millis(BEGIN + 1)),
        cpu_nanos: counter,
        memory_bytes: memory,
        disk_bytes: disk,
        network_bytes: counter / 1_000,
        gpu_millis: 0,
    }
}

const SECOND: u64 = 1_000_000_000;

/// An hour of one core, sampled every 15 seconds.
async fn an_hour_of_a_core(rig: &Rig, of: u8) {
    for tick in 0..=240u64 {
        rig.usage.set(vec![reading(of, of, "a", tick * 15 * SECOND, 0, 0)]);
        rig.app.sample_usage().await.unwrap();
        rig.clock.forward(15_000);
    }
    rig.clock.forward(INTERVAL);
    rig.settle().await;
}

fn core_only() -> Rates {
    Rates { core: 1_000, ..Rates::FREE }
}

#[tokio::test]
async fn an_hour_of_a_core_costs_what_it_says() {
    for_each_engine(|database| async move {
        let rig = Rig::new(database, Billing { rates: core_only(), ..on() }).await;
        an_hour_of_a_core(&rig, 1).await;
        assert_eq!(rig.balance(1).await, -12_000);
        let report = rig.verified().await;
        assert!(report.intervals >= 12 && report.from_samples == report.intervals);
        // Again changes nothing.
        rig.settle().await;
        assert_eq!(rig.balance(1).await, -12_000);
    })
    .await;
}

#[tokio::test]
async fn where_billing_is_off_usage_is_metered_and_nothing_is_charged() {
    for_each_engine(|database| async move {
        let mut rig = Rig::new(database, Billing { rates: core_only(), ..Billing::default() }).await;
        an_hour_of_a_core(&rig, 1).await;
        assert_eq!(rig.balance(1).await, 0);
        let used = rig
            .app
            .usage(&operator(), "p1", None, Some(Millis(BEGIN)), None, ryokan_app::ledger::view::Step::Day)
            .await
            .unwrap();
        assert_eq!(used[0].usage.cpu_nanos, 3_600 * SECOND);
        // Turned on later, only what is used from then on is charged.
        rig.billing.enabled = true;
        rig.reborn().await;
        rig.settle().await;
        assert_eq!(rig.balance(1).await, 0);
        rig.verified().await;
    })
    .await;
}

/// Fault 7: only the first container and the first volume of a project were counted.
#[tokio::test]
async fn fault_under_metering_every_container_and_volume_counts() {
    for_each_engine(|database| async move {
        let rates = Rates { memory_gb: 500, disk_gb: 10, ..Rates::FREE };
        let rig = Rig::new(database, Billing { rates, ..on() }).await;
        for _ in 0..=20 {
            rig.usage.set(vec![
                reading(1, 1, "agent", 0, 1_000_000_000, 0),
                reading(1, 1, "frontend", 0, 2_000_000_000, 0),
                reading(1, 2, "database", 0, 1_000_000_000, 0),
                reading(1, 1, "volumes", 0, 0, 3_000_000_000),
                reading(1, 2, "volumes", 0, 0, 7_000_000_000),
            ]);
            rig.app.sample_usage().await.unwrap();
            rig.clock.forward(15_000);
        }
        rig.clock.forward(INTERVAL);
        rig.settle().await;
        assert_eq!(rig.balance(1).await, -(4 * 500 + 10 * 10));
        rig.verified().await;
    })
    .await;
}

/// Fault 6: what was used while the server was away was never billed.
#[tokio::test]
async fn fault_downtime_what_counters_prove_is_caught_up_and_nothing_else() {
    for_each_engine(|database| async move {
        let rates = Rates { core: 1_000, memory_gb: 500, ..Rates::FREE };
        let mut rig = Rig::new(database, Billing { rates, ..on() }).await;
        rig.usage.set(vec![reading(1, 1, "a", 0, 1_000_000_000, 0)]);
        rig.app.sample_usage().await.unwrap();
        rig.clock.forward(6 * 3_600_000);
        rig.reborn().await;
        rig.usage.set(vec![reading(1, 1, "a", 3_600 * SECOND, 1_000_000_000, 0)]);
        rig.app.sample_usage().await.unwrap();
        rig.clock.forward(2 * INTERVAL);
        rig.settle().await;
        assert_eq!(rig.balance(1).await, -12_000, "the counter's hour; no memory that nobody watched");
        // The container starts anew: its counters begin at zero, and none of the old is counted again.
        rig.usage.set(vec![reading(1, 1, "b", 300 * SECOND, 0, 0)]);
        rig.app.sample_usage().await.unwrap();
        rig.clock.forward(2 * INTERVAL);
        rig.settle().await;
        assert_eq!(rig.balance(1).await, -13_000);
        rig.verified().await;
    })
    .await;
}

#[tokio::test]
async fn what_ran_before_metering_began_is_not_charged_for_its_past() {
    for_each_engine(|database| async move {
        let rig = Rig::new(database, Billing { rates: core_only(), ..on() }).await;
        let mut old = reading(1, 1, "old", 9_000 * SECOND, 0, 0);
        old.began = Some(Millis(BEGIN - 1));
        rig.usage.set(vec![old.clone()]);
        rig.app.sample_usage().await.unwrap();
        rig.clock.forward(15_000);
        old.cpu_nanos += 300 * SECOND;
        rig.usage.set(vec![old]);
        rig.app.sample_usage().await.unwrap();
        rig.clock.forward(2 * INTERVAL);
        rig.settle().await;
        assert_eq!(rig.balance(1).await, -1_000);
        rig.verified().await;
    })
    .await;
}

#[tokio::test]
async fn prices_hold_from_when_they_are_set_and_a_project_may_be_free() {
    for_each_engine(|database| async move {
        let mut rig = Rig::new(database, Billing { rates: core_only(), ..on() }).await;
        let free = rig.app.set_prices(&operator(), "p2", Some(Rates::FREE), "ours".into()).await.unwrap();
        assert_eq!(free.rates, Rates::FREE);
        an_hour_of_a_core(&rig, 2).await;
        assert_eq!(rig.balance(2).await, 0);
        // The server's price doubles: what was sampled before it is charged as it was priced then.
        rig.usage.set(vec![reading(1, 1, "x", 300 * SECOND, 0, 0)]);
        rig.app.sample_usage().await.unwrap();
        rig.billing.rates = Rates { core: 2_000, ..Rates::FREE };
        rig.reborn().await;
        rig.clock.forward(2 * INTERVAL);
        rig.usage.set(vec![reading(1, 1, "x", 600 * SECOND, 0, 0)]);
        rig.app.sample_usage().await.unwrap();
        rig.clock.forward(2 * INTERVAL);
        rig.settle().await;
        assert_eq!(rig.balance(1).await, -3_000);
        rig.verified().await;
    })
    .await;
}

async fn suspended(rig: &Rig, n: u8) -> Option<Suspension> {
    rig.app.store.read(move |tx| tx.instance(instance(n))).await.unwrap().unwrap().suspended
}

async fn make_instance(rig: &Rig, of: u8, n: u8) {
    let row = Instance::new(
        instance(n),
        project(of),
        format!("i{n}").parse().unwrap(),
        InstanceSpec::new("img".parse().unwrap()),
        Millis(BEGIN),
    );
    rig.app.store.write(move |tx| tx.insert_instance(&row)).await.unwrap();
}

#[tokio::test]
async fn who_owes_is_suspended_after_the_grace_and_resumes_when_paid() {
    for_each_engine(|database| async move {
        let mut rig = Rig::new(database, Billing { rates: core_only(), ..on() }).await;
        make_instance(&rig, 1, 1).await;
        an_hour_of_a_core(&rig, 1).await;
        assert_eq!(suspended(&rig, 1).await, None, "grace");
        rig.reborn().await;
        rig.clock.forward(601_000);
        rig.settle().await;
        assert_eq!(suspended(&rig, 1).await, Some(Suspension::Balance));
        let row = rig.app.store.read(|tx| tx.instance(instance(1))).await.unwrap().unwrap();
        assert_eq!(row.desired, ryokan_model::instance::Desired::Running, "its user's wish is kept");
        assert_eq!(row.goal(), ryokan_model::instance::Desired::Stopped);
        let refused = rig.app.start_instance(&operator(), "i1").await.unwrap_err();
        assert!(matches!(refused, Error::PaymentRequired(_)), "{refused}");
        let app = &rig.app;
        app.credit_project(&operator(), "p1", Sats(11_999), "not enough".into(), None).await.unwrap();
        rig.settle().await;
        assert_eq!(suspended(&rig, 1).await, Some(Suspension::Balance));
        app.credit_project(&operator(), "p1", Sats(1), "the last one".into(), None).await.unwrap();
        rig.settle().await;
        assert_eq!(suspended(&rig, 1).await, None);
        rig.verified().await;
    })
    .await;
}

#[tokio::test]
async fn a_reached_cap_suspends_until_its_period_turns() {
    for_each_engine(|database| async move {
        let rig = Rig::new(database, Billing { rates: core_only(), ..on() }).await;
        make_instance(&rig, 1, 1).await;
        make_instance(&rig, 1, 2).await;
        rig.app.credit_project(&operator(), "p1", Sats(1_000_000), "plenty".into(), None).await.unwrap();
        rig.app
            .set_cap(&operator(), "p1", Some("i1"), Spend::Compute, Period::Day, Some(Sats(5_000)))
            .await
            .unwrap();
        an_hour_of_a_core(&rig, 1).await;
        assert_eq!(suspended(&rig, 1).await, Some(Suspension::Cap));
        assert_eq!(suspended(&rig, 2).await, None, "only the one whose cap it is");
        let caller = operator();
        rig.app.set_cap(&caller, "p1", None, Spend::Compute, Period::Day, Some(Sats(12_000))).await.unwrap();
        rig.settle().await;
        assert_eq!(suspended(&rig, 2).await, Some(Suspension::Cap));
        rig.clock.set(BEGIN + 86_400_000);
        rig.settle().await;
        assert_eq!((suspended(&rig, 1).await, suspended(&rig, 2).await), (None, None));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reservations_never_overspend_and_settle_once() {
    for_each_engine(|database| async move {
        let rig = Rig::new(database, on()).await;
        rig.app.credit_project(&operator(), "p1", Sats(500), "some".into(), None).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let app = rig.app.clone();
            tasks.spawn(async move {
                app.reserve(project(1), None, Spend::Models, Sats(7), Duration::from_mins(1)).await.ok()
            });
        }
        let made: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
        assert_eq!(made.len(), 500 / 7);
        for id in &made {
            rig.app.settle(*id, Sats(3), "a call".into()).await.unwrap();
            rig.app.settle(*id, Sats(7), "again".into()).await.unwrap();
        }
        let spent = i64::try_from(made.len()).unwrap() * 3;
        assert_eq!(rig.balance(1).await, 500 - spent);
        assert_eq!(rig.app.store.read(|tx| tx.reserved(project(1))).await.unwrap(), Sats::ZERO);
        rig.verified().await;
    })
    .await;
}

fn payment(prefix: &str, txid: &str, amount: i64) -> Payment {
    Payment {
        prefix: prefix.into(),
        identity: "02ab".into(),
        project: project(1),
        amount: Sats(amount),
        txid: txid.into(),
    }
}

/// Faults 1, 2 and 3: credit without payment, for less than was asked, and for the same payment twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_double_credit_a_payment_counts_once_and_in_full() {
    for_each_engine(|database| async move {
        let rig = Rig::new(database, on()).await;
        let app = &rig.app;
        app.credit_payment(payment("never asked", "t0", 777)).await.unwrap_err();
        for prefix in ["a", "b", "late"] {
            app.request_payment(prefix.into(), project(1), "02ab".into(), Sats(777)).await.unwrap();
        }
        app.credit_payment(payment("a", "t1", 1)).await.unwrap_err();
        let foreign = Payment { identity: "03cd".into(), ..payment("a", "t1", 777) };
        app.credit_payment(foreign).await.unwrap_err();
        let elsewhere = Payment { project: project(2), ..payment("a", "t1", 777) };
        app.credit_payment(elsewhere).await.unwrap_err();
        assert_eq!(rig.balance(1).await, 0);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let app = app.clone();
            tasks.spawn(async move { app.credit_payment(payment("a", "t1", 777)).await.unwrap() });
        }
        let answers = tasks.join_all().await;
        assert!(answers.iter().all(|a| a.transaction == answers[0].transaction), "the first answer again");
        assert_eq!(rig.balance(1).await, 777);
        app.credit_payment(payment("b", "t1", 777)).await.unwrap_err();
        app.credit_payment(payment("a", "t2", 777)).await.unwrap_err();
        rig.clock.forward(3_600_001);
        app.credit_payment(payment("late", "t3", 777)).await.unwrap_err();
        assert_eq!(app.credit_payment(payment("a", "t1", 777)).await.unwrap().amount, Sats(777));
        assert_eq!(rig.balance(1).await, 777);
        rig.verified().await;
    })
    .await;
}

/// Fault 9: thresholds were never remembered, and there were no refunds.
#[tokio::test]
async fn fault_threshold_memory_each_crossing_is_told_once_and_refunds_exist() {
    for_each_engine(|database| async move {
        let mut rig = Rig::new(database, on()).await;
        let caller = operator();
        let told = async |rig: &Rig| {
            let filter = ryokan_store::EventFilter {
                kinds: Some(vec!["balance.crossed".into()]),
                ..Default::default()
            };
            let events = rig.app.store.read(move |tx| tx.events_after(0, &filter, 100)).await.unwrap().events;
            events.iter().map(|e| e.event.data["threshold"].as_i64().unwrap()).collect::<Vec<_>>()
        };
        rig.app.credit_project(&caller, "p1", Sats(40_000_000), "start".into(), None).await.unwrap();
        assert_eq!(told(&rig).await, [0i64; 0]);
        rig.app.refund_project(&caller, "p1", Sats(15_000_000), "half".into(), None).await.unwrap();
        rig.reborn().await;
        rig.app.refund_project(&caller, "p1", Sats(1_000_000), "more".into(), None).await.unwrap();
        assert_eq!(told(&rig).await, [30_000_000]);
        let too_much = rig.app.refund_project(&caller, "p1", Sats(24_000_001), "all".into(), None).await;
        assert!(matches!(too_much, Err(Error::Conflict(_))));
        rig.app.refund_project(&caller, "p1", Sats(24_000_000), "all".into(), None).await.unwrap();
        assert_eq!(told(&rig).await, [30_000_000, 10_000_000]);
        rig.verified().await;
    })
    .await;
}

#[tokio::test]
async fn verify_finds_what_somebody_changed() {
    for_each_engine(|database| async move {
        let rig = Rig::new(database, Billing { rates: core_only(), ..on() }).await;
        an_hour_of_a_core(&rig, 1).await;
        rig.verified().await;
        for tamper in [
            "UPDATE usage_intervals SET cpu_nanos = cpu_nanos + 300000000000 WHERE start = (SELECT max(start) FROM usage_intervals WHERE cpu_nanos > 0)",
            "UPDATE accounts SET balance = balance + 1 WHERE kind = 'project'",
            // At the end of an interval, where it moves usage from one to the next.
            "UPDATE usage_samples SET cpu_nanos = cpu_nanos + 1 WHERE at = 1793491200000 + 600000",
        ] {
            let before = rig.app.verify_ledger(&operator()).await.unwrap().differences;
            rig.app.store.write(move |tx| tx.execute(tamper, params![])).await.unwrap();
            let after = rig.app.verify_ledger(&operator()).await.unwrap().differences;
            assert!(after > before, "{tamper}");
        }
    })
    .await;
}

#[tokio::test]
async fn old_samples_go_and_the_ledger_still_verifies() {
    for_each_engine(|database| async move {
        let rig = Rig::new(database, Billing { rates: core_only(), ..on() }).await;
        an_hour_of_a_core(&rig, 1).await;
        let now = Millis(rig.clock.now().0);
        let gone = rig
            .app
            .store
            .write(move |tx| tx.purge_samples(Millis(BEGIN + 1_800_000), Millis(0), 10_000, now))
            .await
            .unwrap();
        assert!(gone >= 100, "{gone}");
        let report = rig.verified().await;
        assert!(report.from_samples < report.intervals && report.from_samples > 0, "{report:?}");
        // The newest of the series is still there: what comes next is measured from it.
        let all = rig
            .app
            .store
            .write(move |tx| tx.purge_samples(Millis(i64::MAX), Millis(0), 10_000, now))
            .await
            .unwrap();
        assert!(all > 0);
        rig.usage.set(vec![reading(1, 1, "a", 3_900 * SECOND, 0, 0)]);
        rig.app.sample_usage().await.unwrap();
        rig.clock.forward(2 * INTERVAL);
        rig.settle().await;
        assert_eq!(rig.balance(1).await, -13_000);
        rig.verified().await;
    })
    .await;
}

/// What a plain calculation knows of a series: what its counters last showed, and its levels while they were watched.
#[derive(Default, Clone, Copy)]
struct Shown {
    cpu: u64,
    network: u64,
    last: Option<(i64, u64, u64)>,
    memory_byte_millis: u128,
    disk_byte_millis: u128,
}

impl Shown {
    fn see(&mut self, at: i64, r: &Reading) {
        (self.cpu, self.network) = (r.cpu_nanos, r.network_bytes);
        if let Some((before, memory, disk)) = self.last
            && at - before <= 90_000
        {
            let span = u128::try_from(at - before).unwrap();
            self.memory_byte_millis += u128::from(memory) * span;
            self.disk_byte_millis += u128::from(disk) * span;
        }
        self.last = Some((at, r.memory_bytes, r.disk_bytes));
    }
}

/// The month's agents, and what is proven of each series of theirs.
struct Month {
    dice: Dice,
    /// Project, instance, which run of its container, that one's counter.
    agents: Vec<(u8, u8, u32, u64)>,
    proven: BTreeMap<(u8, String), Shown>,
}

impl Month {
    fn readings(&mut self) -> Vec<Reading> {
        let mut readings = Vec::new();
        for (of, n, epoch, counter) in &mut self.agents {
            match self.dice.roll(80) {
                0 => (*epoch, *counter) = (*epoch + 1, 0),
                1..=10 => continue,
                _ => {}
            }
            *counter += self.dice.roll(60 * SECOND);
            let memory = self.dice.roll(1 << 31);
            readings.push(reading(*of, *n, &format!("{n}-e{epoch}"), *counter, memory, 0));
            if self.dice.roll(4) > 0 {
                let mut disk = reading(*of, *n, &format!("{n}-volumes"), 0, 0, self.dice.roll(1 << 36));
                disk.began = None;
                readings.push(disk);
            }
        }
        readings
    }

    /// One sample, in whose middle the server dies now and then: whether it was taken, the rows say.
    async fn sample(&mut self, rig: &mut Rig) {
        let (at, readings) = (rig.clock.now().0, self.readings());
        rig.usage.set(readings.clone());
        if self.dice.roll(40) == 0 {
            let (app, micros) = (rig.app.clone(), self.dice.roll(2_000));
            let _ = tokio::time::timeout(Duration::from_micros(micros), app.sample_usage()).await;
            rig.reborn().await;
            let taken = "SELECT count(*) AS n FROM usage_samples WHERE at = $1";
            let taken =
                rig.app.store.read(move |tx| tx.query_one(taken, params![at])?.int("n")).await.unwrap();
            assert!(taken == 0 || usize::try_from(taken).unwrap() == readings.len(), "all or nothing");
            if taken == 0 {
                return;
            }
        } else {
            rig.app.sample_usage().await.unwrap();
        }
        for r in &readings {
            let of = (1..=3).find(|n| project(*n) == r.project).unwrap();
            self.proven.entry((of, r.epoch.clone())).or_default().see(at, r);
        }
    }

    /// What a project owes for the whole month: everything together, and cut to whole satoshis once for each resource.
    fn owes(&self, of: u8, rates: &Rates) -> i64 {
        let theirs = || self.proven.iter().filter(|((p, _), _)| *p == of).map(|(_, shown)| shown);
        let sums = [
            (theirs().map(|s| u128::from(s.cpu)).sum::<u128>() * 1_000, rates.core),
            (theirs().map(|s| s.memory_byte_millis).sum(), rates.memory_gb),
            (theirs().map(|s| s.disk_byte_millis).sum(), rates.disk_gb),
            (theirs().map(|s| u128::from(s.network)).sum::<u128>() * 300_000, rates.network_gb),
        ];
        let grains = u128::try_from(GRAINS).unwrap();
        let satoshis = |(sum, rate): &(u128, i64)| sum * u128::try_from(*rate).unwrap() / grains;
        assert!(sums.iter().all(|sum| satoshis(sum) > 0), "all of it is used: {sums:?}");
        i64::try_from(sums.iter().map(satoshis).sum::<u128>()).unwrap()
    }
}

/// A month of three projects' agents that start, stop and idle, with payments, a server that dies at any moment, is away
/// for minutes or hours, and is asked twice. The balances are those of a plain calculation, and `verify` finds nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_simulated_month_is_reproduced_to_the_satoshi() {
    for_each_engine(|database| async move {
        let rates = Rates { core: 1_000, memory_gb: 500, disk_gb: 10, network_gb: 200, gpu: 0 };
        let mut rig = Rig::new(database, Billing { rates, ..on() }).await;
        // Metering begins before anything runs.
        rig.app.sample_usage().await.unwrap();
        let mut month = Month {
            dice: Dice(0x5eed_1e55_ca5e_0001),
            agents: vec![(1, 1, 0, 0), (1, 2, 0, 0), (2, 3, 0, 0), (3, 4, 0, 0)],
            proven: BTreeMap::new(),
        };
        let mut paid: BTreeMap<u8, i64> = BTreeMap::new();
        let end = BEGIN + 30 * 86_400_000;
        while rig.clock.now().0 < end {
            // Mostly an hour or so at a time, so that a month is some six hundred steps; then watched for a while.
            rig.clock.forward(i64::try_from(60_000 + month.dice.roll(120 * 60_000)).unwrap());
            month.sample(&mut rig).await;
            let watched = if month.dice.roll(5) == 0 { 3 } else { 0 };
            for _ in 0..watched {
                rig.clock.forward(i64::try_from(10_000 + month.dice.roll(100_000)).unwrap());
                month.sample(&mut rig).await;
            }
            match month.dice.roll(30) {
                0 => rig.reborn().await,
                1 => {
                    // It dies in the middle of closing: wherever the future is when it is dropped.
                    let app = rig.app.clone();
                    let micros = month.dice.roll(3_000);
                    let closing = app.close_intervals();
                    let _ = tokio::time::timeout(Duration::from_micros(micros), closing).await;
                    rig.reborn().await;
                }
                2 => {
                    let of = u8::try_from(month.dice.roll(3)).unwrap() + 1;
                    let amount = i64::try_from(month.dice.roll(5_000_000)).unwrap() + 1;
                    let (prefix, txid) = (format!("p{}", rig.clock.now()), format!("t{}", rig.clock.now()));
                    let app = &rig.app;
                    app.request_payment(prefix.clone(), project(of), "02ab".into(), Sats(amount))
                        .await
                        .unwrap();
                    let paying = Payment { project: project(of), ..payment(&prefix, &txid, amount) };
                    app.credit_payment(paying.clone()).await.unwrap();
                    app.credit_payment(paying).await.unwrap();
                    *paid.entry(of).or_default() += amount;
                }
                3 => rig.clock.forward(i64::try_from(month.dice.roll(8 * 3_600_000)).unwrap()),
                4..=15 => rig.settle().await,
                _ => {}
            }
        }
        rig.reborn().await;
        rig.clock.forward(2 * INTERVAL);
        while rig.app.close_intervals().await.unwrap() > 0 {}
        rig.settle().await;
        for of in 1..=3u8 {
            let wanted = paid.get(&of).copied().unwrap_or(0) - month.owes(of, &rates);
            assert_eq!(rig.balance(of).await, wanted, "project {of}");
        }
        let report = rig.verified().await;
        assert!(report.intervals > 1_000, "{report:?}");
    })
    .await;
}
