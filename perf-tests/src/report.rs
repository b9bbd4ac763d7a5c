//! The report: what `report.json` holds (`perf-tests/README.md` documents it), and what is made of it.
//!
//! A report that was written can be read again and shown in every form. Reading refuses keys that it does not know and what
//! cannot be ([`Report::wrong`]), so that the types here are the schema.

pub mod markdown;
pub mod plots;
pub mod table;

use crate::case::{Bound, Ends};
use crate::latency::Latency;
use crate::measure::counts::Counts;
use crate::measure::{Measure, Worse};
use crate::statistics::{Interval, Spread};
use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Version of the schema: another one whenever a key changes its meaning or goes.
pub const SCHEMA: u32 = 2;

/// A whole report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Where it ran.
    pub machine: Machine,
    /// How it ran.
    pub setup: Setup,
    /// What it ran.
    pub cases: Vec<CaseReport>,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Release of the kernel.
    pub kernel: String,
    /// Model of the first processor.
    pub processor: String,
    /// How many of them.
    pub processors: usize,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Mean numbers of runnable threads in the last 1, 5 and 15 minutes, before it began and when it had ended.
    pub load_before: String,
    /// See `load_before`.
    pub load_after: String,
}

/// How a report was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// `--quick`: shows that all works, and no times.
    pub quick: bool,
    /// Rounds of each column.
    pub rounds: u32,
    /// Seconds at saturation a round.
    pub seconds: u32,
    /// Seconds at the fixed rate a round.
    pub steady_seconds: u32,
    /// Seconds of load before, which are not measured, unless the case says otherwise.
    pub warm_seconds: u32,
    /// Of what is random.
    pub seed: u64,
    /// Processors of the server; empty: any.
    pub server_cpus: String,
    /// Processors of the load; empty: any. The agent may run on any.
    pub load_cpus: String,
    /// What `redtap --version` says.
    pub redtap: String,
    /// What redtap was told, by column, where the case does not run it as shipped ([`CaseReport::governor`]).
    pub arguments: BTreeMap<String, String>,
}

/// A case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseReport {
    /// Its folder.
    pub name: String,
    /// Its title.
    pub title: String,
    /// What it claims.
    pub claim: String,
    /// redtap ran as it is shipped in every column: with its governor.
    pub governor: bool,
    /// Seconds of load in a round that were not measured.
    pub warm_seconds: u32,
    /// One for each way of seeing the traffic.
    pub runs: Vec<Run>,
}

/// A case with the traffic seen in one way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Which.
    pub ends: Ends,
    /// The fixed rate, requests a second, if there was one.
    pub steady_target: Option<f64>,
    /// One for each `--agent`, the first without.
    pub columns: Vec<ColumnReport>,
    /// Expected bounds and what became of them.
    pub bounds: Vec<Judged>,
    /// What was wrong; nothing may be.
    pub faults: Vec<String>,
}

/// One agent, or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnReport {
    /// `--agent`.
    pub agent: String,
    /// Rounds with load, in the order in which they ran.
    pub rounds: Vec<Round>,
    /// Rounds in which the kernel measured the agent's programs; their times are in no other measure.
    pub program_rounds: Vec<Round>,
    /// Medians and spreads over the rounds.
    pub summary: BTreeMap<Measure, Spread>,
    /// Differences from the rounds without an agent, by pairs of rounds that ran one after the other.
    pub against_none: BTreeMap<Measure, Difference>,
}

/// One round.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Round {
    /// Its number, from 0: the same in all columns for rounds that belong together.
    pub number: u32,
    /// What was measured.
    pub measures: BTreeMap<Measure, f64>,
    /// Latencies at the fixed rate.
    pub latency: Option<Latency>,
    /// What server and agent counted.
    pub counts: Option<Counts>,
}

/// What an agent adds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// In the unit of the measure.
    pub absolute: Interval,
    /// Percent of what it was without.
    pub percent: Interval,
}

/// A bound and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// The bound.
    pub bound: Bound,
    /// Of which column.
    pub agent: String,
    /// What was found: in the unit of the bound, for `within_noise` the median difference in percent.
    pub found: f64,
    /// Whether it holds.
    pub met: bool,
}

impl ColumnReport {
    /// Sums up rounds.
    #[must_use]
    pub fn of(agent: String, rounds: Vec<Round>, program_rounds: Vec<Round>, none: &[Round]) -> Self {
        let mut summary = BTreeMap::new();
        let mut against_none = BTreeMap::new();
        for measure in Measure::ALL {
            let all = rounds.iter().chain(&program_rounds);
            let values: Vec<f64> = all.filter_map(|round| round.measures.get(measure).copied()).collect();
            if let Some(spread) = Spread::of(&values) {
                summary.insert(*measure, spread);
            }
            let pairs: Vec<(f64, f64)> = rounds
                .iter()
                .filter_map(|round| {
                    let other = none.iter().find(|other| other.number == round.number)?;
                    Some((*other.measures.get(measure)?, *round.measures.get(measure)?))
                })
                .filter(|(without, _)| *without > 0.0)
                .collect();
            let of = |what: fn(&(f64, f64)) -> f64| Interval::of(&pairs.iter().map(what).collect::<Vec<_>>());
            let absolute = of(|(without, with)| with - without);
            let percent = of(|(without, with)| 100.0 * (with / without - 1.0));
            if let (Some(absolute), Some(percent)) = (absolute, percent) {
                against_none.insert(*measure, Difference { absolute, percent });
            }
        }
        Self { agent, rounds, program_rounds, summary, against_none }
    }

