//! Bodies on their way through: never buffered, counted, bounded, and let go of when the other side hangs up.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;

use crate::client::InService;
use crate::upstream::UpstreamBody;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A response body of the gateway or of the control plane behind it.
pub struct Body {
    kind: Kind,
    /// Held until the body is done with, so that the connection counts as busy.
    serving: Option<InService>,
}

enum Kind {
    Full(Option<Bytes>),
    Boxed(UnsyncBoxBody<Bytes, BoxError>),
    Upstream(Box<UpstreamBody>),
}

impl Body {
    pub fn empty() -> Self {
        Self { kind: Kind::Full(None), serving: None }
    }

    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { kind: Kind::Full((!bytes.is_empty()).then_some(bytes)), serving: None }
    }

    /// Any other body, such as axum's.
    pub fn boxed<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self { kind: Kind::Boxed(body.map_err(Into::into).boxed_unsync()), serving: None }
    }

    pub(crate) fn upstream(body: UpstreamBody) -> Self {
        Self { kind: Kind::Upstream(Box::new(body)), serving: None }
    }

    #[must_use]
    pub(crate) fn holding(mut self, serving: InService) -> Self {
        self.serving = Some(serving);
        self
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Body")
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.get_mut().kind {
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Boxed(body) => Pin::new(body).poll_frame(cx),
            Kind::Upstream(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full(bytes) => bytes.is_none(),
            Kind::Boxed(body) => body.is_end_stream(),
            Kind::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Boxed(body) => body.size_hint(),
            Kind::Upstream(body) => body.size_hint(),
        }
    }
}

/// How far a request's body has got; read by whoever waits for the response.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    bytes: AtomicU64,
    finished: AtomicBool,
    too_large: AtomicBool,
    failed: AtomicBool,
}

impl Progress {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Whether the whole body was handed over.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(Relaxed)
    }

    pub(crate) fn is_too_large(&self) -> bool {
        self.too_large.load(Relaxed)
    }

    /// Whether the client broke off.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }
}

/// A request's body on its way to an agent.
#[derive(Debug)]
pub(crate) enum RequestBody {
    Empty,
    Streaming { incoming: Incoming, left: u64, progress: Arc<Progress> },
}

impl RequestBody {
    /// At most `limit` bytes of `incoming`; its progress is `None` when there is no body at all.
    pub(crate) fn new(incoming: Incoming, limit: u64) -> (Self, Option<Arc<Progress>>) {
        if http_body::Body::is_end_stream(&incoming) {
            return (Self::Empty, None);
        }
        let progress = Arc::new(Progress::default());
        (Self::Streaming { incoming, left: limit, progress: Arc::clone(&progress) }, Some(progress))
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self::Streaming { incoming, left, progress } = self.get_mut() else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(&mut *incoming).poll_frame(cx));
        match &frame {
            None => progress.finished.store(true, Relaxed),
            Some(Err(_)) => progress.failed.store(true, Relaxed),
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                progress.bytes.fetch_add(length, Relaxed);
                let Some(rest) = left.checked_sub(length) else {
                    progress.too_large.store(true, Relaxed);
                    return Poll::Ready(Some(Err("request body too large".into())));
                };
                *left = rest;
                if http_body::Body::is_end_stream(incoming) {
                    progress.finished.store(true, Relaxed);
                }
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming { incoming, .. } => http_body::Body::is_end_stream(incoming),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming { incoming, .. } => http_body::Body::size_hint(incoming),
        }
    }
}
