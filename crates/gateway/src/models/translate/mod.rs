//! Between the dialects. Each direction is a pure function of JSON for requests and whole answers, and a small machine for
//! streams. What has no counterpart is refused by its field's name rather than dropped, unless it changes nothing that
//! the caller could rely on; `docs/models.md` lists what is lost.

mod answer_chat;
mod answer_messages;
mod answer_responses;
mod ask_chat;
mod ask_messages;
mod ask_responses;

use http::{HeaderValue, Response, header};
use ryokan_model::models::{Offer, ProviderKind};
use serde_json::{Map, Value, json};

use super::asked::{Asked, Endpoint};
use super::fault::{Dialect, Fault, Kind};
use super::relay::Translate;
use super::sse::Events;
use super::upstream::Wire;
use crate::body::Body;

/// What answers and streams need beside the provider's words.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// As the caller named it.
    model: String,
    /// Seconds.
    created: i64,
    include_usage: bool,
    /// Of a request for a response: what its answer repeats.
    echo: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Anthropic's message becomes a chat completion.
    Chat,
    /// A chat completion becomes Anthropic's message.
    Message,
    /// A chat completion becomes a response.
    Response,
}

/// How an answer is to be told: one step after the other.
#[derive(Debug)]
pub(crate) struct Translation {
    steps: Vec<Step>,
    told: Told,
}

impl Translation {
    pub(crate) fn whole(&self, answer: &Value) -> Result<Value, Fault> {
        let mut answer = answer.clone();
        for step in &self.steps {
            answer = match step {
                Step::Chat => answer_chat::whole(&answer, &self.told)?,
                Step::Message => answer_messages::whole(&answer, &self.told)?,
                Step::Response => answer_responses::whole(&answer, &self.told)?,
            };
        }
        Ok(answer)
    }

    pub(crate) fn stream(&self) -> Box<dyn Translate> {
        let one = |step: &Step, last: bool| -> Box<dyn Translate> {
            let mut told = self.told.clone();
            // Between two steps the usage is always told.
            told.include_usage |= !last;
            match step {
                Step::Chat => Box::new(answer_chat::Stream::new(told)),
                Step::Message => Box::new(answer_messages::Stream::new(told)),
                Step::Response => Box::new(answer_responses::Stream::new(told)),
            }
        };
        let (last, before) = self.steps.split_last().expect("a translation has a step");
        before.iter().rev().fold(one(last, true), |after, step| {
            Box::new(Chain { first: one(step, false), events: Events::default(), second: after })
        })
    }
}

/// One machine after the other.
struct Chain {
    first: Box<dyn Translate>,
    events: Events,
    second: Box<dyn Translate>,
}

impl Chain {
    fn hand_on(&mut self, made: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        self.events.push(made).map_err(|_| strange("sent an event that is too large"))?;
        while let Some(event) = self.events.next() {
            if !event.data.is_empty() {
                self.second.event(&event.data, out)?;
            }
        }
        Ok(())
    }
}

impl Translate for Chain {
    fn event(&mut self, data: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
        let mut made = Vec::new();
        self.first.event(data, &mut made)?;
        self.hand_on(&made, out)
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        let mut made = Vec::new();
        self.first.end(&mut made);
        let _ = self.hand_on(&made, out);
        self.second.end(out);
    }
}

/// The request in the provider's dialect; `None` where it is the caller's own.
pub(crate) fn request(
    asked: &Asked,
    dialect: Dialect,
    created: i64,
) -> Result<Option<(Translation, Value)>, Fault> {
    let object = || asked.fields.to_object();
    let mut echo = Map::new();
    let (steps, request) = match (asked.endpoint, dialect) {
        (Endpoint::Chat, Dialect::Anthropic) => (vec![Step::Chat], ask_messages::of_chat(&object()?)?),
        (Endpoint::Messages, Dialect::Openai) => (vec![Step::Message], ask_chat::of_messages(&object()?)?),
        (Endpoint::Responses, _) => {
            let asked = object()?;
            let chat = ask_responses::to_chat(&asked)?;
            echo = ask_responses::echo(&asked);
            match dialect {
                Dialect::Openai => (vec![Step::Response], chat),
                Dialect::Anthropic => {
                    let Value::Object(mut chat) = chat else { return Err(strange("made nonsense")) };
                    chat.remove("stream_options");
                    (vec![Step::Chat, Step::Response], ask_messages::of_chat(&chat)?)
                }
            }
        }
        _ => return Ok(None),
    };
    let told = Told { model: asked.model.clone(), created, include_usage: asked.include_usage, echo };
    Ok(Some((Translation { steps, told }, request)))
}

/// The field that limits output.
pub(crate) fn limit_field(offer: &Offer, wire: Wire) -> &'static str {
    let host = offer.provider.base_url.contains("//api.openai.com");
    if wire == Wire::Chat && offer.provider.kind == ProviderKind::Openai && host {
        "max_completion_tokens"
    } else {
        "max_tokens"
    }
}

/// What depends on who is asked: the model's name, and the limit of the output, which Anthropic always wants.
pub(crate) fn finish(request: &mut Value, offer: &Offer, wire: Wire, limit: Option<i64>) {
    request["model"] = json!(offer.model);
    let field = limit_field(offer, wire);
    let given = request.get("max_tokens").and_then(Value::as_i64);
    let always = if wire == Wire::Messages { Some(offer.can.max_output.unwrap_or(4_096)) } else { None };
    if let Some(object) = request.as_object_mut() {
        object.remove("max_tokens");
    }
    if let Some(limit) = given.or(limit).or(always) {
        request[field] = json!(limit);
    }
}

/// The answer to `count_tokens` where nobody counts: an estimate, and said to be one.
pub(crate) fn counted(estimate: i64) -> Response<Body> {
    let mut response = Response::new(Body::full(json!({"input_tokens": estimate}).to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert("x-ryokan-estimated", HeaderValue::from_static("true"));
    response
}

/// A provider that does not keep to its dialect.
fn strange(what: &str) -> Fault {
    Fault::new(Kind::Upstream, format!("the provider {what}"))
}

/// A field that cannot be told to the provider.
fn untold(field: &str) -> Fault {
    Fault::invalid(
        field,
        "cannot be told to the provider of this model, which speaks another dialect; leave it out, or use a model of a provider of this one",
    )
}

/// Whether a value says nothing.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    }
}

/// Refuses every field that is neither told nor harmless.
fn only(object: &Map<String, Value>, told: &[&str], harmless: &[&str]) -> Result<(), Fault> {
    let bad = object.iter().find(|(name, value)| {
        !told.contains(&name.as_str()) && !harmless.contains(&name.as_str()) && !says_nothing(value)
    });
    bad.map_or(Ok(()), |(name, _)| Err(untold(name)))
}

/// Copies what both dialects have by the same name.
fn copy(from: &Map<String, Value>, to: &mut Value, names: &[&str]) {
    for name in names {
        if let Some(value) = from.get(*name).filter(|value| !value.is_null()) {
            to[*name] = value.clone();
        }
    }
}

fn array<'a>(value: &'a Value, field: &str) -> Result<&'a [Value], Fault> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| Fault::invalid(field, "must be a list"))
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str, Fault> {
    value.as_str().ok_or_else(|| Fault::invalid(field, "must be a text"))
}

fn event(out: &mut Vec<u8>, name: Option<&str>, data: &Value) {
    if let Some(name) = name {
        out.extend(format!("event: {name}\n").into_bytes());
    }
    out.extend(format!("data: {data}\n\n").into_bytes());
}

#[cfg(test)]
mod tests;
