//! How commands reach a running agent: where the configuration says that it listens, or where they are told; over TLS by its URL.
//!
//! In HTTP/1.0, whose answers end with their connection and have no chunks. A token goes where it belongs alone: that of the
//! configuration to the configured address, one of `--token-file` or [`TOKEN`] to the URL, and over a network only inside of TLS.
//! Absent: redirections, proxies, certificates that nobody vouches for.

use anyhow::{Context as _, Result, bail, ensure};
use redtap::export::client::{TlsSettings, tls_config};
use redtap::settings::{Settings, TokenSource};
use reqwest::Url;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{ErrorKind, Read, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long an agent may take to accept.
pub(super) const WITHIN: Duration = Duration::from_secs(5);
/// How long it may take to say something: a report of a fleet may need all of [`redtap::fleet::REPORT_WITHIN`], and then says why.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The variable that holds the token of the agent at `--url`. Not the one that sets `http.token`: that is the token of this host's agent.
const TOKEN: &str = "REDTAP_TOKEN";

/// Which agent.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Which {
    /// Where the agent's HTTP endpoint is; otherwise as configured.
    #[arg(long, value_name = "ADDR", conflicts_with = "own")]
    address: Option<SocketAddr>,
    /// The agent's URL, such as https://host:9464: over TLS.
    #[arg(long, value_name = "URL", conflicts_with_all = ["own", "address"])]
    url: Option<Url>,
    /// Certificates (PEM) to trust instead of the system's; a self-signed one is its own (made with CA:FALSE).
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,
    /// A file with the token of the agent at the URL; otherwise REDTAP_TOKEN.
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
}

/// A running agent, as far as it can be reached.
#[derive(Debug)]
pub(super) struct Reach {
    /// As it is shown.
    name: String,
    /// Of the Host header.
    host: String,
    /// What comes before the paths of the API.
    base: String,
    addresses: Vec<SocketAddr>,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    token: Option<String>,
}

impl Reach {
    /// The one that was named, or the one of the configuration.
    ///
    /// # Errors
    /// The URL, a certificate or a token cannot be used, or the configured agent speaks TLS and no URL says by which name.
    pub(super) fn of(which: &Which, settings: &Settings) -> Result<Self> {
        let configured = reachable(settings.http.listen);
        if let Some(url) = &which.url {
            return Self::at(url, which, configured, settings);
        }
        let address = which.address.unwrap_or(configured);
        let mut reach = Self {
            name: address.to_string(),
            host: address.to_string(),
            base: String::new(),
            addresses: vec![address],
            tls: None,
            token: None,
        };
        if address == configured {
            ensure!(
                settings.http.tls.is_none(),
                "the agent at {address} is configured to speak TLS; say by which name, as in --url https://HOST:{}, with --ca \
                 FILE where the system does not trust its certificate, or use --own",
                address.port()
            );
            reach.token = settings.http.token.read()?;
        }
        Ok(reach)
    }

    fn at(url: &Url, which: &Which, configured: SocketAddr, settings: &Settings) -> Result<Self> {
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            other => bail!("--url {other}://...: is not an http or https URL; write one such as https://host:9464"),
        };
        ensure!(url.username().is_empty() && url.password().is_none(), "--url: has a user in it; agents want a token");
        let host = url.host_str().context("--url: has no host; write one such as https://host:9464")?;
        let port = url.port_or_known_default().context("--url: has no port; write one such as https://host:9464")?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found = (bare, port).to_socket_addrs().with_context(|| format!("--url: {host} cannot be found"))?;
        let mut addresses: Vec<SocketAddr> = found.collect();
        let tls = if secure {
            let trust = TlsSettings { ca_file: which.ca.clone(), ..TlsSettings::default() };
            let name = ServerName::try_from(bare.to_owned()).context("--url: the host is not a name")?;
            Some((Arc::new(tls_config(&trust)?), name))
        } else {
            None
        };
        let token = match &which.token_file {
            Some(path) => TokenSource::File(path.clone()).read().map_err(|error| {
                anyhow::anyhow!("{}", error.to_string().replace("http.token_file =", "--token-file"))
            })?,
            // Another address of the same name may be somebody else's.
            None if addresses.contains(&configured) => {
                addresses = vec![configured];
                settings.http.token.read()?
            }
            None => std::env::var(TOKEN).ok().filter(|token| !token.is_empty()),
        };
        ensure!(
            secure || token.is_none() || addresses.iter().all(|address| address.ip().to_canonical().is_loopback()),
            "--url {url}: a token would be readable on its way there; use https"
        );
        let base = url.path().trim_end_matches('/').to_owned();
        let host = format!("{host}:{port}");
        Ok(Self { name: format!("{}://{host}{base}", url.scheme()), host, base, addresses, tls, token })
    }

    /// Its address, as it may be shown.
    pub(super) fn address(&self) -> &str {
        &self.name
    }

    /// Sends a request; its answer is what can be read then, for [`ANSWER_WITHIN`] at a time.
    ///
    /// # Errors
    /// Nobody answers there, or nobody who proves to be meant.
    pub(super) fn ask(&self, path: &str, accept: &str) -> Result<Answer> {
        let stream = self.connect()?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(WITHIN))?;
        let mut answer = match &self.tls {
            None => Answer::Plain(stream),
            Some((config, name)) => {
                let connection = ClientConnection::new(Arc::clone(config), name.clone())?;
                let mut stream = StreamOwned::new(connection, stream);
                // Before anything is said.
                while stream.conn.is_handshaking() {
                    stream.conn.complete_io(&mut stream.sock).with_context(|| {
                        format!(
                            "no TLS with the agent at {}; does it speak TLS, and is its certificate trusted (--ca FILE) and of \
                             this name?",
                            self.name
                        )
                    })?;
                }
                Answer::Secure(Box::new(stream))
            }
        };
        let token = self.token.as_ref().map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
        let (base, host) = (&self.base, &self.host);
        let request = format!("GET {base}{path} HTTP/1.0\r\nHost: {host}\r\nAccept: {accept}\r\n{token}\r\n");
        answer.write_all(request.as_bytes())?;
        Ok(answer)
    }

    /// To the first of its addresses that accepts.
    fn connect(&self) -> Result<TcpStream> {
        let mut last = None;
        for address in &self.addresses {
            match TcpStream::connect_timeout(address, WITHIN) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) if error.kind() == ErrorKind::ConnectionRefused => bail!(
                "no agent answers at {}: start one with `redtap run` (or `redtap demo`), name another with --address or --url, \
                 or watch with a probe of its own with --own (as root)",
                self.name
            ),
            Some(error) => Err(error).with_context(|| format!("cannot reach the agent at {}", self.name)),
            None => bail!("{} has no address", self.name),
        }
    }
}

