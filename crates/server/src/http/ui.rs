//! The dashboard: files that the build put into the binary, and nothing that is rendered here. Its pages have paths of
//! their own, named one by one, so that they can never shadow a call of the API. It may load nothing from elsewhere.

use std::sync::LazyLock;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ryokan_app::Error;
use sha2::{Digest as _, Sha256};

use super::Context;
use super::error::ApiError;

/// A file of the dashboard.
struct File {
    path: &'static str,
    /// Changes with the content.
    tag: &'static str,
    content: &'static [u8],
    /// The same, compressed by gzip.
    packed: Option<&'static [u8]>,
}

static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/ui.rs"));

/// What a binary without the dashboard answers.
const ABSENT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>ryokan</title>\
<main><h1>ryokan</h1><p>This server was built without its dashboard. The command line and the HTTP API are here: \
<a href=\"/v1/openapi.json\">openapi.json</a>.</p><p>To have it, run <code>scripts/web</code> in the repository and \
build again: <code>cargo build -p ryokan</code>.</p></main></html>";

/// Where the dashboard has pages. What is in its own hands below them is its own router's.
const PAGES: [&str; 8] = [
    "/",
    "/login",
    "/new",
    "/new/{*rest}",
    "/agents/{*rest}",
    "/projects",
    "/projects/{*rest}",
    "/settings/{*rest}",
];
const ASSETS: [&str; 3] = ["/_app/{*rest}", "/favicon.svg", "/theme.js"];

pub(super) fn router() -> Router<Context> {
    let router = PAGES.into_iter().fold(Router::new(), |router, path| router.route(path, get(page)));
    ASSETS.into_iter().fold(router, |router, path| router.route(path, get(asset)))
}

/// To the sign-in page, and from there back to `path`.
pub(crate) fn to_login(path: &str) -> Redirect {
    let back: String = form_urlencoded::byte_serialize(path.as_bytes()).collect();
    Redirect::to(&format!("/login?return={back}"))
}

fn find(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}

async fn page(headers: HeaderMap) -> Response {
    let mut response = match find("/index.html") {
        Some(file) => serve(file, &headers),
        None => Html(ABSENT).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    );
    response
}

async fn asset(uri: Uri, headers: HeaderMap) -> Response {
    match find(uri.path()) {
        Some(file) => serve(file, &headers),
        None => ApiError(Error::not_found("page", "here")).into_response(),
    }
}

fn serve(file: &File, request: &HeaderMap) -> Response {
    let text = |name| request.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or_default();
    // Names below `immutable` hold a hash of the content.
    let cache = if file.path.starts_with("/_app/immutable/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let common =
        [(header::CACHE_CONTROL, cache), (header::ETAG, file.tag), (header::VARY, "Accept-Encoding")];
    if text(header::IF_NONE_MATCH).contains(file.tag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let kind = [(header::CONTENT_TYPE, content_type(file.path))];
    match file.packed.filter(|_| accepts_gzip(text(header::ACCEPT_ENCODING))) {
        Some(packed) => (common, kind, [(header::CONTENT_ENCODING, "gzip")], packed).into_response(),
        None => (common, kind, file.content).into_response(),
    }
}

fn accepts_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|part| {
        let (name, weight) = part.split_once(';').unwrap_or((part, ""));
        name.trim() == "gzip" && !matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")
    })
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("txt") => "text/plain; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    }
}

/// Scripts are ours or, for the few lines that start the dashboard, named by their hash. Styles may be inline: the
/// terminal makes its own, and with images, fonts and connections of our origin alone they can tell nobody anything.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let index = find("/index.html").and_then(|file| std::str::from_utf8(file.content).ok());
    let scripts: Vec<String> = inline_scripts(index.unwrap_or_default())
        .map(|script| format!(" 'sha256-{}'", STANDARD.encode(Sha256::digest(script))))
        .collect();
    let policy = format!(
        "default-src 'none'; script-src 'self'{}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        scripts.concat()
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

fn inline_scripts(page: &str) -> impl Iterator<Item = &str> {
    page.split("<script>").skip(1).filter_map(|rest| rest.split_once("</script>")).map(|(script, _)| script)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page that only its own router knows is gone when it is loaded anew.
    #[test]
    fn every_folder_of_pages_is_served() {
        let routes = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/src/routes/(app)");
        let folders = std::fs::read_dir(routes).unwrap().flatten().filter(|entry| entry.path().is_dir());
        for folder in folders {
            let path = format!("/{}", folder.file_name().to_string_lossy());
            assert!(PAGES.contains(&format!("{path}/{{*rest}}").as_str()), "{path}");
            assert_eq!(PAGES.contains(&path.as_str()), folder.path().join("+page.svelte").exists(), "{path}");
        }
    }

    #[test]
    fn inline_scripts_are_found_and_others_are_not() {
        let page = "<script src=\"/a.js\"></script><script>one()</script><p><script>\n two()\n</script>";
        assert_eq!(inline_scripts(page).collect::<Vec<_>>(), ["one()", "\n two()\n"]);
    }

    #[test]
    fn gzip_is_sent_to_whoever_takes_it() {
        for (accepted, expected) in [
            ("gzip, deflate, br", true),
            ("br;q=1, gzip;q=0.5", true),
            ("gzip;q=0", false),
            ("", false),
            ("br", false),
        ] {
            assert_eq!(accepts_gzip(accepted), expected, "{accepted}");
        }
    }

    #[test]
    fn what_does_not_change_is_not_sent_again() {
        let file = File { path: "/a.js", tag: "\"1\"", content: b"a", packed: Some(b"packed") };
        let with = |name: HeaderName, value: &'static str| {
            serve(&file, &HeaderMap::from_iter([(name, HeaderValue::from_static(value))]))
        };
        assert_eq!(with(header::IF_NONE_MATCH, "W/\"1\"").status(), StatusCode::NOT_MODIFIED);
        assert_eq!(with(header::IF_NONE_MATCH, "\"2\"").status(), StatusCode::OK);
        let packed = with(header::ACCEPT_ENCODING, "gzip");
        assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
        assert_eq!(packed.headers()[header::CACHE_CONTROL], "no-cache");
        assert_eq!(packed.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
    }

    /// With a dashboard in the binary (`scripts/web` has run): whatever its pages load is there.
    #[test]
    fn the_embedded_pages_are_whole() {
        let Some(index) = find("/index.html") else { return };
        let index = std::str::from_utf8(index.content).unwrap();
        let loaded: Vec<&str> =
            index.split("\"/_app/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(!loaded.is_empty(), "{index}");
        for path in loaded {
            assert!(find(&format!("/_app/{path}")).is_some(), "{path}");
        }
        assert!(POLICY.to_str().unwrap().contains("script-src 'self' 'sha256-"));
    }
}
