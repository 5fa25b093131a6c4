//! What a build takes of the disk. Engines have no limit for it, so it is measured while the build goes on: the layers
//! that its steps have made, by the engine's own record of them, and what the container of the present step has written,
//! in its volumes too. Between two looks it may write more; what it began from is not counted.
//!
//! Which containers and images are a build's only its own words tell, and what its steps print may imitate them. That
//! can add to what is measured, and takes nothing away; an id of somebody else's cannot be guessed, and is no use.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ryokan_model::ServerId;
use ryokan_model::quantity::Bytes;
use ryokan_ports::build::{BuildError, BuildRequest, Built, Forgotten};
use ryokan_ports::runtime::{Result, RuntimeError};
use serde::Deserialize;
use tokio::time::Instant;

use super::look::escape;
use super::{Inner, label};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Between two looks at volumes, which are all measured for it.
const VOLUMES: Duration = Duration::from_secs(10);
/// No file makes an engine speak of so many steps.
const MOST: usize = 4_096;
/// How often, twice a second, an ended build is asked whether it has let go.
const TRIES: usize = 60;

/// What a build has said of its steps and nobody has looked at yet.
#[derive(Debug, Default)]
pub(super) struct Said {
    containers: BTreeSet<String>,
    images: Vec<String>,
    heard: usize,
}

impl Said {
    pub(super) fn hear(&mut self, line: &str) {
        // Podman has a dash less.
        let line = line.trim();
        let Some(rest) = line.strip_prefix("---> ").or_else(|| line.strip_prefix("--> ")) else { return };
        let (running, id) = rest.strip_prefix("Running in ").map_or((false, rest), |id| (true, id));
        let is_id = (10..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_id {
            return;
        }
        self.heard += 1;
        if self.heard > MOST {
            return;
        }
        if running {
            self.containers.insert(id.to_owned());
        } else {
            self.images.push(id.to_owned());
        }
    }
}

/// What is known of a build.
pub(super) struct Written {
    limit: Bytes,
    containers: BTreeSet<String>,
    layers: HashMap<Layer, u64>,
    /// Of its steps, the newest last.
    images: Vec<String>,
    seen: HashSet<String>,
    volumes: (Option<Instant>, u64),
}

impl Written {
    pub(super) fn new(limit: Bytes) -> Self {
        Self {
            limit,
            containers: BTreeSet::new(),
            layers: HashMap::new(),
            images: Vec::new(),
            seen: HashSet::new(),
            volumes: (None, 0),
        }
    }
}

/// One line of an image's history. An engine may not give it an id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Layer {
    #[serde(default)]
    id: String,
    #[serde(default)]
    created: i64,
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    size: i64,
}

