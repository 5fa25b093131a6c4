//! A client's connection: its bytes pass the `Screen`, and a `Watch` says what it is up to.
//!
//! The supervisor (`crate::supervisor`) reads all watches about once a second, so that no request pays for a
//! timer of its own. A watch's flags are how the supervisor ends a connection, gently or not.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::screen::{Ruling, Screen};
use crate::serve::Held;

/// What one connection is up to, and what is asked of it.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Changes with every read and write that moved bytes.
    activity: AtomicU64,
    /// Request heads completed, and whether another has begun.
    heads: AtomicU64,
    mid_head: AtomicBool,
    /// Requests under way.
    in_service: AtomicUsize,
    /// A 101 was answered: what follows is not HTTP.
    tunnel: AtomicBool,
    drain: AtomicBool,
    cut: AtomicBool,
    waker: AtomicWaker,
}

impl Watch {
    pub(crate) fn activity(&self) -> u64 {
        self.activity.load(Relaxed)
    }

    /// The number of the head that has begun and not ended.
    pub(crate) fn open_head(&self) -> Option<u64> {
        self.mid_head.load(Relaxed).then(|| self.heads.load(Relaxed))
    }

    pub(crate) fn is_in_service(&self) -> bool {
        self.in_service.load(Relaxed) > 0 || self.tunnel.load(Relaxed)
    }

    /// From here on the bytes are a tunnel's. Called before the 101 is written.
    pub(crate) fn enter_tunnel(&self) {
        self.tunnel.store(true, Relaxed);
    }

    pub(crate) fn touch(&self) {
        self.activity.fetch_add(1, Relaxed);
    }

    /// Asks the connection to finish what is under way and close.
    pub(crate) fn drain(&self) {
        self.drain.store(true, SeqCst);
        self.waker.wake();
    }

    /// Ends the connection now.
    pub(crate) fn cut(&self) {
        self.cut.store(true, SeqCst);
        self.waker.wake();
    }

    fn is_cut(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.cut.load(SeqCst)
    }

    pub(crate) fn serving(self: &Arc<Self>) -> InService {
        self.in_service.fetch_add(1, Relaxed);
        InService(Arc::clone(self))
    }

    /// Runs a future until it ends (`Some`) or the connection is cut (`None`). `on_drain` is called once when
    /// a drain is asked for.
    pub(crate) async fn supervise<F: Future>(
        &self,
        mut future: Pin<&mut F>,
        mut on_drain: impl FnMut(Pin<&mut F>),
    ) -> Option<F::Output> {
        let mut drained = false;
        std::future::poll_fn(|cx| {
            self.waker.register(cx.waker());
            if self.cut.load(SeqCst) {
                return Poll::Ready(None);
            }
            if !drained && self.drain.load(SeqCst) {
                drained = true;
                on_drain(future.as_mut());
            }
            future.as_mut().poll(cx).map(Some)
        })
        .await
    }
}

/// Held while a request is under way, response body included.
#[derive(Debug)]
pub(crate) struct InService(Arc<Watch>);

impl Drop for InService {
    fn drop(&mut self) {
        self.0.in_service.fetch_sub(1, Relaxed);
        self.0.touch();
    }
}

/// The connection itself.
#[derive(Debug)]
pub(crate) struct ClientIo<S> {
    inner: S,
    /// Bytes read while it was found out which HTTP is spoken.
    opening: Bytes,
    screen: Option<Screen>,
    watch: Arc<Watch>,
    /// Ends with the connection, also when an upgrade has handed it on.
    _held: Held,
}

impl<S> ClientIo<S> {
    /// HTTP/1: everything passes the screen.
    pub(crate) fn screened(inner: S, opening: Bytes, watch: Arc<Watch>, held: Held) -> Self {
        Self { inner, opening, screen: Some(Screen::new()), watch, _held: held }
    }

    /// HTTP/2: framing is binary, nothing to screen.
    pub(crate) fn open(inner: S, opening: Bytes, watch: Arc<Watch>, held: Held) -> Self {
        Self { inner, opening, screen: None, watch, _held: held }
    }

    fn inspect(&mut self, buf: &mut ReadBuf<'_>, from: usize) {
        let Some(screen) = &mut self.screen else { return };
        if self.watch.tunnel.load(Relaxed) {
            self.screen = None;
            return;
        }
        if let Ruling::Cut(at) = screen.inspect(&buf.filled()[from..]) {
            tracing::debug!("request refused: ambiguous or malformed bytes");
            buf.filled_mut()[from + at] = 0;
            buf.set_filled(from + at + 1);
        }
        self.watch.heads.store(screen.heads, Relaxed);
        self.watch.mid_head.store(screen.mid_head(), Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.screen.as_ref().is_some_and(Screen::is_shut) {
            // The 400 is under way; the rest of what the client sends is not read any more.
            return Poll::Ready(Ok(()));
        }
        if this.watch.tunnel.load(Relaxed) && this.watch.is_cut(cx) {
            // Whoever took the tunnel over may not know of the supervisor.
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let from = buf.filled().len();
        if this.opening.is_empty() {
            std::task::ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        } else {
            let taken = this.opening.len().min(buf.remaining());
            buf.put_slice(&this.opening[..taken]);
            this.opening.advance(taken);
        }
        if buf.filled().len() > from {
            this.watch.touch();
            this.inspect(buf, from);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = std::task::ready!(Pin::new(&mut this.inner).poll_write(cx, bytes))?;
        this.watch.touch();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = std::task::ready!(Pin::new(&mut this.inner).poll_write_vectored(cx, slices))?;
        this.watch.touch();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
