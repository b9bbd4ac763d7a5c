//! Section `http`: where the endpoint listens, and who may ask.

use super::read::Reader;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Most names that the agent answers to.
const MAX_HOSTS: usize = 64;
/// Longest name, bytes: RFC 1035, section 2.3.4.
const MAX_HOST: usize = 255;
/// Shortest and longest token, bytes.
const TOKEN: std::ops::RangeInclusive<usize> = 16..=256;

/// Section `http`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// `http.listen`; on loopback, unless `http.allow_remote` says otherwise.
    pub listen: SocketAddr,
    /// `http.hosts`.
    pub hosts: Vec<String>,
    /// `http.token` or `http.token_file`.
    pub token: TokenSource,
    /// `http.tls_cert` and `http.tls_key`.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// Where the token comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// There is none.
    None,
    /// This is it.
    Token(String),
    /// It is in this file.
    File(PathBuf),
}

/// Without the token.
impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Token(_) => f.write_str("Token"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("http.token_file = {path:?}: {source}; name a file that the agent may read")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error(
        "http.token_file = {path:?}: is not a token; write 16 to 256 letters, digits, - . _ or ~ into it, on one line"
    )]
    Content {
        /// Which.
        path: PathBuf,
    },
}

impl TokenSource {
    /// The token, if there is one.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn read(&self) -> Result<Option<String>, TokenError> {
        match self {
            Self::None => Ok(None),
            Self::Token(token) => Ok(Some(token.clone())),
            Self::File(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|source| TokenError::File { path: path.clone(), source })?;
                let token = text.trim();
                if is_token(token) {
                    Ok(Some(token.to_owned()))
                } else {
                    Err(TokenError::Content { path: path.clone() })
                }
            }
        }
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> HttpSettings {
    let listen = reader.parsed(
        "http.listen",
        SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)),
        "is not an address with a port",
        "write one such as 127.0.0.1:9464 or [::1]:9464",
    );
    if !reader.truth("http.allow_remote") && !listen.ip().to_canonical().is_loopback() {
        reader.refuse(
            "http.listen",
            "can be reached from other machines",
            "write a loopback address such as 127.0.0.1:9464, or, if that is wanted, http.allow_remote = true (and think of \
             http.token and http.tls_cert)",
        );
    }
    HttpSettings {
        listen,
        hosts: reader.entries("http.hosts", MAX_HOSTS, host),
        token: token(reader),
        tls: tls(reader),
    }
}

fn token(reader: &mut Reader<'_>) -> TokenSource {
    match (reader.text("http.token"), reader.text("http.token_file")) {
        (None, None) => TokenSource::None,
        (None, Some(path)) => TokenSource::File(PathBuf::from(path)),
        (Some(_), Some(_)) => {
            reader.refuse("http.token_file", "does not go with http.token", "write one of the two");
            TokenSource::None
        }
        (Some(token), None) if is_token(&token) => TokenSource::Token(token),
        (Some(_), None) => {
            reader.refuse("http.token", "is not a token", "write 16 to 256 letters, digits, - . _ or ~");
            TokenSource::None
        }
    }
}

/// The letters that a URL takes as they are (RFC 3986, section 2.3), which all other places take, too.
fn is_token(text: &str) -> bool {
    TOKEN.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

fn tls(reader: &mut Reader<'_>) -> Option<(PathBuf, PathBuf)> {
    match (reader.text("http.tls_cert"), reader.text("http.tls_key")) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some((PathBuf::from(cert), PathBuf::from(key))),
        (Some(_), None) => {
            reader.refuse("http.tls_cert", "has no key", "name its key in http.tls_key");
            None
        }
        (None, Some(_)) => {
            reader.refuse("http.tls_key", "has no certificate", "name its certificate in http.tls_cert");
            None
        }
    }
}

fn host(text: &str) -> Result<String, (&'static str, &'static str)> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !name.is_empty() && text.len() <= MAX_HOST && !name.starts_with('.') && name.bytes().all(letter) {
        Ok(text.to_owned())
    } else {
        Err(("is not a host name", "write one such as redtap.example.com or *.example.com, without a port"))
    }
}
