//! A small HTTP server behind all ports, so that a gateway can be put before an engine in memory.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::FakeRuntime;

impl FakeRuntime {
    /// From now on a real listener is behind every port of every container, as long as the caller runs what this
    /// returns. It answers each request with the request's own head, so that tests see what reaches an agent, and
    /// `GET /hold` with what never ends.
    pub async fn listen(&self) -> std::io::Result<impl Future<Output = ()> + Send + use<>> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        self.state().listener = Some(listener.local_addr()?);
        Ok(async move {
            let mut open = FuturesUnordered::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => open.push(answer(stream)),
                        Err(_) => return,
                    },
                    // Whoever hangs up early is no concern of the others.
                    Some(_) = open.next() => {}
                }
            }
        })
    }
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    if head.starts_with(b"GET /hold") {
        let begun = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n";
        stream.write_all(begun).await?;
        return stream.read_u8().await.map(drop);
    }
    let length = head.len();
    let begin = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n";
    stream.write_all(format!("{begin}content-length: {length}\r\n\r\n").as_bytes()).await?;
    stream.write_all(&head).await
}
