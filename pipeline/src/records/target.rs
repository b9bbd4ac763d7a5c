//! What of a target is shown.

use redtap_stages::flow::exchange::Exchange;
use redtap_stages::limits::MAX_TARGET;
use redtap_stages::protocols::traits::Endpoint;
use redtap_stages::sql;
use std::borrow::Cow;

/// Whether targets are shown as they were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Targets {
    /// As on the wire: keys, literals and query strings with them.
    Raw,
    /// Without what may be data: a statement without literals and comments, a path without its query, no key.
    Masked,
}

impl Targets {
    /// The target of an exchange, as far as it is shown.
    pub(crate) fn of(self, exchange: &Exchange) -> Cow<'_, str> {
        let target = exchange.target.as_str();
        let endpoint = exchange.protocol.traits().map(|traits| traits.endpoint);
        match (self, endpoint) {
            (Self::Raw, _) => target.into(),
            (Self::Masked, Some(Endpoint::Route)) => path(target),
            (Self::Masked, Some(Endpoint::Query(dialect))) => masked(dialect, target).into(),
            (Self::Masked, Some(Endpoint::Suffix | Endpoint::Target)) => target.into(),
            (Self::Masked, Some(Endpoint::Method) | None) => "".into(),
        }
    }
}

/// The path of a target alone: without query and fragment, without what stands before it in absolute form (to a proxy; there may be
/// credentials in it), and without the parameters of its segments (`;jsessionid=...`). What is no path stays as it is.
fn path(target: &str) -> Cow<'_, str> {
    let target = target.split(['?', '#']).next().unwrap_or_default();
    let path = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None if target.starts_with('/') => target,
        // An authority (CONNECT) may have them too.
        None => target.rsplit_once('@').map_or(target, |(_, host)| host),
    };
    if !path.contains(';') {
        return path.into();
    }
    let segments: Vec<&str> = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    segments.join("/").into()
}

/// Masking makes no text longer.
fn masked(dialect: sql::Dialect, statement: &str) -> String {
    let mut room = [0; MAX_TARGET];
    String::from_utf8_lossy(sql::mask(dialect, statement.as_bytes(), &mut room)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_ends_before_its_query() {
        assert_eq!(path("/a/b?token=secret#x"), "/a/b");
        assert_eq!(path("*"), "*");
        assert_eq!(path("example.org:443"), "example.org:443");
    }

    #[test]
    fn a_path_has_nothing_that_may_be_a_secret_before_or_in_it() {
        assert_eq!(path("http://example.org/a#secret"), "/a");
        assert_eq!(path("http://ann:secret@example.org/a"), "/a");
        assert_eq!(path("http://ann:secret@example.org?b=/c"), "/");
        assert_eq!(path("ann:secret@example.org:443"), "example.org:443");
        assert_eq!(path("/@a/b@c"), "/@a/b@c");
        assert_eq!(path("/a;jsessionid=secret/b;v=1?c"), "/a/b");
    }

    #[test]
    fn a_statement_keeps_no_literal() {
        let masked = masked(sql::Dialect::Postgres, "SELECT 'secret' FROM t WHERE a IN (1, 2)");
        assert_eq!(masked, "SELECT ? FROM t WHERE a IN (?)");
    }
}
