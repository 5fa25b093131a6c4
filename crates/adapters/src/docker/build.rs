//! Builds, through the engine's own build API: a tar of the folder goes in, lines come out.
//!
//! The classic builder is asked for on purpose: it holds `RUN` steps to the memory, the processor and the network that
//! the request names, which the same API with `BuildKit` behind it silently does not. Dropping a build closes its
//! connection, and the engine ends it. Podman answers the same call. It has no limit for the disk: see [`super::measure`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use ryokan_model::dockerfile;
use ryokan_ports::build::{BuildError, BuildRequest, Built, Forgotten, ImageBuilder, OnLine};
use ryokan_ports::runtime::{Image, RuntimeError};
use tokio::sync::mpsc;

use super::measure::{Said, Written};
use super::{Docker, Inner, connect, error, label, look};

/// What the Dockerfile is called on its way: a name that no artifact may have.
pub(super) const DOCKERFILE: &str = ".ryokan.dockerfile";
const MAX_LINE: usize = 8 * 1024;

#[async_trait]
impl ImageBuilder for Docker {
    async fn build(&self, request: &BuildRequest, line: OnLine<'_>) -> Result<Image, BuildError> {
        let (time, said) = (request.limits.time, Mutex::default());
        let mut written = Written::new(request.limits.disk);
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(time, self.0.build(request, line, &said)) => {
                outcome.unwrap_or(Err(BuildError::TooLong(time)))
            }
            // What came before is dropped then, and the engine ends the build.
            why = self.0.outgrown(&mut written, &said) => Err(why),
        };
        let outcome = match outcome {
            // The last steps may have been too fast to be looked at.
            Ok(image) => self.0.look_at_build(&mut written, &said).await.map(|()| image),
            failed => failed,
        };
        if matches!(outcome, Err(BuildError::TooLarge(_))) {
            self.0.clear_build(request, &written).await;
        }
        outcome
    }

    async fn built(&self) -> Result<Vec<Built>, BuildError> {
        if let Err(error) = self.0.sweep_builds().await {
            tracing::debug!(error = %error, "what builds left behind could not be removed");
        }
        self.0.built_images().await.map_err(away)
    }

    async fn forget(&self, image: &Built) -> Result<Forgotten, BuildError> {
        self.0.forget_image(image).await.map_err(away)
    }
}

fn away(e: RuntimeError) -> BuildError {
    match e {
        RuntimeError::Unavailable(_) | RuntimeError::Exhausted(_) => BuildError::Unavailable(e.to_string()),
        other => BuildError::Failed(other.to_string()),
    }
}

impl Inner {
    async fn build(
        self: &Arc<Self>,
        request: &BuildRequest,
        line: OnLine<'_>,
        said: &Mutex<Said>,
    ) -> Result<Image, BuildError> {
        let path = self.link.versioned(&format!("/build?{}", self.query(request))).await.map_err(away)?;
        let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(8);
        let dockerfile = self.labelled(request)?;
        let context = request.context.clone();
        // Ends when the receiver is dropped.
        let packing = tokio::task::spawn_blocking(move || {
            let failed = sender.clone();
            let mut out = std::io::BufWriter::with_capacity(64 * 1024, Chunks(sender));
            if let Err(e) = pack(&context, &dockerfile, &mut out).and_then(|()| out.flush()) {
                // The engine must not take a cut tar for a whole one.
                let _ = failed.blocking_send(Err(e));
            }
        });
        let body = futures_util::stream::unfold(receiver, |mut r| async move { Some((r.recv().await?, r)) });
        let asked = hyper::Request::post(path)
            .header("content-type", "application/x-tar")
            .body(bollard::body_try_stream(body))
            .map_err(|e| BuildError::Failed(e.to_string()))?;
        let response = self.link.send(asked).await.map_err(|e| away(error::map(e, "the build")))?;
        if !response.status().is_success() {
            return Err(away(error::map(connect::refusal(response).await, "the build")));
        }
        let mut report = Report { left: request.limits.log_bytes, cut: false, error: None, said };
        let mut body = response.into_body();
        let mut buffer = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|e| BuildError::Unavailable(format!("the engine's answer broke off: {e}")))?;
            let Ok(data) = frame.into_data() else { continue };
            buffer.extend_from_slice(&data);
            while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
                let message = buffer.split_to(end + 1);
                report.take(&message, line);
            }
            if buffer.len() > 1024 * 1024 {
                return Err(BuildError::Failed("the engine's answer is not as documented".into()));
            }
        }
        report.take(&buffer, line);
        drop(packing);
        if let Some(why) = report.error {
            return Err(match error::exhausted(&why) {
                Some(exhausted) => BuildError::Unavailable(exhausted.to_string()),
                None => BuildError::Failed(why),
            });
        }
        self.find_image(&request.tag)
            .await
            .map_err(away)?
            .ok_or_else(|| BuildError::Failed("the build ended without an image".into()))
    }

    /// The labels that the engine is told of come last, and a build that fails never gets there.
    fn labelled(&self, request: &BuildRequest) -> Result<String, BuildError> {
        let labels = label::of_build(self.server, request.project);
        // Sorted, or the engine's cache would not know the line again.
        let labels: BTreeMap<_, _> = labels.into_iter().collect();
        let mut line = String::from("LABEL");
        for (name, value) in labels {
            let _ = write!(line, " {name}=\"{value}\"");
        }
        dockerfile::labelled(&request.dockerfile, &line)
            .map_err(|e| BuildError::Failed(format!("the Dockerfile: {e}")))
    }

    fn query(&self, request: &BuildRequest) -> String {
        let limits = &request.limits;
        let mut labels = label::of_build(self.server, request.project);
        labels.insert(label::BUILT_IN.to_owned(), request.deployment.to_string());
        let quota = i64::from(limits.cpus.millis()) * 100;
        let mut query = String::from("version=1&rm=1&forcerm=1");
        for (key, value) in [
            ("dockerfile", DOCKERFILE.to_owned()),
            ("t", request.tag.to_string()),
            ("labels", serde_json::json!(labels).to_string()),
            ("memory", limits.memory.get().to_string()),
            ("memswap", limits.memory.get().to_string()),
            ("cpuperiod", "100000".to_owned()),
            ("cpuquota", quota.to_string()),
            ("networkmode", limits.network.clone()),
        ] {
            let _ = write!(query, "&{key}={}", look::escape(&value));
        }
        query
    }
}

