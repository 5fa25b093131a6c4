//! Providers of models over HTTP: the adapter of [`ryokan_ports::ModelProviders`]. Addresses are an operator's, and may be
//! private. What providers say is believed only as far as it fits.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use ryokan_model::models::{Capabilities, Provider, ProviderKind, check_model};
use ryokan_ports::ModelProviders;
use ryokan_ports::models::{ProviderError, Pulled};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// For one look.
const PATIENCE: Duration = Duration::from_secs(10);
const LARGEST: usize = 8 * 1024 * 1024;
const MODELS: usize = 2_000;
/// Models of Ollama that are asked about one by one.
const SHOWN: usize = 200;
/// A line of a pull's progress.
const LINE: usize = 64 * 1024;
/// Between two lines.
const SILENCE: Duration = Duration::from_mins(5);

pub struct HttpModelProviders(reqwest::Client);

impl HttpModelProviders {
    pub fn new() -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .build()?;
        Ok(Self(client))
    }

    fn request(&self, provider: &Provider, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request =
            self.0.request(method, format!("{}{path}", provider.base_url)).header("user-agent", "ryokan");
        match (&provider.key, provider.kind) {
            (None, ProviderKind::Anthropic) => request.header("anthropic-version", "2023-06-01"),
            (None, _) => request,
            (Some(key), ProviderKind::Anthropic) => {
                request.header("anthropic-version", "2023-06-01").header("x-api-key", key.expose())
            }
            (Some(key), _) => request.bearer_auth(key.expose()),
        }
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Result<Value, ProviderError> {
        let response = request.timeout(PATIENCE).send().await.map_err(|e| unreachable(&e))?;
        let status = response.status();
        if !status.is_success() {
            return Err(refusal(status.as_u16()));
        }
        let mut stream = response.bytes_stream();
        let mut all = Vec::new();
        while let Some(piece) = stream.next().await {
            all.extend_from_slice(&piece.map_err(|e| unreachable(&e))?);
            if all.len() > LARGEST {
                return Err(ProviderError::Refused("its list of models is too large".into()));
            }
        }
        serde_json::from_slice(&all)
            .map_err(|_| ProviderError::Refused("it does not answer with JSON".into()))
    }

    async fn openai(&self, provider: &Provider) -> Result<Vec<(String, Capabilities)>, ProviderError> {
        let list = self.ask(self.request(provider, reqwest::Method::GET, "/models")).await?;
        let models = list["data"].as_array().cloned().unwrap_or_default();
        let can = |model: &Value| Capabilities {
            // vLLM, llama.cpp, LM Studio and OpenRouter, in this order.
            context: ["/max_model_len", "/meta/n_ctx", "/max_context_length", "/context_length"]
                .iter()
                .find_map(|place| model.pointer(place)?.as_i64())
                .filter(|n| *n > 0),
            bytes: model.pointer("/meta/size").and_then(Value::as_i64),
            images: modality(model, "image"),
            ..Capabilities::default()
        };
        Ok(models.iter().filter_map(|m| Some((m["id"].as_str()?.to_owned(), can(m)))).collect())
    }

    async fn anthropic(&self, provider: &Provider) -> Result<Vec<(String, Capabilities)>, ProviderError> {
        let list = self.ask(self.request(provider, reqwest::Method::GET, "/v1/models?limit=1000")).await?;
        let models = list["data"].as_array().cloned().unwrap_or_default();
        let can = |model: &Value| Capabilities {
            context: model["max_input_tokens"].as_i64(),
            max_output: model["max_tokens"].as_i64(),
            ..Capabilities::default()
        };
        Ok(models.iter().filter_map(|m| Some((m["id"].as_str()?.to_owned(), can(m)))).collect())
    }

    async fn ollama(&self, provider: &Provider) -> Result<Vec<(String, Capabilities)>, ProviderError> {
        let list = self.ask(self.request(provider, reqwest::Method::GET, "/api/tags")).await?;
        let models = list["models"].as_array().cloned().unwrap_or_default();
        let mut found = Vec::new();
        for model in models.iter().take(MODELS) {
            let Some(name) = model["name"].as_str().or(model["model"].as_str()) else { continue };
            let mut can = Capabilities { bytes: model["size"].as_i64(), ..Capabilities::default() };
            if found.len() < SHOWN {
                let show =
                    self.request(provider, reqwest::Method::POST, "/api/show").json(&json!({"model": name}));
                if let Ok(shown) = self.ask(show).await {
                    describe(&mut can, &shown);
                }
            }
            found.push((name.to_owned(), can));
        }
        Ok(found)
    }
}

