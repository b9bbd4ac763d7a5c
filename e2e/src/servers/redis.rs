//! redis-server and its own statistics.

use crate::sandbox::{Proc, Sandbox, find, free_port};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::process::Command;

/// A running redis-server.
#[derive(Debug)]
pub struct Redis {
    /// Its port.
    pub port: u16,
    process: Proc,
}

impl Redis {
    /// Starts it without persistence.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(sandbox: &Sandbox) -> Result<Self> {
        let port = free_port()?;
        let text = port.to_string();
        let process = sandbox.start(
            "redis",
            "redis-server",
            &["--bind", "127.0.0.1", "--port", &text, "--save", "", "--appendonly", "no", "--maxclients", "2000"],
        )?;
        Ok(Self { port, process: process.wait_port(port)? })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Calls by command name (upper case), as `INFO commandstats` counts them. Asked over a connection from outside of the
    /// sandbox: it is counted by the server, and by the agent on the server's side.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn calls(&self) -> Result<BTreeMap<String, u64>> {
        let program = find("redis-cli").context("no redis-cli")?;
        let output = Command::new(program).args(["-p", &self.port.to_string(), "INFO", "commandstats"]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut calls = BTreeMap::new();
        for line in text.lines() {
            // cmdstat_config|get:calls=1,usec=...
            let Some((name, rest)) = line.strip_prefix("cmdstat_").and_then(|line| line.split_once(":calls=")) else {
                continue;
            };
            let name = name.split('|').next().unwrap_or(name).to_ascii_uppercase();
            let count: u64 = rest.split(',').next().unwrap_or("").parse().context("calls is no number")?;
            *calls.entry(name).or_default() += count;
        }
        Ok(calls)
    }
}
