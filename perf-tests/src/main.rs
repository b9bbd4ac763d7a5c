//! The command line of the harness: [`redtap_perf`] does the work.

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use redtap_e2e::stopwatch::now;
use redtap_perf::agent::Column;
use redtap_perf::case::Case;
use redtap_perf::pin::{Cpus, Pinning};
use redtap_perf::report::{Machine, Report, SCHEMA, Setup, table};
use redtap_perf::run::Options;
use redtap_perf::{churn, generator, run, server, surface};
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

/// Descriptors of a server or a generator besides its connections.
const SPARE: u64 = 1_024;

/// What an agent costs the application it watches.
#[derive(Debug, Parser)]
#[command(name = "redtap-perf")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs cases (all of them without a name) and writes a report. Needs root and cgroup v2.
    Run(RunArgs),
    /// Names the cases and what they claim.
    List {
        /// Folder of cases.
        #[arg(long)]
        cases: Option<PathBuf>,
    },
    /// Checks a report.json, prints it, and writes report.md and the plots beside it.
    Report {
        /// The report.
        file: PathBuf,
    },
    /// What the ways out cost, each on and off and all of them stuck: prints a table. Needs root and cgroup v2.
    Surface {
        /// Rounds.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
        /// Seconds of load a column.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=60))]
        seconds: u32,
        /// Requests a second.
        #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(10..=20_000))]
        rate: u32,
        /// Starts with nothing on, and as many with all on.
        #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=100))]
        starts: u32,
    },
    /// Generates load: the harness's own tool.
    #[command(hide = true)]
    Generate {
        /// What to do, as JSON.
        order: String,
    },
    /// Serves: the harness's own servers.
    #[command(hide = true)]
    Serve {
        /// http or grpc.
        kind: String,
        /// Where.
        port: u16,
        /// Where it tells how many requests there were.
        counts: u16,
    },
    /// Runs processes that make one request each.
    #[command(hide = true)]
    Churn {
        /// Whom they ask.
        port: u16,
        /// How many.
        processes: u32,
        /// How many at once.
        at_once: u32,
    },
    /// Makes one request.
    #[command(hide = true)]
    Ask {
        /// Whom.
        port: u16,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Names of cases; `list` tells them.
    only: Vec<String>,
    /// Who watches, a column each: redtap, redtap:socket, redtap:syscall (these without a budget of processor time),
    /// redtap:default (as it is shipped, with the governor), or a command line with {pid}, {port}, {cgroup}.
    #[arg(long = "agent", default_values_t = [Column::Redtap(None)])]
    agents: Vec<Column>,
    /// Rounds a column.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds at saturation a round.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Seconds at the fixed rate a round.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=60))]
    steady_seconds: u32,
    /// Seconds of a case about memory, instead of what it says (3600 for an hour).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    soak: Option<u32>,
    /// Shows in under 3 minutes that everything works: one round of a second, one way of seeing. Its times mean nothing.
    #[arg(long)]
    quick: bool,
    /// Of what is random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Processors of the server, as taskset writes them; by default 0 where there are two or more.
    #[arg(long)]
    server_cpus: Option<Cpus>,
    /// Processors of the load; by default 1 where there are two or more.
    #[arg(long)]
    load_cpus: Option<Cpus>,
    /// Where the report goes.
    #[arg(long, default_value = "target/perf")]
    out: PathBuf,
    /// Folder of cases.
    #[arg(long)]
    cases: Option<PathBuf>,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Run(args) => run_cases(args),
        Command::List { cases } => list(&cases_folder(cases)),
        Command::Report { file } => show(&file),
        Command::Surface { rounds, seconds, rate, starts } => {
            surface::run(surface::Plan { rounds, seconds, rate, starts })
        }
        Command::Generate { order } => {
            let outcome = generator::generate(&serde_json::from_str(&order)?)?;
            println!("{}", serde_json::to_string(&outcome)?);
            Ok(())
        }
        Command::Serve { kind, port, counts } => match kind.as_str() {
            "http" | "grpc" => server::own::serve(kind == "grpc", port, counts),
            other => bail!("no server {other:?}"),
        },
        Command::Churn { port, processes, at_once } => {
            println!("{}", churn::churn(port, processes, at_once)?);
            Ok(())
        }
        Command::Ask { port } => churn::ask(port),
    }
}

fn cases_folder(asked: Option<PathBuf>) -> PathBuf {
    asked.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("cases"))
}

fn list(folder: &Path) -> Result<()> {
    for case in Case::all(folder, &[])? {
        println!("{:22} {}\n{:22} {}", case.name, case.plan.title, "", case.claim);
    }
    Ok(())
}

fn show(file: &Path) -> Result<()> {
    let report = Report::read(file)?;
    print!("{}", table::render(&report));
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    report.write_shown(folder)?;
    println!("\nreport.md and plots are in {}", folder.display());
    Ok(())
}

