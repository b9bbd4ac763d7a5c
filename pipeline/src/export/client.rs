//! The HTTP client of everything that sends: remote write, OTLP, alarms. A thin wrapper around `reqwest`.
//!
//! Life cycle: [`ClientSettings`] (checked when the configuration is read) -> [`Client::new`] -> [`Client::send`] for each
//! request, which answers with an [`Outcome`]: delivered, to be sent again, or refused for good.
//!
//! **Invariant:** no secret is in `Debug`, a log line or an error: passwords and tokens are [`Secret`]s, headers of the
//! configuration are marked sensitive, and what a receiver said is searched for both before anyone sees it.
//!
//! gRPC is spoken where [`ClientSettings::http2`] and [`Retryable::Grpc`] say so: one message there, one back, and the status in the
//! trailers (the feature `otlp-grpc`).
//!
//! Bounds: a request ends after [`ClientSettings::timeout`] in all; of an answer [`MAX_ANSWER`] bytes are read ([`Request::reading`]:
//! more), of a refusal [`MAX_REASON`]. Redirections are not followed: a body and its credentials go where the configuration says.
//! Proxies are those of the configuration, never of the environment.
//!
//! Absent: retrying (see [`super::backoff`]), counting, compression, reading certificates anew while running.

mod answer;
#[cfg(feature = "otlp-grpc")]
mod grpc;
mod secret;
mod tls;

pub use answer::{Answer, Failure, MAX_ANSWER, MAX_REASON, Outcome};
pub use secret::{MAX_SECRET, Secret};
pub use tls::config as tls_config;

use crate::clock;
use answer::Meaning;
use bytes::Bytes;
#[cfg(feature = "otlp-grpc")]
use grpc::Channel;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use rustls::pki_types::ServerName;
use std::path::PathBuf;
use std::time::Duration;

/// What every receiver is told that we are.
pub const USER_AGENT: &str = concat!("redtap/", env!("CARGO_PKG_VERSION"));

/// How to prove who we are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// RFC 7617.
    Basic {
        /// Without a colon.
        user: String,
        /// Its password.
        password: Secret,
    },
    /// RFC 6750.
    Bearer(Secret),
}

/// How to prove who the receiver is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsSettings {
    /// Certificates (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate chain and its key, both PEM: mutual TLS.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that the receiver's certificate must bear; none: the host of the URL.
    pub server_name: Option<ServerName<'static>>,
    /// Take any certificate.
    pub insecure: bool,
}

/// How to reach a receiver. Nothing in it can be wrong but what the files hold.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// Where to; http or https, without user and password.
    pub url: Url,
    /// Most time that one request may take, until the end of the answer.
    pub timeout: Duration,
    /// Who we are.
    pub auth: Auth,
    /// Sent with every request; values may be secret.
    pub headers: HeaderMap,
    /// TLS, if the URL asks for it.
    pub tls: TlsSettings,
    /// HTTP proxy, likewise without user and password.
    pub proxy: Option<Url>,
    /// HTTP/2 from the first byte on, as gRPC wants it; the proxy is not gone through.
    pub http2: bool,
    /// Who knows the path of the URL may write there: it is shown no more than a password is.
    pub secret_url: bool,
}

impl ClientSettings {
    /// Of this URL, and nothing else.
    #[must_use]
    pub fn new(url: Url, timeout: Duration) -> Self {
        Self {
            url,
            timeout,
            auth: Auth::None,
            headers: HeaderMap::new(),
            tls: TlsSettings::default(),
            proxy: None,
            http2: false,
            secret_url: false,
        }
    }
}

impl std::fmt::Debug for ClientSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientSettings")
            .field("url", &if self.secret_url { "(hidden)".to_owned() } else { shown(&self.url) })
            .field("timeout", &self.timeout)
            .field("auth", &self.auth)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("tls", &self.tls)
            .field("proxy", &self.proxy.as_ref().map(shown))
            .field("http2", &self.http2)
            .finish()
    }
}

