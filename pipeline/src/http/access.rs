//! Who may ask: the name that the request gives the agent, and the token.
//!
//! **Host.** A page of a stranger can make its own name resolve to this machine's loopback (DNS rebinding) and would then be
//! of the same origin as the agent. The name it uses is in the Host header, though: an address, `localhost`, the machine's
//! own names and those of `http.hosts` are answered, others get 421.
//!
//! **Token.** Where one is set, everything but `/healthz` and `/readyz` needs it: as `Authorization: Bearer`, or, for
//! browsers, once as `?token=`, which is turned into a cookie that scripts cannot read and other sites cannot send. The cookie
//! holds a keyed hash, not the token. Comparisons take the same time wherever the difference is.
//!
//! **Pages.** A page of a stranger cannot read what it asks of the agent, but asking costs the agent work. Browsers say whose page asks
//! (`Sec-Fetch-Site`, W3C Fetch Metadata): another site's gets 403, unless somebody follows a link to here.
//!
//! Absent: users, roles, sessions. A new token makes all cookies void.

use axum::http::header::{AUTHORIZATION, COOKIE, HOST};
use axum::http::{HeaderMap, Uri};
use ring::hmac;
use std::net::IpAddr;

/// The cookie's name.
const COOKIE_NAME: &str = "redtap";
/// How long a browser keeps it, seconds.
const COOKIE_KEPT: u32 = 30 * 86_400;

/// Asked by a page of another site, and not by somebody who follows a link.
fn is_of_another_page(headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|said| said.as_bytes() == value.as_bytes());
    let elsewhere = is("sec-fetch-site", "cross-site") || is("sec-fetch-site", "same-site");
    elsewhere && !(is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document"))
}

/// What is asked of a request.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Lower case; those that begin with `*.` stand for all below.
    hosts: Vec<String>,
    token: Option<Token>,
    /// The cookie is only for TLS.
    secure: bool,
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// It is meant for somebody else.
    Host,
    /// It has no token, or another one.
    Token,
    /// A page of somebody else asks.
    Page,
}

/// What is to be done with a request that may be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Allowed {
    /// Answer it.
    Answer,
    /// Send the browser to this path, with this cookie.
    Enter { location: String, cookie: String },
}

/// A secret as it is compared.
#[derive(Debug, Clone)]
struct Token {
    /// Keyed with the token.
    key: hmac::Key,
}

impl Token {
    fn new(token: &str) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes()) }
    }

    /// What the cookie holds.
    fn cookie(&self) -> String {
        hex(hmac::sign(&self.key, b"redtap cookie 1").as_ref())
    }

    /// Both as keys of the same message: the tags are equal if the tokens are, and are compared in constant time.
    fn is(&self, presented: &str) -> bool {
        let presented = hmac::Key::new(hmac::HMAC_SHA256, presented.as_bytes());
        hmac::verify(&self.key, b"redtap token", hmac::sign(&presented, b"redtap token").as_ref()).is_ok()
    }

    fn is_cookie(&self, presented: &str) -> bool {
        unhex(presented).is_some_and(|tag| hmac::verify(&self.key, b"redtap cookie 1", &tag).is_ok())
    }
}

impl Access {
    /// Answers to `hosts` besides addresses, `localhost` and this machine's names; asks for `token`, if there is one.
    #[must_use]
    pub fn new(hosts: &[String], token: Option<&str>, secure: bool) -> Self {
        let node = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
        let short = node.split('.').next().unwrap_or("").to_owned();
        let own = ["localhost".to_owned(), node, short];
        let hosts = own.into_iter().chain(hosts.iter().map(|host| host.to_lowercase()));
        Self { hosts: hosts.filter(|host| !host.is_empty()).collect(), token: token.map(Token::new), secure }
    }

    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<Allowed, Denied> {
        let named = headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or("?"));
        // A request without a name is of no browser.
        if !named.chain(uri.authority().map(|name| name.as_str())).all(|host| self.is_host(host)) {
            return Err(Denied::Host);
        }
        if is_of_another_page(headers) {
            return Err(Denied::Page);
        }
        let Some(token) = &self.token else { return Ok(Allowed::Answer) };
        if matches!(uri.path(), "/healthz" | "/readyz") || token.is_in(headers) {
            return Ok(Allowed::Answer);
        }
        match asked(uri.query().unwrap_or("")) {
            (Some(presented), rest) if token.is(&presented) => Ok(Allowed::Enter {
                location: location(uri.path(), &rest),
                cookie: format!(
                    "{COOKIE_NAME}={}; Path=/; Max-Age={COOKIE_KEPT}; HttpOnly; SameSite=Strict{}",
                    token.cookie(),
                    if self.secure { "; Secure" } else { "" }
                ),
            }),
            _ => Err(Denied::Token),
        }
    }

    /// A Host header's value, with or without a port.
    fn is_host(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        if literal.parse::<IpAddr>().is_ok() {
            return true;
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        self.hosts.iter().any(|known| match known.strip_prefix('*') {
            Some(below) => name.ends_with(below) && name.len() > below.len(),
            None => *known == name,
        })
    }
}

impl Token {
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        if bearer.is_some_and(|token| self.is(token)) {
            return true;
        }
        headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).any(|cookies| {
            cookies
                .split(';')
                .filter_map(|cookie| cookie.trim().split_once('='))
                .any(|(name, value)| name == COOKIE_NAME && self.is_cookie(value))
        })
    }
}

