//! Named points at which the crash suite kills the process. Compiled to nothing without feature `crash-points`, which
//! no release has. They stand here because both the heart and the adapters pass them.

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
