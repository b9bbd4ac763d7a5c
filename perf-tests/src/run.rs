//! Runs a case: servers, rounds in their order, what is measured in each.
//!
//! A round with an agent: start it, load that is not measured, load at saturation, load at the fixed rate, the uninvolved
//! process, then wait until the agent has counted what the server did, and end it. What the kernel programs take is measured
//! in rounds of their own, because measuring them takes time itself.

use crate::agent::{Column, Watching};
use crate::bystander;
use crate::case::{Case, CasePlan, Ends, LoadPlan, SteadyPlan, Tool};
use crate::generator::Order;
use crate::load::{self, Load};
use crate::measure::Measure;
use crate::measure::counts::{Counts, Seen};
use crate::measure::process::Usage;
use crate::measure::programs::{Programs, Statistics, measuring_ns};
use crate::pin::Pinning;
use crate::plan;
use crate::report::{CaseReport, ColumnReport, Round, Run};
use crate::server::Server;
use crate::statistics::slope;
use anyhow::{Context as _, Result, ensure};
use redtap_e2e::prometheus::Metrics;
use redtap_e2e::sandbox::Sandbox;
use redtap_e2e::stopwatch::now;
use std::cell::Cell;
use std::time::Duration;

/// What a quick run takes for the rate at saturation, requests a second.
const QUICK_RATE: f64 = 1_000.0;

/// How to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Columns, the first of them none.
    pub columns: Vec<Column>,
    /// Rounds a column.
    pub rounds: u32,
    /// Seconds at saturation.
    pub seconds: u32,
    /// Seconds at the fixed rate.
    pub steady_seconds: u32,
    /// Seconds of load that is not measured, where a case says nothing else.
    pub warm_seconds: u32,
    /// Milliseconds of the uninvolved process.
    pub bystander_ms: u64,
    /// Seconds of a memory case, instead of what it says itself.
    pub soak: Option<u32>,
    /// Only the first way of seeing the traffic, and fewer processes.
    pub quick: bool,
    /// Of what is random.
    pub seed: u64,
    /// Where server and load run.
    pub pinning: Pinning,
}

impl Options {
    /// Seconds of load in a round of this case that are not measured. A quick run warms nothing: its times mean nothing.
    fn warm(&self, plan: &CasePlan) -> u32 {
        plan.warm_seconds.filter(|_| !self.quick).unwrap_or(self.warm_seconds)
    }
}

/// Runs a case; `progress` is told what happens, a few words at a time.
///
/// # Errors
/// When a server, a load or an agent cannot be started or fails. What is measured but wrong is a fault in the report.
pub fn run(case: &Case, options: &Options, progress: &dyn Fn(&str)) -> Result<CaseReport> {
    let mut runs = Vec::new();
    let ends = if options.quick { 1 } else { case.plan.ends.len() };
    for ends in case.plan.ends.iter().take(ends) {
        let said = |what: &str| progress(&format!("{}, {}: {what}", case.name, ends.say()));
        let scene = Scene::set(&case.plan, *ends, options)?;
        runs.push(scene.run(&said).with_context(|| format!("{}, {}", case.name, ends.say()))?);
    }
    let warm_seconds = options.warm(&case.plan);
    let Case { name, claim, plan } = case.clone();
    Ok(CaseReport { name, title: plan.title, claim, governor: plan.governor, warm_seconds, runs })
}

/// Servers in their places.
struct Scene<'a> {
    plan: &'a CasePlan,
    ends: Ends,
    options: &'a Options,
    server: Server,
    beside: Option<Server>,
    /// Where server or load are, if they are not watched: a cgroup as well, so that the scheduler treats both alike. (Fields are
    /// dropped in this order: servers before their places.)
    unwatched: Sandbox,
    watched: Sandbox,
}

impl<'a> Scene<'a> {
    fn set(plan: &'a CasePlan, ends: Ends, options: &'a Options) -> Result<Self> {
        let watched = Sandbox::new("perf")?;
        let unwatched = Sandbox::new("perf-unwatched")?;
        let place = if ends == Ends::None { &unwatched } else { &watched };
        let cpus = options.pinning.server.as_ref();
        let server = Server::start(place, plan.server.kind, plan.connections(), cpus)?;
        let beside = plan.beside.as_ref().map(|beside| Server::start(&watched, beside.kind, beside.connections, cpus));
        Ok(Self { plan, ends, options, server, beside: beside.transpose()?, unwatched, watched })
    }

