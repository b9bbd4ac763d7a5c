//! Against a receiver that hands back what it was sent, on loopback.

use super::*;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread::JoinHandle;

/// Answers one request with `answer` and returns what it was sent.
fn receiver(answer: &'static str) -> (Url, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/in?key=hidden", listener.local_addr().unwrap())).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        while !all.ends_with(b"the body") {
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "it ended within a request");
            all.extend_from_slice(&buffer[..read]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(all).unwrap()
    });
    (url, thread)
}

fn send(settings: ClientSettings) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = Client::new(settings).unwrap();
    runtime.block_on(client.send(Request::post(Bytes::from_static(b"the body"), Retryable::ServerErrors)))
}

fn settings(url: Url) -> ClientSettings {
    ClientSettings::new(url, Duration::from_secs(20))
}

#[test]
fn sends_credentials_headers_and_who_it_is() {
    let (url, sent) = receiver("HTTP/1.1 200 OK\r\nx-took: 3\r\ncontent-length: 2\r\n\r\nok");
    let mut settings = settings(url);
    settings.auth = Auth::Basic { user: "Aladdin".to_owned(), password: Secret::Value("open sesame".to_owned()) };
    settings.headers.insert("x-scope-orgid", HeaderValue::from_static("tenant"));
    let Outcome::Delivered(answer) = send(settings) else { panic!("not delivered") };
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"ok"[..]));
    assert_eq!(answer.headers["x-took"], "3");
    let sent = sent.join().unwrap().to_lowercase();
    assert!(sent.starts_with("post /in?key=hidden http/1.1\r\n"), "{sent}");
    // The example of RFC 7617, section 2, in lower case like the rest.
    assert!(sent.contains("authorization: basic qwxhzgrpbjpvcgvuihnlc2ftzq==\r\n"), "{sent}");
    assert!(sent.contains("x-scope-orgid: tenant\r\n"), "{sent}");
    assert!(sent.contains(&format!("user-agent: {USER_AGENT}\r\n")), "{sent}");
}

#[test]
fn a_token_in_a_file_is_read_for_each_request() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    for token in ["first", "second"] {
        std::fs::write(&file, format!("{token}\n")).unwrap();
        let (url, sent) = receiver("HTTP/1.1 204 No Content\r\n\r\n");
        let mut settings = settings(url);
        settings.auth = Auth::Bearer(Secret::File(file.clone()));
        assert!(matches!(send(settings), Outcome::Delivered(_)));
        assert!(sent.join().unwrap().contains(&format!("authorization: Bearer {token}\r\n")));
    }
    std::fs::remove_file(&file).unwrap();
    let mut settings = settings(Url::parse("http://127.0.0.1:1/").unwrap());
    settings.auth = Auth::Bearer(Secret::File(file));
    assert!(matches!(send(settings), Outcome::Retry { why: Failure::Credentials, after: None }));
}

#[test]
fn a_refusal_says_why_without_secrets_and_is_not_followed_elsewhere() {
    let answer =
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 28\r\n\r\nfor topsecret: see elsewhere";
    let (url, _) = receiver(answer);
    let mut settings = settings(url);
    settings.auth = Auth::Bearer(Secret::Value("topsecret".to_owned()));
    let Outcome::Refused { status, said, .. } = send(settings) else { panic!("not refused") };
    assert_eq!((status, said.as_str()), (302, "for (hidden): see elsewhere"));
}

#[test]
fn an_answer_that_repeats_a_secret_address_is_shown_without_it() {
    let answer =
        "HTTP/1.1 404 Not Found\r\ncontent-length: 51\r\n\r\nno /hooks/T012AB/s3cretpart?key=hidden here: T012AB";
    let (mut url, _) = receiver(answer);
    url.set_path("/hooks/T012AB/s3cretpart");
    let settings = ClientSettings { secret_url: true, ..settings(url) };
    assert!(!format!("{settings:?}").contains("hooks"));
    let Outcome::Refused { said, .. } = send(settings) else { panic!("not refused") };
    assert_eq!(said, "no (hidden)?(hidden) here: (hidden)");
}

#[test]
fn tells_when_to_come_back_and_that_nobody_is_there() {
    let (url, _) = receiver("HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n");
    let Outcome::Retry { why, after } = send(settings(url)) else { panic!("no retry") };
    assert_eq!((why, after), (Failure::Status(503), Some(Duration::from_secs(7))));
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = settings(Url::parse(&format!("http://{free}/")).unwrap());
    assert!(matches!(send(nobody), Outcome::Retry { why: Failure::Connect, .. }));
    // Takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut silent_settings = settings(Url::parse(&format!("http://{}/", silent.local_addr().unwrap())).unwrap());
    silent_settings.timeout = Duration::from_millis(50);
    assert!(matches!(send(silent_settings), Outcome::Retry { why: Failure::Timeout, .. }));
}

#[test]
fn shows_no_secret() {
    let mut settings = settings(Url::parse("https://host:1234/in?key=hush1").unwrap());
    settings.auth = Auth::Basic { user: "me".to_owned(), password: Secret::Value("hush2".to_owned()) };
    let mut value = HeaderValue::from_static("hush3");
    value.set_sensitive(true);
    settings.headers.insert("x-key", value);
    settings.tls.insecure = true;
    let text = format!("{settings:?} {:?}", Client::new(settings.clone()).unwrap());
    assert!(!text.contains("hush"), "{text}");
    assert!(text.contains("https://host:1234/in"), "{text}");
}

#[test]
fn a_file_of_certificates_that_is_none_is_told_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, "nothing").unwrap();
    let mut settings = settings(Url::parse("https://127.0.0.1/").unwrap());
    settings.tls.ca_file = Some(file.clone());
    let text = Client::new(settings).unwrap_err().to_string();
    assert_eq!(text, format!("cannot use {}: there is no certificate in it", file.display()));
}

#[test]
fn base64_is_that_of_the_rfc() {
    let wanted = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
    for (length, wanted) in wanted.iter().enumerate() {
        assert_eq!(&base64(&b"foobar"[..length]), wanted);
    }
}
