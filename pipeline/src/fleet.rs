//! Reports of all agents that write to one engine: Prometheus, Mimir, `VictoriaMetrics`, Thanos, anything with Prometheus' HTTP API.
//!
//! [`Fleet`] is [`Reports`] like the agent's own history is, and the same code makes them: what the engine answers is brought into
//! the form of the history (`gains`). Queries are made of the table of metrics alone (`promql`); `engine` asks them, within bounds
//! and once a step; `edges` counts what two agents saw once. `docs/fleet.md` is for users.
//!
//! Life cycle: [`Fleet::new`], then a question whenever somebody looks. One report is made at a time, so that the engine has at most
//! [`engine::AT_A_TIME`] queries of ours; the next finds in the cache what they share.
//!
//! A report has at most [`MAX_QUERIES`] queries, whatever there is to report, and [`REPORT_WITHIN`] for all of them and for waiting its
//! turn: then it is given up, and its queries with it. What was answered until then is in the cache for who asks again. Absent: writing, the agent's own history, native
//! histograms, a state that outlives the process.

mod edges;
pub mod engine;
mod gains;
mod promql;

use crate::export::client::{Client, ClientError, ClientSettings};
use crate::history::{self, Recorded, View, floor, wall_seconds};
use crate::http::guard::REQUEST_WITHIN;
use crate::reports::{Making, Range, ReportError, Reports, ServiceReport, Services, Topology};
use edges::{Answers, Buckets};
use engine::{Engine, Question};
use gains::{Gains, Steps};
use promql::{Matchers, Whole, Window, equal, spelled};
use redtap_stages::metric::{Entry, Kind, Metric, Source, TABLE};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

/// Most queries of one report.
pub const MAX_QUERIES: usize = 1 + 2 * TABLE.len();
/// Most steps of a range.
pub const MAX_STEPS: u32 = 120;
/// Longest time until a report is made or given up: less than [`REQUEST_WITHIN`], so that who asked is told.
pub const REPORT_WITHIN: Duration = Duration::from_secs(9);
const _: () = assert!(REPORT_WITHIN.as_secs() < REQUEST_WITHIN.as_secs());
/// Longest range, seconds: 31 days.
pub const MAX_RANGE: u32 = 31 * 86_400;
/// Lengths that steps may have, seconds.
const STEPS: [u32; 17] = [5, 10, 15, 30, 60, 120, 180, 300, 360, 600, 720, 900, 1_800, 3_600, 7_200, 10_800, 21_600];
/// The end of a range is a multiple of so many seconds, or of its step if that is shorter.
const END: u32 = 60;

/// Where the engine is, and what of it to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetSettings {
    /// How to reach it; the URL is what `/api/v1/query` comes after.
    pub client: ClientSettings,
    /// How often agents are scraped, or write, at most; seconds. No step is shorter.
    pub interval: u32,
    /// Labels that all series must have.
    pub labels: BTreeMap<String, String>,
}

/// All agents that write to an engine.
#[derive(Debug)]
pub struct Fleet {
    engine: Engine,
    matchers: Matchers,
    interval: u32,
    making: tokio::sync::Mutex<()>,
}

impl Fleet {
    /// Reads certificates, asks nothing yet.
    ///
    /// # Errors
    /// A certificate or key cannot be used.
    pub fn new(settings: FleetSettings) -> Result<Self, ClientError> {
        let matchers = Matchers::new(&settings.labels);
        let engine = Engine::new(Client::new(settings.client)?);
        Ok(Self { engine, matchers, interval: settings.interval.max(1), making: tokio::sync::Mutex::default() })
    }

    /// The engine's address, without credentials.
    #[must_use]
    pub fn engine(&self) -> String {
        self.engine.address()
    }

    /// The report, or that it takes too long.
    async fn in_time<T>(&self, making: impl Future<Output = Result<T, ReportError>>) -> Result<T, ReportError> {
        tokio::time::timeout(REPORT_WITHIN, making)
            .await
            .unwrap_or_else(|_| Err(ReportError::Late { engine: self.engine(), seconds: REPORT_WITHIN.as_secs() }))
    }

