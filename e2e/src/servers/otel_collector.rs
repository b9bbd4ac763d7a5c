//! An OpenTelemetry Collector that writes what it is sent into a file, and a reader of that file.

use crate::certificates::Certificates;
use crate::clients::Kit;
use crate::sandbox::{Proc, Sandbox, free_port};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// A running collector. It is no part of what is watched.
#[derive(Debug)]
pub struct OtelCollector {
    /// Where it takes OTLP over HTTP.
    pub port: u16,
    /// Where it takes it over gRPC.
    pub grpc_port: u16,
    /// What it took, a request a line.
    pub file: PathBuf,
    config: PathBuf,
    process: Option<Proc>,
}

/// What tells series apart: service, metric, attributes.
pub type Key = (String, String, BTreeMap<String, String>);

/// What a series counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counted {
    /// Value of a sum, observations of a histogram.
    pub count: f64,
    /// Of what a histogram observed.
    pub sum: f64,
    /// Observations by bucket, each by itself.
    pub buckets: Vec<f64>,
}

/// One span as it was written.
#[derive(Debug, Clone)]
pub struct Span {
    /// `service.name` of its resource.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its kind by number: 2 server, 3 client, 4 producer, 5 consumer.
    pub kind: u64,
    /// Its status by number: 0 unset, 2 error.
    pub status: u64,
    /// Its ids: of the trace, of itself, of its parent; the last may be empty.
    pub ids: [String; 3],
    /// Beginning and end, nanoseconds since the epoch.
    pub times: (u64, u64),
    /// Its attributes, numbers as text.
    pub attributes: BTreeMap<String, String>,
}

