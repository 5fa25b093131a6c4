//! The old shapes: errors as `{error}`, ids as 32 hexadecimal digits, times as RFC 3339.

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ryokan_app::{App, Error};
use ryokan_model::permission::{Caller, Scope};
use ryokan_model::{Millis, Name, ProjectId};
use ryokan_store::instances::Instance;
use ryokan_store::projects::Project;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::http::Context;
use crate::http::auth::Auth;
use crate::http::error::{classify, problem};
use crate::http::extract::Body;

pub(super) type MandalaResult<T> = Result<T, MandalaError>;

/// An error that its clients can show: they read `error`, some `description`.
pub(super) struct MandalaError(Error);

impl<E: Into<Error>> From<E> for MandalaError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for MandalaError {
    fn into_response(self) -> Response {
        let (status, code) = classify(&self.0);
        let code = if status == StatusCode::UNAUTHORIZED { "UNAUTHORIZED" } else { code };
        if status == StatusCode::INTERNAL_SERVER_ERROR || status == StatusCode::SERVICE_UNAVAILABLE {
            crate::http::error::log(&self.0);
        }
        let problem = problem(&self.0);
        let text = match &problem.field {
            Some(field) if !field.is_empty() => format!("{field}: {}", problem.detail),
            _ => problem.detail.clone(),
        };
        let body = json!({"status": "error", "code": code, "error": text, "description": text,
            "request_id": problem.request_id});
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A body, refused in the old shape.
pub(super) struct Old<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Old<T> {
    type Rejection = MandalaError;

    async fn from_request(request: Request, state: &S) -> Result<Self, MandalaError> {
        let Body(value) = Body::from_request(request, state).await.map_err(|error| MandalaError(error.0))?;
        Ok(Self(value))
    }
}

/// Whoever calls, refused in the old shape.
pub(super) struct Known(pub(super) Caller);

impl FromRequestParts<Context> for Known {
    type Rejection = MandalaError;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, MandalaError> {
        let Auth(caller) =
            Auth::from_request_parts(parts, context).await.map_err(|error| MandalaError(error.0))?;
        Ok(Self(caller))
    }
}

pub(super) fn project_id(id: ProjectId) -> String {
    id.0.simple().to_string()
}

pub(super) fn time(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| String::new(), |time| time.to_string())
}

/// The name of the agent that the project's deployments make: the project's, and enough of its id to be nobody else's.
pub(super) fn agent_name(project: &Project) -> String {
    let id = project_id(project.id);
    let mut name: String = project.name.as_str().chars().take(22).collect();
    while name.ends_with('-') {
        name.pop();
    }
    let name = format!("{name}-{}", &id[id.len() - 6..]);
    // As of a project called `redis-cache`.
    let is_reserved = name.parse::<Name>().is_ok_and(|name| name.may_be_asked_for().is_err());
    if is_reserved { format!("a-{name}") } else { name }
}

/// What runs for a project.
#[derive(Default)]
pub(super) struct Workloads {
    pub(super) agent: Option<Instance>,
    pub(super) frontend: Option<Instance>,
    /// Beside the agent, or made for it by a deployment that did not come to the agent itself.
    pub(super) databases: Vec<Instance>,
}

impl Workloads {
    /// Those of the project that is named, in which the caller may do `need`.
    pub(super) async fn find(
        app: &App,
        caller: &Caller,
        need: Scope,
        id: &str,
    ) -> MandalaResult<(Project, Self)> {
        let project = app.find_project(caller, need, id).await?;
        let id = project.id.to_string();
        let rows = app.list_instances(caller, Some(&id), None, None, 500).await?.items;
        let wanted = agent_name(&project);
        let mut found = Self::default();
        for row in rows {
            if row.addon.is_some() {
                found.databases.push(row);
            } else if row.name.as_str().starts_with("frontend-") {
                found.frontend = Some(row);
            } else if found.agent.is_none() || row.name.as_str() == wanted {
                found.agent = Some(row);
            }
        }
        let agent = found.agent.as_ref().map_or(wanted, |row| row.name.to_string());
        found.databases.retain(|row| row.addon.is_some_and(|addon| row.name.beside(addon).as_str() == agent));
        Ok((project, found))
    }

    /// By the names that clients use. `backend` is what the first of them called the agent.
    pub(super) fn named(&self, resource: &str) -> Option<&Instance> {
        match resource {
            "agent" | "backend" => self.agent.as_ref(),
            "frontend" => self.frontend.as_ref(),
            other => self.databases.iter().find(|row| row.addon.is_some_and(|addon| addon.as_str() == other)),
        }
    }

    /// What was deployed, without its databases.
    pub(super) fn all(&self) -> impl Iterator<Item = &Instance> {
        self.agent.iter().chain(&self.frontend)
    }
}

/// `NAME.ZONE[:port]`, as those clients print addresses.
pub(super) fn host(app: &App, name: &str) -> String {
    let url = app.settings.agent_origin(name);
    url.split_once("://").map_or(url.clone(), |(_, host)| host.to_owned())
}
