//! The messages of remote write, as far as they are used here. Source: `prompb/remote.proto`, `prompb/types.proto` (1.0) and
//! `prompb/io/prometheus/write/v2/types.proto` (2.0) of Prometheus, in both of which the numbers of fields are fixed.

use std::collections::HashMap;

/// Value of a sample that says that its series ended: one of the many that are not a number.
/// (Remote write 2.0, "Stale Markers".)
pub(super) const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Kinds of metrics; the same numbers in both versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum MetricKind {
    Unknown = 0,
    Counter = 1,
    Gauge = 2,
    Histogram = 3,
}

/// 2.0: `io.prometheus.write.v2`.
pub(super) mod v2 {
    use super::MetricKind;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Request {
        /// The first is empty.
        #[prost(string, repeated, tag = "4")]
        pub(in super::super) symbols: Vec<String>,
        #[prost(message, repeated, tag = "5")]
        pub(in super::super) timeseries: Vec<TimeSeries>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct TimeSeries {
        /// Pairs of symbols, ordered by name.
        #[prost(uint32, repeated, tag = "1")]
        pub(in super::super) labels_refs: Vec<u32>,
        #[prost(message, repeated, tag = "2")]
        pub(in super::super) samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(in super::super) histograms: Vec<Histogram>,
        #[prost(message, repeated, tag = "4")]
        pub(in super::super) exemplars: Vec<Exemplar>,
        #[prost(message, optional, tag = "5")]
        pub(in super::super) metadata: Option<Metadata>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(in super::super) struct Sample {
        #[prost(double, tag = "1")]
        pub(in super::super) value: f64,
        /// Milliseconds since the epoch.
        #[prost(int64, tag = "2")]
        pub(in super::super) timestamp: i64,
        /// Likewise; 0: not known.
        #[prost(int64, tag = "3")]
        pub(in super::super) start_timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Exemplar {
        /// Pairs of symbols, ordered by name.
        #[prost(uint32, repeated, tag = "1")]
        pub(in super::super) labels_refs: Vec<u32>,
        #[prost(double, tag = "2")]
        pub(in super::super) value: f64,
        #[prost(int64, tag = "3")]
        pub(in super::super) timestamp: i64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(in super::super) struct Metadata {
        #[prost(enumeration = "MetricKind", tag = "1")]
        pub(in super::super) kind: i32,
        #[prost(uint32, tag = "3")]
        pub(in super::super) help_ref: u32,
        #[prost(uint32, tag = "4")]
        pub(in super::super) unit_ref: u32,
    }

    /// A native histogram; here always one with custom buckets (schema -53), whose counts are integers.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Histogram {
        /// In the original the only one of a `oneof` that is used here; written even if it is 0.
        #[prost(uint64, optional, tag = "1")]
        pub(in super::super) count: Option<u64>,
        #[prost(double, tag = "3")]
        pub(in super::super) sum: f64,
        #[prost(sint32, tag = "4")]
        pub(in super::super) schema: i32,
        #[prost(message, repeated, tag = "11")]
        pub(in super::super) spans: Vec<Span>,
        /// Each the difference to the bucket before.
        #[prost(sint64, repeated, tag = "12")]
        pub(in super::super) deltas: Vec<i64>,
        #[prost(int64, tag = "15")]
        pub(in super::super) timestamp: i64,
        /// Upper bounds, without +Inf.
        #[prost(double, repeated, tag = "16")]
        pub(in super::super) bounds: Vec<f64>,
        #[prost(int64, tag = "17")]
        pub(in super::super) start_timestamp: i64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(in super::super) struct Span {
        #[prost(sint32, tag = "1")]
        pub(in super::super) offset: i32,
        #[prost(uint32, tag = "2")]
        pub(in super::super) length: u32,
    }
}

/// 1.0: `prometheus`.
pub(super) mod v1 {
    use super::MetricKind;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct WriteRequest {
        #[prost(message, repeated, tag = "1")]
        pub(in super::super) timeseries: Vec<TimeSeries>,
        #[prost(message, repeated, tag = "3")]
        pub(in super::super) metadata: Vec<Metadata>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct TimeSeries {
        #[prost(message, repeated, tag = "1")]
        pub(in super::super) labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        pub(in super::super) samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(in super::super) exemplars: Vec<Exemplar>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Exemplar {
        #[prost(message, repeated, tag = "1")]
        pub(in super::super) labels: Vec<Label>,
        #[prost(double, tag = "2")]
        pub(in super::super) value: f64,
        #[prost(int64, tag = "3")]
        pub(in super::super) timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Label {
        #[prost(string, tag = "1")]
        pub(in super::super) name: String,
        #[prost(string, tag = "2")]
        pub(in super::super) value: String,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(in super::super) struct Sample {
        #[prost(double, tag = "1")]
        pub(in super::super) value: f64,
        #[prost(int64, tag = "2")]
        pub(in super::super) timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Metadata {
        #[prost(enumeration = "MetricKind", tag = "1")]
        pub(in super::super) kind: i32,
        #[prost(string, tag = "2")]
        pub(in super::super) family: String,
        #[prost(string, tag = "4")]
        pub(in super::super) help: String,
        #[prost(string, tag = "5")]
        pub(in super::super) unit: String,
    }
}

/// The table of symbols of a 2.0 request while it is made.
#[derive(Debug)]
pub(super) struct Symbols {
    known: HashMap<String, u32>,
    list: Vec<String>,
}

impl Default for Symbols {
    fn default() -> Self {
        Self { known: HashMap::from([(String::new(), 0)]), list: vec![String::new()] }
    }
}

impl Symbols {
    /// The number of a text.
    pub(super) fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.known.get(text) {
            return number;
        }
        let number = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        self.list.push(text.to_owned());
        self.known.insert(text.to_owned(), number);
        number
    }

    /// All of them in order.
    pub(super) fn into_list(self) -> Vec<String> {
        self.list
    }
}
