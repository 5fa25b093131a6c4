//! Admins, by identity key or certified address.

use axum::Json;
use axum::extract::{Path, State};
use ryokan_model::permission::{Role, Scope};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Known, MandalaResult, Old, time};
use crate::http::Context;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Who {
    identity_key_or_email: String,
}

pub(super) async fn add(
    State(context): State<Context>,
    Known(caller): Known,
    Path(id): Path<String>,
    Old(who): Old<Who>,
) -> MandalaResult<Json<Value>> {
    context.app.find_project_as(&caller, Role::Admin, &id).await?;
    let login = context.app.login_by_identity(&who.identity_key_or_email).await?;
    let already = context.app.list_members(&caller, &id).await?;
    if !already.iter().any(|member| member.login == login && member.role >= Role::Admin) {
        context.app.put_member(&caller, &id, &login, Role::Admin).await?;
    }
    Ok(Json(json!({"message": "Admin added"})))
}

pub(super) async fn remove(
    State(context): State<Context>,
    Known(caller): Known,
    Path(id): Path<String>,
    Old(who): Old<Who>,
) -> MandalaResult<Json<Value>> {
    context.app.find_project(&caller, Scope::Read, &id).await?;
    let login = context.app.login_by_identity(&who.identity_key_or_email).await?;
    context.app.delete_member(&caller, &id, &login).await?;
    Ok(Json(json!({"message": "Admin removed"})))
}

pub(super) async fn list(
    State(context): State<Context>,
    Known(caller): Known,
    Path(id): Path<String>,
) -> MandalaResult<Json<Value>> {
    let members = context.app.list_identities(&caller, &id).await?;
    let admins: Vec<Value> = members
        .into_iter()
        .filter(|(member, ..)| member.role >= Role::Admin)
        .map(|(member, key, email)| {
            json!({"identity_key": key, "email": email, "login": member.login, "role": member.role,
                "added_at": time(member.added_at)})
        })
        .collect();
    Ok(Json(json!({ "admins": admins })))
}
