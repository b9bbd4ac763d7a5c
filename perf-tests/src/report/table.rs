//! The report on a terminal: a block a run, a line a measure.

use super::{ColumnReport, Report, Run, number};
use crate::measure::Measure;
use std::fmt::Write as _;

/// All of it.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    for (case, run) in report.runs() {
        // Writing to a String cannot fail.
        let governor = if case.governor { ", redtap as shipped" } else { "" };
        let _ = writeln!(text, "\n{} ({}), {}{governor}", case.title, case.name, run.ends.say());
        block(&mut text, run);
    }
    let faults = report.faults();
    if !faults.is_empty() {
        let _ = writeln!(text, "\nFAULTS\n  {}", faults.join("\n  "));
    }
    text
}

/// One run.
pub(crate) fn block(text: &mut String, run: &Run) {
    if let Some(rate) = run.steady_target {
        let _ = writeln!(text, "  fixed rate {} requests a second", number(rate));
    }
    for column in &run.columns {
        let _ = writeln!(text, "  {:58} {:>10} {:>10} {:>10}   against none", column.agent, "median", "least", "most");
        for measure in Measure::ALL {
            line(text, column, *measure);
        }
        counts(text, column);
    }
    for judged in &run.bounds {
        let verdict = if judged.met { "as expected" } else { "NOT as expected" };
        let _ = writeln!(text, "  {verdict}: {}, {}", judged.agent, judged.say());
    }
}

fn line(text: &mut String, column: &ColumnReport, measure: Measure) {
    let Some(spread) = column.summary.get(&measure) else { return };
    let what = format!("{} {}", measure.say(), measure.unit());
    let [median, least, most] = [spread.median, spread.least, spread.most].map(number);
    let difference = column.against_none.get(&measure).map(|difference| {
        let percent = difference.percent;
        format!("{:+.1} % ({:+.1} to {:+.1})", percent.median, percent.low, percent.high)
    });
    let _ = writeln!(text, "    {what:56} {median:>10} {least:>10} {most:>10}   {}", difference.unwrap_or_default());
}

fn counts(text: &mut String, column: &ColumnReport) {
    let counts: Vec<_> = column.rounds.iter().filter_map(|round| round.counts.as_ref()).collect();
    if counts.is_empty() {
        return;
    }
    let sum = |of: fn(&&crate::measure::counts::Counts) -> u64| counts.iter().map(of).sum::<u64>();
    let (server, reported, missed) =
        (sum(|counts| counts.server), sum(|counts| counts.reported), sum(|counts| counts.missed));
    let _ = writeln!(text, "    the server counted {server}, the agent {reported} (and missed {missed} at all ends)");
    if let Some(scaled) =
        counts.iter().filter_map(|counts| counts.scaled).max_by(|a, b| a.tolerance.total_cmp(&b.tolerance))
    {
        let _ = writeln!(text, "    counts are scaled by sampling: {:.1} % off is allowed", scaled.tolerance * 100.0);
    }
}
