//! Names: a responder that knows one name (RFC 1035), and who asks it.
//!
//! Bounds: datagrams of [`MAX_DATAGRAM`] bytes. What is not a query with one question is not answered.

use super::web::WITHIN;
use anyhow::{Context as _, Result, ensure};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

/// The name that there is.
pub(super) const PAYMENT: &str = "payment.demo.test";
/// Without EDNS no message is longer (RFC 1035, section 4.2.1).
const MAX_DATAGRAM: usize = 512;
/// Bytes before the question (section 4.1.1).
const HEADER: usize = 12;

/// Answers until the process is ended.
pub(super) fn run(socket: &UdpSocket) -> Result<()> {
    let mut buffer = [0; MAX_DATAGRAM];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).context("cannot receive")?;
        if let Some(answer) = buffer.get(..length).and_then(answer) {
            // Who has gone needs no answer.
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let (header, rest) = query.split_at_checked(HEADER)?;
    let [first, second, flags, _, 0, 1, ..] = header else { return None };
    if flags & 0x80 != 0 {
        return None;
    }
    let known = question(PAYMENT);
    let end = rest.iter().position(|&byte| byte == 0)? + 5;
    let asked = rest.get(..end)?;
    let found = asked == known;
    // A response, recursion desired and available; RCODE 0 or 3 (NXDOMAIN); one question, one answer or none.
    let mut answer = vec![*first, *second, 0x81, if found { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(found), 0, 0, 0, 0];
    answer.extend_from_slice(asked);
    if found {
        // The name of the question (section 4.1.4), A, IN, 30 s, four bytes.
        answer.extend_from_slice(&[0xC0, 0x0C, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4]);
        answer.extend_from_slice(&Ipv4Addr::LOCALHOST.octets());
    }
    Some(answer)
}

/// A question for the address of a name (section 4.1.2).
fn question(name: &str) -> Vec<u8> {
    let mut question = Vec::with_capacity(name.len() + 6);
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap_or(0));
        question.extend_from_slice(label.as_bytes());
    }
    question.extend_from_slice(&[0, 0, 1, 0, 1]);
    question
}

/// The address of a name; none if there is no such name.
pub(super) fn resolve(server: SocketAddr, name: &str) -> Result<Option<Ipv4Addr>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(WITHIN))?;
    // A socket of its own has no other answers: any number will do.
    let mut query = vec![0x52, 0x54, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend_from_slice(&question(name));
    socket.send(&query)?;
    let mut buffer = [0; MAX_DATAGRAM];
    let length = socket.recv(&mut buffer)?;
    let answer = buffer.get(..length).unwrap_or(&[]);
    ensure!(answer.get(..2) == query.get(..2), "an answer to something else");
    let found = answer.get(7) == Some(&1);
    let octets: Option<[u8; 4]> = answer.last_chunk().copied();
    Ok(octets.filter(|_| found).map(Ipv4Addr::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_is_known_and_no_other() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = socket.local_addr().unwrap();
        std::thread::spawn(move || run(&socket));
        assert_eq!(resolve(server, PAYMENT).unwrap(), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(resolve(server, "payments.demo.test").unwrap(), None);
    }

    #[test]
    fn what_is_no_query_is_not_answered() {
        for bytes in [&b""[..], b"short", &[0, 1, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1], &[0; 40]] {
            assert_eq!(answer(bytes), None, "{bytes:?}");
        }
    }
}
