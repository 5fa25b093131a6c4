//! What a user says about an instance, on creation and on change, and how it becomes a spec together with a template.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::change::{Change, given};
use crate::image::ImageRef;
use crate::probe::Probe;
use crate::quantity::{Bytes, Cpus, Span};
use crate::spec::{
    Access, ConfigFile, EgressProfile, InstanceSpec, OriginPolicy, Port, PullPolicy, RestartMode,
    UpstreamAuth, VolumeMount,
};
use crate::template::{ImageChoice, Template};
use crate::{Invalid, Name, Secret};

/// `POST /v1/instances` and `PATCH /v1/instances/{id or name}`.
///
/// On creation everything has a default: the template's, or the server's. With `Accept: text/event-stream` the answer
/// is a stream of `created`, `pending`* and `ready` or `error`. On an update what is absent stays; `name`, `project`
/// and `template` cannot be changed. A new container is made when it has to be; volumes stay.
///
/// Laid over the template's spec or the instance's as a JSON merge patch (RFC 7396): `null` removes where there can be
/// nothing, `env`, `secret_env`, `restart` and `gateway` are merged, lists and probes are replaced whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct InstanceRequest {
    /// Generated (`agent-a1b2c3d4`) when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Id or name; the caller's personal project when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// `custom` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<Name>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub image: Option<ImageRef>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub pull: Option<PullPolicy>,
    /// `null` removes it.
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>))]
    pub command: Change<Vec<String>>,
    /// `null` removes it.
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>))]
    pub args: Change<Vec<String>>,
    /// Added to what is there; `null` removes a variable.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Option<String>>,
    /// Sealed; never shown again. `null` removes a variable.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", serialize_with = "exposed")]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, Option<String>>))]
    pub secret_env: BTreeMap<String, Option<Secret>>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub cpus: Option<Cpus>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub memory: Option<Bytes>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub pids: Option<u32>,
    /// Whole ones; refused where the engine has none to give.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub gpus: Option<u32>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub ports: Option<Vec<Port>>,
    /// `null` removes it.
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Probe>))]
    pub startup: Change<Probe>,
    /// `null` removes it.
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Probe>))]
    pub readiness: Change<Probe>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub volumes: Option<Vec<VolumeMount>>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub files: Option<Vec<ConfigFile>>,
    /// `runc`, or another runtime that the engine offers.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub isolation: Option<String>,
    /// `null` removes it.
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub user: Change<String>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub read_only_root: Option<bool>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub tmpfs: Option<Vec<String>>,
    /// `proxy`, `ports` or `none`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub egress: Option<EgressProfile>,
    /// What is absent in it stays.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub restart: Option<RestartChanges>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub stop_grace: Option<Span>,
    /// `null` removes it.
    #[serde(default, skip_serializing_if = "Change::is_keep")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub hostname: Change<String>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub single_writer: Option<bool>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub access: Option<Access>,
    /// What is absent in it stays.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub gateway: Option<GatewayChanges>,
}

/// Changes of a [`RestartPolicy`](crate::spec::RestartPolicy), field by field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RestartChanges {
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub mode: Option<RestartMode>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub fatal_exit_codes: Option<BTreeSet<i64>>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub max_crashes: Option<u32>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub stable_after: Option<Span>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub backoff: Option<Span>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub max_backoff: Option<Span>,
}

/// Changes of a [`GatewayPolicy`](crate::spec::GatewayPolicy), field by field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GatewayChanges {
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub access: Option<Access>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub upstream_auth: Option<UpstreamAuth>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub origin: Option<OriginPolicy>,
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub websocket: Option<bool>,
}

/// A client sends what the user gave it; the server never serialises a request.
fn exposed<S: serde::Serializer>(
    secrets: &BTreeMap<String, Option<Secret>>,
    s: S,
) -> Result<S::Ok, S::Error> {
    s.collect_map(secrets.iter().map(|(name, value)| (name, value.as_ref().map(Secret::expose))))
}

/// What became of the secret variables.
pub type SecretChanges = BTreeMap<String, Option<Secret>>;

