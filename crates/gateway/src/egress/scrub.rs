//! Takes secrets out of what comes back, and finds placeholders in what goes out.
//!
//! A secret is overwritten by asterisks of the same length, so that lengths, frames and ranges stay true and any kind of
//! content can be scrubbed, not only text. What could be the beginning of a secret at the end of a piece is held back
//! until the next piece; nothing else is, so that events stream.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// Shorter texts occur by chance; `server` does not take such credentials.
const SHORTEST: usize = 6;

/// What is looked for.
#[derive(Clone, Default)]
pub(crate) struct Patterns(Vec<Zeroizing<Vec<u8>>>);

impl Patterns {
    /// A secret in all the forms in which a host would echo it.
    pub(crate) fn add_secret(&mut self, secret: &str) {
        self.add(secret.as_bytes());
        self.add(crate::query::encode(secret).as_bytes());
        let json: String = secret
            .chars()
            .flat_map(|c| match c {
                '"' | '\\' => vec!['\\', c],
                c => vec![c],
            })
            .collect();
        self.add(json.as_bytes());
        // Within something that was encoded as a whole, such as `user:secret`: what does not depend on its neighbours.
        for shift in 0..3 {
            let mut bytes = Zeroizing::new(vec![0; shift]);
            bytes.extend_from_slice(secret.as_bytes());
            for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                let text = Zeroizing::new(engine.encode(&bytes));
                let whole = bytes.len() / 3 * 4;
                let own = [0, 2, 3][shift]..whole.max([0, 2, 3][shift]);
                self.add(text[own].as_bytes());
            }
        }
        for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
            self.add(engine.encode(secret).as_bytes());
        }
    }

    pub(crate) fn add(&mut self, pattern: &[u8]) {
        if pattern.len() >= SHORTEST && !self.0.iter().any(|known| known.as_slice() == pattern) {
            self.0.push(Zeroizing::new(pattern.to_vec()));
            // A longer one first: it may contain a shorter one.
            self.0.sort_by_key(|pattern| std::cmp::Reverse(pattern.len()));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Overwrites every occurrence; whether there was one.
    pub(crate) fn mask(&self, bytes: &mut [u8]) -> bool {
        let mut found = false;
        for pattern in &self.0 {
            let mut from = 0;
            while let Some(at) = find(&bytes[from..], pattern) {
                bytes[from + at..from + at + pattern.len()].fill(b'*');
                from += at + pattern.len();
                found = true;
            }
        }
        found
    }

    /// How many bytes at the end could be the beginning of a secret.
    fn tail(&self, bytes: &[u8]) -> usize {
        let longest = |pattern: &Zeroizing<Vec<u8>>| {
            let most = bytes.len().min(pattern.len() - 1);
            (1..=most).rev().find(|length| bytes.ends_with(&pattern[..*length])).unwrap_or(0)
        };
        self.0.iter().map(longest).max().unwrap_or(0)
    }
}

impl std::fmt::Debug for Patterns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Patterns(…)")
    }
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

/// Scrubs a stream.
#[derive(Debug)]
pub(crate) struct Scrubber {
    patterns: Patterns,
    held: Vec<u8>,
}

impl Scrubber {
    pub(crate) fn new(patterns: Patterns) -> Self {
        Self { patterns, held: Vec::new() }
    }

    /// What may go on of `held` and `bytes`.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        self.patterns.mask(&mut all);
        self.held = all.split_off(all.len() - self.patterns.tail(&all));
        all
    }

    /// What is left at the end.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "sk-abcabcabd/1\"2";

    fn patterns() -> Patterns {
        let mut patterns = Patterns::default();
        patterns.add_secret(SECRET);
        patterns
    }

    #[test]
    fn all_forms_go() {
        let encoded = STANDARD.encode(SECRET);
        let text = format!("a {SECRET} b {encoded} c sk-abcabcabd%2F1%222 d sk-abcabcabd/1\\\"2 e");
        let mut bytes = text.clone().into_bytes();
        assert!(patterns().mask(&mut bytes));
        let clean = String::from_utf8(bytes).unwrap();
        assert_eq!(clean.len(), text.len());
        for part in ["sk-abc", &encoded] {
            assert!(!clean.contains(part), "{clean}");
        }
    }

    #[test]
    fn only_what_may_be_a_beginning_is_held_back() {
        let mut scrubber = Scrubber::new(patterns());
        assert_eq!(scrubber.push(b"data: hello\n\n"), b"data: hello\n\n");
        assert_eq!(scrubber.push(b"data: sk-abc"), b"data: ");
        assert_eq!(scrubber.push(b"abc"), b"");
        assert_eq!(scrubber.push(b"x"), b"sk-abcabcx");
        assert_eq!(scrubber.push(b"sk-a"), b"");
        assert_eq!(scrubber.finish(), b"sk-a");
    }

    proptest! {
        /// However a stream is cut, no secret gets through and nothing else is lost.
        #[test]
        fn pieces_do_not_matter(
            parts in proptest::collection::vec(prop_oneof![
                Just(SECRET), Just("sk-abcabc"), Just("sk-"), Just("abcabd"), Just("x"), Just("s")
            ], 0..12),
            sizes in proptest::collection::vec(1usize..9, 1..40),
        ) {
            let text = parts.concat();
            let mut whole = text.clone().into_bytes();
            patterns().mask(&mut whole);
            let mut scrubber = Scrubber::new(patterns());
            let (mut out, mut rest) = (Vec::new(), text.as_bytes());
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                out.extend_from_slice(&scrubber.push(piece));
                rest = after;
            }
            out.extend_from_slice(&scrubber.finish());
            prop_assert_eq!(out, whole);
        }
    }
}
