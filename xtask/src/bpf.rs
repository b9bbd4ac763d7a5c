//! `cargo xtask bpf [--check]`: builds the kernel programs and commits nothing.
//!
//! Objects go to `kernel/prebuilt/`, one a program file and processor, and that of the kernel tests' own producer beside
//! these tests. With `--check` they are built to a temporary
//! directory instead and compared byte for byte, so that CI notices an object that does not belong to its source.
//! The build sees relative paths only; the same clang gives the same bytes wherever the tree lies.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

const CLANG: &str = "clang-19";
const STRIP: &str = "llvm-strip-19";
const PROGRAMS: [&str; 2] = ["socket", "syscall"];
/// Name in the object's file name, name in the programs.
const TARGETS: [(&str, &str); 2] = [("x86_64", "x86"), ("aarch64", "arm64")];
/// Of no processor in particular, and where its object lies.
const TEST_PROGRAM: (&str, &str) = ("ringtest", "tests/ring_live/ringtest.o");

/// Builds all objects, or, when `check` is set, fails if one differs from what is committed.
pub(crate) fn run(check: bool) -> Result<()> {
    let kernel = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel").canonicalize()?;
    let scratch = std::env::temp_dir().join(format!("redtap-bpf-{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    let mut stale = Vec::new();
    for (program, arch, committed) in objects() {
        let built = build(&kernel.join("bpf"), program, arch, &scratch.join("built.o"))?;
        let committed = kernel.join(committed);
        let bytes = std::fs::read(&built)?;
        if !check {
            std::fs::write(&committed, bytes)?;
        } else if std::fs::read(&committed).ok() != Some(bytes) {
            stale.push(committed.display().to_string());
        }
    }
    std::fs::remove_dir_all(&scratch)?;
    ensure!(stale.is_empty(), "not built from this source: {}; run `cargo xtask bpf` and commit", stale.join(", "));
    Ok(())
}

/// Program, processor and place of each object.
fn objects() -> impl Iterator<Item = (&'static str, Option<&'static str>, String)> {
    let probes = PROGRAMS.iter().flat_map(|program| {
        TARGETS.iter().map(move |(suffix, arch)| (*program, Some(*arch), format!("prebuilt/{program}.{suffix}.o")))
    });
    let (program, place) = TEST_PROGRAM;
    probes.chain([(program, None, place.to_owned())])
}

fn build(source: &Path, program: &str, arch: Option<&str>, object: &Path) -> Result<PathBuf> {
    let mut clang = Command::new(CLANG);
    clang
        .current_dir(source)
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-fdebug-compilation-dir=."])
        .args(["-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-Wno-unused-const-variable"])
        .args(arch.map(|arch| format!("-D__TARGET_ARCH_{arch}")))
        .args(["-c", &format!("{program}.bpf.c"), "-o"])
        .arg(object);
    finish(&mut clang, CLANG)?;
    finish(Command::new(STRIP).arg("-g").arg(object), STRIP)?;
    Ok(object.to_path_buf())
}

fn finish(command: &mut Command, name: &str) -> Result<()> {
    let status =
        command.status().with_context(|| format!("{name} cannot be run; on Debian: apt install clang-19 llvm-19"))?;
    if !status.success() {
        bail!("{name} failed: {status}");
    }
    Ok(())
}
