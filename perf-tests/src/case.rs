//! A case: a folder with a `README.md` (the claim) and a `case.toml` (server, load, limits, expected bounds).
//!
//! All that is wrong with a file is told at once, each with the key and what to do. Absent: running it (`run`).

use crate::measure::Measure;
use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A case that can be run.
#[derive(Debug, Clone)]
pub struct Case {
    /// Name of its folder.
    pub name: String,
    /// First paragraph of its README below the heading.
    pub claim: String,
    /// What its `case.toml` says.
    pub plan: CasePlan,
}

/// `case.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CasePlan {
    /// A line for tables.
    pub title: String,
    /// From which ends the traffic is seen, each a run of its own.
    #[serde(default = "both_ends")]
    pub ends: Vec<Ends>,
    /// Who answers.
    pub server: ServerPlan,
    /// Load at saturation; without it the server is left alone.
    pub load: Option<LoadPlan>,
    /// Load at a constant rate, for latencies.
    pub steady: Option<SteadyPlan>,
    /// Traffic of others on the same host: the server above and its load are then outside of the watched cgroup, and this is
    /// inside.
    pub beside: Option<BesidePlan>,
    /// redtap runs as it is shipped, with its governor, in every column.
    #[serde(default)]
    pub governor: bool,
    /// Seconds of load in each round that are not measured, instead of the usual: 1 to 120.
    pub warm_seconds: Option<u32>,
    /// Milliseconds of the uninvolved process a round, instead of the usual.
    pub bystander_ms: Option<u64>,
    /// Memory over time instead of rounds.
    pub memory: Option<MemoryPlan>,
    /// What is expected, told in the report as met or not.
    #[serde(default, rename = "bound")]
    pub bounds: Vec<Bound>,
}

fn both_ends() -> Vec<Ends> {
    vec![Ends::Both, Ends::Server]
}

/// Which ends of a request the agent sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ends {
    /// Server and load are in the watched cgroup.
    Both,
    /// The load is outside of it.
    Server,
    /// Neither is: nothing that the agent should count.
    None,
}

impl Ends {
    /// For people.
    #[must_use]
    pub fn say(self) -> &'static str {
        match self {
            Self::Both => "both ends watched",
            Self::Server => "server watched, load outside",
            Self::None => "neither end watched",
        }
    }
}

/// `[server]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerPlan {
    /// Which one.
    pub kind: ServerKind,
}

/// The servers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerKind {
    /// nginx, one worker, no access log; HTTP/1 and HTTP/2 without TLS.
    Nginx,
    /// The harness's own HTTP/1 server: one thread, one epoll, nothing but the answer.
    Http,
    /// The harness's own gRPC server: one thread, unary calls.
    Grpc,
    /// redis-server without persistence.
    Redis,
    /// mariadbd with a table of sysbench's.
    Mariadb,
    /// PostgreSQL with pgbench's tables.
    Postgres,
    /// dnsmasq with one name.
    Dnsmasq,
}

impl ServerKind {
    fn needs(self) -> Vec<&'static str> {
        match self {
            Self::Nginx => vec!["nginx"],
            Self::Http | Self::Grpc => vec![],
            Self::Redis => vec!["redis-server", "redis-cli"],
            Self::Mariadb => vec!["mariadbd", "mariadb-install-db", "mariadb"],
            Self::Postgres => vec!["postgres", "initdb", "psql", "pgbench", "setpriv"],
            Self::Dnsmasq => vec!["dnsmasq"],
        }
    }
}

/// `[load]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadPlan {
    /// Which tool.
    pub kind: Tool,
    /// Connections at once (of `churn`: processes at once), 1 to 20 000.
    pub connections: u32,
    /// HTTP: what is asked for.
    #[serde(default = "small")]
    pub path: String,
    /// wrk: a connection for each request.
    #[serde(default)]
    pub close: bool,
    /// h2load: streams at once a connection, 1 to 256.
    #[serde(default = "one")]
    pub streams: u32,
    /// redis-benchmark: commands sent at once a connection, 1 to 1024.
    #[serde(default = "one")]
    pub pipeline: u32,
    /// `churn`: processes a round.
    #[serde(default)]
    pub processes: u32,
}

fn small() -> String {
    "/1k".to_owned()
}

const fn one() -> u32 {
    1
}

/// The load generators there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tool {
    /// wrk: HTTP/1, closed loop.
    Wrk,
    /// h2load: HTTP/2 and gRPC, closed loop or at a rate.
    H2load,
    /// redis-benchmark: closed loop.
    RedisBenchmark,
    /// sysbench's point selects on MariaDB: closed loop, or open at a rate.
    Sysbench,
    /// pgbench's selects on PostgreSQL: closed loop, or open at a rate.
    Pgbench,
    /// dnsperf: closed loop.
    Dnsperf,
    /// The harness's own generator: HTTP/1, Redis or DNS by the server, closed loop or open at a rate.
    Own,
    /// Processes that make one request each and end.
    Churn,
}

