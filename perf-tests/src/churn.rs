//! Many processes, each for one request: what `load/churn.rs` runs.

use anyhow::{Context as _, Result, ensure};
use redtap_e2e::stopwatch::now;
use std::collections::VecDeque;
use std::process::{Child, Command, Stdio};

/// Runs so many processes, at most `at_once` of them together; processes a second.
///
/// # Errors
/// When one cannot be started or fails.
pub fn churn(port: u16, processes: u32, at_once: u32) -> Result<f64> {
    let program = std::env::current_exe()?;
    let began = now();
    let mut alive: VecDeque<Child> = VecDeque::new();
    for number in 0..processes {
        if alive.len() >= usize::try_from(at_once)? {
            wait(&mut alive)?;
        }
        let mut command = Command::new(&program);
        command.args(["ask", &port.to_string()]).stdin(Stdio::null()).stdout(Stdio::null());
        alive.push_back(command.spawn().with_context(|| format!("process {number}"))?);
    }
    while !alive.is_empty() {
        wait(&mut alive)?;
    }
    Ok(f64::from(processes) * 1e9 / (now() - began) as f64)
}

/// Waits for the oldest.
fn wait(alive: &mut VecDeque<Child>) -> Result<()> {
    if let Some(mut child) = alive.pop_front() {
        let status = child.wait()?;
        ensure!(status.success(), "a process ended with {status}");
    }
    Ok(())
}

/// What each does.
///
/// # Errors
/// When it is not answered with 200.
pub fn ask(port: u16) -> Result<()> {
    let (status, _) = redtap_e2e::sandbox::get(port, "/1k", "*/*")?;
    ensure!(status == 200, "the server answers {status}");
    Ok(())
}
