//! Where samples are written to and asked for: a real Prometheus, a real VictoriaMetrics.

use crate::clients::Kit;
use crate::sandbox::{Proc, Sandbox, free_port, get};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// Knows remote write 1.0 and 2.0.
    Prometheus,
    /// Knows 1.0, and takes 2.0 for an empty 1.0.
    VictoriaMetrics,
}

/// A running store. Its sandbox should not be the one that is watched.
#[derive(Debug)]
pub struct Store {
    product: Product,
    port: u16,
    starts: u32,
    process: Option<Proc>,
}

/// A series as it was stored: time in seconds and value, in order of time.
pub type Points = Vec<(f64, f64)>;

impl Store {
    /// Starts it on an empty folder of the sandbox.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(sandbox: &Sandbox, product: Product) -> Result<Self> {
        let mut store = Self { product, port: free_port()?, starts: 0, process: None };
        store.again(sandbox)?;
        Ok(store)
    }

    /// Starts it again on what it had, on the same port.
    ///
    /// # Errors
    /// When it does not start.
    pub fn again(&mut self, sandbox: &Sandbox) -> Result<()> {
        self.starts += 1;
        let (name, listen) = (format!("store-{}-{}", self.port, self.starts), format!("127.0.0.1:{}", self.port));
        let data = sandbox.folder().join(format!("store-{}", self.port)).display().to_string();
        let process = match self.product {
            Product::Prometheus => {
                let config = sandbox.write("prometheus.yml", "global: {scrape_interval: 1h}\n")?.display().to_string();
                let binary = Kit::Prometheus.folder().join("prometheus").display().to_string();
                let arguments = [
                    format!("--config.file={config}"),
                    format!("--storage.tsdb.path={data}"),
                    format!("--web.listen-address={listen}"),
                    "--web.enable-remote-write-receiver".to_owned(),
                    "--enable-feature=native-histograms,metadata-wal-records,exemplar-storage".to_owned(),
                ];
                sandbox.start(&name, &binary, &arguments.each_ref().map(String::as_str))?
            }
            Product::VictoriaMetrics => {
                let binary = Kit::VictoriaMetrics.folder().join("victoria-metrics").display().to_string();
                let arguments = [
                    format!("-storageDataPath={data}"),
                    format!("-httpListenAddr={listen}"),
                    "-search.latencyOffset=0s".to_owned(),
                    "-search.disableCache".to_owned(),
                ];
                sandbox.start(&name, &binary, &arguments.each_ref().map(String::as_str))?
            }
        };
        self.process = Some(process.wait_port(self.port)?);
        for _ in 0..500 {
            if let Ok((200, _)) = get(self.port, "/-/ready", "*/*") {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("{:?} does not become ready", self.product)
    }

    /// Has a Prometheus scrape a port of this machine once a second from now on, under the job `scraped`.
    ///
    /// # Errors
    /// When it does not run, or its configuration cannot be written.
    pub fn scrape(&mut self, sandbox: &Sandbox, port: u16) -> Result<()> {
        let jobs = format!("[{{job_name: scraped, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]");
        sandbox.write("prometheus.yml", &format!("global: {{scrape_interval: 1s}}\nscrape_configs: {jobs}\n"))?;
        self.process.as_mut().context("it does not run")?.signal(rustix::process::Signal::HUP)
    }

    /// Where remote write goes to.
    #[must_use]
    pub fn write_url(&self) -> String {
        format!("http://127.0.0.1:{}/api/v1/write", self.port)
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it with SIGKILL.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn kill9(&mut self) -> Result<()> {
        let mut process = self.process.take().context("it does not run")?;
        process.signal(rustix::process::Signal::KILL)?;
        process.wait(Duration::from_secs(10))?;
        Ok(())
    }

    /// An instant query, as of now; the answer's `result`.
    ///
    /// # Errors
    /// When it does not answer, or with an error.
    pub fn query(&self, query: &str) -> Result<Vec<Value>> {
        if self.product == Product::VictoriaMetrics {
            // What was just written is not found before.
            get(self.port, "/internal/force_flush", "*/*")?;
        }
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let (status, body) = get(self.port, &format!("/api/v1/query?query={escaped}"), "application/json")?;
        ensure!(status == 200, "{query}: {status}: {body}");
        let answer: Value = serde_json::from_str(&body)?;
        let result = answer.pointer("/data/result").and_then(Value::as_array);
        Ok(result.with_context(|| format!("{query}: {body}"))?.clone())
    }

    /// The value of a query that gives one; none if it gives nothing.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn value(&self, query: &str) -> Result<Option<f64>> {
        let result = self.query(query)?;
        Ok(result.first().and_then(|one| one.pointer("/value/1")?.as_str()?.parse().ok()))
    }

    /// All points of the last hour of each series that is selected, by its labels as JSON.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn points(&self, selector: &str) -> Result<BTreeMap<String, Points>> {
        let result = self.query(&format!("{selector}[1h]"))?;
        let point = |point: &Value| Some((point.get(0)?.as_f64()?, point.get(1)?.as_str()?.parse().ok()?));
        let points = |one: &Value| one.get("values")?.as_array()?.iter().map(point).collect::<Option<Points>>();
        let all: Option<BTreeMap<String, Points>> =
            result.iter().map(|one| Some((one.get("metric")?.to_string(), points(one)?))).collect();
        all.context("an answer of another form")
    }

    /// All exemplars of the series that are selected: for each its labels and its exemplars.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn exemplars(&self, selector: &str) -> Result<Vec<Value>> {
        let escaped: String = selector.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/api/v1/query_exemplars?query={escaped}&start=0&end=9999999999");
        let (status, body) = get(self.port, &path, "application/json")?;
        ensure!(status == 200, "{selector}: {status}: {body}");
        let answer: Value = serde_json::from_str(&body)?;
        Ok(answer.get("data").and_then(Value::as_array).with_context(|| format!("{selector}: {body}"))?.clone())
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metrics(&self) -> Result<crate::prometheus::Metrics> {
        Ok(crate::prometheus::Metrics::parse(&get(self.port, "/metrics", "text/plain")?.1))
    }
}
