//! Section `otlp`.

use super::Settings;
use super::client::client_at;
use super::read::{Reader, parse_ratio};
use crate::export::client::ClientSettings;
use crate::export::otlp::{Encoding, Sampling};
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
    let base = reader.url("otlp.endpoint");
    let own = (reader.url("otlp.metrics_endpoint"), reader.url("otlp.traces_endpoint"));
    let any = base.clone().or_else(|| own.0.clone()).or_else(|| own.1.clone());
    let client = client_at(reader, "otlp", any);
    let to = |wanted: bool, own: Option<Url>, path: &str| {
        let url = own.or_else(|| base.as_ref().map(|base| below(base, path))).filter(|_| wanted)?;
        Some(ClientSettings { url, ..client.clone()? })
    };
    OtlpSettings {
        metrics: to(metrics, own.0, "v1/metrics"),
        traces: to(traces, own.1, "v1/traces"),
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

/// What no key can say alone.
pub(super) fn check(settings: &Settings, reader: &mut Reader<'_>) {
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
    fn an_endpoint_that_speaks_something_else_is_a_problem_and_not_a_silence() {
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        let said = |name: &str| ("otlp.endpoint".to_owned(), name.to_owned());
        assert_eq!(problems(&[grpc, endpoint]), [said("OTEL_EXPORTER_OTLP_PROTOCOL")]);
        assert_eq!(urls(&otlp(&[grpc])), [None, None], "nothing is sent there anyway");
        let ours = ("REDTAP__OTLP__ENDPOINT", "http://collector:4318");
        assert!(otlp(&[grpc, endpoint, ours]).metrics.is_some());
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