impl InstanceRequest {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The spec of a new instance, and its secrets. `generate` makes a random secret.
    pub fn into_spec(
        mut self,
        template: &Template,
        generate: &dyn Fn() -> Secret,
    ) -> Result<(InstanceSpec, BTreeMap<String, Secret>), Invalid> {
        match template.image {
            ImageChoice::Fixed if self.image.is_some() => {
                return Err(Invalid::new(
                    "image",
                    format!(
                        "the template `{}` brings its own image; leave this out or use the template `custom`",
                        template.name
                    ),
                ));
            }
            ImageChoice::Required if self.image.is_none() => {
                return Err(Invalid::new(
                    "image",
                    format!(
                        "the template `{}` needs one, as in \"registry.example.com/team/agent:1.2\"",
                        template.name
                    ),
                ));
            }
            _ => {}
        }
        for (name, variable) in &template.variables {
            let given = self.env.contains_key(name) || self.secret_env.contains_key(name);
            if variable.secret
                && let Some(value) = self.env.remove(name)
            {
                self.secret_env.insert(name.clone(), value.map(Secret::new));
            }
            if given {
                continue;
            }
            if variable.generate {
                self.secret_env.insert(name.clone(), Some(generate()));
            } else if let Some(default) = &variable.default {
                self.env.insert(name.clone(), Some(default.clone()));
            } else if variable.required {
                let kind = if variable.secret { "secret_env" } else { "env" };
                return Err(Invalid::new(
                    format!("{kind}.{name}"),
                    format!("the template `{}` needs it: {}", template.name, variable.description),
                ));
            }
        }
        let mut spec = template.spec.clone();
        let secrets = self.apply(&mut spec)?;
        Ok((spec, secrets.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()))
    }

    /// Changes `spec`, checks it, and returns what is to be done to the secret variables. `name`, `project` and
    /// `template` are the caller's business.
    pub fn apply(self, spec: &mut InstanceSpec) -> Result<SecretChanges, Invalid> {
        fn set<T>(target: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *target = value;
            }
        }
        set(&mut spec.image, self.image);
        set(&mut spec.pull, self.pull);
        self.command.apply(&mut spec.command);
        self.args.apply(&mut spec.args);
        for (name, value) in self.env {
            match value {
                Some(value) => spec.env.insert(name, value),
                None => spec.env.remove(&name),
            };
        }
        for (name, value) in &self.secret_env {
            crate::spec::env_name("secret_env", name)?;
            match value {
                Some(value) if value.expose().len() > 32 * 1024 || value.expose().contains('\0') => {
                    return Err(Invalid::new(
                        format!("secret_env.{name}"),
                        "is longer than 32768 bytes or holds a NUL byte",
                    ));
                }
                Some(_) => spec.secret_env.insert(name.clone()),
                None => spec.secret_env.remove(name),
            };
        }
        set(&mut spec.resources.cpus, self.cpus);
        set(&mut spec.resources.memory, self.memory);
        set(&mut spec.resources.pids, self.pids);
        set(&mut spec.resources.gpus, self.gpus);
        set(&mut spec.ports, self.ports);
        self.startup.apply(&mut spec.startup);
        self.readiness.apply(&mut spec.readiness);
        set(&mut spec.volumes, self.volumes);
        set(&mut spec.files, self.files);
        set(&mut spec.security.isolation, self.isolation);
        self.user.apply(&mut spec.security.user);
        set(&mut spec.security.read_only_root, self.read_only_root);
        set(&mut spec.security.tmpfs, self.tmpfs);
        set(&mut spec.egress, self.egress);
        if let Some(restart) = self.restart {
            set(&mut spec.restart.mode, restart.mode);
            set(&mut spec.restart.fatal_exit_codes, restart.fatal_exit_codes);
            set(&mut spec.restart.max_crashes, restart.max_crashes);
            set(&mut spec.restart.stable_after, restart.stable_after);
            set(&mut spec.restart.backoff, restart.backoff);
            set(&mut spec.restart.max_backoff, restart.max_backoff);
        }
        set(&mut spec.stop_grace, self.stop_grace);
        self.hostname.apply(&mut spec.hostname);
        set(&mut spec.single_writer, self.single_writer);
        if let Some(gateway) = self.gateway {
            set(&mut spec.gateway.access, gateway.access);
            set(&mut spec.gateway.upstream_auth, gateway.upstream_auth);
            set(&mut spec.gateway.origin, gateway.origin);
            set(&mut spec.gateway.websocket, gateway.websocket);
        }
        set(&mut spec.gateway.access, self.access);
        spec.validate().map_err(as_requested)?;
        Ok(self.secret_env)
    }
}

