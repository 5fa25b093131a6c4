//! Which credentials an instance may use for a host, as the proxy wants them; from the keyring in memory.

use std::sync::Arc;

use http::{HeaderName, Method};
use ryokan_app::App;
use ryokan_app::credentials::Held;
use ryokan_gateway::egress::{
    Bound, Caller, Credential, Inject, Keys, Places, RemoteHost, Source, Treatment,
};
use ryokan_model::credential::Kind;
use ryokan_model::policy::{Host, Target};
use ryokan_model::{CredentialId, ProjectId};

use super::callers::KnownCallers;
use super::judge::who;

/// Bodies that are text, in which a placeholder can be told from chance.
const BODIES: [&str; 4] =
    ["application/json", "application/x-www-form-urlencoded", "text/plain", "application/xml"];

pub(crate) struct KeyringKeys {
    pub(crate) app: Arc<App>,
    pub(crate) callers: Arc<KnownCallers>,
    pub(crate) tokens: super::oauth::Tokens,
}

impl KeyringKeys {
    fn usable(&self, caller: &Caller, host: &str, port: u16) -> Vec<Arc<Held>> {
        let (Ok(project), Some(instance)) =
            (caller.project.parse::<ProjectId>(), self.callers.name_of(caller))
        else {
            return Vec::new();
        };
        let keyring = self.app.keyring();
        let bound =
            |held: &&Arc<Held>| held.row.credential.hosts.iter().any(|binding| binding.covers(host, port));
        keyring.of(project, &instance).filter(bound).cloned().collect()
    }

    fn credential(&self, held: &Arc<Held>, host: &str, port: u16) -> Option<Credential> {
        let row = &held.row;
        let fixed = || Source::Fixed(held.value.clone());
        let (inject, source, body) = match &row.credential.kind {
            Kind::Placeholder { body } => (None, fixed(), *body),
            Kind::Bearer => (Some(Inject::Bearer), fixed(), false),
            Kind::Basic { username } => (Some(Inject::Basic { user: username.clone() }), fixed(), false),
            Kind::Header { name, prefix } => {
                let name = HeaderName::try_from(name.as_str()).ok()?;
                (Some(Inject::Header { name, prefix: prefix.clone() }), fixed(), false)
            }
            Kind::Query { name } => (Some(Inject::Query { name: name.clone() }), fixed(), false),
            Kind::OauthClient { .. } => (Some(Inject::Bearer), Source::Token(self.tokens.of(held)), false),
            Kind::AwsSigv4 { access_key_id } => {
                let inject = Inject::SigV4 { access_key: access_key_id.clone(), session_token: None };
                (Some(inject), fixed(), false)
            }
        };
        let body = if body { BODIES.iter().map(|&kind| kind.to_owned()).collect() } else { Vec::new() };
        Some(Credential {
            id: row.id.to_string().into(),
            revision: row.revision.unsigned_abs(),
            placeholder: Some(row.placeholder.as_str().into()),
            places: Places { headers: true, path: false, query: true, body },
            inject,
            methods: row
                .credential
                .methods
                .iter()
                .filter_map(|m| Method::try_from(m.as_str()).ok())
                .collect(),
            paths: row.credential.paths.clone(),
            in_the_clear: row
                .credential
                .hosts
                .iter()
                .any(|binding| binding.clear && binding.covers(host, port)),
            source,
        })
    }
}

impl Keys for KeyringKeys {
    fn bound(&self, caller: &Caller, host: &RemoteHost, port: u16) -> Bound {
        let name = host.to_string();
        let credentials: Vec<Arc<Credential>> = self
            .usable(caller, &name, port)
            .iter()
            .filter_map(|held| self.credential(held, &name, port))
            .map(Arc::new)
            .collect();
        let looks_into = || {
            let host: Option<Host> = name.parse().ok();
            host.is_some_and(|host| {
                let target = Target { host, port, addresses: None, http: None };
                self.app.policies().looks_into(&who(caller), &target, self.app.clock.now())
            })
        };
        let inspect = !credentials.is_empty() || looks_into();
        Bound { treatment: if inspect { Treatment::Inspect } else { Treatment::Tunnel }, credentials }
    }

    fn is_good(&self, _: &Caller, credential: &str, revision: u64) -> bool {
        let Ok(id) = credential.parse::<CredentialId>() else { return false };
        i64::try_from(revision).is_ok_and(|revision| self.app.keyring().is_current(id, revision))
    }
}
