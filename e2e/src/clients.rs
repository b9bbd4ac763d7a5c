//! Clients whose drivers come from language registries: the programs are in `e2e/clients/`, and `cargo xtask install` builds
//! them with their drivers into `target/e2e-clients/`, once.

pub mod mysql;
pub mod postgres;
pub mod sql;

use std::path::{Path, PathBuf};

/// The folder of what was built, if it was: `NAME.done` beside it says so.
#[must_use]
pub fn kit(name: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/e2e-clients").join(name);
    folder.with_extension("done").is_file().then_some(folder)
}

/// A file of `e2e/clients/`.
//! Servers and clients of `e2e/clients/`, as `cargo xtask install` built them into `target/e2e-clients/`, and the talk with
//! those that take orders.

use crate::sandbox::Sandbox;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::SystemTime;

/// What is built together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kit {
    /// grpcio and confluent-kafka (librdkafka).
    Python,
    /// Server and client on grpc-go.
    GrpcGo,
    /// Server and client on tonic.
    GrpcRust,
    /// A Kafka broker and its Java client.
    Kafka,
}

impl Kit {
    /// Where it is.
    #[must_use]
    pub fn folder(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/e2e-clients").join(match self {
            Self::Python => "python",
            Self::GrpcGo => "grpc-go",
            Self::GrpcRust => "grpc-rust",
            Self::Kafka => "kafka",
        })
    }

    /// True if it is built, and no file that it is built of has changed since.
    #[must_use]
    pub fn is_ready(self) -> bool {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(match self {
            Self::Python => "requirements.txt",
            Self::GrpcGo => "grpc-go",
            Self::GrpcRust => "grpc-rust",
            Self::Kafka => "kafka",
        });
        let done = std::fs::metadata(self.folder().with_extension("done")).and_then(|file| file.modified());
        done.is_ok_and(|done| youngest(&source).is_some_and(|source| source <= done))
    }
}

/// When a file, or any below a folder, was last written.
fn youngest(path: &Path) -> Option<SystemTime> {
    if !path.is_dir() {
        return path.metadata().ok()?.modified().ok();
    }
    let inside = std::fs::read_dir(path).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    inside.filter(|path| !path.ends_with("target")).filter_map(|path| youngest(&path)).max()
}

/// A source file of `e2e/clients/`.
#[must_use]
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

/// A client that obeys lines and answers each with lines up to `done`. Ends, as at the end of its input, when dropped.
#[derive(Debug)]
pub struct Obedient {
    child: Child,
    orders: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    errors: PathBuf,
}

impl Obedient {
    /// Starts one in the sandbox, born in its cgroup.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(sandbox: &Sandbox, program: &str, arguments: &[&str], env: &[(&str, &str)]) -> Result<Self> {
        let errors =
            tempfile::Builder::new().prefix("client-").tempfile_in(sandbox.folder())?.into_temp_path().keep()?;
        let mut child = sandbox
            .command(program, arguments)?
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&errors)?)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("no output")?).lines();
        Ok(Self { child, orders, answers, errors })
    }

    /// Gives an order and waits until it is done; what it answered.
    ///
    /// # Errors
    /// When it ends before.
    pub fn ask(&mut self, order: &str) -> Result<Vec<String>> {
        self.begin(order)?;
        self.finish()
    }

    /// Gives an order.
    ///
    /// # Errors
    /// When it has ended.
    pub fn begin(&mut self, order: &str) -> Result<()> {
        writeln!(self.orders.as_mut().context("its input is closed")?, "{order}").context(self.said())
    }

    /// Waits until an order is done; what was answered.
    ///
    /// # Errors
    /// When it ends before.
    pub fn finish(&mut self) -> Result<Vec<String>> {
        let mut said = Vec::new();
        for line in self.answers.by_ref() {
            let line = line?;
            if line == "done" {
                return Ok(said);
            }
            said.push(line);
        }
        bail!("ended instead of obeying: {said:?}\n{}", self.said())
    }

    /// Lets it end, and waits for that.
    ///
    /// # Errors
    /// When it ends with an error.
    pub fn dismiss(mut self) -> Result<()> {
        drop(self.orders.take());
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "a client ended with {status}:\n{}", self.said());
        Ok(())
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.errors).unwrap_or_default()
    }
}

impl Drop for Obedient {
    fn drop(&mut self) {
        drop(self.orders.take());
        // One that does not take the end of its input for its own end.
        if let Ok(None) = self.child.try_wait() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
