//! A request for a chat completion, as a request for one of Anthropic's messages.

use serde_json::{Map, Value, json};

use super::{array, copy, only, text, untold};
use crate::models::fault::Fault;

const TOLD: &[&str] = &[
    "model",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "stop",
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "user",
    "n",
    "response_format",
];
/// Without them the answer is no other than anybody could rely on.
const HARMLESS: &[&str] = &[
    "seed",
    "store",
    "metadata",
    "service_tier",
    "prompt_cache_key",
    "safety_identifier",
    "top_logprobs",
    "verbosity",
];

pub(super) fn of_chat(chat: &Map<String, Value>) -> Result<Value, Fault> {
    only(chat, TOLD, HARMLESS)?;
    if chat.get("n").and_then(Value::as_i64).unwrap_or(1) != 1 {
        return Err(untold("n"));
    }
    if chat.get("response_format").is_some_and(|f| !f.is_null() && f["type"] != "text") {
        return Err(untold("response_format"));
    }
    let mut request = json!({});
    let limit = chat.get("max_completion_tokens").or(chat.get("max_tokens"));
    if let Some(limit) = limit.filter(|limit| !limit.is_null()) {
        request["max_tokens"] = limit.clone();
    }
    copy(chat, &mut request, &["temperature", "top_p", "stream"]);
    if request["temperature"].as_f64().is_some_and(|t| t > 1.0) {
        return Err(Fault::invalid("temperature", "must be at most 1 for this provider"));
    }
    match chat.get("stop") {
        Some(Value::String(stop)) => request["stop_sequences"] = json!([stop]),
        Some(stop @ Value::Array(_)) => request["stop_sequences"] = stop.clone(),
        _ => {}
    }
    if let Some(user) = chat.get("user").and_then(Value::as_str) {
        request["metadata"] = json!({"user_id": user});
    }
    tools(chat, &mut request)?;
    let empty = json!([]);
    conversation(array(chat.get("messages").unwrap_or(&empty), "messages")?, &mut request)?;
    Ok(request)
}

fn tools(chat: &Map<String, Value>, request: &mut Value) -> Result<(), Fault> {
    let given = chat.get("tools").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut tools = Vec::new();
    for (at, tool) in given.iter().enumerate() {
        let field = format!("tools[{at}]");
        if tool["type"] != "function" {
            return Err(untold(&format!("{field}.type")));
        }
        let function = &tool["function"];
        if function["strict"] == true {
            return Err(untold(&format!("{field}.function.strict")));
        }
        let schema = match &function["parameters"] {
            Value::Null => json!({"type": "object", "properties": {}}),
            schema => schema.clone(),
        };
        let mut made = json!({"name": text(&function["name"], &format!("{field}.function.name"))?, "input_schema": schema});
        if let Some(description) = function["description"].as_str() {
            made["description"] = json!(description);
        }
        tools.push(made);
    }
    if tools.is_empty() {
        return Ok(());
    }
    request["tools"] = json!(tools);
    let choice = match chat.get("tool_choice") {
        None | Some(Value::Null) => None,
        Some(Value::String(word)) => Some(match word.as_str() {
            "auto" => json!({"type": "auto"}),
            "none" => json!({"type": "none"}),
            "required" => json!({"type": "any"}),
            _ => return Err(untold("tool_choice")),
        }),
        Some(choice) if choice["type"] == "function" => Some(
            json!({"type": "tool", "name": text(&choice["function"]["name"], "tool_choice.function.name")?}),
        ),
        Some(_) => return Err(untold("tool_choice")),
    };
    let choice = match (choice, chat.get("parallel_tool_calls")) {
        (choice, Some(Value::Bool(false))) => {
            let mut choice = choice.unwrap_or_else(|| json!({"type": "auto"}));
            if choice["type"] != "none" {
                choice["disable_parallel_tool_use"] = json!(true);
            }
            Some(choice)
        }
        (choice, _) => choice,
    };
    if let Some(choice) = choice {
        request["tool_choice"] = choice;
    }
    Ok(())
}

