//! OTLP's messages: the one place that names the crate they come from, whose releases break often.
//!
//! Absent: what is said with them.

pub(super) use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
pub(super) use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
pub(super) use opentelemetry_proto::tonic::common::v1::KeyValue;
pub(super) use opentelemetry_proto::tonic::metrics::v1::metric::Data;
pub(super) use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
pub(super) use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum,
};
pub(super) use opentelemetry_proto::tonic::resource::v1::Resource;
pub(super) use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
pub(super) use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
pub(super) use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, any_value};
use prost::Message;

/// Names the conventions that the attributes follow (OTLP, "Schema URL").
pub(super) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// Who made what is sent.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "redtap".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// An attribute that is a text.
pub(super) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.to_owned()))
}

/// An attribute that is a whole number.
pub(super) fn whole(key: &str, value: i64) -> KeyValue {
    attribute(key, any_value::Value::IntValue(value))
}

/// An attribute that is a list of texts.
pub(super) fn texts(key: &str, values: impl Iterator<Item = String>) -> KeyValue {
    let values = values.map(|value| AnyValue { value: Some(any_value::Value::StringValue(value)) }).collect();
    attribute(key, any_value::Value::ArrayValue(ArrayValue { values }))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// The text of an attribute that is one.
#[cfg(test)]
pub(super) fn as_text(attribute: &KeyValue) -> Option<String> {
    match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        any_value::Value::ArrayValue(list) => Some(format!("{} values", list.values.len())),
        _ => None,
    }
}

/// How many items of a request the receiver did not take, and what it says of them, by its answer to a request that
/// succeeded (OTLP, "Partial Success"). An answer that cannot be read says nothing.
pub(super) fn rejected_points(answer: &[u8]) -> (u64, String) {
    let partial = ExportMetricsServiceResponse::decode(answer).ok().and_then(|answer| answer.partial_success);
    partial.map_or_else(Default::default, |partial| (count(partial.rejected_data_points), partial.error_message))
}

/// The same for spans.
pub(super) fn rejected_spans(answer: &[u8]) -> (u64, String) {
    let partial = ExportTraceServiceResponse::decode(answer).ok().and_then(|answer| answer.partial_success);
    partial.map_or_else(Default::default, |partial| (count(partial.rejected_spans), partial.error_message))
}

fn count(rejected: i64) -> u64 {
    u64::try_from(rejected).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsPartialSuccess;

    #[test]
    fn reads_what_was_not_taken_and_nothing_out_of_nonsense() {
        let answer = |rejected_data_points| {
            let partial = ExportMetricsPartialSuccess { rejected_data_points, error_message: "why".to_owned() };
            ExportMetricsServiceResponse { partial_success: Some(partial) }.encode_to_vec()
        };
        assert_eq!(rejected_points(&answer(3)), (3, "why".to_owned()));
        assert_eq!(rejected_points(&answer(-1)).0, 0);
        assert_eq!(rejected_points(b""), (0, String::new()));
        assert_eq!(rejected_spans(b"<html>"), (0, String::new()));
    }
}
