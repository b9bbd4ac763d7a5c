//! The same over gRPC: a receiver that keeps to a script, made of `h2`.

use super::*;
use crate::export::otlp::Protocol;
use bytes::Bytes;
use h2::server::SendResponse;

/// A call as it came: when, its head, its message with what stands before it.
type Came = (Nanos, http::request::Parts, Vec<u8>);

/// How a call of gRPC is answered: status, and the trailer with details about it.
type Ended = (&'static str, Option<&'static str>);

/// A receiver of gRPC that answers one call after the other by its script; what it was sent.
fn grpc_receiver(script: Vec<Ended>) -> (reqwest::Url, JoinHandle<Vec<Came>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let path = Protocol::Grpc.paths()[1];
    let url = format!("http://{}/{path}", listener.local_addr().unwrap()).parse().unwrap();
    let serve = async move {
        listener.set_nonblocking(true).unwrap();
        let (stream, _) = tokio::net::TcpListener::from_std(listener).unwrap().accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut calls = Vec::new();
        let mut script = script.into_iter();
        // Until the other side has read it all and goes. The connection moves while it is asked for the next call.
        while let Some(call) = connection.accept().await {
            let (request, answer) = call.unwrap();
            calls.push(tokio::spawn(one(request, answer, script.next().unwrap())));
        }
        let mut came = Vec::new();
        for call in calls {
            came.push(call.await.unwrap());
        }
        came
    };
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(serve);
    (url, std::thread::spawn(run))
}

async fn one(request: http::Request<h2::RecvStream>, mut answer: SendResponse<Bytes>, ended: Ended) -> Came {
    let (head, mut body) = request.into_parts();
    let mut message = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.unwrap();
        body.flow_control().release_capacity(chunk.len()).unwrap();
        message.extend_from_slice(&chunk);
    }
    let came = (clock::monotonic(), head, message);
    let (status, details) = ended;
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    if let Some(details) = details {
        trailers.insert("grpc-status-details-bin", details.parse().unwrap());
    }
    let head = http::Response::builder().header("content-type", "application/grpc+proto").body(()).unwrap();
    let mut stream = answer.send_response(head, false).unwrap();
    if status == "0" {
        // One message: an ExportTraceServiceResponse in which two spans were not taken.
        let said = [0, 0, 0, 0, 8, 0x0a, 6, 0x08, 2, 0x12, 2, b'n', b'o'];
        stream.send_data(Bytes::copy_from_slice(&said), false).unwrap();
    }
    stream.send_trailers(trailers).unwrap();
    came
}

/// Begins to send one parcel of three items; each call may take so long.
fn exporting(url: reqwest::Url, encoding: Encoding, within: Duration) -> (Arc<Account>, crate::export::Exporters) {
    let account = Arc::new(Account::new("test"));
    let counted = Arc::clone(&account);
    let exporters = crate::export::Exporters::start(vec![crate::export::Exporter {
        account: Arc::clone(&account),
        begin: Box::new(move |ending| -> Work {
            let settings = ClientSettings { http2: true, ..ClientSettings::new(url, within) };
            let client = Client::new(settings).unwrap();
            let to = Receiver { client, protocol: Protocol::Grpc, encoding, rejected: wire::rejected_spans };
            let outbox = Outbox::new(Arc::clone(&counted), 1_000);
            counted.gathered(3);
            outbox.put(Parcel { body: encoding.encode(b"three spans".to_vec()).into(), items: 3 });
            outbox.close();
            Box::pin(async move { deliver(&outbox, &to, ending).await })
        }),
    }]);
    (account, exporters.unwrap())
}

fn sent_by_grpc(encoding: Encoding, script: Vec<Ended>) -> (Vec<Came>, AccountTotals) {
    let (url, came) = grpc_receiver(script);
    let (account, exporters) = exporting(url, encoding, Duration::from_secs(20));
    // The receiver waits for the end of the connection, which is that of the exporter.
    while account.totals().gathered == 0 || account.totals().pending > 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    exporters.stop(Duration::from_secs(5));
    (came.join().unwrap(), account.totals())
}

/// It takes connections and what is sent, and never says a word: not even the settings of HTTP/2.
#[test]
fn an_address_that_swallows_everything_is_tried_again_and_holds_nobody_up() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("http://{address}/{}", Protocol::Grpc.paths()[1]).parse().unwrap();
    let swallow = std::thread::spawn(move || {
        let mut swallowed: Vec<Vec<u8>> = Vec::new();
        for stream in listener.incoming() {
            let mut all = Vec::new();
            // Until the exporter gives the call up; a connection without a word ends this.
            stream.unwrap().read_to_end(&mut all).unwrap();
            if all.is_empty() {
                break;
            }
            swallowed.push(all);
        }
        swallowed
    });
    let (account, exporters) = exporting(url, Encoding::Identity, Duration::from_millis(200));
    while account.totals().retries < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let began = clock::monotonic();
    exporters.stop(Duration::from_secs(1));
    assert!(clock::monotonic().since(began) < Nanos::from_secs(4), "the end waits no longer than it is told to");
    let totals = account.totals();
    assert_eq!((totals.delivered, totals.undelivered[Reason::Ended as usize], totals.pending), (0, 3, 0));
    drop(std::net::TcpStream::connect(address).unwrap());
    let swallowed = swallow.join().unwrap();
    assert!(swallowed.len() >= 2 && swallowed.iter().all(|all| all.starts_with(b"PRI * HTTP/2.0")), "{swallowed:?}");
}

#[test]
fn a_receiver_of_grpc_is_asked_again_when_it_says_so() {
    // google.rpc.Status { code: 8, details: [RetryInfo { retry_delay: 1 s }] }
    let wait = "CAgaMAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIECgIIAQ==";
    let wait = wait.trim_end_matches('=');
    let (came, totals) = sent_by_grpc(Encoding::Gzip, vec![("14", None), ("8", Some(wait)), ("0", None)]);
    assert!(came[2].0.since(came[1].0) >= Nanos::SECOND, "{:?}", came[2].0.since(came[1].0));
    assert_eq!((totals.delivered, totals.undelivered[Reason::Refused as usize], totals.retries), (1, 2, 2));
    let (_, head, message) = &came[2];
    assert_eq!(head.uri.path(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    for (name, value) in [("te", "trailers"), ("content-type", "application/grpc"), ("grpc-encoding", "gzip")] {
        assert_eq!(head.headers[name], value);
    }
    assert_eq!(
        (message[0], message[1..5].to_vec()),
        (1, u32::try_from(message.len() - 5).unwrap().to_be_bytes().to_vec())
    );
    let mut text = String::new();
    flate2::read::GzDecoder::new(&message[5..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, "three spans");
}

#[test]
fn what_a_receiver_of_grpc_refuses_is_not_sent_again() {
    for status in ["3", "8", "12", "16"] {
        let (came, totals) = sent_by_grpc(Encoding::Identity, vec![(status, None)]);
        assert_eq!(came[0].2, b"\0\0\0\0\x0bthree spans");
        let refused = totals.undelivered[Reason::Refused as usize];
        assert_eq!((refused, totals.delivered, totals.retries), (3, 0, 0), "{status}");
    }
}
