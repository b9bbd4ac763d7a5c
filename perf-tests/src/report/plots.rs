//! The plots as SVG: requests a second by round, the distribution of latencies, and who used the processor.
//!
//! Three simple drawings are less than a plotting crate with its fonts and back ends.

use super::{Report, Run};
use crate::measure::Measure;
use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
/// Of the area in which values lie.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 600.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 250.0;
/// For columns in their order; they can be told apart without seeing red and green as different.
const COLOURS: [&str; 6] = ["#4477aa", "#ee6677", "#ccbb44", "#228833", "#66ccee", "#aa3377"];

/// Names and contents of all plots of a report.
#[must_use]
pub fn all(report: &Report) -> Vec<(String, String)> {
    let plots = report.runs().flat_map(|(case, run)| {
        let named = of(&case.name, run);
        named.into_iter().map(move |(name, what)| {
            let svg = match what {
                Plot::Throughput => throughput(run),
                Plot::Latency => latency(run),
                Plot::Cpu => cpu(run),
            };
            (name, svg)
        })
    });
    plots.collect()
}

/// What a plot shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plot {
    /// Requests a second, a dot a round.
    Throughput,
    /// Latency by quantile.
    Latency,
    /// Processor time a request, by who used it.
    Cpu,
}

impl std::fmt::Display for Plot {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Throughput => "requests a second by round",
            Self::Latency => "latency at the fixed rate by quantile",
            Self::Cpu => "processor time a request",
        })
    }
}

/// File names of the plots of a run, of those that there is something to show in.
#[must_use]
pub fn of(case: &str, run: &Run) -> Vec<(String, Plot)> {
    let has = |measure| run.columns.iter().any(|column| column.summary.contains_key(&measure));
    let plots = [
        (has(Measure::Rate), Plot::Throughput, "throughput"),
        (has(Measure::P99), Plot::Latency, "latency"),
        (has(Measure::ServerUs), Plot::Cpu, "cpu"),
    ];
    let ends = format!("{:?}", run.ends).to_ascii_lowercase();
    plots
        .into_iter()
        .filter(|(has, ..)| *has)
        .map(|(_, plot, word)| (format!("{case}-{ends}-{word}.svg"), plot))
        .collect()
}

/// A drawing with a title, an upright axis from 0 to `most`, and a legend.
struct Drawing {
    svg: String,
    most: f64,
}

