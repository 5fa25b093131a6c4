//! Files of a container, running or not, through the engine's archive calls: the engine resolves links inside the
//! container's root, and a chroot of its own keeps it there.
//!
//! The engine has no call that lists a folder: it sends the folder's whole tree, of which we keep the first level and
//! skip the rest, within bounds. It has none that renames either, so a content is spooled and checked before it is
//! sent: what ends early never reaches the container. Memory-backed folders are invisible to it and are refused.

use std::io::SeekFrom;
use std::time::Duration;

use bollard::query_parameters::ContainerArchiveInfoOptions;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use ryokan_model::Millis;
use ryokan_ports::files::{MAX_FILE, normal, refuse, within};
use ryokan_ports::runtime::{BoxStream, FileInfo, FileKind, Result, RuntimeError, Target};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;

use super::archive::{self, Entry, Kind};
use super::container::millis;
use super::owner::Owner;
use super::{Inner, error};

const MAX_ENTRIES: usize = 10_000;
/// Of the tree below a listed folder.
const MAX_TREE_BYTES: u64 = 4 * 1024 * 1024 * 1024;
const MAX_TREE_ENTRIES: usize = 500_000;
const MAX_TREE_TIME: Duration = Duration::from_secs(30);

fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((parent, name)) => (parent, name),
        None => ("/", path),
    }
}

/// A path as the engine sees it without following its last part.
struct Stat {
    info: FileInfo,
    /// Where a symbolic link leads, resolved inside the container.
    target: String,
}

/// The engine speaks of modes as Go does.
fn kind_and_mode(mode: u32) -> (FileKind, u32) {
    const DIRECTORY: u32 = 1 << 31;
    const SYMLINK: u32 = 1 << 27;
    // Device, pipe, socket, character device, irregular.
    const OTHER: u32 = 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19;
    let kind = match mode {
        m if m & DIRECTORY != 0 => FileKind::Directory,
        m if m & SYMLINK != 0 => FileKind::Symlink,
        m if m & OTHER != 0 => FileKind::Other,
        _ => FileKind::File,
    };
    let special = [(1 << 23, 0o4000), (1 << 22, 0o2000), (1 << 20, 0o1000)];
    let special: u32 = special.iter().filter(|(go, _)| mode & go != 0).map(|(_, unix)| unix).sum();
    (kind, mode & 0o777 | special)
}

impl Inner {
    async fn stat(&self, container: &str, path: &str) -> Result<Option<Stat>> {
        let api = self.link.api().await?;
        let options = ContainerArchiveInfoOptions { path: path.to_owned() };
        let stat = api.get_container_archive_info(container, Some(options));
        let stat = match self.link.call(path, stat).await {
            Ok(stat) => stat,
            Err(RuntimeError::NotFound(_)) => return Ok(None),
            // A HEAD's answer has no words. A file where a folder should be is one way to get here.
            Err(RuntimeError::Other(_)) => return Ok(None),
            Err(e) => return Err(e),
        };
        let (kind, mode) = kind_and_mode(stat.file_mode);
        let link = (kind == FileKind::Symlink).then(|| stat.link_target.clone());
        let info = FileInfo {
            name: stat.name,
            kind,
            size: if kind == FileKind::File { u64::try_from(stat.size).unwrap_or(0) } else { 0 },
            mode,
            modified: millis(stat.modification_time.as_deref()),
            link,
        };
        Ok(Some(Stat { info, target: stat.link_target }))
    }

    /// The path after its links, and what is there.
    pub(super) async fn resolve(&self, container: &str, path: &str) -> Result<(String, Option<FileInfo>)> {
        self.check_visible(container, path).await?;
        match self.stat(container, path).await? {
            Some(stat) if stat.info.kind == FileKind::Symlink => {
                let target = normal(&stat.target)?;
                self.check_visible(container, &target).await?;
                let there = self.stat(container, &target).await?;
                // A link again: somebody exchanges links while we look.
                let there = there.map(|s| s.info).filter(|i| i.kind != FileKind::Symlink);
                Ok((target, there))
            }
            Some(stat) => Ok((path.to_owned(), Some(stat.info))),
            None => Ok((path.to_owned(), None)),
        }
    }

    async fn check_visible(&self, container: &str, path: &str) -> Result<()> {
        let inspected = self.inspect_container("container", container).await?;
        let tmpfs = inspected.host_config.and_then(|h| h.tmpfs).unwrap_or_default();
        let hidden = tmpfs.keys().map(String::as_str).chain(["/proc", "/sys", "/dev"]);
        for folder in hidden {
            if within(path, folder) {
                return Err(refuse(
                    path,
                    format!("is inside {folder}, which is memory-backed; run a command instead"),
                ));
            }
        }
        Ok(())
    }