/// A spec groups what a request has side by side; whoever made the request knows only its own fields.
fn as_requested(mut refused: Invalid) -> Invalid {
    for group in ["resources.", "security."] {
        if let Some(field) = refused.field.strip_prefix(group) {
            refused.field = field.to_owned();
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(extra: &str) -> Template {
        let text = format!("name = \"t\"\nsummary = \"s\"\n{extra}\n[spec]\nimage = \"a/b\"\n");
        let template: Template = toml::from_str(&text).unwrap();
        template.validate().unwrap();
        template
    }

    fn made() -> Secret {
        Secret::new("made")
    }

    #[test]
    fn variables_become_env_secrets_and_errors() {
        let template = template(
            "[variables.KEY]\nsecret = true\nrequired = true\n[variables.TOKEN]\nsecret = true\ngenerate = true\n[variables.URL]\ndefault = \"http://x\"",
        );
        let none = InstanceRequest::default().into_spec(&template, &made).unwrap_err();
        assert_eq!(none.field, "secret_env.KEY");
        // A secret given as a plain variable is sealed all the same.
        let request: InstanceRequest = serde_json::from_str(r#"{"env":{"KEY":"k"}}"#).unwrap();
        let (spec, secrets) = request.into_spec(&template, &made).unwrap();
        assert_eq!(spec.env.get("URL").map(String::as_str), Some("http://x"));
        assert!(!spec.env.contains_key("KEY"));
        assert_eq!(secrets.get("KEY").unwrap().expose(), "k");
        assert_eq!(secrets.get("TOKEN").unwrap().expose(), "made");
        assert!(!format!("{secrets:?}").contains("made"));
    }

    #[test]
    fn image_rules() {
        let fixed = template("image = \"fixed\"");
        let request: InstanceRequest = serde_json::from_str(r#"{"image":"x/y"}"#).unwrap();
        assert_eq!(request.into_spec(&fixed, &made).unwrap_err().field, "image");
        let required = template("image = \"required\"");
        assert_eq!(InstanceRequest::default().into_spec(&required, &made).unwrap_err().field, "image");
    }

    #[test]
    fn null_removes() {
        let mut spec = template("").spec;
        spec.env.insert("A".into(), "1".into());
        spec.secret_env.insert("S".into());
        let request: InstanceRequest =
            serde_json::from_str(r#"{"env":{"A":null,"B":"2"},"secret_env":{"S":null}}"#).unwrap();
        let changes = request.apply(&mut spec).unwrap();
        assert!(!spec.env.contains_key("A") && spec.env.contains_key("B") && spec.secret_env.is_empty());
        assert!(changes.get("S").unwrap().is_none());
    }
    #[test]
    fn a_patch_keeps_removes_and_sets() {
        let mut spec = template("").spec;
        let set: InstanceRequest = serde_json::from_str(
            r#"{"command":["a"],"args":["b"],"user":"1000","hostname":"h","ports":[{"name":"http","port":80}],
                "startup":{"check":{"tcp":{"port":"http"}}},"readiness":{"check":{"tcp":{"port":"http"}}},
                "restart":{"mode":"never","max_crashes":3},"gateway":{"origin":"remove","access":"public"}}"#,
        )
        .unwrap();
        set.clone().apply(&mut spec).unwrap();
        let before = spec.clone();
        InstanceRequest::default().apply(&mut spec).unwrap();
        assert_eq!(spec, before);
        // What a client sends is what it was given.
        assert_eq!(
            serde_json::from_str::<InstanceRequest>(&serde_json::to_string(&set).unwrap()).unwrap(),
            set
        );
        let patch: InstanceRequest = serde_json::from_str(
            r#"{"command":null,"args":null,"user":null,"hostname":null,"startup":null,"readiness":null,
                "restart":{"max_crashes":5},"gateway":{"access":"token"}}"#,
        )
        .unwrap();
        assert_eq!(serde_json::to_value(&patch).unwrap()["startup"], serde_json::Value::Null);
        assert!(serde_json::to_string(&patch).unwrap().contains(r#""startup":null"#));
        patch.apply(&mut spec).unwrap();
        let gone = (&spec.command, &spec.args, &spec.security.user, &spec.hostname);
        assert_eq!(gone, (&None, &None, &None, &None));
        assert_eq!((&spec.startup, &spec.readiness), (&None, &None));
        assert_eq!((spec.restart.mode, spec.restart.max_crashes), (RestartMode::Never, 5));
        assert_eq!((spec.gateway.access, spec.gateway.origin), (Access::Token, OriginPolicy::Remove));
    }

    #[test]
    fn null_is_refused_where_there_is_always_something() {
        for field in ["image", "memory", "gpus", "ports", "restart", "gateway", "access", "pull"] {
            let error =
                serde_json::from_str::<InstanceRequest>(&format!(r#"{{"{field}":null}}"#)).unwrap_err();
            assert!(error.to_string().contains("cannot be null"), "{field}: {error}");
        }
        let inner = serde_json::from_str::<InstanceRequest>(r#"{"restart":{"mode":null}}"#).unwrap_err();
        assert!(inner.to_string().contains("cannot be null"), "{inner}");
        // What is not of the spec may be absent in either way.
        serde_json::from_str::<InstanceRequest>(r#"{"name":null,"project":null,"template":null}"#).unwrap();
    }
}
