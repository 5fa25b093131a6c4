//! Killed while counters are read, intervals are charged, projects are suspended, and payments are taken. Afterwards
//! everything that was used is charged once, everything that was paid is credited once, and the ledger verifies.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::chain::{Chain, Wallet};
use crate::support::invariants::{Known, all_events, check};
use crate::support::rig::{Place, Rig, engine_is_there, eventually, settle, skip};

const NAME: &str = "metered";
/// A little more than an interval of five minutes.
const INTERVAL: i64 = 330_000;

/// The server's clock, which the test moves forward.
struct Clock {
    file: PathBuf,
    offset: std::cell::Cell<i64>,
    _folder: tempfile::TempDir,
}

impl Clock {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { file: folder.path().join("clock"), offset: 0.into(), _folder: folder }
    }

    fn forward(&self, millis: i64) {
        self.offset.set(self.offset.get() + millis);
        // Renamed into place, so that nobody reads half a number.
        let new = self.file.with_extension("new");
        std::fs::write(&new, self.offset.get().to_string()).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }
}

fn json_of(rig: &Rig, path: &str) -> Option<Value> {
    let (code, body) = rig.get(path)?;
    (code == 200).then(|| serde_json::from_str(&body).unwrap())
}

fn balance(rig: &Rig) -> i64 {
    let found = settle(Duration::from_secs(10), || json_of(rig, "/v1/projects/operator/balance"));
    found.unwrap()["balance"].as_i64().unwrap()
}

/// The project's whole statement, the newest line first.
fn statement(rig: &Rig) -> Vec<Value> {
    let page = settle(Duration::from_secs(10), || json_of(rig, "/v1/projects/operator/ledger?limit=500"));
    let page = page.unwrap();
    assert!(page["next"].is_null(), "one page has them all");
    page["items"].as_array().unwrap().clone()
}

/// `ryokan ledger verify` as an operator runs it, and that the statement adds up.
fn verify(rig: &Rig, when: &str) {
    let found = Command::new(env!("CARGO_BIN_EXE_ryokan"))
        .args(["ledger", "verify", "--json", "--url", &rig.url("")])
        .env("RYOKAN_DATA_DIR", rig.data())
        .env_remove("RYOKAN_TOKEN")
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&found.stdout);
    assert!(found.status.success(), "{when}: {report}{}", String::from_utf8_lossy(&found.stderr));
    let lines = statement(rig);
    let sum: i64 = lines.iter().map(|line| line["amount"].as_i64().unwrap()).sum();
    assert_eq!(lines.first().map_or(0, |line| line["balance_after"].as_i64().unwrap()), sum, "{when}");
    let intervals: Vec<i64> = lines.iter().filter_map(|line| line["interval"].as_i64()).collect();
    let distinct: BTreeSet<i64> = intervals.iter().copied().collect();
    assert_eq!(intervals.len(), distinct.len(), "{when}: an interval was charged twice: {lines:?}");
}

/// Milliseconds of a core that the closed intervals come to, and how many steps these were rounded in.
fn metered(rig: &Rig) -> Option<(u64, u64)> {
    let page = json_of(rig, "/v1/projects/operator/usage?step=day")?;
    let steps = page["items"].as_array()?;
    let sum = steps.iter().filter_map(|step| step["cpu_millis"].as_u64()).sum();
    Some((sum, steps.len() as u64))
}

/// Milliseconds of a core that the container has used, as its engine says now.
fn used(rig: &Rig) -> u64 {
    let stats = settle(Duration::from_secs(20), || json_of(rig, &format!("/v1/instances/{NAME}/stats")));
    stats.expect("the engine tells what the container uses")["cpu_nanos"].as_u64().unwrap() / 1_000_000
}

/// Makes the agent work, so that what is counted twice shows.
fn work(rig: &Rig) {
    let served = Command::new("curl")
        .args(["-s", "-m", "20", "-o", "/dev/null"])
        .arg(rig.url(&format!("/gateway/{NAME}/health?[1-1500]")))
        .status();
    served.unwrap();
}

fn dies(rig: &Rig, point: &str, mut meanwhile: impl FnMut()) {
    eventually(
        Duration::from_mins(1),
        || format!("the point {point} was never reached\n{}", rig.log()),
        || {
            meanwhile();
            rig.has_died().then_some(())
        },
    );
}

