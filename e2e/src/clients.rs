//! Servers and clients whose libraries come from language registries: the programs are in `e2e/clients/`, and `cargo xtask
//! install` builds them with their libraries into `target/e2e-clients/`, once.

pub mod mysql;
pub mod obedient;
pub mod postgres;
pub mod sql;

pub use obedient::Obedient;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What is built together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kit {
    /// grpcio and confluent-kafka (librdkafka).
    Python,
    /// Server and client on grpc-go.
    GrpcGo,
    /// Server and client on tonic.
    GrpcRust,
    /// A Kafka broker and its Java client.
    Kafka,
    /// An OpenTelemetry Collector.
    OtelCollector,
    /// Go's database drivers.
    SqlGo,
    /// JDBC drivers.
    SqlJava,
    /// Node's database drivers.
    SqlNode,
    /// PHP's database extensions.
    SqlPhp,
    /// Python's database drivers.
    SqlPython,
    /// Prometheus and promtool.
    Prometheus,
    /// Prometheus's compliance suite for senders of remote write.
    RemoteWriteSender,
    /// VictoriaMetrics, one node.
    VictoriaMetrics,
    /// What drives a browser, and judges accessibility.
    Ui,
}

impl Kit {
    /// Name of its folder, and what it is made of in `e2e/clients/`.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Python => ("python", "requirements.txt"),
            Self::GrpcGo => ("grpc-go", "grpc-go"),
            Self::GrpcRust => ("grpc-rust", "grpc-rust"),
            Self::Kafka => ("kafka", "kafka"),
            Self::OtelCollector => ("otel-collector", "otel-collector"),
            Self::SqlGo => ("sql-go", "sql-go"),
            Self::SqlJava => ("sql-java", "sql-java"),
            Self::SqlNode => ("sql-node", "sql-node/package-lock.json"),
            Self::SqlPhp => ("sql-php", "sql-php"),
            Self::SqlPython => ("sql-python", "sql-python/requirements.txt"),
            Self::Prometheus => ("prometheus", "prometheus.txt"),
            Self::RemoteWriteSender => ("remote-write-sender", "remote-write-sender"),
            Self::VictoriaMetrics => ("victoria-metrics", "victoria-metrics.txt"),
            Self::Ui => ("ui", "ui/package-lock.json"),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn folder(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/e2e-clients").join(self.names().0)
    }

    /// True if it is built, and no file that it is built of has changed since.
    #[must_use]
    pub fn is_ready(self) -> bool {
        let done = std::fs::metadata(self.folder().with_extension("done")).and_then(|file| file.modified());
        done.is_ok_and(|done| youngest(&source(self.names().1)).is_some_and(|source| source <= done))
    }
}

/// When a file, or any below a folder, was last written.
fn youngest(path: &Path) -> Option<SystemTime> {
    if !path.is_dir() {
        return path.metadata().ok()?.modified().ok();
    }
    let inside = std::fs::read_dir(path).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    inside.filter(|path| !path.ends_with("target")).filter_map(|path| youngest(&path)).max()
}

/// A source file of `e2e/clients/`.
#[must_use]
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}