/// `[steady]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SteadyPlan {
    /// Which tool.
    pub kind: Tool,
    /// Connections that share the rate.
    pub connections: u32,
    /// Of what the server can do without an agent: 0.05 to 0.9.
    #[serde(default = "half")]
    pub share: f64,
    /// Requests a second at most, whatever the server can do.
    pub most: Option<f64>,
}

const fn half() -> f64 {
    0.5
}

/// `[beside]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BesidePlan {
    /// Who answers there; only servers that the harness's own generator can ask.
    pub kind: ServerKind,
    /// Its share of all requests on the host: 0.01 to 0.5.
    pub share: f64,
    /// Connections there.
    pub connections: u32,
}

/// `[memory]`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryPlan {
    /// Seconds of load; `--soak` takes its place.
    pub seconds: u32,
}

/// `[[bound]]`: of a median.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// Of what.
    pub measure: Measure,
    /// Only where the traffic is seen so.
    pub ends: Option<Ends>,
    /// The measure with the agent, in its unit.
    pub at_most: Option<f64>,
    /// The difference that the agent makes, in percent and in the direction that hurts.
    pub worse_by_at_most: Option<f64>,
    /// The interval of the difference includes zero.
    #[serde(default)]
    pub within_noise: bool,
}

impl Case {
    /// Reads a folder.
    ///
    /// # Errors
    /// When a file is missing, or with all that is wrong with `case.toml`.
    pub fn read(folder: &Path) -> Result<Self> {
        let name = folder.file_name().and_then(|name| name.to_str()).context("a case without a name")?.to_owned();
        let read = |file: &str| {
            let path = folder.join(file);
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let plan: CasePlan =
            toml::from_str(&read("case.toml")?).with_context(|| format!("{}", folder.join("case.toml").display()))?;
        let wrong = plan.wrong();
        ensure!(wrong.is_empty(), "{}:\n  {}", folder.join("case.toml").display(), wrong.join("\n  "));
        let readme = read("README.md")?;
        let mut paragraphs = readme.split("\n\n").map(str::trim);
        let claim = paragraphs.find(|text| !text.starts_with('#') && !text.is_empty()).unwrap_or_default();
        ensure!(!claim.is_empty(), "{}: claims nothing", folder.join("README.md").display());
        Ok(Self { name, claim: claim.split_whitespace().collect::<Vec<_>>().join(" "), plan })
    }

    /// All cases of a folder, by name; with `only`, those.
    ///
    /// # Errors
    /// With all cases that cannot be read, and all names that are none.
    pub fn all(folder: &Path, only: &[String]) -> Result<Vec<Self>> {
        let entries = std::fs::read_dir(folder).with_context(|| format!("no cases in {}", folder.display()))?;
        let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        folders.retain(|path| path.is_dir());
        folders.sort();
        let (mut cases, mut wrong) = (Vec::new(), Vec::new());
        for folder in folders {
            match Self::read(&folder) {
                Ok(case) => cases.push(case),
                Err(error) => wrong.push(format!("{error:#}")),
            }
        }
        let known = |name: &String| cases.iter().any(|case| case.name == *name);
        let unknown = only.iter().filter(|name| !known(name));
        wrong.extend(unknown.map(|name| format!("no case {name}; `list` names them")));
        if !wrong.is_empty() {
            bail!("{}", wrong.join("\n"));
        }
        cases.retain(|case| only.is_empty() || only.contains(&case.name));
        Ok(cases)
    }
}

impl CasePlan {
    /// Programs that it needs.
    #[must_use]
    pub fn needs(&self) -> Vec<&'static str> {
        let servers = [Some(self.server.kind), self.beside.as_ref().map(|beside| beside.kind)];
        let tools = [self.load.as_ref().map(|load| load.kind), self.steady.as_ref().map(|steady| steady.kind)];
        let servers = servers.into_iter().flatten().flat_map(ServerKind::needs);
        servers.chain(tools.into_iter().flatten().filter_map(Tool::needs)).collect()
    }

    /// The most connections at once of a server or a load.
    #[must_use]
    pub fn connections(&self) -> u32 {
        let load = self.load.iter().map(|load| load.connections);
        let steady = self.steady.iter().map(|steady| steady.connections);
        load.chain(steady).chain(self.beside.iter().map(|beside| beside.connections)).max().unwrap_or(1)
    }

