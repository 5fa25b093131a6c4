//! Relative links in Markdown lead to files that exist, and to headings that exist in them.
//! Links to the web are not followed: they break without our doing.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub(crate) fn check() -> Result<Vec<String>> {
    let documents: Vec<PathBuf> = crate::files()?
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "md"))
        // What tests expect as output is no document of ours.
        .filter(|file| !file.components().any(|part| part.as_os_str() == "corpus"))
        .collect();
    let (mut faults, mut count) = (Vec::new(), 0);
    for document in &documents {
        let text = read(document)?;
        for (line, target) in links(&text) {
            count += 1;
            if let Some(fault) = fault(document, &text, &target)? {
                faults.push(format!("{}:{line}: {fault}", document.display()));
            }
        }
    }
    if faults.is_empty() {
        println!("links: {count} in {} documents, all lead somewhere", documents.len());
    }
    Ok(faults)
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(crate::root().join(file)).with_context(|| file.display().to_string())
}

fn fault(document: &Path, text: &str, target: &str) -> Result<Option<String>> {
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let linked = match path.strip_prefix('/') {
        _ if path.is_empty() => document.to_owned(),
        Some(from_root) => PathBuf::from(from_root),
        None => document.parent().unwrap_or(Path::new("")).join(path),
    };
    if !crate::root().join(&linked).exists() {
        return Ok(Some(format!("`{target}` leads to nothing")));
    }
    if heading.is_empty() || linked.extension().is_none_or(|extension| extension != "md") {
        return Ok(None);
    }
    let other = if path.is_empty() { text.to_owned() } else { read(&linked)? };
    let found = prose(&other).any(|(_, line)| line.starts_with('#') && slug(line) == heading);
    Ok((!found).then(|| format!("`{target}`: no such heading there")))
}

/// Numbered lines that are not in code blocks.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    })
}

/// Targets of `[text](target)` and `[name]: target` that stay in the repository, with their line numbers.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        // What stands between backquotes is code.
        let line: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
        let inline =
            line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        let named = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target);
        for target in inline.chain(named) {
            let target = target.split_whitespace().next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                links.push((number, target.to_owned()));
            }
        }
    }
    links
}

/// The anchor that GitHub and its like give a heading.
fn slug(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{links, slug};

    #[test]
    fn links_are_found_but_not_in_code() {
        let text = "see [a](b.md#c) and ![d](e.png \"t\"), `[no](x)`, [web](https://x.y)\n```\n[no](y)\n```\n[n]: f.md\n";
        let expected = [(1, "b.md#c".to_owned()), (1, "e.png".to_owned()), (5, "f.md".to_owned())];
        assert_eq!(links(text), expected);
    }

    #[test]
    fn headings_become_anchors() {
        assert_eq!(slug("## What `make run` does, step 2"), "what-make-run-does-step-2");
    }
}
