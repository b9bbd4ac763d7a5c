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
}

impl FilterRules {
    /// Which rule refuses it.
    fn refusal(&self, exchange: &Exchange) -> Option<Reject> {
        let owner = &exchange.conn.owner;
        if self.own_pid.is_some_and(|own| own == owner.pid) {
            return Some(Reject::Own);
        }
        let process = |rule: &ProcessRule| match rule {
            ProcessRule::Pid(pid) => *pid == owner.pid,
            ProcessRule::Name(name) => name.fits(owner.name()),
        };
        if !self.process.passes(process) {
            return Some(Reject::Process);
        }
        // By the exchange's side, not the connection's role: that one may have become known by content only.
        let server = match exchange.side {
            crate::flow::conn::Role::Server => &exchange.conn.local,
            _ => &exchange.conn.remote,
        };
        if !self.port.passes(|port| *port == server.port()) {
            return Some(Reject::Port);
        }
        if !self.protocol.passes(|protocol| *protocol == exchange.protocol) {
            return Some(Reject::Protocol);
        }
        if self.target == Rule::default() && self.health.is_empty() {
            return None;
        }
        let target = exchange.target.as_str();
        let target = target.split_once('?').map_or(target, |(path, _)| path);
        if !self.target.passes(|glob| glob.fits(target)) {
            return Some(Reject::Target);
        }
        self.health.iter().take(MAX_RULES).any(|glob| glob.fits(target)).then_some(Reject::Health)
    }
}

impl Stage for Filter {
    type In = Vec<Exchange>;
    type Out = Vec<Exchange>;

    const NAME: &'static str = "filter";

    fn process(&mut self, _now: Nanos, input: &mut Self::In, out: &mut Self::Out) {
        let Self { rules, ledger } = self;
        // In place: an exchange is large, and most pass.
        input.retain(|exchange| {
            ledger.taken += 1;
            let refusal = rules.refusal(exchange);
            match refusal {
                Some(reason) => ledger.reject(reason, 1),
                None => {
                    ledger.passed += 1;
                    ledger.emitted += 1;
                }
            }
            refusal.is_none()
        });
        if out.is_empty() {
            std::mem::swap(input, out);
        } else {
            out.append(input);
        }
        debug_assert!(self.ledger.balances());
    }

    fn tick(&mut self, _now: Nanos, _out: &mut Self::Out) {}

    fn drain(&mut self, _now: Nanos, _out: &mut Self::Out) {}

    fn ledger(&self) -> Ledger {
        self.ledger
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::conn::{Address, ConnInfo, Owner, Role, Transport};
    use crate::flow::message::{Addresses, Status};
    use crate::text::{Text, Token};
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;

    fn exchange(target: &str) -> Exchange {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Exchange {
            conn: Arc::new(ConnInfo {
                id: 1,
                transport: Transport::Tcp,
                role: Role::Server,
                local: Address::Inet(here, 80),
                remote: Address::Inet(here, 40_000),
                owner: Owner { pid: 77, cgroup_id: 1, comm: *b"nginx\0\0\0\0\0\0\0\0\0\0\0" },
                netns: 0,
                sock_ino: 0,
                late: false,
                sampling: 0,
            }),
            protocol: Protocol::Http1,
            side: Role::Server,
            start: Nanos(1),
            answered: None,
            end: None,
            method: Token::from("GET"),
            target: Text::from(target),
            status: Status::Ok,
            code: Token::from("200"),
            addresses: Addresses::new(),
            no_answer: None,
            session: None,
            trace: None,
            number: 1,
            id: 0,
            asked_by: 0,
            answered_by: 0,
            request_messages: 0,
            response_messages: 0,
            request_bytes: 0,
            response_bytes: 0,
            one_way: false,
            sampling: 0,
        }
    }

    /// The label of the rule that refuses it, or `passes`.
    fn verdict(rules: FilterRules, exchange: Exchange) -> &'static str {
        let mut filter = Filter::new(rules);
        let mut out = Vec::new();
        filter.process(Nanos(1), &mut vec![exchange], &mut out);
        let ledger = filter.ledger();
        assert_eq!((ledger.taken, usize::try_from(ledger.passed).unwrap()), (1, out.len()));
        ledger.reasons().find(|&(_, n)| n > 0).map_or("passes", |(label, _)| label)
    }

