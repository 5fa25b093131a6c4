//! `make chaos`: storms of many instances for as long as asked, while the server, what lies under it and what it
//! steers are killed, filled, delayed and cut off, in random order. After each storm all faults end, and within a bound
//! the invariants of the crash suite must hold. What does not is counted, shown, and fails the run.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test; it polls with a deadline"
)]

mod clients;
mod faults;
mod leaks;
mod proxy;
mod report;
mod round;
#[expect(dead_code, reason = "the crash suite uses the rest")]
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};

use crate::faults::Fault;
use crate::report::Report;
use crate::support::dice::Dice;
use crate::support::engine::Engine;
use crate::support::rig::INTERRUPTED;

#[derive(Parser)]
#[command(about = "Storms of instances under random faults; prints a table of what did not hold.")]
pub(crate) struct Arguments {
    /// New rounds begin for so long: seconds, or with `s`, `m`, `h`. Without it nothing is run.
    #[arg(long = "for", value_parser = duration)]
    length: Option<Duration>,
    /// One round with this seed, instead of many with random ones.
    #[arg(long)]
    seed: Option<u64>,
    /// Instances that live at a time.
    #[arg(long, default_value_t = 100)]
    instances: u64,
    /// Which databases; several take turns.
    #[arg(long, value_delimiter = ',', default_value = "sqlite,postgres")]
    store: Vec<Store>,
    /// Which faults.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "server,engine,postgres,kill,remove,disk,clock,slow,cut,stall"
    )]
    faults: Vec<Fault>,
    /// How long each storm lasts; made from the number of instances if not given.
    #[arg(long, value_parser = duration)]
    storm: Option<Duration>,
    /// The table as JSON lines into this file, too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// As test runners ask which tests there are: none.
    #[arg(long, hide = true)]
    list: bool,
    #[arg(long, hide = true)]
    format: Option<String>,
    #[arg(long, hide = true)]
    ignored: bool,
    /// Where the logs of a round with violations are kept.
    #[arg(long, default_value = "target/chaos")]
    keep: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Store {
    Sqlite,
    Postgres,
}

impl Store {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

impl Arguments {
    pub(crate) fn storm(&self) -> Duration {
        self.storm.unwrap_or_else(|| Duration::from_millis(15_000 + 450 * self.instances))
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().find(|(_, c)| !c.is_ascii_digit()) {
        Some((at, _)) => text.split_at(at),
        None => (text, "s"),
    };
    let number: u64 = number.parse().map_err(|_| format!("`{text}` is no duration; write 90s, 10m or 2h"))?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(format!("`{unit}` is no unit of time; write s, m or h")),
    };
    Ok(Duration::from_secs(number * seconds))
}

/// At the first signal everything is taken down; what the rounds did until then is still shown.
fn end_at_a_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut term, mut int) =
                (signal(SignalKind::terminate()).unwrap(), signal(SignalKind::interrupt()).unwrap());
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            INTERRUPTED.store(true, Ordering::Relaxed);
            // A second one is not waited for: whoever sends it may lose the patience, not the machine its tidiness.
            std::future::pending::<()>().await;
        });
    });
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(length) = arguments.length.filter(|_| !arguments.list) else {
        return ExitCode::SUCCESS;
    };
    end_at_a_signal();
    let engine = Engine::new().expect("chaos needs root: its engine lives in a network namespace of its own");
    let mut report = Report::new(&arguments);
    let until = Instant::now() + length;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let mut seeds = Dice::new(u64::try_from(now.as_micros()).unwrap());
    for turn in 0.. {
        let store = arguments.store[turn % arguments.store.len()];
        // Short enough to be typed.
        let seed = arguments.seed.unwrap_or_else(|| seeds.roll(1_000_000_000));
        let outcome = round::run(&arguments, &engine, store, seed);
        if INTERRUPTED.load(Ordering::Relaxed) {
            println!("interrupted; the last round does not count");
            break;
        }
        report.add(outcome);
        let repeated = arguments.seed.is_some() && turn + 1 >= arguments.store.len();
        if repeated || Instant::now() >= until {
            break;
        }
    }
    report.print()
}
