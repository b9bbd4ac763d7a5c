//! What `top` knows: what was answered, and what was asked for with keys. Pure: it changes by [`State::take`] and
//! [`State::press`] alone.

use super::rows::{self, Table};
pub(super) use super::rows::{Call, Order};
use ratatui::crossterm::event::{KeyCode, KeyModifiers};
use redtap::reports::{ServiceReport, Services, Topology};
use serde_json::Value;

/// Longest filter, characters.
const MAX_FILTER: usize = 64;
/// Rows that a page key moves.
const PAGE: usize = 10;

/// What is on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// All services.
    Services,
    /// What one service answers and asks.
    Endpoints,
    /// Who calls whom.
    Edges,
    /// The newest calls.
    Calls,
}

impl View {
    /// In the order of their keys.
    pub(super) const ALL: [Self; 4] = [Self::Services, Self::Endpoints, Self::Edges, Self::Calls];

    /// As it is shown.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Services => "Services",
            Self::Endpoints => "Endpoints",
            Self::Edges => "Edges",
            Self::Calls => "Calls",
        }
    }
}

/// What is to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    /// What is on the screen.
    pub(super) view: View,
    /// Whose endpoints.
    pub(super) service: Option<String>,
    /// How far back, seconds.
    pub(super) last: u32,
}

/// How well the source sees.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Health {
    /// Its hooks.
    pub(super) rung: String,
    /// Exchanges that there were.
    pub(super) seen: u64,
    /// Those among them that it could not report.
    pub(super) lost: u64,
    /// Share of the connections that are followed.
    pub(super) sampling: f64,
}

impl Call {
    /// Out of an object of `/api/v1/calls`.
    pub(super) fn read(line: &Value) -> Self {
        let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
        let answered = text("role") == "server";
        let first = |names: &[&str]| {
            names.iter().map(|name| text(name)).find(|text| !text.is_empty()).unwrap_or_default().to_owned()
        };
        let (method, target) = (text("method"), first(&["target", "endpoint"]));
        let what = if target.starts_with(method) { target } else { format!("{method} {target}") };
        Self {
            start_ns: line.get("start_ns").and_then(Value::as_i64).unwrap_or(0),
            duration_ns: line.get("duration_ns").and_then(Value::as_u64),
            service: text("service").to_owned(),
            answered,
            peer: first(if answered { &["peer", "client"] } else { &["peer", "server"] }),
            protocol: text("protocol").to_owned(),
            code: first(&["code", "error", "status"]),
            failed: !text("error").is_empty() || matches!(text("status"), "error" | "none"),
            what: what.trim_end().to_owned(),
        }
    }
}

/// What the source said.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// All services.
    Services(Health, Services),
    /// One, by its name.
    Service(Health, String, Option<ServiceReport>),
    /// Who calls whom.
    Topology(Health, Topology),
    /// The newest.
    Calls(Health, Vec<Call>),
    /// Why there is nothing new.
    Failed(String),
}

/// Everything that a screen is made of, but for its size.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// Whom the numbers are from.
    pub(super) source: String,
    /// How far back, seconds.
    pub(super) last: u32,
    /// May be used.
    pub(super) colours: bool,
    /// What is on the screen.
    pub(super) view: View,
    /// Whose endpoints are shown.
    pub(super) service: Option<String>,
    /// Only rows that hold this, whatever its case.
    pub(super) filter: String,
    /// Keys go into the filter.
    pub(super) typing: bool,
    /// The keys are explained.
    pub(super) help: bool,
    /// The numbers stand still.
    pub(super) paused: bool,
    /// It is to end.
    pub(super) quit: bool,
    /// None: nothing was answered yet.
    pub(super) health: Option<Health>,
    /// Why the last question had no answer.
    pub(super) failure: Option<String>,
    /// None: not answered yet.
    pub(super) table: Option<Table>,
    orders: [Order; 4],
    selected: usize,
}

impl State {
    /// At the beginning.
    pub(super) fn new(source: String, last: u32, colours: bool) -> Self {
        Self {
            source,
            last,
            colours,
            view: View::Services,
            service: None,
            filter: String::new(),
            typing: false,
            help: false,
            paused: false,
            quit: false,
            health: None,
            failure: None,
            table: None,
            orders: [Order::default(); 4],
            selected: 0,
        }
    }

    /// What it needs to know.
    pub(super) fn wish(&self) -> Wish {
        Wish { view: self.view, service: self.service.clone(), last: self.last }
    }

