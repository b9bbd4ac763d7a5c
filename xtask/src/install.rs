//! What the tests need besides Rust: real servers, clients and load tools, and the compiler of the kernel programs, all from
//! Debian's packages.

use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Command;

/// A program that is looked for, and the Debian package that brings it.
const NEEDED: &[(&str, &str)] = &[
    ("clang-19", "clang-19"),
    ("llvm-strip-19", "llvm-19"),
    ("bpftool", "bpftool"),
    ("nginx", "nginx-light"),
    ("redis-server", "redis-server"),
    ("redis-benchmark", "redis-tools"),
    ("dnsmasq", "dnsmasq-base"),
    ("dig", "bind9-dnsutils"),
    ("wrk", "wrk"),
    ("curl", "curl"),
    ("mariadbd", "mariadb-server"),
    ("mariadb", "mariadb-client"),
    ("postgres", "postgresql"),
    ("psql", "postgresql-client"),
    // In the server's package, not the client's.
    ("pgbench", "postgresql"),
    ("sysbench", "sysbench"),
    ("dnsperf", "dnsperf"),
    ("h2load", "nghttp2-client"),
    ("nghttp", "nghttp2-client"),
    // Programs and modules; the package named apache2 would also start it.
    ("apache2", "apache2-bin"),
    ("kcat", "kcat"),
    ("php", "php-cli"),
    ("python3", "python3"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("chromium", "chromium"),
    ("go", "golang-go"),
    // The compiler, which a run-time environment alone does not bring.
    ("javac", "default-jdk-headless"),
    ("mvn", "maven"),
    ("pip3", "python3-pip"),
    ("ip", "iproute2"),
    ("setpriv", "util-linux"),
    ("fsfreeze", "util-linux"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
    ("taskset", "util-linux"),
    ("cc", "gcc"),
    ("valgrind", "valgrind"),
    // Brings promtool as well.
    ("prometheus", "prometheus"),
    ("prometheus-alertmanager", "prometheus-alertmanager"),
    // The program alone: the other package would also start it.
    ("tinyproxy", "tinyproxy-bin"),
    ("tmux", "tmux"),
    ("man", "man-db"),
];

/// Files that no program stands for. What a package of PHP's extensions brings has the version in its path; its list of
/// files has not.
const FILES: &[(&str, &str)] = &[
    ("/usr/include/bpf/bpf_helpers.h", "libbpf-dev"),
    ("/var/lib/dpkg/info/php-mysql.list", "php-mysql"),
    ("/var/lib/dpkg/info/php-pgsql.list", "php-pgsql"),
];

/// Keeps package scripts from starting the servers that they install (Debian policy: invoke-rc.d asks this file).
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing when root, otherwise says what is missing and goes on; then builds the clients that no package
/// brings, and what counts instructions.
pub(crate) fn run() -> Result<()> {
    packages()?;
    crate::instructions::install();
    crate::clients::run()
}

fn packages() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root()? {
        eprintln!(
            "not installed, and only root can install: {} (the tests that need them will say so)",
            missing.join(" ")
        );
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    let policy = PolicyFile::write()?;
    apt(&["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(missing);
    let installed = apt(&arguments);
    drop(policy);
    installed
}

fn missing() -> Vec<&'static str> {
    let programs = NEEDED.iter().filter(|(program, _)| !on_path(program)).map(|(_, package)| *package);
    let files = FILES.iter().filter(|(file, _)| !Path::new(file).exists()).map(|(_, package)| *package);
    programs.chain(files).collect()
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers in sbin, which a user's PATH may not name, and PostgreSQL's in a folder for each version.
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .chain(versions.map(|version| version.path().join("bin")))
        .any(|folder| folder.join(program).is_file())
}

fn is_root() -> Result<bool> {
    let output = Command::new("id").arg("-u").output().context("cannot run id(1)")?;
    Ok(output.stdout.trim_ascii() == b"0")
}

fn apt(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .context("cannot run apt-get: install the packages above by hand")?;
    ensure!(status.success(), "apt-get {} failed", arguments.join(" "));
    Ok(())
}

/// The policy file, where there was none; gone again when dropped.
struct PolicyFile(bool);

impl PolicyFile {
    fn write() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self(false));
        }
        std::fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("cannot write {POLICY}"))?;
        let status = Command::new("chmod").args(["+x", POLICY]).status()?;
        ensure!(status.success(), "cannot make {POLICY} executable");
        Ok(Self(true))
    }
}

impl Drop for PolicyFile {
    fn drop(&mut self) {
        if self.0
            && let Err(error) = std::fs::remove_file(POLICY)
        {
            eprintln!("cannot remove {POLICY}: {error}");
        }
    }
}
