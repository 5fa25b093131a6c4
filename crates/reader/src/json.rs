//! JSON laid out, in the order that it came: only white space changes, and what is invisible in strings goes. Built on
//! text, not on a map, whose order would depend on how `serde_json` was built.

use serde::de::IgnoredAny;

use crate::chars;
use crate::page::Removed;

/// `None` when it is no JSON, or nested deeper than 128.
pub(crate) fn pretty(text: &str, removed: &mut Removed) -> Option<String> {
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut rest = text.trim();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    };
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        match c {
            '"' => {
                taken = string_length(rest);
                let value: String = serde_json::from_str(&rest[..taken]).ok()?;
                let value = chars::clean(&value, removed);
                out.push_str(&serde_json::to_string(&value).ok()?);
            }
            '{' | '[' => {
                let inside = rest[1..].trim_start();
                out.push(c);
                if inside.starts_with(['}', ']']) {
                    out.push(if c == '{' { '}' } else { ']' });
                    taken = rest.len() - inside.len() + 1;
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_whitespace() => {}
            c => out.push(c),
        }
        rest = &rest[taken..];
    }
    Some(out)
}

/// Of a string that was checked, with its quotes.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return at + 1,
            _ => escaped = byte == b'\\' && !escaped,
        }
    }
    text.len()
}
