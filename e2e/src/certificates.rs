//! Certificates of a test, made by openssl: an authority, and one certificate that it signed, for servers and clients alike.

use crate::sandbox::Sandbox;
use anyhow::Result;
use std::path::PathBuf;

/// Files, all PEM.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// A certificate for `localhost` and the loopback address.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them in the sandbox's folder.
    ///
    /// # Errors
    /// When openssl cannot.
    pub fn make(sandbox: &Sandbox) -> Result<Self> {
        let file = |name: &str| sandbox.folder().join(name);
        let made = Self { ca: file("ca.pem"), certificate: file("leaf.pem"), key: file("leaf.key") };
        let (ca, certificate, key) = (made.ca.display(), made.certificate.display(), made.key.display());
        let ca_key = file("ca.key");
        let usual = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
        let names = "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
        for line in [
            format!("{usual} -subj /CN=ca -keyout {} -out {ca}", ca_key.display()),
            format!(
                "{usual} -subj /CN=leaf {names} -CA {ca} -CAkey {} -keyout {key} -out {certificate}",
                ca_key.display()
            ),
        ] {
            sandbox.run_outside("openssl", &line.split(' ').collect::<Vec<_>>())?;
        }
        Ok(made)
    }
}
