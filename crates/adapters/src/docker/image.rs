//! Images: found by name, pulled with progress, and failures told apart: what a retry may cure from
//! what somebody has to change.

use std::collections::HashMap;
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::models::{CreateImageInfo, ImageInspect};
use bollard::query_parameters::CreateImageOptions;
use futures_util::StreamExt;
use ryokan_model::image::ImageRef;
use ryokan_ports::runtime::{Image, OnProgress, PullProgress, PullRequest, Result, RuntimeError};
use tokio::time::Instant;

use super::{Inner, error};

/// Engines tell of every few kilobytes.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

fn failure(image: &ImageRef, reason: impl Into<String>, retry: bool) -> RuntimeError {
    RuntimeError::Image { image: image.to_string(), reason: reason.into(), retry }
}

impl Inner {
    pub(super) async fn pull(&self, request: &PullRequest, progress: OnProgress<'_>) -> Result<Image> {
        let image = &request.image;
        let limit = self.options.pull_limit;
        tokio::time::timeout(limit, self.fetch(request, progress)).await.unwrap_or_else(|_| {
            Err(failure(image, format!("its pull took more than {} s", limit.as_secs()), true))
        })?;
        self.find_image(image).await?.ok_or_else(|| failure(image, "vanished right after its pull", true))
    }

    pub(super) async fn find_image(&self, image: &ImageRef) -> Result<Option<Image>> {
        let api = self.link.api().await?;
        let found = match self.link.call("image", api.inspect_image(image.as_str())).await {
            Ok(found) => describe(image, found)?,
            Err(RuntimeError::NotFound(_)) => return Ok(None),
            Err(e) => return Err(e),
        };
        // Engines take the start of an id for a name too.
        let id = image.as_str();
        let by_id = found.id == id || found.id.trim_start_matches("sha256:").starts_with(id);
        Ok((!by_id).then_some(found))
    }

    async fn fetch(&self, request: &PullRequest, progress: OnProgress<'_>) -> Result<()> {
        let image = &request.image;
        let (name, tag) = image.split();
        let options = CreateImageOptions {
            from_image: Some(name.to_owned()),
            tag: Some(tag.to_owned()),
            ..CreateImageOptions::default()
        };
        let credentials = request.credentials.as_ref().map(|c| DockerCredentials {
            username: Some(c.username.clone()),
            password: Some(c.password.expose().to_owned()),
            serveraddress: Some(image.registry().to_owned()),
            ..DockerCredentials::default()
        });
        let given = credentials.is_some();
        let api = self.link.api().await?;
        // A pull may rightly say nothing for a while; an engine that is away is told apart beforehand.
        self.link.call("the engine", api.ping()).await?;
        let mut steps = api.create_image(Some(options), None, credentials);
        let mut layers = Layers::default();
        let (mut told, mut last) = (None::<Instant>, None);
        let stall = self.options.pull_stall;
        loop {
            let step = tokio::time::timeout(stall, steps.next()).await.map_err(|_| {
                failure(image, format!("its pull stood still for {} s", stall.as_secs()), true)
            })?;
            match step {
                None => break,
                Some(Ok(step)) => {
                    let now = layers.take(&step);
                    if told.is_none_or(|at| at.elapsed() >= PROGRESS_EVERY) {
                        told = Some(Instant::now());
                        progress(now);
                        last = None;
                    } else {
                        last = Some(now);
                    }
                }
                Some(Err(e)) => return Err(self.classify(image, given, e)),
            }
        }
        if let Some(now) = last {
            progress(now);
        }
        Ok(())
    }

    fn classify(&self, image: &ImageRef, credentials: bool, e: bollard::errors::Error) -> RuntimeError {
        match error::map(e, "image") {
            RuntimeError::NotFound(_) => explain(image, credentials, "manifest unknown"),
            RuntimeError::Other(why) => explain(image, credentials, why.trim_start_matches("image: ")),
            unavailable @ RuntimeError::Unavailable(_) => self.link.explain(unavailable),
            other => other,
        }
    }
}

/// The digest under which the registry knows it, when it came from that registry.
fn describe(image: &ImageRef, found: ImageInspect) -> Result<Image> {
    let id = found.id.ok_or_else(|| failure(image, "the engine gave it no id", true))?;
    let (name, _) = image.split();
    let short = name.strip_prefix("docker.io/").unwrap_or(name);
    let short = short.strip_prefix("library/").unwrap_or(short);
    let digest = found.repo_digests.iter().flatten().find_map(|known| {
        let (repository, digest) = known.split_once('@')?;
        [name, short]
            .contains(&repository.strip_prefix("docker.io/").unwrap_or(repository))
            .then(|| digest.to_owned())
    });
    Ok(Image { id, digest })
}

/// What each layer said last.
#[derive(Default)]
struct Layers(HashMap<String, (u64, u64)>);

impl Layers {
    fn take(&mut self, step: &CreateImageInfo) -> PullProgress {
        let status = step.status.clone().unwrap_or_default();
        if let Some(id) = &step.id {
            let detail = step.progress_detail.as_ref();
            let number = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
            let (current, total) =
                (number(detail.and_then(|d| d.current)), number(detail.and_then(|d| d.total)));
            if status == "Downloading" && total > 0 {
                self.0.insert(id.clone(), (current.min(total), total));
            } else if matches!(status.as_str(), "Download complete" | "Pull complete")
                && let Some(layer) = self.0.get_mut(id)
            {
                layer.0 = layer.1;
            }
        }
        PullProgress {
            message: status,
            done: self.0.values().map(|(done, _)| done).sum(),
            total: self.0.values().map(|(_, total)| total).sum(),
        }
    }
}

