//! A folder as an artifact: a gzipped tar in a nameless file, without what `.dockerignore` names. The same folder gives
//! the same bytes.

use std::fs::File;
use std::io::{BufWriter, Read as _, Seek as _, Write as _};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use ignore::WalkBuilder;
use ryokan_api::model::manifest::FILE;
use sha2::{Digest as _, Sha256};

use crate::failure::{Failure, Outcome};

pub(super) struct Artifact {
    pub(super) file: File,
    pub(super) size: u64,
    pub(super) sha256: String,
    pub(super) files: usize,
}

pub(super) fn pack(folder: &Path) -> Outcome<Artifact> {
    let fail = |e: std::io::Error| Failure::new(format!("{}: {e}", folder.display()));
    let mut walk = WalkBuilder::new(folder);
    // Only `.dockerignore` counts: what git does not keep may well be what is to run.
    walk.standard_filters(false).follow_links(false).sort_by_file_name(Ord::cmp);
    walk.add_custom_ignore_filename(".dockerignore");
    walk.filter_entry(|entry| entry.depth() != 1 || entry.file_name() != ".git");
    let out = BufWriter::new(tempfile::tempfile().map_err(fail)?);
    let mut tar = tar::Builder::new(GzEncoder::new(out, Compression::default()));
    tar.follow_symlinks(false);
    tar.mode(tar::HeaderMode::Deterministic);
    let (mut files, mut has_manifest) = (0, false);
    for entry in walk.build() {
        let entry = entry.map_err(|e| Failure::new(e.to_string()))?;
        let Ok(name) = entry.path().strip_prefix(folder) else { continue };
        let Some(kind) = entry.file_type().filter(|_| !name.as_os_str().is_empty()) else { continue };
        if !kind.is_file() && !kind.is_dir() && !kind.is_symlink() {
            continue;
        }
        has_manifest |= name == Path::new(FILE);
        files += usize::from(kind.is_file());
        let fail = |e: std::io::Error| Failure::new(format!("{}: {e}", entry.path().display()));
        tar.append_path_with_name(entry.path(), name).map_err(fail)?;
    }
    // Whatever is ignored, nothing is deployed without it.
    if !has_manifest {
        tar.append_path_with_name(folder.join(FILE), FILE).map_err(fail)?;
    }
    let mut out = tar.into_inner().and_then(GzEncoder::finish).map_err(fail)?;
    out.flush().map_err(fail)?;
    let mut file = out.into_inner().map_err(|e| fail(e.into_error()))?;
    file.rewind().map_err(fail)?;
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0_u64, vec![0; 64 * 1024]);
    loop {
        let read = file.read(&mut buffer).map_err(fail)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        size += read as u64;
    }
    file.rewind().map_err(fail)?;
    Ok(Artifact { file, size, sha256: hex::encode(hash.finalize()), files })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_stays_at_home() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            std::fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        put(FILE, "{}");
        put("index.js", "x");
        put(".hidden", "x");
        put("node_modules/a/index.js", "x");
        put("secret.env", "x");
        put("keep.env", "x");
        put(".git/config", "x");
        put(".gitignore", "index.js\n");
        put(".dockerignore", "node_modules\n*.env\n!keep.env\n*.json\n");
        std::os::unix::fs::symlink("index.js", folder.path().join("link")).unwrap();
        let artifact = pack(folder.path()).unwrap();
        let again = pack(folder.path()).unwrap();
        assert_eq!((artifact.sha256.len(), &artifact.sha256), (64, &again.sha256));
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(artifact.file));
        let mut names: Vec<_> = tar
            .entries()
            .unwrap()
            .map(|e| e.unwrap().path().unwrap().to_string_lossy().trim_end_matches('/').to_owned())
            .collect();
        names.sort();
        assert_eq!(names, [".dockerignore", ".gitignore", ".hidden", FILE, "index.js", "keep.env", "link"]);
    }
}
