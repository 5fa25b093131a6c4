//! What a request asks for, as far as routing and money need to know: the model, whether it streams, what the model must be
//! able to do, and how many tokens it may come to. The bound on tokens is one that no tokenizer exceeds: a token is at
//! least a byte.

use serde_json::Value;

use super::fault::{Dialect, Fault, Kind};
use super::fields::Fields;

/// A route of the model API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    Chat,
    Embeddings,
    Responses,
    Messages,
    CountTokens,
}

impl Endpoint {
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Chat | Self::Embeddings | Self::Responses => Dialect::Openai,
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
        }
    }

    /// As it is called in the API.
    pub fn of_path(path: &str) -> Option<Self> {
        Some(match path {
            "/v1/chat/completions" => Self::Chat,
            "/v1/embeddings" => Self::Embeddings,
            "/v1/responses" => Self::Responses,
            "/v1/messages" => Self::Messages,
            "/v1/messages/count_tokens" => Self::CountTokens,
            _ => return None,
        })
    }
}

/// Tokens that an image comes to at most, and that a provider adds to describe tools and its own format.
const IMAGE: i64 = 4_096;
const TOOLS: i64 = 1_024;
const FORMAT: i64 = 64;
/// Choices in one call.
const CHOICES: i64 = 16;

#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) endpoint: Endpoint,
    pub(crate) model: String,
    pub(crate) stream: bool,
    /// The client wants to be told what a stream used.
    pub(crate) include_usage: bool,
    pub(crate) max_output: Option<i64>,
    pub(crate) choices: i64,
    pub(crate) tools: bool,
    pub(crate) images: bool,
    /// Tokens of input: at most, and about.
    pub(crate) input_most: i64,
    pub(crate) input_guess: i64,
    pub(crate) fields: Fields,
}

impl Asked {
    pub(crate) fn parse(endpoint: Endpoint, body: &[u8]) -> Result<Self, Fault> {
        let fields = Fields::parse(body)?;
        let model: String = fields.get("model")?.ok_or_else(|| Fault::invalid("model", "is missing"))?;
        ryokan_model::models::check_model("model", &model)
            .map_err(|invalid| Fault::invalid("model", invalid.problem))?;
        let stream = matches!(endpoint, Endpoint::Chat | Endpoint::Responses | Endpoint::Messages)
            && fields.get::<bool>("stream")?.unwrap_or(false);
        let options: Option<Value> = fields.get("stream_options")?;
        let include_usage = options.is_some_and(|options| options["include_usage"] == true);
        let limit: &[&str] = match endpoint {
            Endpoint::Chat => &["max_completion_tokens", "max_tokens"],
            Endpoint::Responses => &["max_output_tokens"],
            Endpoint::Messages => &["max_tokens"],
            Endpoint::Embeddings | Endpoint::CountTokens => &[],
        };
        let mut max_output = None;
        for name in limit {
            let given = fields.get::<i64>(name)?;
            if given.is_some_and(|n| !(1..=100_000_000).contains(&n)) {
                return Err(Fault::invalid(name, "must be a positive number of tokens"));
            }
            // Where both are given nobody says which one counts.
            max_output = max_output.max(given);
        }
        let choices = if endpoint == Endpoint::Chat { fields.get::<i64>("n")?.unwrap_or(1) } else { 1 };
        if !(1..=CHOICES).contains(&choices) {
            return Err(Fault::invalid("n", format!("must be from 1 to {CHOICES}")));
        }
        let tools: Option<Vec<Value>> = fields.get("tools")?;
        let tools = tools.is_some_and(|tools| !tools.is_empty());
        let mut seen = Seen::default();
        for name in ["messages", "input", "system"] {
            if let Some(value) = fields.get::<Value>(name)? {
                seen.walk(&value, 0)?;
            }
        }
        let size = i64::try_from(body.len()).unwrap_or(i64::MAX);
        let text = (size - seen.image_bytes).max(0);
        let more = seen.images.saturating_mul(IMAGE) + if tools { TOOLS } else { 0 } + FORMAT;
        Ok(Self {
            endpoint,
            model,
            stream,
            include_usage,
            max_output,
            choices,
            tools,
            images: seen.images > 0,
            input_most: text.saturating_add(more),
            input_guess: seen.text_bytes / 4 + seen.images.saturating_mul(1_000) + 8,
            fields,
        })
    }

