//! Providers: operators add, change and remove them; their keys are sealed and never shown. A look at a provider brings
//! what it offers.

use std::sync::Arc;

use ryokan_model::models::{Capabilities, Provider, ProviderKind, ProviderOptions, check_model, check_name};
use ryokan_model::permission::Caller;
use ryokan_model::{Millis, Secret};
use ryokan_ports::models::Pulled;
use ryokan_store::StoreError;
use ryokan_store::models::{ModelRow, ProviderRow, provider_secrets};
use serde_json::json;
use tokio::sync::mpsc;

use crate::system::operators;
use crate::{App, Error, Result, events};

/// Providers in all.
const MOST: usize = 200;

pub struct NewProvider {
    pub name: String,
    pub kind: ProviderKind,
    pub base_url: String,
    pub key: Option<Secret>,
    pub enabled: bool,
    /// Whether what is sent to it stays with us; by its address when absent.
    pub local: Option<bool>,
    pub options: ProviderOptions,
}

#[derive(Default)]
pub struct ProviderChanges {
    pub base_url: Option<String>,
    /// An empty one takes the key away.
    pub key: Option<Secret>,
    pub enabled: Option<bool>,
    pub local: Option<bool>,
    pub options: Option<ProviderOptions>,
}

/// `http(s)://host[:port][/path]`, without what would hide a password in it.
fn check_url(url: &str) -> Result<String> {
    let refused = || {
        let problem = "must be an address as in `http://127.0.0.1:11434` or `https://api.example.com/v1`, without user, query or fragment";
        Error::invalid("base_url", problem)
    };
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).ok_or_else(refused)?;
    let host = rest.split('/').next().unwrap_or_default();
    let odd = |c: char| c.is_control() || c.is_whitespace() || "@?#\\".contains(c);
    if host.is_empty() || url.len() > 500 || url.contains(odd) {
        return Err(refused());
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// Whether an address looks like one of ours: this machine, a private network, or a name without a dot.
fn is_local(url: &str) -> bool {
    let host = url.split("://").nth(1).unwrap_or_default().split('/').next().unwrap_or_default();
    let bare = match host.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(host, _)| host),
    };
    match bare.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Ok(std::net::IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        Err(_) => {
            !bare.contains('.') || [".local", ".internal", ".lan"].iter().any(|end| bare.ends_with(end))
        }
    }
}

fn check_key(key: &Secret) -> Result<()> {
    let text = key.expose();
    if text.len() <= 4_096 && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(Error::invalid("key", "must have at most 4096 visible characters, without spaces"))
    }
}

impl App {
    pub async fn list_providers(&self, caller: &Caller) -> Result<Vec<ProviderRow>> {
        operators(caller)?;
        Ok(self.store.read(|tx| tx.model_providers()).await?)
    }

    pub async fn get_provider(&self, caller: &Caller, name: &str) -> Result<(ProviderRow, Vec<ModelRow>)> {
        operators(caller)?;
        let wanted = name.to_owned();
        let found = self
            .store
            .read(move |tx| {
                let Some(row) = tx.model_provider(&wanted)? else { return Ok(None) };
                Ok::<_, StoreError>(Some((row, tx.models(Some(&wanted))?)))
            })
            .await?;
        found.ok_or_else(|| Error::not_found("provider", name))
    }

