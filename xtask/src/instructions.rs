//! `cargo xtask instructions [--renew]`: what each stage takes, in instructions, against `benches/baseline.toml`.
//!
//! The benchmark `instructions` counts them with gungraun (callgrind). A count does not depend on what else the machine does, but
//! it does on the compiler: the baseline names the one that it was made with. More than [`LIMIT`] above the baseline fails; so does
//! a benchmark that the baseline does not know, and one of the baseline's that was not run.

use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How many percent above the baseline are still taken for noise: tables are hashed with another seed in each run. One instruction
/// an event is noise as well, which matters where there are few.
const LIMIT: u64 = 3;

const BASELINE: &str = "benches/baseline.toml";

/// How to take new numbers for the right ones.
const RENEW: &str = "if they are meant to cost that, `cargo xtask instructions --renew` writes the new numbers into \
     benches/baseline.toml: commit it with the change that explains them";

/// Instructions by benchmark, `stage.mix`.
type Counts = BTreeMap<String, u64>;

/// Counts, and compares (or takes the numbers for the new baseline).
pub(crate) fn run(renew: bool) -> Result<()> {
    if !Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return skip("instruction counts: valgrind is not there");
    }
    let folder = root()?;
    let text = std::fs::read_to_string(folder.join(BASELINE)).unwrap_or_default();
    let baseline = Baseline::read(&text)?;
    let counts = count(&folder)?;
    print!("{}", table(&counts, &baseline));
    if renew {
        let text = baseline.written(&counts, &compiler()?);
        std::fs::write(folder.join(BASELINE), text).with_context(|| format!("cannot write {BASELINE}"))?;
        println!("wrote {BASELINE}");
        return Ok(());
    }
    let wrong = compare(&counts, &baseline);
    let compiler = compiler()?;
    if !wrong.is_empty() && compiler != baseline.compiler {
        println!("the baseline was made by {}, this is {compiler}", baseline.compiler);
    }
    ensure!(wrong.is_empty(), "{}\n{RENEW}", wrong.join("\n"));
    Ok(())
}

/// Installs what runs the benchmarks, where it is not there; says why if that fails.
pub(crate) fn install() {
    if let Err(error) = root().and_then(|folder| runner(&folder)) {
        eprintln!("{error:#} (the step that counts instructions will say so)");
    }
}

/// Cannot be done here: that is no failure but where `CI=true`.
fn skip(why: &str) -> Result<()> {
    ensure!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}");
    println!("skipped: {why}");
    if let Some(log) = std::env::var_os("REDTAP_SKIPS") {
        let mut log = std::fs::OpenOptions::new().append(true).create(true).open(log)?;
        writeln!(log, "{why}")?;
    }
    Ok(())
}

/// What is committed.
#[derive(Debug, Default)]
struct Baseline {
    compiler: String,
    /// Events that a mix's benchmarks measure.
    events: Counts,
    counts: Counts,
}

impl Baseline {
    fn read(text: &str) -> Result<Self> {
        let file: toml::Table = text.parse().with_context(|| format!("{BASELINE} is no TOML"))?;
        let numbers = |name: &str| -> Counts {
            let entries = file.get(name).and_then(toml::Value::as_table).into_iter().flatten();
            entries.filter_map(|(key, n)| Some((key.clone(), u64::try_from(n.as_integer()?).ok()?))).collect()
        };
        let compiler = file.get("compiler").and_then(toml::Value::as_str).unwrap_or("none").to_owned();
        Ok(Self { compiler, events: numbers("events"), counts: numbers("instructions") })
    }

    /// Events that a benchmark measures.
    fn events_of(&self, name: &str) -> Option<u64> {
        name.split_once('.').and_then(|(_, mix)| self.events.get(mix).copied())
    }

    fn written(&self, counts: &Counts, compiler: &str) -> String {
        let mut text = format!(
            "# Instructions of each stage on recorded events, and of all nine in one loop. Written by\n\
             # `cargo xtask instructions --renew`; {LIMIT} % more than this fails the tests.\n\
             compiler = \"{compiler}\"\n\n# Events that the benchmarks of a mix measure.\n[events]\n"
        );
        // Writing to a string cannot fail.
        for (mix, n) in &self.events {
            let _ = writeln!(text, "{mix} = {n}");
        }
        text.push_str("\n[instructions]\n");
        for (name, n) in counts {
            let _ = writeln!(text, "\"{name}\" = {n}");
        }
        text
    }
}

/// Each benchmark, its instructions, those an event, and how many percent that is off the baseline.
#[expect(clippy::cast_precision_loss, reason = "printed with one digit")]
fn table(counts: &Counts, baseline: &Baseline) -> String {
    let mut text = format!("{:20} {:>14} {:>10} {:>9}\n", "", "instructions", "an event", "change");
    for (name, &count) in counts {
        let each = baseline.events_of(name);
        let each = each.map_or_else(|| "?".to_owned(), |events| format!("{:.1}", count as f64 / events as f64));
        let change =
            baseline.counts.get(name).map_or_else(|| "new".to_owned(), |&old| format!("{:+.1} %", off(count, old)));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:20} {count:>14} {each:>10} {change:>9}");
    }
    text
}

/// What is wrong, a line each.
fn compare(counts: &Counts, baseline: &Baseline) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, &count) in counts {
        match baseline.counts.get(name) {
            None => wrong.push(format!("{name} is not in {BASELINE}")),
            Some(&old)
                if count.saturating_mul(100) > old.saturating_mul(100 + LIMIT)
                    && count - old > baseline.events_of(name).unwrap_or(0) =>
            {
                let off = off(count, old);
                wrong.push(format!("{name}: {count} instructions, {off:+.1} % against {old}; {LIMIT} % are allowed"));
            }
            Some(_) => {}
        }
    }
    wrong.extend(
        baseline.counts.keys().filter(|name| !counts.contains_key(*name)).map(|name| format!("{name} was not run")),
    );
    wrong
}

