//! Files of containers in memory: a root for each container, a tree for each volume.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::StreamExt;
use ryokan_model::spec::FileOwnership;
use ryokan_model::{Millis, ServerId};

use super::state::{Container, State};
use crate::files::{MAX_FILE, normal, refuse, within};
use crate::runtime::{BoxStream, FileInfo, FileKind, Result, RuntimeError, Workload};

/// Files by their path; folders are there as long as something is in them.
pub(super) type Tree = BTreeMap<String, File>;

#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) content: Vec<u8>,
    pub(super) mode: u32,
    pub(super) modified: Millis,
}

/// What came, if it is as much as was announced.
pub(super) async fn whole(
    path: &str,
    size: u64,
    mut content: BoxStream<std::io::Result<Bytes>>,
) -> Result<Vec<u8>> {
    if size > MAX_FILE {
        return Err(refuse(path, "is too large"));
    }
    let mut bytes = Vec::new();
    while let Some(piece) = content.next().await {
        bytes.extend_from_slice(&piece.map_err(|e| refuse(path, format!("was not sent whole: {e}")))?);
    }
    if bytes.len() as u64 == size {
        Ok(bytes)
    } else {
        Err(refuse(path, "has another size than was announced"))
    }
}

/// The volume that a path is on, and the path's key in its tree; `None` for the container's root.
fn place(workload: &Workload, path: &str) -> Option<String> {
    let mounts = workload.spec.volumes.iter().filter(|v| within(path, &v.path));
    mounts.max_by_key(|v| v.path.len()).map(|v| v.name.clone())
}

impl State {
    fn tree<'a>(&'a self, container: &'a Container, path: &str) -> Option<&'a Tree> {
        match place(&container.workload, path) {
            None => Some(&container.root),
            Some(volume) => self.volumes.get(&(container.server, container.workload.instance, volume)),
        }
    }

    fn file<'a>(&'a self, container: &'a Container, path: &str) -> Option<&'a File> {
        self.tree(container, path)?.get(path)
    }

    /// The paths of everything that a container sees.
    fn paths<'a>(&'a self, container: &'a Container) -> impl Iterator<Item = (&'a String, &'a File)> {
        let volumes = container.workload.spec.volumes.iter().filter_map(|v| {
            self.volumes.get(&(container.server, container.workload.instance, v.name.clone()))
        });
        container.root.iter().chain(volumes.flatten())
    }

    fn is_folder(&self, container: &Container, path: &str) -> bool {
        path == "/"
            || container.workload.spec.volumes.iter().any(|v| within(&v.path, path))
            || self.paths(container).any(|(p, _)| p != path && within(p, path))
    }

    pub(super) fn list(&self, container: &Container, path: &str) -> Result<Vec<FileInfo>> {
        if let Some(file) = self.file(container, path) {
            return Ok(vec![info(path, file)]);
        }
        if !self.is_folder(container, path) {
            return Err(RuntimeError::NotFound(path.to_owned()));
        }
        let mut found: BTreeMap<String, FileInfo> = BTreeMap::new();
        let mounts = container.workload.spec.volumes.iter().map(|v| (&v.path, None));
        for (at, file) in self.paths(container).map(|(p, f)| (p, Some(f))).chain(mounts) {
            let Some(rest) = at.strip_prefix(path.trim_end_matches('/')).and_then(|r| r.strip_prefix('/'))
            else {
                continue;
            };
            match (rest.split_once('/'), file) {
                (None, Some(file)) => {
                    found.insert(rest.to_owned(), info(at, file));
                }
                (folder, _) => {
                    let name = folder.map_or(rest, |(name, _)| name);
                    if !name.is_empty() {
                        found.entry(name.to_owned()).or_insert_with(|| folder_info(name));
                    }
                }
            }
        }
        Ok(found.into_values().collect())
    }

    pub(super) fn read(&self, container: &Container, path: &str) -> Result<(FileInfo, Vec<u8>)> {
        match self.file(container, path) {
            Some(file) => Ok((info(path, file), file.content.clone())),
            None if self.is_folder(container, path) => Err(refuse(path, "is a folder")),
            None => Err(RuntimeError::NotFound(path.to_owned())),
        }
    }

    pub(super) fn write(&mut self, container: u64, path: &str, file: File) -> Result<()> {
        let Some(index) = self.containers.iter().position(|c| c.id == container) else {
            return Err(RuntimeError::NotFound("the container".to_owned()));
        };
        let holder = &self.containers[index];
        if self.is_folder(holder, path) {
            return Err(refuse(path, "is a folder"));
        }
        if self.paths(holder).any(|(p, _)| p != path && within(path, p)) {
            return Err(refuse(path, "is below a file"));
        }
        let tree = match place(&holder.workload, path) {
            None if holder.workload.spec.security.read_only_root => {
                return Err(refuse(path, "cannot be written: the container's root is read-only"));
            }
            None => &mut self.containers[index].root,
            Some(volume) => {
                let key = (holder.server, holder.workload.instance, volume);
                self.volumes.entry(key).or_default()
            }
        };
        tree.insert(path.to_owned(), file);
        Ok(())
    }

    /// The spec's files, before a start.
    pub(super) fn place_files(&mut self, server: ServerId, workload: &Workload, at: Millis) -> Result<()> {
        for (index, file) in workload.spec.files.iter().enumerate() {
            let path = normal(&file.path)?;
            let newest = self.of(server, workload.instance).max_by_key(|c| c.workload.generation);
            let Some(container) = newest else { continue };
            if file.ownership == FileOwnership::Seed && self.file(container, &path).is_some() {
                continue;
            }
            let id = container.id;
            let content = file.content.clone().into_bytes();
            let written = self.write(id, &path, File { content, mode: file.mode_bits(), modified: at });
            written.map_err(|e| match e {
                RuntimeError::Refused { reason, .. } => {
                    RuntimeError::Refused { field: format!("files[{index}].path"), reason }
                }
                other => other,
            })?;
        }
        Ok(())
    }
}

fn info(path: &str, file: &File) -> FileInfo {
    FileInfo {
        name: path.rsplit('/').next().unwrap_or_default().to_owned(),
        kind: FileKind::File,
        size: file.content.len() as u64,
        mode: file.mode,
        modified: file.modified,
        link: None,
    }
}

fn folder_info(name: &str) -> FileInfo {
    FileInfo {
        name: name.to_owned(),
        kind: FileKind::Directory,
        size: 0,
        mode: 0o755,
        modified: Millis(0),
        link: None,
    }
}
