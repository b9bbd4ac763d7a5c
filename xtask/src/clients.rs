//! What the end-to-end tests run that no Debian package brings ready made: `e2e/clients/`, built into `target/e2e-clients/`.
//!
//! Each kit is built once, with the versions that its own files pin, by the ordinary client of its registry; again only when
//! one of its files has changed. A kit that cannot be built is told about and left out: the tests that need it say so, and
//! fail in CI.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

struct Kit {
    /// Of its folder in `target/e2e-clients/`.
    name: &'static str,
    /// What it is made of, in `e2e/clients/`: a folder or a file.
    source: &'static str,
    build: fn(source: &Path, target: &Path) -> Result<()>,
}

const KITS: &[Kit] = &[
    Kit { name: "grpc-rust", source: "grpc-rust", build: grpc_rust },
    Kit { name: "grpc-go", source: "grpc-go", build: grpc_go },
    Kit { name: "kafka", source: "kafka", build: kafka },
    Kit { name: "prometheus", source: "prometheus.txt", build: prometheus },
    Kit { name: "otel-collector", source: "otel-collector", build: otel_collector },
    Kit { name: "python", source: "requirements.txt", build: python },
    Kit { name: "remote-write-sender", source: "remote-write-sender", build: remote_write_sender },
    Kit { name: "sql-go", source: "sql-go", build: sql_go },
    Kit { name: "sql-java", source: "sql-java", build: sql_java },
    Kit { name: "sql-node", source: "sql-node/package-lock.json", build: node },
    Kit { name: "sql-php", source: "sql-php", build: sql_php },
    Kit { name: "sql-python", source: "sql-python/requirements.txt", build: python },
    Kit { name: "victoria-metrics", source: "victoria-metrics.txt", build: victoria_metrics },
    Kit { name: "ui", source: "ui/package-lock.json", build: node },
];

/// Builds what is missing, all at once: each mostly waits for its registry.
pub(crate) fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().context("no repository")?;
    let target = root.join("target/e2e-clients");
    std::fs::create_dir_all(&target)?;
    std::thread::scope(|scope| {
        for kit in KITS {
            let (source, target) = (root.join("e2e/clients").join(kit.source), target.join(kit.name));
            scope.spawn(move || {
                if let Err(error) = ready(kit, &source, &target) {
                    eprintln!("not built: e2e/clients/{}: {error:#} (the tests that need it will say so)", kit.source);
                }
            });
        }
    });
    Ok(())
}

/// Builds a kit unless it is built of the same files. `NAME.done` holds what they said then, and is younger than they are.
fn ready(kit: &Kit, source: &Path, target: &Path) -> Result<()> {
    let done = target.with_extension("done");
    let now = fingerprint(source)?;
    if std::fs::read_to_string(&done).is_ok_and(|then| then == now) {
        return Ok(std::fs::write(&done, now)?);
    }
    println!("building e2e/clients/{}", kit.source);
    if done.exists() {
        std::fs::remove_file(&done)?;
    }
    std::fs::create_dir_all(target)?;
    (kit.build)(source, target)?;
    Ok(std::fs::write(&done, now)?)
}

/// Names and contents of all files.
fn fingerprint(source: &Path) -> Result<String> {
    let mut text = String::new();
    let mut folders = vec![source.to_path_buf()];
    while let Some(path) = folders.pop() {
        if path.is_dir() {
            let mut inside: Vec<PathBuf> =
                std::fs::read_dir(&path)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
            inside.sort();
            // Where a build by hand leaves what it made.
            inside.retain(|path| !path.ends_with("target"));
            folders.extend(inside);
        } else {
            let content = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            text += &format!("{}\n{content}\n", path.display());
        }
    }
    Ok(text)
}

fn grpc_rust(source: &Path, target: &Path) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--locked", "--target-dir"]).arg(target).current_dir(source);
    call(&mut cargo)
}

fn grpc_go(source: &Path, target: &Path) -> Result<()> {
    let server = target.join("grpc-go-server");
    let mut go = Command::new("go");
    go.args(["build", "-mod=readonly", "-o"]).arg(&server).arg(".").current_dir(source);
    call(go.env("CGO_ENABLED", "0").env("GOFLAGS", "").env("GOTOOLCHAIN", "local"))?;
    // A name for each role, so that each is a service of its own.
    for name in ["grpc-go-client", "go-web"] {
        std::fs::copy(&server, target.join(name))?;
    }
    Ok(())
}

fn kafka(source: &Path, target: &Path) -> Result<()> {
    let (lib, classes) = (target.join("lib"), target.join("classes"));
    let output = format!("-DoutputDirectory={}", lib.display());
    let mut maven = Command::new("mvn");
    call(maven.args(["-B", "-q", "dependency:copy-dependencies", &output]).current_dir(source))?;
    let mut javac = Command::new("javac");
    javac.arg("-d").arg(&classes).arg("-cp").arg(lib.join("*"));
    call(javac.args(["BrokerCounts.java", "KafkaClient.java"]).current_dir(source))?;
    let manifest = target.join("manifest");
    std::fs::write(&manifest, "Premain-Class: BrokerCounts\n")?;
    let mut jar = Command::new("jar");
    call(jar.arg("cfm").arg(target.join("counts.jar")).arg(manifest).arg("-C").arg(classes).arg("BrokerCounts.class"))
}

