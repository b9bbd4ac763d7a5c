//! `cargo xtask test`: everything that shows that redtap works, in the order in which a failure is cheapest to read.
//!
//! All steps run even when one fails; the last line sums up all test runners: `N passed, N failed, N skipped`.

use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Sums over all `test result:` lines, steps without such a line counting as one test each.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

struct Step {
    name: &'static str,
    command: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
}

const fn step(name: &'static str, command: &'static [&'static str]) -> Step {
    Step { name, command, env: &[] }
}

const STEPS: &[Step] = &[
    step("kernel objects are what their source says", &["cargo", "xtask", "bpf", "--check"]),
    step(
        "unit and property tests",
        &["cargo", "test", "--locked", "-p", "redtap-stages", "-p", "redtap", "-p", "redtap-benches", "-p", "xtask"],
    ),
    // One at a time: each loads programs, and machines with two processors are the rule.
    step("live kernel", &["cargo", "test", "--locked", "-p", "redtap-kernel", "--", "--test-threads=1"]),
    Step {
        name: "memory order, model-checked",
        command: &["cargo", "test", "--locked", "-p", "redtap-kernel", "--lib", "--target-dir", "target/loom", "loom"],
        env: &[("RUSTFLAGS", "--cfg loom")],
    },
    step("hostile bytes", &["cargo", "xtask", "fuzz", "--seconds", "15"]),
    step("the binary", &["cargo", "build", "--locked", "--release"]),
    step("real servers and clients", &["cargo", "test", "--locked", "-p", "redtap-e2e", "--", "--test-threads=1"]),
];

/// Installs, runs all steps (or those whose name contains `only`), sums up.
pub(crate) fn run(only: Option<&str>) -> Result<()> {
    crate::install::run()?;
    let skips = SkipLog::create()?;
    let mut tally = Tally::default();
    let mut broken = Vec::new();
    for step in STEPS.iter().filter(|step| only.is_none_or(|only| step.name.contains(only))) {
        println!("\n== {}", step.name);
        let (counted, ok) = run_step(step, &skips)?;
        tally.passed += counted.passed;
        tally.failed += counted.failed;
        tally.skipped += counted.skipped;
        if counted == Tally::default() {
            tally.passed += u64::from(ok);
        }
        if !ok {
            broken.push(step.name);
            // A step that failed without a failed test (it did not build) must not sum up as a success.
            tally.failed += u64::from(counted.failed == 0);
        }
    }
    for reason in skips.reasons()? {
        println!("skipped: {reason}");
        tally.skipped += 1;
        tally.passed = tally.passed.saturating_sub(1);
    }
    if !broken.is_empty() {
        println!("\nfailed: {}", broken.join("; "));
    }
    println!("\n{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
    ensure!(tally.failed == 0, "tests failed");
    Ok(())
}

fn run_step(step: &Step, skips: &SkipLog) -> Result<(Tally, bool)> {
    let (program, arguments) = step.command.split_first().context("a step without a command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .envs(step.env.iter().copied())
        .env("REDTAP_SKIPS", &skips.0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let mut tally = Tally::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            println!("{line}");
            if let Some(counted) = parse_result(&line) {
                tally.passed += counted.passed;
                tally.failed += counted.failed;
                tally.skipped += counted.skipped;
            }
        }
    }
    Ok((tally, child.wait()?.success()))
}

/// Reads a line such as `test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; ...`.
fn parse_result(line: &str) -> Option<Tally> {
    let rest = line.trim().strip_prefix("test result: ")?;
    let (_, counts) = rest.split_once(". ")?;
    let mut tally = Tally::default();
    for part in counts.split("; ") {
        let (number, what) = part.trim().split_once(' ')?;
        match what {
            "passed" => tally.passed = number.parse().ok()?,
            "failed" => tally.failed = number.parse().ok()?,
            "ignored" => tally.skipped = number.parse().ok()?,
            _ => {}
        }
    }
    Some(tally)
}

/// A file that a test that cannot run here appends its reason to (`REDTAP_SKIPS`); with `CI=true` it fails instead.
struct SkipLog(PathBuf);

impl SkipLog {
    fn create() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("redtap-skips-{}", std::process::id()));
        std::fs::write(&path, "").with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(path))
    }

    fn reasons(&self) -> Result<Vec<String>> {
        Ok(std::fs::read_to_string(&self.0)?.lines().map(str::to_owned).collect())
    }
}

impl Drop for SkipLog {
    fn drop(&mut self) {
        // It lies in the temporary directory: one that stays does no harm.
        drop(std::fs::remove_file(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_summary_of_the_test_runner() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.02s";
        assert_eq!(parse_result(line), Some(Tally { passed: 12, failed: 3, skipped: 1 }));
        assert_eq!(parse_result("test stages::pairs ... ok"), None);
    }
}
