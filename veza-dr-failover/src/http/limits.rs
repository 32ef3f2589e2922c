//! Connections that are few enough, and that end when nothing comes over them.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep},
};

/// A scraper, a load balancer and a few people need no more.
const CONNECTIONS: usize = 64;
/// A connection over which nothing came or went for so long is closed.
const IDLE: Duration = Duration::from_secs(60);

/// Accepts so many connections at once; the others wait in the kernel's queue.
pub(super) struct Limited {
    listener: TcpListener,
    seats: Arc<Semaphore>,
    idle: Duration,
}

impl Limited {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, seats: Arc::new(Semaphore::new(CONNECTIONS)), idle: IDLE }
    }
}

impl Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The semaphore is never closed; without a seat the connection only lasts uncounted.
        let seat = self.seats.clone().acquire_owned().await.ok();
        // The listener's own `accept` waits and tries again where the system is short of something.
        let (stream, from) = Listener::accept(&mut self.listener).await;
        (Connection { stream, idle: self.idle, until: Box::pin(sleep(self.idle)), _seat: seat }, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails once it was idle for too long.
pub(super) struct Connection {
    stream: TcpStream,
    idle: Duration,
    until: Pin<Box<Sleep>>,
    _seat: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn moved(&mut self) {
        self.until.as_mut().reset(Instant::now() + self.idle);
    }

    fn overdue(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.until.as_mut().poll(cx).map(|()| io::ErrorKind::TimedOut.into())
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(done) => {
                self.moved();
                Poll::Ready(done)
            }
            Poll::Pending => Poll::Ready(Err(ready!(self.overdue(cx)))),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Ready(done) => {
                self.moved();
                Poll::Ready(done)
            }
            Poll::Pending => Poll::Ready(Err(ready!(self.overdue(cx)))),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_silent_connection_ends_and_frees_its_seat() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let mut limited = Limited { listener, seats: Arc::new(Semaphore::new(1)), idle: Duration::from_millis(50) };
        let mut first = TcpStream::connect(to).await.unwrap();
        let (mut served, _) = limited.accept().await;
        first.write_all(b"x").await.unwrap();
        assert_eq!(served.read_u8().await.unwrap(), b'x');
        let _second = TcpStream::connect(to).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), limited.accept()).await.is_err(), "no seat is free");
        assert_eq!(served.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(served);
        assert!(tokio::time::timeout(Duration::from_secs(5), limited.accept()).await.is_ok());
    }
}
