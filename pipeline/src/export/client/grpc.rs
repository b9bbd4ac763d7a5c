//! Calls of gRPC with one message there and one back (`PROTOCOL-HTTP2.md` of gRPC), and what their answers mean by the rules of
//! OTLP/gRPC.
//!
//! Life cycle: [`Channel::new`] connects to nothing -> [`Channel::call`] connects where there is no connection, and keeps it for the
//! next call; one that failed or was not answered in time is given up -> an [`Ended`] with how it went, which trailers say, or the headers if
//! there is nothing else (`grpc-status`, `grpc-message`, `grpc-status-details-bin`). `RESOURCE_EXHAUSTED` is worth another try
//! only where the receiver says when (`google.rpc.RetryInfo`).
//!
//! Bounds: the time of the settings for a call, its connection included; of an answer as many bytes as the request says. Absent: streams,
//! proxies, compressed answers, which are not asked for.

use super::answer::{self, Answer, Failure, Meaning, Outcome};
use super::{ClientSettings, Retryable, USER_AGENT as WE};
use crate::percent;
use bytes::Bytes;
use h2::client::SendRequest;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode};
use prost::Message;
use reqwest::Url;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// Longest `grpc-status-details-bin` that is read, bytes.
const MAX_DETAILS: usize = 16 << 10;
/// Bytes of the headers, and of the trailers, that a receiver may send.
const MAX_HEADERS: u32 = 64 << 10;
/// What stands for a status that is missing (`PROTOCOL-HTTP2.md`, "Responses").
const UNKNOWN: u16 = 2;
/// Name of the type of a detail.
const RETRY_INFO: &str = "/google.rpc.RetryInfo";

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// A message as it is sent: not compressed, or already.
pub(super) fn framed(message: &[u8], compressed: bool) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut all = Vec::with_capacity(PREFIX + message.len());
    all.push(u8::from(compressed));
    all.extend_from_slice(&length.to_be_bytes());
    all.extend_from_slice(message);
    all.into()
}

/// A connection, encrypted or not: one type, so that HTTP/2 is compiled once for both.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Calls one receiver, over one connection at a time.
pub(super) struct Channel {
    tls: Option<TlsConnector>,
    timeout: Duration,
    connection: Mutex<Option<Connection>>,
}

/// A connection; dropped, it is closed at once, whatever its receiver has not taken yet.
struct Connection {
    sender: SendRequest<Bytes>,
    driver: Driver,
}

/// What drives a connection.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("tls", &self.tls.is_some()).field("timeout", &self.timeout).finish()
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Ended {
    status: StatusCode,
    headers: HeaderMap,
    trailers: Option<HeaderMap>,
    read: Vec<u8>,
}

impl Channel {
    /// To the receiver of the settings, with `tls` if its URL asks for that.
    pub(super) fn new(settings: &ClientSettings, mut tls: ClientConfig) -> Self {
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let tls = (settings.url.scheme() == "https").then(|| TlsConnector::from(Arc::new(tls)));
        Self { tls, timeout: settings.timeout, connection: Mutex::default() }
    }

    /// One call.
    ///
    /// # Errors
    /// There is no connection, no answer within the time, or none to its end.
    pub(super) async fn call(&self, url: Url, headers: HeaderMap, body: Bytes, most: usize) -> Result<Ended, Failure> {
        let mut kept = self.connection.lock().await;
        let calling = async {
            let mut connection = match kept.take() {
                // The receiver may have closed it in the meantime.
                Some(Connection { sender, driver }) => match sender.ready().await {
                    Ok(sender) => Connection { sender, driver },
                    Err(_) => self.connect(&url).await?,
                },
                None => self.connect(&url).await?,
            };
            let sender = &mut connection.sender;
            let ended = exchange(sender, &url, headers, body, most).await.map_err(|_| Failure::Broken)?;
            *kept = Some(connection);
            Ok(ended)
        };
        tokio::time::timeout(self.timeout, calling).await.unwrap_or(Err(Failure::Timeout))
    }

    async fn connect(&self, url: &Url) -> Result<Connection, Failure> {
        let stream = self.stream(url).await.map_err(|error| Failure::to_connect(&error))?;
        let mut speak = h2::client::Builder::new();
        speak.enable_push(false).max_header_list_size(MAX_HEADERS);
        let (sender, connection) = speak.handshake(stream).await.map_err(|_| Failure::Connect)?;
        let driver = Driver(tokio::spawn(async move {
            let _ = connection.await;
        }));
        let sender = sender.ready().await.map_err(|_| Failure::Connect)?;
        Ok(Connection { sender, driver })
    }