/// A URL as it may be shown: without user, password, query and fragment.
#[must_use]
pub fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A certificate or key.
    #[error("cannot use {path}: {why}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// rustls did not take what the files hold.
    #[error("the certificates cannot be used")]
    Tls(#[source] rustls::Error),
    /// The roots do not make a verifier.
    #[error("the trusted certificates cannot be used: {0}")]
    Roots(String),
    /// Nothing to trust.
    #[error("this system has no trusted certificates; name a file of them (tls_ca_file)")]
    NoRoots,
    /// Anything else.
    #[error("cannot make an HTTP client")]
    Build(#[source] reqwest::Error),
}

/// Which answers are worth another try, besides no answer at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retryable {
    /// 429 and all 5xx: remote write, Alertmanager, webhooks.
    ServerErrors,
    /// 429, 502, 503 and 504: OTLP.
    Overload,
    /// By the status of gRPC in the trailers, as OTLP wants it.
    Grpc,
}

/// One request. Cheap to clone, so that it can be sent again.
#[derive(Debug, Clone)]
pub struct Request {
    method: Method,
    url: Option<Url>,
    headers: HeaderMap,
    body: Bytes,
    retryable: Retryable,
    most: usize,
}

impl Request {
    /// A `POST` to the URL of the settings.
    #[must_use]
    pub fn post(body: Bytes, retryable: Retryable) -> Self {
        Self { method: Method::POST, url: None, headers: HeaderMap::new(), body, retryable, most: MAX_ANSWER }
    }

    /// A call of gRPC with one message, encoded and perhaps compressed by gzip, to the URL of the settings, whose
    /// [`ClientSettings::http2`] must be set.
    #[cfg(feature = "otlp-grpc")]
    #[must_use]
    pub fn grpc(message: &[u8], gzip: bool) -> Self {
        use reqwest::header::{CONTENT_TYPE, TE};
        let request = Self::post(grpc::framed(message, gzip), Retryable::Grpc)
            .with(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
            .with(TE, HeaderValue::from_static("trailers"));
        if !gzip {
            return request;
        }
        request.with(HeaderName::from_static("grpc-encoding"), HeaderValue::from_static("gzip"))
    }

    /// A `GET` of the URL of the settings.
    #[must_use]
    pub fn get(retryable: Retryable) -> Self {
        Self {
            method: Method::GET,
            url: None,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            retryable,
            most: MAX_ANSWER,
        }
    }

    /// To this URL instead, made from that of the settings: credentials go there.
    #[must_use]
    pub fn to(mut self, url: Url) -> Self {
        self.url = Some(url);
        self
    }

    /// Of whose answer so many bytes are read, instead of [`MAX_ANSWER`].
    #[must_use]
    pub fn reading(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// With this header, instead of one of the same name in the settings.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// Sends requests to one receiver. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    /// Where gRPC is spoken.
    #[cfg(feature = "otlp-grpc")]
    channel: Option<std::sync::Arc<Channel>>,
    settings: ClientSettings,
}

impl Client {
    /// A client; reads the certificates, connects to nothing.
    ///
    /// # Errors
    /// A certificate or key cannot be used.
    pub fn new(settings: ClientSettings) -> Result<Self, ClientError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .timeout(settings.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(proxy) = &settings.proxy {
            builder = builder.proxy(reqwest::Proxy::all(proxy.clone()).map_err(ClientError::Build)?);
        }
        // Without https nothing needs the roots of the system, which there may be none of.
        let https = |url: &Url| url.scheme() == "https";
        let tls = if https(&settings.url) || settings.proxy.as_ref().is_some_and(https) {
            tls::config(&settings.tls)?
        } else {
            tls::config(&TlsSettings { insecure: true, ..TlsSettings::default() })?
        };
        #[cfg(feature = "otlp-grpc")]
        let channel = settings.http2.then(|| std::sync::Arc::new(Channel::new(&settings, tls.clone())));
        let http = builder.tls_backend_preconfigured(tls).build().map_err(ClientError::Build)?;
        Ok(Self {
            http,
            #[cfg(feature = "otlp-grpc")]
            channel,
            settings,
        })
    }

    /// How it reaches the receiver.
    #[must_use]
    pub const fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    /// Sends one request, once.
    pub async fn send(&self, request: Request) -> Outcome {
        let again = |why| Outcome::Retry { why, after: None };
        let Some((authorization, secrets)) = self.authorization().await else { return again(Failure::Credentials) };
        let mut headers = self.settings.headers.clone();
        headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        headers.extend(request.headers);
        let url = request.url.unwrap_or_else(|| self.settings.url.clone());
        #[cfg(feature = "otlp-grpc")]
        if let (Retryable::Grpc, Some(channel)) = (request.retryable, &self.channel) {
            let answer = channel.call(url, headers, request.body, request.most).await;
            return answer.map_or_else(again, |answer| answer.outcome(&self.secrets(secrets)));
        }
        let sent = self.http.request(request.method, url).headers(headers).body(request.body).send().await;
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => return again(failure(&error)),
        };
        let (status, meaning) = (response.status().as_u16(), answer::meaning(response.status(), request.retryable));
        let headers = std::mem::take(response.headers_mut());
        match meaning {
            Meaning::Retry => {
                let now = clock::monotonic().0.saturating_add_signed(clock::wall_offset_ns());
                let after = answer::retry_after(&headers, Duration::from_nanos(now));
                Outcome::Retry { why: Failure::Status(status), after }
            }
            // The status is the answer; a body that breaks off changes nothing of it.
            Meaning::Delivered => {
                let body = beginning(&mut response, request.most).await;
                Outcome::Delivered(Answer { status, headers, body })
            }
            Meaning::Refused => {
                let body = beginning(&mut response, MAX_REASON * 4).await;
                Outcome::Refused { status, headers, said: answer::said(&body, &self.secrets(secrets)) }
            }
        }
    }

    /// What an answer must not show of what was sent: credentials, headers of the configuration, the query of the URL, and its path if
    /// that is secret (a gateway's page of an error often repeats the address).
    fn secrets(&self, mut secrets: Vec<String>) -> Vec<String> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let settings = &self.settings;
        secrets.extend(settings.headers.values().filter(|value| value.is_sensitive()).map(text));
        secrets.extend(settings.url.query().map(str::to_owned));
        // Each as it stands there, and decoded.
        let pairs = settings.url.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        secrets.extend(pairs.map(|(_, value)| value.to_owned()).filter(|one| one.len() >= 4));
        secrets.extend(settings.url.query_pairs().map(|(_, value)| value.into_owned()).filter(|one| one.len() >= 4));
        if settings.secret_url {
            let path = settings.url.path();
            secrets.extend(Some(path.to_owned()).filter(|path| path.len() > 1));
            secrets.extend(path.split('/').filter(|part| is_telling(part)).map(str::to_owned));
        }
        // The longest first: a part of it that is secret by itself must not break it up.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets
    }

