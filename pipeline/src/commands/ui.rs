//! `redtap ui`: reports of all agents that write to an engine, and nothing else: no probe, no privileges.
//!
//! Absent: metrics of its own (it is no agent, and must not be taken for one), calls, alarms, the history.

use super::run::{fleet, log, surface};
use super::signals::Signals;
use anyhow::{Context as _, Result};
use clap::Args;
use redtap::clock;
use redtap::fleet::Fleet;
use redtap::http::{Backend, HttpServer};
use redtap::registry::Format;
use redtap::reports::Reports;
use redtap::settings::{self, Flag, Sources};
use redtap_stages::time::Nanos;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How often signals are looked for.
const WAIT: Duration = Duration::from_secs(3_600);

/// What `ui` takes.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  redtap ui --query-url http://prometheus:9090
  redtap ui --query-url https://mimir/prometheus --listen 127.0.0.1:8080 --config ui.toml")]
pub(super) struct Ui {
    /// The engine: Prometheus, Mimir, VictoriaMetrics, Thanos; what /api/v1/query comes after.
    #[arg(long, value_name = "URL")]
    query_url: Option<String>,
    /// Address of the HTTP endpoint.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The configuration file; otherwise ./redtap.toml, then /etc/redtap/redtap.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Ui {
    fn flags(&self) -> Vec<Flag> {
        let flags = [("ui.query_url", "--query-url", &self.query_url), ("http.listen", "--listen", &self.listen)];
        let flag = |(path, name, value): (&'static str, &'static str, &Option<String>)| {
            Some(Flag { path, name, values: vec![value.clone()?] })
        };
        flags.into_iter().filter_map(flag).collect()
    }
}

/// What the endpoint shows.
struct Shown {
    fleet: Arc<Fleet>,
    started: Nanos,
}

pub(super) fn ui(options: &Ui) -> Result<ExitCode> {
    let settings = settings::load(&Sources::usual(options.config.clone(), options.flags()))?.settings;
    let mut signals = Signals::listen()?;
    log(&settings);
    let fleet = fleet(&settings)?.context("no engine to ask; name one with --query-url URL or ui.query_url")?;
    let shown = Arc::new(Shown { fleet: Arc::new(fleet), started: clock::monotonic() });
    let server = HttpServer::start(settings.http.listen, surface(&settings)?, shown)?;
    let scheme = if settings.http.tls.is_some() { "https" } else { "http" };
    tracing::info!("the web interface is at {scheme}://{}/", server.address());
    while !signals.wait(WAIT) {}
    server.stop();
    Ok(ExitCode::SUCCESS)
}

impl Backend for Shown {
    fn metrics(&self, format: Format, out: &mut String) {
        if format == Format::OpenMetrics {
            out.push_str("# EOF\n");
        }
    }

    fn ready(&self) -> bool {
        true
    }

    fn status(&self) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "reports": self.fleet.source(),
            "engine": self.fleet.engine(),
            "ready": true,
            "uptime_seconds": clock::monotonic().since(self.started).as_secs_f64(),
            "rung": null,
        })
    }

    fn reports(&self) -> Option<Arc<dyn Reports>> {
        Some(Arc::<Fleet>::clone(&self.fleet))
    }
}
