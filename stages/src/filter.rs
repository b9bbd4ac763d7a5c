//! Stage `filter`: exchanges that nobody wants to see go no further, each counted by the rule that refused it.
//!
//! Rules are allow and deny lists by process, server port, protocol and target, a list of health-check paths, and the
//! agent's own process. A deny that matches refuses; an allow list that is not empty refuses what it does not match. With
//! no rules everything passes but the agent's own traffic.
//!
//! Absent: headers (a probe known only by its user agent cannot be told), and anything that changes an exchange.

use crate::flow::exchange::Exchange;
use crate::protocols::Protocol;
use crate::reasons;
use crate::stage::{Ledger, Stage};
use crate::time::Nanos;

reasons! {
    /// Which rule refused an exchange.
    pub enum Reject {
        /// The agent's own.
        Own => "own",
        /// By process.
        Process => "process",
        /// By the server's port.
        Port => "port",
        /// By protocol.
        Protocol => "protocol",
        /// By target.
        Target => "target",
        /// A health check.
        Health => "health",
    }
}

/// Most entries of one list; settings that have more are refused before they get here, and what is past it is ignored.
pub const MAX_RULES: usize = 256;

/// Which process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessRule {
    /// By number, in the agent's pid namespace.
    Pid(u32),
    /// By name of the thread (as in `/proc/PID/comm`), a [`Glob`].
    Name(Glob),
}

/// A pattern: `*` stands for any text (also none), `?` for one character; the rest for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Box<str>);

impl Glob {
    /// A pattern. Every text is one.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(pattern.into())
    }

    /// True if all of `text` fits. Takes at most pattern times text steps, and no memory.
    #[must_use]
    pub fn fits(&self, text: &str) -> bool {
        let (mut pattern, mut text) = (self.0.chars(), text.chars());
        // Where to go on after the last `*` when what was tried behind it does not fit.
        let mut again: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
        loop {
            let rest = text.clone();
            match (pattern.next(), text.next()) {
                (None, None) => return true,
                (Some('*'), _) => {
                    text = rest.clone();
                    again = Some((pattern.clone(), rest));
                }
                (Some('?'), Some(_)) => {}
                (Some(a), Some(b)) if a == b => {}
                _ => {
                    let Some((after_star, from)) = &mut again else { return false };
                    if from.next().is_none() {
                        return false;
                    }
                    (pattern, text) = (after_star.clone(), from.clone());
                }
            }
        }
    }
}

/// An allow and a deny list of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule<T> {
    /// If not empty, only these pass.
    pub allow: Vec<T>,
    /// These never pass.
    pub deny: Vec<T>,
}

impl<T> Default for Rule<T> {
    fn default() -> Self {
        Self { allow: Vec::new(), deny: Vec::new() }
    }
}

impl<T> Rule<T> {
    fn passes(&self, fits: impl Fn(&T) -> bool) -> bool {
        let any = |list: &[T]| list.iter().take(MAX_RULES).any(&fits);
        !any(&self.deny) && (self.allow.is_empty() || any(&self.allow))
    }
}

/// What passes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilterRules {
    /// The agent itself, whose traffic never passes.
    pub own_pid: Option<u32>,
    /// By the watched process.
    pub process: Rule<ProcessRule>,
    /// By the port of the end that was connected to.
    pub port: Rule<u16>,
    /// By protocol.
    pub protocol: Rule<Protocol>,
    /// By the request's target without its query.
    pub target: Rule<Glob>,
    /// Targets of health checks, as the above. None by default: what is a health check is for the user to say.
    pub health: Vec<Glob>,
}

/// The stage.
#[derive(Debug)]
pub struct Filter {
    rules: FilterRules,
    ledger: Ledger,
}

impl Filter {
    /// A stage that keeps to `rules`.
    #[must_use]
    pub fn new(rules: FilterRules) -> Self {
        Self { rules, ledger: Ledger::new::<Reject>() }
    }

    fn refusal(&self, exchange: &Exchange) -> Option<Reject> {
        let rules = &self.rules;
        let owner = &exchange.conn.owner;
        if rules.own_pid.is_some_and(|own| own == owner.pid) {
            return Some(Reject::Own);
        }
        let process = |rule: &ProcessRule| match rule {
            ProcessRule::Pid(pid) => *pid == owner.pid,
            ProcessRule::Name(name) => name.fits(owner.name()),
        };
        if !rules.process.passes(process) {
            return Some(Reject::Process);
        }
        // By the exchange's side, not the connection's role: that one may have become known by content only.
        let server = match exchange.side {
            crate::flow::conn::Role::Server => &exchange.conn.local,
            _ => &exchange.conn.remote,
        };
        if !rules.port.passes(|port| *port == server.port()) {
            return Some(Reject::Port);
        }
        if !rules.protocol.passes(|protocol| *protocol == exchange.protocol) {
            return Some(Reject::Protocol);
        }
        let target = exchange.target.as_str();
        let target = target.split_once('?').map_or(target, |(path, _)| path);
        if !rules.target.passes(|glob| glob.fits(target)) {
            return Some(Reject::Target);
        }
        rules.health.iter().take(MAX_RULES).any(|glob| glob.fits(target)).then_some(Reject::Health)
    }
}

impl Stage for Filter {
    type In = Vec<Exchange>;
    type Out = Vec<Exchange>;

    const NAME: &'static str = "filter";

    fn process(&mut self, _now: Nanos, input: &mut Self::In, out: &mut Self::Out) {
        for exchange in input.drain(..) {
            self.ledger.taken += 1;
            match self.refusal(&exchange) {
                Some(reason) => self.ledger.reject(reason, 1),
                None => {
                    self.ledger.passed += 1;
                    self.ledger.emitted += 1;
                    out.push(exchange);
                }
            }
        }
        debug_assert!(self.ledger.balances());
    }

    fn tick(&mut self, _now: Nanos, _out: &mut Self::Out) {}

    fn drain(&mut self, _now: Nanos, _out: &mut Self::Out) {}

    fn ledger(&self) -> Ledger {
        self.ledger
    }
}
