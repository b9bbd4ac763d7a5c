//! How to reach a receiver: the keys that every section of an exporter has, read alike.
//!
//! Their names, defaults and sentences are one table too ([`super::keys`]). A section may have them with something before their
//! names (`ui.query_url`, `alarms.slack_timeout`), and its URLs under other names or several of them ([`Way::to`]).

use super::keys::HIDDEN;
use super::read::Reader;
use crate::export::client::{Auth, ClientSettings, Secret, TlsSettings};
use reqwest::Url;
use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING, USER_AGENT,
};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::path::PathBuf;
use std::time::Duration;

/// Longest time that one request may be given.
const MAX_TIMEOUT: Duration = Duration::from_secs(300);

/// The receiver of `section`; none if its `url` is empty. The other keys are checked all the same.
pub(super) fn client(reader: &mut Reader<'_>, section: &str) -> Option<ClientSettings> {
    client_within(reader, section, MAX_TIMEOUT)
}

/// The same, of one that may take at most so long.
pub(super) fn client_within(reader: &mut Reader<'_>, section: &str, most: Duration) -> Option<ClientSettings> {
    let url = reader.url(&key(section, "url"));
    let way = Way::read_within(reader, section, most);
    Some(way.to(url?))
}

/// How to reach receivers, whatever their URLs are.
#[derive(Debug)]
pub(super) struct Way {
    timeout: Duration,
    auth: Auth,
    headers: HeaderMap,
    tls: TlsSettings,
    proxy: Option<Url>,
}

impl Way {
    /// That of `section`.
    pub(super) fn read(reader: &mut Reader<'_>, section: &str) -> Self {
        Self::read_within(reader, section, MAX_TIMEOUT)
    }

    /// The same, of one request that may take at most so long.
    fn read_within(reader: &mut Reader<'_>, section: &str, most: Duration) -> Self {
        let key = |name: &str| key(section, name);
        let timeout = reader.duration(&key("timeout"), Duration::from_millis(100)..=most);
        let auth = auth(reader, section);
        let headers = headers(reader, &key("headers"));
        let identity = identity(reader, section);
        let server_name = reader.text(&key("tls_server_name")).and_then(|text| match text.clone().try_into() {
            Ok(name) => Some(name),
            Err(_) => {
                let remedy = "write the name of a host or an address";
                reader.problem(&key("tls_server_name"), &text, "is not a name", remedy);
                None
            }
        });
        let ca_file = reader.text(&key("tls_ca_file")).map(PathBuf::from);
        let insecure = reader.truth(&key("tls_insecure"));
        let proxy = reader.url(&key("proxy"));
        Self { timeout, auth, headers, tls: TlsSettings { ca_file, identity, server_name, insecure }, proxy }
    }

    /// The receiver with this URL.
    pub(super) fn to(&self, url: Url) -> ClientSettings {
        ClientSettings {
            auth: self.auth.clone(),
            headers: self.headers.clone(),
            tls: self.tls.clone(),
            proxy: self.proxy.clone(),
            ..ClientSettings::new(url, self.timeout)
        }
    }
}

/// The key of that name in a section; of one that ends in `_`, one whose name begins with what comes after the dot.
fn key(section: &str, name: &str) -> String {
    if section.ends_with('_') { format!("{section}{name}") } else { format!("{section}.{name}") }
}

fn auth(reader: &mut Reader<'_>, section: &str) -> Auth {
    let user = reader.text(&key(section, "basic_user"));
    let password = secret(reader, section, "basic_password");
    let token = secret(reader, section, "bearer_token");
    let place = key(section, "basic_user");
    match (user, password, token) {
        (Some(user), _, Some(_)) => {
            reader.problem(&place, &user, "is written besides bearer_token", "keep one of the two");
            Auth::None
        }
        (Some(user), _, None) if user.contains(':') => {
            reader.problem(&place, &user, "has a colon, which ends the name (RFC 7617)", "write the name without it");
            Auth::None
        }
        (Some(user), password, None) => {
            Auth::Basic { user, password: password.unwrap_or_else(|| Secret::Value(String::new())) }
        }
        (None, Some(_), _) => {
            let place = key(section, "basic_password");
            reader.problem(&place, HIDDEN, "has no user", "write its name as basic_user");
            Auth::None
        }
        (None, None, Some(token)) => Auth::Bearer(token),
        (None, None, None) => Auth::None,
    }
}

/// A value, or the file that `NAME_file` names.
fn secret(reader: &mut Reader<'_>, section: &str, name: &str) -> Option<Secret> {
    let key = key(section, name);
    let value = reader.text(&key);
    let file = reader.text(&format!("{key}_file"));
    if value.is_some() && file.is_some() {
        reader.problem(&key, HIDDEN, format!("is written besides {name}_file"), "keep one of the two");
    }
    if value.as_ref().is_some_and(|value| HeaderValue::try_from(value).is_err()) {
        reader.problem(&key, HIDDEN, "holds what no header can hold", "write it without control characters");
    }
    value.map(Secret::Value).or(file.map(|file| Secret::File(file.into())))
}

fn identity(reader: &mut Reader<'_>, section: &str) -> Option<(PathBuf, PathBuf)> {
    let key = |name: &str| key(section, name);
    let (certificate, private) = (reader.text(&key("tls_cert_file")), reader.text(&key("tls_key_file")));
    match (certificate, private) {
        (Some(certificate), Some(private)) => Some((certificate.into(), private.into())),
        (Some(certificate), None) => {
            reader.problem(&key("tls_cert_file"), &certificate, "has no key", "name it in tls_key_file");
            None
        }
        (None, Some(private)) => {
            reader.problem(&key("tls_key_file"), &private, "has no certificate", "name it in tls_cert_file");
            None
        }
        (None, None) => None,
    }
}

/// All values are treated as secret: headers are a usual place for keys.
fn headers(reader: &mut Reader<'_>, key: &str) -> HeaderMap {
    // Remote write 2.0, "Protocol": reserved headers cannot be configured.
    let version = HeaderName::from_static("x-prometheus-remote-write-version");
    let ours =
        [AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING, USER_AGENT, version];
    let mut headers = HeaderMap::new();
    for (name, value) in reader.table(key) {
        let place = format!("{key}.{name}");
        match (HeaderName::try_from(&name), HeaderValue::try_from(&value)) {
            (Ok(name), _) if ours.contains(&name) => {
                reader.problem(&place, HIDDEN, "is a header that redtap makes itself", "remove it");
            }
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
            (Err(_), _) => {
                reader.problem(&place, HIDDEN, "is not the name of a header", "write one such as X-Scope-OrgID")
            }
            (_, Err(_)) => {
                reader.problem(&place, HIDDEN, "holds what no header can hold", "write it without control characters");
            }
        }
    }
    headers
}

impl Reader<'_> {
    /// An http or https URL without user and password; `None` for an empty one.
    pub(super) fn url(&mut self, path: &str) -> Option<Url> {
        let text = self.text(path)?;
        let remedy = if path.ends_with(".query_url") {
            "write one such as http://prometheus:9090"
        } else {
            "write one such as https://host:9090/api/v1/write"
        };
        match Url::parse(&text) {
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                self.problem(
                    path,
                    HIDDEN,
                    "has a user or password in it",
                    "write them as basic_user and basic_password",
                );
                None
            }
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => Some(url),
            // It may hold a password: it is not repeated.
            _ => {
                self.problem(path, HIDDEN, "is not an http or https URL", remedy);
                None
            }
        }
    }
}
