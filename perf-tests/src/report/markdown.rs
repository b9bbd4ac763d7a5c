//! `report.md`: the same for a page, with the plots.

use super::{ColumnReport, Judged, Report, Run, number, plots};
use crate::measure::Measure;
use std::fmt::Write as _;

/// All of it.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut text = String::from("# What the agent costs\n\n");
    head(&mut text, report);
    for case in &report.cases {
        let _ = writeln!(text, "\n## {} (`{}`)\n\n{}\n", case.title, case.name, case.claim);
        if case.governor {
            let _ = writeln!(text, "redtap runs as it is shipped here: with its governor, at the default budget.\n");
        }
        if case.warm_seconds != report.setup.warm_seconds {
            let _ = writeln!(text, "{} s of load in each round are not measured.\n", case.warm_seconds);
        }
        for run in &case.runs {
            let _ = writeln!(text, "### {}, {}\n", case.name, run.ends.say());
            section(&mut text, run);
            for (name, what) in plots::of(&case.name, run) {
                let _ = writeln!(text, "![{what}]({name})\n");
            }
        }
    }
    let faults = report.faults();
    if !faults.is_empty() {
        let _ = writeln!(text, "## Faults\n\n- {}", faults.join("\n- "));
    }
    text
}

fn head(text: &mut String, report: &Report) {
    let (machine, setup) = (&report.machine, &report.setup);
    if setup.quick {
        let _ = writeln!(text, "**A quick run: it shows that everything works. Its times mean nothing.**\n");
    }
    let cpus = |cpus: &str| if cpus.is_empty() { "any processor".to_owned() } else { format!("processor {cpus}") };
    let _ = writeln!(
        text,
        "{}. Kernel {}, {} times {}, {} MiB. Load {} before, {} after.\n\n\
         {} rounds a column in turns (A B, B A, ...), each {} s of load that is not measured, {} s at saturation, {} s at the \
         fixed rate. Server on {}, load on {}, agent on any processor. Seed {}.\n\n\
         Medians with the least and the most. \"Against none\" is the median of the differences between rounds that ran one after \
         the other, with the interval of the sign test (95 %, or what so few rounds allow).",
        setup.redtap,
        machine.kernel,
        machine.processors,
        machine.processor,
        machine.memory_mib,
        machine.load_before,
        machine.load_after,
        setup.rounds,
        setup.warm_seconds,
        setup.seconds,
        setup.steady_seconds,
        cpus(&setup.server_cpus),
        cpus(&setup.load_cpus),
        setup.seed
    );
    for (column, arguments) in &setup.arguments {
        let told =
            if arguments.is_empty() { "nothing (as it is shipped)".to_owned() } else { format!("`{arguments}`") };
        let budget = if arguments.contains("--governor-cpu 0") {
            ": no budget of processor time, so all is captured and counts are exact"
        } else {
            ": its governor keeps the default budget, and counts may be scaled"
        };
        let _ =
            writeln!(text, "\nWhat `{column}` was told, besides whom to watch and where to listen: {told}{budget}.");
    }
}

fn section(text: &mut String, run: &Run) {
    if let Some(rate) = run.steady_target {
        let _ = writeln!(text, "Fixed rate: {} requests a second.\n", number(rate));
    }
    let _ = write!(text, "| measure | unit |");
    for column in &run.columns {
        let _ = write!(text, " {} |", cell(&column.agent));
    }
    let _ = writeln!(text, "\n|---|---|{}", "---|".repeat(run.columns.len()));
    for measure in Measure::ALL {
        if run.columns.iter().all(|column| !column.summary.contains_key(measure)) {
            continue;
        }
        let _ = write!(text, "| {} | {} |", measure.say(), measure.unit());
        for column in &run.columns {
            let _ = write!(text, " {} |", value(column, *measure));
        }
        text.push('\n');
    }
    text.push('\n');
    for column in &run.columns {
        for counts in column.rounds.iter().filter_map(|round| round.counts.as_ref()) {
            if counts.server == counts.reported && counts.scaled.is_none() {
                continue;
            }
            let _ = writeln!(text, "- {}: {}", column.agent, counts.say());
        }
    }
    for judged in &run.bounds {
        let verdict = if judged.met { "as expected" } else { "**not as expected**" };
        let _ = writeln!(text, "- {verdict}: {}, {}", judged.agent, judged.say());
    }
    text.push('\n');
}

fn value(column: &ColumnReport, measure: Measure) -> String {
    let Some(spread) = column.summary.get(&measure) else { return String::new() };
    let mut text = number(spread.median);
    if spread.least < spread.most {
        let _ = write!(text, " ({} – {})", number(spread.least), number(spread.most));
    }
    if let Some(difference) = column.against_none.get(&measure) {
        let percent = difference.percent;
        let _ = write!(text, "; {:+.1} % ({:+.1} to {:+.1})", percent.median, percent.low, percent.high);
    }
    text
}

/// A text that does not end a cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

impl Judged {
    /// The bound and what was found.
    #[must_use]
    pub fn say(&self) -> String {
        let (bound, found) = (&self.bound, number(self.found));
        let (what, unit) = (bound.measure.say(), bound.measure.unit());
        if let Some(most) = bound.at_most {
            return format!("{what} {found} {unit}, expected at most {}", number(most));
        }
        match bound.worse_by_at_most {
            Some(most) => format!("{what} worse by {found} %, expected at most {} %", number(most)),
            None => format!("{what} differs by {found} %, expected nothing that can be told from none"),
        }
    }
}
