//! Files of an instance, streamed both ways: nothing is held in memory.

use bytes::{Bytes, BytesMut};
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Body, Method, Response};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, Take};

use super::connection::Client;
use super::error::ClientError;
use crate::Page;
use crate::instance::{FileEntry, ReadFileQuery, WriteFileQuery};

const CHUNK: usize = 64 * 1024;

/// A file on its way to us.
#[derive(Debug)]
pub struct Download {
    response: Response,
    url: String,
    /// Its size in bytes, when the server knows it beforehand.
    pub total: Option<u64>,
}

impl Download {
    /// The next piece; `None` after the last. A connection that breaks half-way is an error.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        self.response.chunk().await.map_err(|e| ClientError::from_reqwest(&self.url, &e))
    }
}

impl Client {
    /// A folder's content, or the one entry of a file.
    pub async fn list_files(&self, name: &str, path: &str) -> Result<Vec<FileEntry>, ClientError> {
        let query = ReadFileQuery { path: path.to_owned(), list: true };
        let page: Page<FileEntry> = self.get(&["v1", "instances", name, "files"], &query).await?;
        Ok(page.items)
    }

    /// A file's content. A folder is refused by the server.
    pub async fn download(&self, name: &str, path: &str) -> Result<Download, ClientError> {
        let query = ReadFileQuery { path: path.to_owned(), list: false };
        let url = self.url(&["v1", "instances", name, "files"], &query)?;
        let request = self.request(Method::GET, url).header("accept", "application/octet-stream");
        let response = self.open(request).await?;
        let total = response.content_length();
        Ok(Download { response, url: self.base(), total })
    }

    /// Writes `length` bytes of `file` to `path`. `progress` gets the number of bytes that have been taken so far.
    pub async fn upload(
        &self,
        name: &str,
        path: &str,
        mode: Option<String>,
        file: File,
        length: u64,
        progress: impl FnMut(u64) + Send + 'static,
    ) -> Result<(), ClientError> {
        let query = WriteFileQuery { path: path.to_owned(), mode };
        let url = self.url(&["v1", "instances", name, "files"], &query)?;
        let body = Source::body(file, length, progress);
        let request = self
            .request(Method::PUT, url)
            .header(CONTENT_LENGTH, length)
            .header("content-type", "application/octet-stream")
            .body(body);
        self.open(request).await.map(drop)
    }
}

pub(super) struct Source<P> {
    file: Take<File>,
    left: u64,
    done: u64,
    progress: P,
}

impl<P: FnMut(u64) + Send + 'static> Source<P> {
    /// Exactly `length` bytes.
    pub(super) fn body(file: File, length: u64, progress: P) -> Body {
        let source = Self { file: file.take(length), left: length, done: 0, progress };
        Body::wrap_stream(futures_util::stream::try_unfold(source, Self::next))
    }

    async fn next(mut self) -> std::io::Result<Option<(Bytes, Self)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut buffer = BytesMut::with_capacity(CHUNK);
        let read = self.file.read_buf(&mut buffer).await?;
        if read == 0 {
            return Err(std::io::Error::other("the file became shorter while it was read"));
        }
        let read = u64::try_from(read).unwrap_or(u64::MAX);
        self.left = self.left.saturating_sub(read);
        self.done += read;
        (self.progress)(self.done);
        Ok(Some((buffer.freeze(), self)))
    }
}