    fn load(&self) -> Load<'_> {
        Load {
            server: &self.server,
            sandbox: if self.ends == Ends::Both { &self.watched } else { &self.unwatched },
            cpus: self.options.pinning.load.as_ref(),
            seed: self.options.seed,
            reached: Cell::new(None),
        }
    }

    /// The server whose requests the agent should count.
    fn counted(&self) -> &Server {
        self.beside.as_ref().unwrap_or(&self.server)
    }

    /// How the agent sees what it should count.
    fn seen(&self) -> Seen {
        let load = self.plan.load.as_ref();
        // In `memory` the load at the fixed rate, whose connections last, is half of all.
        let own = load.is_some_and(|load| load.close || load.kind == Tool::Churn) && self.plan.memory.is_none();
        // Each tool of a round may leave a request a connection and stream: warm-up, saturation, fixed rate; in `memory` each turn.
        let tools = self.plan.memory.map_or(3, |memory| 2 * self.options.soak.unwrap_or(memory.seconds));
        let at_once = load.map_or(1, |load| load.pipeline.max(load.streams));
        Seen {
            // What is beside has both its ends in the watched cgroup.
            ends: if self.beside.is_some() { Ends::Both } else { self.ends },
            pipelined: self.beside.is_none() && at_once > 1,
            connections: (!own || self.beside.is_some()).then(|| self.plan.connections()),
            unfinished: u64::from(tools) * u64::from(self.plan.connections()) * u64::from(at_once),
        }
    }

    fn start(&self, column: &Column) -> Result<Option<Watching>> {
        column.start(self.plan.governor, &self.watched, &self.server, self.server.port(Tool::Own))
    }

    fn run(&self, progress: &dyn Fn(&str)) -> Result<Run> {
        let load = self.load();
        let mut plan = self.plan.load.clone();
        if let Some(plan) = plan.as_mut().filter(|_| self.options.quick) {
            plan.processes = plan.processes.min(200);
        }
        let mut rates = Rates::default();
        if let Some(plan) = &plan {
            progress("getting ready");
            load.prepare(plan)?;
            let quick = self.options.quick.then_some(QUICK_RATE);
            let reached = quick.map_or_else(|| load.saturate(plan, self.options.warm_seconds.max(1)), Ok)?;
            let steady = self.plan.steady.as_ref();
            rates.steady = steady.map(|steady| (reached * steady.share).min(steady.most.unwrap_or(f64::INFINITY)));
            rates.beside = self.plan.beside.as_ref().map(|beside| reached * beside.share / (1.0 - beside.share));
        }
        let columns = &self.options.columns;
        let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); columns.len()];
        let mut faults = Vec::new();
        for (number, place) in plan::order(self.options.rounds, columns.len()) {
            let (Some(column), Some(rounds)) = (columns.get(place), rounds.get_mut(place)) else { continue };
            progress(&format!("round {} of {}, {column}", number + 1, self.options.rounds));
            let round = self.round(&load, plan.as_ref(), rates, column, number)?;
            let wrong = round.counts.as_ref().and_then(|counts| counts.wrong(self.seen()));
            faults.extend(wrong.map(|wrong| format!("{column}, round {}: {wrong}", number + 1)));
            rounds.push(round);
        }
        let mut reports: Vec<ColumnReport> = Vec::new();
        let none = rounds.first().cloned().unwrap_or_default();
        for (column, rounds) in columns.iter().zip(rounds) {
            let programs = match (&plan, column) {
                (None, _) | (_, Column::None) => Vec::new(),
                _ if self.plan.memory.is_some() => Vec::new(),
                (Some(plan), _) => self.program_rounds(&load, plan, rates, column, progress)?,
            };
            let against = if *column == Column::None { &[] } else { none.as_slice() };
            reports.push(ColumnReport::of(column.to_string(), rounds, programs, against));
        }
        // A quick run's times mean nothing.
        let bounds = self.plan.bounds.iter().filter(|_| !self.options.quick);
        let judged = bounds.filter(|bound| bound.ends.is_none_or(|ends| ends == self.ends));
        let judged = judged.flat_map(|bound| reports.iter().skip(1).filter_map(|column| column.judge(bound)));
        Ok(Run { ends: self.ends, steady_target: rates.steady, bounds: judged.collect(), columns: reports, faults })
    }

    fn round(
        &self,
        load: &Load<'_>,
        plan: Option<&LoadPlan>,
        rates: Rates,
        column: &Column,
        number: u32,
    ) -> Result<Round> {
        let mut round = Round { number, ..Round::default() };
        let before = self.counted().count()?;
        let watching = self.start(column)?;
        match (plan, self.plan.memory) {
            (Some(plan), Some(memory)) => {
                let seconds = self.options.soak.unwrap_or(if self.options.quick { 1 } else { memory.seconds });
                self.soak(load, plan, rates, seconds, watching.as_ref(), &mut round)?;
            }
            (Some(plan), None) => {
                self.saturate(load, plan, rates, watching.as_ref(), &mut round)?;
                if let (Some(steady), Some(rate)) = (&self.plan.steady, rates.steady) {
                    self.keep(load, plan, steady, rate, rates, &mut round)?;
                }
            }
            (None, _) => self.idle(watching.as_ref(), &mut round)?,
        }
        let own = self.plan.bystander_ms.filter(|_| !self.options.quick);
        let taken = bystander::measure(own.unwrap_or(self.options.bystander_ms))?;
        round.measures.insert(Measure::FileReadNs, taken.file_read_ns);
        round.measures.insert(Measure::GetppidNs, taken.getppid_ns);
        if let Some(watching) = watching {
            let server = self.counted().count()? - before;
            self.ask(&watching, server, &mut round)?;
            watching.stop()?;
        }
        Ok(round)
    }

    /// What the agent itself says, once it has worked off everything.
    fn ask(&self, watching: &Watching, server: u64, round: &mut Round) -> Result<()> {
        let memory = watching.memory()?;
        let mut put = |measure, value: f64| {
            round.measures.insert(measure, value);
        };
        put(Measure::Resident, memory.resident as f64);
        put(Measure::Anonymous, memory.anonymous as f64);
        put(Measure::Peak, memory.peak as f64);
        if let Some(ms) = watching.ready_ms() {
            put(Measure::ReadyMs, ms);
        }
        let program = std::fs::metadata(format!("/proc/{}/exe", watching.pid()))?;
        put(Measure::Binary, program.len() as f64 / 1_048_576.0);
        let Some(metrics) = settled(watching, |metrics| self.counted().reported(metrics) >= server)? else {
            return Ok(());
        };
        put(Measure::Series, value(&metrics, "redtap_series"));
        put(Measure::Events, value(&metrics, "redtap_drain_records_total"));
        put(Measure::Lost, value(&metrics, "redtap_events_lost_total"));
        put(Measure::CaptureRatio, value(&metrics, "redtap_capture_ratio"));
        let seen = self.seen();
        let reported = self.counted().reported(&metrics);
        let client = (seen.ends == Ends::Both).then(|| self.counted().reported_by_clients(&metrics));
        round.counts = Some(Counts::of(server, reported, client, &metrics, seen));
        Ok(())
    }

    /// Load at saturation.
    fn saturate(
        &self,
        load: &Load<'_>,
        plan: &LoadPlan,
        rates: Rates,
        watching: Option<&Watching>,
        round: &mut Round,
    ) -> Result<()> {
        self.warm(load, plan, rates)?;
        let used = || watching.map_or(Ok(Usage::default()), Watching::usage);
        let (requests, server) = (self.server.count()?, Usage::of_family(self.server.pid())?);
        let (began, own) = (now(), used()?);
        let rate = self.together(rates, self.options.seconds, || load.saturate(plan, self.options.seconds))?;
        // What the agent has not worked off yet counts as well: at most a few ms. And sessions end.
        std::thread::sleep(Duration::from_millis(100));
        let (own, passed) = (used()? - own, now() - began);
        let server = Usage::of_family(self.server.pid())? - server;
        let requests = self.server.count()? - requests;
        ensure!(requests > 0, "no request");
        let each = |usage: Usage| usage.cpu_ns as f64 / 1e3 / requests as f64;
        round.measures.insert(Measure::Rate, rate);
        round.measures.insert(Measure::ServerUs, each(server));
        if let Some(watching) = watching {
            round.measures.insert(Measure::AgentUs, each(own));
            round.measures.insert(Measure::AgentCpu, 100.0 * own.cpu_ns as f64 / passed as f64);
            level(watching, round)?;
        }
        Ok(())
    }

    /// Load that is not measured.
    fn warm(&self, load: &Load<'_>, plan: &LoadPlan, rates: Rates) -> Result<()> {
        match self.options.warm(self.plan) {
            0 => Ok(()),
            seconds => self.together(rates, seconds, || load.saturate(plan, seconds)).map(drop),
        }
    }

    /// Load at the fixed rate.
    fn keep(
        &self,
        load: &Load<'_>,
        plan: &LoadPlan,
        steady: &SteadyPlan,
        rate: f64,
        rates: Rates,
        round: &mut Round,
    ) -> Result<()> {
        let seconds = self.options.steady_seconds;
        let latency = self.together(rates, seconds, || load.keep(steady, plan, rate, seconds))?;
        let mut put = |measure, value: Option<f64>| value.map(|value| round.measures.insert(measure, value));
        put(Measure::SteadyRate, Some(latency.rate()));
        put(Measure::P50, latency.at(0.5));
        put(Measure::P99, latency.at(0.99));
        put(Measure::P999, latency.at(0.999));
        round.latency = Some(latency);
        Ok(())
    }

    /// Both kinds of load in turns, for long; memory over time.
    fn soak(
        &self,
        load: &Load<'_>,
        plan: &LoadPlan,
        rates: Rates,
        seconds: u32,
        watching: Option<&Watching>,
        round: &mut Round,
    ) -> Result<()> {
        let began = now();
        let passed = || (now() - began) as f64 / 1e9;
        let mut points = Vec::new();
        loop {
            load.saturate(plan, self.options.seconds.min(5))?;
            if let (Some(steady), Some(rate)) = (&self.plan.steady, rates.steady) {
                load.keep(steady, plan, rate, self.options.steady_seconds.min(10))?;
            }
            // Without an agent there is no memory to look at: one turn shows that the load works.
            let Some(watching) = watching else { break };
            points.push((passed() / 60.0, watching.memory()?.resident as f64));
            if passed() >= f64::from(seconds) {
                level(watching, round)?;
                break;
            }
        }
        // The first third fills tables.
        let later = points.get(points.len() / 3..).unwrap_or_default();
        if let Some(slope) = slope(later) {
            round.measures.insert(Measure::Slope, slope);
        }
        Ok(())
    }

    /// Nothing.
    fn idle(&self, watching: Option<&Watching>, round: &mut Round) -> Result<()> {
        let Some(watching) = watching else { return Ok(()) };
        // Past the half second after which a source counts as quiet.
        std::thread::sleep(if self.options.quick { Duration::from_millis(100) } else { Duration::from_secs(2) });
        let (began, before) = (now(), watching.usage()?);
        std::thread::sleep(Duration::from_secs(u64::from(self.options.seconds)));
        let (idle, passed) = (watching.usage()? - before, (now() - began) as f64);
        round.measures.insert(Measure::Wakeups, idle.sleeps as f64 * 1e9 / passed);
        round.measures.insert(Measure::IdleCpu, 100.0 * idle.cpu_ns as f64 / passed);
        level(watching, round)
    }

    fn program_rounds(
        &self,
        load: &Load<'_>,
        plan: &LoadPlan,
        rates: Rates,
        column: &Column,
        progress: &dyn Fn(&str),
    ) -> Result<Vec<Round>> {
        // A quick run only shows that it works, where the case is about it.
        let programs = [Measure::ProgramNs, Measure::ProgramNetNs, Measure::OperationNs, Measure::ProgramUs];
        let about = self.plan.bounds.iter().any(|bound| programs.contains(&bound.measure));
        let count = if self.options.quick { u32::from(about) } else { 3 };
        let (mut rounds, mut number) = (Vec::new(), 0);
        // Somebody else may switch measuring off: such a round is left out, and made again as long as this is the exception.
        for _ in 0..3 * count {
            if number == count {
                break;
            }
            progress(&format!("kernel programs {} of {count}, {column}", number + 1));
            let statistics = Statistics::on()?;
            let measuring = measuring_ns(&statistics)?;
            let watching = self.start(column)?.context("no agent")?;
            if self.plan.warm_seconds.is_some() {
                // What it warms up for changes what the programs do.
                self.warm(load, plan, rates)?;
            }
            let (requests, before, said) = (self.server.count()?, Programs::of(watching.pid())?, watching.metrics()?);
            self.together(rates, self.options.seconds, || load.saturate(plan, self.options.seconds))?;
            let taken = Programs::of(watching.pid())? - before;
            let after = watching.metrics()?;
            let requests = (self.server.count()? - requests) as f64;
            let whole = statistics.are_on();
            drop(statistics);
            watching.stop()?;
            if !whole {
                continue;
            }
            if taken.runs == 0 {
                // An agent without kernel programs, or one that holds them in a way that is not seen.
                break;
            }
            let (ns, runs) = (taken.ns as f64, taken.runs as f64);
            let net = (ns - measuring * runs).max(0.0);
            let mut round = Round { number, ..Round::default() };
            let mut put = |measure, value: f64| {
                round.measures.insert(measure, value);
            };
            put(Measure::MeasuringNs, measuring);
            put(Measure::ProgramNs, ns / runs);
            put(Measure::ProgramNetNs, net / runs);
            put(Measure::ProgramUs, net / requests / 1e3);
            if let (Some(said), Some(after)) = (&said, &after) {
                let more = |name: &str| value(after, name) - value(said, name);
                let watched = more("redtap_kernel_operations_total");
                // Programs run for excluded sockets as well (that of a load outside), and their time is in `net`.
                let all = watched + more("redtap_kernel_not_selected_total");
                if watched > 0.0 {
                    put(Measure::OperationNs, net / all);
                    put(Measure::Operations, watched / requests);
                }
            }
            rounds.push(round);
            number += 1;
        }
        Ok(rounds)
    }

    /// Runs `main` with the traffic beside it, if there is any, for as long.
    fn together<T>(&self, rates: Rates, seconds: u32, main: impl FnOnce() -> Result<T>) -> Result<T> {
        let (Some(plan), Some(server), Some(rate)) = (&self.plan.beside, &self.beside, rates.beside) else {
            return main();
        };
        let order = Order {
            speech: load::speech(server.kind(), "/1k")?,
            port: server.port(Tool::Own),
            connections: plan.connections,
            rate: Some(rate),
            seconds: f64::from(seconds),
            seed: self.options.seed,
        };
        let order = serde_json::to_string(&order)?;
        std::thread::scope(|scope| {
            let cpus = self.options.pinning.load.as_ref();
            let seed = self.options.seed;
            let beside = scope.spawn(move || {
                let load = Load { server, sandbox: &self.watched, cpus, seed, reached: Cell::new(None) };
                load.generate(&order)
            });
            let done = main();
            beside.join().map_err(|_| anyhow::anyhow!("the traffic beside panicked"))?.context("the traffic beside")?;
            done
        })
    }
}

