//! Values of attributes that the conventions prescribe, where protocols put it another way.

use super::Metric;

/// `rpc.status_code` of gRPC: names by number (gRPC, statuscodes.md).
const RPC_STATUS: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The code as a label of that metric (or its other side) has it: remote calls end with a name, not with its number.
#[must_use]
pub fn code(server_metric: Metric, code: &str) -> &str {
    if server_metric != Metric::RpcServerCallDuration {
        return code;
    }
    code.parse().ok().and_then(|number: usize| RPC_STATUS.get(number).copied()).unwrap_or(code)
}

/// `messaging.operation.type` of an operation; `None` where the conventions have none for it.
#[must_use]
pub fn operation_type(operation: &str) -> Option<&'static str> {
    Some(match operation {
        "Produce" => "send",
        "Fetch" | "ShareFetch" => "receive",
        "OffsetCommit" | "TxnOffsetCommit" | "ShareAcknowledge" => "settle",
        _ => return None,
    })
}

/// `network.protocol.version` by the name of the protocol, where the name tells it.
#[must_use]
pub fn version(protocol: &str) -> Option<&'static str> {
    (protocol == "http2").then_some("2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_calls_end_with_a_name() {
        let rpc = |number| code(Metric::RpcServerCallDuration, number);
        assert_eq!(
            ["0", "4", "14", "16", "17", "x"].map(rpc),
            ["OK", "DEADLINE_EXCEEDED", "UNAVAILABLE", "UNAUTHENTICATED", "17", "x"]
        );
        assert_eq!(code(Metric::DbServerOperationDuration, "14"), "14");
    }

    #[test]
    fn operations_of_a_broker_have_a_type_or_none() {
        assert_eq!(
            ["Produce", "Fetch", "OffsetCommit", "Metadata"].map(operation_type),
            [Some("send"), Some("receive"), Some("settle"), None]
        );
    }
}
