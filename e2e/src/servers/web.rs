//! nginx for load: one worker, keep-alive, no access log; `/1k` answers 1 kB, `/1m` 1 MB, `/many/...` a
//! few bytes.
//!
//! Without a log a request is cheaper, so that what is added to it weighs more. nginx counts requests itself
//! (`stub_status`); asking is a request too, and counted.

use crate::sandbox::{Proc, Sandbox, free_port, get};
use anyhow::{Context as _, Result, bail};

/// A running nginx.
#[derive(Debug)]
pub struct Web {
    /// Its port for HTTP/1.
    pub port: u16,
    /// Its port for HTTP/2 without TLS, by prior knowledge.
    pub http2: u16,
    process: Proc,
}

impl Web {
    /// Starts it for so many connections at once.
    ///
    /// # Errors
    /// When it does not start, or no port is free.
    pub fn start(sandbox: &Sandbox, connections: u32) -> Result<Self> {
        let (port, http2) = (free_port()?, free_port()?);
        sandbox.write("www/1k", &"x".repeat(1_024))?;
        sandbox.write("www/1m", &"y".repeat(1_048_576))?;
        let folder = sandbox.folder().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
            .concat();
        // More than asked for: to listen and to be asked how many there were, and because with less than a 16th of them free
        // nginx closes connections that wait for their next request.
        let (places, files) = (connections + connections / 8 + 64, connections + 512);
        let config = format!(
            "user root;\nworker_processes 1;\nworker_rlimit_nofile {files};\ndaemon off;\npid {folder}/nginx.pid;\n\
             error_log {folder}/error.log;\nevents {{ worker_connections {places}; }}\n\
             http {{\naccess_log off;\nkeepalive_requests 1000000000;\nkeepalive_timeout 600;\nsendfile on;\n\
             http2_max_concurrent_streams 256;\n{temporary}\
             server {{\nlisten 127.0.0.1:{port} backlog=4096;\nlisten 127.0.0.1:{http2} http2 backlog=4096;\n\
             root {folder}/www;\nlocation = /requests {{ stub_status; }}\n\
             location /many/ {{ return 200 'one of many'; }}\n}}\n}}\n"
        );
        let config = sandbox.write("nginx.conf", &config)?;
        let process = sandbox.start("nginx", "nginx", &["-c", config.to_str().context("a path that is not text")?])?;
        Ok(Self { port, http2, process: process.wait_port(port)?.wait_port(http2)? })
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
}
