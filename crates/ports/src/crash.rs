//! What the crash suite and the chaos runs do to the process from inside: named points at which it dies, and a clock
//! that jumps. Compiled to nothing without feature `crash-points`, which no release has. They stand here because both
//! the heart and the adapters pass the points.

/// Dies here, as by `kill -9`, when the suite asked for it.
#[cfg(feature = "crash-points")]
#[expect(
    clippy::disallowed_methods,
    reason = "the suite names the point in the environment of the process that it starts"
)]
pub fn point(name: &str) {
    if std::env::var("RYOKAN_CRASH_AT").is_ok_and(|at| at == name) {
        use std::sync::atomic::{AtomicI64, Ordering};
        static LEFT: AtomicI64 = AtomicI64::new(i64::MIN);
        let skip = std::env::var("RYOKAN_CRASH_SKIP").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
        let _ = LEFT.compare_exchange(i64::MIN, skip, Ordering::SeqCst, Ordering::SeqCst);
        if LEFT.fetch_sub(1, Ordering::SeqCst) == 0 {
            eprintln!("crash point {name}");
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            std::process::abort();
        }
    }
}

#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn point(_: &str) {}

/// How many milliseconds the clock is off: what the file named by `RYOKAN_CLOCK_OFFSET` holds at the moment.
#[cfg(feature = "crash-points")]
#[expect(clippy::disallowed_methods, reason = "as above")]
pub fn clock_offset() -> i64 {
    static FILE: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let file = FILE.get_or_init(|| std::env::var("RYOKAN_CLOCK_OFFSET").ok());
    let text = file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn clock_offset() -> i64 {
    0
}