    fn range_at(&self, now: i64, seconds: u32, until: Option<i64>) -> Result<Range, ReportError> {
        let end = until.unwrap_or(now).min(now);
        let refuse = |why: String| {
            let from = end.saturating_sub(i64::from(seconds));
            Err(ReportError::Range { from, to: end, why })
        };
        if seconds < self.interval {
            return refuse(format!("agents are asked every {} s (ui.query_interval); ask for more", self.interval));
        }
        if seconds > MAX_RANGE || end < 0 {
            return refuse("it is too long; ask for at most 31d".to_owned());
        }
        let fits = |step: &&u32| **step >= self.interval && seconds.div_ceil(**step) <= MAX_STEPS;
        let step = STEPS.iter().find(fits).copied().unwrap_or_else(|| seconds.div_ceil(MAX_STEPS).max(self.interval));
        let to = floor(end, step.min(END));
        Ok(Range { from: to - i64::from(seconds.div_ceil(step) * step), to, step })
    }

    fn check(&self, range: Range) -> Result<(), ReportError> {
        let seconds = range.to.saturating_sub(range.from);
        let fits =
            range.step > 0 && range.steps() <= MAX_STEPS as usize && (1..=i64::from(MAX_RANGE)).contains(&seconds);
        if fits {
            return Ok(());
        }
        let why = "it has no steps, or too many; ask for it with last=".to_owned();
        Err(ReportError::Range { from: range.from, to: range.to, why })
    }

    /// The question that tells which steps were recorded.
    fn agents(&self, range: Range) -> Question {
        // A sample may come as late in a step as it comes.
        Question::steps(self.matchers.agents(range.step.saturating_add(self.interval)), range)
    }

