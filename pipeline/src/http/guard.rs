//! Connections with bounds: how many there are, how long each may take, how large a request may be.
//!
//! A wrapper around the listener and its streams, so that what serves HTTP need not know of it. It is outside of TLS: what it
//! counts and times is what HTTP sees, whatever is said on the wire meanwhile.
//!
//! An answer has to be taken, too: a client may keep one waiting for [`ANSWER_WITHIN`] in all, and a second longer for each
//! [`ANSWER_RATE`] bytes. So a client that takes a little now and then holds neither its connection nor a place among the scrapes.
//! Time in which there is nothing to send (a live tail) does not count.
//!
//! When all places are taken and somebody waits for one, a connection that gets no answer any further for [`PATIENCE`] makes
//! room: hundreds of clients that are slow on purpose delay others by seconds, and do not lock them out.

use super::HttpCounters;
use super::tls::{Tls, Transport};
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Largest request: bytes that may come between two answers. Nothing here takes a body.
pub const MAX_REQUEST_BYTES: usize = 16 * 1024;
/// Longest time from the first byte of a request to the first byte of its answer.
pub const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// Longest time that a connection may lie idle, or that a client may take nothing of an answer.
pub const IDLE_WITHIN: Duration = Duration::from_secs(30);
/// How long a client may keep an answer waiting in all, before what [`ANSWER_RATE`] grants: as long as a scraper waits by default.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of an answer whose taking grants a second more, for large answers over slow lines.
pub const ANSWER_RATE: u64 = 64 * 1024;
/// How long a connection may go without sending anything of an answer while others wait for its place.
pub const PATIENCE: Duration = Duration::from_secs(1);

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
    /// Closed because an answer was taken too slowly.
    pub slow: AtomicU64,
    /// Closed because others waited for their place.
    pub crowded: AtomicU64,
}

/// A listener that has at most so many connections open.
#[derive(Debug)]
pub struct Guarded {
    listener: TcpListener,
    tls: Option<Tls>,
    room: Arc<Semaphore>,
    crowd: Arc<Crowd>,
    counters: Arc<HttpCounters>,
}

/// Whether somebody waits for a place.
#[derive(Debug)]
struct Crowd {
    waits: AtomicBool,
    /// From so many open connections on, each looks every [`PATIENCE`] whether somebody waits.
    busy: u64,
}

impl Guarded {
    /// With room for `most` connections.
    #[must_use]
    pub fn new(listener: TcpListener, tls: Option<Tls>, most: usize, counters: Arc<HttpCounters>) -> Self {
        let crowd = Arc::new(Crowd { waits: AtomicBool::new(false), busy: most as u64 / 2 });
        Self { listener, tls, room: Arc::new(Semaphore::new(most)), crowd, counters }
    }

    async fn place(&self) -> OwnedSemaphorePermit {
        if let Ok(place) = Arc::clone(&self.room).try_acquire_owned() {
            return place;
        }
        self.crowd.waits.store(true, Ordering::Relaxed);
        let Ok(place) = Arc::clone(&self.room).acquire_owned().await else {
            // The semaphore is never closed.
            return std::future::pending().await;
        };
        self.crowd.waits.store(false, Ordering::Relaxed);
        place
    }
}

