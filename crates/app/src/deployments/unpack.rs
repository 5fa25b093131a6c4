//! Unpacking an artifact: a gzipped tar that anybody may have written. It is read once, from front to back; each entry
//! is checked before anything of it is written, and written by its parts, so that nothing lands outside the folder.
//!
//! Only plain files, folders and links that stay inside are taken. Everything else is refused with the entry's name;
//! whoever calls removes the folder then.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use tar::{Archive, EntryType};

/// How much may come out.
#[derive(Debug, Clone)]
pub struct UnpackLimits {
    pub entries: usize,
    /// Of all files together.
    pub bytes: u64,
    pub file: u64,
    /// Folders in folders.
    pub depth: usize,
    /// Of one part of a path.
    pub name: usize,
    /// Bytes out for each byte in, once a mebibyte has come out.
    pub ratio: u64,
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self {
            entries: 100_000,
            bytes: 2 * 1024 * 1024 * 1024,
            file: 1024 * 1024 * 1024,
            depth: 40,
            name: 200,
            ratio: 200,
        }
    }
}

/// Why an artifact was refused, for its author.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnpackError {
    #[error("`{entry}` {problem}")]
    Refused { entry: String, problem: String },
    #[error("the artifact is not a gzipped tar: {0}")]
    Damaged(String),
    #[error("the artifact unpacks to more than {0}")]
    TooMuch(String),
    /// Ours: the disk is full, for one.
    #[error("unpacking failed on the server: {0}")]
    Server(String),
}

type Result<T> = std::result::Result<T, UnpackError>;

/// No artifact may bring a file of this name: it is ours, in what is sent to the engine.
const OURS: &str = ".ryokan.dockerfile";
/// Ratio counts only beyond this much.
const RATIO_FROM: u64 = 1024 * 1024;
/// Long names and PAX headers are read into memory by the reader.
const MAX_HEADERS: u64 = 1024 * 1024;

/// Unpacks into `folder`, which must be empty. Blocks. Returns how many files there are.
pub fn unpack(artifact: impl Read, folder: &Path, limits: &UnpackLimits) -> Result<usize> {
    let counted = Counted { inner: artifact, read: 0 };
    let bounded = Bounded { inner: MultiGzDecoder::new(counted), out: 0, limits: limits.clone() };
    let mut archive = Archive::new(bounded);
    let mut tree = Tree { folder, limits, known: BTreeMap::new(), written: 0, files: 0 };
    let entries = archive.entries().map_err(damaged)?;
    let mut links = Vec::new();
    for (count, entry) in entries.enumerate() {
        if count >= limits.entries {
            return Err(UnpackError::TooMuch(format!("{} entries", limits.entries)));
        }
        let mut entry = entry.map_err(damaged)?;
        let kind = entry.header().entry_type();
        let raw = entry.path_bytes().into_owned();
        if kind == EntryType::XGlobalHeader {
            continue;
        }
        let name = tree.normal(&raw)?;
        let mode = entry.header().mode().unwrap_or(0o644);
        if mode & 0o6000 != 0 {
            return refuse(&raw, "has a set-user or set-group bit");
        }
        match kind {
            EntryType::Regular | EntryType::Continuous => {
                tree.file(&raw, name, mode & 0o111 != 0, &mut entry)?;
            }
            EntryType::Directory => tree.directory(&raw, &name)?,
            EntryType::Symlink => {
                let target = entry.link_name_bytes().map(|t| t.into_owned()).unwrap_or_default();
                check_link(&raw, &name, &target)?;
                tree.claim(&raw, &name, Kind::Link)?;
                links.push((raw, name, target));
            }
            EntryType::Link => return refuse(&raw, "is a hard link; pack the file itself"),
            EntryType::Char | EntryType::Block => return refuse(&raw, "is a device"),
            EntryType::Fifo => return refuse(&raw, "is a named pipe"),
            _ => return refuse(&raw, "is of a kind that is not accepted"),
        }
    }
    // What comes after the end of the tar is not read, but it must not be a bomb's fuse for anybody else either.
    // Links are made last: while files are written there is none on the way that could lead out.
    for (raw, name, target) in links {
        tree.link(&raw, &name, &target)?;
    }
    Ok(tree.files)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
    Link,
}

