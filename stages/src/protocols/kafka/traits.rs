//! What the stages want to know of Kafka.

use super::{Kafka, apis};
use crate::metric::Metric;
use crate::protocols::traits::{EdgeKind, Endpoint, Growth, Methods, Patience, Traits, Unlisted};
use crate::protocols::{Budget, Pairing, Protocol, Wire};

pub(super) const TRAITS: Traits = Traits {
    protocol: Protocol::Kafka,
    over: None,
    name: "kafka",
    probe: Kafka::probe,
    ports: &[9092, 9093, 9094, 19_092, 29_092],
    // Topic and error codes come early, but a turn of a producer may hold a hundred requests.
    budget: Budget::head(16, 13),
    growth: Growth::Requests,
    pairing: Pairing::ById,
    patience: Patience::Usual,
    // Producers do not wait for acknowledgements.
    asks_again_unanswered: true,
    // An answer without a request may be that of a request that timed out, was dropped, or was counted as missed: with many under
    // way at once, nobody can tell which.
    orphans_tell: false,
    methods: Methods::Table { words: apis::NAMES, unlisted: |_| Unlisted::Other },
    is_code,
    endpoint: Endpoint::Target,
    server_metric: Metric::MessagingServerOperationDuration,
    client_metric: Metric::MessagingClientOperationDuration,
    system: Some("kafka"),
    edge: EdgeKind::Messaging,
    is_server_error: |code| SERVER_ERRORS.contains(&code),
};

/// Error codes are 16 bits wide, in decimal; -1 is `UNKNOWN_SERVER_ERROR`.
fn is_code(code: &[u8]) -> bool {
    let digits = code.strip_prefix(b"-").unwrap_or(code);
    (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
}

/// Protocol guide, "Error Codes": what the broker, and not who asks, is to blame for.
const SERVER_ERRORS: &[&[u8]] = &[
    b"-1", // UNKNOWN_SERVER_ERROR
    b"5",  // LEADER_NOT_AVAILABLE
    b"7",  // REQUEST_TIMED_OUT
    b"8",  // BROKER_NOT_AVAILABLE
    b"9",  // REPLICA_NOT_AVAILABLE
    b"13", // NETWORK_EXCEPTION
    b"14", // COORDINATOR_LOAD_IN_PROGRESS
    b"15", // COORDINATOR_NOT_AVAILABLE
    b"19", // NOT_ENOUGH_REPLICAS
    b"20", // NOT_ENOUGH_REPLICAS_AFTER_APPEND
    b"56", // KAFKA_STORAGE_ERROR
];
