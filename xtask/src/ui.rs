//! The pages of the web UI: `pipeline/ui/src` becomes `pipeline/ui/dist`, which is committed, so that building redtap needs no
//! Node. The versions of everything that takes part are pinned in `package-lock.json`, and the same source gives the same bytes.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The most that a browser loads for all pages, compressed, bytes.
const MAX_COMPRESSED: u64 = 250_000;

/// Builds the pages in place; or, to `check`, tests their source, builds them elsewhere and compares.
pub(crate) fn run(check: bool) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().context("no repository")?;
    let ui = root.join("pipeline/ui");
    let committed = ui.join("dist");
    install(&ui)?;
    npm(&ui, &["run", "--silent", "check"])?;
    if !check {
        build(&ui, &committed)?;
        println!("{} bytes compressed", compressed(&committed)?);
        return Ok(());
    }
    npm(&ui, &["run", "--silent", "test"])?;
    let built = root.join("target/ui-dist");
    build(&ui, &built)?;
    let (now, then) = (files(&built)?, files(&committed)?);
    for name in now.keys().chain(then.keys()) {
        ensure!(
            now.get(name) == then.get(name),
            "pipeline/ui/dist/{name} is not what its source says: run `cargo xtask ui` and commit what it makes"
        );
    }
    let size = compressed(&committed)?;
    ensure!(size < MAX_COMPRESSED, "the pages have {size} bytes compressed, {MAX_COMPRESSED} is the most");
    println!("{} files are what their source says, {size} bytes compressed", then.len());
    Ok(())
}

/// Installs what the build needs, unless it is there: npm leaves a copy of what it installed.
fn install(ui: &Path) -> Result<()> {
    let done = ui.join("node_modules/.redtap-lock");
    let lock = std::fs::read_to_string(ui.join("package-lock.json")).context("cannot read package-lock.json")?;
    if std::fs::read_to_string(&done).is_ok_and(|then| then == lock) {
        return Ok(());
    }
    npm(ui, &["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"])?;
    Ok(std::fs::write(done, lock)?)
}

fn build(ui: &Path, target: &Path) -> Result<()> {
    let target = target.to_str().context("a path that is not text")?;
    npm(ui, &["run", "--silent", "build", "--", "--outDir", target, "--emptyOutDir", "--logLevel", "warn"])
}

fn npm(ui: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new("npm").args(arguments).current_dir(ui).output().context("cannot run npm")?;
    ensure!(
        output.status.success(),
        "npm {} failed:\n{}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// All files of a folder, by path within it.
fn files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(inside) = folders.pop() {
        for entry in std::fs::read_dir(&inside).with_context(|| format!("cannot read {}", inside.display()))? {
            let path: PathBuf = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder)?.to_string_lossy().into_owned();
            found.insert(name, std::fs::read(&path)?);
        }
    }
    Ok(found)
}

/// Bytes of all files as gzip(1) compresses them.
fn compressed(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for name in files(folder)?.keys() {
        let output = Command::new("gzip").arg("-9c").arg(folder.join(name)).output().context("cannot run gzip")?;
        ensure!(output.status.success(), "gzip failed on {name}");
        sum += u64::try_from(output.stdout.len())?;
    }
    Ok(sum)
}
