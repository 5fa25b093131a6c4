//! From a session of the zone to a session of one agent's host: checks who is signed in and whose the agent is, and
//! hands the browser a ticket that the gateway redeems. The zone's own cookie never leaves the zone.

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};
use ryokan_app::Error;
use ryokan_gateway::{TICKET_LIFETIME, Ticket, is_local_path, mint_ticket};
use ryokan_model::permission::Scope;
use serde::{Deserialize, Serialize};

use super::Context;
use super::auth;
use super::error::ApiResult;
use super::extract::Query;
use super::ui;

#[derive(Debug, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuthorizeQuery {
    /// Name of the instance.
    instance: String,
    /// Where the browser wanted to go, on one of the instance's own hosts.
    #[serde(rename = "return")]
    back: String,
}

/// For browsers: the gateway sends whoever has no session with an agent here.
#[utoipa::path(get, path = "/v1/gateway/authorize", tag = "gateway", params(AuthorizeQuery), responses((status = 303, description = "To the agent's host with a ticket, or to the sign-in page")))]
pub(crate) async fn authorize(
    State(context): State<Context>,
    parts: Parts,
    Query(query): Query<AuthorizeQuery>,
) -> ApiResult<Response> {
    let (authority, path) =
        split(&query.back).ok_or_else(|| Error::invalid("return", "must be a URL of the instance"))?;
    let Some((caller, session)) = auth::navigating_session(&parts, &context) else {
        let here = parts.uri.path_and_query().map_or("/", |p| p.as_str());
        return Ok(ui::to_login(here).into_response());
    };
    let row = context.app.find_instance(&caller, Scope::Read, &query.instance).await?;
    // The ticket goes only to a host of this instance: its name, `frontend-NAME`, or `PORT--NAME`, under the zone, or a
    // domain of its own.
    let name = row.name.as_str();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host).to_ascii_lowercase();
    let label = host.strip_suffix(&format!(".{}", context.app.settings.zone)).unwrap_or_default().to_owned();
    let port_host = label
        .strip_suffix(&format!("--{name}"))
        .is_some_and(|port| row.spec.ports.iter().any(|p| p.name == port));
    let under_zone = label == name || label == format!("frontend-{name}") || port_host;
    if !under_zone && !context.app.may_sign_in_at(row.id, &host).await? {
        return Err(Error::invalid("return", "is not a URL of the instance").into());
    }
    let ticket = Ticket {
        instance_id: row.id.to_string(),
        user: caller.user.to_string(),
        session: session.to_string(),
        host: host.clone(),
    };
    let now = std::time::SystemTime::UNIX_EPOCH
        + std::time::Duration::from_millis(u64::try_from(context.app.clock.now().0).unwrap_or(0));
    let nonce = context.app.issue_ticket(&caller, TICKET_LIFETIME).await?;
    let ticket = mint_ticket(&context.key, &ticket, nonce, now);
    let back: String = form_urlencoded::byte_serialize(path.as_bytes()).collect();
    let origin = context.app.settings.origin_of(&host);
    let target = format!("{origin}/.ryokan/session?ticket={ticket}&return={back}");
    Ok(Redirect::to(&target).into_response())
}

/// Authority and local path of an absolute URL.
fn split(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let path = if path.is_empty() { "/" } else { path };
    (!authority.is_empty() && !authority.contains('@') && is_local_path(path)).then_some((authority, path))
}