/// The token of a query, and the rest of it. The token is of letters that need no escape (the settings see to it).
fn asked(query: &str) -> (Option<String>, String) {
    let (tokens, rest): (Vec<&str>, Vec<&str>) = query.split('&').partition(|part| part.starts_with("token="));
    let token = tokens.first().and_then(|part| part.split_once('=')).map(|(_, token)| token.to_owned());
    (token, rest.join("&"))
}

/// A path of this server. Of several slashes in front one is left, because a browser takes two for another host.
fn location(path: &str, query: &str) -> String {
    let path = path.trim_start_matches(['/', '\\']);
    if query.is_empty() { format!("/{path}") } else { format!("/{path}?{query}") }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    // A tag of SHA-256.
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    text.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(axum::http::HeaderName, &str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    fn check(access: &Access, path: &str, all: &[(axum::http::HeaderName, &str)]) -> Result<Allowed, Denied> {
        access.check(&path.parse().unwrap(), &headers(all))
    }

    #[test]
    fn pages_of_others_make_no_work_but_links_lead_here() {
        let access = Access::default();
        let from = |site: &'static str, mode: &'static str, dest: &'static str| {
            let name = axum::http::HeaderName::from_static;
            let all = [(name("sec-fetch-site"), site), (name("sec-fetch-mode"), mode), (name("sec-fetch-dest"), dest)];
            check(&access, "/metrics", &all)
        };
        assert_eq!(from("cross-site", "no-cors", "empty"), Err(Denied::Page));
        assert_eq!(from("same-site", "cors", "empty"), Err(Denied::Page));
        assert_eq!(from("cross-site", "navigate", "iframe"), Err(Denied::Page));
        for (site, mode, dest) in
            [("cross-site", "navigate", "document"), ("same-origin", "cors", "empty"), ("none", "navigate", "document")]
        {
            assert_eq!(from(site, mode, dest), Ok(Allowed::Answer), "{site}");
        }
    }

    #[test]
    fn answers_to_addresses_and_its_own_names_alone() {
        let access = Access::new(&["redtap.example".to_owned(), "*.svc.local".to_owned()], None, false);
        let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
        for host in [
            "127.0.0.1",
            "127.0.0.1:9464",
            "[::1]:9464",
            "[::1]",
            "10.1.2.3",
            "localhost",
            "LOCALHOST:80",
            "localhost.",
            "redtap.example:1",
            "a.svc.local",
            node.as_str(),
        ] {
            assert_eq!(check(&access, "/", &[(HOST, host)]), Ok(Allowed::Answer), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "svc.local",
            ".svc.local",
            "",
            "evil:80:80",
            "redtap.example.evil",
            "[evil]",
        ] {
            assert_eq!(check(&access, "/", &[(HOST, host)]), Err(Denied::Host), "{host}");
        }
        assert_eq!(check(&access, "/", &[]), Ok(Allowed::Answer));
        assert_eq!(check(&access, "/", &[(HOST, "localhost"), (HOST, "evil.example")]), Err(Denied::Host));
        assert_eq!(check(&access, "http://evil.example/", &[(HOST, "localhost")]), Err(Denied::Host));
    }

    #[test]
    fn a_token_opens_and_nothing_else_does() {
        let access = Access::new(&[], Some("0123456789abcdef"), true);
        let bearer = |text| check(&access, "/metrics", &[(AUTHORIZATION, text)]);
        assert_eq!(bearer("Bearer 0123456789abcdef"), Ok(Allowed::Answer));
        assert_eq!(bearer("bearer 0123456789abcdef"), Ok(Allowed::Answer));
        for wrong in ["Bearer 0123456789abcdeg", "Bearer ", "Bearer", "0123456789abcdef", "Basic 0123456789abcdef"] {
            assert_eq!(bearer(wrong), Err(Denied::Token), "{wrong}");
        }
        assert_eq!(check(&access, "/metrics", &[]), Err(Denied::Token));
        assert_eq!(check(&access, "/healthz", &[]), Ok(Allowed::Answer));
        assert_eq!(check(&access, "/healthz/x", &[]), Err(Denied::Token));
        assert_eq!(check(&access, "/healthz", &[(HOST, "evil.example")]), Err(Denied::Host));
    }

    #[test]
    fn a_browser_enters_with_the_token_once_and_has_a_cookie_then() {
        let access = Access::new(&[], Some("0123456789abcdef"), true);
        let entered = check(&access, "//evil.example/a?x=1&token=0123456789abcdef&y=2", &[]);
        let Ok(Allowed::Enter { location, cookie }) = entered else { panic!("{entered:?}") };
        assert_eq!(location, "/evil.example/a?x=1&y=2");
        assert!(cookie.ends_with("; Path=/; Max-Age=2592000; HttpOnly; SameSite=Strict; Secure"), "{cookie}");
        assert!(!cookie.contains("0123456789abcdef"));
        let cookie = cookie.split(';').next().unwrap();
        let all = format!("other=1; {cookie}");
        assert_eq!(check(&access, "/", &[(COOKIE, &all)]), Ok(Allowed::Answer));
        let other = Access::new(&[], Some("fedcba9876543210"), true);
        assert_eq!(check(&other, "/", &[(COOKIE, &all)]), Err(Denied::Token));
        assert_eq!(check(&access, "/", &[(COOKIE, "redtap=0123456789abcdef")]), Err(Denied::Token));
        assert_eq!(check(&access, "/?token=wrong", &[]), Err(Denied::Token));
    }
}