fn events_of(rig: &Rig, kind: &str) -> usize {
    all_events(rig).unwrap().iter().filter(|event| event["kind"] == kind).count()
}

#[test]
fn metering_is_killed_at_every_point() {
    if !cfg!(feature = "crash-points") {
        return skip("built without the feature `crash-points` (`make test` turns it on)");
    }
    if !engine_is_there() {
        return;
    }
    let clock = Clock::new();
    let environment = vec![
        ("RYOKAN_CLOCK_OFFSET", clock.file.display().to_string()),
        ("RYOKAN_BILLING", "true".into()),
        ("RYOKAN_BILLING_GRACE", "10m".into()),
        ("RYOKAN_METERING_EVERY", "5s".into()),
        // Dear, so that a few milliseconds are money.
        ("RYOKAN_RATE_CORE", "1000000000".into()),
    ];
    let rig = Rig::new(Place { environment, ..Place::default() });
    rig.up();
    let credit = json!({"amount": 1_000_000_000_000_i64, "reason": "enough for everything"}).to_string();
    assert_eq!(rig.call("POST", "/v1/projects/operator/credits", &credit).unwrap().0, 201);
    assert_eq!(rig.create(NAME).unwrap().0, 202);
    rig.wait_state(NAME, "ready");
    let known = Known { created: [NAME.to_owned()].into(), ..Known::default() };

    for (point, skip, closes) in [
        ("metering.read", 2, false),
        ("metering.sampled", 2, false),
        ("billing.sealed", 0, true),
        ("billing.posted", 0, true),
        ("billing.closed", 0, true),
    ] {
        println!("crash point {point}");
        rig.kill();
        rig.start(Some((point, skip)));
        rig.wait_up();
        work(&rig);
        if closes {
            clock.forward(INTERVAL);
        }
        dies(&rig, point, || ());
        rig.up();
        verify(&rig, point);
    }
    nothing_is_missing_or_double(&rig, &clock);
    verify(&rig, "after all points");
    suspended_and_resumed_once(&rig, &clock);
    verify(&rig, "at the end");
    check(&rig, &known);
    rig.tear_down();
}

/// All that the container has used is in the closed intervals, and nothing is in them twice.
fn nothing_is_missing_or_double(rig: &Rig, clock: &Clock) {
    let least = used(rig);
    let mut last = (0, 0);
    let found = settle(Duration::from_mins(2), || {
        // Samples that come after a jump belong to the interval that it leads into: the next one closes it.
        clock.forward(INTERVAL);
        settle(Duration::from_secs(12), || {
            last = metered(rig)?;
            (last.0 + last.1 >= least).then_some(last.0)
        })
    });
    let found = found.unwrap_or_else(|| panic!("used were {least} ms, metered {last:?}\n{}", rig.log()));
    let most = used(rig);
    assert!(found <= most, "{found} ms are charged of a container that has used {most}");
    assert!(balance(rig) < 1_000_000_000_000, "what was used was charged");
}

fn suspended_and_resumed_once(rig: &Rig, clock: &Clock) {
    println!("crash point billing.judged, as the project is suspended");
    rig.kill();
    rig.start(Some(("billing.judged", 0)));
    rig.wait_up();
    let refunded = settle(Duration::from_secs(10), || {
        // An interval may be charged in between.
        let all = json!({"amount": balance(rig), "reason": "all of it"}).to_string();
        rig.call("POST", "/v1/projects/operator/refunds", &all).filter(|(code, _)| *code == 201)
    });
    assert!(refunded.is_some(), "{}", rig.log());
    dies(rig, "billing.judged", || {
        clock.forward(INTERVAL);
        std::thread::sleep(Duration::from_secs(3));
    });
    rig.up();
    rig.wait_state(NAME, "stopped");
    assert!(balance(rig) < 0);
    assert_eq!((events_of(rig, "project.suspended"), events_of(rig, "project.resumed")), (1, 0));
    verify(rig, "suspended");

    println!("crash point billing.judged, as it is resumed");
    rig.kill();
    rig.start(Some(("billing.judged", 0)));
    rig.wait_up();
    let credit = json!({"amount": 1_000_000_000_000_i64, "reason": "paid"}).to_string();
    // The server may be dead before its answer is read.
    rig.call_once("POST", "/v1/projects/operator/credits", &credit, "once");
    dies(rig, "billing.judged", || ());
    rig.up();
    rig.call_once("POST", "/v1/projects/operator/credits", &credit, "once");
    rig.wait_state(NAME, "ready");
    assert_eq!((events_of(rig, "project.suspended"), events_of(rig, "project.resumed")), (1, 1));
    assert_eq!(statement(rig).iter().filter(|line| line["reason"] == "paid").count(), 1);
}

