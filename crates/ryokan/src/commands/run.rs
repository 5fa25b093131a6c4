//! `ryokan run` and `ryokan update`.

use ryokan_api::client::{Client, ProgressKind};
use ryokan_api::instance::InstanceRequest;
use ryokan_api::model::Name;
use ryokan_api::model::instance::Desired;
use ryokan_api::model::quantity::Span;

use super::NO_INSTANCE;
use super::spec::{Removable, SpecFlags};
use crate::Context;
use crate::failure::{Failure, Outcome};
use crate::progress::Board;
use crate::wait::{Goal, Reached, Wait};

/// Create an instance, wait until it answers, and print its address.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What no option says is the template's. The address goes to standard output.

Examples:
  ryokan run hello
  ryokan run openclaw --name claw --secret OPENAI_API_KEY=@key.txt
  ryokan run --image ghcr.io/me/agent:1.2 -p 3000 -e LOG=debug --volume data:/data --memory 1Gi")]
pub(crate) struct Run {
    /// Template (see `ryokan templates list`; `custom` when only --image is given)
    template: Option<Name>,
    /// Name of the instance (generated when absent)
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,
    /// Project that it belongs to (your own when absent)
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Do not wait; print the name
    #[arg(short, long)]
    detach: bool,
    /// Wait no longer than this, as in 5m
    #[arg(long, value_name = "SPAN", conflicts_with = "detach")]
    timeout: Option<Span>,
    #[command(flatten)]
    spec: SpecFlags,
}

impl Run {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let mut request = self.spec.into_request()?;
        if self.template.is_none() && request.image.is_none() {
            return Err(Failure::usage("neither a template nor an image is named")
                .hint("try `ryokan run hello`; `ryokan templates list` shows what there is"));
        }
        request.name = self.name;
        request.project = self.project;
        request.template = self.template;
        let client = cx.client()?;
        if self.detach {
            let instance = client.create_instance(&request).await?;
            return if cx.out.json { cx.out.json(&instance) } else { cx.out.line(instance.name.as_str()) };
        }
        let name = request.name.as_ref().map(|n| n.as_str().to_owned());
        let board = Board::new(&cx.out);
        let mut line = board.line(name.as_deref().unwrap_or("new instance"));
        cx.out.on_interrupt(Some(
            "Not waiting any longer. Look with `ryokan ps` whether the instance was created.".to_owned(),
        ));
        let operation = client.create_instance_watched(&request).await?;
        // A name that was only asked for may be somebody else's until the server has said `created`.
        let wait =
            Wait { client: &client, out: &cx.out, goal: Goal::Ready, timeout: self.timeout, update: false };
        let reached = wait.for_operation(operation, None, &mut line).await?;
        drop(line);
        tell(cx, &client, reached).await
    }
}

/// Change an instance in place.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What no option says stays. Ports, volumes and arguments that are given replace all that were there. The container is \
made anew when it has to be; its disks stay.

Example: ryokan update claw --image openclaw:2 --memory 2Gi --unset DEBUG")]
pub(crate) struct Update {
    /// Instance
    name: String,
    /// Remove a variable or secret (repeatable)
    #[arg(long, value_name = "NAME")]
    unset: Vec<String>,
    /// Remove what was set: the image's own counts again, and a probe is not asked any more (repeatable)
    #[arg(long, value_name = "WHAT")]
    remove: Vec<Removable>,
    /// Do not wait
    #[arg(long)]
    no_wait: bool,
    /// Wait no longer than this, as in 5m
    #[arg(long, value_name = "SPAN", conflicts_with = "no_wait")]
    timeout: Option<Span>,
    #[command(flatten)]
    spec: SpecFlags,
}

impl Update {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let mut request = self.spec.into_request()?;
        self.remove.iter().for_each(|what| what.remove(&mut request));
        if request == InstanceRequest::default() && self.unset.is_empty() {
            return Err(Failure::usage("no change is given").hint("see `ryokan update --help`"));
        }
        let client = cx.client()?;
        let not_found = |e| Failure::from(e).missing(NO_INSTANCE);
        let before = client.instance(&self.name).await.map_err(not_found)?;
        for name in &self.unset {
            if before.spec.secret_env.contains(name) {
                request.secret_env.insert(name.clone(), None);
            } else if before.spec.env.contains_key(name) {
                request.env.insert(name.clone(), None);
            } else {
                return Err(Failure::usage(format!("--unset {name}: {} has no such variable", self.name)));
            }
        }
        // What is stopped stays stopped: there is nothing to wait for.
        if self.no_wait || before.desired != Desired::Running {
            let instance = client.update_instance(&self.name, &request).await.map_err(not_found)?;
            return if cx.out.json { cx.out.json(&instance) } else { cx.out.line(instance.name.as_str()) };
        }
        let board = Board::new(&cx.out);
        let mut line = board.line(&self.name);
        let operation = client.update_instance_watched(&self.name, &request).await.map_err(not_found)?;
        let wait =
            Wait { client: &client, out: &cx.out, goal: Goal::Ready, timeout: self.timeout, update: true };
        let reached = wait.for_operation(operation, Some(&self.name), &mut line).await?;
        drop(line);
        tell(cx, &client, reached).await
    }
}

async fn tell(cx: &Context, client: &Client, reached: Reached) -> Outcome {
    cx.out.on_interrupt(None);
    if cx.out.json {
        return cx.out.json(&client.instance(&reached.name).await?);
    }
    if reached.kind == ProgressKind::Stopped {
        cx.out.note(format!("{} ran to its end; see `ryokan logs {}`.", reached.name, reached.name));
        return Ok(());
    }
    let url = match reached.url {
        Some(url) => url,
        None => client.instance(&reached.name).await?.url,
    };
    cx.out.note(format!("{} is ready.", reached.name));
    cx.out.line(url)
}