    async fn stream(&self, url: &Url) -> io::Result<Box<dyn Stream>> {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let stream = self.tcp(host, url.port_or_known_default().unwrap_or(443)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Box::new(tls.connect(name, stream).await?))
    }
}

impl Channel {
    /// To the first address of `host` that accepts; each has its share of the time, so that one that swallows what it is sent does not
    /// keep from the others.
    async fn tcp(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let addresses: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
        let share = self.timeout / u32::try_from(addresses.len() + 1).unwrap_or(u32::MAX);
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses {
            match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::Error::from(io::ErrorKind::TimedOut),
            }
        }
        Err(last)
    }
}

async fn exchange(
    sender: &mut SendRequest<Bytes>,
    url: &Url,
    headers: HeaderMap,
    body: Bytes,
    most: usize,
) -> Result<Ended, h2::Error> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    // Both keep to RFC 3986: what is a URL is a URI, which is without a fragment.
    let mut url = url.clone();
    url.set_fragment(None);
    *request.uri_mut() = url.as_str().parse().unwrap_or_default();
    *request.headers_mut() = headers;
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(WE));
    let (response, mut stream) = sender.send_request(request, false)?;
    // Kept by the connection until the receiver has room for it.
    stream.send_data(body, true)?;
    let (head, mut body) = response.await?.into_parts();
    let mut read = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        let room = most.saturating_sub(read.len());
        read.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        body.flow_control().release_capacity(chunk.len())?;
    }
    let trailers = body.trailers().await?;
    Ok(Ended { status: head.status, headers: head.headers, trailers, read })
}

impl Ended {
    /// What it means.
    pub(super) fn outcome(self, secrets: &[String]) -> Outcome {
        let Self { status, headers, trailers, read } = self;
        let ending = trailers.as_ref().unwrap_or(&headers);
        let said = ending.get("grpc-status").and_then(|value| value.to_str().ok()?.trim().parse::<u16>().ok());
        let is_grpc = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        match said {
            Some(said) => by_status(said, ending, headers.clone(), &read, secrets),
            // Something that is not the receiver answered.
            None if status != StatusCode::OK || !is_grpc => {
                if answer::meaning(status, Retryable::Grpc) == Meaning::Retry {
                    return Outcome::Retry { why: Failure::Status(status.as_u16()), after: None };
                }
                Outcome::Refused { status: status.as_u16(), said: answer::said(&read, secrets), headers }
            }
            // UNKNOWN, which OTLP does not have sent again: it may have been taken, and would be each time.
            None => Outcome::Refused { status: UNKNOWN, said: "it ended without a grpc-status".to_owned(), headers },
        }
    }
}

/// OTLP, "OTLP/gRPC Response", "Failures".
fn by_status(status: u16, ending: &HeaderMap, headers: HeaderMap, read: &[u8], secrets: &[String]) -> Outcome {
    let after = retry_info(ending);
    match status {
        0 => {
            // A first byte of 1 is a compressed message, which nobody asked for.
            let body = read.get(PREFIX..).filter(|_| read.first() == Some(&0)).unwrap_or_default().to_vec();
            Outcome::Delivered(Answer { status: StatusCode::OK.as_u16(), headers, body })
        }
        // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS; RESOURCE_EXHAUSTED.
        1 | 4 | 10 | 11 | 14 | 15 => Outcome::Retry { why: Failure::Grpc(status), after },
        8 if after.is_some() => Outcome::Retry { why: Failure::Grpc(status), after },
        _ => {
            let said = ending.get("grpc-message").map(|value| percent::decoded(value.as_bytes())).unwrap_or_default();
            Outcome::Refused { status, headers, said: answer::said(&said, secrets) }
        }
    }
}

/// How long the receiver asks to be left alone.
fn retry_info(ending: &HeaderMap) -> Option<Duration> {
    let encoded = ending.get("grpc-status-details-bin").filter(|value| value.len() <= MAX_DETAILS)?;
    let status = Status::decode(from_base64(encoded.as_bytes())?.as_slice()).ok()?;
    let info = status.details.iter().find(|detail| detail.type_url.ends_with(RETRY_INFO))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay.unwrap_or_default();
    Some(Duration::new(u64::try_from(delay.seconds).unwrap_or(0), u32::try_from(delay.nanos).unwrap_or(0)))
}

