//! What the kernel says of a process: its processor time and its memory.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Seconds of processor time that a process and its children (nginx has workers) have used so far.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let mut ticks = 0;
    for process in std::iter::once(pid).chain(children(pid)?) {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
        // Behind the name, which may hold anything: state is field 3, user and system time are 14 and 15.
        let (_, rest) = stat.rsplit_once(')').context("no name in stat")?;
        let times = rest.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
        ticks += times.sum::<Result<u32, _>>()?;
    }
    // USER_HZ, which is 100 on every Linux that Rust runs on.
    Ok(f64::from(ticks) / 100.0)
}

fn children(pid: u32) -> Result<Vec<u32>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(text.split_whitespace().filter_map(|child| child.parse().ok()).collect())
}

/// Resident memory in MiB, what is shared with other processes in proportion; and the most that was ever resident.
pub(crate) fn memory(pid: u32) -> Result<(f64, f64)> {
    let field = |file: &str, name: &str| -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/{file}"))?;
        let line = text.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name}"))?;
        let number = line.split_whitespace().nth(1).context("no number")?;
        Ok(f64::from(number.parse::<u32>()?) / 1024.0)
    };
    Ok((field("smaps_rollup", "Pss:")?, field("status", "VmHWM:")?))
}

/// Waits until a process has done next to nothing for three seconds, at most three minutes; how long that took.
pub(crate) async fn settled(pid: u32) -> Result<Duration> {
    let (began, mut quiet, mut before) = (Instant::now(), 0, cpu_seconds(pid)?);
    while quiet < 3 && began.elapsed() < Duration::from_mins(3) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = cpu_seconds(pid)?;
        quiet = if now - before < 0.1 { quiet + 1 } else { 0 };
        before = now;
    }
    Ok(began.elapsed())
}
