//! The screen of `top`: a pure function of the state and the size. Nothing is said by colour alone.
//!
//! From the top: whom the numbers are from, the views, the table, the keys. Columns that a narrow terminal has no room for are
//! left out. Only letters of ASCII are drawn around what comes from outside, so that any terminal shows them.

use super::rows::{Column, Mark, Row, Table};
use super::state::{State, View};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as Shown, Table as Drawn, TableState, Wrap};

const HELP: &str = "\
1 2 3 4, Tab    services, endpoints, edges, calls
Up Down j k     choose a row; PgUp PgDn Home End
Enter           endpoints of the chosen service
/               filter by a text; Esc ends it
s, r            sort by the next column; turn round
p, Space        hold the numbers still; go on
Esc             back to the services
q, Ctrl-C       quit

req/s: requests a second, over the time at the top.
errors: share that failed. p50 p90 p99: that share
took no longer. us, ms, s: time.   -: not known.
!: 5% or more failed.   ~: 1% or more.
<- answered, -> asked.  > the chosen row.";

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State) {
    let [head, views, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(head_line(state, head.width), head);
    frame.render_widget(view_line(state, views.width), views);
    if state.help {
        frame.render_widget(Paragraph::new(HELP), body);
    } else {
        draw_body(frame, state, body);
    }
    frame.render_widget(foot_line(state, foot.width), foot);
}

fn style(state: &State, colour: Color, modifier: Modifier) -> Style {
    let style = Style::new().add_modifier(modifier);
    if state.colours { style.fg(colour) } else { style }
}

/// Whom the numbers are from, over which time, and how well it sees.
fn head_line(state: &State, width: u16) -> Line<'static> {
    let mut text = format!("redtap top  {}  last {}", state.source, time(state.last));
    match &state.health {
        Some(health) if width >= 60 => {
            #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
            let share = if health.seen == 0 { 1.0 } else { 1.0 - health.lost as f64 / health.seen as f64 };
            // Cut, not rounded: 100 % is said of nothing less.
            let seen = (share * 10_000.0).floor() / 100.0;
            text.push_str(&format!("  rung {}  captured {seen:.2}%", health.rung));
            if health.sampling < 1.0 {
                text.push_str(&format!("  SAMPLED {:.0}%", health.sampling * 100.0));
            }
        }
        Some(_) => {}
        None => text.push_str("  connecting"),
    }
    if state.paused {
        text.push_str("  PAUSED");
    }
    Line::styled(text, style(state, Color::Cyan, Modifier::BOLD))
}

fn time(seconds: u32) -> String {
    match seconds {
        seconds if seconds % 3_600 == 0 => format!("{}h", seconds / 3_600),
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

fn view_line(state: &State, width: u16) -> Line<'static> {
    let mut spans = Vec::new();
    for (at, view) in View::ALL.into_iter().enumerate() {
        // In a narrow terminal the others are told by their keys.
        let here = view == state.view;
        let name = match (view, &state.service) {
            (View::Endpoints, Some(service)) if here => {
                format!("{} of {}", view.name(), super::super::tail::text::shown(service, 24))
            }
            _ => view.name().to_owned(),
        };
        let text = if here { format!("[{} {name}]", at + 1) } else { format!(" {} {name} ", at + 1) };
        let text = if width < 60 && !here { format!(" {} ", at + 1) } else { text };
        let modifier = if here { Modifier::REVERSED } else { Modifier::empty() };
        spans.push(Span::styled(text, Style::new().add_modifier(modifier)));
    }
    Line::from(spans)
}

fn foot_line(state: &State, width: u16) -> Line<'static> {
    if state.typing {
        return Line::styled(
            format!("filter: {}_   Enter keeps it, Esc ends it", state.filter),
            Style::new().add_modifier(Modifier::REVERSED),
        );
    }
    if state.help {
        return Line::from("any key goes back");
    }
    let filter = if state.filter.is_empty() { String::new() } else { format!("filter: {}  ", state.filter) };
    let keys = if width < 60 {
        "/ filter  s sort  ? help  q quit"
    } else {
        "/ filter  s sort  r turn  Enter endpoints  p pause  ? help  q quit"
    };
    Line::from(vec![
        Span::styled(filter, Style::new().add_modifier(Modifier::BOLD)),
        Span::styled(keys, Style::new().add_modifier(Modifier::DIM)),
    ])
}

fn draw_body(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let mut area = area;
    if let Some(failure) = &state.failure {
        // Old numbers stay below it: it may be back in a moment.
        let lines = if state.table.is_some() { 2.min(area.height) } else { area.height };
        let [above, below] = Layout::vertical([Constraint::Length(lines), Constraint::Min(0)]).areas(area);
        let text = Paragraph::new(format!("! {failure}")).wrap(Wrap { trim: true });
        frame.render_widget(text.style(style(state, Color::Red, Modifier::BOLD)), above);
        area = below;
    }
    let Some(table) = &state.table else {
        if state.failure.is_none() {
            frame.render_widget(Paragraph::new("waiting for the first numbers"), area);
        }
        return;
    };
    let rows = state.rows();
    if rows.is_empty() {
        let why = if state.filter.is_empty() { table.empty } else { "no row holds this filter; Esc ends it" };
        frame.render_widget(Paragraph::new(why).wrap(Wrap { trim: true }), area);
        return;
    }
    draw_table(frame, state, table, &rows, area);
}

fn draw_table(frame: &mut Frame<'_>, state: &State, table: &Table, rows: &[&Row], area: Rect) {
    let all: Vec<(usize, &Column)> = table.columns.iter().enumerate().collect();
    let columns: Vec<_> = all.into_iter().filter(|(_, column)| column.from <= area.width).collect();
    let widths = std::iter::once(Constraint::Length(1)).chain(columns.iter().map(|(_, column)| {
        if column.grows { Constraint::Min(column.width) } else { Constraint::Length(column.width) }
    }));
    let right = |at: usize| rows.first().and_then(|row| row.cells.get(at)).is_some_and(super::rows::Cell::right);
    let header = std::iter::once(Cell::from("")).chain(columns.iter().map(|(at, column)| {
        // No wider than its column: the sign takes the place of nothing but room.
        let sign = match (state.order().column == Some(*at), state.order().turned) {
            (false, _) => "",
            (true, false) => "*",
            (true, true) => "^",
        };
        aligned(format!("{}{sign}", column.title), right(*at))
    }));
    let header = Shown::new(header).style(Style::new().add_modifier(Modifier::UNDERLINED));
    let drawn = rows.iter().map(|row| {
        let (sign, colour) = match row.mark {
            Mark::Fine => (" ", None),
            Mark::Some => ("~", Some(Color::Yellow)),
            Mark::Many => ("!", Some(Color::Red)),
        };
        let cells = columns.iter().filter_map(|(at, _)| row.cells.get(*at));
        let cells = std::iter::once(Cell::from(sign)).chain(cells.map(|cell| aligned(cell.text(), cell.right())));
        let style = colour.filter(|_| state.colours).map_or_else(Style::new, |colour| Style::new().fg(colour));
        Shown::new(cells).style(style)
    });
    let drawn = Drawn::new(drawn, widths)
        .header(header)
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .highlight_symbol(">");
    let mut chosen = TableState::new().with_selected(state.selected());
    frame.render_stateful_widget(drawn, area, &mut chosen);
}

fn aligned(text: String, right: bool) -> Cell<'static> {
    Cell::from(Line::from(text).alignment(if right { Alignment::Right } else { Alignment::Left }))
}

#[cfg(test)]
mod tests;
