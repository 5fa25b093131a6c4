//! The model gateway over HTTP, against an upstream that shows every fault that is asked of it.

mod calls;
mod faults;
mod manage;
mod money;
mod upstream;

use serde_json::{Value, json};

use crate::support::{Client, Site, eventually};

pub(crate) use upstream::Upstream;

/// A provider of this kind at `upstream`.
async fn provide(site: &Site, name: &str, kind: &str, upstream: &Upstream, options: Value) {
    let base = if kind == "openai" { format!("{}/v1", upstream.url) } else { upstream.url.clone() };
    let new = json!({"name": name, "kind": kind, "base_url": base, "key": upstream::KEY, "options": options});
    let made = site.operator().post("/v1/providers", new).await.expect(200);
    assert_eq!(made["problem"], Value::Null, "{made}");
}

fn ask(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hello"}]})
}

fn streamed(model: &str) -> Value {
    let mut ask = ask(model);
    ask["stream"] = json!(true);
    ask
}

/// The calls of the operator's project, the newest first, once there are so many.
async fn calls(client: &Client, count: usize) -> Vec<Value> {
    eventually("calls are written down", async || {
        let found = client.get("/v1/projects/operator/model-calls?limit=500").await.items();
        if found.len() == count { Ok(found) } else { Err(format!("{} of {count}: {found:?}", found.len())) }
    })
    .await
}

/// Nothing is set aside.
async fn nothing_held(site: &Site) {
    let app = site.app();
    eventually("nothing is set aside", async || {
        match app.store.read(|tx| tx.count_model_holds()).await.unwrap() {
            0 => Ok(()),
            n => Err(format!("{n} holds")),
        }
    })
    .await;
}
