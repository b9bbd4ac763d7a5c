//! nginx and wrk for load: one worker, a page of 1 kB, keep-alive, no access log.
//!
//! Without a log a request is cheaper, so that what is added to it weighs more. nginx counts requests itself
//! (`stub_status`); asking is a request too, and counted.

use anyhow::{Context as _, Result, bail};
use redtap_e2e::sandbox::{Proc, Sandbox, get};
use std::net::TcpListener;

/// Ports tried, in order.
const PORTS: std::ops::Range<u16> = 23_000..23_100;

/// Where wrk runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// In the watched cgroup: every request is seen at both ends.
    Watched,
    /// Outside of it: only the server's end is seen.
    Outside,
}

/// A running nginx.
#[derive(Debug)]
pub struct Web {
    port: u16,
    process: Proc,
}

impl Web {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not start, or no port is free.
    pub fn start(sandbox: &Sandbox) -> Result<Self> {
        let port = PORTS
            .clone()
            .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
            .with_context(|| format!("no free port in {PORTS:?}"))?;
        sandbox.write("www/page", &"x".repeat(1_024))?;
        let folder = sandbox.folder().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
            .concat();
        let config = format!(
            "user root;\nworker_processes 1;\ndaemon off;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\naccess_log off;\nkeepalive_requests 1000000000;\nsendfile on;\n{temporary}\
             server {{\nlisten 127.0.0.1:{port};\nroot {folder}/www;\nlocation = /requests {{ stub_status; }}\n}}\n}}\n"
        );
        let config = sandbox.write("nginx.conf", &config)?;
        let process = sandbox.start("nginx", "nginx", &["-c", config.to_str().context("a path that is not text")?])?;
        Ok(Self { port, process: process.wait_port(port)? })
    }

    /// The process id of its master.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Requests so far, this one included.
    ///
    /// # Errors
    /// When it does not say.
    pub fn requests(&self) -> Result<u64> {
        let (status, text) = get(self.port, "/requests", "*/*")?;
        // "server accepts handled requests", and below it three numbers.
        let numbers = text.lines().nth(2).and_then(|line| line.split_ascii_whitespace().nth(2));
        match numbers.and_then(|number| number.parse().ok()) {
            Some(number) if status == 200 => Ok(number),
            _ => bail!("nginx does not count its requests: {status} {text}"),
        }
    }

    /// Load for so many seconds; requests a second as wrk counts them.
    ///
    /// # Errors
    /// When wrk fails or saw errors.
    pub fn load(&self, sandbox: &Sandbox, client: Client, connections: u16, seconds: u32) -> Result<f64> {
        let (connections, seconds) = (connections.to_string(), format!("{seconds}s"));
        let url = format!("http://127.0.0.1:{}/page", self.port);
        let arguments = ["-t", "1", "-c", &connections, "-d", &seconds, &url];
        let text = match client {
            Client::Watched => sandbox.run("wrk", &arguments)?,
            Client::Outside => sandbox.run_outside("wrk", &arguments)?,
        };
        if text.contains("Non-2xx") || text.contains("Socket errors") {
            bail!("the load met errors:\n{text}");
        }
        let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
        rate.and_then(|rate| rate.trim().parse().ok()).with_context(|| format!("wrk says no rate:\n{text}"))
    }
}
