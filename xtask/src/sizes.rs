//! How long source files are, in lines of code: neither blank lines, nor comments, nor the tests at a file's end.
//! What a machine wrote (`@generated` in its first lines) may be of any length.

use std::path::Path;

use anyhow::{Context, Result};

const REFUSED: usize = 700;
const NOTED: usize = 400;

#[derive(Clone, Copy)]
struct Syntax {
    line: &'static str,
    block: Option<(&'static str, &'static str)>,
}

const C_LIKE: Syntax = Syntax { line: "//", block: Some(("/*", "*/")) };
const MARKUP: Syntax = Syntax { line: "//", block: Some(("<!--", "-->")) };
const HASH: Syntax = Syntax { line: "#", block: None };

fn syntax(file: &Path, text: &str) -> Option<Syntax> {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("rs" | "ts" | "js" | "mjs" | "css") => Some(C_LIKE),
        Some("svelte" | "html") => Some(MARKUP),
        Some("sh" | "py") => Some(HASH),
        None if text.starts_with("#!") => Some(HASH),
        _ => None,
    }
}

pub(crate) fn check() -> Result<Vec<String>> {
    let mut sizes = Vec::new();
    for file in crate::files()? {
        let bytes = std::fs::read(crate::root().join(&file)).with_context(|| file.display().to_string())?;
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let Some(syntax) = syntax(&file, &text) else { continue };
        if !text.lines().take(5).any(|line| line.contains("@generated")) {
            sizes.push((code_lines(&text, syntax), file));
        }
    }
    sizes.sort();
    let (longest, total) = (sizes.last().map_or(0, |(lines, _)| *lines), sizes.len());
    let mut faults = Vec::new();
    for (lines, file) in sizes.into_iter().rev().filter(|(lines, _)| *lines > NOTED) {
        if lines > REFUSED {
            faults.push(format!(
                "{} has {lines} lines of code; {REFUSED} is the limit: split it",
                file.display()
            ));
        } else {
            println!("note: {} has {lines} lines of code", file.display());
        }
    }
    println!("sizes: {total} files, the longest has {longest} lines of code");
    Ok(faults)
}

fn code_lines(text: &str, syntax: Syntax) -> usize {
    let mut count = 0;
    let mut in_block = false;
    let mut lines = text.lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]"
            && lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'))
        {
            break;
        }
        if let Some((open, close)) = syntax.block {
            if in_block {
                in_block = !line.contains(close);
                continue;
            }
            if line.starts_with(open) {
                in_block = !line.contains(close);
                continue;
            }
        }
        if !line.is_empty() && !line.starts_with(syntax.line) {
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::{C_LIKE, HASH, MARKUP, code_lines};

    #[test]
    fn only_code_counts() {
        let rust = "//! Module.\n\nuse a;\n/* one */\n/* many\n code?\n*/\nfn f() {} // end\n#[cfg(test)]\nmod tests {\n  fn g() {}\n}\n";
        assert_eq!(code_lines(rust, C_LIKE), 2);
        assert_eq!(
            code_lines("#[cfg(test)]\nmod tests;\nfn f() {}\n", C_LIKE),
            3,
            "tests elsewhere, code goes on"
        );
        assert_eq!(code_lines("#!/bin/sh\n# why\necho\n", HASH), 1);
        assert_eq!(code_lines("<!-- a\nb -->\n<p>\n", MARKUP), 1);
    }
}
