//! How commands reach a running agent: where the configuration says that it listens, or where they are told.
//!
//! In HTTP/1.0, whose answers end with their connection and have no chunks. Absent: TLS. The configured token goes to the
//! configured address alone: at another one there may be somebody else, or a network in between.

use anyhow::{Context as _, Result, bail, ensure};
use redtap::settings::Settings;
use std::io::{ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long an agent may take to accept, and to say something.
pub(super) const WITHIN: Duration = Duration::from_secs(5);

/// A running agent, as far as it can be reached.
#[derive(Debug)]
pub(super) struct Reach {
    address: SocketAddr,
    token: Option<String>,
}

impl Reach {
    /// At `address`, or where the configuration says.
    ///
    /// # Errors
    /// The configuration says TLS, or names a token that cannot be read.
    pub(super) fn of(address: Option<SocketAddr>, settings: &Settings) -> Result<Self> {
        let configured = reachable(settings.http.listen);
        let address = address.unwrap_or(configured);
        if address != configured {
            return Ok(Self { address, token: None });
        }
        ensure!(
            settings.http.tls.is_none(),
            "the agent at {address} is configured to speak TLS, which this command does not; open its pages in a browser, or \
             use --own"
        );
        Ok(Self { address, token: settings.http.token.read()? })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request; its answer is what can be read then, for [`WITHIN`] at a time.
    ///
    /// # Errors
    /// Nobody answers there.
    pub(super) fn ask(&self, path: &str, accept: &str) -> Result<TcpStream> {
        let address = self.address;
        let mut stream = match TcpStream::connect_timeout(&address, WITHIN) {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => bail!(
                "no agent answers at {address}: start one with `redtap run` (or `redtap demo`), name another with --address, \
                 or watch with a probe of its own with --own (as root)"
            ),
            Err(error) => return Err(error).with_context(|| format!("cannot reach the agent at {address}")),
        };
        stream.set_read_timeout(Some(WITHIN))?;
        let token = self.token.as_ref().map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: {accept}\r\n{token}\r\n")?;
        Ok(stream)
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
    use std::io::Read as _;
    use std::net::TcpListener;

    fn settings(listen: SocketAddr) -> Settings {
        let flag = |path, value: String| Flag { path, name: path, values: vec![value] };
        let flags = vec![flag("http.listen", listen.to_string()), flag("http.token", "0123456789abcdef".to_owned())];
        load(&Sources { flags, ..Sources::default() }).unwrap().settings
    }

    fn request(to: Option<SocketAddr>, settings: &Settings, listener: &TcpListener) -> String {
        let stream = Reach::of(to, settings).unwrap().ask("/x", "*/*").unwrap();
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
    fn nobody_there_is_said_with_what_to_do() {
        let address = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        let error = Reach::of(None, &settings(address)).unwrap().ask("/x", "*/*").unwrap_err().to_string();
        assert!(error.contains("no agent answers at") && error.contains("redtap run"), "{error}");
    }
}
