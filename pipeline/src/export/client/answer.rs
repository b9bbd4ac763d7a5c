//! What an answer means: delivered, to be sent again, or refused for good. One rule for all exporters.

use super::Retryable;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use std::time::Duration;

/// Bytes of an answer's body that are kept when it was taken, unless the request says otherwise.
pub const MAX_ANSWER: usize = 64 << 10;
/// Bytes of an answer's body that are kept to say why it was refused.
pub const MAX_REASON: usize = 512;

/// What became of a request.
#[derive(Debug)]
pub enum Outcome {
    /// Taken: the status is 2xx.
    Delivered(Answer),
    /// Not taken now, but perhaps later.
    Retry {
        /// What went wrong.
        why: Failure,
        /// How long the receiver asked to be left alone.
        after: Option<Duration>,
    },
    /// Not taken, and not to be sent again as it is.
    Refused {
        /// The status; 3xx is refused too, because redirections are not followed. Of gRPC, where that was what answered, its status.
        status: u16,
        /// The headers of the answer: a receiver may say in them what it took nevertheless.
        headers: HeaderMap,
        /// The beginning of what the receiver said, at most [`MAX_REASON`] bytes, secrets and control characters
        /// replaced.
        said: String,
    },
}

/// An answer with status 2xx.
#[derive(Debug, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, cut after [`MAX_ANSWER`] bytes, or as many as the request says.
    pub body: Vec<u8>,
}

/// Why a request may be worth another try. None of the texts holds an address, a header or a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection: refused, no route, no name, no TLS.
    #[error("cannot connect")]
    Connect,
    /// There is somebody, but their certificate is not trusted, is over, or is another's.
    #[error("its certificate is not trusted (tls_ca_file), or not of that name (tls_server_name)")]
    Certificate,
    /// No answer within the time.
    #[error("no answer in time")]
    Timeout,
    /// The connection broke before there was an answer.
    #[error("the connection broke")]
    Broken,
    /// A password or token cannot be read, or is no header value.
    #[error("the password or token cannot be read")]
    Credentials,
    /// The receiver said so.
    #[error("the receiver answered {0}")]
    Status(u16),
    /// The receiver said so by gRPC.
    #[error("the receiver answered with the gRPC status {0}")]
    Grpc(u16),
}

impl Failure {
    /// Why there is no connection, by the error and those below it.
    pub(super) fn to_connect(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            // Errors of input and output do not tell of what they wrap as what is below them.
            let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            let inner = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
            if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref::<rustls::Error>().or(inner) {
                return Self::Certificate;
            }
            next = error.source();
        }
        Self::Connect
    }
}

/// What a status means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Delivered,
    Retry,
    Refused,
}

pub(super) fn meaning(status: StatusCode, retryable: Retryable) -> Meaning {
    let again = match retryable {
        Retryable::ServerErrors => status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error(),
        // Of gRPC: what stands in its way and speaks plain HTTP.
        Retryable::Overload | Retryable::Grpc => matches!(status.as_u16(), 429 | 502 | 503 | 504),
    };
    if status.is_success() {
        Meaning::Delivered
    } else if again {
        Meaning::Retry
    } else {
        Meaning::Refused
    }
}

/// `Retry-After` in seconds or as a date (RFC 9110, 10.2.3); what is neither is ignored. `now` is since the Unix epoch.
pub(super) fn retry_after(headers: &HeaderMap, now: Duration) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(at.saturating_sub(now))
}

/// A body as one line for people.
pub(super) fn said(body: &[u8], secrets: &[String]) -> String {
    // Stands for what is hidden until all is, so that no secret is looked for in what is put there.
    const MARK: char = '\u{1}';
    let mut text = String::from_utf8_lossy(body).replace(MARK, " ");
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret.as_str(), "\u{1}");
        // What was read may end within one.
        let cut = (4..secret.len()).rev().filter_map(|end| secret.get(..end)).find(|begin| text.ends_with(begin));
        text.truncate(text.len() - cut.map_or(0, str::len));
    }
    let line = text.trim_matches(|letter: char| letter.is_whitespace() || (letter.is_control() && letter != MARK));
    let line = line.replace(|letter: char| letter.is_control() && letter != MARK, " ").replace(MARK, "(hidden)");
    let end = (0..=line.len().min(MAX_REASON)).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0);
    line.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(value: &str, now: u64) -> Option<u64> {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
        retry_after(&headers, Duration::from_secs(now)).map(|wait| wait.as_secs())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(after("120", 0), Some(120));
        assert_eq!(after(" 0 ", 0), Some(0));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_700), Some(77));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT", 884_111_700), Some(0), "a date that is over");
        assert_eq!(after("soon", 0), None);
        assert_eq!(after("-5", 0), None);
    }

    #[test]
    fn a_status_means_the_same_for_all_who_ask_alike() {
        let of = |status: u16, retryable| meaning(StatusCode::from_u16(status).unwrap(), retryable);
        for status in [200, 202, 204, 299] {
            assert_eq!(of(status, Retryable::ServerErrors), Meaning::Delivered);
        }
        for status in [429, 500, 501, 502, 503, 504, 599] {
            assert_eq!(of(status, Retryable::ServerErrors), Meaning::Retry);
        }
        for status in [301, 307, 400, 401, 403, 404, 413, 415, 499] {
            assert_eq!(of(status, Retryable::ServerErrors), Meaning::Refused);
        }
        let again: Vec<u16> = (400..600).filter(|&status| of(status, Retryable::Overload) == Meaning::Retry).collect();
        assert_eq!(again, [429, 502, 503, 504]);
    }

    #[test]
    fn what_a_receiver_said_is_one_bounded_line_without_secrets() {
        assert_eq!(said(b" no:\r\nBearer abc123 \x1b[1m", &["abc123".to_owned()]), "no:  Bearer (hidden)  [1m");
        assert_eq!(said("é".repeat(MAX_REASON).as_bytes(), &[]).len(), MAX_REASON);
        assert_eq!(said(b"\xff\xfe", &[String::new()]), "\u{fffd}\u{fffd}");
        assert_eq!(said(b"it was /services/T01", &["/services/T0123".to_owned()]), "it was", "cut within a secret");
    }
}
