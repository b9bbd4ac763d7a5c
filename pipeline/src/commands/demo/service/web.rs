//! HTTP for the demo: a server with a thread for each connection, and a client on the caller's thread.
//!
//! A thread answers one request at a time and makes its calls meanwhile, as in many application servers: what is called
//! can be tied to what is answered, with a trace context or without.

use super::MAX_CONNECTIONS;
use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::header::HeaderValue;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;

/// The header of W3C Trace Context.
pub(super) const TRACEPARENT: &str = "traceparent";
/// How long a call may take.
pub(super) const WITHIN: Duration = Duration::from_secs(3);

/// Answers requests; one for each connection.
pub(super) trait Answer {
    /// The answer to one.
    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        trace: Option<&str>,
    ) -> impl Future<Output = (StatusCode, String)>;
}

/// A runtime for the calling thread.
pub(super) fn runtime() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("cannot make a runtime")
}

/// Calls `serve` on a new thread for each connection, in numbered order, for at most [`MAX_CONNECTIONS`] at a time.
pub(super) fn each_connection(
    listener: &TcpListener,
    serve: impl Fn(u64, TcpStream) + Send + Sync + 'static,
) -> Result<()> {
    let (open, serve) = (Arc::new(AtomicUsize::new(0)), Arc::new(serve));
    for number in 0.. {
        let (stream, _) = listener.accept().context("cannot accept")?;
        if open.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (left, serve) = (Arc::clone(&open), Arc::clone(&serve));
        std::thread::Builder::new().name("connection".to_owned()).spawn(move || {
            serve(number, stream);
            left.fetch_sub(1, Ordering::Relaxed);
        })?;
    }
    Ok(())
}

/// Serves HTTP/1.1. `make` makes who answers a connection, by its number.
pub(super) fn serve<A: Answer>(listener: &TcpListener, make: impl Fn(u64) -> A + Send + Sync + 'static) -> Result<()> {
    each_connection(listener, move |number, stream| {
        // A connection that fails ends; its client makes another.
        if let Ok(runtime) = runtime() {
            let _ = runtime.block_on(connection(stream, make(number)));
        }
    })
}

async fn connection<A: Answer>(stream: TcpStream, answer: A) -> Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let stream = tokio::net::TcpStream::from_std(stream)?;
    let answer = Rc::new(Mutex::new(answer));
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = Rc::clone(&answer);
        async move {
            let trace = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let mut answer = answer.lock().await;
            let (status, text) = answer.answer(request.method(), request.uri().path(), trace.as_deref()).await;
            let mut response = Response::new(Full::new(Bytes::from(text)));
            *response.status_mut() = status;
            Ok::<_, Infallible>(response)
        }
    });
    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?;
    Ok(())
}

/// A client with one connection, which is made when it is needed.
pub(super) struct Client {
    address: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// Of the server there.
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, sender: None }
    }

    /// The status of the answer.
    pub(super) async fn ask(&mut self, method: Method, path: &str, trace: Option<&str>) -> Result<StatusCode> {
        let asked = tokio::time::timeout(WITHIN, self.attempt(method, path, trace)).await;
        let status = asked.context("no answer in time").flatten();
        if status.is_err() {
            self.sender = None;
        }
        status
    }

    async fn attempt(&mut self, method: Method, path: &str, trace: Option<&str>) -> Result<StatusCode> {
        let mut sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => connect(self.address).await?,
        };
        sender.ready().await?;
        let mut request = Request::builder().method(method).uri(path).header("host", self.address.to_string());
        if let Some(trace) = trace {
            request = request.header(TRACEPARENT, HeaderValue::from_str(trace)?);
        }
        let response = sender.send_request(request.body(Full::default())?).await?;
        let status = response.status();
        response.into_body().collect().await?;
        self.sender = Some(sender);
        Ok(status)
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// The context that a call made while answering takes with it: the same trace, another span.
pub(super) fn child(trace: &str, chance: &mut fastrand::Rng) -> Option<String> {
    let mut parts = trace.split('-');
    let (version, id, _, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some(format!("{version}-{id}-{:016x}-{flags}", chance.u64(1..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_of_the_same_trace_and_another_span() {
        let (trace, mut chance) =
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", fastrand::Rng::with_seed(1));
        let child = child(trace, &mut chance).unwrap();
        assert_eq!((child.len(), &child[..36], &child[52..]), (55, &trace[..36], "-01"));
        assert_ne!(child[36..52], trace[36..52]);
        assert_eq!(super::child("00-4bf9", &mut chance), None);
    }
}
