//! The stock: one method of gRPC over HTTP/2 (`stock.v1.Stock/Check`), server and client.
//!
//! Message: field 1, the number of the product. Status by trailer, as
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md> says.

use super::MAX_CONNECTIONS;
use super::web::{self, TRACEPARENT, WITHIN};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use h2::server::SendResponse;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// The only method.
const METHOD: &str = "/stock.v1.Stock/Check";
/// One check in milliseconds.
const CHECK_MS: std::ops::Range<u64> = 3..15;
/// Every so many-th check fails.
const FAILS: u64 = 25;
/// Products whose number this divides are unknown.
const UNKNOWN: u8 = 17;

/// How a check went, by the number of `grpc-status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// 0.
    Ok,
    /// 5.
    NotFound,
    /// 14.
    Unavailable,
}

impl Status {
    fn code(self) -> &'static str {
        match self {
            Self::Ok => "0",
            Self::NotFound => "5",
            Self::Unavailable => "14",
        }
    }
}

/// Serves until the process is ended.
pub(super) fn run(listener: TcpListener) -> Result<()> {
    web::runtime()?.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let (stream, _) = listener.accept().await.context("cannot accept")?;
            if let Ok(place) = Arc::clone(&room).try_acquire_owned() {
                tokio::spawn(async move {
                    let _ = connection(stream).await;
                    drop(place);
                });
            }
        }
    })
}

async fn connection(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = h2::server::handshake(stream).await?;
    let mut chance = fastrand::Rng::with_seed(7);
    let mut checks = 0_u64;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        checks += 1;
        let pause = Duration::from_millis(chance.u64(CHECK_MS));
        tokio::spawn(answer(request.into_body(), respond, pause, checks.is_multiple_of(FAILS)));
    }
    Ok(())
}

async fn answer(body: RecvStream, mut respond: SendResponse<Bytes>, pause: Duration, fails: bool) -> Result<()> {
    let message = whole(body).await?.0;
    tokio::time::sleep(pause).await;
    // The field's value is the last byte: product numbers take one.
    let known = message.last().is_some_and(|product| product % UNKNOWN != 0);
    let status = match (fails, known) {
        (true, _) => Status::Unavailable,
        (false, true) => Status::Ok,
        (false, false) => Status::NotFound,
    };
    let head = Response::builder().header(CONTENT_TYPE, "application/grpc").body(())?;
    let mut stream = respond.send_response(head, false)?;
    if status == Status::Ok {
        stream.send_data(message, false)?;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status.code()));
    stream.send_trailers(trailers)?;
    Ok(())
}

/// All of a short body, and what came after it.
async fn whole(mut body: RecvStream) -> Result<(Bytes, Option<HeaderMap>)> {
    let mut message = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        message.extend_from_slice(&data);
    }
    Ok((message.into(), body.trailers().await?))
}

/// A client with one connection, which is made when it is needed.
pub(super) struct Client {
    address: SocketAddr,
    sender: Option<SendRequest<Bytes>>,
}

impl Client {
    /// Of the server there.
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, sender: None }
    }

    /// Asks for a product.
    pub(super) async fn check(&mut self, product: u8, trace: Option<&str>) -> Result<Status> {
        let asked = tokio::time::timeout(WITHIN, self.attempt(product, trace)).await;
        let status = asked.context("no answer in time").flatten();
        if status.is_err() {
            self.sender = None;
        }
        status
    }

    async fn attempt(&mut self, product: u8, trace: Option<&str>) -> Result<Status> {
        let sender = match self.sender.take() {
            Some(sender) => sender,
            None => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                let (sender, connection) = h2::client::handshake(stream).await?;
                tokio::spawn(connection);
                sender
            }
        };
        let mut sender = sender.ready().await?;
        let mut request = Request::post(format!("http://{}{METHOD}", self.address))
            .header(CONTENT_TYPE, "application/grpc")
            .header("te", "trailers");
        if let Some(trace) = trace {
            request = request.header(TRACEPARENT, HeaderValue::from_str(trace)?);
        }
        let (response, mut body) = sender.send_request(request.body(())?, false)?;
        // Not compressed, two bytes: field 1 as a varint, and its value.
        body.send_data(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, product]), true)?;
        let response = response.await?;
        self.sender = Some(sender);
        let trailers = whole(response.into_body()).await?.1.context("an answer without a status")?;
        match trailers.get("grpc-status").map(HeaderValue::as_bytes) {
            Some(b"0") => Ok(Status::Ok),
            Some(b"5") => Ok(Status::NotFound),
            _ => Ok(Status::Unavailable),
        }
    }
}