/// The layers above the first line of ours, the newest first; `None` when there is no such line.
fn ours(history: Vec<Layer>, server: ServerId) -> Option<Vec<Layer>> {
    let mark = format!("{}={server}", label::BUILT_BY);
    let quoted = format!("{}=\"{server}\"", label::BUILT_BY);
    let is_mark = |layer: &Layer| layer.created_by.contains(&mark) || layer.created_by.contains(&quoted);
    let above = history.iter().rposition(is_mark)?;
    Some(history.into_iter().take(above).collect())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sized {
    #[serde(default)]
    size_rw: Option<i64>,
    #[serde(default)]
    mounts: Option<Vec<Mounted>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mounted {
    #[serde(default)]
    name: String,
}

fn bytes(size: i64) -> u64 {
    u64::try_from(size).unwrap_or(0)
}

impl Inner {
    /// Resolves once the build has written too much.
    pub(super) async fn outgrown(&self, written: &mut Written, said: &Mutex<Said>) -> BuildError {
        loop {
            tokio::time::sleep(EVERY).await;
            if let Err(over) = self.look_at_build(written, said).await {
                return over;
            }
        }
    }

    /// An engine that does not answer is asked again with the next look.
    pub(super) async fn look_at_build(
        &self,
        written: &mut Written,
        said: &Mutex<Said>,
    ) -> Result<(), BuildError> {
        let images = {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            if said.heard > MOST {
                let why = "it says of more steps than any Dockerfile has, in the engine's own words";
                return Err(BuildError::Failed(why.into()));
            }
            written.containers.append(&mut said.containers);
            std::mem::take(&mut said.images)
        };
        // First the steps that are done, whose containers are gone: nothing is counted twice.
        for id in images {
            if written.seen.insert(id.clone()) {
                match self.history(&id).await {
                    Ok(history) => self.count_layers(written, id, history),
                    Err(error) => tracing::debug!(image = id, error = %error, "a step could not be measured"),
                }
            }
        }
        let mut running = 0;
        let mut volumes = HashSet::new();
        for id in written.containers.clone() {
            match self.sized(&id).await {
                Ok(sized) => {
                    running += bytes(sized.size_rw.unwrap_or(0));
                    let names = sized.mounts.unwrap_or_default().into_iter().map(|mount| mount.name);
                    volumes.extend(names.filter(|name| !name.is_empty()));
                }
                Err(RuntimeError::NotFound(_)) => drop(written.containers.remove(&id)),
                Err(error) => tracing::debug!(container = id, error = %error, "a step could not be measured"),
            }
        }
        let volumes = self.measure_build_volumes(written, &volumes).await;
        let total = written.layers.values().sum::<u64>().saturating_add(running).saturating_add(volumes);
        if total > written.limit.get() { Err(BuildError::TooLarge(written.limit)) } else { Ok(()) }
    }

    fn count_layers(&self, written: &mut Written, id: String, history: Vec<Layer>) {
        let Some(layers) = ours(history, self.server) else { return };
        written.images.push(id);
        for layer in layers {
            let size = bytes(layer.size);
            written.layers.insert(layer, size);
        }
    }

    async fn history(&self, id: &str) -> Result<Vec<Layer>> {
        let path = self.link.versioned(&format!("/images/{}/history", escape(id))).await?;
        self.link.get("image", &path).await
    }

    async fn sized(&self, id: &str) -> Result<Sized> {
        let path = self.link.versioned(&format!("/containers/{}/json?size=true", escape(id))).await?;
        self.link.get("container", &path).await
    }

    async fn measure_build_volumes(&self, written: &mut Written, names: &HashSet<String>) -> u64 {
        if names.is_empty() {
            return 0;
        }
        let (at, known) = written.volumes;
        if at.is_some_and(|at| at.elapsed() < VOLUMES) {
            return known;
        }
        match self.sizes_of_volumes(names).await {
            Ok(size) => written.volumes = (Some(Instant::now()), size),
            Err(error) => tracing::debug!(error = %error, "a build's volumes could not be measured"),
        }
        written.volumes.1
    }

    /// After a build was ended: waits until the engine has let go of it, and removes what its steps left, the newest
    /// first. What another image shares with it stays. What cannot be removed now is found later.
    pub(super) async fn clear_build(&self, request: &BuildRequest, written: &Written) {
        let image = |id: &String| Built {
            id: id.clone(),
            tag: None,
            project: request.project,
            created_at: ryokan_model::Millis(0),
        };
        let tagged = Built { tag: Some(request.tag.clone()), ..image(&String::new()) };
        let mut left: Vec<Built> = written.images.iter().map(image).chain([tagged]).rev().collect();
        for _ in 0..TRIES {
            let let_go = self.have_gone(&written.containers).await;
            let mut busy = Vec::new();
            for image in left {
                // A name would be lost with the id.
                if image.tag.is_none() && !self.has_no_name(&image.id).await {
                    continue;
                }
                match self.forget_image(&image).await {
                    Ok(Forgotten::Gone) => {}
                    Ok(Forgotten::InUse) => busy.push(image),
                    Err(error) => {
                        tracing::info!(error = %error, "what a build left cannot be removed now");
                        return;
                    }
                }
            }
            if let_go {
                // What is busy still is a part of other images.
                return;
            }
            left = busy;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn have_gone(&self, containers: &BTreeSet<String>) -> bool {
        for id in containers {
            if !matches!(self.sized(id).await, Err(RuntimeError::NotFound(_))) {
                return false;
            }
        }
        true
    }

    async fn has_no_name(&self, id: &str) -> bool {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Named {
            #[serde(default)]
            repo_tags: Option<Vec<String>>,
        }
        let asked = async {
            let path = self.link.versioned(&format!("/images/{}/json", escape(id))).await?;
            self.link.get::<Named>("image", &path).await
        };
        asked.await.is_ok_and(|named| named.repo_tags.unwrap_or_default().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_heard() {
        let mut said = Said::default();
        for line in [
            " ---> Running in 0123456789ab",
            " ---> Running in ../../../x",
            " ---> 89abcdef0123",
            "--> 89abcdef012",
            " ---> Using cache",
            "Step 1/2 : RUN echo ---> 0123456789ab",
        ] {
            said.hear(line);
        }
        assert_eq!(said.containers, BTreeSet::from(["0123456789ab".to_owned()]));
        assert_eq!(said.images, ["89abcdef0123", "89abcdef012"]);
        for n in 0..2 * MOST {
            said.hear(&format!("---> {n:012x}"));
        }
        assert!(said.images.len() <= MOST && said.heard > MOST);
    }

    #[test]
    fn layers_count_from_the_first_line_of_ours() {
        let server = ServerId(uuid::Uuid::from_bytes([7; 16]));
        let layer = |created_by: &str, size| Layer {
            id: "<missing>".into(),
            created: 1,
            created_by: created_by.into(),
            size,
        };
        let mark = format!("/bin/sh -c #(nop)  LABEL ryokan.build={server} ryokan.build.project=x");
        let history = vec![
            layer(&mark, 0),
            layer("/bin/sh -c dd", 5),
            // A Dockerfile may say the same once more.
            layer(&mark, 0),
            layer("/bin/sh -c dd", 7),
            layer(&mark, 0),
            layer("base", 100),
        ];
        let sizes =
            |history| ours(history, server).map(|layers| layers.iter().map(|layer| layer.size).sum::<i64>());
        assert_eq!(sizes(history.clone()), Some(12));
        assert_eq!(sizes(history[4..].to_vec()), Some(0));
        assert_eq!(sizes(history[5..].to_vec()), None);
    }
}