    /// Adds a provider, and looks at it at once.
    pub async fn create_provider(self: &Arc<Self>, caller: &Caller, new: NewProvider) -> Result<ProviderRow> {
        operators(caller)?;
        check_name("name", &new.name)?;
        let base_url = check_url(&new.base_url)?;
        new.options.validate()?;
        if let Some(key) = &new.key {
            check_key(key)?;
        }
        let now = self.clock.now();
        let key = new.key.filter(|key| !key.expose().is_empty());
        let row = ProviderRow {
            local: new.local.unwrap_or_else(|| is_local(&base_url)),
            name: new.name,
            kind: new.kind,
            base_url,
            has_key: key.is_some(),
            enabled: new.enabled,
            options: new.options,
            checked_at: None,
            problem: None,
            created_at: now,
        };
        let (seal, by, made) = (self.seal.clone(), caller.clone(), row.clone());
        self.store
            .write(move |tx| {
                tx.lock("model_providers")?;
                let known = tx.model_providers()?;
                if known.iter().any(|p| p.name == made.name) {
                    return Err(Error::Conflict(format!("there is a provider `{}` already", made.name)));
                }
                if known.len() >= MOST {
                    return Err(Error::QuotaExceeded(format!("there are {MOST} providers; remove one first")));
                }
                tx.insert_model_provider(&made)?;
                if let Some(key) = &key {
                    tx.put_secret(&seal, &provider_secrets(&made.name), "key", key, now.0)?;
                }
                let data = json!({"kind": made.kind, "base_url": made.base_url, "local": made.local, "key": made.has_key});
                record(tx, now, &by, "provider.created", &made.name, data)
            })
            .await?;
        self.look_at_provider(&row.name).await?;
        Ok(self.get_provider(caller, &row.name).await?.0)
    }

    pub async fn update_provider(
        self: &Arc<Self>,
        caller: &Caller,
        name: &str,
        changes: ProviderChanges,
    ) -> Result<ProviderRow> {
        operators(caller)?;
        if let Some(options) = &changes.options {
            options.validate()?;
        }
        if let Some(key) = &changes.key {
            check_key(key)?;
        }
        let base_url = changes.base_url.as_deref().map(check_url).transpose()?;
        let (now, wanted, seal, by) = (self.clock.now(), name.to_owned(), self.seal.clone(), caller.clone());
        self.store
            .write(move |tx| {
                tx.lock("model_providers")?;
                let mut row =
                    tx.model_provider(&wanted)?.ok_or_else(|| Error::not_found("provider", &wanted))?;
                if let Some(url) = base_url {
                    row.base_url = url;
                }
                if let Some(key) = &changes.key {
                    row.has_key = !key.expose().is_empty();
                    if row.has_key {
                        tx.put_secret(&seal, &provider_secrets(&wanted), "key", key, now.0)?;
                    } else {
                        tx.delete_secret(&provider_secrets(&wanted), "key")?;
                    }
                }
                row.enabled = changes.enabled.unwrap_or(row.enabled);
                row.local = changes.local.unwrap_or(row.local);
                row.options = changes.options.unwrap_or(row.options);
                tx.update_model_provider(&row, now)?;
                let data = json!({"base_url": row.base_url, "enabled": row.enabled, "local": row.local,
                    "key": changes.key.is_some()});
                record(tx, now, &by, "provider.changed", &wanted, data)
            })
            .await?;
        self.look_at_provider(name).await?;
        Ok(self.get_provider(caller, name).await?.0)
    }

    pub async fn delete_provider(&self, caller: &Caller, name: &str) -> Result<()> {
        operators(caller)?;
        let (now, wanted, by) = (self.clock.now(), name.to_owned(), caller.clone());
        self.store
            .write(move |tx| {
                if !tx.delete_model_provider(&wanted)? {
                    return Err(Error::not_found("provider", &wanted));
                }
                tx.delete_secrets(&provider_secrets(&wanted))?;
                record(tx, now, &by, "provider.deleted", &wanted, json!({}))
            })
            .await?;
        self.refresh_models().await
    }

    /// Asks a provider what it offers. That it cannot be asked is kept as its problem, and no error here.
    pub async fn refresh_provider(
        self: &Arc<Self>,
        caller: &Caller,
        name: &str,
    ) -> Result<(ProviderRow, Vec<ModelRow>)> {
        self.get_provider(caller, name).await?;
        self.look_at_provider(name).await?;
        self.get_provider(caller, name).await
    }

    pub(super) async fn look_at_provider(self: &Arc<Self>, name: &str) -> Result<()> {
        let Some(provider) = self.provider_with_key(name).await? else { return Ok(()) };
        if provider.enabled {
            let found = self.model_providers.list(&provider).await.map_err(|error| error.to_string());
            let (now, name) = (self.clock.now(), name.to_owned());
            self.store.write(move |tx| tx.put_found_models(&name, &found, now)).await?;
        }
        self.refresh_models().await
    }

