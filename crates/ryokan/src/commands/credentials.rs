//! `ryokan credentials`.

use clap::Subcommand;
use ryokan_api::credential::{CreateCredential, Credential, UpdateCredential};
use ryokan_api::model::Name;
use ryokan_api::model::credential::{Binding, Kind};
use ryokan_api::model::policy::PathPattern;

use crate::Context;
use crate::environment::now;
use crate::failure::{Failure, Outcome};
use crate::output::Tone;
use crate::table::{Column, Table};
use crate::terminal;
use crate::text::age;

const NONE: &str = "`ryokan credentials ls` lists yours";

/// Keys that agents use and never see.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
An agent holds a placeholder; the value is put into its requests to the hosts that you name, and nowhere else.
Values are asked for, or read from standard input; never from arguments, which others can read.

Examples:
  ryokan credentials add github --bearer --host api.github.com --env GITHUB_TOKEN
  ryokan credentials add pypi --basic __token__ --host upload.pypi.org --stdin < token
  ryokan credentials add search --query key --host api.search.example
  ryokan credentials rotate github --stdin < new-token
  ryokan credentials disable github")]
pub(crate) struct Credentials {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List credentials
    Ls {
        /// Only of this project
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
    /// Seal a value
    Add(Box<Add>),
    /// Replace the value, from the next request on
    Rotate {
        /// Credential
        credential: String,
        /// Read the value from standard input
        #[arg(long)]
        stdin: bool,
    },
    /// Use it again
    Enable {
        /// Credential
        credential: String,
    },
    /// Cut what uses it, and refuse it from now on
    Disable {
        /// Credential
        credential: String,
    },
    /// Delete credentials with their values
    Rm {
        /// Credentials
        #[arg(required = true, value_name = "CREDENTIAL")]
        credentials: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("how").required(true))]
struct Add {
    /// Name
    name: Name,
    /// As `Authorization: Bearer`
    #[arg(long, group = "how")]
    bearer: bool,
    /// As the password of this user (Basic authentication; Git over HTTPS)
    #[arg(long, group = "how", value_name = "USER")]
    basic: Option<String>,
    /// As this header
    #[arg(long, group = "how", value_name = "NAME")]
    header: Option<String>,
    /// As this parameter of the query
    #[arg(long, group = "how", value_name = "NAME")]
    query: Option<String>,
    /// Wherever its placeholder stands in headers and query
    #[arg(long, group = "how")]
    placeholder: bool,
    /// The same, and in bodies
    #[arg(long, group = "how")]
    placeholder_in_body: bool,
    /// As the secret of this OAuth client (client credentials)
    #[arg(long, group = "how", value_name = "CLIENT_ID", requires = "token_url")]
    oauth_client: Option<String>,
    /// Where that client gets its access tokens
    #[arg(long, value_name = "URL", requires = "oauth_client")]
    token_url: Option<String>,
    /// Which it asks for
    #[arg(long, value_name = "SCOPES", requires = "oauth_client")]
    scope: Option<String>,
    /// As the secret of this AWS access key (Signature Version 4)
    #[arg(long, group = "how", value_name = "ACCESS_KEY_ID")]
    aws: Option<String>,
    /// What comes before the value in the header, as in "Token "
    #[arg(long, requires = "header", value_name = "TEXT")]
    prefix: Option<String>,
    /// Where it may go: host, *.domain, host:port; repeatable
    #[arg(long = "host", required = true, value_name = "HOST")]
    hosts: Vec<Binding>,
    /// Only with this method; repeatable
    #[arg(long = "method", value_name = "METHOD")]
    methods: Vec<String>,
    /// Only to paths like this one, as in /repos/**; repeatable
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<PathPattern>,
    /// Only for this instance; repeatable
    #[arg(long = "instance", value_name = "INSTANCE")]
    instances: Vec<Name>,
    /// The variable that gives instances its placeholder
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// The project that it is for
    #[arg(long, value_name = "PROJECT", conflicts_with = "system")]
    project: Option<String>,
    /// For all projects; operators only
    #[arg(long)]
    system: bool,
    /// Read the value from standard input
    #[arg(long)]
    stdin: bool,
}

impl Credentials {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let client = cx.client()?;
        let missing = |e| Failure::from(e).missing(NONE);
        let update = async |credential: &str, request: UpdateCredential| {
            client.update_credential(credential, &request).await.map_err(missing)
        };
        let changed = match self.action {
            Action::Ls { project } => return list(cx, client.credentials(project.as_deref()).await?),
            Action::Add(add) => client.create_credential(&add.request().await?).await?,
            Action::Rotate { credential, stdin } => {
                let value = Some(value(stdin).await?);
                update(&credential, UpdateCredential { value, ..UpdateCredential::default() }).await?
            }
            Action::Enable { credential } => {
                update(&credential, UpdateCredential { enabled: Some(true), ..UpdateCredential::default() })
                    .await?
            }
            Action::Disable { credential } => {
                update(&credential, UpdateCredential { enabled: Some(false), ..UpdateCredential::default() })
                    .await?
            }
            Action::Rm { credentials } => {
                for credential in credentials {
                    client.delete_credential(&credential).await.map_err(missing)?;
                    cx.out.note(format!("{credential} is deleted."));
                }
                return Ok(());
            }
        };
        if cx.out.json {
            return cx.out.json(&changed);
        }
        cx.out.line(changed.placeholder)
    }
}

impl Add {
    async fn request(self) -> Outcome<CreateCredential> {
        let kind = if self.bearer {
            Kind::Bearer
        } else if let Some(username) = self.basic {
            Kind::Basic { username }
        } else if let Some(name) = self.header {
            Kind::Header { name, prefix: self.prefix.unwrap_or_default() }
        } else if let Some(name) = self.query {
            Kind::Query { name }
        } else if let Some(client_id) = self.oauth_client {
            let scope = self.scope.unwrap_or_default();
            Kind::OauthClient { token_url: self.token_url.unwrap_or_default(), client_id, scope }
        } else if let Some(access_key_id) = self.aws {
            Kind::AwsSigv4 { access_key_id }
        } else {
            Kind::Placeholder { body: self.placeholder_in_body }
        };
        Ok(CreateCredential {
            name: self.name,
            project: self.project,
            system: self.system,
            kind,
            hosts: self.hosts,
            methods: self.methods,
            paths: self.paths,
            instances: self.instances,
            env: self.env,
            value: value(self.stdin).await?,
        })
    }
}

async fn value(stdin: bool) -> Outcome<String> {
    Ok(terminal::secret("Value:", stdin, "--stdin").await?.expose().to_owned())
}

fn list(cx: &Context, credentials: Vec<Credential>) -> Outcome {
    if cx.out.json {
        return cx.out.json_list(credentials);
    }
    let now = now();
    let mut table =
        Table::new(&cx.out, &["NAME", "PROJECT", "KIND", "HOSTS", "VARIABLE", "STATE", "VALUE OF", "USED"]);
    for one in credentials {
        let state = if one.enabled { Column::new("on", Tone::Good) } else { Column::new("off", Tone::Bad) };
        let hosts: Vec<String> = one.hosts.iter().map(ToString::to_string).collect();
        table.row([
            Column::from(one.name.to_string()),
            one.project.unwrap_or_else(|| "all".to_owned()).into(),
            one.kind.as_str().into(),
            hosts.join(", ").into(),
            one.env.unwrap_or_default().into(),
            state,
            age(one.rotated_at, now).into(),
            one.last_used_at.map_or_else(|| "never".to_owned(), |at| age(at, now)).into(),
        ]);
    }
    table.print(&cx.out)
}
