//! One module a command, named after it.

pub(crate) mod approvals;
pub(crate) mod audit;
pub(crate) mod caps;
pub(crate) mod completion;
pub(crate) mod cp;
pub(crate) mod credentials;
pub(crate) mod deploy;
pub(crate) mod deployments;
pub(crate) mod domains;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod groups;
pub(crate) mod init;
pub(crate) mod inspect;
mod keys;
pub(crate) mod ledger;
pub(crate) mod lifecycle;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod models;
pub(crate) mod open;
mod pack;
pub(crate) mod policy;
pub(crate) mod prices;
pub(crate) mod projects;
pub(crate) mod providers;
pub(crate) mod ps;
pub(crate) mod rm;
pub(crate) mod rollback;
pub(crate) mod run;
pub(crate) mod spec;
pub(crate) mod stats;
pub(crate) mod system;
pub(crate) mod templates;
pub(crate) mod tokens;
pub(crate) mod users;

use crate::Context;
use crate::arguments::Command;
use crate::failure::{Failure, Outcome};

pub(crate) const NO_INSTANCE: &str = "`ryokan ps` lists yours";

pub(crate) async fn run(command: Command, cx: &Context) -> Outcome {
    match command {
        Command::Server(_) => Err(Failure::new("the server is started before any client command")),
        Command::Login(command) => Box::pin(command.run(cx)).await,
        Command::Logout(command) => Box::pin(command.run(cx)).await,
        Command::Run(command) => Box::pin(command.run(cx)).await,
        Command::Init(command) => command.run(cx),
        Command::Deploy(command) => Box::pin(command.run(cx)).await,
        Command::Deployments(command) => Box::pin(command.run(cx)).await,
        Command::Rollback(command) => Box::pin(command.run(cx)).await,
        Command::Domains(command) => Box::pin(command.run(cx)).await,
        Command::Credentials(command) => Box::pin(command.run(cx)).await,
        Command::Ps(command) => Box::pin(command.run(cx)).await,
        Command::Inspect(command) => Box::pin(command.run(cx)).await,
        Command::Logs(command) => Box::pin(command.run(cx)).await,
        Command::Exec(command) => Box::pin(command.run(cx)).await,
        Command::Cp(command) => Box::pin(command.run(cx)).await,
        Command::Stats(command) => Box::pin(command.run(cx)).await,
        Command::Stop(command) => Box::pin(command.run(cx)).await,
        Command::Start(command) => Box::pin(command.run(cx)).await,
        Command::Restart(command) => Box::pin(command.run(cx)).await,
        Command::Update(command) => Box::pin(command.run(cx)).await,
        Command::Rm(command) => Box::pin(command.run(cx)).await,
        Command::Open(command) => Box::pin(command.run(cx)).await,
        Command::Templates(command) => Box::pin(command.run(cx)).await,
        Command::Users(command) => Box::pin(command.run(cx)).await,
        Command::Tokens(command) => Box::pin(command.run(cx)).await,
        Command::Projects(command) => Box::pin(command.run(cx)).await,
        Command::Ledger(command) => Box::pin(command.run(cx)).await,
        Command::Caps(command) => Box::pin(command.run(cx)).await,
        Command::Prices(command) => Box::pin(command.run(cx)).await,
        Command::Models(command) => Box::pin(command.run(cx)).await,
        Command::Providers(command) => Box::pin(command.run(cx)).await,
        Command::Usage(command) => Box::pin(command.run(cx)).await,
        Command::Groups(command) => Box::pin(command.run(cx)).await,
        Command::Policy(command) => Box::pin(command.run(cx)).await,
        Command::Approvals(command) => Box::pin(command.run(cx)).await,
        Command::Audit(command) => Box::pin(command.run(cx)).await,
        Command::Events(command) => Box::pin(command.run(cx)).await,
        Command::System(command) => Box::pin(command.run(cx)).await,
        Command::Completion(command) => command.run(),
        Command::Version => version(cx),
    }
}

fn version(cx: &Context) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    if cx.out.json {
        return cx.out.json(&serde_json::json!({ "version": version }));
    }
    cx.out.line(format!("ryokan {version}"))
}