/// Requests a second that were fixed before the rounds.
#[derive(Debug, Clone, Copy, Default)]
struct Rates {
    steady: Option<f64>,
    beside: Option<f64>,
}

/// Scrapes until `done` says so, at most 5 s, and once more after the next publication: a count that overshoots must be seen.
fn settled(watching: &Watching, done: impl Fn(&Metrics) -> bool) -> Result<Option<Metrics>> {
    for _ in 0..50 {
        match watching.metrics()? {
            None => return Ok(None),
            Some(metrics) if done(&metrics) => break,
            Some(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    std::thread::sleep(Duration::from_millis(1_100));
    watching.metrics()
}

/// Where redtap's governor stands, if it has one.
fn level(watching: &Watching, round: &mut Round) -> Result<()> {
    let Some(metrics) = watching.metrics()? else { return Ok(()) };
    if value(&metrics, "redtap_governor_budget_ratio") > 0.0 {
        let governed = ["agent", "kernel"].map(|of| {
            metrics.matching("redtap_governor_used_ratio", &[("of", of)]).map(|sample| sample.value).sum::<f64>()
        });
        round.measures.insert(Measure::GovernedCpu, 100.0 * governed.iter().sum::<f64>());
        round.measures.insert(Measure::GovernorStep, value(&metrics, "redtap_governor_step"));
        round.measures.insert(Measure::SamplingRatio, value(&metrics, "redtap_sampling_ratio"));
    }
    Ok(())
}

fn value(metrics: &Metrics, name: &str) -> f64 {
    metrics.matching(name, &[]).map(|sample| sample.value).sum()
}
