//! Archives in and out of a container, streamed, each step bounded in time.

use std::time::Duration;

use bollard::query_parameters::{DownloadFromContainerOptions, UploadToContainerOptions};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use ryokan_ports::files::refuse;
use ryokan_ports::runtime::{BoxStream, Result, RuntimeError};

use super::archive::{Entry, Reader};
use super::{Inner, error};

/// Slower than this a transfer counts as stuck.
const BYTES_A_SECOND: u64 = 4 * 1024 * 1024;

impl Inner {
    /// The archive of a path, each piece bounded in time.
    pub(super) async fn archive(
        &self,
        container: &str,
        path: &str,
    ) -> Result<Reader<BoxStream<Result<Bytes>>>> {
        let api = self.link.api().await?;
        let options = DownloadFromContainerOptions { path: path.to_owned() };
        let (patience, what) = (self.link.patience, path.to_owned());
        let pieces = Box::pin(api.download_from_container(container, Some(options)));
        let bounded = stream::try_unfold(pieces, move |mut pieces| {
            let what = what.clone();
            async move {
                match tokio::time::timeout(patience, pieces.next()).await {
                    Ok(None) => Ok(None),
                    Ok(Some(Ok(piece))) => Ok(Some((piece, pieces))),
                    Ok(Some(Err(e))) => Err(error::map(e, &what)),
                    Err(_) => Err(RuntimeError::Unavailable(format!("the transfer of {what} stands still"))),
                }
            }
        });
        Ok(Reader::new(Box::pin(bounded)))
    }

    /// The first entry of a path's archive: the only way to learn an owner.
    pub(super) async fn entry_at(&self, container: &str, path: &str) -> Result<Entry> {
        let mut reader = self.archive(container, path).await?;
        reader.next().await?.ok_or_else(|| RuntimeError::NotFound(path.to_owned()))
    }

    /// Unpacks an archive into a folder.
    pub(super) async fn put(&self, container: &str, folder: &str, tar: Bytes) -> Result<()> {
        let size = tar.len() as u64;
        self.put_stream(container, folder, size, stream::iter([Ok(tar)])).await
    }

    pub(super) async fn put_stream(
        &self,
        container: &str,
        folder: &str,
        size: u64,
        tar: impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<()> {
        let api = self.link.api().await?;
        let options = UploadToContainerOptions {
            path: folder.to_owned(),
            no_overwrite_dir_non_dir: Some("1".to_owned()),
            copy_uidgid: None,
        };
        let limit = self.link.patience * 2 + Duration::from_secs(size / BYTES_A_SECOND);
        let put = api.upload_to_container(container, Some(options), bollard::body_try_stream(tar));
        match self.link.call_within(limit, folder, put).await {
            Err(RuntimeError::Other(why)) if why.contains("marked read-only") => {
                Err(refuse(folder, "cannot be written: the container's root (or this volume) is read-only"))
            }
            Err(RuntimeError::Other(why)) if why.contains("cannot overwrite") => {
                Err(refuse(folder, "holds a folder of that name"))
            }
            other => other,
        }
    }
}
