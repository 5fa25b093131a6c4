//! A folder as the store of artifacts. A file is written under a hidden name and renamed when it is whole and on the
//! disk; what a kill leaves half-written is removed when the folder is opened again.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use ryokan_ports::blob::{BlobError, BlobStore, Stored};
use ryokan_ports::runtime::BoxStream;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt as _;

/// Begins the names of what is not whole.
const PARTIAL: &str = ".partial-";

pub struct Directory(PathBuf);

impl Directory {
    /// Makes the folder, for nobody else to read.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(Self(path.to_owned()))
    }

    fn path(&self, name: &str) -> Result<PathBuf, BlobError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if name.is_empty() || name.starts_with('.') || name.len() > 200 || !name.bytes().all(plain) {
            return Err(BlobError::Other(format!("`{name}` is no name of an artifact")));
        }
        Ok(self.0.join(name))
    }
}

/// Removes what was begun, however it ends.
struct Partial(Option<PathBuf>);

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[async_trait]
impl BlobStore for Directory {
    async fn put(
        &self,
        name: &str,
        most: u64,
        mut content: BoxStream<Result<Bytes, String>>,
    ) -> Result<Stored, BlobError> {
        let path = self.path(name)?;
        let begun = self.0.join(format!("{PARTIAL}{name}"));
        let mut partial = Partial(Some(begun.clone()));
        let mut options = tokio::fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&begun).await.map_err(io)?;
        let (mut hash, mut size) = (Sha256::new(), 0_u64);
        while let Some(chunk) = content.next().await {
            let chunk = chunk.map_err(BlobError::Interrupted)?;
            size = size.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            if size > most {
                return Err(BlobError::TooLarge(most));
            }
            hash.update(&chunk);
            file.write_all(&chunk).await.map_err(io)?;
        }
        file.sync_all().await.map_err(io)?;
        drop(file);
        tokio::fs::rename(&begun, &path).await.map_err(io)?;
        partial.0 = None;
        let folder = tokio::fs::File::open(&self.0).await.map_err(io)?;
        folder.sync_all().await.map_err(io)?;
        Ok(Stored { size, sha256: hex::encode(hash.finalize()) })
    }

    async fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, BlobError> {
        let path = self.path(name)?;
        match tokio::fs::File::open(&path).await {
            Ok(file) => Ok(Box::new(file.into_std().await)),
            Err(e) if e.kind() == ErrorKind::NotFound => Err(BlobError::NotFound(name.to_owned())),
            Err(e) => Err(io(e)),
        }
    }

    async fn delete(&self, name: &str) -> Result<(), BlobError> {
        match tokio::fs::remove_file(self.path(name)?).await {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(io(e)),
            _ => Ok(()),
        }
    }

    async fn list(&self) -> Result<Vec<String>, BlobError> {
        let mut entries = tokio::fs::read_dir(&self.0).await.map_err(io)?;
        let mut names = Vec::new();
        while let Some(entry) = entries.next_entry().await.map_err(io)? {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                names.push(name);
            }
        }
        Ok(names)
    }
}

fn io(error: std::io::Error) -> BlobError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => BlobError::DiskFull,
        _ => BlobError::Other(format!("the folder of artifacts: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn chunks(parts: Vec<Result<&'static [u8], &str>>) -> BoxStream<Result<Bytes, String>> {
        let parts: Vec<_> =
            parts.into_iter().map(|p| p.map(Bytes::from_static).map_err(str::to_owned)).collect();
        Box::pin(stream::iter(parts))
    }

    #[tokio::test]
    async fn only_what_is_whole_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::open(folder.path()).unwrap();
        let stored = store.put("a", 6, chunks(vec![Ok(b"abc"), Ok(b"def")])).await.unwrap();
        assert_eq!((stored.size, &stored.sha256[..8]), (6, "bef57ec7"));
        let mut text = String::new();
        store.open("a").await.unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "abcdef");
        assert!(matches!(
            store.put("b", 5, chunks(vec![Ok(b"abc"), Ok(b"def")])).await,
            Err(BlobError::TooLarge(5))
        ));
        assert!(matches!(
            store.put("c", 9, chunks(vec![Ok(b"abc"), Err("gone")])).await,
            Err(BlobError::Interrupted(_))
        ));
        // Whoever sends may hang for ever; then the task is dropped.
        let hanging = Box::pin(stream::iter([Ok(Bytes::from_static(b"x"))]).chain(stream::pending()));
        let put = store.put("d", 9, hanging);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(50), put).await.is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(store.list().await.unwrap(), ["a"]);
        store.delete("a").await.unwrap();
        store.delete("a").await.unwrap();
        assert!(matches!(store.open("a").await, Err(BlobError::NotFound(_))));
    }

    #[tokio::test]
    async fn what_a_kill_left_is_removed_and_odd_names_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".partial-x"), "half").unwrap();
        let store = Directory::open(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        for bad in ["", "../x", "a/b", ".x", "a\0"] {
            assert!(store.put(bad, 1, chunks(vec![])).await.is_err(), "{bad}");
        }
    }
}
