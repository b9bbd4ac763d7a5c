//! Go's `net/http` with HTTP/2 in the clear, by upgrade and by prior knowledge. It prints what it answered.

use crate::clients::Kit;
use crate::sandbox::{Proc, Sandbox, free_port};
use crate::servers::apache::Answered;
use anyhow::{Context, Result, bail};

/// A running server.
#[derive(Debug)]
pub struct GoWeb {
    /// Its port.
    pub port: u16,
    /// Its process.
    pub process: Proc,
}

impl GoWeb {
    /// Starts it: `/big` answers 100 kB, `/gone` 404, everything else a few bytes.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(sandbox: &Sandbox) -> Result<Self> {
        let port = free_port()?;
        let program = Kit::GrpcGo.folder().join("go-web");
        let program = program.to_str().context("a path that is not text")?;
        let process = sandbox.start("go-web", program, &["web", &port.to_string()])?;
        Ok(Self { port, process: process.wait_port(port)? })
    }

    /// Its address for a client.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Waits until it has answered so many requests, at most 5 s; how often, by protocol, method, target and status.
    ///
    /// # Errors
    /// When it has not.
    pub fn wait_answered(&self, total: u64) -> Result<Answered> {
        for _ in 0..250 {
            let answered = self.answered();
            if answered.values().sum::<u64>() >= total {
                return Ok(answered);
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        bail!("it answered {:?}, not {total} requests", self.answered())
    }

    fn answered(&self) -> Answered {
        let mut counts = Answered::new();
        for line in self.process.log().lines() {
            let mut fields = line.split(' ').map(str::to_owned);
            if let [Some(protocol), Some(method), Some(target), Some(status)] = [(); 4].map(|()| fields.next()) {
                *counts.entry([protocol, method, target, status]).or_default() += 1;
            }
        }
        counts
    }
}
