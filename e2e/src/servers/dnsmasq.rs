//! dnsmasq and its query log.

use crate::sandbox::{Proc, Sandbox, free_port};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::time::Duration;

/// What stands before the number in its statistics; a line break comes behind it.
const LOCALLY: &str = "queries answered locally ";

/// A running dnsmasq.
#[derive(Debug)]
pub struct Dnsmasq {
    /// Its port, UDP and TCP.
    pub port: u16,
    process: Proc,
}

impl Dnsmasq {
    /// Starts it: `www.example.test` is 192.0.2.10 and 2001:db8::10, everything else in `example.test` does not exist.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(sandbox: &Sandbox) -> Result<Self> {
        Self::start_with(sandbox, &["--log-queries"])
    }

    /// The same without a log of queries, for load; it counts all the same ([`Self::answered`]).
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_for_load(sandbox: &Sandbox) -> Result<Self> {
        Self::start_with(sandbox, &[])
    }

    fn start_with(sandbox: &Sandbox, options: &[&str]) -> Result<Self> {
        let port = free_port()?;
        let number = format!("--port={port}");
        let own = [
            "-k",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--listen-address=127.0.0.1",
            "--bind-interfaces",
            &number,
            "--host-record=www.example.test,192.0.2.10,2001:db8::10",
            "--local=/example.test/",
            "--pid-file=",
            "--user=root",
            "--log-facility=-",
        ];
        let process = sandbox.start("dnsmasq", "dnsmasq", &[&own, options].concat())?;
        Ok(Self { port, process: process.wait_port(port)? })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Questions it answered so far, which it writes into its log when it is asked to (SIGUSR1).
    ///
    /// # Errors
    /// When it does not say within 5 s.
    pub fn answered(&self) -> Result<u64> {
        let said = || self.process.log().matches(LOCALLY).count();
        let before = said();
        self.process.signal(rustix::process::Signal::USR1)?;
        for _ in 0..250 {
            if said() > before {
                let log = self.process.log();
                let number = log.rsplit_once(LOCALLY).and_then(|(_, rest)| rest.split_ascii_whitespace().next());
                return number.and_then(|number| number.parse().ok()).context("dnsmasq says no number");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("dnsmasq does not tell its statistics:\n{}", self.process.log())
    }

    /// Questions it received, by type and name, as its log says.
    #[must_use]
    pub fn asked(&self) -> BTreeMap<(String, String), u64> {
        let mut counts = BTreeMap::new();
        for line in self.process.log().lines() {
            // dnsmasq: query[A] www.example.test from 127.0.0.1
            let Some((_, rest)) = line.split_once("query[") else { continue };
            let Some((kind, rest)) = rest.split_once("] ") else { continue };
            let name = rest.split(' ').next().unwrap_or("");
            *counts.entry((kind.to_owned(), name.to_owned())).or_default() += 1;
        }
        counts
    }

    /// Waits until its log holds so many questions, at most 5 s.
    ///
    /// # Errors
    /// When it does not.
    pub fn wait_asked(&self, total: u64) -> Result<()> {
        for _ in 0..100 {
            if self.asked().values().sum::<u64>() >= total {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("dnsmasq saw {:?}, not {total} questions", self.asked())
    }
}
