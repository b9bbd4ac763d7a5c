//! The server's messages as an independent reader (`postgres-protocol`) sees them.

use super::*;
use postgres_protocol::message::backend;

/// Errors and `ReadyForQuery`s.
fn oracle(bytes: &[u8]) -> (Vec<String>, usize) {
    let mut buffer = bytes::BytesMut::from(bytes);
    let (mut codes, mut ready) = (Vec::new(), 0);
    while let Some(message) = backend::Message::parse(&mut buffer).expect("what the server said can be read") {
        match message {
            backend::Message::ErrorResponse(body) => {
                use fallible_iterator::FallibleIterator;
                let code = body.fields().find(|field| Ok(field.type_() == b'C')).expect("fields").expect("a code");
                codes.push(String::from_utf8_lossy(code.value_bytes()).into_owned());
            }
            backend::Message::ReadyForQuery(_) => ready += 1,
            _ => {}
        }
    }
    assert!(buffer.is_empty(), "read to the end");
    (codes, ready)
}

#[test]
fn an_independent_reader_sees_the_same_errors() {
    for (name, conversation) in all() {
        if matches!(name, "ssl_accepted" | "gssenc_accepted" | "ssl_refused" | "cancel" | "pipeline" | "function_call")
        {
            // Bytes that are no messages; what an error skipped is answered by it, too; the oracle knows no function calls.
            continue;
        }
        let bytes: Vec<u8> =
            conversation.turns.iter().filter(|(d, _)| *d == Ingress).flat_map(|(_, bytes)| bytes.clone()).collect();
        let (codes, ready) = oracle(&bytes);
        let messages = read(&conversation);
        let ours: Vec<_> = messages
            .iter()
            .filter(|m| m.kind != MessageKind::Request && m.status == Status::Error)
            .map(|m| m.code.to_string())
            .collect();
        assert_eq!(ours, codes, "{name}");
        let answers = messages.iter().filter(|m| m.kind == MessageKind::Response).count();
        assert!(answers + codes.len() >= ready, "{name}: {answers} answers, {ready} times ready");
    }
}
