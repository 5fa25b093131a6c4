//! A request for a response (OpenAI's newer API), as a request for a chat completion. Nothing is kept between two requests:
//! what would need that is refused.

use serde_json::{Map, Value, json};

use super::{array, copy, only, text, untold};
use crate::models::fault::Fault;

const TOLD: &[&str] = &[
    "model",
    "input",
    "instructions",
    "max_output_tokens",
    "temperature",
    "top_p",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "stream",
    "text",
    "reasoning",
    "user",
];
/// `include` asks for more than is there; nothing of it comes.
const HARMLESS: &[&str] = &[
    "metadata",
    "service_tier",
    "prompt_cache_key",
    "safety_identifier",
    "include",
    "stream_options",
    "prompt_cache_retention",
];
const NOT_KEPT: &str = "responses are not kept here; send the whole conversation as `input`";

pub(super) fn to_chat(asked: &Map<String, Value>) -> Result<Value, Fault> {
    for field in ["previous_response_id", "conversation"] {
        if asked.get(field).is_some_and(|value| !value.is_null()) {
            return Err(Fault::invalid(field, NOT_KEPT));
        }
    }
    if asked.get("store") == Some(&Value::Bool(true)) {
        return Err(Fault::invalid("store", "responses are not kept here; send `false`, or leave it out"));
    }
    if asked.get("truncation").is_some_and(|value| !value.is_null() && value != "disabled") {
        return Err(Fault::invalid("truncation", "must be `disabled`"));
    }
    let without: Map<String, Value> =
        asked.iter().filter(|(name, _)| *name != "truncation").map(|(n, v)| (n.clone(), v.clone())).collect();
    only(&without, TOLD, HARMLESS)?;
    let mut chat = json!({});
    copy(asked, &mut chat, &["temperature", "top_p", "stream", "user"]);
    if chat["stream"] == true {
        chat["stream_options"] = json!({"include_usage": true});
    }
    if let Some(limit) = asked.get("max_output_tokens").filter(|limit| !limit.is_null()) {
        chat["max_tokens"] = limit.clone();
    }
    if let Some(effort) = asked.get("reasoning").and_then(|reasoning| reasoning["effort"].as_str()) {
        chat["reasoning_effort"] = json!(effort);
    }
    format(asked, &mut chat)?;
    tools(asked, &mut chat)?;
    let mut messages = Vec::new();
    if let Some(instructions) = asked.get("instructions").and_then(Value::as_str) {
        messages.push(json!({"role": "system", "content": instructions}));
    }
    match asked.get("input") {
        Some(Value::String(said)) => messages.push(json!({"role": "user", "content": said})),
        Some(items) => {
            for (at, item) in array(items, "input")?.iter().enumerate() {
                add(item, &format!("input[{at}]"), &mut messages)?;
            }
        }
        None => return Err(Fault::invalid("input", "is missing")),
    }
    chat["messages"] = json!(messages);
    Ok(chat)
}

fn format(asked: &Map<String, Value>, chat: &mut Value) -> Result<(), Fault> {
    let Some(wanted) = asked.get("text") else { return Ok(()) };
    if let Some(verbosity) = wanted["verbosity"].as_str() {
        chat["verbosity"] = json!(verbosity);
    }
    let format = &wanted["format"];
    match format["type"].as_str() {
        None | Some("text") => {}
        Some("json_object") => chat["response_format"] = json!({"type": "json_object"}),
        Some("json_schema") => {
            let mut schema = json!({});
            if let Some(format) = format.as_object() {
                copy(format, &mut schema, &["name", "schema", "strict", "description"]);
            }
            chat["response_format"] = json!({"type": "json_schema", "json_schema": schema});
        }
        Some(_) => return Err(untold("text.format.type")),
    }
    Ok(())
}

fn tools(asked: &Map<String, Value>, chat: &mut Value) -> Result<(), Fault> {
    let given = asked.get("tools").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut tools = Vec::new();
    for (at, tool) in given.iter().enumerate() {
        if tool["type"] != "function" {
            let what = "only functions can be called here; tools that OpenAI itself runs are not";
            return Err(Fault::invalid(&format!("tools[{at}].type"), what));
        }
        let mut function = json!({});
        if let Some(tool) = tool.as_object() {
            copy(tool, &mut function, &["name", "description", "parameters", "strict"]);
        }
        tools.push(json!({"type": "function", "function": function}));
    }
    if tools.is_empty() {
        return Ok(());
    }
    chat["tools"] = json!(tools);
    copy(asked, chat, &["parallel_tool_calls"]);
    match asked.get("tool_choice") {
        None | Some(Value::Null) => {}
        Some(word @ Value::String(_)) => chat["tool_choice"] = word.clone(),
        Some(choice) if choice["type"] == "function" => {
            let name = text(&choice["name"], "tool_choice.name")?;
            chat["tool_choice"] = json!({"type": "function", "function": {"name": name}});
        }
        Some(_) => return Err(untold("tool_choice")),
    }
    Ok(())
}

