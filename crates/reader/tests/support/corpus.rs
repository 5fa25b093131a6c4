//! The pages of `tests/corpus`: `NAME.html` (or `.xml`, `.json`, `.txt`, `.markdown`, `.bin`), its expectation
//! `NAME.md`, and where it is not served as its ending says, `NAME.toml`.

use std::path::PathBuf;

use ryokan_reader::{Document, RuleSet, Rules};
use serde::Deserialize;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Served {
    content_type: Option<String>,
    url: Option<String>,
    rules: Option<RuleSet>,
}

pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) rules: Rules,
    content_type: String,
    url: String,
}

impl Sample {
    pub(crate) fn document(&self) -> Document<'_> {
        Document { bytes: &self.bytes, content_type: Some(&self.content_type), url: &self.url }
    }
}

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

pub(crate) fn all() -> Vec<Sample> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().filter_map(|path| sample(path)).collect()
}

fn sample(path: &std::path::Path) -> Option<Sample> {
    let by_ending = match path.extension()?.to_str()? {
        "html" => "text/html",
        "xml" => "application/xml",
        "json" => "application/json",
        "txt" => "text/plain",
        "markdown" => "text/markdown",
        "bin" => "",
        _ => return None,
    };
    let name = path.file_stem()?.to_str()?.to_owned();
    let served: Served = match std::fs::read_to_string(path.with_extension("toml")) {
        Ok(text) => toml::from_str(&text).unwrap_or_else(|error| panic!("{name}.toml: {error}")),
        Err(_) => Served::default(),
    };
    Some(Sample {
        bytes: std::fs::read(path).unwrap(),
        content_type: served.content_type.unwrap_or_else(|| by_ending.to_owned()),
        url: served.url.unwrap_or_else(|| format!("https://example.test/pages/{name}")),
        rules: served.rules.unwrap_or_default().compile().unwrap(),
        name,
    })
}
