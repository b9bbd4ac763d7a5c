//! Status codes of gRPC, and what stands for one where none was sent. Their names are a matter of the metrics
//! (`metric::values`).

/// OK.
pub const OK: u32 = 0;
/// CANCELLED.
pub const CANCELLED: u32 = 1;
/// UNKNOWN.
pub const UNKNOWN: u32 = 2;
/// PERMISSION_DENIED.
pub const PERMISSION_DENIED: u32 = 7;
/// RESOURCE_EXHAUSTED.
pub const RESOURCE_EXHAUSTED: u32 = 8;
/// UNIMPLEMENTED.
pub const UNIMPLEMENTED: u32 = 12;
/// INTERNAL.
pub const INTERNAL: u32 = 13;
/// UNAVAILABLE.
pub const UNAVAILABLE: u32 = 14;
/// UNAUTHENTICATED.
pub const UNAUTHENTICATED: u32 = 16;

/// Of an answer that carries no `grpc-status` (gRPC, http-grpc-status-mapping.md).
#[must_use]
pub fn of_http(code: u16) -> u32 {
    match code {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        429 | 502..=504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// Of a stream that was reset with this error code of HTTP/2 (gRPC, PROTOCOL-HTTP2.md, errors).
#[must_use]
pub fn of_reset(error: u32) -> u32 {
    match error {
        // NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, FRAME_SIZE_ERROR, COMPRESSION_ERROR,
        // CONNECT_ERROR.
        0..=4 | 6 | 9 | 10 => INTERNAL,
        // REFUSED_STREAM.
        7 => UNAVAILABLE,
        // CANCEL.
        8 => CANCELLED,
        // ENHANCE_YOUR_CALM.
        11 => RESOURCE_EXHAUSTED,
        // INADEQUATE_SECURITY.
        12 => PERMISSION_DENIED,
        // STREAM_CLOSED has none (the stream was over), nor has what came later.
        _ => UNKNOWN,
    }
}

/// Of the codes, which are the server's fault (OpenTelemetry, conventions for gRPC): UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED,
/// INTERNAL, UNAVAILABLE, DATA_LOSS.
#[must_use]
pub fn is_server_error(code: &[u8]) -> bool {
    matches!(code, b"2" | b"4" | b"12" | b"13" | b"14" | b"15")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stands_in_for_what_was_not_sent() {
        assert_eq!([200, 400, 404, 503, 418].map(of_http), [2, 13, 12, 14, 2]);
        assert_eq!([0, 2, 5, 7, 8, 11, 12, 13].map(of_reset), [13, 13, 2, 14, 1, 8, 7, 2]);
    }
}
