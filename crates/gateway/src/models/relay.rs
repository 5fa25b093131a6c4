//! A streamed answer on its way: passed on byte by byte or translated event by event, listened to for what it used, and
//! broken off with an error of the caller's dialect when the provider falls silent. However it ends, also when the client
//! goes away, its account is closed.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::Stream;
use http_body::Frame;
use ryokan_model::models::{Call, CallOutcome, Offer};
use tokio::time::Sleep;

use super::asked::Endpoint;
use super::fault::{Dialect, Fault, Kind};
use super::ports::Books;
use super::queue::Place;
use super::sse::Events;
use super::upstream::Line;
use super::usage::Usage;
use crate::body::BoxError;

/// One call's account: closed exactly once, by `end` or when it is dropped.
pub(crate) struct Account {
    books: Arc<dyn Books>,
    call: Option<Call>,
    begun: Instant,
    pub(crate) usage: Usage,
    input_guess: i64,
    charging: bool,
    /// The request went out, so that the provider has worked.
    pub(crate) sent: bool,
    offer: Option<Arc<Offer>>,
}

impl Account {
    pub(crate) fn open(books: Arc<dyn Books>, call: Call, input_guess: i64, charging: bool) -> Self {
        let usage = Usage::new(Dialect::Openai);
        let begun = Instant::now();
        Self { books, call: Some(call), begun, usage, input_guess, charging, sent: false, offer: None }
    }

    /// What will answer.
    pub(crate) fn goes_to(&mut self, offer: &Arc<Offer>, reason: &str, dialect: Dialect) {
        if let Some(call) = &mut self.call {
            call.provider.clone_from(&offer.provider.name);
            call.upstream_model.clone_from(&offer.model);
            reason.clone_into(&mut call.reason);
            call.price_version = offer.price_version;
        }
        self.offer = Some(offer.clone());
        self.usage = Usage::new(dialect);
        self.sent = false;
    }

    pub(crate) fn held(&mut self, hold: ryokan_model::ModelCallId) {
        if let Some(call) = &mut self.call {
            call.hold = Some(hold);
        }
    }

    pub(crate) fn first_byte(&mut self) {
        let millis = self.millis();
        if let Some(call) = &mut self.call {
            call.first_byte_millis.get_or_insert(millis);
        }
    }

    fn millis(&self) -> i64 {
        i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    pub(crate) fn end(&mut self, outcome: CallOutcome, status: u16) {
        let millis = self.millis();
        let Some(mut call) = self.call.take() else { return };
        (call.outcome, call.status, call.millis) = (outcome, status, millis);
        // Whoever refused or failed before a word was said has used nothing.
        let counts = self.sent && call.endpoint != Endpoint::CountTokens.as_str();
        if counts && matches!(outcome, CallOutcome::Ok | CallOutcome::Cancelled | CallOutcome::Broken) {
            (call.tokens, call.estimated) = self.usage.tokens(self.input_guess);
            if self.charging {
                call.microsats = self.offer.as_ref().map_or(0, |offer| offer.prices.cost(call.tokens));
            }
        }
        self.books.finish(call);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // As others' logs have it for clients that are gone.
        self.end(CallOutcome::Cancelled, 499);
    }
}

/// Makes one dialect's stream out of the other's.
pub(crate) trait Translate: Send {
    /// The data of an event; what it becomes is appended.
    fn event(&mut self, data: &str, out: &mut Vec<u8>) -> Result<(), Fault>;

