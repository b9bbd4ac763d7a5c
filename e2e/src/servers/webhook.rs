//! A webhook: keeps what it is sent, and answers as it is told to.

use crate::sandbox::free_port;
use anyhow::{Context, Result};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A webhook on loopback. Ends with the process.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Its port.
    pub port: u16,
    requests: Arc<Mutex<Vec<(String, String)>>>,
}

impl Webhook {
    /// Listens; the first `busy` requests are answered 503 and not kept.
    ///
    /// # Errors
    /// When there is no port.
    pub fn start(mut busy: u32) -> Result<Self> {
        let hook = Self { port: free_port()?, requests: Arc::default() };
        let kept = Arc::clone(&hook.requests);
        let listener = TcpListener::bind(("127.0.0.1", hook.port))?;
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let Some(request) = read(&mut stream) else { continue };
                let status = if busy > 0 { "503 Busy" } else { "200 OK" };
                if busy == 0 {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                }
                busy = busy.saturating_sub(1);
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Ok(hook)
    }

    /// Head and body of each request, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<(String, String)> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Their bodies.
    ///
    /// # Errors
    /// When one is no JSON.
    pub fn bodies(&self) -> Result<Vec<Value>> {
        self.requests().iter().map(|(_, body)| serde_json::from_str(body).context("not JSON")).collect()
    }
}

/// Head and body; none if the other side falls silent within a request.
fn read(stream: &mut TcpStream) -> Option<(String, String)> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let (mut request, mut chunk) = (Vec::new(), [0; 4_096]);
    loop {
        let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        request.extend_from_slice(chunk.get(..read)?);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some((head.to_owned(), body.to_owned()));
        }
    }
}
