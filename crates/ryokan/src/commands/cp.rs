//! `ryokan cp`: one file, streamed. A download replaces its target only when it is whole.

use std::io::{IsTerminal as _, Seek as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ryokan_api::client::{Client, Download};
use tokio::fs::File;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::NO_INSTANCE;
use crate::Context;
use crate::failure::{Failure, Outcome};
use crate::progress::transfer;

const MAX_FILE: u64 = 1024 * 1024 * 1024;

/// Copy a file into or out of an instance.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
One side is NAME:/PATH, the other a local file, or - for standard input or output. A path that ends with / means \
into that folder.

Examples:
  ryokan cp notes.md claw:/data/
  ryokan cp claw:/data/notes.md .
  ryokan cp claw:/var/log/agent.log - | tail")]
pub(crate) struct Cp {
    /// What to copy
    source: Place,
    /// Where to
    target: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Local(PathBuf),
    Standard,
    Remote { name: String, path: String },
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "-" {
            return Ok(Self::Standard);
        }
        match text.split_once(':') {
            Some((name, path)) if !name.is_empty() && !name.contains('/') && !name.starts_with('.') => {
                if path.starts_with('/') {
                    Ok(Self::Remote { name: name.to_owned(), path: path.to_owned() })
                } else {
                    Err(format!(
                        "a path inside an instance begins with `/`, as in {name}:/{path}; \
                                 a local file with `:` in its name is written ./{text}"
                    ))
                }
            }
            _ if text.is_empty() => Err("it is empty".to_owned()),
            _ => Ok(Self::Local(text.into())),
        }
    }
}

impl Cp {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        match (self.source, self.target) {
            (Place::Remote { .. }, Place::Remote { .. }) => Err(Failure::usage("both sides are instances")
                .hint("go by way of a local file, or: ryokan cp A:/x - | ryokan cp - B:/x")),
            (Place::Remote { name, path }, target) => down(cx, &name, &path, target).await,
            (source, Place::Remote { name, path }) => up(cx, source, &name, &path).await,
            _ => Err(Failure::usage("neither side is an instance")
                .hint("write one side as NAME:/PATH, as in ryokan cp notes.md claw:/data/")),
        }
    }
}

async fn up(cx: &Context, source: Place, name: &str, path: &str) -> Outcome {
    let client = cx.client()?;
    let (file, length, mode, file_name) = if let Place::Local(local) = source {
        let fail = |e: std::io::Error| Failure::usage(format!("{}: {e}", local.display()));
        let meta = std::fs::metadata(&local).map_err(fail)?;
        if meta.is_dir() {
            return Err(Failure::usage(format!("{} is a folder; cp copies single files", local.display()))
                .hint(format!(
                    "tar -C {} -c . | ryokan exec -i {name} -- tar -C {path} -x",
                    local.display()
                )));
        }
        if !meta.is_file() {
            return Err(Failure::usage(format!("{} is not a file", local.display()))
                .hint("give its content on standard input: ryokan cp - NAME:/PATH"));
        }
        let mode = format!("{:04o}", meta.permissions().mode() & 0o777);
        let file = std::fs::File::open(&local).map_err(fail)?;
        let file_name = local.file_name().map(|n| n.to_string_lossy().into_owned());
        (file, meta.len(), Some(mode), file_name)
    } else {
        let (file, length) = spooled().await?;
        (file, length, None, None)
    };
    if length > MAX_FILE {
        return Err(Failure::usage("the file is larger than 1 GiB, the most that an instance takes"));
    }
    let path = match (path.ends_with('/'), file_name) {
        (true, Some(file_name)) => format!("{path}{file_name}"),
        (true, None) => {
            return Err(Failure::usage(format!("{name}:{path} is a folder; standard input has no name"))
                .hint(format!("write {name}:{path}FILE")));
        }
        (false, _) => path.to_owned(),
    };
    let bar = transfer(&cx.out, &path, Some(length));
    let moved = bar.clone();
    let result = client
        .upload(name, &path, mode, File::from_std(file), length, move |done| moved.set_position(done))
        .await;
    bar.finish_and_clear();
    result.map_err(|e| Failure::from(e).missing(NO_INSTANCE))
}

/// Standard input in a nameless file, since the server wants to know the size beforehand.
async fn spooled() -> Outcome<(std::fs::File, u64)> {
    let fail = |e: std::io::Error| Failure::new(format!("standard input cannot be kept: {e}"));
    let mut file = File::from_std(tempfile::tempfile().map_err(fail)?);
    let stdin = tokio::io::stdin();
    let mut limited = tokio::io::AsyncReadExt::take(stdin, MAX_FILE + 1);
    let length = tokio::io::copy(&mut limited, &mut file).await.map_err(fail)?;
    file.flush().await.map_err(fail)?;
    let mut file = file.into_std().await;
    file.rewind().map_err(fail)?;
    Ok((file, length))
}

async fn down(cx: &Context, name: &str, path: &str, target: Place) -> Outcome {
    let client = cx.client()?;
    let mut download = open(&client, name, path).await?;
    let Place::Local(local) = target else {
        if std::io::stdout().is_terminal() {
            return pour(cx, path, &mut download, tokio::io::stdout(), false).await;
        }
        return pour(cx, path, &mut download, tokio::io::stdout(), true).await;
    };
    let local = if local.is_dir() {
        match Path::new(path).file_name() {
            Some(file_name) => local.join(file_name),
            None => return Err(Failure::usage(format!("{path} has no name"))),
        }
    } else {
        local
    };
    let fail = |e: std::io::Error| Failure::new(format!("{}: {e}", local.display()));
    // A device or a pipe cannot be replaced, only written to.
    if std::fs::metadata(&local).is_ok_and(|meta| !meta.is_file()) {
        let file = File::options().write(true).open(&local).await.map_err(fail)?;
        return pour(cx, path, &mut download, file, true).await;
    }
    let partial = Partial::beside(&local);
    let file = File::options().write(true).create_new(true).open(&partial.0).await.map_err(fail)?;
    if let Ok(meta) = std::fs::metadata(&local) {
        file.set_permissions(meta.permissions()).await.map_err(fail)?;
    }
    pour(cx, path, &mut download, file, true).await?;
    std::fs::rename(&partial.0, &local).map_err(fail)
}

async fn open(client: &Client, name: &str, path: &str) -> Outcome<Download> {
    client.download(name, path).await.map_err(|error| {
        let refused = matches!(error.status(), Some(400 | 409));
        let failure = Failure::from(error).missing(NO_INSTANCE);
        if refused {
            failure
                .hint(format!("a folder goes through tar: ryokan exec {name} -- tar -C {path} -c . | tar -x"))
        } else {
            failure
        }
    })
}

async fn pour(
    cx: &Context,
    path: &str,
    download: &mut Download,
    mut target: impl AsyncWrite + Unpin,
    drawn: bool,
) -> Outcome {
    let bar = if drawn { transfer(&cx.out, path, download.total) } else { indicatif::ProgressBar::hidden() };
    while let Some(chunk) = download.chunk().await? {
        target.write_all(&chunk).await?;
        bar.inc(chunk.len() as u64);
    }
    target.flush().await?;
    bar.finish_and_clear();
    Ok(())
}

/// A file that is not whole yet; removed when it never becomes so.
struct Partial(PathBuf);

impl Partial {
    fn beside(target: &Path) -> Self {
        let name = target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Self(target.with_file_name(format!(".{name}.{}.part", std::process::id())))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