#[test]
fn a_payment_is_killed_at_every_point() {
    if !cfg!(feature = "crash-points") {
        return skip("built without the feature `crash-points` (`make test` turns it on)");
    }
    if !engine_is_there() {
        return;
    }
    const AMOUNT: u64 = 700;
    let chain = Chain::start();
    let rig = Rig::new(Place { environment: chain.environment(), ..Place::default() });
    rig.up();
    let mut salt = 0;
    let mut wallet = |rig: &Rig| {
        salt += 1;
        Wallet::open(rig, 7, salt)
    };
    let key = json!({"key": wallet(&rig).identity()}).to_string();
    assert_eq!(rig.call("POST", "/v1/users/operator/keys", &key).unwrap().0, 201);
    let mut paid = 0;
    for (round, (point, again)) in [
        ("payment.received", true),
        ("payment.received", false),
        ("payment.broadcast", true),
        ("payment.broadcast", false),
        ("payment.credited", true),
        ("payment.credited", false),
    ]
    .into_iter()
    .enumerate()
    {
        println!("crash point {point}, and whoever paid {}", if again { "tries again" } else { "gives up" });
        rig.kill();
        rig.start(Some((point, 0)));
        rig.wait_up();
        let mut payer = wallet(&rig);
        let (code, asked, _) = payer.pay(&rig, AMOUNT, None).unwrap();
        assert_eq!(code, 402);
        let (prefix, suffix) = (asked["x-bsv-payment-derivation-prefix"].clone(), format!("c{round}"));
        let script = payer.script(&prefix, &suffix);
        let beef = chain.pay(u8::try_from(round).unwrap() + 1, AMOUNT, &script, 10);
        let offer = Wallet::offer(&prefix, &suffix, &beef);
        let answer = payer.pay(&rig, AMOUNT, Some(&offer));
        assert!(answer.is_none(), "{answer:?}");
        dies(&rig, point, || ());
        assert_eq!(chain.told_of(&script) > 0, point != "payment.received", "{point}");
        rig.up();
        if again {
            let mut payer = wallet(&rig);
            let (code, _, first) = payer.pay(&rig, AMOUNT, Some(&offer)).unwrap();
            assert_eq!(code, 200, "{first}\n{}", rig.log());
            let (code, _, second) = payer.pay(&rig, AMOUNT, Some(&offer)).unwrap();
            assert_eq!((code, &second), (200, &first), "the first answer again");
        }
        paid += i64::try_from(AMOUNT).unwrap();
        eventually(
            Duration::from_mins(1),
            || format!("after {point} the balance is {} and not {paid}\n{}", balance(&rig), rig.log()),
            || (balance(&rig) == paid).then_some(()),
        );
        assert!(chain.told_of(&script) > 0, "nothing is credited of which the network was not told");
        let payments = statement(&rig).iter().filter(|line| line["kind"] == "payment").count();
        assert_eq!((payments, events_of(&rig, "project.paid")), (round + 1, round + 1), "{point}");
        verify(&rig, point);
        // The same money for another challenge.
        let mut payer = wallet(&rig);
        let (_, asked, _) = payer.pay(&rig, AMOUNT, None).unwrap();
        let other = Wallet::offer(&asked["x-bsv-payment-derivation-prefix"], &suffix, &beef);
        let (code, _, refused) = payer.pay(&rig, AMOUNT, Some(&other)).unwrap();
        assert!((400..500).contains(&code), "{code} {refused}");
    }
    // What was left to a job is done by it, and by nobody twice.
    check(&rig, &Known::default());
    assert_eq!(balance(&rig), paid);
    rig.tear_down();
}

