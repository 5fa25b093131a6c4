//! A chat completion, as one of Anthropic's messages.

use serde_json::{Value, json};

use super::{Told, event, strange};
use crate::models::fault::Fault;
use crate::models::relay::Translate;

/// That a stop sequence ended it is not told over there, so it reads as an ordinary end.
fn reason(finish: &str) -> &'static str {
    match finish {
        "length" => "max_tokens",
        "tool_calls" | "function_call" => "tool_use",
        "content_filter" => "refusal",
        _ => "end_turn",
    }
}

fn usage(theirs: &Value) -> Value {
    let count = |value: &Value| value.as_i64().unwrap_or(0).max(0);
    let input = count(&theirs["prompt_tokens"]);
    let cached = count(&theirs["prompt_tokens_details"]["cached_tokens"]).min(input);
    json!({"input_tokens": input - cached, "cache_read_input_tokens": cached, "cache_creation_input_tokens": 0,
        "output_tokens": count(&theirs["completion_tokens"])})
}

pub(super) fn whole(answer: &Value, told: &Told) -> Result<Value, Fault> {
    let choice = answer["choices"].get(0).ok_or_else(|| strange("sent no choice"))?;
    let message = &choice["message"];
    let mut blocks = Vec::new();
    let said = message["content"].as_str().filter(|s| !s.is_empty()).or(message["refusal"].as_str());
    if let Some(said) = said {
        blocks.push(json!({"type": "text", "text": said}));
    }
    for call in message["tool_calls"].as_array().map_or(&[][..], Vec::as_slice) {
        let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
        let input: Value = match arguments.trim() {
            "" => json!({}),
            arguments => serde_json::from_str(arguments)
                .map_err(|_| strange("made a call of a tool with arguments that are not JSON"))?,
        };
        blocks.push(
            json!({"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": input}),
        );
    }
    let calls = blocks.iter().any(|block| block["type"] == "tool_use");
    let finish = choice["finish_reason"].as_str().unwrap_or("stop");
    // Some servers end with `stop` although there are calls.
    let stop = if calls && finish == "stop" { "tool_use" } else { reason(finish) };
    Ok(json!({
        "id": format!("msg_{}", answer["id"].as_str().unwrap_or_default()),
        "type": "message",
        "role": "assistant",
        "model": told.model,
        "content": blocks,
        "stop_reason": stop,
        "stop_sequence": null,
        "usage": usage(&answer["usage"]),
    }))
}

/// What is open in a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Text,
    /// The call with this index of theirs.
    Call(i64),
}

pub(super) struct Stream {
    told: Told,
    begun: bool,
    open: Open,
    /// Blocks so far.
    blocks: i64,
    finish: Option<String>,
    called: bool,
    usage: Value,
    over: bool,
}

impl Stream {
    pub(super) fn new(told: Told) -> Self {
        let usage = Value::Null;
        Self {
            told,
            begun: false,
            open: Open::Nothing,
            blocks: 0,
            finish: None,
            called: false,
            usage,
            over: false,
        }
    }

    fn begin(&mut self, id: &Value, out: &mut Vec<u8>) {
        if self.begun {
            return;
        }
        self.begun = true;
        let message = json!({"id": format!("msg_{}", id.as_str().unwrap_or_default()), "type": "message",
            "role": "assistant", "model": self.told.model, "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": 0, "output_tokens": 0}});
        event(out, Some("message_start"), &json!({"type": "message_start", "message": message}));
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open != Open::Nothing {
            let stop = json!({"type": "content_block_stop", "index": self.blocks - 1});
            event(out, Some("content_block_stop"), &stop);
            self.open = Open::Nothing;
        }
    }

    fn start(&mut self, open: Open, block: &Value, out: &mut Vec<u8>) {
        self.close(out);
        let start = json!({"type": "content_block_start", "index": self.blocks, "content_block": block});
        event(out, Some("content_block_start"), &start);
        self.open = open;
        self.blocks += 1;
    }

    fn delta(&self, delta: &Value, out: &mut Vec<u8>) {
        let delta = json!({"type": "content_block_delta", "index": self.blocks - 1, "delta": delta});
        event(out, Some("content_block_delta"), &delta);
    }

    fn call(&mut self, call: &Value, out: &mut Vec<u8>) -> Result<(), Fault> {
        let index = call["index"].as_i64().unwrap_or(0);
        if self.open != Open::Call(index) {
            if !call["id"].is_string() {
                return Err(strange("mixed the calls of tools in its stream"));
            }
            let block =
                json!({"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": {}});
            self.start(Open::Call(index), &block, out);
            self.called = true;
        }
        if let Some(piece) = call["function"]["arguments"].as_str().filter(|piece| !piece.is_empty()) {
            self.delta(&json!({"type": "input_json_delta", "partial_json": piece}), out);
        }
        Ok(())
    }

    fn stop(&mut self, out: &mut Vec<u8>) {
        if self.over {
            return;
        }
        self.over = true;
        let Some(finish) = self.finish.take() else {
            out.extend(strange("broke its answer off").to_event(crate::models::fault::Dialect::Anthropic));
            return;
        };
        self.close(out);
        let stop = if self.called && finish == "stop" { "tool_use" } else { reason(&finish) };
        let delta = json!({"stop_reason": stop, "stop_sequence": null});
        event(
            out,
            Some("message_delta"),
            &json!({"type": "message_delta", "delta": delta, "usage": usage(&self.usage)}),
        );
        event(out, Some("message_stop"), &json!({"type": "message_stop"}));
    }
}

impl Translate for Stream {
    fn event(&mut self, data: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
        if data == "[DONE]" {
            self.stop(out);
            return Ok(());
        }
        let said: Value =
            serde_json::from_str(data).map_err(|_| strange("sent an event that is not JSON"))?;
        if let Some(message) = said["error"]["message"].as_str() {
            return Err(strange(&format!("says: {}", message.chars().take(500).collect::<String>())));
        }
        self.begin(&said["id"], out);
        if said["usage"].is_object() {
            self.usage = said["usage"].clone();
        }
        let Some(choice) = said["choices"].get(0) else { return Ok(()) };
        let delta = &choice["delta"];
        let words = delta["content"].as_str().filter(|s| !s.is_empty()).or(delta["refusal"].as_str());
        if let Some(words) = words {
            if self.open != Open::Text {
                self.start(Open::Text, &json!({"type": "text", "text": ""}), out);
            }
            self.delta(&json!({"type": "text_delta", "text": words}), out);
        }
        for call in delta["tool_calls"].as_array().map_or(&[][..], Vec::as_slice) {
            self.call(call, out)?;
        }
        if let Some(finish) = choice["finish_reason"].as_str() {
            self.finish = Some(finish.to_owned());
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.stop(out);
    }
}