    /// The stream ended.
    fn end(&mut self, out: &mut Vec<u8>);
}

pub(crate) enum Mode {
    /// The very bytes. `strip` takes out the one event that only we asked for.
    Pass {
        strip: bool,
    },
    Translate(Box<dyn Translate>),
}

type Source = Pin<Box<dyn Stream<Item = Result<Bytes, reqwest::Error>> + Send>>;

pub(crate) struct Relay {
    source: Source,
    first: Option<Bytes>,
    mode: Mode,
    events: Events,
    out: VecDeque<Bytes>,
    over: bool,
    idle: Pin<Box<Sleep>>,
    idle_for: Duration,
    total: Pin<Box<Sleep>>,
    account: Account,
    caller: Dialect,
    line: Arc<Line>,
    /// Held until the answer is over.
    place: Option<Place>,
}

impl Relay {
    pub(crate) fn new(
        (first, source): (Bytes, Source),
        mode: Mode,
        account: Account,
        caller: Dialect,
        (line, place): (Arc<Line>, Place),
        total: tokio::time::Instant,
    ) -> Self {
        let idle_for = Duration::from_millis(line.provider.options.idle_ms);
        Self {
            source,
            first: Some(first),
            mode,
            events: Events::default(),
            out: VecDeque::new(),
            over: false,
            idle: Box::pin(tokio::time::sleep(idle_for)),
            idle_for,
            total: Box::pin(tokio::time::sleep_until(total)),
            account,
            caller,
            line,
            place: Some(place),
        }
    }

    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let name = &self.line.provider.name;
        if self.total.as_mut().poll(context).is_ready() {
            let message = format!("the answer of the provider `{name}` took too long");
            return Poll::Ready(Some(Err(Fault::new(Kind::Timeout, message))));
        }
        match self.source.as_mut().poll_next(context) {
            Poll::Ready(Some(Ok(piece))) => {
                self.idle.as_mut().reset(tokio::time::Instant::now() + self.idle_for);
                Poll::Ready(Some(Ok(piece)))
            }
            Poll::Ready(Some(Err(_))) => {
                self.line.failed();
                let message = format!("the provider `{name}` broke its answer off");
                Poll::Ready(Some(Err(Fault::new(Kind::Upstream, message))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending if self.idle.as_mut().poll(context).is_ready() => {
                self.line.failed();
                let message = format!("the provider `{name}` fell silent in the middle of its answer");
                Poll::Ready(Some(Err(Fault::new(Kind::Timeout, message))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn take(&mut self, piece: Bytes) -> Result<(), Fault> {
        if let Mode::Pass { strip: false } = self.mode {
            self.out.push_back(piece.clone());
        }
        let kept = self.events.push(&piece);
        if kept.is_err() && !matches!(self.mode, Mode::Pass { strip: false }) {
            return Err(Fault::new(Kind::Upstream, "the provider sent an event that is too large"));
        }
        while let Some(event) = self.events.next() {
            self.event(event)?;
        }
        Ok(())
    }

    fn event(&mut self, event: super::sse::Event) -> Result<(), Fault> {
        let only_usage = !event.data.is_empty() && self.account.usage.event(&event.data);
        match &mut self.mode {
            Mode::Pass { strip: false } => {}
            Mode::Pass { strip: true } if only_usage => {}
            Mode::Pass { strip: true } => self.out.push_back(event.raw),
            Mode::Translate(translate) if !event.data.is_empty() => {
                let mut out = Vec::new();
                translate.event(&event.data, &mut out)?;
                if !out.is_empty() {
                    self.out.push_back(out.into());
                }
            }
            Mode::Translate(_) => {}
        }
        Ok(())
    }

    /// The provider's stream is over.
    fn finish(&mut self) {
        if let Some(event) = self.events.rest()
            && let Err(fault) = self.event(event)
        {
            return self.break_off(&fault);
        }
        if let Mode::Translate(translate) = &mut self.mode {
            let mut out = Vec::new();
            translate.end(&mut out);
            if !out.is_empty() {
                self.out.push_back(out.into());
            }
        }
        let usage = &self.account.usage;
        let outcome = match (usage.failed, usage.ended) {
            (true, _) => CallOutcome::Broken,
            (false, true) => CallOutcome::Ok,
            (false, false) => CallOutcome::Broken,
        };
        if outcome == CallOutcome::Ok {
            self.line.works();
        }
        self.close(outcome);
    }

    fn break_off(&mut self, fault: &Fault) {
        self.out.push_back(fault.to_event(self.caller));
        self.close(CallOutcome::Broken);
    }

    fn close(&mut self, outcome: CallOutcome) {
        self.over = true;
        self.account.end(outcome, 200);
        self.place = None;
        // Ends the connection where the answer is not over.
        self.source = Box::pin(futures_util::stream::empty());
    }
}

impl http_body::Body for Relay {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            if let Some(bytes) = this.out.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if this.over {
                return Poll::Ready(None);
            }
            match this.next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => this.finish(),
                Poll::Ready(Some(Err(fault))) => this.break_off(&fault),
                Poll::Ready(Some(Ok(piece))) => {
                    if let Err(fault) = this.take(piece) {
                        this.break_off(&fault);
                    }
                }
            }
        }
    }
}
