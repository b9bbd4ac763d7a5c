//! nginx with an access log that says what it answered.

use crate::sandbox::{Proc, Sandbox, free_port};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    /// Its port.
    pub port: u16,
    /// Its log of requests: method, target, status a line.
    pub access_log: PathBuf,
    process: Proc,
}

impl Nginx {
    /// Starts it with so many workers: `/` and `/static/...` answer 1 kB, `/big` 1 MB, `/missing` 404, `/broken` 500,
    /// `/moved` 301, `/users/...` 200 with a few bytes.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(sandbox: &Sandbox, workers: u16) -> Result<Self> {
        Self::start_on(sandbox, workers, &[])
    }

    /// The same with further places to listen on, as nginx writes them.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_on(sandbox: &Sandbox, workers: u16, listen: &[&str]) -> Result<Self> {
        let listen: String = listen.iter().map(|place| format!("listen {place}; ")).collect();
        let port = free_port()?;
        sandbox.write("www/index.html", &"x".repeat(1_024))?;
        sandbox.write("www/static/a.html", &"a".repeat(1_024))?;
        sandbox.write("www/big", &"b".repeat(1_048_576))?;
        let folder = sandbox.folder().display();
        let config = format!(
            r#"
user root;
worker_processes {workers};
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 2048; }}
http {{
  log_format plain '$request_method $request_uri $status';
  access_log {folder}/access.log plain;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  keepalive_requests 100000000;
  keepalive_timeout 600;
  sendfile on;
  server {{
    listen 127.0.0.1:{port}; {listen}
    root {folder}/www;
    location /missing {{ return 404 'no'; }}
    location /broken {{ return 500 'no'; }}
    location /moved {{ return 301 /; }}
    location /users/ {{ return 200 'someone'; }}
  }}
}}
"#
        );
        let config = sandbox.write("nginx.conf", &config)?;
        let process = sandbox.start("nginx", "nginx", &["-c", config.to_str().context("a path that is not text")?])?;
        let access_log = sandbox.folder().join("access.log");
        Ok(Self { port, access_log, process: process.wait_port(port)? })
    }

    /// Its address for a client.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// How often it answered, by method, target and status. nginx writes the line when the answer was handed to the kernel.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn answered(&self) -> Result<BTreeMap<(String, String, String), u64>> {
        let mut counts = BTreeMap::new();
        for line in std::fs::read_to_string(&self.access_log)?.lines() {
            let mut fields = line.split(' ').map(str::to_owned);
            let (Some(method), Some(target), Some(status)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            *counts.entry((method, target, status)).or_default() += 1;
        }
        Ok(counts)
    }

    /// Waits until its log holds so many answers, at most 5 s: the line is written after the client has its answer.
    ///
    /// # Errors
    /// When it does not.
    pub fn wait_answered(&self, total: u64) -> Result<BTreeMap<(String, String, String), u64>> {
        for _ in 0..250 {
            let answered = self.answered()?;
            if answered.values().sum::<u64>() >= total {
                return Ok(answered);
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        anyhow::bail!("nginx logged {:?}, not {total} answers", self.answered()?)
    }

    /// The process of its master.
    #[must_use]
    pub fn process(&self) -> &Proc {
        &self.process
    }
}
