//! A chat completion, as a response (OpenAI's newer API), whole or as its stream of events.

use serde_json::{Value, json};

use super::{Told, event, strange};
use crate::models::fault::Fault;
use crate::models::relay::Translate;

fn usage(theirs: &Value) -> Value {
    let count = |value: &Value| value.as_i64().unwrap_or(0).max(0);
    let (input, output) = (count(&theirs["prompt_tokens"]), count(&theirs["completion_tokens"]));
    json!({"input_tokens": input, "output_tokens": output, "total_tokens": input + output,
        "input_tokens_details": {"cached_tokens": count(&theirs["prompt_tokens_details"]["cached_tokens"])},
        "output_tokens_details": {"reasoning_tokens": count(&theirs["completion_tokens_details"]["reasoning_tokens"])}})
}

fn message(id: &str, part: &Value, status: &str) -> Value {
    json!({"type": "message", "id": format!("msg_{id}"), "status": status, "role": "assistant", "content": [part]})
}

fn text_part(said: &str) -> Value {
    json!({"type": "output_text", "text": said, "annotations": [], "logprobs": []})
}

fn call_item(id: &Value, name: &Value, arguments: &str, status: &str) -> Value {
    let id = id.as_str().unwrap_or_default();
    json!({"type": "function_call", "id": format!("fc_{id}"), "call_id": id, "name": name, "arguments": arguments,
        "status": status})
}

/// The object around the output. A response that was cut short says why.
fn response(told: &Told, id: &str, output: &[Value], finish: Option<&str>, usage: &Value) -> Value {
    let (status, why) = match finish {
        None => ("in_progress", Value::Null),
        Some("length") => ("incomplete", json!({"reason": "max_output_tokens"})),
        Some("content_filter") => ("incomplete", json!({"reason": "content_filter"})),
        Some(_) => ("completed", Value::Null),
    };
    let completed = if status == "completed" { json!(told.created) } else { Value::Null };
    let mut made = json!({"id": format!("resp_{id}"), "object": "response", "created_at": told.created,
        "completed_at": completed, "status": status, "error": null, "incomplete_details": why, "model": told.model,
        "output": output, "usage": usage});
    for (name, value) in &told.echo {
        made[name.as_str()] = value.clone();
    }
    made
}

pub(super) fn whole(answer: &Value, told: &Told) -> Result<Value, Fault> {
    let choice = answer["choices"].get(0).ok_or_else(|| strange("sent no choice"))?;
    let said = &choice["message"];
    let id = answer["id"].as_str().unwrap_or_default();
    let finish = choice["finish_reason"].as_str().unwrap_or("stop");
    let status = if matches!(finish, "length" | "content_filter") { "incomplete" } else { "completed" };
    let mut output = Vec::new();
    if let Some(refusal) = said["refusal"].as_str() {
        output.push(message(id, &json!({"type": "refusal", "refusal": refusal}), status));
    } else if let Some(text) = said["content"].as_str().filter(|text| !text.is_empty()) {
        output.push(message(id, &text_part(text), status));
    }
    for call in said["tool_calls"].as_array().map_or(&[][..], Vec::as_slice) {
        let function = &call["function"];
        let arguments = function["arguments"].as_str().unwrap_or_default();
        output.push(call_item(&call["id"], &function["name"], arguments, "completed"));
    }
    Ok(response(told, id, &output, Some(finish), &usage(&answer["usage"])))
}

/// The item that a stream is in the middle of.
enum Open {
    Nothing,
    Text(String),
    Call { index: i64, id: Value, name: Value, arguments: String },
}

pub(super) struct Stream {
    told: Told,
    id: String,
    begun: bool,
    sequence: i64,
    open: Open,
    output: Vec<Value>,
    finish: Option<String>,
    usage: Value,
    over: bool,
}

impl Stream {
    pub(super) fn new(told: Told) -> Self {
        let (id, usage) = (String::new(), Value::Null);
        let (output, finish) = (Vec::new(), None);
        Self { told, id, begun: false, sequence: 0, open: Open::Nothing, output, finish, usage, over: false }
    }