fn add(item: &Value, field: &str, messages: &mut Vec<Value>) -> Result<(), Fault> {
    match item["type"].as_str() {
        None | Some("message") => {
            let role = text(&item["role"], &format!("{field}.role"))?;
            let role = if role == "developer" { "system" } else { role };
            if !matches!(role, "user" | "assistant" | "system") {
                return Err(Fault::invalid(
                    &format!("{field}.role"),
                    "must be user, assistant, system or developer",
                ));
            }
            messages.push(json!({"role": role, "content": content(&item["content"], field)?}));
        }
        Some("function_call") => {
            let (id, name) =
                (text(&item["call_id"], &format!("{field}.call_id"))?, text(&item["name"], field)?);
            let arguments = text(&item["arguments"], &format!("{field}.arguments"))?;
            let call =
                json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
            // Calls of one turn belong to one message.
            match messages.last_mut().filter(|last| last["role"] == "assistant") {
                Some(last) => match last["tool_calls"].as_array_mut() {
                    Some(calls) => calls.push(call),
                    None => last["tool_calls"] = json!([call]),
                },
                None => messages.push(json!({"role": "assistant", "content": null, "tool_calls": [call]})),
            }
        }
        Some("function_call_output") => {
            let id = text(&item["call_id"], &format!("{field}.call_id"))?;
            let output = match &item["output"] {
                Value::String(said) => json!(said),
                parts => content(parts, field)?,
            };
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": output}));
        }
        // The model's own thoughts, which nobody but their maker can read.
        Some("reasoning") => {}
        Some("item_reference") => return Err(Fault::invalid(&format!("{field}.type"), NOT_KEPT)),
        Some(_) => return Err(untold(&format!("{field}.type"))),
    }
    Ok(())
}

fn content(content: &Value, field: &str) -> Result<Value, Fault> {
    if let Value::String(said) = content {
        return Ok(json!(said));
    }
    let mut parts = Vec::new();
    for part in array(content, &format!("{field}.content"))? {
        parts.push(match part["type"].as_str() {
            Some("input_text" | "output_text" | "text") => json!({"type": "text", "text": part["text"]}),
            Some("refusal") => json!({"type": "text", "text": part["refusal"]}),
            Some("input_image") if part["image_url"].is_string() => {
                let mut image = json!({"url": part["image_url"]});
                if let Some(detail) = part["detail"].as_str() {
                    image["detail"] = json!(detail);
                }
                json!({"type": "image_url", "image_url": image})
            }
            _ => return Err(untold(&format!("{field}.content.type"))),
        });
    }
    // The plainest form, which all servers know.
    if parts.iter().all(|part| part["type"] == "text") {
        let all: Vec<&str> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
        return Ok(json!(all.join("\n")));
    }
    Ok(json!(parts))
}

/// What the answer repeats of the request.
pub(super) fn echo(asked: &Map<String, Value>) -> Map<String, Value> {
    let or = |name: &str, default: Value| {
        (name.to_owned(), asked.get(name).filter(|value| !value.is_null()).cloned().unwrap_or(default))
    };
    let tools: Vec<Value> = asked
        .get("tools")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .map(|tool| {
            let mut tool = tool.clone();
            for name in ["strict", "parameters", "description"] {
                if tool.get(name).is_none() {
                    tool[name] = Value::Null;
                }
            }
            tool
        })
        .collect();
    let reasoning = asked.get("reasoning").cloned().unwrap_or_default();
    let mut text = asked.get("text").cloned().unwrap_or_else(|| json!({}));
    if text["format"].is_null() {
        text["format"] = json!({"type": "text"});
    }
    [
        or("instructions", Value::Null),
        or("max_output_tokens", Value::Null),
        or("temperature", json!(1.0)),
        or("top_p", json!(1.0)),
        or("tool_choice", json!("auto")),
        or("parallel_tool_calls", json!(true)),
        or("metadata", json!({})),
        or("truncation", json!("disabled")),
        or("service_tier", json!("default")),
        or("safety_identifier", Value::Null),
        or("prompt_cache_key", Value::Null),
        ("tools".to_owned(), json!(tools)),
        ("text".to_owned(), text),
        ("reasoning".to_owned(), json!({"effort": reasoning["effort"], "summary": reasoning["summary"]})),
        ("previous_response_id".to_owned(), Value::Null),
        ("store".to_owned(), json!(false)),
        ("background".to_owned(), json!(false)),
        ("presence_penalty".to_owned(), json!(0.0)),
        ("frequency_penalty".to_owned(), json!(0.0)),
        ("top_logprobs".to_owned(), json!(0)),
        ("max_tool_calls".to_owned(), Value::Null),
    ]
    .into_iter()
    .collect()
}
