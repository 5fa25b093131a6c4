//! A connection to an agent, driven by whoever uses it.
//!
//! hyper's client splits a connection into a sender and a future that does the work. Here both travel together:
//! the request's own task polls that future, and so does the response body. No task is spawned for a connection,
//! no wake-up crosses threads, and a request that is dropped drops its connection with it. While a connection
//! waits in the pool nobody polls it; `Connection::revive` finds out whether it is still alive.

use std::future::Future as _;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::body::{BoxError, Progress, RequestBody};
use crate::inflight::InFlight;
use crate::passes::Pass;
use crate::pool::Lease;
use crate::tally::Tally;

type Driver = http1::Connection<TokioIo<TcpStream>, RequestBody>;

/// Sender and driver of one connection.
pub(crate) struct Connection {
    sender: http1::SendRequest<RequestBody>,
    driver: Driver,
    finished: bool,
}

/// Why no response came.
pub(crate) struct SendError {
    /// The request itself, if not a byte of it was written.
    pub(crate) unsent: Option<Request<RequestBody>>,
    pub(crate) error: hyper::Error,
}

impl Connection {
    pub(crate) async fn handshake(stream: TcpStream) -> hyper::Result<Self> {
        let (sender, driver) =
            http1::Builder::new().max_buf_size(256 * 1024).handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, driver, finished: false })
    }

    fn poll_driver(&mut self, cx: &mut Context<'_>) {
        if !self.finished && self.driver.poll_without_shutdown(cx).is_ready() {
            self.finished = true;
        }
    }

    /// Whether a connection from the pool can carry another request.
    pub(crate) fn revive(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll_driver(cx);
        !self.finished && self.sender.is_ready()
    }

    /// Sends a request and waits for the response's head.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        let mut response = pin!(self.sender.try_send_request(request));
        let (driver, finished) = (&mut self.driver, &mut self.finished);
        std::future::poll_fn(|cx| {
            if !*finished && driver.poll_without_shutdown(cx).is_ready() {
                *finished = true;
            }
            // Only the driver can make it ready, and it was just polled: no need to be woken for it.
            response.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        })
        .await
        .map_err(|mut error| SendError { unsent: error.take_message(), error: error.into_error() })
    }

    /// After a 101: the socket, and what was already read from it.
    pub(crate) async fn into_tunnel(mut self, patience: Duration) -> Option<(TcpStream, Bytes)> {
        let ended = std::future::poll_fn(|cx| {
            self.poll_driver(cx);
            if self.finished { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::time::timeout(patience, ended).await.ok()?;
        let parts = self.driver.into_parts();
        Some((parts.io.into_inner(), parts.read_buf))
    }
}

/// A response's body, which carries its connection and gives it back to the pool at the end.
pub(crate) struct UpstreamBody {
    incoming: Incoming,
    /// `None` once it was given back.
    connection: Option<(Box<Connection>, Lease)>,
    reusable: bool,
    request: Option<Arc<Progress>>,
    tally: Tally,
    /// None where nothing was needed to get in.
    pass: Option<Pass>,
    _in_flight: InFlight,
}

impl UpstreamBody {
    pub(crate) fn new(
        incoming: Incoming,
        connection: (Box<Connection>, Lease),
        reusable: bool,
        request: Option<Arc<Progress>>,
        tally: Tally,
        in_flight: InFlight,
    ) -> Self {
        let mut body = Self {
            incoming,
            connection: Some(connection),
            reusable,
            request,
            tally,
            pass: None,
            _in_flight: in_flight,
        };
        if body.is_end_stream() {
            body.finish();
        }
        body
    }

    /// The same body, broken off when the pass ends.
    pub(crate) fn until_ended(mut self, pass: Option<Pass>) -> Self {
        self.pass = pass;
        self
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.pass.as_ref().is_some_and(|pass| pass.poll_ended(cx).is_ready()) {
            self.connection = None;
            return Poll::Ready(Some(Err("the credential that opened this is good no more".into())));
        }
        let mut quiet = Context::from_waker(Waker::noop());
        let mut polled = http_body::Body::poll_frame(Pin::new(&mut self.incoming), &mut quiet);
        if polled.is_pending()
            && let Some((connection, _)) = &mut self.connection
        {
            // The driver reads more once the body asked for it, and is what wakes us.
            connection.poll_driver(cx);
            polled = http_body::Body::poll_frame(Pin::new(&mut self.incoming), &mut quiet);
        }
        let frame = std::task::ready!(polled);
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.tally.add_out(data.len() as u64);
                }
                if let Some(request) = &self.request {
                    self.tally.set_in(request.bytes());
                }
                if self.is_end_stream() {
                    self.finish();
                }
            }
            None => self.finish(),
            Some(Err(_)) => self.connection = None,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.incoming)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.incoming)
    }

    fn finish(&mut self) {
        let Some((connection, lease)) = self.connection.take() else { return };
        // An answer that came before the request was read to its end leaves the connection in the middle of it.
        let is_whole = self.request.as_ref().is_none_or(|request| request.is_finished());
        if self.reusable && is_whole && !connection.finished {
            lease.give_back(connection);
        }
    }
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        if let Some(request) = &self.request {
            self.tally.set_in(request.bytes());
        }
    }
}
