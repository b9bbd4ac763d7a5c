//! What the stages want to know of DNS.

use super::Dns;
use crate::metric::Metric;
use crate::protocols::traits::{EdgeKind, Endpoint, Growth, Methods, Patience, Traits, Unlisted, is_word};
use crate::protocols::{Budget, Pairing, Protocol, Wire};

pub(super) const TRAITS: Traits = Traits {
    protocol: Protocol::Dns,
    over: None,
    name: "dns",
    probe: Dns::probe,
    ports: &[53, 5353, 853],
    // The bound of EDNS in practice (RFC 6891, 6.2.5).
    budget: Budget::head(12, 12),
    growth: Growth::Never,
    pairing: Pairing::ById,
    patience: Patience::Short,
    asks_again_unanswered: true,
    // Servers answer twice, and late.
    orphans_tell: false,
    methods: Methods::Table { words: QUESTION_TYPES, unlisted: |_| Unlisted::Other },
    is_code: is_word,
    endpoint: Endpoint::Suffix,
    server_metric: Metric::DnsServerLookupDuration,
    client_metric: Metric::DnsLookupDuration,
    system: None,
    edge: EdgeKind::None,
    is_server_error: |_| true,
};

/// Question types (IANA, "DNS Parameters") that are asked for in earnest, and the other operations.
const QUESTION_TYPES: &str = "\
    A NS CNAME SOA PTR HINFO MX TXT RP AFSDB SIG KEY AAAA LOC SRV NAPTR KX CERT DNAME OPT DS SSHFP IPSECKEY RRSIG NSEC \
    DNSKEY DHCID NSEC3 NSEC3PARAM TLSA SMIMEA HIP CDS CDNSKEY OPENPGPKEY CSYNC ZONEMD SVCB HTTPS SPF EUI48 EUI64 TKEY \
    TSIG IXFR AXFR ANY URI CAA NOTIFY UPDATE";
