//! What the model gateway asks of us, answered by the use cases; and its metrics.

use std::sync::Arc;

use ryokan_app::{App, Error};
use ryokan_gateway::models::{Books, BoxFuture, Fault, Kind};
use ryokan_model::models::{Call, Need, Offer, Snapshot, Subject};
use ryokan_model::{Millis, ModelCallId};

pub(crate) struct Till(pub(crate) Arc<App>);

impl Books for Till {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.0.models_snapshot()
    }

    fn now(&self) -> Millis {
        self.0.clock.now()
    }

    fn may_call(&self, subject: &Subject, _model: &str, offer: &Offer) -> Result<(), String> {
        self.0.may_call_model(subject, offer)
    }

    fn reserve<'a>(&'a self, subject: &'a Subject, need: Need) -> BoxFuture<'a, Result<ModelCallId, Fault>> {
        Box::pin(async move { self.0.reserve_model_call(subject, need).await.map_err(|error| fault(&error)) })
    }

    fn finish(&self, call: Call) {
        let labels = [
            ("project", call.subject.project.to_string()),
            ("provider", call.provider.clone()),
            // What nobody answered may be any text; each would be a series for ever.
            ("model", if call.provider.is_empty() { String::new() } else { call.upstream_model.clone() }),
            ("outcome", call.outcome.as_str().to_owned()),
        ];
        metrics::counter!("ryokan_model_calls_total", &labels).increment(1);
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        metrics::counter!("ryokan_model_input_tokens_total", &labels[..3])
            .increment(count(call.tokens.input));
        metrics::counter!("ryokan_model_output_tokens_total", &labels[..3])
            .increment(count(call.tokens.output));
        #[expect(clippy::cast_precision_loss, reason = "a histogram")]
        let seconds = |millis: i64| millis as f64 / 1_000.0;
        metrics::histogram!("ryokan_model_call_seconds", &labels[1..3]).record(seconds(call.millis));
        if let Some(first) = call.first_byte_millis {
            metrics::histogram!("ryokan_model_first_byte_seconds", &labels[1..3]).record(seconds(first));
        }
        self.0.model_call_ended(call);
    }
}

/// An error of a use case as clients of models know them.
pub(crate) fn fault(error: &Error) -> Fault {
    let kind = match error {
        Error::Invalid(invalid) if !invalid.field.is_empty() => {
            return Fault::invalid(&invalid.field, invalid.problem.clone());
        }
        Error::Invalid(_) | Error::Conflict(_) | Error::NotImplemented(_) => Kind::Invalid,
        Error::Unauthenticated => Kind::Unauthenticated,
        Error::Forbidden(_) => Kind::Forbidden,
        Error::NotFound { .. } => Kind::NotFound,
        Error::QuotaExceeded(_) => Kind::Budget,
        Error::PaymentRequired(_) => Kind::Payment,
        Error::TooManyRequests { retry_after, .. } => {
            return Fault::new(Kind::RateLimit, error.to_string()).after(*retry_after);
        }
        Error::Unavailable { .. } | Error::AuditUnavailable(_) => {
            return Fault::new(Kind::Overloaded, error.to_string()).after(2);
        }
        Error::Internal(_) => Kind::Internal,
    };
    Fault::new(kind, error.to_string())
}
