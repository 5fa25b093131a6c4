//! What a user says about an instance, on creation and on change, and how it becomes a spec together with a template.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::image::ImageRef;
use crate::probe::Probe;
use crate::quantity::{Bytes, Cpus, Span};
use crate::spec::{
    Access, ConfigFile, GatewayPolicy, InstanceSpec, Port, PullPolicy, RestartPolicy, VolumeMount,
};
use crate::template::{ImageChoice, Template};
use crate::{Invalid, Name, Secret};

/// `POST /v1/instances` and `PATCH /v1/instances/{id or name}`.
///
/// On creation everything has a default: the template's, or the server's. With `Accept: text/event-stream` the answer
/// is a stream of `created`, `pending`* and `ready` or `error`. On an update what is absent stays; `name`, `project`
/// and `template` cannot be changed. A new container is made when it has to be; volumes stay.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull: Option<PullPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Added to what is there; `null` removes a variable.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Option<String>>,
    /// Sealed; never shown again. `null` removes a variable.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", serialize_with = "exposed")]
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, Option<String>>))]
    pub secret_env: BTreeMap<String, Option<Secret>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<Port>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup: Option<Probe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Probe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Vec<VolumeMount>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<ConfigFile>>,
    /// `runc`, or another runtime that the engine offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_root: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_grace: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub single_writer: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayPolicy>,
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
        fn set_some<T>(target: &mut Option<T>, value: Option<T>) {
            if value.is_some() {
                *target = value;
            }
        }
        set(&mut spec.image, self.image);
        set(&mut spec.pull, self.pull);
        set_some(&mut spec.command, self.command);
        set_some(&mut spec.args, self.args);
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
        set(&mut spec.ports, self.ports);
        set_some(&mut spec.startup, self.startup);
        set_some(&mut spec.readiness, self.readiness);
        set(&mut spec.volumes, self.volumes);
        set(&mut spec.files, self.files);
        set(&mut spec.security.isolation, self.isolation);
        set_some(&mut spec.security.user, self.user);
        set(&mut spec.security.read_only_root, self.read_only_root);
        set(&mut spec.security.tmpfs, self.tmpfs);
        set(&mut spec.restart, self.restart);
        set(&mut spec.stop_grace, self.stop_grace);
        set_some(&mut spec.hostname, self.hostname);
        set(&mut spec.single_writer, self.single_writer);
        set(&mut spec.gateway, self.gateway);
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
}