    async fn provider_with_key(&self, name: &str) -> Result<Option<Provider>> {
        let (wanted, seal) = (name.to_owned(), self.seal.clone());
        let found = self
            .store
            .read(move |tx| {
                let key = tx.get_secret(&seal, &provider_secrets(&wanted), "key")?;
                Ok::<_, StoreError>(tx.model_provider(&wanted)?.map(|row| (row, key)))
            })
            .await?;
        Ok(found.map(|(row, key)| Provider {
            name: row.name,
            kind: row.kind,
            base_url: row.base_url,
            key,
            enabled: row.enabled,
            local: row.local,
            options: row.options,
        }))
    }

    /// What an operator says of a model: what it can do where the provider does not say, and whether it may be called.
    pub async fn put_model(
        &self,
        caller: &Caller,
        provider: &str,
        model: &str,
        stated: Capabilities,
        enabled: bool,
    ) -> Result<Vec<ModelRow>> {
        self.get_provider(caller, provider).await?;
        check_model("name", model)?;
        stated.validate("capabilities")?;
        let (now, by, of, name) = (self.clock.now(), caller.clone(), provider.to_owned(), model.to_owned());
        self.store
            .write(move |tx| {
                tx.put_model(&of, &name, &stated, enabled, now)?;
                let data = json!({"model": name, "enabled": enabled, "capabilities": stated});
                record(tx, now, &by, "provider.model_changed", &of, data)
            })
            .await?;
        self.refresh_models().await?;
        Ok(self.get_provider(caller, provider).await?.1)
    }

    /// Has a provider fetch a model, within the bytes that it may hold.
    pub async fn pull_model(
        self: &Arc<Self>,
        caller: &Caller,
        provider: &str,
        model: &str,
        progress: mpsc::Sender<Pulled>,
    ) -> Result<()> {
        let (row, models) = self.get_provider(caller, provider).await?;
        check_model("model", model)?;
        let quota = row.options.pull_bytes.ok_or_else(|| {
            Error::Conflict("nothing may be pulled onto this provider; set its option `pull_bytes`".into())
        })?;
        let held: i64 =
            models.iter().filter(|m| m.offered).filter_map(|m| m.found.bytes).fold(0, i64::saturating_add);
        let left = quota - held;
        if left <= 0 {
            return Err(Error::QuotaExceeded(format!("its models hold {held} of {quota} bytes already")));
        }
        let (now, by, of, name) = (self.clock.now(), caller.clone(), provider.to_owned(), model.to_owned());
        self.store
            .write(move |tx| record(tx, now, &by, "provider.pull", &of, json!({"model": name})))
            .await?;
        let Some(asked) = self.provider_with_key(provider).await? else {
            return Err(Error::not_found("provider", provider));
        };
        let pulled = self.model_providers.pull(&asked, model, left, progress).await;
        self.look_at_provider(provider).await?;
        pulled.map_err(|error| Error::Unavailable { message: error.to_string(), source: None })
    }
}

fn record(
    tx: &mut ryokan_store::Tx<'_>,
    now: Millis,
    by: &Caller,
    kind: &str,
    provider: &str,
    data: serde_json::Value,
) -> Result<()> {
    events::by_caller(tx, now, by, None, kind, "provider", provider, provider, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(check_url("http://127.0.0.1:11434/").unwrap(), "http://127.0.0.1:11434");
        assert_eq!(check_url("https://api.openai.com/v1").unwrap(), "https://api.openai.com/v1");
        for bad in
            ["", "ftp://x", "http://", "http://u:p@host", "http://h/?key=x", "http://h/#f", "http://h h"]
        {
            assert!(check_url(bad).is_err(), "{bad}");
        }
        for local in [
            "http://127.0.0.1:1",
            "http://[::1]:1/v1",
            "http://10.0.0.7",
            "http://ollama:11434",
            "http://gpu.lan",
        ] {
            assert!(is_local(local), "{local}");
        }
        for outside in ["https://api.openai.com/v1", "http://8.8.8.8", "https://[2001:db8::1]"] {
            assert!(!is_local(outside), "{outside}");
        }
    }
}
