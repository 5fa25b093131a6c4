//! Bytes both ways between a caller and a host, counted and bounded. Only a scrubber ever looks at them.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::course::Course;
use super::limits::EgressLimits;
use super::scrub::Scrubber;

const BUFFER: usize = 32 * 1024;

/// What was read already and belongs to the other side, and what must not come back.
#[derive(Default)]
pub(crate) struct Early<'a> {
    pub(crate) up: &'a [u8],
    pub(crate) down: &'a [u8],
    pub(crate) scrubber: Option<Scrubber>,
}

/// Copies until both directions ended, one failed or moved too much, or `half_closed` passed since the first ended.
pub(crate) async fn run<C, H>(caller: C, host: H, early: Early<'_>, course: &Course, limits: &EgressLimits)
where
    C: AsyncRead + AsyncWrite,
    H: AsyncRead + AsyncWrite,
{
    let (caller_read, caller_write) = tokio::io::split(caller);
    let (host_read, host_write) = tokio::io::split(host);
    let count_up = |bytes| within(course.add_up(bytes), limits.request_body, course);
    let count_down = |bytes| within(course.add_down(bytes), limits.response_body, course);
    let up = copy(caller_read, host_write, early.up, None, count_up);
    let down = copy(host_read, caller_write, early.down, early.scrubber, count_down);
    both(up, down, limits.half_closed).await;
}

/// The end of one direction is passed on; the other may go on for a while. How it ends does not matter.
async fn both(
    up: impl Future<Output = io::Result<()>>,
    down: impl Future<Output = io::Result<()>>,
    half_closed: Duration,
) {
    let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
    tokio::select! {
        ended = &mut up => if ended.is_ok() {
            let _ = tokio::time::timeout(half_closed, down).await;
        },
        ended = &mut down => if ended.is_ok() {
            let _ = tokio::time::timeout(half_closed, up).await;
        },
    }
}

fn within(total: u64, limit: u64, course: &Course) -> io::Result<()> {
    if total > limit {
        course.ended_by("too_many_bytes");
        return Err(io::ErrorKind::QuotaExceeded.into());
    }
    Ok(())
}

async fn copy<R, W>(
    mut from: R,
    mut to: W,
    early: &[u8],
    mut scrubber: Option<Scrubber>,
    mut count: impl FnMut(usize) -> io::Result<()>,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER];
    let mut first = early;
    loop {
        let bytes = if first.is_empty() {
            let read = from.read(&mut buffer).await?;
            &buffer[..read]
        } else {
            std::mem::take(&mut first)
        };
        let is_end = bytes.is_empty();
        count(bytes.len())?;
        match &mut scrubber {
            Some(scrubber) => {
                let mut clean = scrubber.push(bytes);
                if is_end {
                    clean.extend_from_slice(&scrubber.finish());
                }
                to.write_all(&clean).await?;
            }
            None => to.write_all(bytes).await?,
        }
        if is_end {
            return to.shutdown().await;
        }
        to.flush().await?;
    }
}
