//! Both ways between the dialects, whole and streamed.

use serde_json::{Value, json};

use super::*;

fn translated(endpoint: Endpoint, dialect: Dialect, body: &Value) -> Result<(Translation, Value), Fault> {
    let asked = Asked::parse(endpoint, body.to_string().as_bytes())?;
    Ok(request(&asked, dialect, 7)?.expect("another dialect"))
}

fn events(translation: &Translation, stream: &[Value], done: bool) -> Vec<Value> {
    let (mut machine, mut out) = (translation.stream(), Vec::new());
    for said in stream {
        machine.event(&said.to_string(), &mut out).unwrap();
    }
    if done {
        machine.event("[DONE]", &mut out).unwrap();
    }
    machine.end(&mut out);
    let mut events = Events::default();
    events.push(&out).unwrap();
    std::iter::from_fn(|| events.next())
        .map(|event| serde_json::from_str(&event.data).unwrap_or(Value::from(event.data)))
        .collect()
}

#[test]
fn a_chat_is_asked_as_messages() {
    let chat = json!({"model": "c", "max_completion_tokens": 50, "stop": "X", "user": "u", "temperature": 0.5, "seed": 3,
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
        "tool_choice": "required", "parallel_tool_calls": false,
        "messages": [
            {"role": "system", "content": "a"}, {"role": "developer", "content": [{"type": "text", "text": "b"}]},
            {"role": "user", "content": [{"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
                {"id": "2", "type": "function", "function": {"name": "f", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "1", "content": "one"},
            {"role": "tool", "tool_call_id": "2", "content": "two"},
            {"role": "user", "content": "go on"}]});
    let (_, made) = translated(Endpoint::Chat, Dialect::Anthropic, &chat).unwrap();
    assert_eq!(
        made,
        json!({"max_tokens": 50, "stop_sequences": ["X"], "metadata": {"user_id": "u"}, "temperature": 0.5,
            "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": true}, "system": "a\n\nb",
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "see"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}},
                    {"type": "tool_use", "id": "2", "name": "f", "input": {}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "one"}]},
                    {"type": "tool_result", "tool_use_id": "2", "content": [{"type": "text", "text": "two"}]},
                    {"type": "text", "text": "go on"}]}]})
    );
}

#[test]
fn messages_are_asked_as_a_chat() {
    let asked = json!({"model": "c", "max_tokens": 9, "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "stop_sequences": ["X"], "stream": true, "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "f"},
        "messages": [{"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "…", "signature": "s"},
                {"type": "text", "text": "well"}, {"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "r"}]},
                {"type": "text", "text": "and?"}]}]});
    let (_, made) = translated(Endpoint::Messages, Dialect::Openai, &asked).unwrap();
    assert_eq!(
        made,
        json!({"max_tokens": 9, "stop": ["X"], "stream": true, "stream_options": {"include_usage": true},
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "well", "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}]},
                {"role": "tool", "tool_call_id": "1", "content": "r"}, {"role": "user", "content": "and?"}]})
    );
}