    pub(super) async fn list_files(&self, of: Target, path: &str) -> Result<Vec<FileInfo>> {
        let path = normal(path)?;
        let container = self.container(of).await?.id;
        let (path, there) = self.resolve(&container, &path).await?;
        let there = there.ok_or_else(|| RuntimeError::NotFound(path.clone()))?;
        if there.kind != FileKind::Directory {
            return Ok(vec![there]);
        }
        let _permit = self
            .listings
            .acquire()
            .await
            .map_err(|_| RuntimeError::Unavailable("this server is shutting down".to_owned()))?;
        let listing = self.first_level(&container, &path);
        tokio::time::timeout(MAX_TREE_TIME, listing).await.unwrap_or_else(|_| Err(too_big(&path)))
    }

    async fn first_level(&self, container: &str, path: &str) -> Result<Vec<FileInfo>> {
        let mut reader = self.archive(container, path).await?;
        let root = reader.next().await?.ok_or_else(|| RuntimeError::NotFound(path.to_owned()))?;
        let root = root.path.trim_matches('/').to_owned();
        let (mut files, mut linked, mut seen) = (Vec::new(), Vec::new(), 0_usize);
        while let Some(entry) = reader.next().await? {
            seen += 1;
            if seen > MAX_TREE_ENTRIES || reader.taken > MAX_TREE_BYTES {
                return Err(too_big(path));
            }
            let inside = entry.path.trim_start_matches("./").trim_matches('/');
            let name = inside.strip_prefix(&root).unwrap_or(inside).trim_start_matches('/');
            if name.is_empty() || name.contains('/') {
                continue;
            }
            if files.len() == MAX_ENTRIES {
                return Err(refuse(path, format!("has more than {MAX_ENTRIES} entries")));
            }
            if entry.kind == Kind::HardLink {
                linked.push(files.len());
            }
            files.push(info(name, &entry));
        }
        // A second name comes without the file's size.
        for index in linked {
            let name = &files[index].name;
            if let Some(stat) =
                self.stat(container, &format!("{}/{name}", path.trim_end_matches('/'))).await?
            {
                files[index] = stat.info;
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    pub(super) async fn read_file(
        &self,
        of: Target,
        path: &str,
    ) -> Result<(FileInfo, BoxStream<Result<Bytes>>)> {
        let path = normal(path)?;
        let container = self.container(of).await?.id;
        let (path, there) = self.resolve(&container, &path).await?;
        let there = there.ok_or_else(|| RuntimeError::NotFound(path.clone()))?;
        match there.kind {
            FileKind::File => {}
            FileKind::Directory => return Err(refuse(&path, "is a folder")),
            FileKind::Symlink | FileKind::Other => return Err(refuse(&path, "is not a regular file")),
        }
        let mut reader = self.archive(&container, &path).await?;
        let entry = reader.next().await?.ok_or_else(|| RuntimeError::NotFound(path.clone()))?;
        if entry.kind != Kind::File {
            return Err(refuse(&path, "changes while it is read"));
        }
        let info = FileInfo { size: entry.size, mode: entry.mode, ..there };
        let content = stream::try_unfold(reader, |mut reader| async move {
            Ok(reader.chunk().await?.map(|chunk| (chunk, reader)))
        });
        Ok((info, Box::pin(content)))
    }

    pub(super) async fn write_file(
        &self,
        of: Target,
        path: &str,
        mode: u32,
        size: u64,
        content: BoxStream<std::io::Result<Bytes>>,
    ) -> Result<()> {
        let path = normal(path)?;
        if size > MAX_FILE {
            return Err(refuse(&path, format!("is larger than {} MiB", MAX_FILE >> 20)));
        }
        let container = self.container(of).await?.id;
        let (path, there) = self.resolve(&container, &path).await?;
        if path == "/" || there.is_some_and(|t| t.kind == FileKind::Directory) {
            return Err(refuse(&path, "is a folder"));
        }
        let mut spool = self.spool(&path, size, content).await?;
        let (folder, mut head) = self.folders_for(&container, &path).await?;
        let owner = self.owner(&container).await?;
        let name = head.file_name;
        let mut prefix: Vec<u8> = head.missing.drain(..).flat_map(|d| directory(&d, owner)).collect();
        let now = spool.metadata().await.ok().and_then(|m| m.modified().ok());
        let now = now.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok()).map_or(0, |d| d.as_secs());
        let file = Entry::file(&name, mode & 0o777, size, owner.user, owner.group)
            .modified(i64::try_from(now).unwrap_or(0));
        prefix.extend(file.header());
        let mut suffix = vec![0; archive::padding(size)];
        suffix.extend(archive::end());
        spool.seek(SeekFrom::Start(0)).await.map_err(|e| spool_error(&e))?;
        let tar = stream::iter([Ok(Bytes::from(prefix))])
            .chain(ReaderStream::with_capacity(spool, 256 * 1024))
            .chain(stream::iter([Ok(Bytes::from(suffix))]));
        self.put_stream(&container, &folder, size, tar).await
    }

    /// Puts a content into a nameless file and checks its size.
    async fn spool(
        &self,
        path: &str,
        size: u64,
        mut content: BoxStream<std::io::Result<Bytes>>,
    ) -> Result<tokio::fs::File> {
        let folder = self.options.spool.clone();
        let file = tokio::task::spawn_blocking(move || tempfile::tempfile_in(folder))
            .await
            .map_err(|e| RuntimeError::Other(e.to_string()))?
            .map_err(|e| spool_error(&e))?;
        let mut file = tokio::fs::File::from_std(file);
        let mut written = 0_u64;
        while let Some(chunk) = content.next().await {
            let chunk = chunk.map_err(|e| refuse(path, format!("was not sent whole: {e}")))?;
            written += chunk.len() as u64;
            if written > size {
                return Err(refuse(path, format!("has more than the {size} bytes that were announced")));
            }
            file.write_all(&chunk).await.map_err(|e| spool_error(&e))?;
        }
        if written != size {
            return Err(refuse(path, format!("ended after {written} of {size} bytes")));
        }
        file.flush().await.map_err(|e| spool_error(&e))?;
        Ok(file)
    }

    /// The deepest folder on the way to a path that exists, and what is missing below it.
    pub(super) async fn folders_for(&self, container: &str, path: &str) -> Result<(String, Way)> {
        let (mut folder, name) = split(path);
        let mut missing: Vec<&str> = Vec::new();
        loop {
            // With the dot the engine follows a link to a folder.
            let mut there = self.stat(container, &format!("{}/.", folder.trim_end_matches('/'))).await?;
            // Podman drops the dot.
            if let Some(stat) = &there
                && stat.info.kind == FileKind::Symlink
            {
                there = self.stat(container, &normal(&stat.target)?).await?;
            }
            match there {
                Some(stat) if stat.info.kind == FileKind::Directory => break,
                Some(_) => return Err(refuse(folder, "is not a folder")),
                None if folder == "/" => {
                    return Err(RuntimeError::NotFound("the container's root".to_owned()));
                }
                None => {
                    if self.stat(container, folder).await?.is_some() {
                        return Err(refuse(folder, "is not a folder"));
                    }
                    let (parent, last) = split(folder);
                    missing.push(last);
                    folder = parent;
                }
            }
        }
        let mut way = Way { missing: Vec::new(), file_name: String::new() };
        let mut inside = String::new();
        for part in missing.iter().rev() {
            inside.push_str(part);
            way.missing.push(inside.clone());
            inside.push('/');
        }
        way.file_name = format!("{inside}{name}");
        Ok((folder.to_owned(), way))
    }
}

/// Folders to make on the way to a file, outermost first, and the file, all relative to one that exists.
pub(super) struct Way {
    pub(super) missing: Vec<String>,
    pub(super) file_name: String,
}

pub(super) fn directory(path: &str, owner: Owner) -> Vec<u8> {
    Entry::directory(path, 0o755, owner.user, owner.group).header()
}

fn info(name: &str, entry: &Entry) -> FileInfo {
    FileInfo {
        name: name.to_owned(),
        kind: match entry.kind {
            Kind::File | Kind::HardLink => FileKind::File,
            Kind::Directory => FileKind::Directory,
            Kind::Symlink => FileKind::Symlink,
            Kind::Other => FileKind::Other,
        },
        size: entry.size,
        mode: entry.mode,
        modified: Millis(entry.modified.saturating_mul(1000)),
        link: entry.link.clone().filter(|_| entry.kind == Kind::Symlink),
    }
}

fn too_big(path: &str) -> RuntimeError {
    refuse(
        path,
        "has too much below it to be listed through the engine; list a deeper folder, or run `ls` in it",
    )
}

fn spool_error(e: &std::io::Error) -> RuntimeError {
    error::exhausted(&e.to_string())
        .unwrap_or_else(|| RuntimeError::Other(format!("the file cannot be kept on its way: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents() {
        assert_eq!(split("/a"), ("/", "a"));
        assert_eq!(split("/a/b"), ("/a", "b"));
    }

    #[test]
    fn modes_of_go() {
        assert_eq!(kind_and_mode(0o644), (FileKind::File, 0o644));
        assert_eq!(kind_and_mode(1 << 31 | 1 << 20 | 0o777), (FileKind::Directory, 0o1777));
        assert_eq!(kind_and_mode(134_218_239), (FileKind::Symlink, 0o777));
    }
}
