//! Apache httpd with HTTP/2 in the clear: by upgrade from HTTP/1.1, and by prior knowledge. Its access log says what it
//! answered, and in which protocol.

use crate::sandbox::{Proc, Sandbox, free_port};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How often it answered, by protocol (`HTTP/2.0`), method, target and status.
pub type Answered = BTreeMap<[String; 4], u64>;

/// A running httpd.
#[derive(Debug)]
pub struct Apache {
    /// Its port.
    pub port: u16,
    /// Its process.
    pub process: Proc,
    access_log: PathBuf,
}

impl Apache {
    /// Starts it: `/index.html` answers 1 kB, `/big` 100 kB, what is not there 404.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(sandbox: &Sandbox) -> Result<Self> {
        let port = free_port()?;
        sandbox.write("www/index.html", &"x".repeat(1_024))?;
        sandbox.write("www/big", &"b".repeat(102_400))?;
        let folder = sandbox.folder().display();
        let config = format!(
            r#"
ServerRoot {folder}
ServerName 127.0.0.1
PidFile {folder}/apache.pid
DefaultRuntimeDir {folder}
Listen 127.0.0.1:{port}
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule http2_module /usr/lib/apache2/modules/mod_http2.so
Protocols h2c http/1.1
User www-data
Group www-data
DocumentRoot {folder}/www
ErrorLog {folder}/apache-error.log
LogFormat "%H %m %U%q %>s" plain
CustomLog {folder}/apache-access.log plain
"#
        );
        let config = sandbox.write("apache.conf", &config)?;
        let config = config.to_str().context("a path that is not text")?;
        let process = sandbox.start("apache2", "apache2", &["-DFOREGROUND", "-f", config])?;
        let access_log = sandbox.folder().join("apache-access.log");
        Ok(Self { port, process: process.wait_port(port)?, access_log })
    }

    /// Its address for a client.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Waits until its log holds so many answers, at most 5 s: the line is written after the client has its answer.
    ///
    /// # Errors
    /// When it does not.
    pub fn wait_answered(&self, total: u64) -> Result<Answered> {
        for _ in 0..250 {
            let answered = self.answered()?;
            if answered.values().sum::<u64>() >= total {
                return Ok(answered);
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        bail!("httpd logged {:?}, not {total} answers", self.answered()?)
    }

    fn answered(&self) -> Result<Answered> {
        let mut counts = Answered::new();
        for line in std::fs::read_to_string(&self.access_log)?.lines() {
            let mut fields = line.split(' ').map(str::to_owned);
            if let [Some(protocol), Some(method), Some(target), Some(status)] = [(); 4].map(|()| fields.next()) {
                *counts.entry([protocol, method, target, status]).or_default() += 1;
            }
        }
        Ok(counts)
    }
}