    /// Everything that cannot be, each with the key and a remedy.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut check = |fine: bool, what: String| {
            if !fine {
                wrong.push(what);
            }
        };
        check(!self.ends.is_empty(), "ends: empty; name both, server or none".to_owned());
        check(
            self.beside.is_some() == self.ends.contains(&Ends::None),
            "ends: \"none\" needs [beside], and [beside] needs it".to_owned(),
        );
        if let Some(warm) = self.warm_seconds {
            check((1..=120).contains(&warm), format!("warm_seconds: {warm} is not 1 to 120"));
            check(
                self.load.is_some() && self.memory.is_none(),
                "warm_seconds: needs [load], and has no part in [memory]; leave it out".to_owned(),
            );
        }
        let server = self.server.kind;
        if let Some(load) = &self.load {
            let (kind, connections) = (load.kind, load.connections);
            check(kind.can_ask(server), format!("load.kind: {kind:?} cannot ask {server:?}"));
            check((1..=20_000).contains(&connections), format!("load.connections: {connections} is not 1 to 20000"));
            check((1..=256).contains(&load.streams), format!("load.streams: {} is not 1 to 256", load.streams));
            check((1..=1024).contains(&load.pipeline), format!("load.pipeline: {} is not 1 to 1024", load.pipeline));
            let churns = kind == Tool::Churn;
            check(churns == (load.processes > 0), "load.processes: for kind = \"churn\", and needed there".to_owned());
            check(!load.close || kind == Tool::Wrk, "load.close: for kind = \"wrk\" alone".to_owned());
        }
        if let Some(steady) = &self.steady {
            let (kind, share) = (steady.kind, steady.share);
            check(self.load.is_some(), "steady: needs [load], which tells what half of it is".to_owned());
            check(kind.can_ask(server), format!("steady.kind: {kind:?} cannot ask {server:?}"));
            check(
                kind.has_rate(),
                format!("steady.kind: {kind:?} keeps no rate; use own, h2load, sysbench or pgbench"),
            );
            check((0.05..=0.9).contains(&share), format!("steady.share: {share} is not 0.05 to 0.9"));
        }
        if let Some(beside) = &self.beside {
            let (kind, share) = (beside.kind, beside.share);
            check(Tool::Own.can_ask(kind), format!("beside.kind: the generator cannot ask {kind:?}"));
            check((0.01..=0.5).contains(&share), format!("beside.share: {share} is not 0.01 to 0.5"));
        }
        for (place, bound) in self.bounds.iter().enumerate() {
            let ways = [bound.at_most.is_some(), bound.worse_by_at_most.is_some(), bound.within_noise];
            check(
                ways.iter().filter(|way| **way).count() == 1,
                format!("bound {}: needs one of at_most, worse_by_at_most, within_noise", place + 1),
            );
        }
        wrong
    }
}

impl Tool {
    /// True if it speaks what the server does.
    fn can_ask(self, server: ServerKind) -> bool {
        use ServerKind::{Dnsmasq, Grpc, Http, Mariadb, Nginx, Postgres, Redis};
        match self {
            Self::Wrk | Self::Churn => matches!(server, Nginx | Http),
            Self::H2load => matches!(server, Nginx | Grpc),
            Self::RedisBenchmark => server == Redis,
            Self::Sysbench => server == Mariadb,
            Self::Pgbench => server == Postgres,
            Self::Dnsperf => server == Dnsmasq,
            Self::Own => matches!(server, Nginx | Http | Redis | Dnsmasq),
        }
    }

    fn needs(self) -> Option<&'static str> {
        match self {
            Self::Wrk => Some("wrk"),
            Self::H2load => Some("h2load"),
            Self::RedisBenchmark => Some("redis-benchmark"),
            Self::Sysbench => Some("sysbench"),
            Self::Pgbench => Some("pgbench"),
            Self::Dnsperf => Some("dnsperf"),
            Self::Own | Self::Churn => None,
        }
    }

    fn has_rate(self) -> bool {
        matches!(self, Self::Own | Self::H2load | Self::Sysbench | Self::Pgbench)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cases_of_the_repository_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
        let cases = Case::all(&folder, &[]).unwrap();
        assert!(cases.iter().any(|case| case.name == "http1-small"), "{cases:?}");
    }

    #[test]
    fn tells_all_that_is_wrong_at_once() {
        let text = "title = 'x'\n[server]\nkind = 'redis'\n[load]\nkind = 'wrk'\nconnections = 0\nstreams = 300\n\
                    [[bound]]\nmeasure = 'agent_us'\n";
        let plan: CasePlan = toml::from_str(text).unwrap();
        let wrong = plan.wrong();
        assert_eq!(wrong.len(), 4, "{wrong:?}");
        assert!(wrong[0].starts_with("load.kind"), "{wrong:?}");
    }

    #[test]
    fn a_warm_up_must_warm_something_and_end() {
        let wrong = |text: &str| toml::from_str::<CasePlan>(text).unwrap().wrong();
        let load = "title = 'x'\nwarm_seconds = 30\n[server]\nkind = 'nginx'\n[load]\nkind = 'wrk'\nconnections = 1\n";
        assert_eq!(wrong(load), Vec::<String>::new());
        assert!(wrong(&load.replace("30", "0"))[0].starts_with("warm_seconds: 0 is not"));
        assert!(wrong(&load.replace("30", "121"))[0].starts_with("warm_seconds: 121 is not"));
        assert_eq!(wrong("title = 'x'\nwarm_seconds = 30\n[server]\nkind = 'nginx'\n").len(), 1);
        assert_eq!(wrong(&format!("{load}[memory]\nseconds = 9\n")).len(), 1);
    }

    #[test]
    fn a_key_that_does_not_exist_is_refused() {
        let text = "title = 'x'\n[server]\nkind = 'redis'\nport = 1\n";
        assert!(toml::from_str::<CasePlan>(text).unwrap_err().to_string().contains("port"));
    }
}
