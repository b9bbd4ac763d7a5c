//! Which calls somebody wants to see: all conditions must hold, each in any of its values.
//!
//! The same words in queries of `/api/v1/calls` and as flags of `redtap tail`. Bounds: [`MAX_VALUES`] values in all, each of
//! [`MAX_VALUE`] bytes.

use super::tie::Call;
use crate::records;
use redtap_stages::flow::conn::Role;
use redtap_stages::flow::trace::TraceId;
use redtap_stages::time::Nanos;

/// Values of all conditions.
pub const MAX_VALUES: usize = 64;
/// Bytes of a value.
pub const MAX_VALUE: usize = 1_024;

/// Why words are no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No condition of that name.
    #[error("{0:?} is no filter: those are service, peer, protocol, side, status, code, endpoint, slower and trace")]
    Unknown(String),
    /// The value cannot be one.
    #[error("{name}={value:?} is none: write {remedy}")]
    Value {
        /// The condition.
        name: &'static str,
        /// As written.
        value: String,
        /// What can be written.
        remedy: &'static str,
    },
    /// Too much.
    #[error("at most {MAX_VALUES} values of {MAX_VALUE} bytes each")]
    TooMany,
}

/// The conditions. An empty list holds for all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallFilter {
    services: Vec<String>,
    peers: Vec<String>,
    protocols: Vec<String>,
    sides: Vec<Role>,
    statuses: Vec<&'static str>,
    codes: Vec<String>,
    endpoints: Vec<String>,
    traces: Vec<TraceId>,
    slower: Nanos,
    values: usize,
}

impl CallFilter {
    /// Adds a condition, or another value of one.
    ///
    /// # Errors
    /// There is no such condition, the value is none, or there are too many.
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), FilterError> {
        self.values += 1;
        if self.values > MAX_VALUES || value.len() > MAX_VALUE {
            return Err(FilterError::TooMany);
        }
        let wrong = |name, remedy| FilterError::Value { name, value: value.to_owned(), remedy };
        let text = value.to_owned();
        match name {
            "service" => self.services.push(text),
            "peer" => self.peers.push(text),
            "protocol" => self.protocols.push(text),
            "code" => self.codes.push(text),
            "endpoint" => self.endpoints.push(text),
            "side" => self.sides.push(match value {
                "server" => Role::Server,
                "client" => Role::Client,
                _ => return Err(wrong("side", "server or client")),
            }),
            "status" => {
                let known = ["ok", "error", "none", "unknown"].into_iter().find(|known| *known == value);
                self.statuses.push(known.ok_or_else(|| wrong("status", "ok, error, none or unknown"))?);
            }
            "trace" => {
                let id = (1..=32).contains(&value.len()).then(|| u128::from_str_radix(value, 16).ok()).flatten();
                let id = id.and_then(TraceId::new);
                self.traces.push(id.ok_or_else(|| wrong("trace", "the hexadecimal digits of a trace id"))?);
            }
            "slower" => {
                self.slower = duration(value).ok_or_else(|| wrong("slower", "a time such as 100ms or 1.5s"))?;
            }
            _ => return Err(FilterError::Unknown(name.chars().take(64).collect())),
        }
        Ok(())
    }

    /// True if all of them hold.
    #[must_use]
    pub fn wants(&self, call: &Call) -> bool {
        let exchange = &call.joined.converged.exchange;
        let parties = &call.joined.parties;
        let any = |wanted: &[String], have: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == have);
        (self.slower == Nanos::ZERO || exchange.duration().is_some_and(|took| took >= self.slower))
            && (self.traces.is_empty() || self.traces.contains(&call.ids.trace))
            && (self.sides.is_empty() || self.sides.contains(&exchange.side))
            && (self.statuses.is_empty() || self.statuses.contains(&records::status(&call.joined)))
            && any(&self.services, parties.service.as_str())
            && any(&self.peers, parties.peer.as_str())
            && any(&self.protocols, exchange.protocol.name())
            && any(&self.codes, exchange.code.as_str())
            && any(&self.endpoints, call.joined.converged.names.endpoint.as_str())
    }
}

/// A number, which may have a point in it, and `us`, `ms`, `s` or `m`; seconds without.
fn duration(text: &str) -> Option<Nanos> {
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = text.split_at_checked(digits)?;
    let nanos: u64 = match unit {
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "" | "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(part) || part.len() > 9 {
        return None;
    }
    let billionths: u64 = format!("{part:0<9}").parse().ok()?;
    let whole = whole.parse::<u64>().ok()?.checked_mul(nanos)?;
    let part = u128::from(billionths) * u128::from(nanos) / 1_000_000_000;
    whole.checked_add(u64::try_from(part).ok()?).map(Nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_and_refuses_what_is_none() {
        assert_eq!(duration("100ms"), Some(Nanos(100_000_000)));
        assert_eq!(duration("1.5s"), Some(Nanos(1_500_000_000)));
        assert_eq!(duration("2"), Some(Nanos(2_000_000_000)));
        assert_eq!(duration("0.5us"), Some(Nanos(500)));
        for bad in ["", "ms", ".5s", "1h2", "-1s", "1..2s", "99999999999999999999s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn refuses_unknown_conditions_and_values_and_too_many() {
        let mut filter = CallFilter::default();
        for (name, value) in [
            ("status", "fine"),
            ("side", "middle"),
            ("trace", "xyz"),
            ("trace", "0"),
            ("slower", "soon"),
            ("host", "a"),
        ] {
            assert!(filter.add(name, value).is_err(), "{name}={value}");
        }
        let mut filter = CallFilter::default();
        for _ in 0..MAX_VALUES {
            filter.add("service", "shop").unwrap();
        }
        assert_eq!(filter.add("service", "shop"), Err(FilterError::TooMany));
    }
}