impl Drawing {
    fn new(title: &str, unit: &str, most: f64) -> Self {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
        );
        let title = escaped(&format!("{title} ({unit})"));
        let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"22\" font-size=\"14\">{title}</text>");
        let step = round_step(most);
        let steps = (most / step).ceil().max(1.0);
        let mut drawing = Self { svg, most: steps * step };
        for value in (0..=6).map(|part| step * f64::from(part)).take_while(|value| *value <= drawing.most) {
            let y = drawing.y(value);
            let _ = writeln!(
                drawing.svg,
                "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{RIGHT}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                super::number(value)
            );
        }
        drawing
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * value / self.most
    }

    fn dot(&mut self, x: f64, value: f64, colour: &str) {
        let y = self.y(value);
        let _ = writeln!(self.svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>");
    }

    fn line(&mut self, points: &[(f64, f64)], colour: &str) {
        let points: String = points.iter().map(|(x, value)| format!("{x:.1},{:.1} ", self.y(*value))).collect();
        let _ = writeln!(
            self.svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.trim_end()
        );
    }

    fn bar(&mut self, x: f64, width: f64, from: f64, to: f64, colour: &str) {
        let (top, bottom) = (self.y(to), self.y(from));
        let _ = writeln!(
            self.svg,
            "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
            (bottom - top).max(0.0)
        );
    }

    /// A word below the axis.
    fn below(&mut self, x: f64, text: &str) {
        let y = BOTTOM + 16.0;
        let _ = writeln!(self.svg, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{}</text>", escaped(text));
    }

    fn finish(mut self, legend: &[(String, &str)]) -> String {
        let mut x = LEFT;
        for (text, colour) in legend {
            // A command line may be long.
            let text: String = text.chars().take(40).collect();
            let _ = writeln!(
                self.svg,
                "<rect x=\"{x:.1}\" y=\"280\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"289\">{}</text>",
                x + 14.0,
                escaped(&text)
            );
            x += 30.0 + 6.0 * text.chars().count() as f64;
        }
        self.svg + "</svg>\n"
    }
}

fn throughput(run: &Run) -> String {
    let spreads = run.columns.iter().filter_map(|column| column.summary.get(&Measure::Rate));
    let most = spreads.map(|spread| spread.most).fold(0.0, f64::max);
    let mut drawing = Drawing::new(&format!("Requests a second by round, {}", run.ends.say()), "1/s", most);
    let rounds = run.columns.iter().map(|column| column.rounds.len()).max().unwrap_or(0).max(1);
    let place = |number: u32| LEFT + (RIGHT - LEFT) * (f64::from(number) + 0.5) / rounds as f64;
    for (column, colour) in run.columns.iter().zip(COLOURS.iter().cycle()) {
        for round in &column.rounds {
            if let Some(rate) = round.measures.get(&Measure::Rate) {
                drawing.dot(place(round.number), *rate, colour);
            }
        }
    }
    for number in (0..rounds).filter_map(|number| u32::try_from(number).ok()) {
        drawing.below(place(number), &(number + 1).to_string());
    }
    drawing.finish(&names(run))
}

fn latency(run: &Run) -> String {
    // Of each quantile the median over the rounds; the place is by the number of nines.
    let quantiles: Vec<f64> = crate::latency::QUANTILES.iter().copied().filter(|quantile| *quantile < 1.0).collect();
    let median = |column: &super::ColumnReport, quantile: f64| {
        let rounds = column.rounds.iter().filter_map(|round| round.latency.as_ref()?.at(quantile));
        crate::statistics::Spread::of(&rounds.collect::<Vec<_>>()).map(|spread| spread.median)
    };
    let of = |column| quantiles.iter().filter_map(|quantile| Some((*quantile, median(column, *quantile)?))).collect();
    let lines: Vec<Vec<(f64, f64)>> = run.columns.iter().map(of).collect();
    let most = lines.iter().flatten().map(|(_, us)| *us).fold(0.0, f64::max);
    let mut drawing = Drawing::new(&format!("Latency at the fixed rate, {}", run.ends.say()), "us", most);
    let nines = |quantile: f64| -(1.0 - quantile).log10();
    let place = |quantile: f64| LEFT + (RIGHT - LEFT) * nines(quantile) / nines(0.9999);
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let points: Vec<(f64, f64)> = line.iter().map(|(quantile, us)| (place(*quantile), *us)).collect();
        drawing.line(&points, colour);
    }
    for (quantile, word) in [(0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")] {
        drawing.below(place(quantile), word);
    }
    drawing.finish(&names(run))
}

fn cpu(run: &Run) -> String {
    // The kernel programs run inside of the system calls of server and load: what they take is part of theirs. Where both
    // ends are watched half of it is taken to be the load's.
    let parts: Vec<(String, [f64; 3])> = run
        .columns
        .iter()
        .map(|column| {
            let median = |measure| column.summary.get(&measure).map_or(0.0, |spread| spread.median);
            let (server, programs) = (median(Measure::ServerUs), median(Measure::ProgramUs));
            let inside = if run.ends == crate::case::Ends::Both { programs / 2.0 } else { programs };
            let inside = inside.min(server);
            (column.agent.clone(), [server - inside, inside, median(Measure::AgentUs)])
        })
        .collect();
    let most = parts.iter().map(|(_, parts)| parts.iter().sum::<f64>()).fold(0.0, f64::max);
    let mut drawing = Drawing::new(&format!("Processor time a request, {}", run.ends.say()), "us", most);
    let step = (RIGHT - LEFT) / parts.len().max(1) as f64;
    let colours = ["#4477aa", "#ccbb44", "#ee6677"];
    for (number, (name, parts)) in parts.iter().enumerate() {
        let x = LEFT + step * (number as f64 + 0.25);
        let mut from = 0.0;
        for (part, colour) in parts.iter().zip(colours) {
            drawing.bar(x, step / 2.0, from, from + part, colour);
            from += part;
        }
        drawing.below(x + step / 4.0, &name.chars().take(24).collect::<String>());
    }
    let words = ["server", "kernel programs at the server", "agent"];
    let legend: Vec<_> = words.into_iter().map(str::to_owned).zip(colours).collect();
    drawing.finish(&legend)
}

fn names(run: &Run) -> Vec<(String, &'static str)> {
    run.columns.iter().map(|column| column.agent.clone()).zip(COLOURS.iter().copied().cycle()).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// From one line of the axis to the next: 1, 2 or 5 times a power of ten, so that there are at most six below `most`.
fn round_step(most: f64) -> f64 {
    if !(most > 0.0 && most.is_finite()) {
        return 1.0;
    }
    let decade = 10_f64.powf((most / 5.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
    steps.into_iter().find(|step| most / step <= 5.0).unwrap_or(10.0 * decade)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_an_axis_are_at_round_numbers() {
        for (most, step) in [(60_137.0, 20_000.0), (4_884.0, 1_000.0), (25.2, 10.0), (0.3, 0.1), (0.0, 1.0), (5.0, 1.0)]
        {
            let found = round_step(most);
            assert!((found - step).abs() < 1e-9 * step, "{most}: {found}");
        }
    }
}