fn otel_collector(source: &Path, target: &Path) -> Result<()> {
    let mut go = Command::new("go");
    go.args(["build", "-mod=readonly", "-o"]).arg(target.join("otel-collector")).arg(".").current_dir(source);
    call(go.env("CGO_ENABLED", "0").env("GOFLAGS", "").env("GOTOOLCHAIN", "local"))
}

/// A suite of tests, as a program.
fn remote_write_sender(source: &Path, target: &Path) -> Result<()> {
    let mut go = Command::new("go");
    go.args(["test", "-c", "-mod=readonly", "-o"]).arg(target.join("remote-write-sender")).arg(".").current_dir(source);
    call(go.env("CGO_ENABLED", "0").env("GOFLAGS", "").env("GOTOOLCHAIN", "local"))
}

/// The clients, and the service of the chain that uses one of the drivers.
fn sql_go(source: &Path, target: &Path) -> Result<()> {
    for (name, package) in [("sql", "."), ("chain-go", "./chain")] {
        let mut go = Command::new("go");
        go.args(["build", "-mod=readonly", "-o"]).arg(target.join(name)).arg(package).current_dir(source);
        call(go.env("CGO_ENABLED", "0").env("GOFLAGS", "").env("GOTOOLCHAIN", "local"))?;
    }
    Ok(())
}

/// Server and promtool. Service discovery is left out: it needs modules that are not to be had, and half of the build.
fn prometheus(source: &Path, target: &Path) -> Result<()> {
    let programs = [("prometheus", "./cmd/prometheus"), ("promtool", "./cmd/promtool")];
    go_module(source, target, &["-tags", "remove_all_sd"], &programs)
}

fn victoria_metrics(source: &Path, target: &Path) -> Result<()> {
    go_module(source, target, &[], &[("victoria-metrics", "./app/victoria-metrics")])
}

/// Builds programs of a module (`source`: its path and version), which must be built in place: a copy of it that is removed
/// afterwards.
fn go_module(source: &Path, target: &Path, flags: &[&str], programs: &[(&str, &str)]) -> Result<()> {
    let text = std::fs::read_to_string(source)?;
    let (module, version) = text.trim().split_once(' ').context("a path and a version are wanted")?;
    let mut download = Command::new("go");
    download.args(["mod", "download", "-json", &format!("{module}@{version}")]).current_dir(target);
    let output = download.env("GOFLAGS", "").env("GOTOOLCHAIN", "local").output().context("cannot run go")?;
    let answer = String::from_utf8_lossy(&output.stdout);
    // Go's own JSON: one member a line.
    let folder = answer.lines().find_map(|line| line.trim().strip_prefix("\"Dir\": \"")?.split('"').next());
    let folder = folder.with_context(|| format!("go mod download failed:\n{answer}"))?;
    let copy = target.join("source");
    if copy.exists() {
        std::fs::remove_dir_all(&copy)?;
    }
    call(Command::new("cp").args(["--recursive", "--no-preserve=mode", folder]).arg(&copy))?;
    for (name, package) in programs {
        let mut go = Command::new("go");
        go.args(["build", "-mod=mod"]).args(flags).arg("-o").arg(target.join(name)).arg(package).current_dir(&copy);
        go.env("CGO_ENABLED", "0").env("GOFLAGS", "").env("GOTOOLCHAIN", "local").env("GOWORK", "off");
        call(&mut go)?;
    }
    Ok(std::fs::remove_dir_all(&copy)?)
}

fn sql_java(source: &Path, target: &Path) -> Result<()> {
    let lib = target.join("lib");
    let output = format!("-DoutputDirectory={}", lib.display());
    let mut maven = Command::new("mvn");
    call(maven.args(["-B", "-q", "dependency:copy-dependencies", &output]).current_dir(source))?;
    let mut javac = Command::new("javac");
    javac.arg("-d").arg(target.join("classes")).arg("-cp").arg(lib.join("*")).arg("Sql.java");
    call(javac.current_dir(source))
}

/// Nothing to build, but its drivers are extensions that may be missing.
fn sql_php(_: &Path, _: &Path) -> Result<()> {
    let check = "foreach (['mysqli', 'pdo_mysql', 'pdo_pgsql'] as $name) \
                 if (!extension_loaded($name)) { echo \"no $name\"; exit(1); }";
    call(Command::new("php").args(["-r", check]))
}

/// `source` is the lock file; the file of its package lies beside it.
fn node(source: &Path, target: &Path) -> Result<()> {
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(source.with_file_name(name), target.join(name))?;
    }
    call(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(target))
}

fn python(source: &Path, target: &Path) -> Result<()> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--upgrade", "--target"]).arg(target);
    call(pip.arg("--requirement").arg(source).env("PIP_ROOT_USER_ACTION", "ignore"))
}

fn call(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
