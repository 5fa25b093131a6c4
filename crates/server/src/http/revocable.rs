//! Answers that go on for a while end with the credential that asked for them.
//!
//! The body alone is cut; what the request has set in motion goes on. A progress stream says so in a last event; any other
//! answer breaks off, so that nobody takes the part for the whole.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};
use ryokan_app::App;
use ryokan_model::permission::Caller;

/// A body that is not longer is sent at once.
const SHORT: u64 = 64 * 1024;

/// On a response: the event that a cut stream ends with.
#[derive(Clone)]
pub(crate) struct LastWords(pub(crate) Bytes);

/// `response`, for as long as the caller's credential is good.
pub(crate) fn bind(response: Response, app: &Arc<App>, caller: Caller) -> Response {
    if response.body().size_hint().upper().is_some_and(|length| length <= SHORT) {
        return response;
    }
    let (mut parts, inner) = response.into_parts();
    let last_words = parts.extensions.remove::<LastWords>();
    let revoked = Box::pin(Arc::clone(app).until_revoked(caller));
    Response::from_parts(parts, Body::new(Revocable { inner, revoked, last_words, cut: false }))
}

struct Revocable {
    inner: Body,
    revoked: Pin<Box<dyn Future<Output = ()> + Send>>,
    last_words: Option<LastWords>,
    cut: bool,
}

impl hyper::body::Body for Revocable {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.cut {
            return Poll::Ready(None);
        }
        if this.revoked.as_mut().poll(cx).is_ready() {
            this.cut = true;
            this.inner = Body::empty();
            return Poll::Ready(Some(match this.last_words.take() {
                Some(LastWords(event)) => Ok(Frame::data(event)),
                None => Err(axum::Error::new("the credential that opened this is good no more")),
            }));
        }
        Pin::new(&mut this.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
