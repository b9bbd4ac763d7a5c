//! The HTTP endpoint: `/metrics`, `/healthz`, `/readyz`, `/api/v1/...` and the web interface at `/`.
//!
//! It runs on a thread of its own and only reads: what it shows comes from a [`Backend`]. Life cycle:
//! [`HttpServer::start`] binds (so a port that is taken is known before anything else starts) and serves until
//! [`HttpServer::stop`].
//!
//! Bounds: [`MAX_CONNECTIONS`] open connections (more wait in the kernel's backlog), [`MAX_SCRAPES`] answers of
//! `/metrics` in flight and [`MAX_REPORTS`] reports being made (more get 503), [`guard::MAX_REQUEST_BYTES`] a request, time
//! limits a connection. Who may ask is said by a [`Surface`]: names, a token, TLS.
//! Absent: anything that changes state, files of the disk. It listens where it is told, by default on loopback only.

mod access;
mod alarms;
mod api;
mod assets;
mod calls;
pub mod guard;
mod routes;
mod shown;
mod tls;

use crate::alarms::Board;
pub use access::Access;
pub use assets::POLICY;
pub use tls::{Tls, TlsError};

use crate::calls::Calls;
use crate::registry::Format;
use crate::reports::Reports;
use guard::{GuardCounters, Guarded, OpenEnd};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Most open connections.
pub const MAX_CONNECTIONS: usize = 128;
/// Most connections that wait in the kernel to be accepted.
pub const BACKLOG: u32 = 1_024;
/// Bytes of an answer that the kernel is asked to keep of each connection (it takes twice as many), so that clients that take nothing
/// cost little of its memory.
pub const SEND_BUFFER: u32 = 128 * 1024;
/// Most answers of `/metrics` that are being made or sent.
pub const MAX_SCRAPES: usize = 4;
/// Most reports that are being made.
pub const MAX_REPORTS: usize = 2;
/// Longest time that [`HttpServer::stop`] waits for answers in flight.
pub const STOP_WITHIN: Duration = Duration::from_secs(2);

/// What the endpoint shows.
pub trait Backend: Send + Sync + 'static {
    /// Appends everything of `/metrics`, the `# EOF` of OpenMetrics included.
    fn metrics(&self, format: Format, out: &mut String);
    /// Watching: the probe is attached and the pipeline runs.
    fn ready(&self) -> bool;
    /// The object of `/api/v1/status`.
    fn status(&self) -> serde_json::Value;
    /// Who can tell about services; none: there is no history.
    fn reports(&self) -> Option<Arc<dyn Reports>>;
    /// Single calls, once they are watched.
    fn calls(&self) -> Option<Arc<Calls>> {
        None
    }
    /// What `/api/v1/alarms` shows; none without alarms.
    fn alarms(&self) -> Option<Arc<Board>> {
        None
    }
}

/// Who may ask, and how.
#[derive(Debug, Clone, Default)]
pub struct Surface {
    /// Names and token. The default: addresses alone, no token.
    pub access: Access,
    /// Encrypted, with this.
    pub tls: Option<Tls>,
}

/// What the endpoint did.
#[derive(Debug, Default)]
pub struct HttpCounters {
    /// Answers given, whatever their status.
    pub requests: AtomicU64,
    /// Answers with a status of 400 or more.
    pub errors: AtomicU64,
    /// What became of connections.
    pub connections: GuardCounters,
}

impl HttpCounters {
    fn answered(&self, status: u16) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if status >= 400 {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Why the endpoint does not run.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; {remedy}", remedy = remedy(source))]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The thread or its runtime cannot be made.
    #[error("cannot start the thread of the HTTP endpoint: {0}; free memory or raise the limit of threads")]
    Thread(#[source] std::io::Error),
}

fn remedy(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::AddrInUse => {
            "another program has this port (another redtap?): choose one with --listen ADDR or http.listen"
        }
        Kind::PermissionDenied => "choose a port above 1023 with --listen ADDR or http.listen",
        Kind::AddrNotAvailable => "no interface has this address: choose one with --listen ADDR or http.listen",
        _ => "choose another address with --listen ADDR or http.listen",
    }
}

/// A running endpoint.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    counters: Arc<HttpCounters>,
    stop: tokio::sync::watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl HttpServer {
    /// Listens on `address` and serves from a new thread.
    ///
    /// # Errors
    /// The address cannot be listened on, or the thread not made.
    pub fn start(address: SocketAddr, surface: Surface, backend: Arc<dyn Backend>) -> Result<Self, HttpError> {
        let failed = |source| HttpError::Listen { address, source };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(MAX_REPORTS)
            .thread_name("redtap-report")
            .build()
            .map_err(HttpError::Thread)?;
        let listener = {
            let _inside = runtime.enter();
            listen(address).map_err(failed)?
        };
        let bound = listener.local_addr().map_err(failed)?;
        let counters = Arc::new(HttpCounters::default());
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let router = routes::router(backend, surface.access, Arc::clone(&counters));
        let listener = Guarded::new(listener, surface.tls, MAX_CONNECTIONS, Arc::clone(&counters));
        let thread = std::thread::Builder::new()
            .name("redtap-http".to_owned())
            .spawn(move || runtime.block_on(serve(listener, router, stopped)))
            .map_err(HttpError::Thread)?;
        Ok(Self { address: bound, counters, stop, thread })
    }

    /// Where it listens; with the port that the kernel chose, if 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it did.
    #[must_use]
    pub fn counters(&self) -> &Arc<HttpCounters> {
        &self.counters
    }

    /// Accepts nothing more, finishes the answers in flight (at most [`STOP_WITHIN`]), ends the thread.
    pub fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.thread.join();
    }
}

fn listen(address: SocketAddr) -> std::io::Result<tokio::net::TcpListener> {
    let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4()? } else { tokio::net::TcpSocket::new_v6()? };
    // Connections of an agent that was stopped a moment ago are no obstacle.
    socket.set_reuseaddr(true)?;
    // Accepted connections have it from here.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn serve(listener: Guarded, router: axum::Router, stopped: tokio::sync::watch::Receiver<bool>) {
    let asked = |mut stopped: tokio::sync::watch::Receiver<bool>| async move {
        // An error means that the server handle is gone, which is a wish to stop as well.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let late = asked(stopped.clone());
    let server = axum::serve(listener, router.into_make_service_with_connect_info::<OpenEnd>())
        .with_graceful_shutdown(asked(stopped));
    tokio::select! {
        _ = std::future::IntoFuture::into_future(server) => {}
        () = async { late.await; tokio::time::sleep(STOP_WITHIN).await } => {}
    }
}
