//! The APIs of Kafka by key: their names, versions, and where in a request or response the topic and the error codes are.
//!
//! A layout says so in letters, up to the last field of interest; [`super::layout`] reads by it:
//!
//! | letters | field |
//! |---|---|
//! | a number | that many bytes to skip (`,` parts it from another) |
//! | `s`, `b` | a string, bytes: skipped |
//! | `e` | an error code |
//! | `T`, `U` | request: the name, the id of a topic |
//! | `r` | request: a resource type; a `T` that follows names such a resource |
//! | `a`, `w`, `o` | request: acks, the longest wait in milliseconds, the epoch of the fetch session |
//! | `t`, `i` | response: the name of a topic, and the id that goes with it |
//! | `[`…`]`, `{`…`}` | an array of structures, a structure (each with tagged fields in flexible versions) |
//! | `?` | the structure may be null |
//! | `*` | an array of what follows |

mod table;

use table::APIS;
/// The names of all APIs.
pub(super) use table::NAMES;

/// Key of the APIs that are treated apart.
pub(super) mod key {
    pub(crate) const PRODUCE: u8 = 0;
    pub(crate) const METADATA: u8 = 3;
    pub(crate) const CONTROLLED_SHUTDOWN: u8 = 7;
    pub(crate) const JOIN_GROUP: u8 = 11;
    pub(crate) const SYNC_GROUP: u8 = 14;
    pub(crate) const SASL_HANDSHAKE: u8 = 17;
    pub(crate) const API_VERSIONS: u8 = 18;
}

/// One API.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) name: &'static str,
    /// First version with compact types and tagged fields (KIP-482).
    flexible: u8,
    /// Newest version that is known.
    newest: u8,
    /// Layouts, each with the first version that it holds for.
    requests: &'static [(u8, &'static str)],
    responses: &'static [(u8, &'static str)],
}

const fn api(
    name: &'static str,
    flexible: u8,
    newest: u8,
    requests: &'static [(u8, &'static str)],
    responses: &'static [(u8, &'static str)],
) -> Api {
    Api { name, flexible, newest, requests, responses }
}

/// A version of an API.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) key: u8,
    pub(super) version: u8,
    api: &'static Api,
}

impl Call {
    /// `None`: no such API, or a version that nothing is known of.
    pub(super) fn find(key: u16, version: u16) -> Option<Self> {
        let api = APIS.get(usize::from(key))?;
        let version = u8::try_from(version).ok().filter(|version| *version <= api.newest)?;
        Some(Self { key: u8::try_from(key).ok()?, version, api })
    }

    pub(super) fn name(self) -> &'static str {
        self.api.name
    }

    /// Compact types, and tagged fields behind each structure.
    pub(super) fn is_flexible(self) -> bool {
        self.version >= self.api.flexible
    }

    /// Tagged fields in the header of the response (version 1 of it). Never in that of `ApiVersions`, because a client must be able
    /// to read it before versions are agreed on (KIP-511).
    pub(super) fn response_header_is_flexible(self) -> bool {
        self.is_flexible() && self.key != key::API_VERSIONS
    }

    /// Version 0 of the request header ends behind the correlation id; only `ControlledShutdown` had it.
    pub(super) fn has_client_id(self) -> bool {
        self.key != key::CONTROLLED_SHUTDOWN || self.version > 0
    }

    /// Its response comes when the other members of a group have spoken.
    pub(super) fn waits_for_others(self) -> bool {
        matches!(self.key, key::JOIN_GROUP | key::SYNC_GROUP)
    }

    pub(super) fn request(self) -> &'static str {
        self.layout(self.api.requests)
    }

    pub(super) fn response(self) -> &'static str {
        self.layout(self.api.responses)
    }

    fn layout(self, layouts: &'static [(u8, &'static str)]) -> &'static str {
        layouts.iter().rev().find(|(since, _)| *since <= self.version).map_or("", |(_, layout)| layout)
    }
}