    async fn services_of(&self, range: Range) -> Result<Services, ReportError> {
        self.check(range)?;
        let _one = self.making.lock().await;
        let window = Window { step: range.step, shift: 0 };
        let mut questions = vec![self.agents(range)];
        let asked: Vec<(&Entry, Vec<&'static str>)> =
            requests().map(|entry| (entry, labels(entry, &[Source::System, Source::Version, Source::Fault]))).collect();
        for (entry, labels) in &asked {
            let by = grouping(&["service_name", "service_namespace"], labels);
            let query = self.matchers.gained(&bucket(entry), "", &texts(&by), window);
            questions.push(Question::steps(query, range));
        }
        let answers = self.engine.ask(questions).await?;
        let steps = Steps::of(range);
        let mut gains = Gains::default();
        for ((entry, labels), rows) in asked.iter().zip(answers.iter().skip(1)) {
            gains.add((entry.metric, labels), None, rows, |at| steps.number(at));
        }
        Ok(history::services(&gains.view(range, recorded(range, answers.first()))))
    }

    async fn service_of(&self, name: &str, range: Range) -> Result<Option<ServiceReport>, ReportError> {
        self.check(range)?;
        let _one = self.making.lock().await;
        let window = Window { step: range.step, shift: 0 };
        let this = equal("service_name", name);
        let mut questions = vec![self.agents(range)];
        let asked: Vec<(&Entry, Vec<&'static str>)> =
            requests().map(|entry| (entry, labels(entry, &[Source::Code, Source::Fault]))).collect();
        for (entry, labels) in &asked {
            let by = grouping(&["service_namespace"], labels);
            let query = self.matchers.gained(&bucket(entry), &this, &texts(&by), window);
            questions.push(Question::steps(query, range));
        }
        let answers = self.engine.ask(questions).await?;
        let recorded = recorded(range, answers.first());
        let steps = Steps::of(range);
        let mut gains = Gains::default();
        let mut there = Vec::new();
        for ((entry, labels), rows) in asked.iter().zip(answers.iter().skip(1)) {
            gains.add((entry.metric, labels), Some(name), rows, |at| steps.number(at));
            if !rows.is_empty() {
                there.push(*entry);
            }
        }
        let Some(mut report) = history::service(&gains.view(range, recorded.clone()), name) else { return Ok(None) };
        let whole = self.endpoints(&this, name, range, &there, &recorded).await?;
        if let Some(whole) = history::service(&whole, name) {
            for (side, whole) in [(&mut report.served, whole.served), (&mut report.called, whole.called)] {
                if let (Some(side), Some(whole)) = (side, whole) {
                    side.endpoints = whole.endpoints;
                    side.more_endpoints = whole.more_endpoints;
                }
            }
        }
        Ok(Some(report))
    }

    /// The whole range as one step, by endpoint.
    async fn endpoints(
        &self,
        this: &str,
        name: &str,
        range: Range,
        there: &[&Entry],
        recorded: &Recorded,
    ) -> Result<View, ReportError> {
        let wanted = [Source::Method, Source::Endpoint, Source::Summary, Source::System, Source::Peer, Source::Fault];
        let whole = whole(range);
        let mut questions = Vec::new();
        for entry in there {
            let by = grouping(&[], &labels(entry, &wanted));
            let query = self.matchers.gained_in_all(&bucket(entry), this, &texts(&by), whole);
            questions.push(Question::at(query, whole.at()));
        }
        let answers = self.engine.ask(questions).await?;
        let mut gains = Gains::default();
        for (entry, rows) in there.iter().zip(&answers) {
            gains.add((entry.metric, &labels(entry, &wanted)), Some(name), rows, |_| Some(0));
        }
        let all = Range { step: whole.seconds, ..range };
        let steps = u32::try_from(recorded.steps.len()).unwrap_or(0);
        let recorded = Recorded { seconds: recorded.seconds.saturating_mul(steps), steps: BTreeSet::from([0]) };
        Ok(gains.view(all, recorded))
    }

    async fn topology_of(&self, range: Range) -> Result<Topology, ReportError> {
        const EDGE: [&str; 3] = ["client", "server", "connection_type"];
        const PLACE: [&str; 6] = ["job", "instance", "service_name", "client", "server", "connection_type"];
        const BUCKETS: [&str; 4] = ["client", "server", "connection_type", "le"];
        self.check(range)?;
        let _one = self.making.lock().await;
        let whole = whole(range);
        let name = |metric: Metric| metric.entry().prometheus;
        let all = |name: &str, by: &[&str]| Question::at(self.matchers.gained_in_all(name, "", by, whole), whole.at());
        // Long enough to have a sample, however that falls.
        let near = self.interval.saturating_add(self.interval.div_ceil(2));
        let end = |at| {
            let requests = name(Metric::ServiceGraphRequests);
            Question::at(self.matchers.gained(requests, "", &PLACE, Window { step: near, shift: 0 }), at)
        };
        let answers = self
            .engine
            .ask(vec![
                self.agents(range),
                Question::at(self.matchers.targets(whole.seconds), range.to),
                all(name(Metric::ServiceGraphRequests), &PLACE),
                all(name(Metric::ServiceGraphFailed), &PLACE),
                all(&format!("{}_count", name(Metric::ServiceGraphServer)), &PLACE),
                all(&bucket(Metric::ServiceGraphClient.entry()), &BUCKETS),
                all(&bucket(Metric::ServiceGraphServer.entry()), &BUCKETS),
                end(range.to),
                end(range.from.saturating_add(i64::from(near))),
            ])
            .await?;
        let rows = |at: usize| answers.get(at).map_or(&[][..], |rows| rows.as_slice());
        let buckets = |metric, at| {
            let mut gains = Gains::default();
            gains.add((metric, &EDGE), Some(""), rows(at), |_| Some(0));
            Buckets::of(gains.totals())
        };
        let fleet = edges::Fleet::new(&Answers {
            targets: rows(1),
            requests: rows(2),
            failed: rows(3),
            at_server: rows(4),
            ends: [rows(7), rows(8)],
        });
        let recorded = recorded(range, answers.first());
        let seconds = f64::from(range.step) * f64::from(u32::try_from(recorded.steps.len()).unwrap_or(0));
        let (at_client, at_server) = (buckets(Metric::ServiceGraphClient, 5), buckets(Metric::ServiceGraphServer, 6));
        let edges = fleet.edges(&at_client, &at_server);
        Ok(history::assemble(range, seconds, &fleet.watched(), edges::borrowed(&edges)))
    }
}

impl Reports for Fleet {
    fn range(&self, seconds: u32, until: Option<i64>) -> Result<Range, ReportError> {
        self.range_at(wall_seconds(), seconds, until)
    }

    fn services(&self, range: Range) -> Making<'_, Services> {
        Box::pin(self.in_time(self.services_of(range)))
    }

    fn service(&self, name: &str, range: Range) -> Making<'_, Option<ServiceReport>> {
        let name = name.to_owned();
        Box::pin(async move { self.in_time(self.service_of(&name, range)).await })
    }

