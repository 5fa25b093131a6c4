//! `ryokan deploy`: packs a folder, sends it to one server or several, and follows each until its agent is ready.

use std::path::{Path, PathBuf};

use futures_util::{StreamExt as _, stream};
use ryokan_api::client::Client;
use ryokan_api::deployment::{CreateDeployment, Deployment, DeploymentLogQuery};
use ryokan_api::model::Name;
use ryokan_api::model::deployment::DeploymentState;
use ryokan_api::model::manifest::{FILE, MAX_BYTES, Manifest};
use serde_json::json;
use tokio::fs::File;

use super::init::folder_name;
use super::pack::{Artifact, pack};
use crate::Context;
use crate::failure::{Failure, Outcome};
use crate::progress::transfer;

/// Servers that are sent to at a time.
const AT_A_TIME: usize = 4;

/// Build a folder on a server and run it as an agent.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The folder needs an agent-manifest.json; `ryokan init` writes one. What .dockerignore names is not sent. What ran \
before goes on until the new one is ready, and again if it never is. The address goes to standard output.

Examples:
  ryokan deploy
  ryokan deploy my-agent --name bot --project team
  ryokan deploy --to https://one.example.com --to https://two.example.com")]
pub(crate) struct Deploy {
    /// Folder (the present one when absent)
    #[arg(default_value = ".", hide_default_value = true, value_name = "DIR")]
    folder: PathBuf,
    /// Server to deploy to (repeatable; the one that you signed in to when absent)
    #[arg(long, value_name = "URL")]
    to: Vec<String>,
    /// Project that the agent belongs to (your own when absent)
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Name of the agent (the manifest's when absent, else the folder's)
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,
    /// Do not wait; print the deployment's id
    #[arg(short, long)]
    detach: bool,
}

impl Deploy {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let manifest = read_manifest(&self.folder)?;
        let name = self.name.clone().or(manifest.name).or_else(|| folder_name(&self.folder));
        let folder = self.folder.clone();
        let artifact = tokio::task::spawn_blocking(move || pack(&folder))
            .await
            .map_err(|e| Failure::new(format!("packing stopped: {e}")))??;
        cx.out.note(format!("{} files, {} bytes packed.", artifact.files, artifact.size));
        let servers: Vec<Option<String>> =
            if self.to.is_empty() { vec![None] } else { self.to.iter().cloned().map(Some).collect() };
        let several = servers.len() > 1;
        let mut results = stream::iter(servers)
            .map(|server| {
                let (artifact, name) = (&artifact, name.clone());
                let this = &self;
                async move {
                    let outcome = this.one(cx, server.as_deref(), name, artifact, several).await;
                    (server.unwrap_or_default(), outcome)
                }
            })
            .buffered(AT_A_TIME);
        let mut failed = 0;
        while let Some((server, outcome)) = results.next().await {
            match outcome {
                Ok(done) if cx.out.json => {
                    cx.out.json_line(&json!({"server": server, "deployment": done}))?;
                }
                Ok(done) if self.detach => cx.out.line(done.id.to_string())?,
                Ok(done) => cx.out.line(done.agent_url.unwrap_or_default())?,
                Err(failure) if !several => return Err(failure),
                Err(failure) => {
                    failed += 1;
                    cx.out.warn(&format!("{server}: failed"));
                    cx.out.report(&failure);
                }
            }
        }
        if failed > 0 {
            return Err(Failure::new(format!("{failed} of {} servers have it not", self.to.len())));
        }
        Ok(())
    }

    async fn one(
        &self,
        cx: &Context,
        server: Option<&str>,
        name: Option<Name>,
        artifact: &Artifact,
        several: bool,
    ) -> Outcome<Deployment> {
        let client = match server {
            Some(server) => cx.client_of(server)?,
            None => cx.client()?,
        };
        let project = match &self.project {
            Some(project) => project.clone(),
            None => own_project(&client).await?,
        };
        let request =
            CreateDeployment { name, sha256: Some(artifact.sha256.clone()), size: Some(artifact.size) };
        let made = client.create_deployment(&project, &request).await?;
        let upload = made.upload.clone().ok_or_else(|| Failure::new("the server gave no upload address"))?;
        let file = artifact.file.try_clone().map_err(|e| Failure::new(e.to_string()))?;
        let file = positioned(file)?;
        let bar = transfer(&cx.out, made.name.as_deref().unwrap_or("artifact"), Some(artifact.size));
        let moved = bar.clone();
        let sent =
            client.upload_artifact(&upload.url, file, artifact.size, move |n| moved.set_position(n)).await;
        bar.finish_and_clear();
        sent?;
        if self.detach {
            return Ok(client.deployment(&made.id.to_string()).await?);
        }
        let id = made.id.to_string();
        cx.out.on_interrupt(Some(format!(
            "Not waiting any longer; the deployment goes on. See `ryokan deployments logs {id}`."
        )));
        let prefix = if several { format!("{}: ", server.unwrap_or_default()) } else { String::new() };
        let done = follow(&client, &id, 0, |line| cx.out.note(format!("{prefix}{line}"))).await?;
        cx.out.on_interrupt(None);
        match done.state {
            DeploymentState::Succeeded => Ok(done),
            state => Err(Failure::new(format!(
                "the deployment {state}: {}",
                done.message.as_deref().unwrap_or("its log says why")
            ))),
        }
    }
}

