//! `make bench`: ratios between ryokan and what it is made of or replaces, measured in one run, turn by turn, so that a
//! machine that is busy with something else slows both sides down alike. Never a test: it asserts nothing.
//!
//! What is measured and how to read it: `docs/performance.md`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a table is what it is for")]

mod create;
mod engine;
mod gateway;
mod http;
mod load;
mod memory;
mod process;
mod proxies;
mod report;
mod server;
mod store;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};

/// Measures a release build of ryokan. `scripts/bench` builds and starts what this needs.
#[derive(Parser)]
struct Arguments {
    /// What to measure; everything when nothing is named.
    #[arg(value_enum)]
    suites: Vec<Suite>,
    /// Few rounds and rows: shows that it works, not how fast it is.
    #[arg(long)]
    quick: bool,
    /// The binary under measurement.
    #[arg(long)]
    ryokan: PathBuf,
    /// The image of the agent: `hello`, built for release.
    #[arg(long)]
    image: String,
    /// The engine's socket.
    #[arg(long, default_value = "/var/run/docker.sock")]
    engine: PathBuf,
    /// A PostgreSQL for one run, whose default database is used.
    #[arg(long)]
    postgres: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    Create,
    Gateway,
    Memory,
    Store,
}

/// What all suites share.
pub(crate) struct Setting {
    quick: bool,
    ryokan: PathBuf,
    image: String,
    engine: PathBuf,
    postgres: Option<String>,
}

impl Setting {
    fn rounds(&self, full: usize) -> usize {
        if self.quick { full.div_ceil(4).max(2) } else { full }
    }

    fn seconds(&self, full: u64) -> Duration {
        Duration::from_secs(if self.quick { 1 } else { full })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Arguments { suites, quick, ryokan, image, engine, postgres } = Arguments::parse();
    let setting = Setting { quick, ryokan, image, engine, postgres };
    let scratch = tempfile::Builder::new().prefix("ryokan-bench").tempdir()?;
    tokio::select! {
        outcome = measure(&setting, &suites, scratch.path()) => outcome,
        // Dropping what is under way ends the processes; containers are named in the error.
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
    }
}

async fn measure(setting: &Setting, suites: &[Suite], scratch: &Path) -> Result<()> {
    let wanted = |suite| suites.is_empty() || suites.contains(&suite);
    println!("{}\n", machine(setting).await);
    let mut lines = Vec::new();
    if wanted(Suite::Create) {
        eprintln!("create …");
        lines.extend(create::run(setting, scratch).await?);
    }
    if wanted(Suite::Gateway) {
        eprintln!("gateway …");
        lines.extend(gateway::run(setting, scratch).await?);
    }
    if wanted(Suite::Memory) {
        eprintln!("memory …");
        lines.extend(memory::run(setting, scratch).await?);
    }
    if wanted(Suite::Store) {
        eprintln!("store …");
        lines.extend(store::run(setting, scratch).await?);
    }
    print!("{}", report::table(&lines));
    Ok(())
}

/// What the figures depend on, in general terms.
async fn machine(setting: &Setting) -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let engine = engine::Engine::new(&setting.engine).version().await.unwrap_or_else(|_| "away".into());
    let quick = if setting.quick { "; quick, so the figures mean little" } else { "" };
    // Without the distributor's name of it.
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    format!("{} cores, Linux {kernel}, Docker {engine}{quick}", proxies::cores())
}
