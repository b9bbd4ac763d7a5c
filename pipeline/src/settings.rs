//! Settings: what was written in `redtap.toml`, in `REDTAP__SECTION__KEY` and in flags, turned into values that cannot
//! be wrong.
//!
//! Life cycle: [`Sources`] (where to look) -> [`load`] -> [`Loaded`] (the [`Settings`] and who said what), or one
//! [`SettingsError`] with everything that is wrong. Each source wins over the one before it: defaults, file,
//! environment, flags.
//!
//! Absent: setters, `validate`, options that are filled in later, reloading.

mod alarms;
mod client;
pub(crate) mod duration;
mod error;
mod http;
pub mod keys;
mod layers;
mod otlp;
mod read;
mod remote_write;
mod said;
mod show;
mod standard;
mod ui;

pub use alarms::AlarmSettings;
pub use error::{Problem, SettingsError};
pub use http::{HttpSettings, TokenError, TokenSource};
pub use otlp::OtlpSettings;
pub use remote_write::{MAX_SHARDS, RemoteWriteProtocol, RemoteWriteSettings};
pub use said::{Layers, Said, Tables, Written};

use crate::calls::exemplars::Offered;
use read::Reader;
use redtap_stages::converge::{Pattern, PatternError};
use redtap_stages::protocols::Protocol;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// First part of the names of our environment variables.
pub const PREFIX: &str = "REDTAP";
/// Entries that one kind of kernel-side filter takes.
pub const MAX_KERNEL_FILTERS: usize = 16;
/// Longest entry of a list, bytes.
pub const MAX_ENTRY: usize = 4_096;
/// Longest name of a process, bytes: what the kernel keeps.
pub const MAX_COMM: usize = 15;

/// Where to look.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file named by `--config`; it must be there.
    pub file: Option<PathBuf>,
    /// Files to look for when none is named; the first that is there counts.
    pub search: Vec<PathBuf>,
    /// The environment; what does not begin with `REDTAP__` is ignored.
    pub environment: Vec<(String, String)>,
    /// Flags, as key paths.
    pub flags: Vec<Flag>,
}

impl Sources {
    /// The usual places: `./redtap.toml`, then `/etc/redtap/redtap.toml`, and the environment of this process.
    #[must_use]
    pub fn usual(file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        Self {
            file,
            search: vec![PathBuf::from("redtap.toml"), PathBuf::from("/etc/redtap/redtap.toml")],
            environment: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
            flags,
        }
    }
}

/// A flag that stands for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The key's path.
    pub path: &'static str,
    /// What people typed, for messages.
    pub name: &'static str,
    /// The value, or the entries of a list.
    pub values: Vec<String>,
}

/// Which hooks to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RungChoice {
    /// The best that loads.
    Auto,
    /// Only `socket`.
    Socket,
    /// Only `syscall`.
    Syscall,
}

/// A process to select: by name or by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessChoice {
    /// As in `/proc/PID/comm`, at most [`MAX_COMM`] bytes.
    Name(String),
    /// Process id in the agent's pid namespace.
    Pid(u32),
}

/// What the kernel selects, or refuses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelSelection {
    /// Cgroup paths or ids; with everything below them.
    pub cgroups: Vec<String>,
    /// Inode numbers of pid namespaces, or paths to them.
    pub pidns: Vec<String>,
    /// Processes.
    pub processes: Vec<ProcessChoice>,
    /// Ports, at either end.
    pub ports: Vec<u16>,
}

/// Section `probe`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSettings {
    /// Which hooks.
    pub rung: RungChoice,
    /// Number of rings, 1 to 8.
    pub shards: usize,
    /// Bytes of a ring, a power of two.
    pub ring_bytes: usize,
    /// Captured bytes of a received turn: 0, or two to this power.
    pub ingress_class: u8,
    /// Captured bytes of a sent turn: 0, or two to this power.
    pub egress_class: u8,
    /// If a list here is not empty, a connection must match it.
    pub allow: KernelSelection,
    /// What matches here is not watched.
    pub deny: KernelSelection,
}

/// Which stages share a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadChoice {
    /// All of a shard on one thread.
    One,
    /// Decode to parse on one, pair to flush on another.
    Split,
}

/// What is reported, or not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReportSelection {
    /// Names of processes.
    pub processes: Vec<String>,
    /// Server ports.
    pub ports: Vec<u16>,
    /// Protocols.
    pub protocols: Vec<Protocol>,
    /// Globs on the target.
    pub routes: Vec<String>,
}

/// Section `filter`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilterSettings {
    /// If a list here is not empty, an exchange must match it.
    pub allow: ReportSelection,
    /// What matches here is not reported.
    pub deny: ReportSelection,
    /// Paths of health checks, not reported.
    pub health_checks: Vec<String>,
}

/// Section `converge`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvergeSettings {
    /// Route templates, in order.
    pub routes: Vec<Pattern>,
    /// Distinct values before a segment is a variable.
    pub learned_limit: usize,
    /// Last labels of a DNS name that are kept; 0: none.
    pub dns_labels: usize,
    /// Methods reported by name; empty: those of the standards.
    pub methods: Vec<String>,
}

