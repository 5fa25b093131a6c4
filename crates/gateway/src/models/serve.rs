//! One call from the request to the answer: decide, set money aside, send, try the next provider while nothing has been
//! answered, relay. Callable for anybody who was identified: whoever calls has made the [`Subject`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use ryokan_model::models::{Call, CallOutcome, Need, Offer, Snapshot, Subject, Tokens};
use serde_json::Value;

use super::asked::{Asked, Endpoint};
use super::fault::{Dialect, Fault, Kind};
use super::ports::Books;
use super::relay::{Account, Mode, Relay};
use super::route::{Choice, State, plan};
use super::translate::{self, Translation};
use super::upstream::{Exchange, Line, Lines, Refusal, Trouble, Wire, dialect_of, read_answer};
use crate::body::Body;

/// Output that a call may come to when neither it nor its model says.
const OUTPUT: i64 = 4_096;
/// Before the same provider is asked again.
const BREATH: Duration = Duration::from_millis(150);
/// What is set aside is given back so long after a call must be over.
const AFTER: Duration = Duration::from_mins(2);

/// The gateway. One for each process.
pub struct ModelGateway {
    books: Arc<dyn Books>,
    lines: Lines,
}

/// What may be sent to one choice.
struct Prepared {
    wire: Wire,
    body: Bytes,
    translation: Option<Translation>,
    /// We alone asked for the stream's usage.
    strip: bool,
}

impl ModelGateway {
    pub fn new(books: Arc<dyn Books>) -> Arc<Self> {
        Arc::new(Self { books, lines: Lines::default() })
    }

