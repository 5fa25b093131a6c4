//! Which images a Dockerfile begins from. An engine holds the images of all projects, and would give any of them to
//! whoever names it; so the names are read before the engine sees the file, and what cannot be read for certain is
//! refused rather than guessed.

use std::collections::BTreeSet;

use crate::Invalid;
use crate::image::ImageRef;

/// Larger than anybody writes.
pub const MAX_BYTES: usize = 256 * 1024;

/// The images that a Dockerfile names with `FROM` and `--from`; its own stages are left out.
pub fn base_images(text: &str) -> Result<BTreeSet<ImageRef>, Invalid> {
    let bad = |line: usize, why: String| Invalid::new(format!("line {line}"), why);
    if text.len() > MAX_BYTES {
        return Err(bad(1, format!("the Dockerfile is longer than {} KiB", MAX_BYTES / 1024)));
    }
    let (mut images, mut stages) = (BTreeSet::new(), BTreeSet::new());
    let mut count = 0_usize;
    for Instruction { number, text: line, .. } in instructions(text)? {
        let mut words = line.split_whitespace();
        let word = words.next().unwrap_or_default().to_ascii_uppercase();
        let word =
            if word == "ONBUILD" { words.next().unwrap_or_default().to_ascii_uppercase() } else { word };
        let rest: Vec<&str> = words.collect();
        match word.as_str() {
            "FROM" => {
                let mut rest = rest.iter().filter(|w| !w.starts_with("--"));
                let Some(name) = rest.next() else { return Err(bad(number, "FROM names no image".into())) };
                if !stages.contains(&name.to_ascii_lowercase()) && *name != "scratch" {
                    images.insert(image(name).map_err(|why| bad(number, why))?);
                }
                if let Some(alias) = rest.nth(1) {
                    stages.insert(alias.to_ascii_lowercase());
                }
                stages.insert(count.to_string());
                count += 1;
            }
            "COPY" | "ADD" | "RUN" => {
                let flags = rest.iter().take_while(|w| w.starts_with("--"));
                for flag in flags {
                    for name in sources(flag) {
                        if !stages.contains(&name.to_ascii_lowercase()) {
                            images.insert(image(name).map_err(|why| bad(number, why))?);
                        }
                    }
                }
            }
            _ => {}
        }
    }
    if count == 0 {
        return Err(bad(1, "the Dockerfile has no FROM".into()));
    }
    Ok(images)
}

/// The same, with the line `label` at the beginning of each stage. What a build leaves then says whose it is from its
/// first step on, also when it comes to no end.
pub fn labelled(text: &str, label: &str) -> Result<String, Invalid> {
    let stages: BTreeSet<usize> = instructions(text)?
        .into_iter()
        .filter(|i| i.text.split_whitespace().next().is_some_and(|w| w.eq_ignore_ascii_case("FROM")))
        .map(|i| i.last)
        .collect();
    let mut labelled = String::with_capacity(text.len() + stages.len() * (label.len() + 1));
    for (index, line) in text.lines().enumerate() {
        if stages.contains(&(index + 1)) {
            // Only the end of the text may leave it open.
            labelled.push_str(line.trim_end().trim_end_matches('\\'));
            labelled.push('\n');
            labelled.push_str(label);
        } else {
            labelled.push_str(line);
        }
        labelled.push('\n');
    }
    Ok(labelled)
}

/// `--from=X` and `--mount=type=bind,from=X,…`.
fn sources(flag: &str) -> impl Iterator<Item = &str> {
    let (copied, mounted) = (flag.strip_prefix("--from="), flag.strip_prefix("--mount="));
    let mounted =
        mounted.into_iter().flat_map(|m| m.split(',')).filter_map(|part| part.strip_prefix("from="));
    copied.into_iter().chain(mounted)
}

