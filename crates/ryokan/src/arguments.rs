//! The command line: what there is to say. Each command's own arguments are with the command.

use std::path::PathBuf;

use clap::builder::styling::Styles;
use clap::{Parser, Subcommand, ValueEnum};

use crate::{commands, server};

const AFTER_HELP: &str = "\
Exit codes:
  0  done                          4  not found
  1  failed                        5  conflict
  2  wrong usage, refused value    6  server unreachable
  3  not signed in, or refused     7  took too long
  `exec` ends with the command's own code; an interruption with 130.

Environment:
  RYOKAN_URL       address of the server [else CRABSHACK_API_URL]
  RYOKAN_TOKEN     token to sign in with [else CRABSHACK_ADMIN_SECRET]
  RYOKAN_DATA_DIR  data folder of a server on this machine, whose operator login is used when there is no other
  NO_COLOR         no colours";

/// A self-hosted cloud for AI agents.
#[derive(Debug, Parser)]
#[command(name = "ryokan", version, after_help = AFTER_HELP, styles = Styles::plain(), max_term_width = 110)]
#[command(disable_help_subcommand = true, propagate_version = false)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) globals: Globals,
}

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// Address of the server, as in `http://127.0.0.1:7700`
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// File that holds the token to sign in with
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Data as JSON, as the API gives it; one document a line where it streams
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing but data and errors
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
    /// Colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: When,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server
    Server(server::Arguments),
    /// Sign in to a server and remember it
    Login(commands::login::Login),
    /// Forget the server
    Logout(commands::login::Logout),
    /// Create an instance and wait until it answers
    Run(commands::run::Run),
    /// Write an agent-manifest.json for a folder
    Init(commands::init::Init),
    /// Build a folder on a server and run it as an agent
    Deploy(commands::deploy::Deploy),
    /// What was deployed
    Deployments(commands::deployments::Deployments),
    /// Go back to an earlier revision of an instance
    Rollback(commands::rollback::Rollback),
    /// Domains of your own that lead to an instance
    Domains(commands::domains::Domains),
    /// Keys that agents use and never see
    Credentials(commands::credentials::Credentials),
    /// List instances
    Ps(commands::ps::Ps),
    /// Show all about an instance
    Inspect(commands::inspect::Inspect),
    /// Show the output of an instance
    Logs(commands::logs::Logs),
    /// Run a command inside an instance
    Exec(commands::exec::Exec),
    /// Copy a file into or out of an instance
    Cp(commands::cp::Cp),
    /// Show what instances use
    Stats(commands::stats::Stats),
    /// Stop instances; their disks stay
    Stop(commands::lifecycle::Stop),
    /// Start stopped instances
    Start(commands::lifecycle::Start),
    /// Stop and start instances
    Restart(commands::lifecycle::Restart),
    /// Change an instance in place
    Update(commands::run::Update),
    /// Delete instances with their disks
    Rm(commands::rm::Rm),
    /// Open an instance, or the dashboard, in the browser
    Open(commands::open::Open),
    /// Recipes for instances
    Templates(commands::templates::Templates),
    /// Accounts
    Users(commands::users::Users),
    /// API tokens
    Tokens(commands::tokens::Tokens),
    /// What owns instances
    Projects(commands::projects::Projects),
    /// What projects have, owe and get
    Ledger(commands::ledger::Ledger),
    /// The most that projects and instances may spend
    Caps(commands::caps::Caps),
    /// What projects pay
    Prices(commands::prices::Prices),
    /// Models: names, spending, budgets, the switch that stops all calls
    Models(commands::models::Models),
    /// Who answers calls of models
    Providers(commands::providers::Providers),
    /// Show what a project used
    Usage(commands::ledger::Usage),
    /// Accounts that are given roles in projects together
    Groups(commands::groups::Groups),
    /// Who may do what
    Policy(commands::policy::Policy),
    /// What agents ask people for
    Approvals(commands::approvals::Approvals),
    /// What was decided, and why
    Audit(commands::audit::Audit),
    /// What happened
    Events(commands::events::Events),
    /// The server's state, for operators
    System(commands::system::System),
    /// Print a completion script
    Completion(commands::completion::Completion),
    /// Print the version
    Version,
}