/// A share of one processor's time, in steps of a ten-thousandth of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CpuShare {
    millionths: u32,
}

impl CpuShare {
    /// The least and the most that can be asked for: 0.1 % and 10000 %.
    pub const BOUNDS: (Self, Self) = (Self { millionths: 1_000 }, Self { millionths: 100_000_000 });

    /// 1.0 is the whole of one processor.
    #[must_use]
    pub fn share(self) -> f64 {
        f64::from(self.millionths) / 1e6
    }
}

/// Everything, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Section `probe`.
    pub probe: ProbeSettings,
    /// Section `http`.
    pub http: HttpSettings,
    /// `pipeline.threads`.
    pub threads: ThreadChoice,
    /// `pipeline.edge_batches`.
    pub edge_batches: usize,
    /// `match.timeout`.
    pub timeout: Duration,
    /// `match.dns_timeout`.
    pub dns_timeout: Duration,
    /// Section `filter`.
    pub filter: FilterSettings,
    /// Section `converge`.
    pub converge: ConvergeSettings,
    /// `series.per_service`.
    pub series_per_service: usize,
    /// `series.expiry`.
    pub series_expiry: Duration,
    /// `history.memory`, bytes.
    pub history_memory: usize,
    /// `history.path`; none: it is not saved.
    pub history_path: Option<PathBuf>,
    /// `calls.keep`.
    pub calls_keep: usize,
    /// `calls.exemplars`; none: off.
    pub calls_exemplars: Option<Offered>,
    /// `governor.cpu`; none: the agent uses what it needs.
    pub governor_cpu: Option<CpuShare>,
    /// `join.services`: process name to service name.
    pub services: BTreeMap<String, String>,
    /// Section `otlp`.
    pub otlp: OtlpSettings,
    /// Section `alarms`.
    pub alarms: AlarmSettings,
    /// Section `remote_write`; none: it is off.
    pub remote_write: Option<RemoteWriteSettings>,
    /// Section `ui`: the engine that reports come from; none: the agent's own history.
    pub fleet: Option<crate::fleet::FleetSettings>,
    /// `log.level`.
    pub log_level: tracing::level_filters::LevelFilter,
}

/// Settings, and who said what.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// What was written, for `redtap config`.
    pub layers: Layers,
}

impl Loaded {
    /// The effective configuration as TOML with origins.
    #[must_use]
    pub fn render(&self) -> String {
        show::render(&self.layers)
    }
}

/// Reads all sources.
///
/// # Errors
/// Everything that is wrong in any of them, at once.
pub fn load(sources: &Sources) -> Result<Loaded, SettingsError> {
    let mut problems = Vec::new();
    let layers = layers::gather(sources, &mut problems);
    let mut reader = Reader { layers: &layers, problems: &mut problems };
    let settings = read(&mut reader);
    otlp::check(&settings, &mut reader);
    if problems.is_empty() { Ok(Loaded { settings, layers }) } else { Err(SettingsError { problems }) }
}

fn read(reader: &mut Reader<'_>) -> Settings {
    let timeouts = Duration::from_millis(100)..=Duration::from_secs(3_600);
    Settings {
        probe: probe(reader),
        http: http::read(reader),
        threads: reader.word("pipeline.threads", ("one", ThreadChoice::One), &[("split", ThreadChoice::Split)]),
        edge_batches: reader.number("pipeline.edge_batches", 2..=1_024),
        timeout: reader.duration("match.timeout", timeouts.clone()),
        dns_timeout: reader.duration("match.dns_timeout", timeouts),
        filter: FilterSettings {
            allow: report(reader, "filter.allow"),
            deny: report(reader, "filter.deny"),
            health_checks: reader.entries("filter.health_checks", 64, target),
        },
        converge: ConvergeSettings {
            routes: reader.entries("converge.routes", 256, pattern),
            learned_limit: reader.number("converge.learned_limit", 2..=redtap_stages::limits::MAX_ROUTE_LEARNED),
            dns_labels: reader.number("converge.dns_labels", 0..=8),
            methods: reader.entries("converge.methods", 64, method),
        },
        series_per_service: reader.number("series.per_service", 10..=100_000),
        series_expiry: reader.duration("series.expiry", Duration::from_secs(10)..=Duration::from_secs(7 * 86_400)),
        history_memory: reader.bytes("history.memory", crate::history::MEMORY),
        history_path: reader.text("history.path").map(PathBuf::from),
        calls_keep: reader.number("calls.keep", 0..=100_000),
        calls_exemplars: reader.word(
            "calls.exemplars",
            ("all", Some(Offered::All)),
            &[("said", Some(Offered::Said)), ("off", None)],
        ),
        governor_cpu: reader.cpu_share("governor.cpu"),
        services: reader.table("join.services"),
        otlp: otlp::read(reader),
        alarms: alarms::read(reader),
        remote_write: remote_write::remote_write(reader),
        fleet: ui::read(reader),
        log_level: log_level(reader),
    }
}

