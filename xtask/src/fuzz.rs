//! `cargo xtask fuzz [--seconds N]`: each fuzz target for a while, from its committed corpus.
//!
//! libFuzzer's instrumentation is an unstable compiler flag; `RUSTC_BOOTSTRAP=1` lets the stable compiler take it, so that
//! one toolchain is enough.

use anyhow::{Context, Result, anyhow, bail, ensure};
use std::path::Path;
use std::process::Command;

/// Flags that turn on the coverage that libFuzzer steers by. What cargo-fuzz passes, less the sanitizer's runtime.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks";

/// Builds all targets, then runs each for `seconds`.
pub(crate) fn run(seconds: u32) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").canonicalize().context("no fuzz/ folder")?;
    let host = host()?;
    let status = Command::new("cargo")
        .args(["build", "--release", "--bins", "--target", &host])
        .current_dir(&folder)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", FLAGS)
        .status()?;
    ensure!(status.success(), "the fuzz targets do not build");
    let mut targets: Vec<String> = std::fs::read_dir(folder.join("fuzz_targets"))?
        .filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned))
        .collect();
    targets.sort();
    // Each keeps one processor busy.
    let lanes = std::thread::available_parallelism().map_or(1, usize::from);
    for some in targets.chunks(lanes) {
        std::thread::scope(|scope| {
            let running: Vec<_> =
                some.iter().map(|target| scope.spawn(|| one(&folder, &host, target, seconds))).collect();
            for target in running {
                target.join().map_err(|_| anyhow!("a run fell over"))??;
            }
            anyhow::Ok(())
        })?;
    }
    Ok(())
}

/// Runs one target.
fn one(folder: &Path, host: &str, target: &str, seconds: u32) -> Result<()> {
    println!("fuzzing {target} for {seconds} s");
    let corpus = folder.join("corpus").join(target);
    std::fs::create_dir_all(&corpus)?;
    let output = Command::new(folder.join("target").join(host).join("release").join(target))
        .arg(&corpus)
        .args([
            &format!("-max_total_time={seconds}"),
            "-rss_limit_mb=2048",
            "-timeout=10",
            "-verbosity=0",
            "-print_final_stats=1",
        ])
        .current_dir(folder)
        .output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{target} found something:\n{log}");
    }
    let runs = log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")).unwrap_or("?");
    println!("{target}: {} inputs, nothing found", runs.trim());
    Ok(())
}

fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output()?;
    let text = String::from_utf8(output.stdout)?;
    text.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned).context("rustc -vV names no host")
}
