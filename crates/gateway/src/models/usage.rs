//! Tokens that a call used, read from whatever the provider says in its own dialect, and guessed where it says nothing.

use ryokan_model::models::Tokens;
use serde_json::Value;

use super::fault::Dialect;

/// Listens to an answer.
#[derive(Debug)]
pub(crate) struct Usage {
    dialect: Dialect,
    said: Option<Tokens>,
    /// Bytes of text and of arguments that the model made.
    made: i64,
    /// The answer says that it is whole.
    pub(crate) ended: bool,
    /// The provider reported an error inside of the answer.
    pub(crate) failed: bool,
}

impl Usage {
    pub(crate) const fn new(dialect: Dialect) -> Self {
        Self { dialect, said: None, made: 0, ended: false, failed: false }
    }

    /// A whole answer.
    pub(crate) fn whole(&mut self, answer: &Value) {
        self.ended = true;
        self.made += text_in(&answer["choices"]) + text_in(&answer["content"]);
        self.read(&answer["usage"]);
    }

    /// An event of a stream; whether it is one that only tells what was used.
    pub(crate) fn event(&mut self, data: &str) -> bool {
        if data == "[DONE]" {
            self.ended = true;
            return false;
        }
        let Ok(event) = serde_json::from_str::<Value>(data) else { return false };
        if !event["error"].is_null() {
            self.failed = true;
        }
        match self.dialect {
            Dialect::Openai => {
                self.read(&event["usage"]);
                let choices = event["choices"].as_array().map_or(&[][..], Vec::as_slice);
                for choice in choices {
                    self.made += text_in(&choice["delta"]);
                    self.ended |= choice["finish_reason"].is_string();
                }
                choices.is_empty() && event["usage"].is_object()
            }
            Dialect::Anthropic => {
                match event["type"].as_str() {
                    Some("message_start") => self.read(&event["message"]["usage"]),
                    Some("content_block_delta") => self.made += text_in(&event["delta"]),
                    Some("message_delta") => self.read(&event["usage"]),
                    Some("message_stop") => self.ended = true,
                    _ => {}
                }
                false
            }
        }
    }

    fn read(&mut self, usage: &Value) {
        if !usage.is_object() {
            return;
        }
        let count = |name: &str| usage[name].as_i64().filter(|n| *n >= 0);
        let before = self.said.unwrap_or_default();
        let said = match self.dialect {
            Dialect::Openai => Tokens {
                input: count("prompt_tokens").or_else(|| count("input_tokens")).unwrap_or(before.input),
                cached: usage["prompt_tokens_details"]["cached_tokens"].as_i64().unwrap_or(before.cached),
                output: count("completion_tokens")
                    .or_else(|| count("output_tokens"))
                    .unwrap_or(before.output),
            },
            // Theirs are apart: what was read from the cache, what was written to it, and the rest.
            Dialect::Anthropic => {
                let cached = count("cache_read_input_tokens");
                let input = count("input_tokens").map(|fresh| {
                    fresh + cached.unwrap_or(0) + count("cache_creation_input_tokens").unwrap_or(0)
                });
                Tokens {
                    input: input.unwrap_or(before.input),
                    cached: cached.unwrap_or(before.cached),
                    output: count("output_tokens").unwrap_or(before.output),
                }
            }
        };
        self.said = Some(Tokens { cached: said.cached.clamp(0, said.input), ..said });
    }

    /// What was used, and whether that is a guess: the provider said nothing, or was cut off before it said all.
    pub(crate) fn tokens(&self, input_guess: i64) -> (Tokens, bool) {
        let made = (self.made + 3) / 4;
        match self.said {
            Some(said) if self.ended => (said, false),
            Some(said) => (Tokens { output: said.output.max(made), ..said }, true),
            None => (Tokens { input: input_guess, cached: 0, output: made }, true),
        }
    }
}

/// Bytes of all that a model can have made in a piece of an answer.
fn text_in(value: &Value) -> i64 {
    match value {
        Value::Array(items) => items.iter().map(text_in).sum(),
        Value::Object(object) => object
            .iter()
            .map(|(name, value)| match (name.as_str(), value) {
                ("type" | "role" | "id" | "finish_reason" | "signature", _) => 0,
                (_, Value::String(text)) => i64::try_from(text.len()).unwrap_or(0),
                ("input", value) => i64::try_from(value.to_string().len()).unwrap_or(0),
                _ => text_in(value),
            })
            .sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn openai_says_it_at_the_end() {
        let mut usage = Usage::new(Dialect::Openai);
        assert!(
            !usage
                .event(r#"{"choices":[{"delta":{"content":"12345678"},"finish_reason":null}],"usage":null}"#)
        );
        assert_eq!(usage.tokens(7), (Tokens { input: 7, cached: 0, output: 2 }, true));
        assert!(!usage.event(r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#));
        assert!(usage.event(
            r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}}"#
        ));
        assert_eq!(usage.tokens(7), (Tokens { input: 9, cached: 4, output: 3 }, false));
    }

    #[test]
    fn anthropic_says_it_in_two_parts() {
        let mut usage = Usage::new(Dialect::Anthropic);
        usage.event(
            r#"{"type":"message_start","message":{"usage":{"input_tokens":5,"cache_read_input_tokens":10,"cache_creation_input_tokens":2,"output_tokens":1}}}"#,
        );
        usage.event(
            r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"1234567890123456"}}"#,
        );
        // Cut off here: at least what came out is counted.
        assert_eq!(usage.tokens(0), (Tokens { input: 17, cached: 10, output: 4 }, true));
        usage.event(
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":6}}"#,
        );
        usage.event(r#"{"type":"message_stop"}"#);
        assert_eq!(usage.tokens(0), (Tokens { input: 17, cached: 10, output: 6 }, false));
    }

    #[test]
    fn nonsense_costs_nothing_below_zero() {
        let mut usage = Usage::new(Dialect::Openai);
        usage.whole(&json!({"choices": [], "usage": {"prompt_tokens": -5, "completion_tokens": "x",
            "prompt_tokens_details": {"cached_tokens": 99}}}));
        assert_eq!(usage.tokens(3), (Tokens::default(), false));
        assert!(!Usage::new(Dialect::Openai).event("not json"));
    }
}