/// By how many percent `new` is above `old`.
#[expect(clippy::cast_precision_loss, reason = "printed with one digit")]
fn off(new: u64, old: u64) -> f64 {
    (new as f64 / old.max(1) as f64 - 1.0) * 100.0
}

/// Runs the benchmarks.
fn count(folder: &Path) -> Result<Counts> {
    let tools = runner(folder)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(tools).chain(std::env::split_paths(&path)))?;
    let output = Command::new("cargo")
        .args(["bench", "--locked", "-p", "redtap-instructions", "--bench", "instructions", "--"])
        .arg("--output-format=json")
        .current_dir(folder)
        .env("PATH", path)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "the benchmarks failed");
    let mut counts = Counts::new();
    for summary in serde_json::Deserializer::from_slice(&output.stdout).into_iter::<serde_json::Value>() {
        let (name, n) = read(&summary?).context("a summary without its instructions")?;
        counts.insert(name, n);
    }
    ensure!(!counts.is_empty(), "the benchmarks said nothing");
    Ok(counts)
}

/// Name and instructions of one benchmark, from gungraun's summary of it.
fn read(summary: &serde_json::Value) -> Option<(String, u64)> {
    let text = |key: &str| summary.get(key).and_then(serde_json::Value::as_str);
    let metrics = summary.pointer("/profiles/0/data/total/metrics")?;
    let instructions = metrics.pointer("/Ir/values/new")?.as_u64()?;
    Some((format!("{}.{}", text("function_name")?, text("id")?), instructions))
}

/// The folder of the program that runs the benchmarks under callgrind, of exactly the version of the library; installed where it
/// is not.
fn runner(folder: &Path) -> Result<PathBuf> {
    let version = locked_version(&std::fs::read_to_string(folder.join("Cargo.lock"))?)?;
    let tools = folder.join("target/tools").join(format!("gungraun-runner-{version}"));
    let bin = tools.join("bin");
    if !bin.join("gungraun-runner").is_file() {
        let status = Command::new("cargo")
            .args(["install", "--locked", "--quiet", "gungraun-runner", "--version", &format!("={version}"), "--root"])
            .arg(&tools)
            .status()
            .context("cannot run cargo")?;
        ensure!(status.success(), "gungraun-runner {version} could not be installed");
    }
    Ok(bin)
}

/// Version of `gungraun` in the lock file.
fn locked_version(lock: &str) -> Result<String> {
    let lock: toml::Table = lock.parse().context("Cargo.lock is no TOML")?;
    let packages = lock.get("package").and_then(toml::Value::as_array).into_iter().flatten();
    for package in packages {
        let text = |key: &str| package.get(key).and_then(toml::Value::as_str);
        if text("name") == Some("gungraun") {
            return text("version").map(str::to_owned).context("gungraun without a version");
        }
    }
    bail!("Cargo.lock does not name gungraun")
}

fn compiler() -> Result<String> {
    let output = Command::new("rustc").arg("--version").output().context("cannot run rustc")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn root() -> Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().context("no repository")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(entries: &[(&str, u64)]) -> Counts {
        entries.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect()
    }

    fn baseline(entries: &[(&str, u64)]) -> Baseline {
        Baseline { events: counts(&[("http1", 10)]), counts: counts(entries), ..Baseline::default() }
    }

    #[test]
    fn three_percent_more_pass_and_a_little_beyond_fails() {
        let old = baseline(&[("pair.http1", 1_000)]);
        assert_eq!(compare(&counts(&[("pair.http1", 1_030)]), &old), Vec::<String>::new());
        assert_eq!(compare(&counts(&[("pair.http1", 1_031)]), &old).len(), 1);
        assert_eq!(compare(&counts(&[("pair.http1", 500)]), &old), Vec::<String>::new());
    }

    #[test]
    fn one_instruction_an_event_more_is_noise() {
        let old = baseline(&[("flush.http1", 100)]);
        assert_eq!(compare(&counts(&[("flush.http1", 110)]), &old), Vec::<String>::new());
        assert_eq!(compare(&counts(&[("flush.http1", 111)]), &old).len(), 1);
    }

    #[test]
    fn a_benchmark_that_is_new_or_gone_fails() {
        let wrong = compare(&counts(&[("a.http1", 1)]), &baseline(&[("b.http1", 1)]));
        assert_eq!(wrong, ["a.http1 is not in benches/baseline.toml", "b.http1 was not run"]);
    }

    #[test]
    fn reads_its_own_baseline() {
        let baseline = Baseline { events: counts(&[("http1", 10)]), ..Baseline::default() };
        let written = baseline.written(&counts(&[("pair.http1", 20)]), "rustc 1.95.0");
        let read = Baseline::read(&written).expect("TOML");
        assert_eq!((read.compiler.as_str(), read.events), ("rustc 1.95.0", counts(&[("http1", 10)])));
        assert_eq!(read.counts, counts(&[("pair.http1", 20)]));
    }

    #[test]
    fn the_committed_baseline_has_events_for_each_of_its_mixes() {
        let text = std::fs::read_to_string(root().expect("a repository").join(BASELINE)).expect("the baseline");
        let baseline = Baseline::read(&text).expect("TOML");
        assert!(!baseline.counts.is_empty());
        for name in baseline.counts.keys() {
            let mix = name.split_once('.').expect("stage.mix").1;
            assert!(baseline.events.contains_key(mix), "{name}");
        }
    }
}
