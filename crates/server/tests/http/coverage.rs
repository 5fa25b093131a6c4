//! Every route refuses whoever has no credential and hides what belongs to somebody else. A route without an entry in
//! the table fails the test, and so does an entry without a route.

use std::collections::BTreeSet;

use ryokan_model::policy::Action;
use ryokan_ports::fake::Call;
use serde_json::{Value, json};

use crate::support::{Client, Reply, Site, on_both, on_sqlite};

/// What a stranger gets.
#[derive(Clone, Copy, PartialEq)]
enum Stranger {
    /// The route is documented as open to everybody.
    Open,
    Refused,
    /// A browser's route: to the sign-in page.
    SignIn,
}

/// What another user gets who asks for the operator's things.
#[derive(Clone, Copy, PartialEq)]
enum Foreign {
    /// It does not exist.
    Hidden,
    Operators,
    /// The route shows and changes only the caller's own things: this status, and nothing of the operator's in the body.
    Own(u16),
    /// Belongs to no tenant.
    Shared(u16),
}

use Foreign::{Hidden, Operators, Own, Shared};
use Stranger::{Open, Refused, SignIn};

type Entry = (&'static str, &'static str, Stranger, Foreign, &'static str);

const NATIVE: &[Entry] = &[
    ("GET", "/health", Open, Shared(200), ""),
    ("GET", "/healthz", Open, Shared(200), ""),
    ("GET", "/readyz", Open, Shared(200), ""),
    ("GET", "/metrics", Refused, Operators, ""),
    ("POST", "/v1/sessions", Open, Shared(400), "{}"),
    ("DELETE", "/v1/sessions", Refused, Own(409), ""),
    ("GET", "/v1/sessions/current", Refused, Own(200), ""),
    ("POST", "/v1/users", Refused, Operators, r#"{"login":"mallory"}"#),
    ("GET", "/v1/users", Refused, Operators, ""),
    ("GET", "/v1/users/{user}", Refused, Hidden, ""),
    ("PATCH", "/v1/users/{user}", Refused, Hidden, r#"{"name":"Mallory"}"#),
    ("DELETE", "/v1/users/{user}", Refused, Operators, ""),
    ("POST", "/v1/users/{user}/login-link", Refused, Operators, ""),
    ("POST", "/v1/users/{user}/keys", Refused, Hidden, r#"{"key":"02"}"#),
    ("GET", "/v1/users/{user}/keys", Refused, Hidden, ""),
    ("DELETE", "/v1/users/{user}/keys/{key}", Refused, Hidden, ""),
    ("POST", "/v1/tokens", Refused, Hidden, r#"{"label":"x","user":"operator"}"#),
    ("GET", "/v1/tokens", Refused, Own(200), ""),
    ("DELETE", "/v1/tokens/{id}", Refused, Hidden, ""),
    (
        "POST",
        "/v1/credentials",
        Refused,
        Hidden,
        r#"{"name":"x","project":"operator","kind":{"type":"bearer"},"hosts":["a.example"],"value":"hush-hush"}"#,
    ),
    ("GET", "/v1/credentials", Refused, Own(200), ""),
    ("GET", "/v1/credentials/{credential}", Refused, Hidden, ""),
    ("PATCH", "/v1/credentials/{credential}", Refused, Hidden, r#"{"enabled":false}"#),
    ("DELETE", "/v1/credentials/{credential}", Refused, Hidden, ""),
    ("POST", "/v1/projects", Refused, Own(201), r#"{"name":"bobs-second"}"#),
    ("GET", "/v1/projects", Refused, Own(200), ""),
    ("GET", "/v1/projects/{project}", Refused, Hidden, ""),
    ("PATCH", "/v1/projects/{project}", Refused, Hidden, r#"{"name":"stolen"}"#),
    ("DELETE", "/v1/projects/{project}", Refused, Hidden, ""),
    ("GET", "/v1/projects/{project}/registries", Refused, Hidden, ""),
    (
        "PUT",
        "/v1/projects/{project}/registries/{host}",
        Refused,
        Hidden,
        r#"{"username":"u","password":"p"}"#,
    ),
    ("DELETE", "/v1/projects/{project}/registries/{host}", Refused, Hidden, ""),
    ("GET", "/v1/projects/{project}/members", Refused, Hidden, ""),
    ("PUT", "/v1/projects/{project}/members/{user}", Refused, Hidden, r#"{"role":"owner"}"#),
    ("DELETE", "/v1/projects/{project}/members/{user}", Refused, Hidden, ""),
    ("GET", "/v1/projects/{project}/env", Refused, Hidden, ""),
    ("PATCH", "/v1/projects/{project}/env", Refused, Hidden, r#"{"env":{"A":"b"}}"#),
    ("PUT", "/v1/projects/{project}/env", Refused, Hidden, r#"{"env":{"A":"b"}}"#),
    ("GET", "/v1/projects/{project}/secrets", Refused, Hidden, ""),
    ("PUT", "/v1/projects/{project}/secrets/{name}", Refused, Hidden, r#"{"value":"v"}"#),
    ("DELETE", "/v1/projects/{project}/secrets/{name}", Refused, Hidden, ""),
    ("GET", "/v1/projects/{project}/quotas", Refused, Hidden, ""),
    ("PUT", "/v1/projects/{project}/quotas", Refused, Operators, "{}"),
    ("GET", "/v1/projects/{project}/balance", Refused, Hidden, ""),
    ("GET", "/v1/projects/{project}/ledger", Refused, Hidden, ""),
    ("POST", "/v1/projects/{project}/credits", Refused, Hidden, r#"{"amount":1,"reason":"x"}"#),
    ("POST", "/v1/projects/{project}/refunds", Refused, Hidden, r#"{"amount":1,"reason":"x"}"#),
    ("GET", "/v1/projects/{project}/usage", Refused, Hidden, ""),
    ("GET", "/v1/projects/{project}/invoices", Refused, Hidden, ""),
    ("GET", "/v1/projects/{project}/prices", Refused, Hidden, ""),
    ("PUT", "/v1/projects/{project}/prices", Refused, Hidden, "{}"),
    ("GET", "/v1/projects/{project}/caps", Refused, Hidden, ""),
    (
        "PUT",
        "/v1/projects/{project}/caps",
        Refused,
        Hidden,
        r#"{"kind":"compute","period":"day","amount":1}"#,
    ),
    ("GET", "/v1/projects/{project}/billing", Refused, Hidden, ""),
    ("PUT", "/v1/projects/{project}/billing", Refused, Hidden, "{}"),
    ("POST", "/v1/ledger/verify", Refused, Operators, ""),
    ("GET", "/v1/ledger/left-over", Refused, Operators, ""),
    (
        "POST",
        "/v1/providers",
        Refused,
        Operators,
        r#"{"name":"p","kind":"openai","base_url":"http://127.0.0.1:1"}"#,
    ),
    ("GET", "/v1/providers", Refused, Operators, ""),
    ("GET", "/v1/providers/{provider}", Refused, Operators, ""),
    ("PATCH", "/v1/providers/{provider}", Refused, Operators, "{}"),
    ("DELETE", "/v1/providers/{provider}", Refused, Operators, ""),
    ("POST", "/v1/providers/{provider}/refresh", Refused, Operators, ""),
    ("PUT", "/v1/providers/{provider}/models", Refused, Operators, r#"{"name":"m"}"#),
    ("GET", "/v1/model-routes", Refused, Operators, ""),
    (
        "PUT",
        "/v1/model-routes/{route}",
        Refused,
        Operators,
        r#"{"candidates":[{"provider":"p","model":"m"}]}"#,
    ),
    ("DELETE", "/v1/model-routes/{route}", Refused, Operators, ""),
    ("GET", "/v1/model-prices", Refused, Shared(200), ""),
    ("PUT", "/v1/model-prices", Refused, Operators, r#"{"provider":"p","prices":{"input":1,"output":1}}"#),
    ("GET", "/v1/model-rules", Refused, Operators, ""),
    ("PUT", "/v1/model-rules", Refused, Operators, "{}"),
    ("GET", "/v1/projects/{project}/model-rules", Refused, Hidden, ""),
    ("PUT", "/v1/projects/{project}/model-rules", Refused, Hidden, "{}"),
    ("GET", "/v1/projects/{project}/model-budgets", Refused, Hidden, ""),
    (
        "PUT",
        "/v1/projects/{project}/model-budgets",
        Refused,
        Hidden,
        r#"{"unit":"tokens","period":"day","amount":1}"#,
    ),
    ("GET", "/v1/users/{user}/model-budgets", Refused, Operators, ""),
    (
        "PUT",
        "/v1/users/{user}/model-budgets",
        Refused,
        Operators,
        r#"{"unit":"tokens","period":"day","amount":1}"#,
    ),
    ("GET", "/v1/projects/{project}/model-usage", Refused, Hidden, ""),
    ("GET", "/v1/model-usage", Refused, Operators, ""),
    ("GET", "/v1/projects/{project}/model-calls", Refused, Hidden, ""),
    ("POST", "/v1/templates", Refused, Operators, TEMPLATE),
    ("GET", "/v1/templates", Refused, Shared(200), ""),
    ("GET", "/v1/template-checks", Refused, Shared(200), ""),
    ("GET", "/v1/templates/{name}", Refused, Shared(200), ""),
    ("PUT", "/v1/templates/{name}", Refused, Operators, TEMPLATE),
    ("DELETE", "/v1/templates/{name}", Refused, Operators, ""),
    ("POST", "/v1/instances", Refused, Hidden, r#"{"image":"img","project":"operator"}"#),
    ("GET", "/v1/instances", Refused, Own(200), ""),
    ("GET", "/v1/instances/{instance}", Refused, Hidden, ""),
    ("PATCH", "/v1/instances/{instance}", Refused, Hidden, r#"{"cpus":"2"}"#),
    ("DELETE", "/v1/instances/{instance}", Refused, Hidden, ""),
    ("POST", "/v1/instances/{instance}/stop", Refused, Hidden, ""),
    ("POST", "/v1/instances/{instance}/start", Refused, Hidden, ""),
    ("POST", "/v1/instances/{instance}/restart", Refused, Hidden, ""),
    ("GET", "/v1/instances/{instance}/events", Refused, Hidden, ""),
    ("GET", "/v1/instances/{instance}/ports", Refused, Hidden, ""),
    ("GET", "/v1/instances/{instance}/logs", Refused, Hidden, ""),
    ("POST", "/v1/instances/{instance}/exec", Refused, Hidden, r#"{"command":["id"]}"#),
    ("GET", "/v1/instances/{instance}/exec", Refused, Hidden, ""),
    ("GET", "/v1/instances/{instance}/stats", Refused, Hidden, ""),
    ("GET", "/v1/instances/{instance}/files", Refused, Hidden, ""),
    ("PUT", "/v1/instances/{instance}/files", Refused, Hidden, "content"),
    ("POST", "/v1/instances/{instance}/domains", Refused, Hidden, r#"{"domain":"a.example.com"}"#),
    ("GET", "/v1/instances/{instance}/domains", Refused, Hidden, ""),
    ("GET", "/v1/instances/{instance}/domains/{domain}", Refused, Hidden, ""),
    ("DELETE", "/v1/instances/{instance}/domains/{domain}", Refused, Hidden, ""),
    ("POST", "/v1/instances/{instance}/domains/{domain}/check", Refused, Hidden, ""),
    ("GET", "/v1/instances/{instance}/revisions", Refused, Hidden, ""),
    ("POST", "/v1/instances/{instance}/rollback", Refused, Hidden, "{}"),
    ("POST", "/v1/projects/{project}/deployments", Refused, Hidden, "{}"),
    ("GET", "/v1/projects/{project}/deployments", Refused, Hidden, ""),
    ("GET", "/v1/deployments/{deployment}", Refused, Hidden, ""),
    ("POST", "/v1/deployments/{deployment}/cancel", Refused, Hidden, ""),
    ("GET", "/v1/deployments/{deployment}/logs", Refused, Hidden, ""),
    // The address itself is the credential; it has tests of its own.
    ("POST", "/api/v1/upload/{deployment}/{signature}", Open, Shared(404), ""),
    ("GET", "/v1/schemas/agent-manifest.json", Open, Shared(200), ""),
    ("GET", "/v1/events", Refused, Own(200), ""),
    (
        "POST",
        "/v1/policies",
        Refused,
        Hidden,
        r#"{"level":"project","project":"operator","effect":"allow","action":"*"}"#,
    ),
    ("GET", "/v1/policies", Refused, Operators, ""),
    ("DELETE", "/v1/policies/{rule}", Refused, Hidden, ""),
    (
        "POST",
        "/v1/policies/explain",
        Refused,
        Hidden,
        r#"{"instance":"claw","action":"model.call","resource":"m"}"#,
    ),
    ("GET", "/v1/audit", Refused, Own(200), ""),
    ("GET", "/v1/audit/export", Refused, Own(200), ""),
    ("GET", "/v1/approvals", Refused, Own(200), ""),
    ("GET", "/v1/approvals/{approval}", Refused, Hidden, ""),
    ("POST", "/v1/approvals/{approval}/grant", Refused, Hidden, "{}"),
    ("POST", "/v1/approvals/{approval}/refuse", Refused, Hidden, ""),
    ("POST", "/v1/groups", Refused, Operators, r#"{"name":"mallories"}"#),
    ("GET", "/v1/groups", Refused, Operators, ""),
    ("GET", "/v1/groups/{group}", Refused, Operators, ""),
    ("DELETE", "/v1/groups/{group}", Refused, Operators, ""),
    ("PUT", "/v1/groups/{group}/members/{user}", Refused, Operators, "{}"),
    ("DELETE", "/v1/groups/{group}/members/{user}", Refused, Operators, ""),
    ("GET", "/v1/projects/{project}/groups", Refused, Hidden, ""),
    ("PUT", "/v1/projects/{project}/groups/{group}", Refused, Hidden, r#"{"role":"admin"}"#),
    ("DELETE", "/v1/projects/{project}/groups/{group}", Refused, Hidden, ""),
    ("GET", "/v1/system", Refused, Shared(200), ""),
    ("GET", "/v1/system/config", Refused, Operators, ""),
    ("GET", "/v1/system/jobs", Refused, Operators, ""),
    ("POST", "/v1/system/jobs/{id}/retry", Refused, Operators, ""),
    ("GET", "/v1/system/reconcilers", Refused, Operators, ""),
    // With a session this one is tested in `sessions`.
    ("GET", "/v1/gateway/authorize", SignIn, Shared(303), ""),
];

const TEMPLATE: &str = r#"{"name":"hello","summary":"s","spec":{"image":"evil"}}"#;

/// Crabshack's, which are not in our description. The last two stand for all paths of its gateway.
const CRABSHACK: &[Entry] = &[
    ("POST", "/instances", Refused, Own(400), "{}"),
    ("GET", "/instances", Refused, Own(200), ""),
    ("GET", "/instances/{instance}", Refused, Hidden, ""),
    ("DELETE", "/instances/{instance}", Refused, Hidden, ""),
    ("POST", "/instances/{instance}/stop", Refused, Hidden, ""),
    ("POST", "/instances/{instance}/start", Refused, Hidden, ""),
    ("POST", "/instances/{instance}/restart", Refused, Hidden, ""),
    ("GET", "/instances/{instance}/logs", Refused, Hidden, ""),
    ("GET", "/instances/{instance}/stats", Refused, Hidden, ""),
    ("GET", "/instances/{instance}/ssh", Refused, Hidden, ""),
    ("POST", "/instances/{instance}/backup", Refused, Hidden, ""),
    ("GET", "/instances/{instance}/backups", Refused, Hidden, ""),
    ("POST", "/instances/{instance}/restore/latest", Refused, Hidden, ""),
    ("POST", "/instances/{instance}/restore/abc", Refused, Hidden, ""),
    ("POST", "/users", Refused, Operators, r#"{"id":"mallory"}"#),
    ("GET", "/users", Refused, Operators, ""),
    ("GET", "/users/{user}", Refused, Hidden, ""),
    ("POST", "/tokens", Refused, Operators, r#"{"user_id":"operator","label":"x"}"#),
    ("GET", "/nodes", Refused, Operators, ""),
    ("GET", "/gateway/{instance}/v1/status", Refused, Hidden, ""),
    ("POST", "/gateway/{instance}/v1/status", Refused, Hidden, ""),
];

/// Of the model API, whose description is others'. What bob sends here counts for bob's own project.
const MODELS: &[Entry] = &[
    ("GET", "/v1/models", Refused, Shared(200), ""),
    ("GET", "/v1/models/none", Refused, Shared(404), ""),
    ("POST", "/v1/chat/completions", Refused, Own(400), "{}"),
    ("POST", "/v1/embeddings", Refused, Own(400), "{}"),
    ("POST", "/v1/responses", Refused, Own(400), "{}"),
    ("POST", "/v1/messages", Refused, Own(400), "{}"),
    ("POST", "/v1/messages/count_tokens", Refused, Own(400), "{}"),
];

/// `MandalaNode`'s, which are not in our description either. Signed requests are the wallets' tests.
const MANDALA: &[Entry] = &[
    ("GET", "/api/v1/public", Open, Shared(200), ""),
    ("POST", "/api/v1/project/create", Refused, Own(200), r#"{"name":"bobs third"}"#),
    ("POST", "/api/v1/project/list", Refused, Own(200), "{}"),
    ("POST", "/api/v1/project/{project}/info", Refused, Hidden, "{}"),
    ("POST", "/api/v1/project/{project}/delete", Refused, Hidden, "{}"),
    ("POST", "/api/v1/project/{project}/agent/config", Refused, Hidden, r#"{"config":{}}"#),
    ("POST", "/api/v1/project/{project}/webui/config", Refused, Hidden, r#"{"config":{}}"#),
    ("POST", "/api/v1/project/{project}/settings/update", Refused, Hidden, "{}"),
    ("POST", "/api/v1/project/{project}/admin/restart", Refused, Hidden, "{}"),
    ("POST", "/api/v1/project/{project}/admin/status", Refused, Hidden, "{}"),
    ("POST", "/api/v1/project/{project}/addAdmin", Refused, Hidden, r#"{"identityKeyOrEmail":"x"}"#),
    ("POST", "/api/v1/project/{project}/removeAdmin", Refused, Hidden, r#"{"identityKeyOrEmail":"x"}"#),
    ("POST", "/api/v1/project/{project}/admins/list", Refused, Hidden, "{}"),
    ("POST", "/api/v1/project/{project}/deploy", Refused, Hidden, "{}"),
    ("POST", "/api/v1/project/{project}/deploys/list", Refused, Hidden, "{}"),
    ("POST", "/api/v1/project/{project}/billing/stats", Refused, Hidden, "{}"),
    ("POST", "/api/v1/project/{project}/logs/project", Refused, Hidden, "{}"),
    ("POST", "/api/v1/project/{project}/logs/resource/agent", Refused, Hidden, "{}"),
    ("POST", "/api/v1/project/{project}/domains/agent", Refused, Hidden, r#"{"domain":"a.example"}"#),
];

#[test]
fn every_documented_route_is_in_the_table() {
    let description = serde_json::to_value(ryokan_server::openapi::description()).unwrap();
    let mut documented = BTreeSet::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let open = operation["security"] == json!([{}]);
            documented.insert((method.to_uppercase(), path.clone(), open));
        }
    }
    let table = NATIVE.iter().map(|(m, p, s, ..)| ((*m).to_owned(), (*p).to_owned(), *s == Open)).collect();
    let missing: Vec<_> = documented.difference(&table).collect();
    let stale: Vec<_> = table.difference(&documented).collect();
    assert!(missing.is_empty() && stale.is_empty(), "no entry for {missing:?}; no route for {stale:?}");
}

/// What makes something can be sent again without making two.
#[test]
fn every_route_that_creates_takes_an_idempotency_key() {
    let description = serde_json::to_value(ryokan_server::openapi::description()).unwrap();
    for (path, methods) in description["paths"].as_object().unwrap() {
        let post = &methods["post"];
        let creates = post["responses"].get("201").is_some() || path == "/v1/instances";
        // Signing in has no caller yet whose key it could be.
        let wanted = creates && path != "/v1/sessions";
        let parameters = post["parameters"].as_array().cloned().unwrap_or_default();
        let takes = parameters.iter().any(|p| p["name"] == "Idempotency-Key" && p["in"] == "header");
        assert_eq!(takes, wanted, "POST {path}");
        assert!(!takes || parameters.iter().all(|p| p["name"] != "Idempotency-Key" || p["required"] != true));
    }
}

#[test]
fn the_description_is_the_one_that_is_checked_in() {
    let made = ryokan_server::openapi::description().to_pretty_json().unwrap();
    let kept = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../openapi.json")).unwrap();
    assert!(
        made.trim() == kept.trim(),
        "openapi.json is old: `cargo run -p ryokan -- server openapi >openapi.json` makes it anew"
    );
}

#[test]
fn the_manifests_schema_is_the_one_that_is_checked_in() {
    let made = serde_json::to_string_pretty(&ryokan_server::openapi::manifest_schema()).unwrap();
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/agent-manifest.schema.json");
    let kept = std::fs::read_to_string(kept).unwrap();
    assert!(
        made.trim() == kept.trim(),
        "docs/agent-manifest.schema.json is old: scripts/generate makes it anew"
    );
    assert_eq!(ryokan_server::openapi::manifest_schema()["additionalProperties"], json!(false));
}

/// What the table's parameters stand for: things of the operator's.
struct Things {
    token: String,
    job: String,
    deployment: String,
    rule: String,
    approval: String,
}

async fn call(client: &Client, things: &Things, entry: &Entry) -> Reply {
    let (method, path, .., body) = *entry;
    let id = if path.contains("/jobs/") { &things.job } else { &things.token };
    let mut path = path
        .replace("{user}", "operator")
        .replace("{id}", id)
        .replace("{deployment}", &things.deployment)
        .replace("{signature}", "00")
        .replace("{rule}", &things.rule)
        .replace("{approval}", &things.approval)
        .replace("{group}", "devs")
        .replace("{project}", "operator")
        .replace("{provider}", "home")
        .replace("{route}", "smart")
        .replace("{key}", "none")
        .replace("{host}", "docker.io")
        .replace("{name}", "hello")
        .replace("{domain}", "claw.example.com")
        .replace("{credential}", "forge")
        .replace("{instance}", "claw");
    if path.ends_with("/files") {
        path.push_str("?path=/etc/passwd");
    }
    if path.ends_with("/invoices") {
        path.push_str("?month=2026-11");
    }
    if path.ends_with("/authorize") {
        path.push_str("?instance=claw&return=http://claw.localhost/");
    }
    let mut request = client.request(method.parse().unwrap(), &path);
    if method == "GET" && path.ends_with("/exec") {
        path.push_str("?command=id");
        request = request
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    }
    if !body.is_empty() {
        request = request.body(body);
    }
    client.send(request).await
}

async fn things(site: &Site) -> Things {
    let operator = site.operator();
    let wanted = json!({"readiness": null, "volumes": [{"name": "data", "path": "/data"}]});
    operator.ready("claw", wanted).await;
    let token = operator.get("/v1/tokens").await.items()[0]["id"].as_str().unwrap().to_owned();
    let job = operator.get("/v1/system/jobs").await.items()[0]["id"].as_str().unwrap().to_owned();
    let made = operator.post("/v1/projects/operator/deployments", json!({})).await.expect(201);
    let deployment = made["id"].as_str().unwrap().to_owned();
    let domain = json!({"domain": "claw.example.com"});
    operator.post("/v1/instances/claw/domains", domain).await.expect(200);
    let credential = json!({"name": "forge", "kind": {"type": "bearer"}, "hosts": ["forge.example"], "value": "hush-hush"});
    operator.post("/v1/credentials", credential).await.expect(201);
    let rule = json!({"level": "instance", "instance": "claw", "effect": "deny", "action": "git.push"});
    let made = operator.post("/v1/policies", rule).await.expect(201);
    let rule = made["id"].as_str().unwrap().to_owned();
    let who = crate::policies::agent(&operator, "claw").await;
    let question = crate::policies::question(&who, Action::EgressConnect, "claw.example.com:443");
    let wanted = ryokan_app::approvals::Wanted { question, reason: String::new() };
    let approval = site.app().request_approval(wanted).await.unwrap().id.to_string();
    operator.post("/v1/groups", json!({"name": "devs"})).await.expect(201);
    operator.put("/v1/projects/operator/groups/devs", json!({"role": "viewer"})).await.expect(200);
    Things { token, job, deployment, rule, approval }
}

/// Which domains there are, and whether they are served.
async fn domains(operator: &Client) -> Vec<Value> {
    let all = operator.get("/v1/instances/claw/domains").await.items();
    all.into_iter().map(|domain| json!([domain["domain"], domain["state"]])).collect()
}

/// Everything that the operator owns, without what changes by itself.
async fn owned(site: &Site) -> Value {
    let operator = site.operator();
    let mut projects = operator.get("/v1/projects").await.items();
    projects.retain(|p| p["owner"] == "operator");
    let mut tokens = operator.get("/v1/tokens").await.items();
    tokens.retain(|t| t["user"] == "operator");
    for token in &mut *tokens {
        token["last_used_at"] = Value::Null;
    }
    json!({
        "instances": operator.get("/v1/instances").await.items(),
        "projects": projects,
        "tokens": tokens,
        "user": operator.get("/v1/users/operator").await.expect(200),
        "users": operator.get("/v1/users").await.items().len(),
        "domains": domains(&operator).await,
        "credentials": operator.get("/v1/credentials").await.items(),
        "templates": operator.get("/v1/templates").await.items(),
        "registries": operator.get("/v1/projects/operator/registries").await.items(),
        "ledger": operator.get("/v1/projects/operator/ledger").await.items(),
        "caps": operator.get("/v1/projects/operator/caps").await.items(),
        "rules": operator.get("/v1/policies").await.items(),
        "approvals": operator.get("/v1/approvals").await.items(),
        "groups": operator.get("/v1/groups").await.items(),
        "project_groups": operator.get("/v1/projects/operator/groups").await.items(),
        "prices": operator.get("/v1/projects/operator/prices").await.expect(200),
    })
}

#[tokio::test]
async fn strangers_are_refused_everywhere() {
    on_sqlite(async |site| {
        let things = things(site).await;
        let before = owned(site).await;
        for entry in NATIVE.iter().chain(CRABSHACK).chain(MODELS).chain(MANDALA) {
            let reply = call(&site.anonymous(), &things, entry).await;
            let (status, text) = (reply.status, reply.text.as_str());
            match entry.2 {
                Open => assert!(status != 401 && status != 403, "{entry:?} {status} {text}", entry = entry.1),
                SignIn => {
                    assert_eq!(status, 303, "{}: {text}", entry.1);
                    assert!(reply.header("location").starts_with("/login?return="), "{}", entry.1);
                }
                Refused => {
                    assert_eq!(status, 401, "{} {}: {text}", entry.0, entry.1);
                    assert!(reply.headers.contains_key("www-authenticate"), "{} {}", entry.0, entry.1);
                    assert!(!text.contains("claw"), "{} {} tells of it: {text}", entry.0, entry.1);
                }
            }
        }
        assert_eq!(owned(site).await, before);
    })
    .await;
}

#[tokio::test]
async fn somebody_else_s_things_do_not_exist() {
    on_both(async |site| {
        let things = things(site).await;
        let bob = site.user("bob").await;
        let before = owned(site).await;
        let calls_before = site.engine.calls(Call::Exec) + site.engine.calls(Call::Stop);
        for entry in NATIVE.iter().chain(CRABSHACK).chain(MODELS).chain(MANDALA) {
            let reply = call(&bob, &things, entry).await;
            let (status, text) = (reply.status, reply.text.as_str());
            let what = format!("{} {}: {text}", entry.0, entry.1);
            match entry.3 {
                Hidden => assert_eq!(status, 404, "{what}"),
                Operators => assert_eq!(status, 403, "{what}"),
                Shared(expected) => assert_eq!(status, expected, "{what}"),
                Own(expected) => {
                    assert_eq!(status, expected, "{what}");
                    assert!(!text.contains("claw") && !text.contains(&things.token), "{what}");
                }
            }
        }
        assert_eq!(owned(site).await, before);
        assert_eq!(site.engine.calls(Call::Exec) + site.engine.calls(Call::Stop), calls_before);
        // What was refused looks like what does not exist, to the letter.
        for path in ["/v1/instances/claw", "/instances/claw", "/v1/projects/operator", "/gateway/claw/"] {
            let (real, none) = (path, path.replace("claw", "nope").replace("operator", "nope"));
            let (a, b) = (bob.get(real).await, bob.get(&none).await);
            let strip = |text: &str| {
                let mut value: Value = serde_json::from_str(text).unwrap_or(Value::Null);
                value["request_id"] = Value::Null;
                value.to_string().replace("claw", "nope").replace("operator", "nope")
            };
            assert_eq!((a.status, strip(&a.text)), (b.status, strip(&b.text)), "{path}");
        }
    })
    .await;
}
