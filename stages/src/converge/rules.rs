//! What a user may say about endpoints: route patterns, known methods, bounds.

use crate::limits;
use std::str::FromStr;

/// Methods of RFC 9110 (section 9), PATCH (RFC 5789) and QUERY: the known ones unless configured otherwise.
pub const HTTP_METHODS: &[&str] =
    &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];

/// Most patterns, and most known methods.
pub const MAX_RULES: usize = 256;

/// How exchanges get their endpoint.
#[derive(Debug, Clone)]
pub struct ConvergeRules {
    /// Routes that the user knows, tried in order before anything is guessed. The first [`MAX_RULES`] count.
    pub patterns: Vec<Pattern>,
    /// HTTP methods reported by name, case-sensitive; all others are `_OTHER`. The first [`MAX_RULES`] count.
    pub methods: Vec<Box<str>>,
    /// Distinct names at one place of a route before it becomes `{var}`. At most [`limits::MAX_ROUTE_LEARNED`].
    pub learned: usize,
    /// Distinct endpoints of one service; past that, the overflow endpoint.
    pub endpoints: usize,
    /// Labels of a DNS name that are its endpoint, from the right: 2 makes `example.org` of `www.example.org`. 0: none.
    pub dns_labels: usize,
}

impl Default for ConvergeRules {
    fn default() -> Self {
        Self {
            patterns: Vec::new(),
            methods: HTTP_METHODS.iter().map(|&method| method.into()).collect(),
            learned: limits::ROUTE_LEARNED,
            endpoints: limits::SERIES_PER_SERVICE,
            dns_labels: 0,
        }
    }
}

/// A route that the user knows: `/users/{id}`, `/static/**`, `/files/*.pdf`.
///
/// Segment by segment: `{name}` and `*` match one segment that is not empty, `*` inside a segment any run of characters, `**` as
/// the last segment any number of segments, anything else itself. The endpoint is the pattern as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    segments: Vec<Piece>,
    open: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Exact(Box<str>),
    Any,
    Glob(Box<str>),
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It has no `/` at its beginning.
    #[error("a route pattern begins with a slash")]
    NoSlash,
    /// It is longer than a symbol may be.
    #[error("a route pattern has at most {} bytes", limits::MAX_SYMBOL)]
    TooLong,
    /// `**` somewhere else than at the end.
    #[error("`**` may only be the last segment of a route pattern")]
    OpenInside,
    /// `{`, `}` not around a whole segment.
    #[error("`{{name}}` stands for a whole segment of a route pattern")]
    Braces,
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let path = text.strip_prefix('/').ok_or(PatternError::NoSlash)?;
        if text.len() > limits::MAX_SYMBOL {
            return Err(PatternError::TooLong);
        }
        let (path, open) = match path.strip_suffix("**") {
            Some("") => (None, true),
            Some(rest) => (Some(rest.strip_suffix('/').ok_or(PatternError::OpenInside)?), true),
            None => (Some(path), false),
        };
        let segments = path.map(|path| path.split('/').map(piece).collect()).unwrap_or(Ok(Vec::new()))?;
        Ok(Self { text: text.into(), segments, open })
    }
}

fn piece(segment: &str) -> Result<Piece, PatternError> {
    let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let name = inner.unwrap_or(segment);
    if name.contains(['{', '}']) || inner.is_some_and(str::is_empty) {
        return Err(PatternError::Braces);
    }
    match segment {
        _ if inner.is_some() => Ok(Piece::Any),
        "*" => Ok(Piece::Any),
        _ if segment.contains("**") => Err(PatternError::OpenInside),
        _ if segment.contains('*') => Ok(Piece::Glob(segment.into())),
        _ => Ok(Piece::Exact(segment.into())),
    }
}

impl Pattern {
    /// The pattern as written; the endpoint of what it matches.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Does it match this path (without query)?
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else { return false };
        let mut segments = path.split('/');
        for piece in &self.segments {
            let Some(segment) = segments.next() else { return false };
            let matches = match piece {
                Piece::Exact(text) => **text == *segment,
                Piece::Any => !segment.is_empty(),
                Piece::Glob(glob) => glob_matches(glob, segment),
            };
            if !matches {
                return false;
            }
        }
        self.open || segments.next().is_none()
    }
}

/// `*` is any run of characters. Each literal part is found from the left, so the time is bounded by the product of the lengths.
fn glob_matches(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn matches_segment_by_segment() {
        assert!(pattern("/users/{id}").matches("/users/ann"));
        assert!(!pattern("/users/{id}").matches("/users/"));
        assert!(!pattern("/users/{id}").matches("/users/ann/posts"));
        assert!(pattern("/users/*/posts").matches("/users/ann/posts"));
        assert!(pattern("/").matches("/"));
        assert!(!pattern("/").matches("/a"));
    }

    #[test]
    fn matches_globs_and_open_ends() {
        assert!(pattern("/files/*.pdf").matches("/files/a.b.pdf"));
        assert!(!pattern("/files/*.pdf").matches("/files/a.pdf.exe"));
        assert!(pattern("/f/a*b*c").matches("/f/a-b-b-c"));
        assert!(!pattern("/f/a*b*c").matches("/f/a-c"));
        assert!(!pattern("/f/ab*bc").matches("/f/abc"), "a character is matched once");
        for path in ["/static/", "/static/a", "/static/a/b/c", "/static"] {
            assert!(pattern("/static/**").matches(path), "{path}");
        }
        assert!(!pattern("/static/**").matches("/statics/a"));
        assert!(pattern("/**").matches("/anything/at/all"));
    }

    #[test]
    fn refuses_what_is_no_pattern() {
        assert_eq!("users".parse::<Pattern>(), Err(PatternError::NoSlash));
        assert_eq!("/a/**/b".parse::<Pattern>(), Err(PatternError::OpenInside));
        assert_eq!("/a**".parse::<Pattern>(), Err(PatternError::OpenInside));
        assert_eq!("/a/{".parse::<Pattern>(), Err(PatternError::Braces));
        assert_eq!("/a/x{id}".parse::<Pattern>(), Err(PatternError::Braces));
        assert_eq!(format!("/{}", "a".repeat(256)).parse::<Pattern>(), Err(PatternError::TooLong));
    }
}
