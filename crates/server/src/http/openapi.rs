//! The API's description, OpenAPI 3.1, made from the handlers and checked in as `openapi.json`.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(title = "ryokan", description = "A self-hosted cloud for AI agents.", license(name = "Apache-2.0", identifier = "Apache-2.0")),
    components(schemas(ryokan_api::Problem, ryokan_api::instance::Progress, ryokan_api::instance::ExecControl, ryokan_api::instance::ExecStatus)),
    modifiers(&Credentials),
    security(("token" = []))
)]
pub(super) struct Description;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The whole description.
pub fn description() -> utoipa::openapi::OpenApi {
    super::router::routes().into_openapi()
}

#[derive(OpenApi)]
#[openapi(components(schemas(ryokan_model::manifest::Manifest)))]
struct ManifestDescription;

/// The JSON Schema of `agent-manifest.json`, made from the types that parse it.
pub fn manifest_schema() -> serde_json::Value {
    let components = serde_json::to_value(ManifestDescription::openapi().components).unwrap_or_default();
    let mut schemas = components["schemas"].clone();
    point_to_definitions(&mut schemas);
    let mut schema = schemas["AgentManifest"].take();
    if let Some(all) = schemas.as_object_mut() {
        all.remove("AgentManifest");
    }
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "agent-manifest.json".into();
    schema["$defs"] = schemas;
    schema
}

fn point_to_definitions(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                match value.as_str().and_then(|s| s.strip_prefix("#/components/schemas/")) {
                    Some(name) if key == "$ref" => *value = format!("#/$defs/{name}").into(),
                    _ => point_to_definitions(value),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(point_to_definitions),
        _ => {}
    }
}
