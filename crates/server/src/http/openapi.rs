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