    /// Takes what was answered; what is no longer on the screen is passed over.
    pub(super) fn take(&mut self, answer: Answer) {
        if self.paused {
            return;
        }
        let (health, table) = match answer {
            Answer::Failed(why) => {
                self.failure = Some(why);
                return;
            }
            Answer::Services(health, services) => {
                // The endpoints of the worst, as long as nobody has chosen.
                if self.view == View::Endpoints && self.service.is_none() {
                    self.service = services.services.first().map(|row| row.service.clone());
                }
                (health, (self.view == View::Services).then(|| rows::services(&services)))
            }
            Answer::Service(health, name, report) => {
                let shown = self.view == View::Endpoints && self.service.as_ref() == Some(&name);
                (health, shown.then(|| rows::endpoints(report.as_ref())))
            }
            Answer::Topology(health, topology) => (health, (self.view == View::Edges).then(|| rows::edges(&topology))),
            Answer::Calls(health, calls) => (health, (self.view == View::Calls).then(|| rows::calls(&calls))),
        };
        self.failure = None;
        self.health = Some(health);
        if table.is_some() {
            self.table = table;
        }
    }

    /// How the rows on the screen are ordered.
    pub(super) fn order(&self) -> Order {
        self.orders.get(self.view as usize).copied().unwrap_or_default()
    }

    /// The rows on the screen: those that the filter leaves, in order.
    pub(super) fn rows(&self) -> Vec<&rows::Row> {
        self.table.as_ref().map_or_else(Vec::new, |table| table.rows(&self.filter, self.order()))
    }

    /// Which of the rows is chosen.
    pub(super) fn selected(&self) -> usize {
        self.selected.min(self.rows().len().saturating_sub(1))
    }

    /// A key was pressed.
    pub(super) fn press(&mut self, key: KeyCode, modifiers: KeyModifiers) {
        if modifiers.contains(KeyModifiers::CONTROL) {
            self.quit |= matches!(key, KeyCode::Char('c' | 'd'));
            return;
        }
        if self.typing {
            return self.edit(key);
        }
        if self.help {
            self.help = false;
            self.quit = key == KeyCode::Char('q');
            return;
        }
        match key {
            KeyCode::Char('q') => self.quit = true,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.help = true,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('s') => self.sort(),
            KeyCode::Char('r') => {
                if let Some(order) = self.orders.get_mut(self.view as usize) {
                    order.turned = !order.turned;
                }
            }
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('1') => self.show(View::Services),
            KeyCode::Char('2') => self.choose_service(),
            KeyCode::Char('3') => self.show(View::Edges),
            KeyCode::Char('4') => self.show(View::Calls),
            KeyCode::Tab | KeyCode::Right => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(3),
            KeyCode::Enter => self.choose_service(),
            KeyCode::Esc if self.filter.is_empty() => self.show(View::Services),
            KeyCode::Esc => self.filter.clear(),
            other => self.walk(other),
        }
    }

    fn edit(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.typing = false;
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(letter) if self.filter.chars().count() < MAX_FILTER => self.filter.push(letter),
            _ => {}
        }
        self.selected = 0;
    }

    fn walk(&mut self, key: KeyCode) {
        let (at, end) = (self.selected(), self.rows().len().saturating_sub(1));
        self.selected = match key {
            KeyCode::Down | KeyCode::Char('j') => (at + 1).min(end),
            KeyCode::Up | KeyCode::Char('k') => at.saturating_sub(1),
            KeyCode::PageDown => (at + PAGE).min(end),
            KeyCode::PageUp => at.saturating_sub(PAGE),
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => end,
            _ => at,
        };
    }

    /// By the next column; after the last, as they come.
    fn sort(&mut self) {
        let columns = self.table.as_ref().map_or(0, |table| table.columns.len());
        if let Some(order) = self.orders.get_mut(self.view as usize) {
            let next = order.column.map_or(0, |column| column + 1);
            *order = Order { column: (next < columns).then_some(next), turned: false };
        }
    }

    fn turn(&mut self, steps: usize) {
        let next = View::ALL.get((self.view as usize + steps) % View::ALL.len()).copied().unwrap_or(View::Services);
        if next == View::Endpoints { self.choose_service() } else { self.show(next) }
    }

    /// The endpoints of the service that the chosen row is about.
    fn choose_service(&mut self) {
        if self.view != View::Endpoints {
            let chosen = self.rows().get(self.selected()).and_then(|row| row.service.clone());
            self.service = chosen.or_else(|| self.service.take());
            self.show(View::Endpoints);
        }
    }

    fn show(&mut self, view: View) {
        if self.view != view {
            self.view = view;
            self.selected = 0;
            self.filter.clear();
            self.table = None;
            self.paused = false;
        }
    }
}