#[test]
fn a_top_up_of_agents_is_killed_at_every_point() {
    if !cfg!(feature = "crash-points") {
        return skip("built without the feature `crash-points` (`make test` turns it on)");
    }
    if !engine_is_there() {
        return;
    }
    /// 500 satoshis, and 23 for the 227 bytes of one input and two outputs.
    const COST: i64 = 523;
    let (chain, clock) = (Chain::start(), Clock::new());
    let mut environment = chain.environment();
    environment.push(("RYOKAN_CLOCK_OFFSET", clock.file.display().to_string()));
    let rig = Rig::new(Place { environment, ..Place::default() });
    rig.up();
    let mut payer = Wallet::open(&rig, 7, 1);
    let key = json!({"key": payer.identity()}).to_string();
    assert_eq!(rig.call("POST", "/v1/users/operator/keys", &key).unwrap().0, 201);
    let (_, asked, _) = payer.pay(&rig, 10_000, None).unwrap();
    let prefix = &asked["x-bsv-payment-derivation-prefix"];
    let beef = chain.pay(1, 10_000, &payer.script(prefix, "c"), 10);
    let (code, _, paid) = payer.pay(&rig, 10_000, Some(&Wallet::offer(prefix, "c", &beef))).unwrap();
    assert_eq!(code, 200, "{paid}");

    for (round, point) in
        ["funding.begun", "funding.kept", "funding.broadcast", "funding.sent"].into_iter().enumerate()
    {
        println!("crash point {point}");
        rig.kill();
        // What was sent last has been seen by now, and spent.
        chain.empty();
        clock.forward(20 * 60_000);
        rig.start(Some((point, 0)));
        rig.wait_up();
        if round == 0 {
            let wants = json!({"requiresBlockchainFunding": true}).to_string();
            let (code, answer) =
                rig.call("POST", "/api/v1/project/operator/settings/update", &wants).unwrap();
            assert_eq!(code, 200, "{answer}");
            let (_, info) = rig.call("POST", "/api/v1/project/operator/info", "{}").unwrap();
            chain.watch(info["agentPublicKey"].as_str().unwrap_or_else(|| panic!("{info}")));
        }
        dies(&rig, point, || ());
        let told = chain.sent();
        assert_eq!(told, if ["funding.begun", "funding.kept"].contains(&point) { round } else { round + 1 });
        rig.up();
        let times = i64::try_from(round).unwrap() + 1;
        eventually(
            Duration::from_mins(1),
            || format!("after {point} the balance is {}\n{}", balance(&rig), rig.log()),
            || (balance(&rig) == 10_000 - COST * times).then_some(()),
        );
        assert_eq!(chain.sent(), round + 1, "{point}: the same transaction is told again, and no other");
        assert_eq!(events_of(&rig, "project.funded"), round + 1);
        verify(&rig, point);
    }
    check(&rig, &Known::default());
    assert_eq!(balance(&rig), 10_000 - 4 * COST);
    rig.tear_down();
}

/// Its header is longer than what any other request may have, and the real client, the gateway and the server take it.
#[test]
fn a_payment_of_300_kilobytes_is_credited() {
    if !engine_is_there() {
        return;
    }
    let chain = Chain::start();
    let rig = Rig::new(Place { environment: chain.environment(), ..Place::default() });
    rig.up();
    let mut payer = Wallet::open(&rig, 7, 1);
    let key = json!({"key": payer.identity()}).to_string();
    assert_eq!(rig.call("POST", "/v1/users/operator/keys", &key).unwrap().0, 201);
    let (_, asked, _) = payer.pay(&rig, 700, None).unwrap();
    let prefix = &asked["x-bsv-payment-derivation-prefix"];
    let beef = chain.pay(1, 700, &payer.script(prefix, "c"), 225_000);
    let offer = Wallet::offer(prefix, "c", &beef);
    assert!(offer.len() > 300_000, "{}", offer.len());
    let (code, _, answer) = payer.pay(&rig, 700, Some(&offer)).unwrap();
    assert_eq!(code, 200, "{answer}\n{}", rig.log());
    assert_eq!(balance(&rig), 700);
    // Larger than that it is refused, and nothing happens.
    let (_, asked, _) = payer.pay(&rig, 700, None).unwrap();
    let prefix = &asked["x-bsv-payment-derivation-prefix"];
    let beef = chain.pay(2, 700, &payer.script(prefix, "c"), 360_000);
    let (code, ..) = payer.pay(&rig, 700, Some(&Wallet::offer(prefix, "c", &beef))).unwrap();
    assert_eq!(code, 431);
    assert_eq!(balance(&rig), 700);
    verify(&rig, "at the end");
    rig.tear_down();
}