impl OtelCollector {
    /// Starts one in `sandbox`, whose cgroup should not be watched: what it is sent would be more traffic.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(sandbox: &Sandbox) -> Result<Self> {
        Self::start_with(sandbox, None)
    }

    /// The same; with certificates, its gRPC wants TLS of both sides.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_with(sandbox: &Sandbox, tls: Option<&Certificates>) -> Result<Self> {
        let (port, grpc_port) = (free_port()?, free_port()?);
        let tls = tls.map_or_else(String::new, |tls| {
            let (ca, certificate, key) = (tls.ca.display(), tls.certificate.display(), tls.key.display());
            format!(", tls: {{cert_file: '{certificate}', key_file: '{key}', client_ca_file: '{ca}'}}")
        });
        let file = sandbox.folder().join("otlp.jsonl");
        let text = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}, \
             grpc: {{endpoint: '127.0.0.1:{grpc_port}'{tls}}}}}}}}}\n\
             exporters: {{file: {{path: '{}', append: true, flush_interval: 100ms}}}}\n\
             service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
             metrics: {{receivers: [otlp], exporters: [file]}}\n    traces: {{receivers: [otlp], exporters: [file]}}\n",
            file.display()
        );
        let config = sandbox.write("collector.yaml", &text)?;
        let mut collector = Self { port, grpc_port, file, config, process: None };
        collector.again(sandbox)?;
        Ok(collector)
    }

    /// Starts it again after [`Self::stop`] or [`Self::kill`], with the same port and file.
    ///
    /// # Errors
    /// When it does not start.
    pub fn again(&mut self, sandbox: &Sandbox) -> Result<()> {
        let program = Kit::OtelCollector.folder().join("otel-collector");
        let program = program.to_str().context("a path that is not text")?;
        let config = format!("--config=file:{}", self.config.display());
        let process = sandbox.start("collector", program, &[&config])?;
        self.process = Some(process.wait_port(self.port)?.wait_port(self.grpc_port)?);
        Ok(())
    }

    /// Ends it in order: everything that it acknowledged is in the file.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(process) => process.stop().map(|_| ()),
            None => Ok(()),
        }
    }

    /// Ends it with SIGKILL: what it acknowledged in the last tenth of a second may not be in the file.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.signal(rustix::process::Signal::KILL)?;
        process.wait(Duration::from_secs(10)).map(|_| ())
    }

    /// The base of its endpoints.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Resources that metrics of each service came with, by its name.
    ///
    /// # Errors
    /// When its file does not hold them.
    pub fn metric_resources(&self) -> Result<BTreeMap<String, BTreeSet<BTreeMap<String, String>>>> {
        let mut all: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for line in &self.lines()? {
            for resource in list(line, "resourceMetrics") {
                let resource = attributes(resource.get("resource").unwrap_or(&Value::Null));
                let service = resource.get("service.name").cloned().unwrap_or_default();
                all.entry(service).or_default().insert(resource);
            }
        }
        Ok(all)
    }

    fn lines(&self) -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or_default());
        // One that was killed may have written an object without the end of its line; then the next one's first stands behind it.
        let objects = serde_json::Deserializer::from_str(whole).into_iter();
        objects.map(|object| object.context("the Collector wrote what is no JSON")).collect()
    }

    /// All spans it was sent.
    ///
    /// # Errors
    /// When its file does not hold them.
    pub fn spans(&self) -> Result<Vec<Span>> {
        let mut spans = Vec::new();
        for line in &self.lines()? {
            for resource in list(line, "resourceSpans") {
                let service = attributes(resource.get("resource").unwrap_or(&Value::Null));
                let service = service.get("service.name").cloned().unwrap_or_default();
                let all = list(resource, "scopeSpans").iter().flat_map(|scope| list(scope, "spans"));
                spans.extend(all.map(|one| span(&service, one)));
            }
        }
        Ok(spans)
    }

    /// Waits for so many spans, at most 20 s.
    ///
    /// # Errors
    /// When they do not come.
    pub fn wait_spans(&self, count: usize) -> Result<Vec<Span>> {
        for _ in 0..400 {
            let spans = self.spans()?;
            if spans.len() >= count {
                return Ok(spans);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("{} spans came, not {count}", self.spans()?.len())
    }

    /// Counts, sums and buckets of histograms, and values of sums: the last of a cumulative series, all gains of a delta series
    /// together.
    ///
    /// # Errors
    /// When its file does not hold them.
    pub fn counts(&self) -> Result<BTreeMap<Key, Counted>> {
        let mut counts = BTreeMap::new();
        for line in &self.lines()? {
            for resource in list(line, "resourceMetrics") {
                let service = attributes(resource.get("resource").unwrap_or(&Value::Null));
                let service = service.get("service.name").cloned().unwrap_or_default();
                for metric in list(resource, "scopeMetrics").iter().flat_map(|scope| list(scope, "metrics")) {
                    add(&service, metric, &mut counts);
                }
            }
        }
        Ok(counts)
    }
}

/// Adds the points of one metric.
fn add(service: &str, metric: &Value, counts: &mut BTreeMap<Key, Counted>) {
    let name = metric.get("name").and_then(Value::as_str).unwrap_or_default();
    let Some(data) = metric.get("histogram").or_else(|| metric.get("sum")) else { return };
    let delta = data.get("aggregationTemporality").and_then(Value::as_u64) == Some(1);
    for point in list(data, "dataPoints") {
        let value = ["count", "asInt", "asDouble"].iter().find_map(|field| number(point.get(field)));
        let buckets = list(point, "bucketCounts").iter().filter_map(|count| number(Some(count))).collect();
        let now = Counted { count: value.unwrap_or(0.0), sum: number(point.get("sum")).unwrap_or(0.0), buckets };
        let total = counts.entry((service.to_owned(), name.to_owned(), attributes(point))).or_default();
        if delta {
            total.count += now.count;
            total.sum += now.sum;
            total.buckets.resize(now.buckets.len(), 0.0);
            total.buckets.iter_mut().zip(now.buckets).for_each(|(total, gain)| *total += gain);
        } else {
            *total = now;
        }
    }
}

fn span(service: &str, one: &Value) -> Span {
    let text = |key| one.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let nanos = |key| text(key).parse().unwrap_or(0);
    let status = one.get("status").and_then(|status| status.get("code")).and_then(Value::as_u64);
    Span {
        service: service.to_owned(),
        name: text("name"),
        kind: one.get("kind").and_then(Value::as_u64).unwrap_or(0),
        status: status.unwrap_or(0),
        ids: [text("traceId"), text("spanId"), text("parentSpanId")],
        times: (nanos("startTimeUnixNano"), nanos("endTimeUnixNano")),
        attributes: attributes(one),
    }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whole numbers are texts in OTLP's JSON.
fn number(value: Option<&Value>) -> Option<f64> {
    let value = value?;
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

fn attributes(of: &Value) -> BTreeMap<String, String> {
    let pair = |one: &Value| {
        let value = one.get("value")?;
        let text = value.get("stringValue").and_then(Value::as_str).map(str::to_owned);
        let text = text.or_else(|| Some(number(value.get("intValue"))?.to_string()));
        Some((one.get("key")?.as_str()?.to_owned(), text.unwrap_or_else(|| value.to_string())))
    };
    list(of, "attributes").iter().filter_map(pair).collect()
}
