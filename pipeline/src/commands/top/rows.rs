//! The tables of `top`: reports turned into rows of cells that can be ordered, filtered and shown. Pure.

use super::super::tail::text::{clock, shown, took};
use redtap::reports::{EndpointRow, Red, ServiceReport, Services, SideReport, Topology};
use std::cmp::Ordering;

/// From this share of errors on a row is marked with `!`.
const MANY_ERRORS: f64 = 0.05;
/// From this share on with `~`.
const SOME_ERRORS: f64 = 0.01;
/// Characters of a text that are kept.
const MAX_TEXT: usize = 200;

/// One call.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Call {
    /// Nanoseconds since the epoch.
    pub(super) start_ns: i64,
    /// None: there was no answer.
    pub(super) duration_ns: Option<u64>,
    /// Whose.
    pub(super) service: String,
    /// It answered (rather than asked).
    pub(super) answered: bool,
    /// The other end.
    pub(super) peer: String,
    /// By name.
    pub(super) protocol: String,
    /// Status code or error, as known.
    pub(super) code: String,
    /// It failed.
    pub(super) failed: bool,
    /// Method and target.
    pub(super) what: String,
}

/// How rows are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Order {
    /// By this column; none: as they came.
    pub(super) column: Option<usize>,
    /// The other way round.
    pub(super) turned: bool,
}

/// A cell.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    /// A name.
    Text(String),
    /// A second.
    Rate(f64),
    /// From 0 to 1.
    Share(Option<f64>),
    /// Seconds.
    Seconds(Option<f64>),
    /// Nanoseconds since the epoch, shown as the time of the day (UTC).
    At(i64),
}

/// How bad a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Not.
    Fine,
    /// Some errors.
    Some,
    /// Many.
    Many,
}

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// How bad it is.
    pub(super) mark: Mark,
    /// One for each column.
    pub(super) cells: Vec<Cell>,
    /// Whose endpoints are shown when it is chosen.
    pub(super) service: Option<String>,
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    /// What stands above it, with the unit.
    pub(super) title: &'static str,
    /// Characters. Of texts that may grow: their least.
    pub(super) width: u16,
    /// It takes what room there is.
    pub(super) grows: bool,
    /// Only in terminals of so many columns.
    pub(super) from: u16,
}

/// Rows under columns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    /// From left to right.
    pub(super) columns: Vec<Column>,
    rows: Vec<Row>,
    /// What is said where there is no row.
    pub(super) empty: &'static str,
}

const fn name(title: &'static str, width: u16, from: u16) -> Column {
    Column { title, width, grows: true, from }
}

const fn fixed(title: &'static str, width: u16, from: u16) -> Column {
    Column { title, width, grows: false, from }
}

/// Of all tables of rates.
const RED: [Column; 5] =
    [fixed("req/s", 7, 0), fixed("errors", 6, 0), fixed("p50", 7, 60), fixed("p90", 7, 80), fixed("p99", 7, 0)];

impl Table {
    /// Those that hold the filter, in order.
    pub(super) fn rows(&self, filter: &str, order: Order) -> Vec<&Row> {
        let filter = filter.to_lowercase();
        let mut rows: Vec<&Row> = self.rows.iter().filter(|row| row.holds(&filter)).collect();
        if let Some(column) = order.column {
            rows.sort_by(|a, b| match (a.cells.get(column), b.cells.get(column)) {
                (Some(a), Some(b)) => a.compare(b),
                _ => Ordering::Equal,
            });
        }
        if order.turned {
            rows.reverse();
        }
        rows
    }
}

impl Row {
    fn holds(&self, filter: &str) -> bool {
        filter.is_empty()
            || self.cells.iter().any(|cell| matches!(cell, Cell::Text(text) if text.to_lowercase().contains(filter)))
    }
}

impl Cell {
    /// Texts from a to z, numbers from the largest; what is not known comes last.
    fn compare(&self, other: &Self) -> Ordering {
        let number = |cell: &Self| match cell {
            Self::Rate(value) => Some(*value),
            Self::Share(value) | Self::Seconds(value) => *value,
            Self::Text(_) | Self::At(_) => None,
        };
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::At(a), Self::At(b)) => b.cmp(a),
            (a, b) => match (number(a), number(b)) {
                (Some(a), Some(b)) => b.total_cmp(&a),
                (a, b) => b.is_some().cmp(&a.is_some()),
            },
        }
    }

    /// As it is shown, with its unit where the title has none; nothing that a terminal would obey.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text) => shown(text, MAX_TEXT),
            Self::Rate(value) if *value >= 99.95 => format!("{value:.0}"),
            Self::Rate(value) => format!("{value:.1}"),
            Self::Share(Some(value)) if *value > 0.0 && *value < 0.000_5 => "<0.1%".to_owned(),
            Self::Share(Some(value)) => format!("{:.1}%", value * 100.0),
            Self::Seconds(Some(value)) => took(Some(nanos(*value))),
            Self::Share(None) | Self::Seconds(None) => "-".to_owned(),
            Self::At(ns) => clock(*ns),
        }
    }

    /// Numbers stand at the right.
    pub(super) fn right(&self) -> bool {
        !matches!(self, Self::Text(_) | Self::At(_))
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; shown with one digit")]
fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}

fn red(red: &Red) -> [Cell; 5] {
    [
        Cell::Rate(red.requests_per_second),
        Cell::Share(red.error_ratio),
        Cell::Seconds(red.p50_seconds),
        Cell::Seconds(red.p90_seconds),
        Cell::Seconds(red.p99_seconds),
    ]
}

