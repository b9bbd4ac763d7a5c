//! Section `otlp`.

use super::Settings;
use super::client::Way;
use super::read::{Reader, parse_ratio};
use crate::export::client::ClientSettings;
use crate::export::otlp::{Encoding, Protocol, Sampling};
use reqwest::Url;
use std::collections::BTreeMap;
use std::time::Duration;

/// Section `otlp`. Without an endpoint nothing is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpSettings {
    /// Where metrics go.
    pub metrics: Option<ClientSettings>,
    /// Where traces go.
    pub traces: Option<ClientSettings>,
    /// `otlp.protocol`.
    pub protocol: Protocol,
    /// `otlp.compression`.
    pub encoding: Encoding,
    /// `otlp.interval`.
    pub interval: Duration,
    /// `otlp.temporality`.
    pub delta: bool,
    /// `otlp.traces_ratio`, `otlp.slowest_per_window`, `otlp.spans_per_second`.
    pub sampling: Sampling,
    /// `otlp.queue_bytes`.
    pub queue_bytes: usize,
    /// `otlp.resource_attributes`.
    pub resource_attributes: BTreeMap<String, String>,
}

pub(super) fn read(reader: &mut Reader<'_>) -> OtlpSettings {
    let (metrics, traces) = (reader.on("otlp.metrics"), reader.on("otlp.traces"));
    let protocol = protocol(reader);
    let base = reader.url("otlp.endpoint");
    let own = (reader.url("otlp.metrics_endpoint"), reader.url("otlp.traces_endpoint"));
    let way = Way::read(reader, "otlp");
    let to = |wanted: bool, own: Option<Url>, path: &str| {
        let url = match (own, protocol) {
            // A whole URL, but for the name of the call, which nobody configures.
            (Some(own), Protocol::Http) => own,
            (Some(own), Protocol::Grpc) => below(&own, path),
            (None, _) => below(base.as_ref()?, path),
        };
        wanted.then(|| ClientSettings { http2: protocol == Protocol::Grpc, ..way.to(url) })
    };
    let [metrics_path, traces_path] = protocol.paths();
    OtlpSettings {
        metrics: to(metrics, own.0, metrics_path),
        traces: to(traces, own.1, traces_path),
        protocol,
        encoding: reader.word("otlp.compression", ("gzip", Encoding::Gzip), &[("none", Encoding::Identity)]),
        interval: reader.duration("otlp.interval", Duration::from_secs(1)..=Duration::from_secs(3_600)),
        delta: reader.word("otlp.temporality", ("cumulative", false), &[("delta", true)]),
        sampling: Sampling {
            millionths: reader.turned("otlp.traces_ratio", 0, |text| {
                parse_ratio(text).ok_or(("is not a share", "write one such as 10% or 0.1, from 0% to 100%"))
            }),
            slowest: reader.number("otlp.slowest_per_window", 0..=1_000),
            per_second: reader.number("otlp.spans_per_second", 1..=100_000) as u64,
        },
        queue_bytes: reader.bytes("otlp.queue_bytes", 64 << 10..=1 << 30),
        resource_attributes: reader.table("otlp.resource_attributes"),
    }
}

fn protocol(reader: &mut Reader<'_>) -> Protocol {
    let path = "otlp.protocol";
    let protocol = reader.word(path, ("http/protobuf", Protocol::Http), &[("grpc", Protocol::Grpc)]);
    if protocol == Protocol::Grpc && !cfg!(feature = "otlp-grpc") {
        reader.refuse(
            path,
            "is not in this build",
            "write http/protobuf, with a receiver of that, or build it with the feature otlp-grpc",
        );
    }
    protocol
}

/// What no key can say alone.
pub(super) fn check(settings: &Settings, reader: &mut Reader<'_>) {
    check_proxy(&settings.otlp, reader);
    let half = settings.series_expiry / 2;
    if settings.otlp.metrics.is_some() && settings.otlp.interval > half {
        reader.problem(
            "otlp.interval",
            &format!("{}s", settings.otlp.interval.as_secs()),
            "is longer than half of series.expiry, so that series could end unsent",
            "make it shorter, or series.expiry longer",
        );
    }
}

