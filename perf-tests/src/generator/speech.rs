//! What the generator says and how it knows that an answer is whole.

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// Bytes of a head that are kept at most.
const MAX_HEAD: usize = 16 * 1024;
/// What stands in a path for a word, and how many words there are: fewer than an agent takes for ids.
const WORD: &str = "{word}";
const WORDS: u8 = 19;
/// Keys of Redis that are asked for.
const KEYS: u32 = 10_000;

/// A protocol and what is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Speech {
    /// HTTP/1.1 GET of a path, in which `{word}` is one of 19 words; answers have a Content-Length.
    Http {
        /// The path.
        path: String,
    },
    /// GET of one of 10 000 keys; answers are a simple or a bulk string.
    Redis,
    /// A of a name over UDP; an answer is a datagram without an error.
    Dns {
        /// The name, without the last dot.
        name: String,
    },
}

/// How much of an answer has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The head as far as it has come.
    head: Vec<u8>,
    /// Bytes of the body that are to come.
    rest: usize,
}

impl Speech {
    pub(super) fn is_datagram(&self) -> bool {
        matches!(self, Self::Dns { .. })
    }

    /// Writes a request over `request`.
    pub(super) fn ask(&self, random: &mut fastrand::Rng, request: &mut Vec<u8>) {
        request.clear();
        match self {
            Self::Http { path } => {
                request.extend_from_slice(b"GET ");
                // Between two pieces stands a word.
                for (number, piece) in path.split(WORD).enumerate() {
                    if number > 0 {
                        request.extend_from_slice(format!("w{}", char::from(b'a' + random.u8(..WORDS))).as_bytes());
                    }
                    request.extend_from_slice(piece.as_bytes());
                }
                request.extend_from_slice(b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
            }
            Self::Redis => {
                let key = format!("key:{:012}", random.u32(..KEYS));
                request.extend_from_slice(format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()).as_bytes());
            }
            Self::Dns { name } => {
                // RFC 1035, 4.1: id, recursion desired, one question.
                request.extend_from_slice(&random.u16(..).to_be_bytes());
                request.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
                for label in name.split('.') {
                    request.push(u8::try_from(label.len()).unwrap_or(63));
                    request.extend_from_slice(label.as_bytes());
                }
                // The root, type A, class IN.
                request.extend_from_slice(&[0, 0, 1, 0, 1]);
            }
        }
    }

    /// Takes what was read; true when the answer is whole.
    pub(super) fn hear(&self, progress: &mut Progress, bytes: &[u8]) -> Result<bool> {
        if let Self::Dns { .. } = self {
            let flags = bytes.get(3).context("an answer without a head")?;
            ensure!(flags & 0x0f == 0, "the server answers with code {}", flags & 0x0f);
            return Ok(true);
        }
        if progress.rest > 0 {
            progress.rest = progress.rest.checked_sub(bytes.len()).context("more than was announced")?;
            return Ok(progress.rest == 0);
        }
        progress.head.extend_from_slice(bytes);
        let (head, body) = match self {
            Self::Http { .. } => http_head(&progress.head)?,
            _ => redis_head(&progress.head)?,
        }
        .unwrap_or((0, 0));
        if head == 0 {
            ensure!(progress.head.len() < MAX_HEAD, "a head without an end");
            return Ok(false);
        }
        let got = progress.head.len() - head;
        progress.rest = body.checked_sub(got).context("more than was announced")?;
        progress.head.clear();
        Ok(progress.rest == 0)
    }
}

/// Bytes of the head and of the body, if the head is whole.
fn http_head(bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(bytes.get(..end).unwrap_or_default())?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "the server answers {head:?}");
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(':').context("a line without a name")?;
        if name.eq_ignore_ascii_case("content-length") {
            return Ok(Some((end + 4, value.trim().parse()?)));
        }
    }
    bail!("an answer without a length: {head:?}")
}

/// The same of `+OK`, `$-1` and `$3` with three bytes.
fn redis_head(bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let line = std::str::from_utf8(bytes.get(..end).unwrap_or_default())?;
    Ok(match line.split_at_checked(1) {
        Some(("+", _)) | Some(("$", "-1")) => Some((end + 2, 0)),
        Some(("$", length)) => Some((end + 2, length.parse::<usize>()? + 2)),
        _ => bail!("the server answers {line:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the bytes are cut, the answer is whole with its last byte and not before.
    fn whole_at_the_end(speech: &Speech, answer: &[u8]) {
        for cut in 1..answer.len() {
            let mut progress = Progress::default();
            assert!(!speech.hear(&mut progress, &answer[..cut]).unwrap(), "{cut}");
            assert!(speech.hear(&mut progress, &answer[cut..]).unwrap(), "{cut}");
        }
        assert!(speech.hear(&mut Progress::default(), answer).unwrap());
    }

    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        let http = Speech::Http { path: "/".to_owned() };
        whole_at_the_end(&http, b"HTTP/1.1 200 OK\r\nX: y\r\ncontent-length: 5\r\n\r\n12345");
        whole_at_the_end(&Speech::Redis, b"$3\r\nabc\r\n");
        whole_at_the_end(&Speech::Redis, b"$-1\r\n");
    }

    #[test]
    fn an_error_is_an_error() {
        let http = Speech::Http { path: "/".to_owned() };
        assert!(http.hear(&mut Progress::default(), b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").is_err());
        assert!(Speech::Redis.hear(&mut Progress::default(), b"-ERR no\r\n").is_err());
        let dns = Speech::Dns { name: "a".to_owned() };
        assert!(dns.hear(&mut Progress::default(), &[0, 0, 0x81, 3, 0, 0]).is_err());
    }

    #[test]
    fn a_question_is_what_the_standard_says() {
        let mut request = Vec::new();
        Speech::Dns { name: "www.example.test".to_owned() }.ask(&mut fastrand::Rng::with_seed(1), &mut request);
        assert_eq!(
            request[2..],
            *b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x04test\x00\x00\x01\x00\x01"
        );
    }
}
