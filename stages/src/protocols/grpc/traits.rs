//! What the stages want to know of gRPC.

use super::{Grpc, status};
use crate::metric::Metric;
use crate::protocols::traits::{EdgeKind, Endpoint, Growth, Methods, Over, Patience, Traits, Unlisted};
use crate::protocols::{Budget, Pairing, Protocol};

pub(super) const TRAITS: Traits = Traits {
    protocol: Protocol::Grpc,
    over: Some(Over { carrier: Protocol::Http2, renamed: super::renamed }),
    name: "grpc",
    probe: Grpc::probe,
    ports: &[],
    budget: Budget::FULL,
    growth: Growth::Never,
    pairing: Pairing::ById,
    patience: Patience::Usual,
    asks_again_unanswered: true,
    orphans_tell: false,
    methods: Methods::Table { words: "POST", unlisted: |_| Unlisted::Other },
    is_code: |code| matches!(code.len(), 1..=3) && code.iter().all(u8::is_ascii_digit),
    endpoint: Endpoint::Target,
    server_metric: Metric::RpcServerCallDuration,
    client_metric: Metric::RpcClientCallDuration,
    system: Some("grpc"),
    edge: EdgeKind::Call,
    is_server_error: status::is_server_error,
};