/// RFC 4648, section 4, with or without padding.
fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut group, mut bits) = (0_u32, 0_u32);
    for &letter in text.trim_ascii_end().iter().filter(|letter| **letter != b'=') {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        group = (group << 6 | u32::from(value)) & 0xFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(group >> bits & 0xFF).unwrap_or_default());
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::base64;
    use super::*;
    use proptest::prelude::*;

    fn ending(details: &[Any], message: &'static str) -> HeaderMap {
        let status = Status { details: details.to_vec() }.encode_to_vec();
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status-details-bin", base64(&status).parse().unwrap());
        headers.insert("grpc-message", message.parse().unwrap());
        headers
    }

    fn in_seconds(seconds: i64, nanos: i32) -> Any {
        let value = RetryInfo { retry_delay: Some(Delay { seconds, nanos }) }.encode_to_vec();
        Any { type_url: format!("type.googleapis.com{RETRY_INFO}"), value }
    }

    /// `Some` and how long to wait, if it is to be sent again.
    fn again(status: u16, ending: &HeaderMap) -> Option<Option<Duration>> {
        match by_status(status, ending, HeaderMap::new(), b"", &[]) {
            Outcome::Retry { why: Failure::Grpc(said), after } if said == status => Some(after),
            _ => None,
        }
    }

    #[test]
    fn a_status_is_tried_again_as_otlp_wants_it() {
        let bare = HeaderMap::new();
        let retried: Vec<u16> = (0..=20).filter(|status| again(*status, &bare).is_some()).collect();
        assert_eq!(retried, [1, 4, 10, 11, 14, 15]);
        let told = ending(&[Any::default(), in_seconds(2, 500_000_000)], "");
        let wait = Some(Duration::from_millis(2_500));
        assert_eq!((again(8, &told), again(14, &told), again(3, &told)), (Some(wait), Some(wait), None));
        assert_eq!(again(8, &ending(&[in_seconds(-1, -1)], "")), Some(Some(Duration::ZERO)), "nonsense is no wait");
        assert_eq!(again(8, &ending(&[Any::default()], "")), None);
        let mut broken = told;
        broken.insert("grpc-status-details-bin", "%%%".parse().unwrap());
        assert_eq!(again(8, &broken), None);
    }

    #[test]
    fn what_is_taken_has_its_message_and_what_is_refused_its_reason_without_secrets() {
        let taken = by_status(0, &HeaderMap::new(), HeaderMap::new(), &framed(b"answer", false), &[]);
        assert!(matches!(taken, Outcome::Delivered(answer) if answer.body == b"answer"));
        for odd in [&b""[..], b"\0\0\0", b"\x01\0\0\0\x01x"] {
            let taken = by_status(0, &HeaderMap::new(), HeaderMap::new(), odd, &[]);
            assert!(matches!(taken, Outcome::Delivered(answer) if answer.body.is_empty()), "{odd:?}");
        }
        let why = ending(&[], "no%20such key: hush%0A%zz");
        let refused = by_status(16, &why, HeaderMap::new(), b"", &["hush".to_owned()]);
        assert!(
            matches!(&refused, Outcome::Refused { status: 16, said, .. } if said == "no such key: (hidden) %zz"),
            "{refused:?}"
        );
    }

    #[test]
    fn an_answer_without_a_status_is_not_sent_for_ever() {
        let ended = |status: u16, kind: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            let status = StatusCode::from_u16(status).unwrap();
            Ended { status, headers, trailers: None, read: b"why".to_vec() }.outcome(&[])
        };
        let (grpc, html) = ("application/grpc", "text/html");
        assert!(matches!(ended(200, grpc), Outcome::Refused { status: 2, .. }));
        assert!(matches!(ended(503, html), Outcome::Retry { why: Failure::Status(503), after: None }));
        assert!(matches!(ended(404, html), Outcome::Refused { status: 404, said, .. } if said == "why"));
        assert!(matches!(ended(200, html), Outcome::Refused { status: 200, .. }));
    }

    proptest! {
        #[test]
        fn base64_comes_back_with_and_without_its_padding(bytes: Vec<u8>) {
            let text = base64(&bytes);
            prop_assert_eq!(from_base64(text.as_bytes()), Some(bytes.clone()));
            prop_assert_eq!(from_base64(text.trim_end_matches('=').as_bytes()), Some(bytes));
        }

        #[test]
        fn no_ending_panics(bytes: Vec<u8>) {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status-details-bin", base64(&bytes).parse().unwrap());
            let _ = retry_info(&headers);
            let _ = (percent::decoded(&bytes), from_base64(&bytes));
        }
    }
}
