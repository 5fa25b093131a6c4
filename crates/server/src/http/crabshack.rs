//! Crabshack's calls, exactly as its README shows them: a thin router over the same use cases, in its old shapes.
//! Bearer tokens; errors are one readable message; operations answer with SSE.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use ryokan_app::Error;
use ryokan_app::identity::tokens::NewToken;
use ryokan_app::identity::users::NewUser;
use ryokan_app::instances::delete::DeleteOptions;
use ryokan_app::instances::follow::Goal;
use ryokan_model::permission::{Caller, Scope};
use ryokan_model::request::InstanceRequest;
use ryokan_model::{Name, Secret};
use ryokan_ports::runtime::LogOptions;
use ryokan_store::instances::Instance as Row;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Context;
use super::auth::Auth;
use super::error::{ApiError, advise, classify, log};
use super::extract::{Body, Query, idempotency_key};
use super::instances::url;
use super::stream::{event, progress};

/// An error in the old shape.
struct OldError(Error);

impl<E: Into<Error>> From<E> for OldError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for OldError {
    fn into_response(self) -> Response {
        log(&self.0);
        let mut response = (classify(&self.0).0, Json(json!({"error": self.0.to_string()}))).into_response();
        advise(&self.0, &mut response);
        response
    }
}

type Answer<T = Response> = Result<T, OldError>;