struct Tree<'a> {
    folder: &'a Path,
    limits: &'a UnpackLimits,
    /// What is there, by its parts joined with `/`.
    known: BTreeMap<String, Kind>,
    written: u64,
    files: usize,
}

impl Tree<'_> {
    /// The entry's parts; none for the top itself.
    fn normal(&self, raw: &[u8]) -> Result<Vec<String>> {
        let Ok(text) = std::str::from_utf8(raw) else { return refuse(raw, "is not named in UTF-8") };
        if text.starts_with('/') {
            return refuse(raw, "is an absolute path");
        }
        if text.chars().any(|c| c.is_control() || is_invisible(c)) {
            return refuse(raw, "has a control character in its name");
        }
        if text.contains('\\') {
            return refuse(raw, "has a backslash in its name");
        }
        let parts: Vec<String> =
            text.split('/').filter(|p| !p.is_empty() && *p != ".").map(str::to_owned).collect();
        if parts.len() > self.limits.depth {
            return refuse(raw, &format!("is deeper than {} folders", self.limits.depth));
        }
        for part in &parts {
            if part == ".." {
                return refuse(raw, "leads out of the artifact");
            }
            if part.len() > self.limits.name {
                return refuse(raw, &format!("has a name longer than {} bytes", self.limits.name));
            }
            if part.ends_with(['.', ' ']) {
                return refuse(raw, "has a name that ends with a dot or a space");
            }
            if part == OURS {
                return refuse(raw, "has a name that is reserved");
            }
        }
        Ok(parts)
    }

    /// Makes the folders above, and takes the name.
    fn claim(&mut self, raw: &[u8], name: &[String], kind: Kind) -> Result<PathBuf> {
        if name.is_empty() {
            return refuse(raw, "has no name");
        }
        self.folders(raw, &name[..name.len() - 1])?;
        if self.known.insert(name.join("/"), kind).is_some() {
            return refuse(raw, "is there twice");
        }
        Ok(self.path(name))
    }

    fn path(&self, name: &[String]) -> PathBuf {
        name.iter().fold(self.folder.to_owned(), |path, part| path.join(part))
    }

    fn folders(&mut self, raw: &[u8], name: &[String]) -> Result<()> {
        for end in 1..=name.len() {
            let path = name[..end].join("/");
            match self.known.get(&path) {
                Some(Kind::Folder) => {}
                Some(_) => return refuse(raw, "is below something that is no folder"),
                None => {
                    if self.known.len() >= self.limits.entries {
                        return Err(UnpackError::TooMuch(format!("{} entries", self.limits.entries)));
                    }
                    fs::create_dir(self.path(&name[..end])).map_err(|e| server(&e))?;
                    self.known.insert(path, Kind::Folder);
                }
            }
        }
        Ok(())
    }

    /// A folder may be named again; anything else may not.
    fn directory(&mut self, raw: &[u8], name: &[String]) -> Result<()> {
        self.folders(raw, name)
    }

    fn file(
        &mut self,
        raw: &[u8],
        name: Vec<String>,
        executable: bool,
        content: &mut impl Read,
    ) -> Result<()> {
        if raw.ends_with(b"/") {
            return refuse(raw, "is a file with the name of a folder");
        }
        let path = self.claim(raw, &name, Kind::File)?;
        let mode = if executable { 0o755 } else { 0o644 };
        // New, and no link followed: there is none, and nobody else writes here.
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(|e| server(&e))?;
        let mut buffer = vec![0; 64 * 1024];
        let mut size = 0_u64;
        loop {
            let read = content.read(&mut buffer).map_err(damaged)?;
            if read == 0 {
                break;
            }
            let length = u64::try_from(read).unwrap_or(u64::MAX);
            size += length;
            self.written += length;
            if size > self.limits.file {
                return refuse(raw, &format!("is larger than {} bytes", self.limits.file));
            }
            if self.written > self.limits.bytes {
                return Err(UnpackError::TooMuch(format!("{} bytes", self.limits.bytes)));
            }
            file.write_all(&buffer[..read]).map_err(|e| server(&e))?;
        }
        self.files += 1;
        Ok(())
    }

    fn link(&self, raw: &[u8], name: &[String], target: &[u8]) -> Result<()> {
        use std::os::unix::ffi::OsStrExt as _;
        // By name alone it stays inside; by way of other links it may not. Those are refused whole.
        let text = String::from_utf8_lossy(target);
        let mut at: Vec<String> = name[..name.len().saturating_sub(1)].to_vec();
        let mut parts = text.split('/').filter(|p| !p.is_empty() && *p != ".").peekable();
        while let Some(part) = parts.next() {
            if part == ".." {
                at.pop();
            } else {
                at.push(part.to_owned());
            }
            let is_link = self.known.get(&at.join("/")) == Some(&Kind::Link);
            if is_link && parts.peek().is_some() {
                return refuse(raw, "links by way of another link");
            }
        }
        let target = Path::new(std::ffi::OsStr::from_bytes(target));
        std::os::unix::fs::symlink(target, self.path(name)).map_err(|e| server(&e))
    }
}

