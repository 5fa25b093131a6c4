//! A request for one of Anthropic's messages, as a request for a chat completion.

use serde_json::{Map, Value, json};

use super::{array, copy, only, text, untold};
use crate::models::fault::Fault;

const TOLD: &[&str] = &[
    "model",
    "messages",
    "system",
    "max_tokens",
    "temperature",
    "top_p",
    "stop_sequences",
    "stream",
    "tools",
    "tool_choice",
    "metadata",
];
/// `thinking` asks for more than is promised: the model thinks as it does, and its thoughts are not told.
const HARMLESS: &[&str] = &["service_tier", "thinking", "cache_control", "inference_geo"];

pub(super) fn of_messages(asked: &Map<String, Value>) -> Result<Value, Fault> {
    only(asked, TOLD, HARMLESS)?;
    let mut request = json!({});
    copy(asked, &mut request, &["max_tokens", "temperature", "top_p", "stream"]);
    if request["stream"] == true {
        request["stream_options"] = json!({"include_usage": true});
    }
    if let Some(stop) = asked.get("stop_sequences").and_then(Value::as_array).filter(|stop| !stop.is_empty())
    {
        if stop.len() > 4 {
            return Err(Fault::invalid("stop_sequences", "must be at most 4 for this provider"));
        }
        request["stop"] = json!(stop);
    }
    tools(asked, &mut request)?;
    let mut made = Vec::new();
    match asked.get("system") {
        None | Some(Value::Null) => {}
        Some(Value::String(system)) => made.push(json!({"role": "system", "content": system})),
        Some(blocks) => {
            let mut all = Vec::new();
            for block in array(blocks, "system")? {
                all.push(text(&block["text"], "system")?);
            }
            made.push(json!({"role": "system", "content": all.join("\n\n")}));
        }
    }
    let empty = json!([]);
    let messages = array(asked.get("messages").unwrap_or(&empty), "messages")?;
    for (at, message) in messages.iter().enumerate() {
        let field = format!("messages[{at}]");
        let blocks = match &message["content"] {
            Value::String(said) => vec![json!({"type": "text", "text": said})],
            content => array(content, &format!("{field}.content"))?.to_vec(),
        };
        match message["role"].as_str() {
            Some("user") => heard(&blocks, &field, &mut made)?,
            Some("assistant") if at + 1 == messages.len() => {
                let what = "a beginning of the answer cannot be told to this provider; end with a message of the user";
                return Err(Fault::invalid(&format!("{field}.role"), what));
            }
            Some("assistant") => made.push(spoken(&blocks, &field)?),
            _ => return Err(Fault::invalid(&format!("{field}.role"), "must be `user` or `assistant`")),
        }
    }
    request["messages"] = json!(made);
    Ok(request)
}

fn tools(asked: &Map<String, Value>, request: &mut Value) -> Result<(), Fault> {
    let given = asked.get("tools").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut tools = Vec::new();
    for (at, tool) in given.iter().enumerate() {
        // Tools that Anthropic itself runs, or whose schema only its models know.
        if tool.get("type").is_some_and(|kind| !kind.is_null() && kind != "custom") {
            return Err(untold(&format!("tools[{at}].type")));
        }
        let mut function = json!({"name": text(&tool["name"], &format!("tools[{at}].name"))?, "parameters": tool["input_schema"]});
        if let Some(description) = tool["description"].as_str() {
            function["description"] = json!(description);
        }
        tools.push(json!({"type": "function", "function": function}));
    }
    if tools.is_empty() {
        return Ok(());
    }
    request["tools"] = json!(tools);
    let Some(choice) = asked.get("tool_choice").filter(|choice| !choice.is_null()) else { return Ok(()) };
    request["tool_choice"] = match choice["type"].as_str() {
        Some("auto") => json!("auto"),
        Some("none") => json!("none"),
        Some("any") => json!("required"),
        Some("tool") => {
            json!({"type": "function", "function": {"name": text(&choice["name"], "tool_choice.name")?}})
        }
        _ => return Err(untold("tool_choice")),
    };
    if choice["disable_parallel_tool_use"] == true {
        request["parallel_tool_calls"] = json!(false);
    }
    Ok(())
}

/// A turn of the user: results of tools first, which answer the calls before, then what was said.
fn heard(blocks: &[Value], field: &str, made: &mut Vec<Value>) -> Result<(), Fault> {
    let mut parts = Vec::new();
    for block in blocks {
        match block["type"].as_str() {
            Some("tool_result") => {
                let id = text(&block["tool_use_id"], &format!("{field}.content.tool_use_id"))?;
                let content = result(&block["content"], &format!("{field}.content"))?;
                made.push(json!({"role": "tool", "tool_call_id": id, "content": content}));
            }
            Some("text") => parts.push(json!({"type": "text", "text": block["text"]})),
            Some("image") => {
                let source = &block["source"];
                let url = match source["type"].as_str() {
                    Some("base64") => {
                        let kind =
                            text(&source["media_type"], &format!("{field}.content.source.media_type"))?;
                        format!(
                            "data:{kind};base64,{}",
                            text(&source["data"], &format!("{field}.content.source.data"))?
                        )
                    }
                    Some("url") => text(&source["url"], &format!("{field}.content.source.url"))?.to_owned(),
                    _ => return Err(untold(&format!("{field}.content.source.type"))),
                };
                parts.push(json!({"type": "image_url", "image_url": {"url": url}}));
            }
            _ => return Err(untold(&format!("{field}.content.type"))),
        }
    }
    match parts.as_slice() {
        [] => {}
        // The plainest form, which all servers know.
        [one] if one["type"] == "text" => made.push(json!({"role": "user", "content": one["text"]})),
        _ => made.push(json!({"role": "user", "content": parts})),
    }
    Ok(())
}

fn result(content: &Value, field: &str) -> Result<String, Fault> {
    match content {
        Value::Null => Ok(String::new()),
        Value::String(said) => Ok(said.clone()),
        blocks => {
            let mut all = Vec::new();
            for block in array(blocks, field)? {
                if block["type"] != "text" {
                    return Err(untold(&format!("{field}.content.type")));
                }
                all.push(text(&block["text"], field)?);
            }
            Ok(all.join("\n"))
        }
    }
}

fn spoken(blocks: &[Value], field: &str) -> Result<Value, Fault> {
    let (mut said, mut calls) = (Vec::new(), Vec::new());
    for block in blocks {
        match block["type"].as_str() {
            Some("text") => said.push(text(&block["text"], &format!("{field}.content"))?),
            Some("tool_use") => calls.push(json!({"id": block["id"], "type": "function",
                "function": {"name": block["name"], "arguments": block["input"].to_string()}})),
            Some("thinking" | "redacted_thinking") => {}
            _ => return Err(untold(&format!("{field}.content.type"))),
        }
    }
    let content = if said.is_empty() { Value::Null } else { json!(said.concat()) };
    let mut message = json!({"role": "assistant", "content": content});
    if !calls.is_empty() {
        message["tool_calls"] = json!(calls);
    }
    Ok(message)
}
