//! Randomness and ids, injected like the clock. Tests pass a seeded source.

use std::sync::{LazyLock, Mutex};
use std::time::Instant;

use base64::Engine as _;
use rand::{RngCore, SeedableRng};
use ryokan_model::{Clock, Millis, Secret};

/// Where random bytes come from.
pub trait Entropy: Send + Sync + 'static {
    fn fill(&self, bytes: &mut [u8]);
}

impl dyn Entropy {
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// `prefix` and 256 random bits, URL-safe.
    pub fn secret(&self, prefix: &str) -> Secret {
        let bytes: [u8; 32] = self.bytes();
        Secret::new(format!("{prefix}{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)))
    }
}

/// The operating system's source.
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        use rand::TryRngCore;
        rand::rngs::OsRng.try_fill_bytes(bytes).expect("the operating system gives random bytes");
    }
}

/// A repeatable source for tests.
pub struct SeededEntropy(Mutex<rand::rngs::StdRng>);

impl SeededEntropy {
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(rand::rngs::StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).fill_bytes(bytes);
    }
}

/// The system's time.
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the system's clock")]
    fn now(&self) -> Millis {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Millis(
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX).saturating_add(crate::crash::clock_offset()),
        )
    }

    fn steady(&self) -> Millis {
        static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        Millis::default().plus(BEGIN.elapsed())
    }
}

impl crate::App {
    /// Fresh randomness for whoever needs some outside of a use case: request ids, tickets.
    pub fn nonce<const N: usize>(&self) -> [u8; N] {
        self.entropy.bytes()
    }

    /// A new random secret without a prefix.
    pub fn random_secret(&self) -> Secret {
        self.entropy.secret("")
    }
}