    fn tell(&mut self, out: &mut Vec<u8>, kind: &str, mut data: Value) {
        data["type"] = json!(kind);
        data["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        event(out, Some(kind), &data);
    }

    fn begin(&mut self, id: &Value, out: &mut Vec<u8>) {
        if self.begun {
            return;
        }
        self.begun = true;
        id.as_str().unwrap_or_default().clone_into(&mut self.id);
        let now = response(&self.told, &self.id, &[], None, &Value::Null);
        self.tell(out, "response.created", json!({"response": now.clone()}));
        self.tell(out, "response.in_progress", json!({"response": now}));
    }

    fn at(&self) -> usize {
        self.output.len()
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        let at = self.at();
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => {}
            Open::Text(said) => {
                let item_id = format!("msg_{}", self.id);
                let place = |more: Value| {
                    let mut place = json!({"item_id": item_id, "output_index": at, "content_index": 0});
                    for (name, value) in more.as_object().into_iter().flatten() {
                        place[name.as_str()] = value.clone();
                    }
                    place
                };
                self.tell(out, "response.output_text.done", place(json!({"text": said, "logprobs": []})));
                self.tell(out, "response.content_part.done", place(json!({"part": text_part(&said)})));
                let item = message(&self.id, &text_part(&said), "completed");
                self.tell(
                    out,
                    "response.output_item.done",
                    json!({"output_index": at, "item": item.clone()}),
                );
                self.output.push(item);
            }
            Open::Call { id, name, arguments, .. } => {
                let item = call_item(&id, &name, &arguments, "completed");
                let done =
                    json!({"item_id": item["id"], "output_index": at, "arguments": arguments, "name": name});
                self.tell(out, "response.function_call_arguments.done", done);
                self.tell(
                    out,
                    "response.output_item.done",
                    json!({"output_index": at, "item": item.clone()}),
                );
                self.output.push(item);
            }
        }
    }

    fn say(&mut self, words: &str, out: &mut Vec<u8>) {
        if !matches!(self.open, Open::Text(_)) {
            self.close(out);
            let at = self.at();
            let mut item = message(&self.id, &Value::Null, "in_progress");
            item["content"] = json!([]);
            self.tell(out, "response.output_item.added", json!({"output_index": at, "item": item}));
            let part = json!({"item_id": format!("msg_{}", self.id), "output_index": at, "content_index": 0,
                "part": text_part("")});
            self.tell(out, "response.content_part.added", part);
            self.open = Open::Text(String::new());
        }
        if let Open::Text(said) = &mut self.open {
            said.push_str(words);
        }
        let delta = json!({"item_id": format!("msg_{}", self.id), "output_index": self.at(), "content_index": 0,
            "delta": words, "logprobs": []});
        self.tell(out, "response.output_text.delta", delta);
    }

    fn call(&mut self, call: &Value, out: &mut Vec<u8>) -> Result<(), Fault> {
        let wanted = call["index"].as_i64().unwrap_or(0);
        if !matches!(&self.open, Open::Call { index, .. } if *index == wanted) {
            if !call["id"].is_string() {
                return Err(strange("mixed the calls of tools in its stream"));
            }
            self.close(out);
            let (id, name) = (call["id"].clone(), call["function"]["name"].clone());
            let item = call_item(&id, &name, "", "in_progress");
            self.tell(out, "response.output_item.added", json!({"output_index": self.at(), "item": item}));
            self.open = Open::Call { index: wanted, id, name, arguments: String::new() };
        }
        let at = self.at();
        if let Some(piece) = call["function"]["arguments"].as_str().filter(|piece| !piece.is_empty())
            && let Open::Call { id, arguments, .. } = &mut self.open
        {
            arguments.push_str(piece);
            let item = format!("fc_{}", id.as_str().unwrap_or_default());
            let delta = json!({"item_id": item, "output_index": at, "delta": piece});
            self.tell(out, "response.function_call_arguments.delta", delta);
        }
        Ok(())
    }

    fn stop(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let Some(finish) = self.finish.take() else {
            let error = json!({"code": "server_error", "message": "the provider broke its answer off", "param": null});
            self.tell(out, "error", error);
            return;
        };
        self.close(out);
        let whole = response(&self.told, &self.id, &self.output, Some(&finish), &usage(&self.usage));
        let kind = if whole["status"] == "completed" { "response.completed" } else { "response.incomplete" };
        self.tell(out, kind, json!({"response": whole}));
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
            self.say(words, out);
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
