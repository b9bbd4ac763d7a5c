//! The harness's own servers: as little as can be between the socket and the answer, so that what an agent adds weighs most.
//!
//! One process, one thread for requests (`serve`), another that tells how many there were to whoever connects to a second
//! port: a number and the end, no request of any protocol.

mod grpc;
mod http;

use anyhow::{Context as _, Result};
use redtap_e2e::sandbox::{Proc, Sandbox, free_port};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Requests answered by this process.
static ANSWERED: AtomicU64 = AtomicU64::new(0);

/// A running one.
#[derive(Debug)]
pub struct Own {
    /// Its port.
    pub port: u16,
    counts: u16,
    process: Proc,
}

impl Own {
    /// Starts one: gRPC, or HTTP/1.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(sandbox: &Sandbox, grpc: bool) -> Result<Self> {
        let (port, counts) = (free_port()?, free_port()?);
        let kind = if grpc { "grpc" } else { "http" };
        let program = std::env::current_exe()?;
        let program = program.to_str().context("a path that is not text")?;
        let process = sandbox.start(kind, program, &["serve", kind, &port.to_string(), &counts.to_string()])?;
        Ok(Self { port, counts, process: process.wait_port(counts)?.wait_port(port)? })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Requests that it answered so far.
    ///
    /// # Errors
    /// When it does not say.
    pub fn requests(&self) -> Result<u64> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.counts))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        text.trim().parse().with_context(|| format!("the server says {text:?}"))
    }
}

/// Serves until it is ended.
///
/// # Errors
/// When a port is taken or polling fails.
pub fn serve(grpc: bool, port: u16, counts: u16) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", counts))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever does not wait for the number does not get it.
            drop({ stream }.write_all(ANSWERED.load(Ordering::Relaxed).to_string().as_bytes()));
        }
    });
    if grpc { grpc::serve(port) } else { http::serve(port) }
}

fn answered() {
    ANSWERED.fetch_add(1, Ordering::Relaxed);
}