fn run_cases(args: RunArgs) -> Result<()> {
    let cases = Case::all(&cases_folder(args.cases.clone()), &args.only)?;
    let needs: Vec<&str> = cases.iter().flat_map(|case| case.plan.needs()).chain(["taskset"]).collect();
    if !redtap_e2e::can_run(&needs) {
        return Ok(());
    }
    let binary = redtap_e2e::agent::binary();
    ensure!(binary.is_file(), "no {}: run `cargo build --release` first, or set REDTAP_BIN", binary.display());
    raise_descriptors(&cases)?;
    let options = options(&args)?;
    let mut report =
        Report { schema: SCHEMA, machine: machine(), setup: setup(&args, &options, &binary)?, cases: Vec::new() };
    let began = now();
    let mut broken = Vec::new();
    for case in &cases {
        match run::run(case, &options, &|what| progress(began, what)) {
            Ok(done) => report.cases.push(done),
            // The others still tell something.
            Err(error) => broken.push(format!("{}: {error:#}", case.name)),
        }
        end_progress();
    }
    report.machine.load_after = load_average();
    report.write(&args.out)?;
    let written = Report::read(&args.out.join("report.json"))?;
    print!("{}", table::render(&written));
    println!("\n{} s; report.json, report.md and plots are in {}", (now() - began) / 1_000_000_000, args.out.display());
    let faults = written.faults();
    ensure!(broken.is_empty() && faults.is_empty(), "not as it must be:\n  {}", [broken, faults].concat().join("\n  "));
    Ok(())
}

fn options(args: &RunArgs) -> Result<Options> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let usual = Pinning::usual(processors)?;
    let pinning =
        Pinning { server: args.server_cpus.clone().or(usual.server), load: args.load_cpus.clone().or(usual.load) };
    let mut columns = vec![Column::None];
    columns.extend(args.agents.iter().filter(|column| **column != Column::None).cloned());
    let usual = Options {
        columns,
        rounds: args.rounds,
        seconds: args.seconds,
        steady_seconds: args.steady_seconds,
        warm_seconds: 1,
        bystander_ms: 500,
        soak: args.soak,
        quick: args.quick,
        seed: args.seed,
        pinning,
    };
    Ok(if args.quick {
        Options { rounds: 1, seconds: 1, steady_seconds: 1, warm_seconds: 0, bystander_ms: 50, ..usual }
    } else {
        usual
    })
}

fn setup(args: &RunArgs, options: &Options, binary: &Path) -> Result<Setup> {
    let version = std::process::Command::new(binary).arg("--version").output();
    let version = version.with_context(|| format!("cannot run {}", binary.display()))?;
    let cpus = |cpus: &Option<Cpus>| cpus.as_ref().map(ToString::to_string).unwrap_or_default();
    let redtaps = options.columns.iter().filter(|column| column.is_redtap());
    Ok(Setup {
        quick: args.quick,
        rounds: options.rounds,
        seconds: options.seconds,
        steady_seconds: options.steady_seconds,
        warm_seconds: options.warm_seconds,
        seed: options.seed,
        server_cpus: cpus(&options.pinning.server),
        load_cpus: cpus(&options.pinning.load),
        redtap: String::from_utf8_lossy(&version.stdout).trim().to_owned(),
        arguments: redtaps.map(|column| (column.to_string(), column.arguments(false))).collect(),
    })
}

fn machine() -> Machine {
    let field = |file: &str, key: &str| {
        let text = read(file);
        let line = text.lines().find(|line| line.starts_with(key)).map(str::to_owned);
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned())).unwrap_or_default()
    };
    let memory = field("/proc/meminfo", "MemTotal");
    Machine {
        kernel: read("/proc/sys/kernel/osrelease"),
        processor: field("/proc/cpuinfo", "model name"),
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        memory_mib: memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1_024,
        load_before: load_average(),
        load_after: String::new(),
    }
}

/// The three means; what follows them is about processes.
fn load_average() -> String {
    read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

/// Lets this process and its children have as many descriptors open as cases need, or as the machine allows.
///
/// # Errors
/// When a case needs more than may be had.
fn raise_descriptors(cases: &[Case]) -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = u64::from(cases.iter().map(|case| case.plan.connections()).max().unwrap_or(0)) + SPARE;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    // Only a privileged process may have more than the maximum.
    let raised = Rlimit { current: Some(needed), maximum: maximum.map(|maximum| maximum.max(needed)) };
    setrlimit(Resource::Nofile, raised).with_context(|| {
        let most = maximum.unwrap_or(u64::MAX);
        format!("a case needs {needed} descriptors and at most {most} may be open: raise `ulimit -Hn`")
    })
}

/// One line that is written over, or a line each where nobody looks on.
fn progress(began: u64, what: &str) {
    let seconds = (now() - began) / 1_000_000_000;
    let mut out = std::io::stderr();
    let line = format!("{seconds:5} s  {what}");
    // A progress line that cannot be written is no reason to stop.
    drop(if out.is_terminal() { write!(out, "\r{line:110.110}") } else { writeln!(out, "{line}") });
}

fn end_progress() {
    if std::io::stderr().is_terminal() {
        eprint!("\r{:110}\r", "");
    }
}