/// What an agent says.
#[derive(Debug)]
pub(super) enum Answer {
    /// As it comes.
    Plain(TcpStream),
    /// Inside of TLS.
    Secure(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Answer {
    /// How long a read waits.
    pub(super) fn set_read_timeout(&self, within: Duration) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.set_read_timeout(Some(within)),
            Self::Secure(stream) => stream.sock.set_read_timeout(Some(within)),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Secure(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }
}

impl Read for Answer {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(bytes),
            Self::Secure(stream) => stream.read(bytes),
        }
    }
}

/// Who listens everywhere is reached here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;
    use redtap::settings::{Flag, Sources, load};
    use std::net::TcpListener;

    fn settings(listen: SocketAddr) -> Settings {
        let flag = |path, value: String| Flag { path, name: path, values: vec![value] };
        let flags = vec![flag("http.listen", listen.to_string()), flag("http.token", "0123456789abcdef".to_owned())];
        load(&Sources { flags, ..Sources::default() }).unwrap().settings
    }

    fn request(to: Option<SocketAddr>, settings: &Settings, listener: &TcpListener) -> String {
        let stream = Reach::of(&Which { address: to, ..Which::default() }, settings).unwrap().ask("/x", "*/*").unwrap();
        let (mut asked, _) = listener.accept().unwrap();
        drop(stream);
        let mut text = String::new();
        asked.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn the_token_goes_to_the_configured_address_alone() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let everywhere = SocketAddr::from(([0, 0, 0, 0], address.port()));
        for (to, listen, sent) in
            [(None, address, true), (Some(address), address, true), (Some(address), everywhere, true)]
        {
            let settings = settings_remote(listen);
            assert_eq!(request(to, &settings, &listener).contains("0123456789abcdef"), sent);
        }
        let elsewhere = settings(SocketAddr::from(([127, 0, 0, 1], 1)));
        assert!(!request(Some(address), &elsewhere, &listener).contains("Authorization"));
    }

    fn settings_remote(listen: SocketAddr) -> Settings {
        let mut settings = settings(SocketAddr::from(([127, 0, 0, 1], 1)));
        settings.http.listen = listen;
        settings
    }

    #[test]
    fn a_url_is_asked_over_tls_and_its_token_does_not_cross_a_network_without() {
        let settings = settings(SocketAddr::from(([127, 0, 0, 1], 1)));
        let of = |url: &str, token: Option<&std::path::Path>| {
            let which =
                Which { url: Some(url.parse().unwrap()), token_file: token.map(Into::into), ..Which::default() };
            Reach::of(&which, &settings)
        };
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, "another-token-0123456789\n").unwrap();
        let reach = of("https://127.0.0.1:7/prefix/", Some(&token)).unwrap();
        assert_eq!((reach.address(), reach.base.as_str()), ("https://127.0.0.1:7/prefix", "/prefix"));
        assert_eq!((reach.token.as_deref(), reach.tls.is_some()), (Some("another-token-0123456789"), true));
        assert_eq!(of("http://[::1]", Some(&token)).unwrap().addresses, ["[::1]:80".parse().unwrap()]);
        assert_eq!(of("http://127.0.0.1:1", None).unwrap().token.as_deref(), Some("0123456789abcdef"));
        // A name may have other addresses, which anybody may listen on.
        let named = of("http://localhost:1", None).unwrap();
        assert_eq!(named.addresses, [SocketAddr::from(([127, 0, 0, 1], 1))]);
        assert_eq!(named.token.as_deref(), Some("0123456789abcdef"));
        assert_eq!(of("http://localhost:2", None).unwrap().token, None, "another agent's");
        for (url, token, word) in [
            ("http://192.0.2.1:1", Some(token.as_path()), "use https"),
            ("https://127.0.0.1", Some(folder.path()), "--token-file"),
            ("ftp://127.0.0.1", None, "https"),
            ("https://user@127.0.0.1", None, "token"),
        ] {
            let error = of(url, token).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("0123456789"), "{url}: {error}");
        }
    }

    #[test]
    fn nobody_there_is_said_with_what_to_do() {
        let address = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        let error = Reach::of(&Which::default(), &settings(address)).unwrap().ask("/x", "*/*").unwrap_err().to_string();
        assert!(error.contains("no agent answers at") && error.contains("redtap run"), "{error}");
    }
}