fn image(name: &str) -> Result<ImageRef, String> {
    if name.contains(['$', '"', '\'', '\\']) {
        return Err(format!(
            "`{}` is not a plain image name; variables and quotes are not accepted here",
            clip(name)
        ));
    }
    let image: ImageRef = name.parse().map_err(|e: Invalid| e.problem)?;
    if name.len() >= 2 && name.bytes().all(|b| b.is_ascii_hexdigit()) || name.starts_with("sha256:") {
        return Err(format!("`{}` could be an image's id; write its name with a tag", clip(name)));
    }
    Ok(image)
}

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A whole instruction: continuation lines joined, comments left out. Lines count from 1.
struct Instruction {
    number: usize,
    last: usize,
    text: String,
}

fn instructions(text: &str) -> Result<Vec<Instruction>, Invalid> {
    let mut found: Vec<Instruction> = Vec::new();
    let mut open = false;
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let number = index + 1;
        let line = line.trim_end();
        let start = line.trim_start();
        if let Some(comment) = start.strip_prefix('#') {
            let comment = comment.trim().to_ascii_lowercase().replace(' ', "");
            if comment.starts_with("escape=") && comment != "escape=\\" {
                let why = "another escape character is not accepted; leave this directive out";
                return Err(Invalid::new(format!("line {number}"), why));
            }
            if comment.starts_with("syntax=") {
                let why = "a frontend of its own is not accepted; leave this directive out";
                return Err(Invalid::new(format!("line {number}"), why));
            }
            continue;
        }
        if start.is_empty() {
            continue;
        }
        let (part, goes_on) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
        match found.last_mut().filter(|_| open) {
            Some(instruction) => {
                instruction.text.push_str(part);
                instruction.last = number;
            }
            None => found.push(Instruction { number, last: number, text: part.trim_start().to_owned() }),
        }
        open = goes_on;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        base_images(text).unwrap().iter().map(|i| i.as_str().to_owned()).collect()
    }

    #[test]
    fn all_that_is_named_is_found() {
        let text = "# hi\nFROM --platform=linux/amd64 \\\n  node:22 AS build\nRUN x\nfrom build as b2\nFROM scratch\n\
                    COPY --chown=1 --from=build /a /b\nCOPY --from=0 /a /b\nCOPY --from=reg.example/x:1 /a /\n\
                    ONBUILD COPY --from=other:2 /a /b\nRUN --mount=type=bind,from=third:3,target=/x ls\n";
        assert_eq!(names(text), ["node:22", "other:2", "reg.example/x:1", "third:3"]);
        assert_eq!(names("FR\\\nOM a:1"), ["a:1"]);
        assert_eq!(names("FROM a:1 \\\n# between\n\n AS x\nFROM x"), ["a:1"]);
    }

    #[test]
    fn every_stage_begins_with_the_label() {
        for (text, expected) in [
            ("FROM a:1", "FROM a:1\nL x=1\n"),
            (
                "# c\nARG V=1\nfrom a:1 \\\n# between\n\n AS x\r\nRUN y\n",
                "# c\nARG V=1\nfrom a:1 \\\n# between\n\n AS x\nL x=1\nRUN y\n",
            ),
            (
                "FROM a\nRUN echo \\\nFROM b\nFROM scratch\n",
                "FROM a\nL x=1\nRUN echo \\\nFROM b\nFROM scratch\nL x=1\n",
            ),
            ("FROM a\\\n# end\n", "FROM a\nL x=1\n# end\n"),
        ] {
            assert_eq!(labelled(text, "L x=1").unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_not_certain_is_refused() {
        for bad in [
            "",
            "RUN x",
            "FROM",
            "ARG X=a\nFROM $X",
            "FROM ${X}",
            "FROM \"a\"",
            "FROM 30673f438e45",
            "FROM sha256:30673f438e45",
            "# escape=`\nFROM a",
            "# syntax=docker/dockerfile:1\nFROM a",
            "FROM a\nCOPY --from=$X /a /b",
            "FROM a\nCOPY --from=deadbeef /a /b",
            "FROM ../x",
        ] {
            assert!(base_images(bad).is_err(), "{bad}");
        }
    }
}
