//! The talk with clients that take orders, a line each.

use crate::sandbox::Sandbox;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

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