/// Engines pass on what registries and the network say, as text.
fn explain(image: &ImageRef, credentials: bool, why: &str) -> RuntimeError {
    let lower = why.to_ascii_lowercase();
    let says = |signs: &[&str]| signs.iter().any(|sign| lower.contains(sign));
    let registry = image.registry();
    if says(&["toomanyrequests", "too many requests", "rate limit"]) {
        return failure(
            image,
            format!("{registry} limits how often one may pull; try later, or sign in to it"),
            true,
        );
    }
    // Before the 404s: a registry that hides a private image says "not found or denied".
    let denied =
        ["no basic auth credentials", "unauthorized", "authentication required", "denied", "forbidden"];
    if says(&denied) || says(&["incorrect username or password"]) {
        let hint = if credentials {
            "refuses the stored credentials, or they may not read this image; check user name, password and the image's name"
        } else {
            "does not give it to everybody; check the name, and add the registry's credentials to the project if it is private"
        };
        return failure(image, format!("{registry} {hint}"), false);
    }
    if says(&["manifest unknown", "not found", "name unknown", "does not exist"]) {
        let (name, tag) = image.split();
        return failure(image, format!("{registry} has no `{name}` with `{tag}`; check name and tag"), false);
    }
    if says(&["no matching manifest"]) {
        return failure(image, "is not made for this machine's processor", false);
    }
    if says(&["server gave http response to https client"]) {
        let hint = format!(
            "{registry} speaks no TLS; list it under the engine's `insecure-registries` if that is meant"
        );
        return failure(image, hint, false);
    }
    if says(&["x509:", "certificate"]) {
        return failure(
            image,
            format!("{registry}'s certificate is not trusted by the engine: {why}"),
            false,
        );
    }
    if says(&["invalid reference format", "invalid repository name"]) {
        return failure(image, "is not a name that the engine understands", false);
    }
    failure(image, format!("{registry} cannot be reached or gives no answer: {why}"), true)
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    #[test]
    fn words_of_real_registries() {
        let image: ImageRef = "127.0.0.1:5000/a/b:1".parse().unwrap();
        for (why, retry, hint) in [
            (
                "manifest for 127.0.0.1:5000/a/b:1 not found: manifest unknown: manifest unknown",
                false,
                "check name and tag",
            ),
            (
                "Get \"http://127.0.0.1:5000/v2/a/b/manifests/1\": no basic auth credentials",
                false,
                "add the registry's credentials",
            ),
            (
                "pull access denied for x, repository does not exist or may require 'docker login'",
                false,
                "check the name",
            ),
            (
                "Get \"https://h/v2/\": dial tcp: lookup h on 10.0.0.1:53: no such host",
                true,
                "cannot be reached",
            ),
            (
                "Get \"http://127.0.0.1:5000/v2/\": dial tcp 127.0.0.1:5000: connect: connection refused",
                true,
                "cannot be reached",
            ),
            ("toomanyrequests: You have reached your pull rate limit", true, "try later"),
            ("received unexpected HTTP status: 503 Service Unavailable", true, "503"),
            ("http: server gave HTTP response to HTTPS client", false, "insecure-registries"),
            ("no matching manifest for linux/arm64/v8 in the manifest list entries", false, "processor"),
        ] {
            match explain(&image, false, why) {
                RuntimeError::Image { reason, retry: r, .. } => {
                    assert!(r == retry && reason.contains(hint), "{why}: {reason}");
                }
                other => panic!("{other}"),
            }
        }
        assert!(
            explain(&image, true, "unauthorized: authentication required")
                .to_string()
                .contains("refuses the stored")
        );
    }

    #[test]
    fn digests_are_those_of_the_registry_that_was_named() {
        let found = |digests: &[&str]| ImageInspect {
            id: Some("sha256:1".to_owned()),
            repo_digests: Some(digests.iter().map(|d| (*d).to_owned()).collect()),
            ..ImageInspect::default()
        };
        let both = ["other.example/x@sha256:aa", "127.0.0.1:5000/x@sha256:bb", "busybox@sha256:cc"];
        for (image, digest) in [
            ("127.0.0.1:5000/x:1", Some("sha256:bb")),
            ("busybox", Some("sha256:cc")),
            ("docker.io/library/busybox:1", Some("sha256:cc")),
            ("local/only", None),
        ] {
            let described = describe(&image.parse().unwrap(), found(&both)).unwrap();
            assert_eq!(described.digest.as_deref(), digest, "{image}");
        }
    }

    #[test]
    fn progress_adds_up_over_layers() {
        let step = |id: &str, status: &str, current, total| CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: Some(ProgressDetail { current, total }),
            error_detail: None,
        };
        let mut layers = Layers::default();
        layers.take(&step("a", "Downloading", Some(5), Some(10)));
        let now = layers.take(&step("b", "Downloading", Some(1), Some(30)));
        assert_eq!((now.done, now.total), (6, 40));
        layers.take(&step("a", "Extracting", Some(2), Some(10)));
        let now = layers.take(&step("a", "Download complete", None, None));
        assert_eq!((now.done, now.total), (11, 40));
    }
}
