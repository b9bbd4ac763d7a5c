//! `cargo xtask test`: everything that shows that redtap works, in the order in which a failure is cheapest to read.
//!
//! All steps run even when one fails; the last line sums up all test runners: `N passed, N failed, N skipped`.

use crate::limited;
use anyhow::{Context, Result, anyhow, ensure};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Sums over all `test result:` lines, steps without such a line counting as one test each.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

struct Step {
    name: &'static str,
    what: What,
    /// It runs at the same time as the one before it: neither fills the machine.
    beside: bool,
}

/// What a step does.
enum What {
    /// Runs a command.
    Command(&'static [&'static str], &'static [(&'static str, &'static str)]),
    /// Runs all tests of these packages.
    Tests { packages: &'static [&'static str], pace: Pace },
}

/// How many tests run at once. Machines with two processors are the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// As many as there are processors.
    Threads,
    /// One: each loads programs into the kernel.
    Alone,
    /// One of each of two files: they wait for servers and clients most of the time. Those of [`UNDISTURBED`] come last, alone.
    Pairs,
}

/// The longest that a file of tests may take where others run beside it, and nothing of it is shown before its end.
const LONGEST: Duration = Duration::from_secs(20 * 60);

/// Files of tests that measure time or fill the machine.
const UNDISTURBED: &[&str] = &["durations", "governor", "lifecycle", "saturation"];

