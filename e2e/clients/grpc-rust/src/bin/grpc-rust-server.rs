//! The shop on tonic's server. Prints how each call ended.

use bytes::Bytes;
use grpc_rust::{BytesCodec, SERVICE, code, name};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::{ClientStreamingService, Grpc, NamedService, ServerStreamingService, StreamingService, UnaryService};
use tonic::{Code, Request, Response, Status, Streaming};

type Answers = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;
type Future_<T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send>>;

const ANSWER: Bytes = Bytes::from_static(b"answer");

/// Calls open now, and the most that ever were.
static OPEN: Mutex<(u32, u32)> = Mutex::new((0, 0));

/// One call; prints its end when dropped. One that was dropped before it knew its status was given up by its client.
struct Call {
    method: &'static str,
    deadline: Option<Instant>,
    status: Option<Code>,
}

impl Call {
    fn begin(method: &'static str, metadata: &MetadataMap) -> Self {
        let mut open = OPEN.lock().unwrap();
        open.0 += 1;
        if open.0 > open.1 {
            open.1 = open.0;
            println!("peak {}", open.1);
        }
        let timeout = metadata.get("grpc-timeout").and_then(|value| timeout(value.to_str().ok()?));
        Self { method, deadline: timeout.map(|timeout| Instant::now() + timeout), status: None }
    }

    fn end(&mut self, code: Code) -> Result<(), Status> {
        self.status = Some(code);
        if code == Code::Ok { Ok(()) } else { Err(Status::new(code, "as ordered")) }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        OPEN.lock().unwrap().0 -= 1;
        let early = match self.deadline {
            Some(deadline) if deadline <= Instant::now() => Code::DeadlineExceeded,
            _ => Code::Cancelled,
        };
        println!("{SERVICE}{} {}", self.method, name(self.status.unwrap_or(early)));
    }
}

/// Reads `grpc-timeout`: up to eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3_600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        _ => Duration::from_nanos(amount),
    })
}

/// What the first message of a call asks for.
#[derive(Clone, Copy)]
struct Order {
    status: Code,
    count: usize,
    delay: Duration,
}

impl Order {
    fn read(message: &[u8]) -> Result<Self, Status> {
        let text = std::str::from_utf8(message).unwrap_or("");
        let mut words = text.split(' ');
        let (Some(status), Some(Ok(count)), Some(Ok(delay))) =
            (words.next(), words.next().map(str::parse), words.next().map(str::parse))
        else {
            return Err(Status::invalid_argument("no order"));
        };
        Ok(Self { status: code(status), count, delay: Duration::from_millis(delay) })
    }
}

#[derive(Clone, Copy)]
struct Get;

impl UnaryService<Bytes> for Get {
    type Response = Bytes;
    type Future = Future_<Response<Bytes>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        Box::pin(async move {
            let mut call = Call::begin("Get", request.metadata());
            let order = Order::read(request.get_ref())?;
            tokio::time::sleep(order.delay).await;
            call.end(order.status)?;
            Ok(Response::new(ANSWER))
        })
    }
}

#[derive(Clone, Copy)]
struct List;

impl ServerStreamingService<Bytes> for List {
    type Response = Bytes;
    type ResponseStream = Answers;
    type Future = Future_<Response<Answers>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        Box::pin(async move {
            let mut call = Call::begin("List", request.metadata());
            let order = Order::read(request.get_ref())?;
            if order.count == 0 {
                call.end(order.status)?;
            }
            let (send, answers) = channel(call);
            tokio::spawn(async move {
                for at in 0..order.count {
                    if send.send(Ok(ANSWER)).await.is_err() {
                        return;
                    }
                    if at == 0 {
                        tokio::time::sleep(order.delay).await;
                    }
                }
                send.finish(order.status).await;
            });
            Ok(Response::new(answers))
        })
    }
}

#[derive(Clone, Copy)]
struct Upload;

impl ClientStreamingService<Bytes> for Upload {
    type Response = Bytes;
    type Future = Future_<Response<Bytes>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(async move {
            let mut call = Call::begin("Upload", request.metadata());
            let mut messages = request.into_inner();
            let mut order = None;
            while let Some(message) = messages.next().await {
                let message = message?;
                order = order.or(Some(Order::read(&message)?));
            }
            let order = order.ok_or_else(|| Status::invalid_argument("no order"))?;
            tokio::time::sleep(order.delay).await;
            call.end(order.status)?;
            Ok(Response::new(ANSWER))
        })
    }
}

#[derive(Clone, Copy)]
struct Chat;

impl StreamingService<Bytes> for Chat {
    type Response = Bytes;
    type ResponseStream = Answers;
    type Future = Future_<Response<Answers>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(async move {
            let call = Call::begin("Chat", request.metadata());
            let mut messages = request.into_inner();
            let (send, answers) = channel(call);
            tokio::spawn(async move {
                let mut order = None;
                while let Some(Ok(message)) = messages.next().await {
                    if send.send(Ok(ANSWER)).await.is_err() {
                        return;
                    }
                    if order.is_none() {
                        let Ok(first) = Order::read(&message) else { return };
                        tokio::time::sleep(first.delay).await;
                        order = Some(first);
                    }
                }
                if let Some(order) = order {
                    send.finish(order.status).await;
                }
            });
            Ok(Response::new(answers))
        })
    }
}

/// What a task hands to the answers' stream.
struct Sender(tokio::sync::mpsc::Sender<Result<Bytes, Status>>);

impl Sender {
    async fn send(&self, answer: Result<Bytes, Status>) -> Result<(), ()> {
        self.0.send(answer).await.map_err(drop)
    }

    /// The status of the call is its last item: `Ok` too, which the stream turns into its end.
    async fn finish(&self, code: Code) {
        drop(self.0.send(Err(Status::new(code, "as ordered"))).await);
    }
}

/// The stream of answers, which holds the call: it ends when tonic has the status, or drops the stream because the client
/// has gone.
struct AnswerStream {
    answers: tokio::sync::mpsc::Receiver<Result<Bytes, Status>>,
    call: Option<Call>,
}

fn channel(call: Call) -> (Sender, Answers) {
    let (send, answers) = tokio::sync::mpsc::channel(4);
    (Sender(send), Box::pin(AnswerStream { answers, call: Some(call) }))
}

impl Stream for AnswerStream {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.answers.poll_recv(context) {
            Poll::Ready(Some(Err(status))) => {
                if let Some(mut call) = self.call.take() {
                    drop(call.end(status.code()));
                }
                Poll::Ready((status.code() != Code::Ok).then_some(Err(status)))
            }
            other => other,
        }
    }
}

#[derive(Clone, Copy)]
struct Shop;

impl NamedService for Shop {
    const NAME: &'static str = "shop.v1.Shop";
}

impl tower_service::Service<http::Request<Body>> for Shop {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = Grpc::new(BytesCodec);
            Ok(match request.uri().path().strip_prefix(SERVICE) {
                Some("Get") => grpc.unary(Get, request).await,
                Some("List") => grpc.server_streaming(List, request).await,
                Some("Upload") => grpc.client_streaming(Upload, request).await,
                Some("Chat") => grpc.streaming(Chat, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let port: u16 = std::env::args().nth(1).and_then(|port| port.parse().ok()).expect("usage: grpc-rust-server PORT");
    let server = tonic::transport::Server::builder().add_service(Shop);
    server.serve(([127, 0, 0, 1], port).into()).await.expect("cannot serve");
}