fn probe(reader: &mut Reader<'_>) -> ProbeSettings {
    let rungs = [("socket", RungChoice::Socket), ("syscall", RungChoice::Syscall)];
    ProbeSettings {
        rung: reader.word("probe.rung", ("auto", RungChoice::Auto), &rungs),
        shards: reader.number("probe.shards", 1..=redtap_stages::abi::MAX_SHARDS),
        ring_bytes: reader.power_of_two("probe.ring_bytes", 4_096..=1 << 30, false),
        ingress_class: class(reader.power_of_two("probe.ingress_budget", 2..=65_536, true)),
        egress_class: class(reader.power_of_two("probe.egress_budget", 2..=65_536, true)),
        allow: selection(reader, "probe.allow"),
        deny: selection(reader, "probe.deny"),
    }
}

/// The power of a power of two; 0 for 0.
fn class(bytes: usize) -> u8 {
    bytes.checked_ilog2().and_then(|power| u8::try_from(power).ok()).unwrap_or(0)
}

fn selection(reader: &mut Reader<'_>, section: &str) -> KernelSelection {
    let most = MAX_KERNEL_FILTERS;
    KernelSelection {
        cgroups: reader.entries(&format!("{section}.cgroup"), most, |text| {
            let number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if number || text.starts_with('/') {
                entry(text)
            } else {
                Err((
                    "is neither a path nor an id",
                    "write an absolute path such as /sys/fs/cgroup/app.slice, or a number",
                ))
            }
        }),
        pidns: reader.entries(&format!("{section}.pidns"), most, |text| match text.parse::<u32>() {
            Ok(_) => entry(text),
            Err(_) if text.starts_with('/') => entry(text),
            Err(_) => Err(("is neither an inode number nor a path", "write one such as 4026531836 or /proc/1/ns/pid")),
        }),
        processes: reader.entries(&format!("{section}.process"), most, process),
        ports: reader.entries(&format!("{section}.port"), most, port),
    }
}

fn report(reader: &mut Reader<'_>, section: &str) -> ReportSelection {
    ReportSelection {
        processes: reader.entries(&format!("{section}.process"), 64, |text| match process(text)? {
            ProcessChoice::Name(name) => Ok(name),
            ProcessChoice::Pid(pid) => Ok(pid.to_string()),
        }),
        ports: reader.entries(&format!("{section}.port"), 64, port),
        protocols: reader.entries(&format!("{section}.protocol"), 8, |text| {
            let found = Protocol::ALL.iter().copied().find(|protocol| protocol.name() == text);
            found.ok_or((
                "is not a protocol known here",
                "write http, http2, grpc, redis, dns, mysql, postgresql or kafka",
            ))
        }),
        routes: reader.entries(&format!("{section}.route"), 64, target),
    }
}

type Turned<T> = Result<T, (&'static str, &'static str)>;

fn entry(text: &str) -> Turned<String> {
    match text.len() {
        0 => Err(("is empty", "write a value or remove the entry")),
        1..=MAX_ENTRY => Ok(text.to_owned()),
        _ => Err(("is too long", "at most 4096 bytes fit")),
    }
}

fn process(text: &str) -> Turned<ProcessChoice> {
    if let Ok(pid) = text.parse::<u32>() {
        return if pid > 0 { Ok(ProcessChoice::Pid(pid)) } else { Err(("is not a process id", "write one from 1 up")) };
    }
    match text.len() {
        0 => Err(("is empty", "write a process name or remove the entry")),
        1..=MAX_COMM => Ok(ProcessChoice::Name(text.to_owned())),
        _ => Err(("is longer than the kernel keeps", "write the first 15 bytes, as /proc/PID/comm shows them")),
    }
}

fn port(text: &str) -> Turned<u16> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(("is not a port", "write a number from 1 to 65535")),
    }
}

fn target(text: &str) -> Turned<String> {
    let text = entry(text)?;
    if text.starts_with('/') || text.starts_with('*') {
        Ok(text)
    } else {
        Err(("is not a path", "begin it with / (or with * in a glob)"))
    }
}

fn pattern(text: &str) -> Turned<Pattern> {
    text.parse().map_err(|error| match error {
        PatternError::NoSlash => ("is not a path", "begin it with /"),
        PatternError::TooLong => ("is too long", "at most 256 bytes fit"),
        PatternError::OpenInside => ("has ** inside", "write ** as the last segment only"),
        PatternError::Braces => {
            ("has braces inside a segment", "write {name} for a whole segment, such as /users/{id}")
        }
    })
}

fn method(text: &str) -> Turned<String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !text.is_empty() && text.len() <= 32 && text.bytes().all(token) {
        Ok(text.to_owned())
    } else {
        Err(("is not a method", "write one such as PROPFIND"))
    }
}

fn log_level(reader: &mut Reader<'_>) -> tracing::level_filters::LevelFilter {
    use tracing::level_filters::LevelFilter as Level;
    let rest = [
        ("off", Level::OFF),
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    reader.word("log.level", ("info", Level::INFO), &rest)
}
