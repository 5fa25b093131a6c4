//! Puts the built dashboard into the binary as a table of files, when the feature `ui` is on and `scripts/web` has
//! made it. Never runs npm; without a build the table is empty, and the server says how to make one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/build");
    // Exists in every clone, so that Cargo sees a build appear in it.
    println!("cargo::rerun-if-changed={}", folder.display());
    let site = folder.join("site");
    let mut files = BTreeMap::new();
    if env::var_os("CARGO_FEATURE_UI").is_some() && site.is_dir() {
        collect(&site, &site, &mut files)?;
    }
    let mut table = String::from("&[\n");
    for (path, file) in files.iter().filter(|(path, _)| !has_extension(path, &["gz", "br"])) {
        let packed = files.get(&format!("{path}.gz")).map(|gz| format!("include_bytes!({gz:?})"));
        let packed = packed.map_or("None".to_owned(), |gz| format!("Some({gz})"));
        let mut hasher = DefaultHasher::new();
        fs::read(file)?.hash(&mut hasher);
        let tag = format!("\"{:016x}\"", hasher.finish());
        let _ = writeln!(
            table,
            "File {{ path: {path:?}, tag: {tag:?}, content: include_bytes!({file:?}), packed: {packed} }},"
        );
    }
    table.push(']');
    let out = env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    fs::write(out.join("ui.rs"), table)
}

fn has_extension(path: &str, wanted: &[&str]) -> bool {
    Path::new(path).extension().is_some_and(|e| wanted.iter().any(|w| e == *w))
}

/// Files below `folder` by their path as a URL has it.
fn collect(site: &Path, folder: &Path, files: &mut BTreeMap<String, String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(site, &path, files)?;
        } else if let Some(relative) = path.strip_prefix(site).ok().and_then(Path::to_str) {
            let file = path.canonicalize()?;
            let file = file.to_str().ok_or_else(|| io::Error::other("the repository's path is no UTF-8"))?;
            files.insert(format!("/{relative}"), file.to_owned());
        }
    }
    Ok(())
}