fn conversation(messages: &[Value], request: &mut Value) -> Result<(), Fault> {
    let (mut system, mut made): (Vec<String>, Vec<Value>) = (Vec::new(), Vec::new());
    for (at, message) in messages.iter().enumerate() {
        let field = format!("messages[{at}]");
        match message["role"].as_str() {
            Some("system" | "developer") if made.is_empty() => {
                for part in parts(&message["content"], &field)? {
                    system.push(text(&part["text"], &format!("{field}.content"))?.to_owned());
                }
            }
            Some("system" | "developer") => {
                let what = "a system message after others cannot be told to this provider; put it first";
                return Err(Fault::invalid(&format!("{field}.role"), what));
            }
            Some("user") => {
                let said = parts(&message["content"], &field)?;
                let blocks: Result<_, _> = said.iter().map(|part| block(part, &field)).collect();
                add(&mut made, "user", blocks?);
            }
            Some("assistant") => add(&mut made, "assistant", spoken(message, &field)?),
            Some("tool") => {
                let id = text(&message["tool_call_id"], &format!("{field}.tool_call_id"))?;
                let blocks: Vec<_> = parts(&message["content"], &field)?
                    .iter()
                    .map(|part| block(part, &field))
                    .collect::<Result<_, _>>()?;
                add(
                    &mut made,
                    "user",
                    vec![json!({"type": "tool_result", "tool_use_id": id, "content": blocks})],
                );
            }
            _ => return Err(Fault::invalid(&format!("{field}.role"), "is none that this provider knows")),
        }
    }
    if !system.is_empty() {
        request["system"] = json!(system.join("\n\n"));
    }
    request["messages"] = json!(made);
    Ok(())
}

/// Content as a list of parts.
fn parts(content: &Value, field: &str) -> Result<Vec<Value>, Fault> {
    match content {
        Value::Null => Ok(Vec::new()),
        Value::String(said) => Ok(vec![json!({"type": "text", "text": said})]),
        Value::Array(parts) => Ok(parts.clone()),
        _ => Err(Fault::invalid(&format!("{field}.content"), "must be a text or a list of parts")),
    }
    .map(|parts: Vec<Value>| {
        parts.into_iter().filter(|p| !(p["type"] == "text" && p["text"] == "")).collect()
    })
}

fn block(part: &Value, field: &str) -> Result<Value, Fault> {
    match part["type"].as_str() {
        Some("text") => {
            Ok(json!({"type": "text", "text": text(&part["text"], &format!("{field}.content"))?}))
        }
        Some("image_url") => {
            let url = text(&part["image_url"]["url"], &format!("{field}.content.image_url.url"))?;
            let source = match url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
                Some((kind, data)) => json!({"type": "base64", "media_type": kind, "data": data}),
                None => json!({"type": "url", "url": url}),
            };
            Ok(json!({"type": "image", "source": source}))
        }
        _ => Err(untold(&format!("{field}.content.type"))),
    }
}

fn spoken(message: &Value, field: &str) -> Result<Vec<Value>, Fault> {
    let mut blocks = Vec::new();
    for part in parts(&message["content"], field)? {
        let said = if part["type"] == "refusal" { &part["refusal"] } else { &part["text"] };
        blocks.push(json!({"type": "text", "text": text(said, &format!("{field}.content"))?}));
    }
    if !says_null(&message["function_call"]) || !says_null(&message["audio"]) {
        return Err(untold(&format!("{field}.function_call")));
    }
    for call in message["tool_calls"].as_array().map_or(&[][..], Vec::as_slice) {
        let place = format!("{field}.tool_calls");
        let arguments = text(&call["function"]["arguments"], &format!("{place}.function.arguments"))?;
        let input: Value = match arguments.trim() {
            "" => json!({}),
            arguments => serde_json::from_str(arguments)
                .map_err(|_| Fault::invalid(&format!("{place}.function.arguments"), "is not JSON"))?,
        };
        let (id, name) = (text(&call["id"], &place)?, text(&call["function"]["name"], &place)?);
        blocks.push(json!({"type": "tool_use", "id": id, "name": name, "input": input}));
    }
    Ok(blocks)
}

fn says_null(value: &Value) -> bool {
    value.is_null()
}

/// Adds a turn. Two of one side are one: results of tools must come together.
fn add(made: &mut Vec<Value>, role: &str, blocks: Vec<Value>) {
    if blocks.is_empty() {
        return;
    }
    if let Some(last) = made.last_mut().filter(|last| last["role"] == role)
        && let Some(content) = last["content"].as_array_mut()
    {
        content.extend(blocks);
        return;
    }
    made.push(json!({"role": role, "content": blocks}));
}