    #[test]
    fn with_no_rules_only_own_traffic_is_refused() {
        assert_eq!(verdict(FilterRules::default(), exchange("/")), "passes");
        assert_eq!(verdict(FilterRules { own_pid: Some(77), ..FilterRules::default() }, exchange("/")), "own");
        assert_eq!(verdict(FilterRules { own_pid: Some(78), ..FilterRules::default() }, exchange("/")), "passes");
    }

    #[test]
    fn a_deny_refuses_what_it_names_and_an_allow_everything_else() {
        let process = |allow: &[&str], deny: &[&str]| {
            let rules = |names: &[&str]| names.iter().map(|name| ProcessRule::Name(Glob::new(name))).collect();
            let process = Rule { allow: rules(allow), deny: rules(deny) };
            verdict(FilterRules { process, ..FilterRules::default() }, exchange("/"))
        };
        assert_eq!(process(&[], &["ngi*"]), "process");
        assert_eq!(process(&["nginx"], &[]), "passes");
        assert_eq!(process(&["redis"], &[]), "process");
        assert_eq!(process(&["nginx"], &["*"]), "process", "deny wins");
    }

    #[test]
    fn the_port_is_that_of_the_end_that_was_connected_to() {
        let port = |port: u16, side| {
            let port = Rule { allow: vec![port], deny: Vec::new() };
            verdict(FilterRules { port, ..FilterRules::default() }, Exchange { side, ..exchange("/") })
        };
        assert_eq!((port(80, Role::Server), port(80, Role::Client)), ("passes", "port"));
        assert_eq!((port(40_000, Role::Server), port(40_000, Role::Client)), ("port", "passes"));
    }

    #[test]
    fn protocols_targets_and_health_checks_are_refused_by_their_rules() {
        let protocol = Rule { allow: Vec::new(), deny: vec![Protocol::Http1] };
        assert_eq!(verdict(FilterRules { protocol, ..FilterRules::default() }, exchange("/")), "protocol");
        let target = Rule { allow: Vec::new(), deny: vec![Glob::new("/admin/*")] };
        let rules = FilterRules { target, health: vec![Glob::new("/healthz")], ..FilterRules::default() };
        assert_eq!(verdict(rules.clone(), exchange("/admin/x?y=1")), "target");
        assert_eq!(verdict(rules.clone(), exchange("/healthz?verbose")), "health", "the query does not count");
        assert_eq!(verdict(rules, exchange("/healthz/not")), "passes");
    }

    #[test]
    fn what_passes_goes_behind_what_is_there_in_order_and_the_input_is_empty() {
        let mut filter = Filter::new(FilterRules { health: vec![Glob::new("/no")], ..FilterRules::default() });
        let targets = |batch: &[Exchange]| batch.iter().map(|one| one.target.as_str().to_owned()).collect::<Vec<_>>();
        let mut out = Vec::new();
        for (input, expected) in [(["/a", "/no", "/b"], 2), (["/no", "/c", "/d"], 4)] {
            let mut input = input.map(exchange).to_vec();
            filter.process(Nanos(1), &mut input, &mut out);
            assert_eq!((input.len(), out.len()), (0, expected));
        }
        assert_eq!(targets(&out), ["/a", "/b", "/c", "/d"]);
        assert_eq!((filter.ledger().taken, filter.ledger().passed, filter.ledger().emitted), (6, 4, 4));
    }

    #[test]
    fn patterns_fit_whole_texts() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("*", "", true),
            ("a*c", "abbbc", true),
            ("a*c", "abcd", false),
            ("*b*", "abc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*aab", "aaaab", true),
            ("a**b", "ab", true),
            ("ü?", "üß", true),
            ("abc", "ab", false),
        ] {
            assert_eq!(Glob::new(pattern).fits(text), fits, "{pattern} {text}");
        }
    }
}