    fn topology(&self, range: Range) -> Making<'_, Topology> {
        Box::pin(self.in_time(self.topology_of(range)))
    }

    fn source(&self) -> &'static str {
        "engine"
    }
}

/// The metrics of requests: all but those of the service graph.
fn requests() -> impl Iterator<Item = &'static Entry> {
    TABLE.iter().filter(|entry| matches!(entry.kind, Kind::Histogram(_)) && !entry.has(Source::Edge))
}

/// Names of the labels that come from one of these.
fn labels(entry: &Entry, wanted: &[Source]) -> Vec<&'static str> {
    entry.labels.iter().filter(|label| wanted.contains(&label.source)).map(|label| label.name).collect()
}

fn bucket(entry: &Entry) -> String {
    format!("{}_bucket", entry.prometheus)
}

/// What to add up by: these, these labels, and the bucket.
fn grouping(first: &[&str], labels: &[&'static str]) -> Vec<String> {
    let first = first.iter().map(|name| (*name).to_owned());
    first.chain(labels.iter().map(|name| spelled(name))).chain(std::iter::once("le".to_owned())).collect()
}

fn texts(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn whole(range: Range) -> Whole {
    let seconds = u32::try_from(range.to.saturating_sub(range.from)).unwrap_or(0);
    Whole { to: range.to, seconds, step: range.step }
}

/// Steps in which any agent was there.
fn recorded(range: Range, agents: Option<&std::sync::Arc<Vec<engine::Row>>>) -> Recorded {
    let steps = Steps::of(range);
    let there = agents.iter().flat_map(|rows| rows.iter()).flat_map(engine::Row::points);
    Recorded { seconds: range.step, steps: there.filter_map(|(at, _)| steps.number(at)).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(interval: u32) -> Fleet {
        let url = "http://127.0.0.1:1".parse().unwrap();
        let client = ClientSettings::new(url, Duration::from_secs(1));
        Fleet::new(FleetSettings { client, interval, labels: BTreeMap::new() }).unwrap()
    }

    #[test]
    fn a_range_has_steps_that_samples_fill() {
        let now = 1_700_000_013;
        for (seconds, interval, step) in [
            (900, 15, 15),
            (900, 1, 10),
            (900, 60, 60),
            (3_600, 15, 30),
            (21_600, 15, 180),
            (86_400, 15, 720),
            (31 * 86_400, 15, 32_400),
        ] {
            let fleet = fleet(interval);
            let range = fleet.range_at(now, seconds, None);
            let Ok(range) = range else { panic!("{seconds} s: {range:?}") };
            assert!(range.step >= interval && fleet.check(range).is_ok(), "{range:?}");
            assert!(now - range.to < 60 && range.to - range.from >= i64::from(seconds), "{range:?}");
            if seconds < MAX_RANGE {
                assert_eq!(range.step, step, "{seconds} s");
            }
        }
        for (seconds, until) in [(10, None), (MAX_RANGE + 1, None), (900, Some(-1))] {
            assert!(matches!(fleet(15).range_at(now, seconds, until), Err(ReportError::Range { .. })), "{seconds}");
        }
    }

    #[test]
    fn every_report_keeps_to_its_number_of_queries() {
        // The steps of all kinds of requests, their endpoints, and which steps were recorded.
        assert!(2 * requests().count() < MAX_QUERIES);
        assert_eq!(requests().count(), 10);
    }

    #[tokio::test]
    async fn an_engine_that_is_down_is_an_error_that_says_so() {
        let fleet = fleet(15);
        let range = fleet.range(900, None).unwrap();
        let error = fleet.services(range).await.unwrap_err().to_string();
        assert_eq!(error, "no answer from http://127.0.0.1:1/: cannot connect; is it up, and is ui.query_url right?");
    }
}