/// Reads the engine's messages: lines for the log, and what went wrong.
struct Report<'a> {
    left: u64,
    cut: bool,
    error: Option<String>,
    said: &'a Mutex<Said>,
}

impl Report<'_> {
    fn take(&mut self, message: &[u8], line: OnLine<'_>) {
        let Ok(message) = serde_json::from_slice::<serde_json::Value>(message) else { return };
        if let Some(why) = message.get("error").and_then(|v| v.as_str()) {
            self.error = Some(why.trim().chars().take(2000).collect());
        }
        let text = message.get("stream").or_else(|| message.get("status")).and_then(|v| v.as_str());
        for text in text.unwrap_or_default().lines().filter(|l| !l.trim().is_empty()) {
            let mut text: String = text.chars().filter(|c| !c.is_control() || *c == '\t').collect();
            text.truncate(text.floor_char_boundary(MAX_LINE));
            self.said.lock().unwrap_or_else(PoisonError::into_inner).hear(&text);
            let length = u64::try_from(text.len()).unwrap_or(u64::MAX) + 1;
            if length <= self.left {
                self.left -= length;
                line(text);
            } else if !self.cut {
                self.cut = true;
                self.left = 0;
                line("… the build says more than is kept".to_owned());
            }
        }
    }
}

/// The folder and the Dockerfile as a tar. Links stay links; owners and times are left out.
fn pack(context: &Path, dockerfile: &str, out: &mut impl Write) -> std::io::Result<()> {
    let mut tar = tar::Builder::new(out);
    tar.follow_symlinks(false);
    tar.mode(tar::HeaderMode::Deterministic);
    let mut header = tar::Header::new_gnu();
    header.set_size(u64::try_from(dockerfile.len()).unwrap_or(u64::MAX));
    header.set_mode(0o644);
    header.set_cksum();
    tar.append_dir_all(".", context)?;
    // Last, so that nothing in the folder can take its place.
    tar.append_data(&mut header, DOCKERFILE, dockerfile.as_bytes())?;
    tar.finish()
}

/// A writer whose chunks go to another task; it fails once nobody takes them.
struct Chunks(mpsc::Sender<std::io::Result<Bytes>>);

impl Write for Chunks {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(data)));
        sent.map_err(|_| std::io::ErrorKind::BrokenPipe)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded_and_the_error_is_kept() {
        let lines = Mutex::new(Vec::new());
        let line = |text: String| lines.lock().unwrap().push(text);
        let said = Mutex::default();
        let mut report = Report { left: 12, cut: false, error: None, said: &said };
        for message in [
            r#"{"stream":"Step 1\n"}"#,
            r#"{"stream":"\n"}"#,
            r#"{"stream":"\u001b[31mtoo long for it\n"}"#,
            r#"{"stream":"x\n"}"#,
            r#"{"errorDetail":{"message":"a"},"error":"The command returned 1"}"#,
            "nonsense",
        ] {
            report.take(message.as_bytes(), &line);
        }
        assert_eq!(*lines.lock().unwrap(), ["Step 1", "… the build says more than is kept"]);
        assert_eq!(report.error.as_deref(), Some("The command returned 1"));
    }

    #[test]
    fn links_are_packed_as_links() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/shadow", folder.path().join("l")).unwrap();
        let mut out = Vec::new();
        pack(folder.path(), "FROM a", &mut out).unwrap();
        let mut archive = tar::Archive::new(out.as_slice());
        let kinds: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|e| {
                let e = e.unwrap();
                (e.path().unwrap().to_string_lossy().into_owned(), e.header().entry_type())
            })
            .collect();
        assert!(kinds.iter().any(|(p, k)| p.ends_with('l') && k.is_symlink()), "{kinds:?}");
        assert_eq!(kinds.last().unwrap().0, DOCKERFILE);
    }
}