#[test]
fn what_would_be_a_lie_is_refused_by_its_field() {
    let chat = |more: Value| {
        let mut body = json!({"model": "c", "messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        translated(Endpoint::Chat, Dialect::Anthropic, &body).unwrap_err().param.unwrap()
    };
    for (more, field) in [
        (json!({"n": 2}), "n"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"frequency_penalty": 0.5}), "frequency_penalty"),
        (json!({"logit_bias": {"1": 2}}), "logit_bias"),
        (json!({"response_format": {"type": "json_object"}}), "response_format"),
        (json!({"reasoning_effort": "high"}), "reasoning_effort"),
        (json!({"temperature": 1.5}), "temperature"),
        (json!({"something_new": 1}), "something_new"),
        (
            json!({"tools": [{"type": "function", "function": {"name": "f", "strict": true}}]}),
            "tools[0].function.strict",
        ),
        (
            json!({"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]}),
            "messages[1].role",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}),
            "messages[0].content.type",
        ),
    ] {
        assert_eq!(chat(more), field);
    }
    let messages = |more: Value| {
        let mut body = json!({"model": "c", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        translated(Endpoint::Messages, Dialect::Openai, &body).unwrap_err().param.unwrap()
    };
    for (more, field) in [
        (json!({"top_k": 5}), "top_k"),
        (json!({"mcp_servers": [{}]}), "mcp_servers"),
        (json!({"tools": [{"type": "web_search_20250305", "name": "w"}]}), "tools[0].type"),
        (json!({"messages": [{"role": "assistant", "content": "x"}]}), "messages[0].role"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "document"}]}]}),
            "messages[0].content.type",
        ),
        (json!({"stop_sequences": ["1", "2", "3", "4", "5"]}), "stop_sequences"),
    ] {
        assert_eq!(messages(more), field);
    }
    let responses = |more: Value| {
        let mut body = json!({"model": "c", "input": "x"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        translated(Endpoint::Responses, Dialect::Openai, &body).unwrap_err().param.unwrap()
    };
    for (more, field) in [
        (json!({"previous_response_id": "resp_1"}), "previous_response_id"),
        (json!({"conversation": "c"}), "conversation"),
        (json!({"store": true}), "store"),
        (json!({"background": true}), "background"),
        (json!({"truncation": "auto"}), "truncation"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (json!({"input": [{"type": "item_reference", "id": "x"}]}), "input[0].type"),
    ] {
        assert_eq!(responses(more), field);
    }
}

#[test]
fn a_message_is_told_as_a_chat_completion() {
    let (to, _) =
        translated(Endpoint::Chat, Dialect::Anthropic, &json!({"model": "c", "messages": []})).unwrap();
    let told = to
        .whole(&json!({"id": "m1", "stop_reason": "tool_use", "content": [{"type": "text", "text": "a"},
            {"type": "thinking", "thinking": "?"}, {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}}],
            "usage": {"input_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2, "output_tokens": 4}}))
        .unwrap();
    assert_eq!(told["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(told["choices"][0]["message"]["content"], "a");
    assert_eq!(
        told["choices"][0]["message"]["tool_calls"][0]["function"],
        json!({"name": "f", "arguments": "{\"x\":1}"})
    );
    assert_eq!(told["usage"]["prompt_tokens"], 10);
    assert_eq!(told["usage"]["prompt_tokens_details"]["cached_tokens"], 3);
    assert!(to.whole(&json!({"nonsense": 1})).is_err());
}

const fn streamed_message() -> &'static str {
    r#"[{"type":"message_start","message":{"id":"m","usage":{"input_tokens":5,"output_tokens":1}}},
    {"type":"ping"},
    {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}},
    {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}},
    {"type":"content_block_stop","index":0},
    {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t1","name":"f","input":{}}},
    {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}},
    {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"x\":"}},
    {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"1}"}},
    {"type":"content_block_stop","index":1},
    {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t2","name":"g","input":{}}},
    {"type":"content_block_stop","index":2},
    {"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}},
    {"type":"message_stop"}]"#
}

#[test]
fn a_streamed_message_is_told_as_chunks() {
    let body =
        json!({"model": "c", "stream": true, "stream_options": {"include_usage": true}, "messages": []});
    let (to, _) = translated(Endpoint::Chat, Dialect::Anthropic, &body).unwrap();
    let stream: Vec<Value> = serde_json::from_str(streamed_message()).unwrap();
    let told = events(&to, &stream, false);
    let words: String = told.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(words, "hi");
    let mut calls = std::collections::BTreeMap::<i64, String>::new();
    for call in told.iter().filter_map(|c| c["choices"][0]["delta"]["tool_calls"].get(0)) {
        calls
            .entry(call["index"].as_i64().unwrap())
            .or_default()
            .push_str(call["function"]["arguments"].as_str().unwrap());
    }
    assert_eq!(calls, [(0, "{\"x\":1}".to_owned()), (1, "{}".to_owned())].into());
    assert_eq!(told.last().unwrap(), "[DONE]");
    let usage = &told[told.len() - 2];
    assert_eq!((&usage["choices"], &usage["usage"]["total_tokens"]), (&json!([]), &json!(14)));
    assert_eq!(told[told.len() - 3]["choices"][0]["finish_reason"], "tool_calls");
    // What breaks off is not called an end.
    let cut = events(&to, &stream[..4], false);
    assert!(cut.last().unwrap()["error"].is_object() && !cut.contains(&Value::from("[DONE]")));
}

fn streamed_chat() -> Vec<Value> {
    let chunk = |delta: Value, finish: Value| json!({"id": "1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    let call = |index: i64, id: Value, arguments: &str| json!({"tool_calls": [{"index": index, "id": id, "function": {"name": "f", "arguments": arguments}}]});
    vec![
        chunk(json!({"role": "assistant", "content": ""}), Value::Null),
        chunk(json!({"reasoning_content": "hm"}), Value::Null),
        chunk(json!({"content": "h"}), Value::Null),
        chunk(json!({"content": "i"}), Value::Null),
        chunk(call(0, json!("a"), ""), Value::Null),
        chunk(call(0, Value::Null, "{\"x\""), Value::Null),
        chunk(call(0, Value::Null, ":1}"), Value::Null),
        chunk(call(1, json!("b"), "{}"), Value::Null),
        chunk(json!({}), json!("tool_calls")),
        json!({"id": "1", "choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}}}),
    ]
}

#[test]
fn a_streamed_chat_is_told_as_a_message() {
    let body = json!({"model": "c", "max_tokens": 5, "stream": true, "messages": [{"role": "user", "content": "x"}]});
    let (to, _) = translated(Endpoint::Messages, Dialect::Openai, &body).unwrap();
    let told = events(&to, &streamed_chat(), true);
    let kinds: Vec<&str> = told.iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    let end = &told[kinds.len() - 2];
    assert_eq!(end["delta"]["stop_reason"], "tool_use");
    assert_eq!(
        (&end["usage"]["input_tokens"], &end["usage"]["cache_read_input_tokens"]),
        (&json!(5), &json!(3))
    );
    let indexes: Vec<i64> = told.iter().filter_map(|e| e["index"].as_i64()).collect();
    assert_eq!(indexes, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2]);
    let cut = events(&to, &streamed_chat()[..4], false);
    assert_eq!(cut.last().unwrap()["type"], "error");
}

#[test]
fn a_streamed_chat_is_told_as_a_response() {
    let body = json!({"model": "c", "stream": true, "instructions": "i",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]},
            {"type": "reasoning", "id": "r"},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "ok"}],
        "tools": [{"type": "function", "name": "f", "parameters": {}}]});
    let (to, made) = translated(Endpoint::Responses, Dialect::Openai, &body).unwrap();
    let roles: Vec<_> =
        made["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
    let told = events(&to, &streamed_chat(), true);
    let numbers: Vec<i64> = told.iter().map(|e| e["sequence_number"].as_i64().unwrap()).collect();
    assert_eq!(numbers, (0..i64::try_from(told.len()).unwrap()).collect::<Vec<_>>());
    let last = told.last().unwrap();
    assert_eq!(
        (&last["type"], &last["response"]["status"]),
        (&json!("response.completed"), &json!("completed"))
    );
    let output = last["response"]["output"].as_array().unwrap();
    assert_eq!(output[0]["content"][0]["text"], "hi");
    assert_eq!((&output[1]["arguments"], &output[1]["call_id"]), (&json!("{\"x\":1}"), &json!("a")));
    assert_eq!(output[2]["arguments"], "{}");
    assert_eq!(last["response"]["usage"]["total_tokens"], 12);
    let cut = events(&to, &streamed_chat()[..4], false);
    assert_eq!(cut.last().unwrap()["type"], "error");
}

#[test]
fn a_response_goes_to_anthropic_in_two_steps() {
    let body = json!({"model": "c", "stream": true, "input": "x", "max_output_tokens": 5});
    let (to, made) = translated(Endpoint::Responses, Dialect::Anthropic, &body).unwrap();
    assert_eq!(made["messages"], json!([{"role": "user", "content": [{"type": "text", "text": "x"}]}]));
    let stream: Vec<Value> = serde_json::from_str(streamed_message()).unwrap();
    let told = events(&to, &stream, false);
    let last = told.last().unwrap();
    assert_eq!(last["type"], "response.completed");
    assert_eq!(last["response"]["usage"]["total_tokens"], 14);
    assert_eq!(last["response"]["output"].as_array().unwrap().len(), 3);
    let whole = to
        .whole(&json!({"id": "m", "stop_reason": "max_tokens", "content": [{"type": "text", "text": "a"}],
            "usage": {"input_tokens": 1, "output_tokens": 5}}))
        .unwrap();
    assert_eq!(
        (&whole["status"], &whole["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
}