    /// Whether a bound holds; nothing if it is about something that was not measured.
    #[must_use]
    pub fn judge(&self, bound: &Bound) -> Option<Judged> {
        let judged = |found: f64, met: bool| Judged { bound: bound.clone(), agent: self.agent.clone(), found, met };
        if let Some(most) = bound.at_most {
            let found = self.summary.get(&bound.measure)?.median;
            return Some(judged(found, found <= most));
        }
        // With few rounds a difference says nothing.
        let percent = Some(self.against_none.get(&bound.measure)?.percent).filter(Interval::is_sure)?;
        if let Some(most) = bound.worse_by_at_most {
            let sign = if bound.measure.worse() == Worse::Less { -1.0 } else { 1.0 };
            let found = sign * percent.median;
            return Some(judged(found, found <= most));
        }
        Some(judged(percent.median, percent.includes_zero()))
    }
}

impl Report {
    /// Reads one and checks it.
    ///
    /// # Errors
    /// When it is not to the schema, with all that is wrong.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let report: Self =
            serde_json::from_str(&text).with_context(|| format!("{} is not to the schema", path.display()))?;
        let wrong = report.wrong();
        ensure!(wrong.is_empty(), "{} is not to the schema:\n  {}", path.display(), wrong.join("\n  "));
        Ok(report)
    }

    /// What the types allow and the schema does not.
    #[must_use]
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.schema != SCHEMA {
            wrong.push(format!("schema {} instead of {SCHEMA}", self.schema));
        }
        for (case, run) in self.runs() {
            let place = format!("{}, {}", case.name, run.ends.say());
            if run.columns.first().is_none_or(|column| column.agent != "none") {
                wrong.push(format!("{place}: the first column is not none"));
            }
            for column in &run.columns {
                let place = format!("{place}, {}", column.agent);
                if column.rounds.is_empty() {
                    wrong.push(format!("{place}: no rounds"));
                }
                let rounds = column.rounds.iter().chain(&column.program_rounds);
                let values = rounds.flat_map(|round| &round.measures).filter(|(_, value)| !value.is_finite());
                wrong.extend(values.map(|(measure, _)| format!("{place}: {} is no number", measure.name())));
                let medians = column.summary.iter().filter(|(_, spread)| {
                    !(spread.least <= spread.median && spread.median <= spread.most && spread.values > 0)
                });
                wrong.extend(medians.map(|(measure, _)| format!("{place}: {} is out of order", measure.name())));
            }
        }
        wrong
    }

    /// All runs with their cases.
    pub fn runs(&self) -> impl Iterator<Item = (&CaseReport, &Run)> {
        self.cases.iter().flat_map(|case| case.runs.iter().map(move |run| (case, run)))
    }

    /// All faults, each with its place.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let faults = self.runs().flat_map(|(case, run)| {
            run.faults.iter().map(move |fault| format!("{}, {}: {fault}", case.name, run.ends.say()))
        });
        faults.collect()
    }

    /// Writes `report.json`, `report.md` and the plots into a folder.
    ///
    /// # Errors
    /// As writing does.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("report.json"), serde_json::to_string_pretty(self)? + "\n")?;
        self.write_shown(folder)
    }

    /// The same without `report.json`.
    ///
    /// # Errors
    /// As writing does.
    pub fn write_shown(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        for (name, svg) in plots::all(self) {
            std::fs::write(folder.join(name), svg)?;
        }
        std::fs::write(folder.join("report.md"), markdown::render(self))?;
        Ok(())
    }
}

/// A number with as many digits as say something.
#[must_use]
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        magnitude if magnitude >= 100.0 || magnitude == 0.0 => 0,
        magnitude if magnitude >= 10.0 => 1,
        magnitude if magnitude >= 0.1 => 2,
        _ => 4,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(values: &[f64]) -> Vec<Round> {
        let round = |(number, value): (usize, &f64)| Round {
            number: u32::try_from(number).unwrap(),
            measures: BTreeMap::from([(Measure::Rate, *value)]),
            ..Round::default()
        };
        values.iter().enumerate().map(round).collect()
    }

    #[test]
    fn differences_are_taken_between_rounds_that_belong_together() {
        let none = rounds(&[100.0, 200.0, 300.0]);
        let column = ColumnReport::of("redtap".to_owned(), rounds(&[90.0, 190.0, 240.0]), Vec::new(), &none);
        let difference = column.against_none[&Measure::Rate];
        assert_eq!((difference.absolute.median, difference.percent.median.round()), (-10.0, -10.0));
        assert_eq!((difference.percent.low.round(), difference.percent.high.round()), (-20.0, -5.0));
    }

    #[test]
    fn a_bound_is_judged_in_the_direction_that_hurts() {
        let column = |count| {
            ColumnReport::of("x".to_owned(), rounds(&vec![90.0; count]), Vec::new(), &rounds(&vec![100.0; count]))
        };
        let bound = |most| Bound {
            measure: Measure::Rate,
            ends: None,
            at_most: None,
            worse_by_at_most: Some(most),
            within_noise: false,
        };
        let judged = column(6).judge(&bound(3.0)).unwrap();
        assert!(!judged.met && (judged.found - 10.0).abs() < 1e-9, "{judged:?}");
        assert!(column(6).judge(&bound(11.0)).unwrap().met);
        assert_eq!(column(5).judge(&bound(11.0)), None, "too few rounds");
        let other = Bound { measure: Measure::P99, ..bound(1.0) };
        assert_eq!(column(6).judge(&other), None, "not measured");
    }

    #[test]
    fn numbers_have_the_digits_that_say_something() {
        assert_eq!([12_345.6, 12.345, 1.2345, 0.01234, 0.0].map(number), ["12346", "12.3", "1.23", "0.0123", "0"]);
    }
}