fn modality(model: &Value, wanted: &str) -> Option<bool> {
    let inputs = model.pointer("/architecture/input_modalities")?.as_array()?;
    Some(inputs.iter().any(|input| input == wanted))
}

/// What Ollama says in `/api/show`.
fn describe(can: &mut Capabilities, shown: &Value) {
    if let Some(list) = shown["capabilities"].as_array() {
        let has = |what: &str| Some(list.iter().any(|c| c == what));
        (can.tools, can.images, can.embeddings) = (has("tools"), has("vision"), has("embedding"));
    }
    let info = shown["model_info"].as_object();
    let context = info.and_then(|info| info.iter().find(|(name, _)| name.ends_with(".context_length")));
    can.context = context.and_then(|(_, value)| value.as_i64()).filter(|n| *n > 0);
}

fn unreachable(error: &reqwest::Error) -> ProviderError {
    let what = if error.is_connect() {
        "it cannot be reached"
    } else if error.is_timeout() {
        "it does not answer in time"
    } else {
        "the connection broke off"
    };
    ProviderError::Unavailable(what.into())
}

fn refusal(status: u16) -> ProviderError {
    match status {
        401 | 403 => ProviderError::Refused("it refuses the key".into()),
        404 => ProviderError::Refused("there is no such API at this address".into()),
        _ => ProviderError::Unavailable(format!("it answers with HTTP {status}")),
    }
}

#[async_trait]
impl ModelProviders for HttpModelProviders {
    async fn list(&self, provider: &Provider) -> Result<Vec<(String, Capabilities)>, ProviderError> {
        let mut found = match provider.kind {
            ProviderKind::Openai => self.openai(provider).await?,
            ProviderKind::Anthropic => self.anthropic(provider).await?,
            ProviderKind::Ollama => self.ollama(provider).await?,
        };
        found.retain(|(name, _)| check_model("model", name).is_ok());
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found.dedup_by(|a, b| a.0 == b.0);
        found.truncate(MODELS);
        Ok(found)
    }

    async fn pull(
        &self,
        provider: &Provider,
        model: &str,
        most: i64,
        progress: mpsc::Sender<Pulled>,
    ) -> Result<(), ProviderError> {
        if provider.kind != ProviderKind::Ollama {
            return Err(ProviderError::Refused("only Ollama can be told to pull".into()));
        }
        let request = self.request(provider, reqwest::Method::POST, "/api/pull");
        let response = request
            .json(&json!({"model": model, "stream": true}))
            .send()
            .await
            .map_err(|e| unreachable(&e))?;
        if !response.status().is_success() {
            return Err(refusal(response.status().as_u16()));
        }
        let mut stream = response.bytes_stream();
        let (mut kept, mut layers) = (Vec::new(), std::collections::BTreeMap::<String, i64>::new());
        loop {
            let piece = match tokio::time::timeout(SILENCE, stream.next()).await {
                Err(_) => return Err(ProviderError::Unavailable("it fell silent".into())),
                Ok(None) => return Err(ProviderError::Unavailable("it broke the pull off".into())),
                Ok(Some(piece)) => piece.map_err(|e| unreachable(&e))?,
            };
            kept.extend_from_slice(&piece);
            while let Some(end) = kept.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = kept.drain(..=end).collect();
                let Ok(said) = serde_json::from_slice::<Value>(&line) else { continue };
                if said["error"].is_string() {
                    return Err(ProviderError::Refused("it cannot pull this model".into()));
                }
                let status =
                    said["status"].as_str().unwrap_or_default().chars().take(200).collect::<String>();
                let total = said["total"].as_i64();
                if let (Some(digest), Some(total)) = (said["digest"].as_str(), total)
                    && (layers.len() < 1_000 || layers.contains_key(digest))
                {
                    layers.insert(digest.to_owned(), total);
                }
                if layers.values().fold(0i64, |sum, n| sum.saturating_add(*n)) > most {
                    // Dropping the stream ends the pull.
                    return Err(ProviderError::Refused(format!(
                        "the model needs more than the {most} bytes left"
                    )));
                }
                let done = status == "success";
                let told = Pulled { status, completed: said["completed"].as_i64(), total };
                if progress.send(told).await.is_err() {
                    return Err(ProviderError::Unavailable("nobody waits for the pull any more".into()));
                }
                if done {
                    return Ok(());
                }
            }
            if kept.len() > LINE {
                return Err(ProviderError::Refused(
                    "it tells of its progress in lines that are too long".into(),
                ));
            }
        }
    }
}
