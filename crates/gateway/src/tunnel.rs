//! Bytes both ways between a client and an agent after an upgrade. Never looked into: WebSocket frames, binary
//! or not, pass as they are.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::tally::Tally;

const BUFFER: usize = 16 * 1024;

/// Copies until both directions ended, one failed, or `half_closed` passed since the first ended.
/// `early` is what the agent sent right behind its answer.
pub(crate) async fn run<C, A>(client: C, agent: A, early: Bytes, mut tally: Tally, half_closed: Duration)
where
    C: AsyncRead + AsyncWrite,
    A: AsyncRead + AsyncWrite,
{
    let (client_read, client_write) = tokio::io::split(client);
    let (agent_read, agent_write) = tokio::io::split(agent);
    let mut back = tally.continuation();
    let up = copy(client_read, agent_write, Bytes::new(), |bytes| tally.add_in(bytes));
    let down = copy(agent_read, client_write, early, |bytes| back.add_out(bytes));
    let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
    // The end of one direction is passed on; the other may go on for a while. How it ends does not matter.
    tokio::select! {
        ended = &mut up => if ended.is_ok() {
            let _ = tokio::time::timeout(half_closed, down).await;
        },
        ended = &mut down => if ended.is_ok() {
            let _ = tokio::time::timeout(half_closed, up).await;
        },
    }
}

async fn copy<R, W>(mut from: R, mut to: W, early: Bytes, mut count: impl FnMut(u64)) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    if !early.is_empty() {
        to.write_all(&early).await?;
        to.flush().await?;
        count(early.len() as u64);
    }
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
        count(read as u64);
    }
}