/// A body whose refusal has the old shape.
struct OldBody<T>(T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> axum::extract::FromRequest<S> for OldBody<T> {
    type Rejection = OldError;
    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, OldError> {
        Body::from_request(request, state)
            .await
            .map(|Body(value)| Self(value))
            .map_err(|ApiError(e)| OldError(e))
    }
}

/// A query string whose refusal has the old shape.
struct OldQuery<T>(T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> axum::extract::FromRequestParts<S> for OldQuery<T> {
    type Rejection = OldError;
    async fn from_request_parts(parts: &mut http::request::Parts, state: &S) -> Result<Self, OldError> {
        Query::from_request_parts(parts, state)
            .await
            .map(|Query(value)| Self(value))
            .map_err(|ApiError(e)| OldError(e))
    }
}

/// A caller whose refusal has the old shape.
struct OldAuth(Caller);

impl axum::extract::FromRequestParts<Context> for OldAuth {
    type Rejection = OldError;
    async fn from_request_parts(
        parts: &mut http::request::Parts,
        context: &Context,
    ) -> Result<Self, OldError> {
        Auth::from_request_parts(parts, context)
            .await
            .map(|Auth(caller)| Self(caller))
            .map_err(|ApiError(e)| OldError(e))
    }
}

pub(super) fn router() -> Router<Context> {
    Router::new()
        .route("/instances", post(create).get(list))
        .route("/instances/{name}", get(details).delete(delete))
        .route("/instances/{name}/stop", post(stop))
        .route("/instances/{name}/start", post(start))
        .route("/instances/{name}/restart", post(restart))
        .route("/instances/{name}/logs", get(logs))
        .route("/instances/{name}/stats", get(stats))
        .route("/instances/{name}/ssh", get(not_yet))
        .route("/instances/{name}/backup", post(not_yet))
        .route("/instances/{name}/backups", get(not_yet))
        .route("/instances/{name}/restore/{snapshot}", post(not_yet))
        .route("/users", post(create_user).get(list_users))
        .route("/users/{id}", get(get_user))
        .route("/tokens", post(create_token))
        .route("/nodes", get(nodes))
}

/// SSH and backups come with a later step; an honest answer until then. The instance is looked up first, so that
/// nobody learns of somebody else's.
async fn not_yet(
    State(context): State<Context>,
    OldAuth(caller): OldAuth,
    Path(path): Path<Vec<(String, String)>>,
) -> Answer {
    let name = path.iter().find(|(key, _)| key == "name").map_or("", |(_, value)| value);
    context.app.find_instance(&caller, Scope::Read, name).await?;
    Err(Error::NotImplemented("SSH and backups are not available in this version".into()).into())
}

#[derive(Deserialize, serde::Serialize)]
struct Create {
    service_type: Option<String>,
    image: Option<String>,
    mem_limit: Option<String>,
    cpus: Option<Value>,
    nearai_api_key: Option<String>,
    nearai_api_url: Option<String>,
    ssh_pubkey: Option<String>,
    storage_size: Option<String>,
    name: Option<String>,
}

impl Create {
    /// As the README's body, or an error that lists all that is missing.
    fn into_request(self) -> Result<InstanceRequest, Error> {
        let given = [
            ("service_type", self.service_type.is_some()),
            ("image", self.image.is_some()),
            ("mem_limit", self.mem_limit.is_some()),
            ("cpus", self.cpus.is_some()),
            ("nearai_api_key", self.nearai_api_key.is_some()),
            ("nearai_api_url", self.nearai_api_url.is_some()),
        ];
        let missing: Vec<&str> = given.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
        if !missing.is_empty() {
            return Err(Error::invalid("", format!("missing required fields: {}", missing.join(", "))));
        }
        let under = |field: &'static str| move |e: ryokan_model::Invalid| Error::invalid(field, e.problem);
        let cpus = match self.cpus.unwrap_or_default() {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            _ => return Err(Error::invalid("cpus", "must be a number or text such as \"1\"")),
        };
        if let Some(size) = &self.storage_size {
            // Checked, so that nobody believes in a limit that was never read; disks are not limited in this version.
            size.parse::<ryokan_model::quantity::Bytes>().map_err(under("storage_size"))?;
        }
        let mut request = InstanceRequest {
            name: self.name.map(|n| n.parse::<Name>()).transpose().map_err(under("name"))?,
            template: Some(
                template_of(self.service_type.unwrap_or_default()).parse().map_err(under("service_type"))?,
            ),
            image: Some(self.image.unwrap_or_default().parse().map_err(under("image"))?),
            memory: Some(self.mem_limit.unwrap_or_default().parse().map_err(under("mem_limit"))?),
            cpus: Some(cpus.parse().map_err(under("cpus"))?),
            ..InstanceRequest::default()
        };
        request
            .secret_env
            .insert("NEARAI_API_KEY".into(), Some(Secret::new(self.nearai_api_key.unwrap_or_default())));
        request.env.insert("NEARAI_API_URL".into(), self.nearai_api_url);
        if let Some(key) = self.ssh_pubkey {
            request.env.insert("SSH_PUBKEY".into(), Some(key));
        }
        Ok(request)
    }
}

async fn create(
    State(context): State<Context>,
    OldAuth(caller): OldAuth,
    headers: http::HeaderMap,
    OldBody(body): OldBody<Create>,
) -> Answer {
    let mut key = idempotency_key(&headers)?;
    if let Some(key) = &mut key {
        key.asked = Some(serde_json::to_string(&body).map_err(|e| Error::Internal(e.into()))?);
    }
    let mut request = body.into_request()?;
    // Our own tiny agent and others with a fixed image ignore the one that the old body must have.
    if let Some(name) = &request.template
        && let Ok(template) = context.app.get_template(name.as_str()).await
    {
        if template.image == ryokan_model::template::ImageChoice::Fixed {
            request.image = None;
        }
        if let Some(ssh) = template.spec.ports.iter().find(|p| p.name == "ssh") {
            request.env.insert("SSH_PORT".into(), Some(ssh.port.to_string()));
        }
        if template.spec.ports.is_empty() {
            // What its gateway expects of an image that says nothing itself.
            request.ports = Some(vec![ryokan_model::spec::Port {
                name: "gateway".into(),
                port: 3000,
                protocol: ryokan_model::spec::Protocol::Http,
            }]);
        }
    }
    // Chosen here, since the agent is told its name.
    let name = request.name.take().unwrap_or_else(|| Name::generated(context.app.nonce()));
    request.env.insert("INSTANCE_NAME".into(), Some(name.to_string()));
    request.name = Some(name);
    request.env.insert("GATEWAY_PORT".into(), Some("3000".into()));
    request
        .secret_env
        .insert(ryokan_app::instances::INSTANCE_TOKEN.into(), Some(context.app.random_secret()));
    let row = context.app.create_instance(&caller, request, key).await.map_err(in_old_words)?;
    let first = event("created", &json!({"name": row.name}));
    Ok(progress(&context, &row, Goal::Ready, Some(first), url))
}

/// The fields that it calls otherwise.
fn in_old_words(error: Error) -> Error {
    let Error::Invalid(mut invalid) = error else { return error };
    invalid.field = match invalid.field.as_str() {
        "template" => "service_type".to_owned(),
        "memory" => "mem_limit".to_owned(),
        _ => invalid.field,
    };
    Error::Invalid(invalid)
}

/// Its service types are images of its own with ports of its own; our templates of those names are something else.
const SERVICE_TYPES: [&str; 3] = ["openclaw", "ironclaw", "ironclaw-dind"];
const PREFIX: &str = "crabshack-";

fn template_of(service_type: String) -> String {
    if SERVICE_TYPES.contains(&service_type.as_str()) {
        format!("{PREFIX}{service_type}")
    } else {
        service_type
    }
}

fn shape(row: &Row) -> Value {
    json!({
        "name": row.name, "service_type": row.template.strip_prefix(PREFIX).unwrap_or(&row.template), "image": row.spec.image, "status": row.state, "state": row.state,
        "mem_limit": row.spec.resources.memory, "cpus": row.spec.resources.cpus, "message": row.message, "created_at": row.created_at.to_string(),
    })
}

async fn list(State(context): State<Context>, OldAuth(caller): OldAuth) -> Answer<Json<Value>> {
    let page = context.app.list_instances(&caller, None, None, None, 10_000).await?;
    Ok(Json(Value::Array(page.items.iter().map(shape).collect())))
}

async fn details(
    State(context): State<Context>,
    OldAuth(caller): OldAuth,
    Path(name): Path<String>,
) -> Answer<Json<Value>> {
    let row = context.app.find_instance(&caller, Scope::Read, &name).await?;
    let mut body = shape(&row);
    // The live address of each port; the first is the gateway's.
    let ports: Vec<Value> = row
        .spec
        .ports
        .iter()
        .filter_map(|p| {
            row.endpoints
                .get(&p.name)
                .map(|a| json!({"name": p.name, "port": p.port, "host": a.ip(), "host_port": a.port()}))
        })
        .collect();
    if let Some(first) = ports.first() {
        body["gateway"] = json!({"host": first["host"], "port": first["host_port"]});
    }
    body["ports"] = Value::Array(ports);
    if let Some(token) = context.app.instance_token(&caller, &row).await? {
        body["token"] = token.expose().into();
    }
    body["url"] = url(&context, &row).into();
    body["node"] = "local".into();
    Ok(Json(body))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteQuery {
    /// `false` keeps the volumes.
    purge: Option<bool>,
}

async fn delete(
    State(context): State<Context>,
    OldAuth(caller): OldAuth,
    Path(name): Path<String>,
    OldQuery(query): OldQuery<DeleteQuery>,
) -> Answer {
    let options = DeleteOptions { force: false, keep_volumes: query.purge == Some(false) };
    let row = context.app.delete_instance(&caller, &name, options).await?;
    Ok(progress(&context, &row, Goal::Deleted, None, url))
}

async fn stop(State(context): State<Context>, OldAuth(caller): OldAuth, Path(name): Path<String>) -> Answer {
    let row = context.app.stop_instance(&caller, &name).await?;
    Ok(progress(&context, &row, Goal::Stopped, None, url))
}

async fn start(State(context): State<Context>, OldAuth(caller): OldAuth, Path(name): Path<String>) -> Answer {
    let row = context.app.start_instance(&caller, &name).await?;
    Ok(progress(&context, &row, Goal::Ready, None, url))
}

#[derive(Deserialize, Default)]
struct Restart {
    /// Upgrades in place.
    image: Option<String>,
}

async fn restart(
    State(context): State<Context>,
    OldAuth(caller): OldAuth,
    Path(name): Path<String>,
    OldBody(body): OldBody<Restart>,
) -> Answer {
    let row = match body.image {
        Some(image) => {
            let image =
                image.parse().map_err(|e: ryokan_model::Invalid| Error::invalid("image", e.problem))?;
            context
                .app
                .update_instance(
                    &caller,
                    &name,
                    InstanceRequest { image: Some(image), ..InstanceRequest::default() },
                )
                .await?
        }
        None => context.app.restart_instance(&caller, &name).await?,
    };
    Ok(progress(&context, &row, Goal::Ready, None, url))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogsQuery {
    tail: Option<u64>,
    follow: Option<bool>,
}

async fn logs(
    State(context): State<Context>,
    OldAuth(caller): OldAuth,
    Path(name): Path<String>,
    OldQuery(query): OldQuery<LogsQuery>,
) -> Answer {
    use futures_util::StreamExt as _;
    let options = LogOptions {
        follow: query.follow == Some(true),
        tail: Some(query.tail.unwrap_or(100)),
        ..LogOptions::default()
    };
    let mut lines = context.app.instance_logs(&caller, &name, options).await?;
    if query.follow == Some(true) {
        let lines = lines
            .filter_map(|line| std::future::ready(line.ok()))
            .map(|line| event("log", &json!({"line": line.text})));
        return Ok(super::stream::sse(crate::ports::until_stop(lines, context.stop.clone())));
    }
    let mut text = String::new();
    while let Some(line) = lines.next().await {
        text.push_str(&line?.text);
        text.push('\n');
    }
    Ok(Json(json!({"name": name, "logs": text})).into_response())
}

async fn stats(state: State<Context>, OldAuth(caller): OldAuth, path: Path<String>) -> Response {
    super::instances::stats::stats(state, Auth(caller), http::HeaderMap::new(), path)
        .await
        .map_err(|ApiError(e)| OldError(e))
        .into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOldUser {
    id: String,
    name: Option<String>,
}

fn user_shape(user: &ryokan_store::users::User) -> Value {
    json!({"id": user.login, "name": user.name, "created_at": user.created_at.to_string()})
}

async fn create_user(
    State(context): State<Context>,
    OldAuth(caller): OldAuth,
    headers: http::HeaderMap,
    OldBody(body): OldBody<NewOldUser>,
) -> Answer {
    let new = NewUser { login: body.id, name: body.name, ..NewUser::default() };
    let user = context.app.create_user(&caller, new, idempotency_key(&headers)?).await?;
    Ok((StatusCode::CREATED, Json(user_shape(&user))).into_response())
}

async fn list_users(State(context): State<Context>, OldAuth(caller): OldAuth) -> Answer<Json<Value>> {
    let page = context.app.list_users(&caller, None, 500).await?;
    Ok(Json(Value::Array(page.items.iter().map(user_shape).collect())))
}

async fn get_user(
    State(context): State<Context>,
    OldAuth(caller): OldAuth,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    Ok(Json(user_shape(&context.app.get_user(&caller, &id).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOldToken {
    user_id: String,
    label: Option<String>,
}

async fn create_token(
    State(context): State<Context>,
    OldAuth(caller): OldAuth,
    headers: http::HeaderMap,
    OldBody(body): OldBody<NewOldToken>,
) -> Answer {
    if !caller.is_operator() {
        return Err(Error::operators_only().into());
    }
    let new = NewToken {
        label: body.label.clone().unwrap_or_else(|| "token".into()),
        scope: Scope::Admin,
        project: None,
        expires_in: None,
        user: Some(body.user_id.clone()),
    };
    let (token, secret) = context.app.create_token(&caller, new, idempotency_key(&headers)?).await?;
    let answer =
        json!({"token": secret.expose(), "id": token.id, "user_id": body.user_id, "label": token.label});
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

async fn nodes(State(context): State<Context>, OldAuth(caller): OldAuth) -> Answer<Json<Value>> {
    if !caller.is_operator() {
        return Err(Error::operators_only().into());
    }
    let info = context.app.engine_info().await;
    let node = match &info {
        Ok(info) => json!({
            "id": "local", "hostname": "local", "status": "ready", "datacenter": "local", "drain": false,
            "sysbox_available": info.isolations.iter().any(|i| i == "sysbox-runc"), "engine": info.engine, "version": info.version,
            "reach": info.reach.as_str(),
        }),
        Err(error) => {
            json!({"id": "local", "hostname": "local", "status": "down", "datacenter": "local", "drain": false, "sysbox_available": false, "message": error.to_string()})
        }
    };
    Ok(Json(json!([node])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_fields_are_listed() {
        let body: Create = serde_json::from_str(r#"{"service_type":"hello","image":"x"}"#).unwrap();
        let text = body.into_request().unwrap_err().to_string();
        assert!(text.ends_with("mem_limit, cpus, nearai_api_key, nearai_api_url"), "{text}");
    }

    #[test]
    fn the_readme_s_body_is_understood() {
        let body: Create = serde_json::from_str(
            r#"{"service_type":"ironclaw-dind","image":"nearaidev/ironclaw-nearai-worker:latest","mem_limit":"2G","cpus":"1",
                "nearai_api_key":"k","nearai_api_url":"https://api.near.ai","ssh_pubkey":"ssh-ed25519 AAAA..."}"#,
        )
        .unwrap();
        let request = body.into_request().unwrap();
        assert_eq!(request.memory.unwrap().get(), 2_000_000_000);
        assert!(!format!("{request:?}").contains("\"k\""), "the key is a secret");
    }
}