    /// What a receiver said in an answer that it took, as it may be shown: one line, without what was secret in the request.
    pub(crate) async fn shown(&self, said: &str) -> String {
        let secrets = self.authorization().await.map(|(_, secrets)| secrets).unwrap_or_default();
        answer::said(said.as_bytes(), &self.secrets(secrets))
    }

    /// The header, and what in it is secret. None: it cannot be made.
    async fn authorization(&self) -> Option<(Option<HeaderValue>, Vec<String>)> {
        let (secret, text) = match &self.settings.auth {
            Auth::None => return Some((None, Vec::new())),
            Auth::Basic { user, password } => {
                let password = password.reveal().await.ok()?;
                let text = format!("Basic {}", base64(format!("{user}:{password}").as_bytes()));
                (password, text)
            }
            Auth::Bearer(token) => {
                let token = token.reveal().await.ok()?;
                let text = format!("Bearer {token}");
                (token, text)
            }
        };
        let mut value = HeaderValue::try_from(&text).ok()?;
        value.set_sensitive(true);
        // An answer may repeat either of them.
        let encoded = text.split_once(' ').map(|(_, encoded)| encoded.to_owned()).unwrap_or_default();
        Some((Some(value), vec![encoded, secret]))
    }
}

/// True if a part of an address may be a secret by itself, rather than a word such as `services`.
fn is_telling(part: &str) -> bool {
    part.len() >= 6 && (part.len() > 16 || part.bytes().any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase()))
}

fn failure(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        Failure::Timeout
    } else if error.is_connect() {
        Failure::to_connect(error)
    } else {
        Failure::Broken
    }
}

async fn beginning(response: &mut reqwest::Response, most: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = most.saturating_sub(body.len());
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if body.len() >= most {
            break;
        }
    }
    body
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| chunk.get(at).copied().map_or(0, u32::from);
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = LETTERS.get((group >> (18 - 6 * at) & 63) as usize).copied().unwrap_or(b'=');
            text.push(if at <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests;
