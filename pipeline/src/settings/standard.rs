//! The environment variables that the OpenTelemetry specification gives to everyone ("Environment Variable Specification",
//! "OTLP Exporter Configuration"): they stand below the file and our own variables, above the defaults.
//!
//! One that is empty is not set. What a variable says that this agent has no use for (an unknown sampler) is ignored, as the
//! specification wants it. Absent: variables for signals and protocols that the agent does not have.

use super::said::{Layers, Said, Written};
use std::collections::BTreeMap;

/// How the text of a variable becomes that of a key.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// As it is, in lower case or not.
    Text,
    Word,
    /// A whole number of milliseconds.
    Milliseconds,
    /// `name=value,...`, percent-encoded.
    Pairs,
    /// `none` turns the signal off.
    Exporter,
    /// The name of a sampler; its argument is in another variable.
    Sampler,
}

const VARIABLES: &[(&str, &str, Turn)] = &[
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "otlp.endpoint", Turn::Text),
    ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "otlp.metrics_endpoint", Turn::Text),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "otlp.traces_endpoint", Turn::Text),
    ("OTEL_EXPORTER_OTLP_HEADERS", "otlp.headers", Turn::Pairs),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "otlp.compression", Turn::Word),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "otlp.timeout", Turn::Milliseconds),
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", "otlp.tls_ca_file", Turn::Text),
    ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "otlp.tls_cert_file", Turn::Text),
    ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "otlp.tls_key_file", Turn::Text),
    ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "otlp.temporality", Turn::Word),
    ("OTEL_METRIC_EXPORT_INTERVAL", "otlp.interval", Turn::Milliseconds),
    ("OTEL_METRICS_EXPORTER", "otlp.metrics", Turn::Exporter),
    ("OTEL_TRACES_EXPORTER", "otlp.traces", Turn::Exporter),
    ("OTEL_TRACES_SAMPLER", "otlp.traces_ratio", Turn::Sampler),
    ("OTEL_RESOURCE_ATTRIBUTES", "otlp.resource_attributes", Turn::Pairs),
];

/// Which protocol the receiver speaks.
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";

/// Lays what the variables say over the defaults.
pub(super) fn apply(environment: &[(String, String)], layers: &mut Layers) {
    for (variable, path, turn) in VARIABLES {
        let Some(text) = set(environment, variable) else { continue };
        let Some((path, said)) = layers.get_key_value(path).map(|(path, said)| (*path, said)) else { continue };
        // An empty table is what a table is turned into; one that is no table is a mistake of VARIABLES.
        let table = matches!(said.value, Written::Table(_));
        let value = match turn {
            Turn::Pairs if table => Some(Written::Table(pairs(text))),
            _ => turned(*turn, text, environment).map(Written::One),
        };
        if let Some(value) = value {
            layers.insert(path, Said { value, origin: (*variable).to_owned() });
        }
    }
}

/// The protocol of an endpoint that came out of the environment: what else is set there is meant for it. An endpoint of our own keys has
/// the protocol of our own keys.
pub(super) fn protocol(environment: &[(String, String)], layers: &mut Layers) {
    let Some(protocol) = set(environment, PROTOCOL) else { return };
    let standard = |layers: &Layers, path| layers.get(path).is_some_and(|said| said.origin.starts_with("OTEL_"));
    let endpoints = ["otlp.endpoint", "otlp.metrics_endpoint", "otlp.traces_endpoint"];
    if !endpoints.into_iter().any(|path| standard(layers, path)) {
        return;
    }
    if let Some(said) = layers.get_mut("otlp.protocol").filter(|said| said.origin == "default") {
        *said = Said { value: Written::One(protocol.to_ascii_lowercase()), origin: PROTOCOL.to_owned() };
    }
}

fn set<'a>(environment: &'a [(String, String)], variable: &str) -> Option<&'a str> {
    let found = environment.iter().find(|(name, _)| name == variable)?;
    Some(found.1.trim()).filter(|text| !text.is_empty())
}

fn turned(turn: Turn, text: &str, environment: &[(String, String)]) -> Option<String> {
    match turn {
        Turn::Text | Turn::Pairs => Some(text.to_owned()),
        // `lowmemory` is another choice for each kind of metric; the default is as good.
        Turn::Word => Some(text.to_ascii_lowercase()).filter(|word| word != "lowmemory"),
        Turn::Milliseconds => Some(format!("{text}ms")),
        Turn::Exporter => (text == "none").then(|| "false".to_owned()),
        Turn::Sampler => match text.strip_prefix("parentbased_").unwrap_or(text) {
            "always_on" => Some("100%".to_owned()),
            "always_off" => Some("0%".to_owned()),
            "traceidratio" => Some(set(environment, "OTEL_TRACES_SAMPLER_ARG").unwrap_or("100%").to_owned()),
            _ => None,
        },
    }
}

/// `name=value` separated by commas, both percent-encoded (W3C Baggage, as the specification wants it); what is no pair is left
/// out.
fn pairs(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    let pairs = pairs.map(|(name, value)| (decoded(name.trim()), decoded(value.trim())));
    pairs.filter(|(name, _)| !name.is_empty()).collect()
}

fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&crate::percent::decoded(text.as_bytes())).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_and_what_is_no_pair_is_left_out() {
        let got = pairs("a=1, b = x%2Cy%3d ,nonsense,=2,c=%zz%4,d=");
        let got: Vec<_> = got.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(got, [("a", "1"), ("b", "x,y="), ("c", "%zz%4"), ("d", "")]);
    }
}