const fn step(name: &'static str, command: &'static [&'static str]) -> Step {
    Step { name, what: What::Command(command, &[]), beside: false }
}

const fn beside(name: &'static str, command: &'static [&'static str]) -> Step {
    Step { beside: true, ..step(name, command) }
}

const STEPS: &[Step] = &[
    step("kernel objects are what their source says", &["cargo", "xtask", "bpf", "--check"]),
    step("pages are what their source says", &["cargo", "xtask", "ui", "--check"]),
    Step {
        name: "unit and property tests",
        what: What::Tests { packages: &["stages", "captures", "pipeline", "benches", "xtask"], pace: Pace::Threads },
        beside: false,
    },
    Step { name: "live kernel", what: What::Tests { packages: &["kernel"], pace: Pace::Alone }, beside: false },
    Step {
        name: "memory order, model-checked",
        what: What::Command(
            // The checker runs every interleaving: minutes without optimisation, seconds with.
            &[
                "cargo",
                "test",
                "--locked",
                "-p",
                "redtap-kernel",
                "--lib",
                "--target-dir",
                "target/loom",
                "--config",
                "profile.dev.package.loom.opt-level=3",
                "--config",
                "profile.dev.package.generator.opt-level=3",
                "--config",
                "profile.dev.package.redtap-kernel.opt-level=2",
                "loom",
            ],
            &[("RUSTFLAGS", "--cfg loom")],
        ),
        beside: false,
    },
    step("hostile bytes", &["cargo", "xtask", "fuzz", "--seconds", "15"]),
    step("instruction counts", &["cargo", "xtask", "instructions"]),
    beside("the binary", &["cargo", "build", "--locked", "--release"]),
    Step {
        name: "real servers and clients",
        what: What::Tests { packages: &["e2e"], pace: Pace::Pairs },
        beside: false,
    },
    Step {
        name: "load harness, quick",
        what: What::Tests { packages: &["perf-tests"], pace: Pace::Alone },
        beside: false,
    },
];

/// Installs, runs all steps (or those whose name contains `only`), sums up.
pub(crate) fn run(only: Option<&str>) -> Result<()> {
    crate::install::run()?;
    let skips = SkipLog::create()?;
    let mut tally = Tally::default();
    let mut broken = Vec::new();
    let steps: Vec<&Step> = STEPS.iter().filter(|step| only.is_none_or(|only| step.name.contains(only))).collect();
    for group in steps.chunk_by(|_, next| next.beside) {
        for (step, (counted, ok)) in group.iter().zip(run_group(group, &skips)?) {
            tally.add(counted);
            if counted == Tally::default() {
                tally.passed += u64::from(ok);
            }
            if !ok {
                broken.push(step.name);
                // A step that failed without a failed test (it did not build) must not sum up as a success.
                tally.failed += u64::from(counted.failed == 0);
            }
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

/// Runs steps at the same time.
fn run_group(group: &[&Step], skips: &SkipLog) -> Result<Vec<(Tally, bool)>> {
    #[expect(clippy::disallowed_methods, reason = "a developer's tool, and only shown")]
    let began = Instant::now();
    let names: Vec<&str> = group.iter().map(|step| step.name).collect();
    println!("\n== {}", names.join("; "));
    let [first, beside @ ..] = group else { return Ok(Vec::new()) };
    let all = std::thread::scope(|scope| {
        let running: Vec<_> = beside.iter().map(|step| scope.spawn(|| run_step(step, skips))).collect();
        let mut all = vec![run_step(first, skips)?];
        for step in running {
            all.push(step.join().map_err(|_| anyhow!("a step fell over"))??);
        }
        anyhow::Ok(all)
    })?;
    println!("-- {} s", began.elapsed().as_secs());
    Ok(all)
}

fn run_step(step: &Step, skips: &SkipLog) -> Result<(Tally, bool)> {
    match step.what {
        What::Command(command, env) => {
            let (program, arguments) = command.split_first().context("a step without a command")?;
            run_command(Command::new(program).args(arguments).envs(env.iter().copied()), skips)
        }
        What::Tests { packages, pace } => run_tests(packages, pace, skips),
    }
}

/// Builds the tests of the whole workspace and runs those of `packages`. Always the whole: what a package is built with
/// depends on which others are built with it, and a step for each would build their dependencies anew.
fn run_tests(packages: &[&str], pace: Pace, skips: &SkipLog) -> Result<(Tally, bool)> {
    let Some(tests) = executables()? else { return Ok((Tally::default(), false)) };
    let (apart, together): (Vec<_>, Vec<_>) = tests
        .iter()
        .filter(|test| packages.contains(&test.package.as_str()))
        .partition(|test| pace != Pace::Pairs || UNDISTURBED.contains(&test.name.as_str()));
    let mut sum = Summed::default();
    sum.in_lanes(&together, 2, skips)?;
    for test in apart {
        println!("\n{}: {}", test.package, test.name);
        let mut command = test.command(pace);
        sum.add(run_command(&mut command, skips)?);
    }
    Ok((sum.tally, !sum.broken))
}

/// What several runs came to.
#[derive(Debug, Default)]
struct Summed {
    tally: Tally,
    broken: bool,
}

impl Summed {
    fn add(&mut self, (counted, ok): (Tally, bool)) {
        self.tally.add(counted);
        // One that fell over without a summary counts as one failure.
        self.tally.failed += u64::from(!ok && counted.failed == 0);
        self.broken |= !ok;
    }

    /// Runs so many at once; what one says is shown in one piece, once it is done.
    fn in_lanes(&mut self, tests: &[&TestFile], lanes: usize, skips: &SkipLog) -> Result<()> {
        let next = AtomicUsize::new(0);
        let sum = Mutex::new(self);
        std::thread::scope(|scope| {
            let lane = || -> Result<()> {
                while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut command = test.command(Pace::Alone);
                    let ended = limited::run(command.env("REDTAP_SKIPS", &skips.0), LONGEST)?;
                    let text = String::from_utf8_lossy(&ended.stdout);
                    let mut tally = Tally::default();
                    text.lines().filter_map(parse_result).for_each(|counted| tally.add(counted));
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    println!("\n{}: {}\n{text}{}", test.package, test.name, String::from_utf8_lossy(&ended.stderr));
                    if ended.status.is_none() {
                        println!("{}: {} hung: ended after {} s", test.package, test.name, LONGEST.as_secs());
                    }
                    sum.add((tally, ended.status.is_some_and(|status| status.success())));
                }
                Ok(())
            };
            let running: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
            for lane in running {
                lane.join().map_err(|_| anyhow!("a lane of tests fell over"))??;
            }
            Ok(())
        })
    }
}

/// A test executable of the workspace.
struct TestFile {
    /// Folder of its package, in the workspace.
    package: String,
    name: String,
    folder: PathBuf,
    executable: PathBuf,
}

impl TestFile {
    /// As cargo runs it.
    fn command(&self, pace: Pace) -> Command {
        let mut command = Command::new(&self.executable);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        if pace != Pace::Threads {
            command.arg("--test-threads=1");
        }
        command
    }
}

/// Builds all tests; none if they do not build (the compiler has said why).
fn executables() -> Result<Option<Vec<TestFile>>> {
    let output = Command::new("cargo")
        .args(["test", "--workspace", "--locked", "--no-run", "--message-format=json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    let text = String::from_utf8(output.stdout).context("cargo does not speak UTF-8")?;
    let tests = text.lines().filter_map(|line| test_file(&serde_json::from_str(line).ok()?)).collect();
    Ok(output.status.success().then_some(tests))
}

/// Reads a message of cargo's; none if it is not about a test executable.
fn test_file(message: &serde_json::Value) -> Option<TestFile> {
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let is_test = message.get("profile")?.get("test")?.as_bool()?;
    let executable = PathBuf::from(message.get("executable")?.as_str()?);
    let folder = PathBuf::from(message.get("manifest_path")?.as_str()?).parent()?.to_path_buf();
    let package = folder.file_name()?.to_str()?.to_owned();
    is_test.then_some(TestFile { package, name: text(message.get("target")?.get("name")?)?, folder, executable })
}

fn run_command(command: &mut Command, skips: &SkipLog) -> Result<(Tally, bool)> {
    let mut child = command
        .env("REDTAP_SKIPS", &skips.0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
    let mut tally = Tally::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            println!("{line}");
            if let Some(counted) = parse_result(&line) {
                tally.add(counted);
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

    #[test]
    fn finds_test_executables_among_what_cargo_says() {
        let message = |test: bool, executable: serde_json::Value| {
            serde_json::json!({
                "reason": "compiler-artifact", "manifest_path": "/x/redtap/stages/Cargo.toml", "target": {"name": "pair"},
                "profile": {"test": test}, "executable": executable,
            })
        };
        let found = test_file(&message(true, "/x/target/pair-1".into())).expect("a test");
        assert_eq!((found.package.as_str(), found.name.as_str()), ("stages", "pair"));
        assert_eq!(found.executable, PathBuf::from("/x/target/pair-1"));
        assert!(test_file(&message(false, "/x/target/redtap".into())).is_none(), "a program");
        assert!(test_file(&message(true, serde_json::Value::Null)).is_none(), "a library");
        assert!(test_file(&serde_json::json!({"reason": "build-finished"})).is_none());
    }
}
