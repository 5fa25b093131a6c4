//! The few pages that a browser needs until the dashboard comes: signing in, and what is here. Self-contained, no
//! scripts, no external request.

use axum::extract::{Form, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;
use ryokan_api::session::CreateSession;
use ryokan_app::Error;
use ryokan_gateway::is_local_path;
use serde::Deserialize;

use super::Context;
use super::auth;
use super::error::classify;
use super::extract::Query;
use super::instances::url;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:10vh auto;padding:0 1.2rem;color-scheme:light dark}\
h1{font-size:1.5rem}input,button{font:inherit;padding:.5rem .7rem;margin:.2rem 0 .8rem;width:100%;box-sizing:border-box}\
code{background:#8882;padding:.1rem .3rem;border-radius:.3rem}table{border-collapse:collapse;width:100%}td{padding:.3rem .6rem .3rem 0}.bad{color:#c33}";

/// Escapes text for HTML content and attributes.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{title} · ryokan</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>",
        title = escape(title)
    );
    let mut response = (status, Html(html)).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// To the sign-in page, and from there back to `path`.
pub(crate) fn to_login(path: &str) -> Redirect {
    let back: String = form_urlencoded::byte_serialize(path.as_bytes()).collect();
    Redirect::to(&format!("/login?return={back}"))
}

#[derive(Deserialize)]
pub(crate) struct LoginQuery {
    link: Option<String>,
    #[serde(rename = "return")]
    back: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct LoginForm {
    login: Option<String>,
    password: Option<String>,
    link: Option<String>,
    #[serde(rename = "return")]
    back: Option<String>,
}

fn form(back: Option<&str>, link: Option<&str>, problem: Option<&str>) -> String {
    let problem =
        problem.map_or(String::new(), |p| format!("<p class=\"bad\" role=\"alert\">{}</p>", escape(p)));
    let back = back.filter(|b| is_local_path(b)).map_or(String::new(), |b| {
        format!("<input type=\"hidden\" name=\"return\" value=\"{}\">", escape(b))
    });
    match link {
        // Following a link must not use it up: previews and scanners follow links, too.
        Some(link) => format!(
            "<h1>Welcome to ryokan</h1>{problem}<p>This link signs you in once.</p><form method=\"post\" action=\"/login\"><input type=\"hidden\" name=\"link\" value=\"{}\">{back}<button autofocus>Sign in</button></form>",
            escape(link)
        ),
        None => format!(
            "<h1>Sign in</h1>{problem}<form method=\"post\" action=\"/login\"><label>Login<input name=\"login\" autocomplete=\"username\" autofocus required></label><label>Password<input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label>{back}<button>Sign in</button></form><p>No password yet? An operator makes a one-time link with <code>ryokan users login-link NAME</code>.</p>"
        ),
    }
}

/// `GET /login`.
pub(crate) async fn login(Query(query): Query<LoginQuery>) -> Response {
    page(StatusCode::OK, "Sign in", &form(query.back.as_deref(), query.link.as_deref(), None))
}

/// `POST /login`.
pub(crate) async fn sign_in(
    State(context): State<Context>,
    parts: Parts,
    jar: CookieJar,
    Form(request): Form<LoginForm>,
) -> Response {
    // A page elsewhere must not sign a browser in as somebody else.
    let foreign = parts.headers.get("sec-fetch-site").is_some_and(|v| v != "same-origin" && v != "none");
    let outcome = if foreign {
        Err(Error::Forbidden("sign in from this page, not from another site".into()))
    } else {
        let request = CreateSession { login: request.login, password: request.password, link: request.link };
        super::sessions::sign_in(&context, &parts, request).await
    };
    match outcome {
        Ok(session) => {
            let cookie = auth::session_cookie(&session.secret, auth::secure(&parts));
            let back = request.back.filter(|b| is_local_path(b)).unwrap_or_else(|| "/".to_owned());
            (jar.add(cookie), Redirect::to(&back)).into_response()
        }
        Err(error) => {
            super::error::log(&error);
            page(
                classify(&error).0,
                "Sign in",
                &form(request.back.as_deref(), None, Some(&error.to_string())),
            )
        }
    }
}

/// `GET /`: what is here, for whoever is signed in.
pub(crate) async fn home(State(context): State<Context>, parts: Parts) -> Response {
    let Some((caller, _)) = auth::navigating_session(&parts, &context) else {
        return to_login("/").into_response();
    };
    let instances = match context.app.list_instances(&caller, None, None, None, 200).await {
        Ok(page) => page.items,
        Err(error) => {
            super::error::log(&error);
            return page(
                classify(&error).0,
                "ryokan",
                &format!("<h1>ryokan</h1><p class=\"bad\">{}</p>", escape(&error.to_string())),
            );
        }
    };
    let rows: Vec<String> = instances
        .iter()
        .map(|row| {
            format!(
                "<tr><td><a href=\"{}\">{}</a></td><td>{}</td><td>{}</td></tr>",
                escape(&url(&context, row)),
                escape(row.name.as_str()),
                row.state,
                escape(&row.template)
            )
        })
        .collect();
    let rows = rows.concat();
    let list = if rows.is_empty() {
        "<p>No agents yet. Run one: <code>ryokan run hello</code></p>".to_owned()
    } else {
        format!("<table>{rows}</table>")
    };
    page(
        StatusCode::OK,
        "Agents",
        &format!(
            "<h1>Your agents</h1>{list}<p>Signed in as {}. The API is at <code>/v1</code>, described by <a href=\"/v1/openapi.json\">openapi.json</a>.</p>",
            escape(&caller.login)
        ),
    )
}
