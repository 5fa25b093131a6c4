//! Random moments: several clients create, stop, start, restart and delete at once while the server is killed again
//! and again. The seed is printed; `RYOKAN_CRASH_SEED` repeats a run.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::dice::Dice;
use crate::support::invariants::{Known, check};
use crate::support::rig::{Place, Rig, engine_is_there};

pub(crate) fn seed() -> u64 {
    let seed = std::env::var("RYOKAN_CRASH_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_121);
    println!("RYOKAN_CRASH_SEED={seed}");
    seed
}

/// Names in use and what their clients last heard.
#[derive(Default)]
pub(crate) struct Field {
    known: Known,
    living: BTreeSet<String>,
    next: u64,
}

/// One client's step. An answer that does not come leaves the client in the dark: then the name is not counted.
fn act(rig: &Rig, field: &Mutex<Field>, dice: &mut Dice) {
    let choice = dice.roll(10);
    let living: Vec<String> = field.lock().unwrap().living.iter().cloned().collect();
    if living.len() < 2 || (choice < 3 && living.len() < 6) {
        let name = {
            let mut field = field.lock().unwrap();
            field.next += 1;
            format!("storm-{}", field.next)
        };
        if let Some((202, _)) = rig.create(&name) {
            let mut field = field.lock().unwrap();
            field.known.created.insert(name.clone());
            field.living.insert(name);
        }
        return;
    }
    let index = usize::try_from(dice.roll(living.len() as u64)).unwrap();
    let name = &living[index];
    match choice {
        3..=4 => drop(rig.call("POST", &format!("/v1/instances/{name}/stop"), "")),
        5..=6 => drop(rig.call("POST", &format!("/v1/instances/{name}/start"), "")),
        7 => drop(rig.call("POST", &format!("/v1/instances/{name}/restart"), "")),
        _ => {
            let force = if dice.roll(3) == 0 { "?force=true" } else { "" };
            field.lock().unwrap().living.remove(name);
            let answer = rig.call("DELETE", &format!("/v1/instances/{name}{force}"), "");
            let mut field = field.lock().unwrap();
            match answer {
                Some((202, _)) => drop(field.known.deleted.insert(name.clone())),
                // Not heard of: it may live on, and is no longer counted on.
                _ => drop(field.known.created.remove(name)),
            }
        }
    }
}

/// Lets clients loose for `length`, then returns.
pub(crate) fn blow(rig: &Rig, field: &Arc<Mutex<Field>>, seed: u64, length: Duration) {
    let until = Instant::now() + length;
    std::thread::scope(|scope| {
        for client in 0..3 {
            let field = field.clone();
            scope.spawn(move || {
                let mut dice = Dice::new(seed.wrapping_mul(31).wrapping_add(client + 1));
                while Instant::now() < until {
                    act(rig, &field, &mut dice);
                }
            });
        }
    });
}

pub(crate) fn known(field: &Arc<Mutex<Field>>) -> Known {
    field.lock().unwrap().known.clone()
}

#[test]
fn killed_at_random_moments_of_a_storm() {
    if !engine_is_there() {
        return;
    }
    let seed = seed();
    let mut dice = Dice::new(seed);
    let rig = Rig::new(Place::default());
    let field = Arc::new(Mutex::new(Field::default()));
    for round in 0..6 {
        rig.up();
        let length = Duration::from_millis(400 + dice.roll(2_500));
        println!("round {round}: killed after {length:?}");
        blow(&rig, &field, seed + round, length);
        rig.kill();
    }
    rig.up();
    check(&rig, &known(&field));
    rig.tear_down();
}
