//! One of Anthropic's messages, as a chat completion.

use serde_json::{Value, json};

use super::{Told, event, strange};
use crate::models::fault::Fault;
use crate::models::relay::Translate;

fn reason(stop: &Value) -> Value {
    match stop.as_str() {
        None => Value::Null,
        Some("max_tokens" | "model_context_window_exceeded") => json!("length"),
        Some("tool_use") => json!("tool_calls"),
        Some("refusal") => json!("content_filter"),
        Some(_) => json!("stop"),
    }
}

/// Theirs count apart what was in the cache; here it is a part of the input.
fn usage(theirs: &Value) -> Value {
    let count = |name: &str| theirs[name].as_i64().unwrap_or(0);
    let cached = count("cache_read_input_tokens");
    let input = count("input_tokens") + cached + count("cache_creation_input_tokens");
    let output = count("output_tokens");
    json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
        "prompt_tokens_details": {"cached_tokens": cached}})
}

pub(super) fn whole(message: &Value, told: &Told) -> Result<Value, Fault> {
    let blocks = message["content"].as_array().ok_or_else(|| strange("sent no message"))?;
    let (mut said, mut calls) = (None, Vec::new());
    for block in blocks {
        match block["type"].as_str() {
            Some("text") => {
                said.get_or_insert_with(String::new).push_str(block["text"].as_str().unwrap_or_default());
            }
            Some("tool_use") => calls.push(json!({"id": block["id"], "type": "function",
                "function": {"name": block["name"], "arguments": block["input"].to_string()}})),
            // Thoughts have no place here.
            _ => {}
        }
    }
    let mut answer = json!({"role": "assistant", "content": said, "refusal": null});
    if !calls.is_empty() {
        answer["tool_calls"] = json!(calls);
    }
    Ok(json!({
        "id": format!("chatcmpl-{}", message["id"].as_str().unwrap_or_default()),
        "object": "chat.completion",
        "created": told.created,
        "model": told.model,
        "choices": [{"index": 0, "message": answer, "logprobs": null, "finish_reason": reason(&message["stop_reason"])}],
        "usage": usage(&message["usage"]),
    }))
}

pub(super) struct Stream {
    told: Told,
    id: String,
    usage: Value,
    /// Calls so far.
    calls: i64,
    /// Of the call that is open: whether any argument came.
    open: Option<bool>,
    over: bool,
}

impl Stream {
    pub(super) fn new(told: Told) -> Self {
        Self { told, id: String::new(), usage: json!({}), calls: 0, open: None, over: false }
    }

    fn chunk(&self, choices: &Value, usage: Option<&Value>) -> Value {
        let mut chunk = json!({"id": self.id, "object": "chat.completion.chunk", "created": self.told.created,
            "model": self.told.model, "choices": choices});
        if self.told.include_usage {
            chunk["usage"] = usage.cloned().unwrap_or(Value::Null);
        }
        chunk
    }

    fn delta(&self, out: &mut Vec<u8>, delta: &Value, finish: &Value) {
        let choices = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
        event(out, None, &self.chunk(&choices, None));
    }

    fn arguments(&self, out: &mut Vec<u8>, piece: &Value) {
        let call = json!({"tool_calls": [{"index": self.calls - 1, "function": {"arguments": piece}}]});
        self.delta(out, &call, &Value::Null);
    }
}

impl Translate for Stream {
    fn event(&mut self, data: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
        let said: Value =
            serde_json::from_str(data).map_err(|_| strange("sent an event that is not JSON"))?;
        match said["type"].as_str() {
            Some("message_start") => {
                self.id = format!("chatcmpl-{}", said["message"]["id"].as_str().unwrap_or_default());
                self.usage = said["message"]["usage"].clone();
                self.delta(out, &json!({"role": "assistant", "content": "", "refusal": null}), &Value::Null);
            }
            Some("content_block_start") if said["content_block"]["type"] == "tool_use" => {
                let block = &said["content_block"];
                let call = json!({"tool_calls": [{"index": self.calls, "id": block["id"], "type": "function",
                    "function": {"name": block["name"], "arguments": ""}}]});
                self.calls += 1;
                self.open = Some(false);
                self.delta(out, &call, &Value::Null);
            }
            Some("content_block_delta") => {
                let delta = &said["delta"];
                match delta["type"].as_str() {
                    Some("text_delta") => self.delta(out, &json!({"content": delta["text"]}), &Value::Null),
                    Some("input_json_delta") if delta["partial_json"] != "" => {
                        self.open = Some(true);
                        self.arguments(out, &delta["partial_json"]);
                    }
                    _ => {}
                }
            }
            Some("content_block_stop") if self.open.take() == Some(false) => {
                self.arguments(out, &json!("{}"));
            }
            Some("message_delta") => {
                if let (Some(all), Some(more)) = (self.usage.as_object_mut(), said["usage"].as_object()) {
                    all.extend(
                        more.iter().filter(|(_, n)| n.is_i64()).map(|(name, n)| (name.clone(), n.clone())),
                    );
                }
                self.delta(out, &json!({}), &reason(&said["delta"]["stop_reason"]));
            }
            Some("message_stop") => {
                if self.told.include_usage {
                    event(out, None, &self.chunk(&json!([]), Some(&usage(&self.usage))));
                }
                out.extend(b"data: [DONE]\n\n");
                self.over = true;
            }
            Some("error") => {
                let message =
                    said["error"]["message"].as_str().unwrap_or("failed in the middle of its answer");
                return Err(strange(&format!("says: {}", message.chars().take(500).collect::<String>())));
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if !self.over {
            out.extend(strange("broke its answer off").to_event(crate::models::fault::Dialect::Openai));
        }
    }
}
