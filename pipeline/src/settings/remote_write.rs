//! Section `remote_write`.

use super::client::client;
use super::read::Reader;
use crate::export::client::ClientSettings;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Most series hashed to queues of their own.
pub const MAX_SHARDS: usize = 16;

/// Which version of the protocol to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteWriteProtocol {
    /// 2.0, until the receiver turns out to know only 1.0.
    Auto,
    /// Only 1.0.
    V1,
    /// Only 2.0.
    V2,
}

/// Where and how to send samples; each value is within its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteWriteSettings {
    /// The receiver.
    pub client: ClientSettings,
    /// Time between two samples of a series.
    pub interval: Duration,
    /// Which version.
    pub protocol: RemoteWriteProtocol,
    /// Histograms as one native histogram each; where only 1.0 is spoken, as classic series all the same.
    pub native_histograms: bool,
    /// Most samples of a request.
    pub max_samples: usize,
    /// Requests at a time.
    pub shards: usize,
    /// Folder for what could not be sent yet; none: it is kept in memory.
    pub spool: Option<PathBuf>,
    /// Most bytes of it.
    pub spool_bytes: usize,
    /// Added to each series that has none of that name.
    pub external_labels: BTreeMap<String, String>,
}

/// The section; none if no URL is given.
pub(super) fn remote_write(reader: &mut Reader<'_>) -> Option<RemoteWriteSettings> {
    let client = client(reader, "remote_write");
    let protocols = [("1.0", RemoteWriteProtocol::V1), ("2.0", RemoteWriteProtocol::V2)];
    let interval = reader.duration("remote_write.interval", Duration::from_secs(1)..=Duration::from_secs(3_600));
    let protocol = reader.word("remote_write.protocol", ("auto", RemoteWriteProtocol::Auto), &protocols);
    let native_histograms = reader.flag("remote_write.native_histograms");
    let max_samples = reader.number("remote_write.max_samples", 100..=50_000);
    let shards = reader.number("remote_write.shards", 1..=MAX_SHARDS);
    let spool = reader.text("remote_write.spool").map(PathBuf::from);
    let spool_bytes = reader.bytes("remote_write.spool_bytes", 1 << 20..=64 << 30);
    let external_labels = labels(reader);
    Some(RemoteWriteSettings {
        client: client?,
        interval,
        protocol,
        native_histograms,
        max_samples,
        shards,
        spool,
        spool_bytes,
        external_labels,
    })
}

/// External labels, `job` and `instance` among them.
fn labels(reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let mut labels = reader.table("remote_write.external_labels");
    for (name, value) in &labels {
        let mut letters = name.chars();
        let first = letters.next().is_some_and(|letter| letter.is_ascii_alphabetic() || letter == '_');
        let named = first && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        if !named || name.starts_with("__") || name == "le" {
            let place = format!("remote_write.external_labels.{name}");
            reader.problem(&place, value, "is not a name for a label", "write letters, digits and _, such as cluster");
        }
    }
    for name in ["job", "instance"] {
        if let Some(value) = reader.text(&format!("remote_write.{name}")) {
            labels.entry(name.to_owned()).or_insert(value);
        }
    }
    labels
}
