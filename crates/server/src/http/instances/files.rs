//! Files: get, put, list. Streamed both ways.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use ryokan_api::Page;
use ryokan_api::instance::{FileEntry, ReadFileQuery, WriteFileQuery};
use ryokan_app::Error;
use ryokan_ports::runtime::{FileInfo, FileKind};

use crate::http::Context;
use crate::http::auth::Auth;
use crate::http::error::ApiResult;
use crate::http::extract::Query;

fn view(info: FileInfo) -> FileEntry {
    FileEntry {
        name: info.name,
        kind: match info.kind {
            FileKind::File => "file",
            FileKind::Directory => "directory",
            FileKind::Symlink => "symlink",
            FileKind::Other => "other",
        }
        .to_owned(),
        size: info.size,
        mode: format!("{:04o}", info.mode & 0o7777),
        modified: info.modified.0,
        link: info.link,
    }
}

/// A file's content, or with `list=true` what is in a folder.
#[utoipa::path(get, path = "/v1/instances/{instance}/files", tag = "instances", params(("instance", description = "Id or name"), ReadFileQuery), responses((status = 200, body = Page<FileEntry>)))]
pub(crate) async fn read(
    State(context): State<Context>,
    Auth(caller): Auth,
    Path(name): Path<String>,
    Query(query): Query<ReadFileQuery>,
) -> ApiResult<Response> {
    if query.list {
        let entries = context.app.list_instance_files(&caller, &name, &query.path).await?;
        return Ok(Json(Page { items: entries.into_iter().map(view).collect(), next: None }).into_response());
    }
    let (info, content) = context.app.read_instance_file(&caller, &name, &query.path).await?;
    let content = content.map(|chunk| chunk.map_err(|e| std::io::Error::other(e.to_string())));
    let mut response = Body::from_stream(content).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(info.size));
    // An agent's file must never be shown as a page of our origin.
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(
        "x-ryokan-mode",
        HeaderValue::try_from(format!("{:04o}", info.mode & 0o7777))
            .unwrap_or(HeaderValue::from_static("0644")),
    );
    Ok(response)
}

/// Writes a file; the old one is kept when the content ends early.
#[utoipa::path(put, path = "/v1/instances/{instance}/files", tag = "instances", params(("instance", description = "Id or name"), WriteFileQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses((status = 204, description = "Written")))]
pub(crate) async fn write(
    State(context): State<Context>,
    Auth(caller): Auth,
    headers: HeaderMap,
    Path(name): Path<String>,
    Query(query): Query<WriteFileQuery>,
    body: Body,
) -> ApiResult<StatusCode> {
    let size =
        headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    let size = size.ok_or_else(|| {
        Error::invalid("Content-Length", "is needed, so that a file that ends early is noticed")
    })?;
    let mode = match query.mode.as_deref() {
        None => 0o644,
        Some(text) => u32::from_str_radix(text, 8)
            .ok()
            .filter(|m| *m <= 0o777)
            .ok_or_else(|| Error::invalid("mode", "must be octal permissions such as \"0644\""))?,
    };
    let content = body.into_data_stream().map(|chunk| chunk.map_err(std::io::Error::other));
    context.app.write_instance_file(&caller, &name, &query.path, mode, size, Box::pin(content)).await?;
    Ok(StatusCode::NO_CONTENT)
}