    /// Answers a call, whatever comes of it.
    pub async fn call(
        &self,
        subject: &Subject,
        endpoint: Endpoint,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Response<Body> {
        let dialect = endpoint.dialect();
        let asked = match Asked::parse(endpoint, &body) {
            Ok(asked) => asked,
            Err(fault) => return fault.into_response(dialect),
        };
        let snapshot = self.books.snapshot();
        let call = Call {
            hold: None,
            at: self.books.now(),
            subject: subject.clone(),
            endpoint: endpoint.as_str(),
            model: asked.model.clone(),
            provider: String::new(),
            upstream_model: String::new(),
            reason: String::new(),
            outcome: CallOutcome::Cancelled,
            status: 0,
            tokens: Tokens::default(),
            estimated: false,
            microsats: 0,
            price_version: None,
            millis: 0,
            first_byte_millis: None,
        };
        let mut account = Account::open(self.books.clone(), call, asked.input_guess, snapshot.charging);
        let planned = self.decide(&snapshot, subject, &asked);
        let choices = match planned {
            Ok(choices) => choices,
            Err(fault) => return refuse(&mut account, fault, dialect),
        };
        if endpoint == Endpoint::CountTokens && choices.is_empty() {
            account.end(CallOutcome::Ok, 200);
            return translate::counted(asked.input_guess);
        }
        let bound = Bound::of(&asked, &choices);
        let holds = asked.endpoint != Endpoint::CountTokens
            && choices.iter().any(|choice| snapshot.must_hold(subject, &choice.offer.prices));
        if holds {
            match self.books.reserve(subject, bound.need(&asked, &choices)).await {
                Ok(hold) => account.held(hold),
                Err(fault) => return refuse(&mut account, fault, dialect),
            }
        }
        self.dispatch(subject, &asked, &choices, (holds, bound.output), headers, &body, account).await
    }

    fn decide(&self, snapshot: &Snapshot, subject: &Subject, asked: &Asked) -> Result<Vec<Choice>, Fault> {
        if snapshot.stopped {
            let message = "calls of models are stopped on this installation; its operator knows why";
            return Err(Fault::new(Kind::Forbidden, message));
        }
        if snapshot.rules_of(subject.project).stopped {
            let message = "calls of models are stopped for this project; its admins start them again";
            return Err(Fault::new(Kind::Forbidden, message));
        }
        let may = |offer: &Offer| self.books.may_call(subject, &asked.model, offer);
        let state = |offer: &Offer| self.lines.to(&offer.provider).map_or(State::Ready, |line| line.state());
        let mut choices = plan(snapshot, subject, asked, may, state)?;
        let able =
            |choice: &Choice| Wire::of(asked.endpoint, dialect_of(choice.offer.provider.kind)).is_some();
        choices.retain(able);
        if choices.is_empty() && asked.endpoint != Endpoint::CountTokens {
            let message = format!("no provider of `{}` can answer this", asked.model);
            return Err(Fault { param: Some("model".into()), ..Fault::new(Kind::Invalid, message) });
        }
        Ok(choices)
    }

    /// Tries one choice after the other until one answers.
    #[expect(clippy::too_many_arguments, reason = "the parts of one call, handed on once")]
    async fn dispatch(
        &self,
        subject: &Subject,
        asked: &Asked,
        choices: &[Choice],
        limit: (bool, i64),
        headers: &HeaderMap,
        body: &Bytes,
        mut account: Account,
    ) -> Response<Body> {
        let dialect = asked.endpoint.dialect();
        let mut tried = String::new();
        let mut last = Fault::new(Kind::Internal, "nobody was asked");
        let (mut at, mut again) = (0, choices.len() == 1);
        while let Some(choice) = choices.get(at) {
            let reason = format!("{}{tried}", choice.reason);
            account.goes_to(&choice.offer, &reason, dialect_of(choice.offer.provider.kind));
            match self.attempt(subject, asked, choice, limit, headers, body, account).await {
                Ok(mut response) => {
                    tell(&mut response, &choice.offer, &reason);
                    return response;
                }
                Err((back, trouble)) => {
                    account = back;
                    last = trouble.fault;
                    if !trouble.retry {
                        break;
                    }
                    if trouble.quick && again {
                        again = false;
                        tokio::time::sleep(BREATH).await;
                        continue;
                    }
                    tried.push_str("; failed over from ");
                    tried.push_str(&choice.offer.provider.name);
                    at += 1;
                }
            }
        }
        account.end(CallOutcome::Failed, last.status(dialect));
        last.into_response(dialect)
    }

    /// Asks one provider. The account comes back when it has not answered.
    #[expect(clippy::too_many_arguments, reason = "the parts of one call, handed on once")]
    async fn attempt(
        &self,
        subject: &Subject,
        asked: &Asked,
        choice: &Choice,
        limit: (bool, i64),
        headers: &HeaderMap,
        body: &Bytes,
        mut account: Account,
    ) -> Result<Response<Body>, (Account, Trouble)> {
        let caller = asked.endpoint.dialect();
        let fatal = |fault| Trouble { fault, retry: false, quick: false };
        let line = match self.lines.to(&choice.offer.provider) {
            Ok(line) => line,
            Err(fault) => return Err((account, fatal(fault))),
        };
        let created = self.books.now().0 / 1_000;
        let prepared = match prepare(asked, &choice.offer, limit, body, created) {
            Ok(prepared) => prepared,
            // Somebody who speaks the caller's dialect may do what cannot be translated.
            Err(fault) => return Err((account, Trouble { fault, retry: true, quick: false })),
        };
        let options = &line.provider.options;
        let place = match line.queue.enter(subject.project).await {
            Ok(place) => place,
            Err(full) => return Err((account, line.full(full))),
        };
        let total = tokio::time::Instant::now() + Duration::from_millis(options.total_ms);
        let patience = Duration::from_millis(options.first_byte_ms.min(options.total_ms));
        let first_by = tokio::time::Instant::now() + patience;
        account.sent = true;
        let response = match line.send(prepared.wire, headers, prepared.body, patience).await {
            Ok(Exchange::Answer(response)) => response,
            Ok(Exchange::Refusal(refusal)) => {
                line.works();
                account.sent = false;
                account.end(CallOutcome::Failed, refusal.status);
                return Ok(refused(refusal, dialect_of(line.provider.kind), caller));
            }
            Err(trouble) => return Err((account, trouble)),
        };
        let kind = response.headers().get(header::CONTENT_TYPE).cloned();
        let is_stream = kind.as_ref().is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if asked.stream && is_stream {
            let mut source = Box::pin(response.bytes_stream());
            let first = match tokio::time::timeout_at(first_by, source.next()).await {
                Ok(Some(Ok(first))) => first,
                Ok(_) => return Err((account, line.trouble(Kind::Upstream, "answered with nothing", true))),
                Err(_) => {
                    return Err((
                        account,
                        line.trouble(Kind::Timeout, "did not begin to answer in time", false),
                    ));
                }
            };
            account.first_byte();
            let mode = match prepared.translation {
                Some(translation) => Mode::Translate(translation.stream()),
                None => Mode::Pass { strip: prepared.strip },
            };
            let relay = Relay::new((first, source), mode, account, caller, (line, place), total);
            return Ok(answer(Body::boxed(relay), HeaderValue::from_static("text/event-stream")));
        }
        let left = total.saturating_duration_since(tokio::time::Instant::now());
        let whole = match read_answer(&line, response, left).await {
            Ok(whole) => whole,
            Err(trouble) => return Err((account, trouble)),
        };
        account.first_byte();
        let said: Option<Value> = serde_json::from_slice(&whole).ok();
        account.usage.whole(said.as_ref().unwrap_or(&Value::Null));
        line.works();
        drop(place);
        let made = match (prepared.translation, said) {
            (None, _) => Ok((whole, kind.unwrap_or(HeaderValue::from_static("application/json")))),
            (Some(translation), Some(said)) => translation
                .whole(&said)
                .map(|made| (Bytes::from(made.to_string()), HeaderValue::from_static("application/json"))),
            (Some(_), None) => {
                Err(Fault::new(Kind::Upstream, line_says(&line, "sent an answer that is not JSON")))
            }
        };
        match made {
            Ok((body, kind)) => {
                account.end(CallOutcome::Ok, 200);
                Ok(answer(Body::full(body), kind))
            }
            // It was answered, and has to be paid for; nobody else is asked.
            Err(fault) => {
                account.end(CallOutcome::Broken, fault.status(caller));
                Ok(fault.into_response(caller))
            }
        }
    }

    /// Forgets what is kept of providers that are not in the snapshot any more.
    pub fn forget_gone(&self) {
        let snapshot = self.books.snapshot();
        let known: std::collections::BTreeSet<&str> =
            snapshot.offers.values().flatten().map(|offer| offer.provider.name.as_str()).collect();
        self.lines.keep(|name| known.contains(name));
    }
}

/// The most that a call may come to.
struct Bound {
    output: i64,
}

impl Bound {
    fn of(asked: &Asked, choices: &[Choice]) -> Self {
        let usual = choices.iter().map(|choice| choice.offer.can.max_output.unwrap_or(OUTPUT)).max();
        let output = asked.max_output.or(usual).unwrap_or(OUTPUT);
        Self { output: if asked.speaks() { output } else { 0 } }
    }