/// Of gRPC the connection is our own.
fn check_proxy(settings: &OtlpSettings, reader: &mut Reader<'_>) {
    let through = |to: &Option<ClientSettings>| to.as_ref().is_some_and(|to| to.http2 && to.proxy.is_some());
    if through(&settings.metrics) || through(&settings.traces) {
        reader.refuse(
            "otlp.proxy",
            "is not gone through by gRPC",
            "remove it, or write otlp.protocol = \"http/protobuf\" and a receiver of that",
        );
    }
}

/// A base URL and a path below it (OTLP exporter, "Endpoint URLs for OTLP/HTTP").
fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url
}

impl Reader<'_> {
    /// True, unless it is turned off.
    fn on(&mut self, path: &str) -> bool {
        self.word(path, ("true", true), &[("false", false)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Sources, load};

    fn with(variables: &[(&str, &str)]) -> Sources {
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sources { environment, ..Sources::default() }
    }

    fn otlp(variables: &[(&str, &str)]) -> OtlpSettings {
        load(&with(variables)).unwrap().settings.otlp
    }

    fn problems(variables: &[(&str, &str)]) -> Vec<(String, String)> {
        let problems = load(&with(variables)).unwrap_err().problems;
        problems.into_iter().map(|one| (one.key, one.origin)).collect()
    }

    fn urls(settings: &OtlpSettings) -> [Option<&str>; 2] {
        [&settings.metrics, &settings.traces].map(|client| client.as_ref().map(|client| client.url.as_str()))
    }

    #[test]
    fn nothing_is_sent_without_an_endpoint() {
        assert_eq!(urls(&otlp(&[])), [None, None]);
    }

    #[test]
    fn an_endpoint_is_a_base_and_the_endpoint_of_a_signal_is_not() {
        let both = otlp(&[("REDTAP__OTLP__ENDPOINT", "http://collector:4318/tenant/")]);
        let wanted = ["http://collector:4318/tenant/v1/metrics", "http://collector:4318/tenant/v1/traces"];
        assert_eq!(urls(&both), wanted.map(Some));
        let one = otlp(&[
            ("REDTAP__OTLP__ENDPOINT", "http://collector:4318"),
            ("REDTAP__OTLP__TRACES_ENDPOINT", "https://traces/x"),
            ("REDTAP__OTLP__METRICS", "false"),
        ]);
        assert_eq!(urls(&one), [None, Some("https://traces/x")]);
    }

    #[test]
    fn standard_variables_hold_where_no_key_is_set() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces/t"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s%20ecret,x-tenant = a"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
            ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Delta"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod,team=a%2Cb"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ];
        let settings = otlp(&variables);
        assert_eq!(urls(&settings), [Some("http://collector:4318/v1/metrics"), Some("http://traces/t")]);
        let client = settings.metrics.as_ref().unwrap();
        assert_eq!(client.timeout, Duration::from_millis(2_500));
        assert_eq!(client.headers.get("api-key").unwrap(), "s ecret");
        assert_eq!(client.headers.get("x-tenant").unwrap(), "a");
        assert_eq!((settings.encoding, settings.delta), (Encoding::Identity, true));
        assert_eq!((settings.interval, settings.sampling.millionths), (Duration::from_secs(5), 250_000));
        assert_eq!(settings.resource_attributes.get("team").map(String::as_str), Some("a,b"));
        let ours = [("REDTAP__OTLP__ENDPOINT", "http://ours:4318"), ("REDTAP__OTLP__INTERVAL", "7s")];
        let mixed = otlp(&[variables.as_slice(), &ours].concat());
        assert_eq!(urls(&mixed)[0], Some("http://ours:4318/v1/metrics"));
        assert_eq!(mixed.interval, Duration::from_secs(7));
    }

    #[test]
    fn what_holds_is_shown_with_its_variable_and_without_secrets() {
        let sources = with(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hunter2"),
        ]);
        let shown = load(&sources).unwrap().render();
        assert!(shown.contains("(OTEL_EXPORTER_OTLP_ENDPOINT)\nendpoint = \"http://collector:4318\"\n"), "{shown}");
        assert!(shown.contains("(OTEL_EXPORTER_OTLP_HEADERS)"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn what_the_standard_turns_off_is_off() {
        let on = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(urls(&otlp(&[on, ("OTEL_TRACES_EXPORTER", "none")]))[1], None);
        assert_eq!(urls(&otlp(&[on, ("OTEL_METRICS_EXPORTER", "none")]))[0], None);
        assert_eq!(otlp(&[on, ("OTEL_TRACES_SAMPLER", "always_on")]).sampling.millionths, 1_000_000);
        assert_eq!(otlp(&[on, ("OTEL_TRACES_SAMPLER", "jaeger_remote")]).sampling.millionths, 100_000);
        assert_eq!(otlp(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]).metrics, None, "empty is not set");
    }

    #[test]
    fn grpc_is_spoken_where_it_is_asked_for() {
        let metrics = "opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
        let traces = "opentelemetry.proto.collector.trace.v1.TraceService/Export";
        let ours = [("REDTAP__OTLP__PROTOCOL", "grpc"), ("REDTAP__OTLP__ENDPOINT", "http://collector:4317")];
        let standard =
            [("OTEL_EXPORTER_OTLP_PROTOCOL", "GRPC"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317/")];
        for variables in [ours, standard] {
            let settings = otlp(&variables);
            let wanted = [metrics, traces].map(|path| format!("http://collector:4317/{path}"));
            assert_eq!(urls(&settings), [Some(wanted[0].as_str()), Some(wanted[1].as_str())]);
            assert!(settings.metrics.unwrap().http2 && settings.traces.unwrap().http2);
        }
        let one = otlp(&[("REDTAP__OTLP__TRACES_ENDPOINT", "https://traces"), ours[0]]);
        assert_eq!(urls(&one)[1], Some(format!("https://traces/{traces}").as_str()));
        let proxy = ("REDTAP__OTLP__PROXY", "http://proxy:3128");
        assert_eq!(problems(&[ours[0], ours[1], proxy])[0].0, "otlp.proxy");
        assert!(otlp(&[ours[1], proxy]).metrics.is_some());
    }

    #[test]
    fn the_standard_protocol_is_that_of_the_standard_endpoint_alone() {
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        assert_eq!(urls(&otlp(&[grpc])), [None, None], "nothing is sent there anyway");
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        let ours = ("REDTAP__OTLP__ENDPOINT", "http://collector:4318");
        let settings = otlp(&[grpc, endpoint, ours]);
        assert_eq!(settings.protocol, Protocol::Http);
        assert!(settings.metrics.is_some_and(|metrics| !metrics.http2));
        let both = otlp(&[grpc, endpoint, ("REDTAP__OTLP__PROTOCOL", "http/protobuf")]);
        assert_eq!(both.protocol, Protocol::Http, "ours wins");
        let json = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json");
        let said = ("otlp.protocol".to_owned(), "OTEL_EXPORTER_OTLP_PROTOCOL".to_owned());
        assert_eq!(problems(&[json, endpoint]), [said]);
        assert!(otlp(&[json, endpoint, ours]).metrics.is_some());
    }

    #[test]
    fn mistakes_are_told_with_their_keys() {
        for (key, text) in [
            ("ENDPOINT", "collector:4318"),
            ("ENDPOINT", "http://user:secret@collector:4318"),
            ("TRACES_RATIO", "101%"),
            ("TRACES_RATIO", "1.5"),
            ("QUEUE_BYTES", "1KiB"),
            ("TEMPORALITY", "lowmemory"),
        ] {
            let name = format!("REDTAP__OTLP__{key}");
            let path = format!("otlp.{}", key.to_lowercase());
            assert_eq!(problems(&[(&name, text)]), [(path, name.clone())], "{text}");
        }
        let slow = [
            ("REDTAP__OTLP__ENDPOINT", "http://c:4318"),
            ("REDTAP__OTLP__INTERVAL", "10s"),
            ("REDTAP__SERIES__EXPIRY", "10s"),
        ];
        assert_eq!(problems(&slow)[0].0, "otlp.interval");
    }
}
