//! Bodies on their way through: never collected, counted, bounded, searched where a secret or a placeholder might be in
//! them, and broken off when what allowed them is gone.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::course::Course;
use super::exchange::scrub_headers;
use super::keys::PLACEHOLDER;
use super::leave::Leave;
use super::limits::EgressLimits;
use super::refusal::Refusal;
use super::scrub::{Patterns, Scrubber};
use crate::body::BoxError;
use crate::inflight::InFlight;

/// Why a request's body was broken off.
#[derive(Debug, Default)]
pub(crate) struct Faults(AtomicU8);

const TOO_LARGE: u8 = 1;
const BROKEN: u8 = 2;
const PLACED: u8 = 3;

impl Faults {
    fn set(&self, fault: u8) {
        let _ = self.0.compare_exchange(0, fault, Relaxed, Relaxed);
    }

    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self.0.load(Relaxed) {
            TOO_LARGE => Some(Refusal::BodyTooLarge),
            BROKEN => Some(Refusal::BadRequest("The request body broke off.")),
            PLACED => Some(Refusal::NotForThisHost),
            _ => None,
        }
    }
}

/// A request's body on its way out.
pub(crate) struct Outgoing {
    incoming: Incoming,
    limit: u64,
    course: Arc<Course>,
    faults: Arc<Faults>,
    guard: Option<Guard>,
}

impl Outgoing {
    pub(crate) fn new(
        incoming: Incoming,
        limit: u64,
        course: Arc<Course>,
        faults: Arc<Faults>,
        is_guarded: bool,
    ) -> Self {
        Self { incoming, limit, course, faults, guard: is_guarded.then(Guard::default) }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = match ready!(Pin::new(&mut this.incoming).poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => {
                this.faults.set(BROKEN);
                return Poll::Ready(Some(Err(error.into())));
            }
            Some(Ok(frame)) => frame,
        };
        if let Some(data) = frame.data_ref() {
            if this.course.add_up(data.len()) > this.limit {
                this.faults.set(TOO_LARGE);
                return Poll::Ready(Some(Err("request body too large".into())));
            }
            if this.guard.as_mut().is_some_and(|guard| guard.finds(data)) {
                this.faults.set(PLACED);
                return Poll::Ready(Some(Err("a placeholder where it may not be".into())));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Finds placeholders in a stream. The beginning of one may have gone before it is found; the whole never does.
#[derive(Default)]
struct Guard {
    tail: Vec<u8>,
}

impl Guard {
    fn finds(&mut self, data: &[u8]) -> bool {
        let mut seam = std::mem::take(&mut self.tail);
        let keep = PLACEHOLDER.len() - 1;
        seam.extend_from_slice(&data[..data.len().min(keep)]);
        let is_found = super::scrub::find(&seam, PLACEHOLDER.as_bytes()).is_some()
            || super::scrub::find(data, PLACEHOLDER.as_bytes()).is_some();
        self.tail = if data.len() >= keep {
            data[data.len() - keep..].to_vec()
        } else {
            let from = seam.len().saturating_sub(keep);
            seam.split_off(from)
        };
        is_found
    }
}

/// An answer's body on its way back. What it holds ends with it.
pub(crate) struct Answer {
    incoming: Incoming,
    limit: u64,
    scrubber: Option<(Scrubber, Patterns)>,
    /// After the last piece that was held back.
    trailers: Option<Frame<Bytes>>,
    is_over: bool,
    course: Arc<Course>,
    leave: Leave,
    deadline: Pin<Box<Sleep>>,
    _in_flight: InFlight,
}

impl Answer {
    pub(crate) fn new(
        incoming: Incoming,
        scrubber: Option<(Scrubber, Patterns)>,
        course: Arc<Course>,
        leave: Leave,
        limits: &EgressLimits,
        in_flight: InFlight,
    ) -> Self {
        Self {
            incoming,
            limit: limits.response_body,
            scrubber,
            trailers: None,
            is_over: false,
            course,
            leave,
            deadline: Box::pin(tokio::time::sleep(limits.total)),
            _in_flight: in_flight,
        }
    }

    fn break_off(&mut self, code: &'static str) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.is_over = true;
        self.course.ended_by(code);
        Poll::Ready(Some(Err(code.into())))
    }

    /// What was held back, once nothing comes after it.
    fn rest(&mut self) -> Option<Bytes> {
        let (scrubber, _) = self.scrubber.as_mut()?;
        let rest = scrubber.finish();
        (!rest.is_empty()).then(|| Bytes::from(rest))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(this.trailers.take().map(Ok));
        }
        if this.leave.poll_ended(cx).is_ready() {
            return this.break_off("no_longer_allowed");
        }
        if this.deadline.as_mut().poll(cx).is_ready() {
            return this.break_off("too_long");
        }
        loop {
            let frame = match ready!(Pin::new(&mut this.incoming).poll_frame(cx)) {
                None => {
                    this.is_over = true;
                    return Poll::Ready(this.rest().map(|rest| Ok(Frame::data(rest))));
                }
                Some(Err(error)) => {
                    this.is_over = true;
                    this.course.ended_by("host_broke_off");
                    return Poll::Ready(Some(Err(error.into())));
                }
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(data) => {
                    if this.course.add_down(data.len()) > this.limit {
                        return this.break_off("too_many_bytes");
                    }
                    let Some((scrubber, _)) = &mut this.scrubber else {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    };
                    let mut clean = scrubber.push(&data);
                    if this.incoming.is_end_stream() {
                        clean.extend_from_slice(&scrubber.finish());
                    }
                    // All of it may be held back; then there is nothing to say yet.
                    if !clean.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(Bytes::from(clean)))));
                    }
                }
                Err(frame) => {
                    let Ok(mut trailers) = frame.into_trailers() else { continue };
                    this.is_over = true;
                    if let Some((_, patterns)) = &this.scrubber {
                        scrub_headers(&mut trailers, patterns);
                    }
                    let trailers = Frame::trailers(trailers);
                    return Poll::Ready(Some(Ok(match this.rest() {
                        Some(rest) => {
                            this.trailers = Some(trailers);
                            Frame::data(rest)
                        }
                        None => trailers,
                    })));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        if self.is_over { self.trailers.is_none() } else { self.incoming.is_end_stream() }
    }

    fn size_hint(&self) -> SizeHint {
        if self.scrubber.is_none() || self.incoming.size_hint().exact() == Some(0) {
            return self.incoming.size_hint();
        }
        // Scrubbing keeps lengths, but what is held back is still to come.
        SizeHint::default()
    }
}
