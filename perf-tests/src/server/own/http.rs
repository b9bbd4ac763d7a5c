//! HTTP/1.1: 200 and 1 kB to whatever is asked, connections stay open. A request ends with its head.

use anyhow::{Context as _, Result};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;
use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

/// Bytes of the body.
const BODY: usize = 1_024;
/// Bytes of a request that are kept at most.
const MAX_HEAD: usize = 16 * 1024;
/// Event of the listening socket; connections are numbered from 1.
const LISTENER: u64 = 0;

struct Connection {
    stream: TcpStream,
    head: Vec<u8>,
}

pub(super) fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    let events = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&events, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {BODY}\r\n\r\n{}", "x".repeat(BODY));
    let (mut connections, mut next) = (HashMap::new(), LISTENER);
    loop {
        let mut ready = Vec::with_capacity(256);
        match epoll::wait(&events, spare_capacity(&mut ready), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in ready {
            let number = event.data.u64();
            if number == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    next += 1;
                    epoll::add(&events, &stream, epoll::EventData::new_u64(next), epoll::EventFlags::IN)?;
                    connections.insert(next, Connection { stream, head: Vec::new() });
                }
                continue;
            }
            let connection = connections.get_mut(&number).context("no such connection")?;
            if !connection.take(answer.as_bytes()) {
                // Closed with it, and so forgotten by epoll.
                connections.remove(&number);
            }
        }
    }
}

impl Connection {
    /// Reads once and answers what is whole; false when the connection is over.
    fn take(&mut self, answer: &[u8]) -> bool {
        let mut buffer = [0_u8; 4_096];
        let read = match self.stream.read(&mut buffer) {
            Ok(read) => read,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        };
        self.head.extend_from_slice(buffer.get(..read).unwrap_or_default());
        while let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") {
            self.head.drain(..end + 4);
            super::answered();
            // The socket blocks: who does not read its answers stops the server, which is of the harness alone.
            if self.stream.write_all(answer).is_err() {
                return false;
            }
        }
        read > 0 && self.head.len() < MAX_HEAD
    }
}
