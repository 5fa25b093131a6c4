//! `/v1/instances`.

pub(crate) mod exec;
pub(crate) mod files;
pub(crate) mod logs;
pub(crate) mod manage;
pub(crate) mod stats;

use ryokan_api::instance::Instance;
use ryokan_store::instances::Instance as Row;

use super::Context;

pub(crate) fn view(context: &Context, row: Row) -> Instance {
    Instance {
        url: url(context, &row),
        path_url: match row.addon {
            Some(addon) => addon.address(&row.name),
            None => format!("{}/gateway/{}/", context.app.settings.public_url, row.name),
        },
        addon: row.addon,
        addon_of: row.addon.filter(|_| row.addon_of.is_some()).map(|addon| row.name.beside(addon)),
        addons: Vec::new(),
        id: row.id,
        name: row.name,
        project: row.project_name,
        template: row.template,
        desired: row.desired,
        state: row.state,
        suspended: row.suspended,
        since: row.since.0,
        message: row.message,
        update_error: row.taken_back.map(|taken_back| taken_back.reason),
        crashes: row.crashes,
        exit_code: row.exit_code,
        image_digest: row.image_digest,
        reach: row.reach,
        generation: row.generation,
        spec: row.spec,
        created_at: row.created_at.0,
        updated_at: row.updated_at.0,
    }
}

/// Where the agent answers under its own name, and a database to its project.
pub(crate) fn url(context: &Context, row: &Row) -> String {
    row.addon.map_or_else(|| host_url(context, row.name.as_str()), |addon| addon.address(&row.name))
}

/// `scheme://LABEL.ZONE[:port]/`.
pub(crate) fn host_url(context: &Context, label: &str) -> String {
    format!("{}/", context.app.settings.agent_origin(label))
}