/// A file of its own position: several uploads read the same one.
fn positioned(file: std::fs::File) -> Outcome<File> {
    use std::os::fd::AsRawFd as _;
    // Cloned descriptors share their position; opening it again by its number does not.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let again = std::fs::File::open(path).or_else(|_| {
        use std::io::Seek as _;
        let mut file = file;
        file.rewind()?;
        Ok::<_, std::io::Error>(file)
    });
    Ok(File::from_std(again.map_err(|e| Failure::new(format!("the artifact cannot be read again: {e}")))?))
}

fn read_manifest(folder: &Path) -> Outcome<Manifest> {
    let path = folder.join(FILE);
    let text = std::fs::read(&path).map_err(|e| {
        let failure = Failure::usage(format!("{}: {e}", path.display()));
        if e.kind() == std::io::ErrorKind::NotFound {
            failure.hint("`ryokan init` writes one")
        } else {
            failure
        }
    })?;
    if text.len() > MAX_BYTES {
        return Err(Failure::usage(format!("{} is too long", path.display())));
    }
    Manifest::parse(&text).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
}

pub(super) async fn own_project(client: &Client) -> Outcome<String> {
    let me = client.me().await?.login;
    let projects = client.projects().await?;
    let own = projects.into_iter().find(|p| p.personal && p.owner == me);
    own.map(|p| p.id.to_string())
        .ok_or_else(|| Failure::usage("you have no project of your own here").hint("name one with --project"))
}

/// Tells the log's lines after the number `after`, over broken connections, until the deployment is over.
pub(super) async fn follow(
    client: &Client,
    id: &str,
    mut after: i64,
    mut tell: impl FnMut(&str),
) -> Outcome<Deployment> {
    let mut lost = 0;
    loop {
        let query = DeploymentLogQuery { follow: true, after };
        let broken = match client.deployment_logs(id, &query).await {
            Ok(mut lines) => loop {
                match lines.next().await {
                    Ok(Some(line)) => {
                        lost = 0;
                        after = line.number;
                        tell(&line.text);
                    }
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            },
            Err(error) => Some(error),
        };
        if let Some(error) = broken
            && (!error.is_transient() || lost >= 60)
        {
            return Err(error.into());
        }
        match client.deployment(id).await {
            Ok(row) if row.state.is_over() => return Ok(row),
            Ok(_) => {}
            Err(error) if error.is_transient() && lost < 60 => {}
            Err(error) => return Err(error.into()),
        }
        lost += 1;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}
