//! The file that holds the sealing keys: made at first start, readable by its owner only, replaced atomically.
//!
//! One `key <64 hex digits>` a line, the sealing one first; two lines while a rotation is under way. Losing the file
//! loses every sealed secret, so it is never overwritten in place and never made anew beside an existing one.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use zeroize::Zeroizing;

use crate::error::{Result, StoreError};
use crate::seal::{Key, Seal};

const HEADER: &str = "# Seals the secrets in ryokan's database. Back it up apart from the database; without it they are lost.\n";
/// Tells the temporary files of one process apart.
static WRITES: AtomicU64 = AtomicU64::new(0);
/// Far above what a rotation needs.
const MOST: u64 = 16 * 1024;

impl Seal {
    /// The ring in the file, which is made with a new key if it is missing. Refuses a file that is not regular, that
    /// others may read or write, or that holds anything but keys.
    pub fn from_file(path: &Path) -> Result<Self> {
        if let Some(keys) = read(path)? {
            return Self::new(keys);
        }
        create(path, &[Key::generate()])?;
        // Another process may have been first: its key counts.
        Self::new(read(path)?.ok_or_else(|| wrong(path, "vanished"))?)
    }
}

fn read(path: &Path) -> Result<Option<Vec<Key>>> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, &error)),
    };
    // Before opening, since opening a pipe would wait; and again on what was opened.
    if !metadata.is_file() {
        return Err(wrong(path, "is not a regular file"));
    }
    let file = File::open(path).map_err(|error| failed(path, &error))?;
    let metadata = file.metadata().map_err(|error| failed(path, &error))?;
    if !metadata.is_file() {
        return Err(wrong(path, "is not a regular file"));
    }
    if metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o777;
        return Err(wrong(path, &format!("is open to other users (mode {mode:o}): chmod 600 it")));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MOST).read_to_string(&mut text).map_err(|error| failed(path, &error))?;
    let mut keys = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let key = line.strip_prefix("key ").and_then(|key| Key::parse(key).ok());
        keys.push(key.ok_or_else(|| wrong(path, "holds a line that is no `key <64 hex digits>`"))?);
    }
    if keys.is_empty() {
        return Err(wrong(path, "holds no key"));
    }
    Ok(Some(keys))
}

/// Makes the file; leaves an existing one alone.
fn create(path: &Path, keys: &[Key]) -> Result<()> {
    let fresh = write_beside(path, keys)?;
    // A link, unlike a rename, does not replace what another process has just made.
    let linked = fs::hard_link(&fresh, path);
    let _ = fs::remove_file(&fresh);
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed(path, &error)),
        _ => sync_folder(path),
    }
}

/// Replaces the file's keys: after a crash there are either the old ones or the new ones.
pub(crate) fn replace(path: &Path, keys: &[Key]) -> Result<()> {
    let fresh = write_beside(path, keys)?;
    fs::rename(&fresh, path).map_err(|error| failed(path, &error))?;
    sync_folder(path)
}

/// Writes a file next to `path`, on the disk and readable by its owner only.
fn write_beside(path: &Path, keys: &[Key]) -> Result<PathBuf> {
    let mut name = path.file_name().ok_or_else(|| wrong(path, "is not a file's name"))?.to_owned();
    name.push(format!(".new-{}-{}", std::process::id(), WRITES.fetch_add(1, Ordering::Relaxed)));
    let fresh = path.with_file_name(name);
    // Left by a crash of a process with the same number.
    let _ = fs::remove_file(&fresh);
    let mut text = Zeroizing::new(HEADER.to_owned());
    for key in keys {
        text.push_str("key ");
        text.push_str(&key.to_hex());
        text.push('\n');
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| failed(&fresh, &error))?;
    Ok(fresh)
}

fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(folder, &error))
}

fn wrong(path: &Path, what: &str) -> StoreError {
    StoreError::Key(format!("the key file {} {what}", path.display()))
}

fn failed(path: &Path, error: &std::io::Error) -> StoreError {
    wrong(path, &format!("cannot be used: {error}"))
}