fn mark(red: &Red) -> Mark {
    match red.error_ratio {
        Some(share) if share >= MANY_ERRORS => Mark::Many,
        Some(share) if share >= SOME_ERRORS => Mark::Some,
        _ => Mark::Fine,
    }
}

fn row(names: &[&str], of: &Red, service: Option<String>) -> Row {
    let names = names.iter().map(|name| Cell::Text((*name).to_owned()));
    Row { mark: mark(of), cells: names.chain(red(of)).collect(), service }
}

fn columns(names: &[Column]) -> Vec<Column> {
    names.iter().copied().chain(RED).collect()
}

/// One row a service: what it answers, or, if nothing, what it asks.
pub(super) fn services(report: &Services) -> Table {
    let rows = report.services.iter().filter_map(|service| {
        let (side, red) = match (&service.served, &service.called) {
            (Some(red), _) => ("serves", red),
            (None, Some(red)) => ("calls", red),
            (None, None) => return None,
        };
        let protocols = service.protocols.join(" ");
        Some(row(&[&service.service, side, &protocols], red, Some(service.service.clone())))
    });
    Table {
        columns: columns(&[name("SERVICE", 12, 0), fixed("side", 6, 60), fixed("protocols", 14, 80)]),
        rows: rows.collect(),
        empty: "no request seen in this time: is there traffic, and does the agent's selection let it in?",
    }
}

/// One row an endpoint that is answered, then one for what is asked of others.
pub(super) fn endpoints(report: Option<&ServiceReport>) -> Table {
    let side = |side: &'static str, report: Option<&SideReport>| -> Vec<Row> {
        let rows = report.map_or(&[][..], |report| &report.endpoints);
        rows.iter().map(|endpoint| one_endpoint(side, endpoint)).collect()
    };
    let mut rows = side("serves", report.and_then(|report| report.served.as_ref()));
    rows.extend(side("calls", report.and_then(|report| report.called.as_ref())));
    Table {
        columns: columns(&[
            name("ENDPOINT", 14, 0),
            fixed("side", 6, 60),
            fixed("kind", 10, 100),
            fixed("peer", 10, 80),
        ]),
        rows,
        empty: "no request of this service seen in this time; 1 shows all services",
    }
}

fn one_endpoint(side: &'static str, of: &EndpointRow) -> Row {
    let kind = if of.system.is_empty() { &of.kind } else { &of.system };
    let what = if of.endpoint.starts_with(&of.method) {
        of.endpoint.clone()
    } else {
        format!("{} {}", of.method, of.endpoint)
    };
    row(&[what.trim(), side, kind, &of.peer], &of.red, Some(of.peer.clone()).filter(|peer| !peer.is_empty()))
}

/// One row an edge.
pub(super) fn edges(report: &Topology) -> Table {
    let rows = report
        .edges
        .iter()
        .map(|edge| row(&[&edge.client, &edge.server, &edge.connection_type], &edge.red, Some(edge.server.clone())));
    Table {
        columns: columns(&[name("CLIENT", 10, 0), name("SERVER", 10, 0), fixed("type", 9, 80)]),
        rows: rows.collect(),
        empty: "no request between two services seen in this time",
    }
}

/// One row a call, the newest first.
pub(super) fn calls(calls: &[Call]) -> Table {
    let rows = calls.iter().rev().map(|call| {
        let text = |text: &str| Cell::Text(text.to_owned());
        let way = if call.answered { "<-" } else { "->" };
        #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
        let seconds = call.duration_ns.map(|ns| ns as f64 / 1e9);
        Row {
            mark: if call.failed { Mark::Many } else { Mark::Fine },
            cells: vec![
                Cell::At(call.start_ns),
                text(&call.service),
                text(way),
                text(&call.peer),
                text(&call.protocol),
                text(&call.what),
                text(&call.code),
                Cell::Seconds(seconds),
            ],
            service: Some(call.service.clone()),
        }
    });
    Table {
        columns: vec![
            fixed("TIME UTC", 12, 60),
            fixed("service", 9, 0),
            fixed("", 2, 60),
            fixed("peer", 9, 60),
            fixed("protocol", 8, 100),
            name("what", 10, 0),
            fixed("code", 8, 0),
            fixed("took", 7, 0),
        ],
        rows: rows.collect(),
        empty: "no call seen yet",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units_and_what_is_not_known_is_no_zero() {
        let shown = |cell: Cell| cell.text();
        assert_eq!(shown(Cell::Rate(0.04)), "0.0");
        assert_eq!(shown(Cell::Rate(12_345.6)), "12346");
        assert_eq!(shown(Cell::Share(Some(0.0))), "0.0%");
        assert_eq!(shown(Cell::Share(Some(0.000_01))), "<0.1%");
        assert_eq!(shown(Cell::Share(Some(1.0))), "100.0%");
        assert_eq!(shown(Cell::Share(None)), "-");
        assert_eq!(shown(Cell::Seconds(Some(0.012_34))), "12.3ms");
        assert_eq!(shown(Cell::Seconds(Some(f64::INFINITY))).pop(), Some('s'));
        assert_eq!(shown(Cell::Text("a\u{1b}[2Jb\u{202e}".to_owned())), "a?[2Jb?");
    }

    #[test]
    fn largest_first_and_unknown_last() {
        let sorted = |mut cells: Vec<Cell>| {
            cells.sort_by(Cell::compare);
            cells.iter().map(Cell::text).collect::<Vec<_>>()
        };
        assert_eq!(
            sorted(vec![Cell::Share(None), Cell::Share(Some(0.1)), Cell::Share(Some(0.2))]),
            ["20.0%", "10.0%", "-"]
        );
        assert_eq!(sorted(vec![Cell::Text("b".to_owned()), Cell::Text("a".to_owned())]), ["a", "b"]);
    }
}
