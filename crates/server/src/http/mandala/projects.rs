//! Projects, their settings, and what runs for them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use ryokan_app::Error;
use ryokan_app::projects::{NewProject, ProjectChanges};
use ryokan_model::instance::State as Life;
use ryokan_model::permission::Scope;
use ryokan_model::project::Network;
use ryokan_model::{Name, Secret};
use ryokan_store::instances::Instance;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Known, MandalaResult, Old, Workloads, host, project_id, time};
use crate::http::Context;

/// How often a free name is looked for.
const TRIES: usize = 4;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Create {
    name: Option<String>,
    network: Option<String>,
    private_key: Option<String>,
    #[serde(default)]
    requires_blockchain_funding: bool,
}

/// What of a free text can be a name.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.to_ascii_lowercase().chars().take(40) {
        match c {
            'a'..='z' | '0'..='9' => slug.push(c),
            _ if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
    }
    slug.truncate(24);
    slug.trim_matches('-').to_owned()
}

pub(super) async fn create(
    State(context): State<Context>,
    Known(caller): Known,
    Old(request): Old<Create>,
) -> MandalaResult<Json<Value>> {
    let network =
        if request.network.as_deref() == Some("testnet") { Network::Testnet } else { Network::Mainnet };
    if request.private_key.as_ref().is_some_and(|key| {
        key.len() != 64 || !key.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    }) {
        return Err(Error::invalid("privateKey", "must be 64 lower-case hexadecimal digits").into());
    }
    let wanted = request.name.as_deref().map(slug).filter(|name| !name.is_empty());
    let mut last = Error::internal("no name was tried");
    for attempt in 0..TRIES {
        let random = context.app.nonce::<4>();
        let name = match &wanted {
            Some(name) if attempt == 0 => name.parse(),
            Some(name) => format!("{name}-{:02x}{:02x}", random[0], random[1]).parse(),
            None => Ok(Name::generated(random)),
        };
        let name: Name = name.map_err(|e: ryokan_model::Invalid| Error::invalid("name", e.problem))?;
        let new = NewProject {
            name,
            network,
            funding: request.requires_blockchain_funding,
            agent_key: request.private_key.clone().map(Secret::new),
        };
        match context.app.create_project(&caller, new, None).await {
            Ok(project) => {
                let message = format!("Project {} created", project.name);
                return Ok(Json(
                    json!({"projectId": project_id(project.id), "name": project.name, "message": message}),
                ));
            }
            Err(error @ Error::Conflict(_)) => last = error,
            Err(error) => return Err(error.into()),
        }
    }
    Err(last.into())
}

pub(super) async fn list(State(context): State<Context>, Known(caller): Known) -> MandalaResult<Json<Value>> {
    let mut projects = Vec::new();
    for project in context.app.list_projects(&caller).await? {
        let id = project.id.to_string();
        // An operator sees all; these clients want their own.
        if !caller.projects.contains_key(&project.id) {
            continue;
        }
        let balance = context.app.balance(&caller, &id).await?.balance;
        projects.push(json!({"id": project_id(project.id), "name": project.name, "network": project.network,
            "balance": balance.to_string(), "created_at": time(project.created_at)}));
    }
    Ok(Json(json!({ "projects": projects })))
}

fn live(row: &Instance) -> bool {
    matches!(row.state, Life::Ready | Life::Unhealthy)
}

pub(super) async fn info(
    State(context): State<Context>,
    Known(caller): Known,
    Path(id): Path<String>,
) -> MandalaResult<Json<Value>> {
    let app = &context.app;
    let (project, workloads) = Workloads::find(app, &caller, Scope::Read, &id).await?;
    let balance = app.balance(&caller, &id).await?.balance;
    let env = app.get_project_env(&caller, &id).await?;
    let last = app.list_deployments(&caller, &id, None, 1).await?.items.into_iter().next();
    let domain = |row: &Option<Instance>| row.as_ref().map(|row| host(app, row.name.as_str()));
    let (agent, frontend) = (domain(&workloads.agent), domain(&workloads.frontend));
    let tls = app.settings.public_url.starts_with("https://");
    Ok(Json(json!({
        "id": project_id(project.id), "name": project.name, "network": project.network,
        "status": {
            "online": workloads.agent.as_ref().is_some_and(live),
            "lastChecked": time(app.clock.now()),
            "domains": {"agent": agent, "backend": agent, "frontend": frontend, "ssl": tls},
            "deploymentId": last.map(|row| row.id),
        },
        "databases": workloads.databases.iter().map(database).collect::<Vec<_>>(),
        "billing": {"balance": balance},
        "sslEnabled": tls,
        "customDomains": super::domains::of(app, &caller, &workloads).await?,
        "agentConfig": env.env, "webUIConfig": env.env, "secrets": names(&env),
        "requiresBlockchainFunding": project.funding,
        "agentPublicKey": project.agent_key,
    })))
}