impl Listener for Guarded {
    type Io = GuardedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (GuardedStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let place = self.place().await;
                    let stream = Transport::new(stream, self.tls.as_ref());
                    return (GuardedStream::new(stream, place, &self.crowd, &self.counters), peer);
                }
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
pub struct GuardedStream {
    stream: Transport,
    /// Due at the deadline, or before it to see whether somebody waits.
    alarm: Pin<Box<Sleep>>,
    deadline: Instant,
    /// When it was accepted, or when something of an answer was last sent.
    moved: Instant,
    request_bytes: usize,
    taking: Taking,
    open_end: OpenEnd,
    crowd: Arc<Crowd>,
    counters: Arc<HttpCounters>,
    _place: OwnedSemaphorePermit,
}

/// Whether the answer of a connection has no end (who follows calls): then only how long nothing of it is taken counts. Who makes such
/// an answer says so, and bounds what waits itself.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenEnd(Arc<AtomicBool>);

impl OpenEnd {
    /// The answer to the request that is being answered has no end.
    pub(super) fn is_open(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Connected<IncomingStream<'_, Guarded>> for OpenEnd {
    fn connect_info(stream: IncomingStream<'_, Guarded>) -> Self {
        stream.io().open_end.clone()
    }
}

/// How an answer is taken: what the client got of it, and how long it kept it waiting.
#[derive(Debug, Default)]
struct Taking {
    sent: u64,
    /// In all, but for the wait that lasts.
    waited: Duration,
    /// Since when a write waits for the client.
    since: Option<Instant>,
}

impl Taking {
    /// A write waits.
    fn waits(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Something was taken.
    fn took(&mut self, now: Instant, bytes: usize) {
        if let Some(since) = self.since.take() {
            self.waited = self.waited.saturating_add(now.duration_since(since));
        }
        self.sent = self.sent.saturating_add(bytes as u64);
    }

    /// A request begins; not if it comes while the answer to the one before still waits.
    fn begins(&mut self) {
        if self.since.is_none() {
            *self = Self::default();
        }
    }

    /// When the client has kept the answer waiting for too long; none while it does not.
    fn until(&self) -> Option<Instant> {
        let granted = ANSWER_WITHIN.saturating_add(Duration::from_secs(self.sent / ANSWER_RATE));
        self.since.map(|since| since + granted.saturating_sub(self.waited))
    }
}

impl GuardedStream {
    fn new(stream: Transport, place: OwnedSemaphorePermit, crowd: &Arc<Crowd>, counters: &Arc<HttpCounters>) -> Self {
        counters.connections.accepted.fetch_add(1, Ordering::Relaxed);
        counters.connections.open.fetch_add(1, Ordering::Relaxed);
        // A new connection has no longer to send its request than an old one.
        let alarm = Box::pin(tokio::time::sleep(REQUEST_WITHIN));
        let deadline = alarm.deadline();
        let mut stream = Self {
            stream,
            alarm,
            deadline,
            moved: deadline - REQUEST_WITHIN,
            request_bytes: 0,
            taking: Taking::default(),
            open_end: OpenEnd::default(),
            crowd: Arc::clone(crowd),
            counters: Arc::clone(counters),
            _place: place,
        };
        stream.set_alarm();
        stream
    }

    /// When the answer has been taken for too long; never where it has no end.
    fn until(&self) -> Option<Instant> {
        self.taking.until().filter(|_| !self.open_end.0.load(Ordering::Relaxed))
    }

    fn set_alarm(&mut self) {
        let busy = self.counters.connections.open.load(Ordering::Relaxed) >= self.crowd.busy;
        let due = if busy { self.deadline.min(now() + PATIENCE) } else { self.deadline };
        let due = self.until().map_or(due, |until| due.min(until));
        self.alarm.as_mut().reset(due);
    }

    /// Ready with an error once this connection has to end.
    fn late(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        while self.alarm.as_mut().poll(context).is_ready() {
            let now = now();
            let connections = &self.counters.connections;
            if now >= self.deadline {
                connections.timed_out.fetch_add(1, Ordering::Relaxed);
                return Poll::Ready(io::Error::from(io::ErrorKind::TimedOut));
            }
            if self.until().is_some_and(|until| now >= until) {
                connections.slow.fetch_add(1, Ordering::Relaxed);
                return Poll::Ready(io::Error::from(io::ErrorKind::TimedOut));
            }
            if self.crowd.waits.load(Ordering::Relaxed) && now.duration_since(self.moved) >= PATIENCE {
                connections.crowded.fetch_add(1, Ordering::Relaxed);
                return Poll::Ready(io::Error::from(io::ErrorKind::ConnectionAborted));
            }
            self.set_alarm();
        }
        Poll::Pending
    }

    fn wrote(&mut self, wrote: &Poll<io::Result<usize>>) {
        match wrote {
            Poll::Ready(Ok(bytes @ 1..)) => {
                self.request_bytes = 0;
                self.moved = now();
                self.deadline = self.moved + IDLE_WITHIN;
                self.taking.took(self.moved, *bytes);
                self.set_alarm();
            }
            Poll::Pending if self.taking.since.is_none() => {
                self.taking.waits(now());
                self.set_alarm();
            }
            _ => {}
        }
    }
}

/// The time that the runtime's timers go by: for limits of connections, not for anything that is measured.
fn now() -> Instant {
    Instant::now()
}

impl std::fmt::Debug for GuardedStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuardedStream").field("request_bytes", &self.request_bytes).finish_non_exhaustive()
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
                this.deadline = now() + REQUEST_WITHIN;
                this.taking.begins();
                this.open_end.0.store(false, Ordering::Relaxed);
                this.set_alarm();
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
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        if flushed.is_pending() { this.late(context).map(Err) } else { flushed }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let ended = Pin::new(&mut this.stream).poll_shutdown(context);
        if ended.is_pending() { this.late(context).map(Err) } else { ended }
    }
}
