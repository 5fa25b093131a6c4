//! Killed while a payment is taken, and while what was paid is sent on to agents. Afterwards what was paid is credited
//! once, what was sent is debited once, and the ledger verifies.

use std::time::Duration;

use serde_json::json;

use crate::books::{Clock, balance, dies, events_of, statement, verify};
use crate::chain::{Chain, Wallet};
use crate::support::invariants::{Known, check};
use crate::support::rig::{Place, Rig, engine_is_there, eventually, skip};

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