    /// What comes out of it is vectors, or a number.
    pub(crate) const fn speaks(&self) -> bool {
        matches!(self.endpoint, Endpoint::Chat | Endpoint::Responses | Endpoint::Messages)
    }
}

/// What content holds.
#[derive(Default)]
struct Seen {
    images: i64,
    /// Their data, which is not text.
    image_bytes: i64,
    text_bytes: i64,
}

impl Seen {
    fn walk(&mut self, value: &Value, depth: u8) -> Result<(), Fault> {
        if depth > 64 {
            return Err(Fault::new(Kind::Invalid, "the body is nested too deeply"));
        }
        match value {
            Value::String(text) => self.text_bytes += i64::try_from(text.len()).unwrap_or(i64::MAX),
            Value::Array(items) => items.iter().try_for_each(|item| self.walk(item, depth + 1))?,
            Value::Object(object) => {
                let image = matches!(
                    object.get("type").and_then(Value::as_str),
                    Some("image_url" | "input_image" | "image")
                );
                if image {
                    self.images += 1;
                    self.image_bytes += data(value);
                } else {
                    object.values().try_for_each(|item| self.walk(item, depth + 1))?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Bytes of an image that is in the request itself.
fn data(image: &Value) -> i64 {
    let places = ["/image_url/url", "/image_url", "/source/data"];
    let inline = |text: &str| text.starts_with("data:image/");
    let found = places.iter().find_map(|place| {
        let text = image.pointer(place)?.as_str()?;
        let base64 = *place == "/source/data"
            && image
                .pointer("/source/media_type")
                .and_then(Value::as_str)
                .is_some_and(|t| t.starts_with("image/"));
        (inline(text) || base64).then_some(text.len())
    });
    i64::try_from(found.unwrap_or(0)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(endpoint: Endpoint, json: &str) -> Result<Asked, Fault> {
        Asked::parse(endpoint, json.as_bytes())
    }

    #[test]
    fn what_matters_is_read() {
        let chat = asked(
            Endpoint::Chat,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"max_tokens":5,"n":2,
                "tools":[{"type":"function"}],
                "messages":[{"role":"user","content":[{"type":"text","text":"12345678"},
                {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}]}"#,
        )
        .unwrap();
        assert!(chat.stream && chat.include_usage && chat.tools && chat.images);
        assert_eq!((chat.max_output, chat.choices), (Some(5), 2));
        let plain =
            asked(Endpoint::Chat, r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[]}"#)
                .unwrap();
        assert!(!plain.stream && !plain.tools && !plain.images && plain.max_output.is_none());
        assert!(plain.input_most >= 2 + FORMAT && plain.input_guess < 20);
    }

    #[test]
    fn images_do_not_count_as_text() {
        let image = "A".repeat(100_000);
        let json = format!(
            r#"{{"model":"m","max_tokens":1,"messages":[{{"role":"user","content":[{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{image}"}}}}]}}]}}"#
        );
        let asked = asked(Endpoint::Messages, &json).unwrap();
        assert!(asked.images && asked.input_most < 5_000, "{}", asked.input_most);
        // But whoever calls text an image gains nothing.
        let lie = json.replace("image/png", "text/plain");
        assert!(Asked::parse(Endpoint::Messages, lie.as_bytes()).unwrap().input_most > 100_000);
    }

    #[test]
    fn nonsense_is_refused_by_its_field() {
        for (json, field) in [
            (r"{}", "model"),
            (r#"{"model":7}"#, "model"),
            (r#"{"model":"a b"}"#, "model"),
            (r#"{"model":"m","max_tokens":0}"#, "max_tokens"),
            (r#"{"model":"m","max_tokens":-1}"#, "max_tokens"),
            (r#"{"model":"m","n":1000}"#, "n"),
            (r#"{"model":"m","stream":"yes"}"#, "stream"),
            (r#"{"model":"m","tools":{}}"#, "tools"),
        ] {
            assert_eq!(asked(Endpoint::Chat, json).unwrap_err().param.as_deref(), Some(field), "{json}");
        }
        let deep = format!(r#"{{"model":"m","messages":{}{}}}"#, "[".repeat(100), "]".repeat(100));
        assert!(asked(Endpoint::Chat, &deep).is_err());
    }
}
