//! What no real receiver shows when it is asked to: refusals, `Retry-After`, answers that get lost. A receiver that keeps to a
//! script, on a socket.

use super::*;
use crate::clock;
use crate::export::client::ClientSettings;
use crate::export::otlp::outbox::Parcel;
use crate::export::otlp::wire;
use crate::export::{Account, AccountTotals, Reason, Work};
use redtap_stages::time::Nanos;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

#[cfg(feature = "otlp-grpc")]
mod grpc;

/// What the receiver does with a request.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// Answers with this status and these headers.
    Answer(&'static str, &'static str),
    /// Takes two of the items not.
    Partly,
    /// Hangs up.
    Silence,
}

/// A request as it came: when, its head in lower case, its body.
type Came = (Nanos, String, Vec<u8>);

fn receiver(script: Vec<Act>) -> (reqwest::Url, JoinHandle<Vec<Came>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap()).parse().unwrap();
    let serve = move |act| {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            bytes.push(byte[0]);
        }
        let head = String::from_utf8(bytes).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        let answer = match act {
            Act::Silence => Vec::new(),
            Act::Answer(status, headers) => {
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n{headers}\r\n").into_bytes()
            }
            Act::Partly => {
                // ExportTraceServiceResponse { partial_success: { rejected_spans: 2, error_message: "no" } }
                let said = [0x0a, 6, 0x08, 2, 0x12, 2, b'n', b'o'];
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", said.len());
                [head.as_bytes(), &said].concat()
            }
        };
        stream.write_all(&answer).unwrap();
        (clock::monotonic(), head, body)
    };
    (url, std::thread::spawn(move || script.into_iter().map(serve).collect()))
}

/// Sends one parcel of three items by the script; what came, and the account.
fn sent(encoding: Encoding, script: Vec<Act>) -> (Vec<Came>, AccountTotals) {
    let (url, came) = receiver(script);
    let account = Arc::new(Account::new("test"));
    let counted = Arc::clone(&account);
    let exporters = crate::export::Exporters::start(vec![crate::export::Exporter {
        account: Arc::clone(&account),
        begin: Box::new(move |ending| -> Work {
            let client = Client::new(ClientSettings::new(url, Duration::from_secs(5))).unwrap();
            let to = Receiver { client, protocol: Protocol::Http, encoding, rejected: wire::rejected_spans };
            let outbox = Outbox::new(Arc::clone(&counted), 1_000);
            counted.gathered(3);
            outbox.put(Parcel { body: encoding.encode(b"three spans".to_vec()).into(), items: 3 });
            outbox.close();
            Box::pin(async move { deliver(&outbox, &to, ending).await })
        }),
    }]);
    let came = came.join().unwrap();
    exporters.unwrap().stop(Duration::from_secs(5));
    (came, account.totals())
}

#[test]
fn an_overloaded_receiver_is_left_alone_as_long_as_it_asks_and_a_silent_one_tried_again() {
    let script = vec![Act::Silence, Act::Answer("429 Busy", "Retry-After: 1\r\n"), Act::Answer("200 OK", "")];
    let (came, totals) = sent(Encoding::Gzip, script);
    assert!(came[2].0.since(came[1].0) >= Nanos::SECOND, "{:?}", came[2].0.since(came[1].0));
    assert_eq!((totals.delivered, totals.retries, totals.pending), (3, 2, 0));
    let (_, head, body) = &came[2];
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    for line in ["content-type: application/x-protobuf", "content-encoding: gzip", "user-agent: redtap/"] {
        assert!(head.lines().any(|one| one.starts_with(line)), "{line} in {head}");
    }
    let mut text = String::new();
    flate2::read::GzDecoder::new(body.as_slice()).read_to_string(&mut text).unwrap();
    assert_eq!(text, "three spans");
}

#[test]
fn what_is_refused_is_not_sent_again() {
    for status in ["400 Bad Request", "413 Too Large", "500 Broken", "301 Moved"] {
        let (came, totals) = sent(Encoding::Identity, vec![Act::Answer(status, "Location: /\r\nRetry-After: 0\r\n")]);
        assert!(!came[0].1.contains("content-encoding"), "{}", came[0].1);
        let refused = totals.undelivered[Reason::Refused as usize];
        assert_eq!((refused, totals.delivered, totals.retries), (3, 0, 0), "{status}");
    }
}

#[test]
fn what_is_taken_in_part_is_refused_in_part() {
    let (_, totals) = sent(Encoding::Identity, vec![Act::Partly]);
    assert_eq!((totals.delivered, totals.undelivered[Reason::Refused as usize], totals.pending), (1, 2, 0));
}

#[test]
fn at_the_end_a_receiver_that_asks_to_be_left_alone_is() {
    let (_, totals) = sent(Encoding::Identity, vec![Act::Answer("503 Busy", "Retry-After: 600\r\n")]);
    assert_eq!((totals.delivered, totals.undelivered[Reason::Ended as usize], totals.pending), (0, 3, 0));
}