    fn need(&self, asked: &Asked, choices: &[Choice]) -> Need {
        let output = self.output.saturating_mul(asked.choices);
        let dearest = choices.iter().map(|choice| choice.offer.prices.most(asked.input_most, output)).max();
        let millis =
            |choice: &Choice| choice.offer.provider.options.total_ms + choice.offer.provider.options.wait_ms;
        // One after the other, at worst.
        let longest = choices.iter().map(millis).fold(0, u64::saturating_add);
        Need {
            model: asked.model.clone(),
            tokens: asked.input_most.saturating_add(output),
            microsats: dearest.unwrap_or(0),
            expires: Duration::from_millis(longest) + AFTER,
        }
    }
}

fn line_says(line: &Line, what: &str) -> String {
    format!("the provider `{}` {what}", line.provider.name)
}

/// What is sent: the request as it came, but for the model's name, a limit where one must hold, and the wish to be told
/// what a stream used.
fn prepare(
    asked: &Asked,
    offer: &Offer,
    (holds, most): (bool, i64),
    body: &Bytes,
    created: i64,
) -> Result<Prepared, Fault> {
    let dialect = dialect_of(offer.provider.kind);
    let wire = Wire::of(asked.endpoint, dialect)
        .ok_or_else(|| Fault::invalid("model", "cannot be asked for this"))?;
    let limit = (holds && asked.max_output.is_none() && asked.speaks())
        .then(|| offer.can.max_output.map_or(most, |can| can.min(most)));
    if let Some((translation, mut request)) = translate::request(asked, dialect, created)? {
        translate::finish(&mut request, offer, wire, limit);
        let strip = false;
        return Ok(Prepared {
            wire,
            body: request.to_string().into(),
            translation: Some(translation),
            strip,
        });
    }
    let mut fields = asked.fields.clone();
    let mut changed = false;
    if offer.model != asked.model {
        fields.set("model", &offer.model)?;
        changed = true;
    }
    if let Some(limit) = limit {
        fields.set(translate::limit_field(offer, wire), &limit)?;
        changed = true;
    }
    let strip = asked.endpoint == Endpoint::Chat && asked.stream && !asked.include_usage;
    if strip {
        let mut options: serde_json::Map<String, Value> = fields.get("stream_options")?.unwrap_or_default();
        options.insert("include_usage".into(), true.into());
        fields.set("stream_options", &options)?;
        changed = true;
    }
    let body = if changed { fields.to_bytes().into() } else { body.clone() };
    Ok(Prepared { wire, body, translation: None, strip })
}

fn refuse(account: &mut Account, fault: Fault, dialect: Dialect) -> Response<Body> {
    account.end(CallOutcome::Refused, fault.status(dialect));
    fault.into_response(dialect)
}

/// A provider's refusal: as it is where it is in the caller's dialect, else its message in theirs.
fn refused(refusal: Refusal, theirs: Dialect, callers: Dialect) -> Response<Body> {
    let Refusal { status, retry_after, body } = refusal;
    let said: Option<Value> = serde_json::from_slice(&body).ok();
    if theirs == callers && said.as_ref().is_some_and(|said| said["error"].is_object()) {
        let mut response = answer(Body::full(body), HeaderValue::from_static("application/json"));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        return response;
    }
    let message = said
        .as_ref()
        .and_then(|said| {
            said["error"]["message"].as_str().or(said["error"].as_str()).or(said["message"].as_str())
        })
        .map_or_else(
            || format!("the provider refused it (HTTP {status})"),
            |text| text.chars().take(2_000).collect(),
        );
    let kind = match status {
        404 => Kind::NotFound,
        413 => Kind::TooLarge,
        402 => Kind::Payment,
        _ => Kind::Invalid,
    };
    Fault { retry_after, ..Fault::new(kind, message) }.into_response(callers)
}

fn answer(body: Body, kind: HeaderValue) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Who answered, and why.
fn tell(response: &mut Response<Body>, offer: &Offer, reason: &str) {
    let headers = response.headers_mut();
    for (name, text) in [
        ("x-ryokan-provider", offer.provider.name.as_str()),
        ("x-ryokan-model", &offer.model),
        ("x-ryokan-route", reason),
    ] {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    }
}
