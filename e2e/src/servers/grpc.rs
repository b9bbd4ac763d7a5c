//! The shop of `e2e/clients/README.md` on three implementations of gRPC, each with a server that says how every call ended and
//! a client that says the same of its side.

use crate::clients::{Kit, Obedient, source};
use crate::sandbox::{Proc, Sandbox, free_port};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often calls ended, by method (`/shop.v1.Shop/Get`) and status (`NOT_FOUND`).
pub type Ended = BTreeMap<(String, String), u64>;

/// An implementation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// grpcio, on asyncio.
    Python,
    /// grpc-go.
    Go,
    /// tonic.
    Rust,
}

impl Stack {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Python, Self::Go, Self::Rust];

    /// What must be built for it.
    #[must_use]
    pub fn kit(self) -> Kit {
        match self {
            Self::Python => Kit::Python,
            Self::Go => Kit::GrpcGo,
            Self::Rust => Kit::GrpcRust,
        }
    }

    /// The service name that the agent should find for its `server` or `client`.
    #[must_use]
    pub fn service(self, end: &str) -> String {
        match self {
            Self::Python => format!("grpc_{end}.py"),
            Self::Go => format!("grpc-go-{end}"),
            Self::Rust => format!("grpc-rust-{end}"),
        }
    }

    /// The program of one end, and what comes before the port.
    fn program(self, end: &str) -> Result<(String, Vec<String>)> {
        let text = |path: std::path::PathBuf| path.to_str().map(str::to_owned).context("a path that is not text");
        Ok(match self {
            Self::Python => ("python3".to_owned(), vec![text(source("grpc-python").join(format!("grpc_{end}.py")))?]),
            Self::Go => (text(self.kit().folder().join(format!("grpc-go-{end}")))?, vec![end.to_owned()]),
            Self::Rust => (text(self.kit().folder().join(format!("debug/grpc-rust-{end}")))?, vec![]),
        })
    }
}

/// Where Python finds grpcio.
fn env() -> Vec<(&'static str, String)> {
    vec![("PYTHONPATH", Kit::Python.folder().display().to_string())]
}

/// A running server.
#[derive(Debug)]
pub struct Shop {
    /// Its port.
    pub port: u16,
    /// Its process.
    pub process: Proc,
}

impl Shop {
    /// Starts one.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(sandbox: &Sandbox, stack: Stack) -> Result<Self> {
        let port = free_port()?;
        let (program, mut arguments) = stack.program("server")?;
        arguments.push(port.to_string());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let env = env();
        let env: Vec<(&str, &str)> = env.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let process = sandbox.start_with(&stack.service("server"), &program, &arguments, &env)?;
        Ok(Self { port, process: process.wait_port(port)? })
    }

    /// How the calls of its methods ended so far, as it saw them.
    #[must_use]
    pub fn ended(&self) -> Ended {
        count(self.process.log().lines())
    }

    /// Waits until so many have ended, at most 15 s: a server may hear of a call that was given up a little later.
    ///
    /// # Errors
    /// When they have not.
    pub fn wait_ended(&self, total: u64) -> Result<Ended> {
        for _ in 0..300 {
            if self.ended().values().sum::<u64>() >= total {
                return Ok(self.ended());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("of {total} calls ended at the server: {:?}\n{}", self.ended(), self.process.log())
    }

    /// The most calls that were open at once.
    #[must_use]
    pub fn peak(&self) -> u64 {
        let log = self.process.log();
        log.lines().filter_map(|line| line.strip_prefix("peak ")?.parse().ok()).max().unwrap_or(0)
    }
}

/// A client with one connection.
#[derive(Debug)]
pub struct Customer(Obedient);

impl Customer {
    /// Starts one in the sandbox.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(sandbox: &Sandbox, stack: Stack, port: u16) -> Result<Self> {
        let (program, mut arguments) = stack.program("client")?;
        arguments.push(port.to_string());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let env = env();
        let env: Vec<(&str, &str)> = env.iter().map(|(key, value)| (*key, value.as_str())).collect();
        Ok(Self(Obedient::start(sandbox, &program, &arguments, &env)?))
    }

    /// Makes the calls of a plan (`CONCURRENCY METHOD:END:TIMES[:DELAY_MS]...`); how they ended, as it saw them.
    ///
    /// # Errors
    /// When it ends before.
    pub fn make(&mut self, plan: &str) -> Result<Ended> {
        Ok(count(self.0.ask(plan)?.iter().map(String::as_str)))
    }

    /// Begins with a plan.
    ///
    /// # Errors
    /// When it has ended.
    pub fn begin(&mut self, plan: &str) -> Result<()> {
        self.0.begin(plan)
    }

    /// Waits for the end of a plan; how its calls ended.
    ///
    /// # Errors
    /// When it ends before.
    pub fn finish(&mut self) -> Result<Ended> {
        Ok(count(self.0.finish()?.iter().map(String::as_str)))
    }

    /// Closes its connection and ends.
    ///
    /// # Errors
    /// When it ends with an error.
    pub fn leave(self) -> Result<()> {
        self.0.dismiss()
    }
}

fn count<'a>(lines: impl Iterator<Item = &'a str>) -> Ended {
    let mut ended = Ended::new();
    for line in lines {
        if let Some((method, status)) = line.split_once(' ').filter(|_| line.starts_with('/')) {
            *ended.entry((method.to_owned(), status.to_owned())).or_default() += 1;
        }
    }
    ended
}