/// A link's target must stay inside, whatever else is a link.
fn check_link(raw: &[u8], name: &[String], target: &[u8]) -> Result<()> {
    let Ok(text) = std::str::from_utf8(target) else {
        return refuse(raw, "links to a name that is not UTF-8");
    };
    if text.is_empty() || text.len() > 1024 || text.chars().any(char::is_control) || text.contains('\\') {
        return refuse(raw, "links to an odd name");
    }
    if text.starts_with('/') {
        return refuse(raw, "links to an absolute path");
    }
    let mut depth = name.len().saturating_sub(1);
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => match depth.checked_sub(1) {
                Some(up) => depth = up,
                None => return refuse(raw, "links out of the artifact"),
            },
            _ => depth += 1,
        }
    }
    Ok(())
}

/// Marks that change the direction of writing or cannot be seen.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn refuse<T>(raw: &[u8], problem: &str) -> Result<T> {
    let shown: String = String::from_utf8_lossy(raw)
        .chars()
        .map(|c| if c.is_control() || is_invisible(c) { '?' } else { c })
        .take(120)
        .collect();
    Err(UnpackError::Refused { entry: shown, problem: problem.to_owned() })
}

fn server(error: &std::io::Error) -> UnpackError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => UnpackError::Server("its disk is full".into()),
        // Names that only differ in what this file system does not tell apart.
        ErrorKind::AlreadyExists => UnpackError::Server("two names are one on the server's disk".into()),
        _ => UnpackError::Server(error.to_string()),
    }
}

/// Carries [`UnpackError::TooMuch`] through the readers in between.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Bomb(String);

fn damaged(error: std::io::Error) -> UnpackError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(e) = source {
        if let Some(Bomb(what)) = e.downcast_ref::<Bomb>() {
            return UnpackError::TooMuch(what.clone());
        }
        if let Some(inner) = e.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref)
            && let Some(Bomb(what)) = inner.downcast_ref::<Bomb>()
        {
            return UnpackError::TooMuch(what.clone());
        }
        source = e.source();
    }
    UnpackError::Damaged(error.to_string().chars().filter(|c| !c.is_control()).take(200).collect())
}

struct Counted<R> {
    inner: R,
    read: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read += u64::try_from(read).unwrap_or(u64::MAX);
        Ok(read)
    }
}

/// Bounds all that is decompressed, headers and padding included.
struct Bounded<R> {
    inner: MultiGzDecoder<Counted<R>>,
    out: u64,
    limits: UnpackLimits,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.out += u64::try_from(read).unwrap_or(u64::MAX);
        // Headers and padding of as many entries as there may be, and some more for long names.
        let entries = u64::try_from(self.limits.entries).unwrap_or(u64::MAX);
        let most = self.limits.bytes.saturating_add(entries.saturating_mul(2048)).saturating_add(MAX_HEADERS);
        if self.out > most {
            return Err(std::io::Error::other(Bomb(format!("{} bytes", self.limits.bytes))));
        }
        let came = self.inner.get_ref().read.max(1);
        if self.out > RATIO_FROM && self.out / came > self.limits.ratio {
            let what = format!("{} times its size", self.limits.ratio);
            return Err(std::io::Error::other(Bomb(what)));
        }
        Ok(read)
    }
}

/// What is in an unpacked folder, for tests and for the log.
pub fn list(folder: &Path) -> std::io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut left = vec![folder.to_owned()];
    while let Some(at) = left.pop() {
        for entry in fs::read_dir(at)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
            }
            found.insert(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
