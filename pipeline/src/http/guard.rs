//! Connections with bounds: how many there are, how long each may take, how large a request may be.
//!
//! A wrapper around the listener and its streams, so that what serves HTTP need not know of it.

use super::HttpCounters;
use axum::serve::Listener;
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Largest request: bytes that may come between two answers. Nothing here takes a body.
pub const MAX_REQUEST_BYTES: usize = 16 * 1024;
/// Longest time from the first byte of a request to the first byte of its answer.
pub const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// Longest time that a connection may lie idle, or that a client may take nothing of an answer.
pub const IDLE_WITHIN: Duration = Duration::from_secs(30);

/// What became of connections.
#[derive(Debug, Default)]
pub struct GuardCounters {
    /// Accepted so far.
    pub accepted: AtomicU64,
    /// Open now.
    pub open: AtomicU64,
    /// Closed because a time limit was over.
    pub timed_out: AtomicU64,
    /// Closed because a request was larger than [`MAX_REQUEST_BYTES`].
    pub oversized: AtomicU64,
}

/// A listener that has at most so many connections open.
#[derive(Debug)]
pub struct Guarded {
    listener: TcpListener,
    room: Arc<Semaphore>,
    counters: Arc<HttpCounters>,
}

impl Guarded {
    /// With room for `most` connections.
    #[must_use]
    pub fn new(listener: TcpListener, most: usize, counters: Arc<HttpCounters>) -> Self {
        Self { listener, room: Arc::new(Semaphore::new(most)), counters }
    }
}

impl Listener for Guarded {
    type Io = GuardedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (GuardedStream, SocketAddr) {
        loop {
            let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else {
                // The semaphore is never closed.
                std::future::pending::<()>().await;
                continue;
            };
            match self.listener.accept().await {
                Ok((stream, peer)) => return (GuardedStream::new(stream, permit, Arc::clone(&self.counters)), peer),
                // Out of descriptors, or a connection that was gone before it was accepted: give it a moment.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection with limits.
#[derive(Debug)]
pub struct GuardedStream {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    request_bytes: usize,
    counters: Arc<HttpCounters>,
    _permit: OwnedSemaphorePermit,
}

impl GuardedStream {
    fn new(stream: TcpStream, permit: OwnedSemaphorePermit, counters: Arc<HttpCounters>) -> Self {
        counters.connections.accepted.fetch_add(1, Ordering::Relaxed);
        counters.connections.open.fetch_add(1, Ordering::Relaxed);
        // A new connection has no longer to send its request than an old one.
        let deadline = Box::pin(tokio::time::sleep(REQUEST_WITHIN));
        Self { stream, deadline, request_bytes: 0, counters, _permit: permit }
    }

    fn late(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        self.deadline.as_mut().poll(context).map(|()| {
            self.counters.connections.timed_out.fetch_add(1, Ordering::Relaxed);
            io::Error::from(io::ErrorKind::TimedOut)
        })
    }

    fn wrote(&mut self, wrote: &Poll<io::Result<usize>>) {
        if matches!(wrote, Poll::Ready(Ok(1..))) {
            self.request_bytes = 0;
            self.deadline.as_mut().reset(Instant::now() + IDLE_WITHIN);
        }
    }
}

impl Drop for GuardedStream {
    fn drop(&mut self) {
        self.counters.connections.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        if let Poll::Ready(done) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            let read = buffer.filled().len().saturating_sub(before);
            if this.request_bytes == 0 && read > 0 {
                this.deadline.as_mut().reset(Instant::now() + REQUEST_WITHIN);
            }
            this.request_bytes = this.request_bytes.saturating_add(read);
            if this.request_bytes > MAX_REQUEST_BYTES {
                this.counters.connections.oversized.fetch_add(1, Ordering::Relaxed);
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::FileTooLarge)));
            }
            return Poll::Ready(done);
        }
        this.late(context).map(Err)
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.wrote(&wrote);
        if wrote.is_pending() { this.late(context).map(Err) } else { wrote }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.wrote(&wrote);
        if wrote.is_pending() { this.late(context).map(Err) } else { wrote }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
