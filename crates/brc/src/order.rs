//! The order in which wallets sort names before they sign: that of JavaScript's `localeCompare`, which is not the order of
//! bytes. Punctuation comes first in an order of its own, then digits, then letters without regard to case; of two names
//! that differ in case alone, the one whose first such letter is small comes first.

use std::cmp::Ordering;

/// Visible ASCII before the letters, as the Unicode collation has it.
const BEFORE_LETTERS: &[u8] = b"_-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789";

/// Compares two names of visible ASCII; others are compared by their characters after all of ASCII.
pub fn compare(a: &str, b: &str) -> Ordering {
    a.chars().map(weight).cmp(b.chars().map(weight)).then_with(|| {
        // Small letters come before capitals, which is the reverse of their bytes.
        b.cmp(a)
    })
}

fn weight(c: char) -> u32 {
    if c.is_ascii_alphabetic() {
        return 100 + u32::from(c.to_ascii_lowercase());
    }
    let place = u8::try_from(c).ok().and_then(|c| BEFORE_LETTERS.iter().position(|b| *b == c));
    match place {
        Some(place) => 1 + u32::try_from(place).unwrap_or(0),
        None if c.is_ascii() => 0,
        None => 1000 + u32::from(c),
    }
}