fn database(row: &Instance) -> Value {
    json!({"type": row.addon, "name": row.name, "state": row.state, "online": live(row)})
}

fn names(env: &ryokan_app::projects::ProjectEnv) -> Vec<&str> {
    env.secrets.iter().map(|secret| secret.name.as_str()).collect()
}

pub(super) async fn delete(
    State(context): State<Context>,
    Known(caller): Known,
    Path(id): Path<String>,
) -> MandalaResult<Json<Value>> {
    context.app.delete_project(&caller, &id, true).await?;
    Ok(Json(json!({"message": "Project deleted"})))
}

/// Values of other kinds than text, as clients send them.
fn text(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

#[derive(Deserialize)]
pub(super) struct Config {
    #[serde(alias = "webUIConfig")]
    config: BTreeMap<String, Value>,
}

/// Replaces all variables.
pub(super) async fn config(
    State(context): State<Context>,
    Known(caller): Known,
    Path(id): Path<String>,
    Old(request): Old<Config>,
) -> MandalaResult<Json<Value>> {
    let env = request.config.into_iter().map(|(name, value)| (name, text(value))).collect();
    context.app.change_project_env(&caller, &id, env, true).await?;
    Ok(Json(json!({"message": "Agent configuration updated; its agents are being renewed"})))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Settings {
    #[serde(default)]
    env: BTreeMap<String, Value>,
    requires_blockchain_funding: Option<bool>,
}

/// Merges variables; `null` removes one.
pub(super) async fn settings(
    State(context): State<Context>,
    Known(caller): Known,
    Path(id): Path<String>,
    Old(request): Old<Settings>,
) -> MandalaResult<Json<Value>> {
    let app = &context.app;
    let changes = ProjectChanges { name: None, funding: request.requires_blockchain_funding };
    if changes.funding.is_some() {
        app.update_project(&caller, &id, changes).await?;
    }
    let env = request.env.into_iter().map(|(name, value)| (name, text(value))).collect();
    let env = app.change_project_env(&caller, &id, env, false).await?;
    Ok(Json(
        json!({"message": "Settings updated; the project's agents are being renewed", "agentConfig": env.env}),
    ))
}

pub(super) async fn restart(
    State(context): State<Context>,
    Known(caller): Known,
    Path(id): Path<String>,
) -> MandalaResult<Json<Value>> {
    let (_, found) = Workloads::find(&context.app, &caller, Scope::Read, &id).await?;
    if found.all().next().is_none() {
        return Err(Error::Conflict("nothing of this project runs yet; deploy first".into()).into());
    }
    for row in found.all() {
        context.app.restart_instance(&caller, &row.id.to_string()).await?;
    }
    Ok(Json(json!({"message": "Restarting"})))
}

pub(super) async fn status(
    State(context): State<Context>,
    Known(caller): Known,
    Path(id): Path<String>,
) -> MandalaResult<Json<Value>> {
    let (_, found) = Workloads::find(&context.app, &caller, Scope::Read, &id).await?;
    let pod = |row: &Instance| {
        let phase = match row.state {
            Life::Ready | Life::Unhealthy => "Running",
            Life::Failed => "Failed",
            Life::Stopped | Life::Stopping | Life::Sleeping => "Succeeded",
            _ => "Pending",
        };
        json!({"name": row.name, "phase": phase, "ready": row.state == Life::Ready, "state": row.state,
            "message": row.message, "containers": [{"name": row.name, "ready": row.state == Life::Ready}],
            "restartCount": row.crashes})
    };
    Ok(Json(json!({"pods": found.all().chain(&found.databases).map(pod).collect::<Vec<_>>()})))
}
