//! Which version a receiver understands, by what it answers. Pure.
//!
//! Source: remote write 2.0, "Required Written Response Headers", "Unsupported Request Content", "Backward compatibility".
//! A receiver that knows 2.0 says in headers what it wrote. One that knows only 1.0 answers 415 (older ones 400), or takes
//! the request for one without content and answers 2xx without these headers.

use super::encode::Version;
use crate::export::client::{Failure, Outcome};
use crate::settings::RemoteWriteProtocol;
use reqwest::header::HeaderMap;
use std::time::Duration;

/// What is known of a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Receiver {
    protocol: RemoteWriteProtocol,
    version: Version,
    confirmed: bool,
}

/// What follows from an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is decided.
    Done {
        /// Samples that were taken.
        delivered: u32,
        /// Those that were not, and will not be.
        refused: u32,
        /// Why not: the status and what was said, if anything.
        why: Option<(u16, String)>,
    },
    /// The same batch again, in this version.
    As(Version),
    /// The same again, later.
    Again {
        /// Why.
        why: Failure,
        /// When the receiver said.
        after: Option<Duration>,
    },
}

impl Receiver {
    pub(super) fn new(protocol: RemoteWriteProtocol) -> Self {
        let version = if protocol == RemoteWriteProtocol::V1 { Version::V1 } else { Version::V2 };
        Self { protocol, version, confirmed: false }
    }

    /// What to speak.
    pub(super) const fn version(self) -> Version {
        self.version
    }

    /// Learns from the answer to a request with so many samples in `version`.
    pub(super) fn heard(&mut self, version: Version, samples: u32, outcome: Outcome) -> Step {
        let auto = self.protocol == RemoteWriteProtocol::Auto && version == Version::V2;
        match outcome {
            Outcome::Retry { why, after } => Step::Again { why, after },
            Outcome::Delivered(answer) => match (version, written(&answer.headers)) {
                (Version::V1, _) => {
                    // After a 400 to 2.0 this is what decides.
                    if self.protocol == RemoteWriteProtocol::Auto {
                        self.version = Version::V1;
                    }
                    Step::Done { delivered: samples, refused: 0, why: None }
                }
                (Version::V2, Some(written)) => {
                    self.confirmed = true;
                    partly(samples, written, answer.status, "it did not say why")
                }
                (Version::V2, None) if auto => self.older(),
                (Version::V2, None) => {
                    let why = "it does not say that it wrote anything, so it knows only 1.0";
                    Step::Done { delivered: 0, refused: samples, why: Some((answer.status, why.to_owned())) }
                }
            },
            Outcome::Refused { status: 415, .. } if auto => self.older(),
            Outcome::Refused { status: 400, headers, .. } if auto && !self.confirmed && written(&headers).is_none() => {
                // Perhaps it is the content: remembered only if 1.0 is taken.
                Step::As(Version::V1)
            }
            Outcome::Refused { status, headers, said } => match written(&headers) {
                Some(written) if version == Version::V2 => {
                    self.confirmed = true;
                    partly(samples, written, status, &said)
                }
                _ => Step::Done { delivered: 0, refused: samples, why: Some((status, said)) },
            },
        }
    }

    fn older(&mut self) -> Step {
        self.version = Version::V1;
        Step::As(Version::V1)
    }
}

/// Not all of a request may have been taken.
fn partly(samples: u32, written: u64, status: u16, said: &str) -> Step {
    let delivered = u32::try_from(written).unwrap_or(u32::MAX).min(samples);
    let refused = samples - delivered;
    Step::Done { delivered, refused, why: (refused > 0).then(|| (status, said.to_owned())) }
}

/// Samples and histograms that the receiver says it wrote; none if it says neither.
fn written(headers: &HeaderMap) -> Option<u64> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let samples = number("x-prometheus-remote-write-samples-written");
    let histograms = number("x-prometheus-remote-write-histograms-written");
    (samples.is_some() || histograms.is_some()).then(|| samples.unwrap_or(0).saturating_add(histograms.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::client::Answer;

    fn delivered(status: u16, headers: &[(&'static str, &str)]) -> Outcome {
        Outcome::Delivered(Answer { status, headers: map(headers), body: Vec::new() })
    }

    fn refused(status: u16, headers: &[(&'static str, &str)]) -> Outcome {
        Outcome::Refused { status, headers: map(headers), said: "no".to_owned() }
    }

    fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    const SAMPLES: &str = "X-Prometheus-Remote-Write-Samples-Written";
    const HISTOGRAMS: &str = "X-Prometheus-Remote-Write-Histograms-Written";

    fn done(delivered: u32, refused: u32) -> Step {
        let why = (refused > 0).then(|| (400, "no".to_owned()));
        Step::Done { delivered, refused, why }
    }

    #[test]
    fn a_receiver_of_2_0_is_known_by_what_it_says_that_it_wrote() {
        let mut receiver = Receiver::new(RemoteWriteProtocol::Auto);
        let answer = delivered(204, &[(SAMPLES, "7"), (HISTOGRAMS, "3")]);
        assert_eq!(receiver.heard(Version::V2, 10, answer), done(10, 0));
        // From now on a 400 is about the content.
        assert_eq!(receiver.heard(Version::V2, 10, refused(400, &[])), done(0, 10));
        assert_eq!(receiver.version(), Version::V2);
    }

    #[test]
    fn a_partial_write_is_counted_with_any_status() {
        let mut receiver = Receiver::new(RemoteWriteProtocol::Auto);
        assert_eq!(receiver.heard(Version::V2, 10, refused(400, &[(SAMPLES, "4")])), done(4, 6));
        let Step::Done { delivered: 9, refused: 1, why: Some(_) } =
            receiver.heard(Version::V2, 10, delivered(204, &[(SAMPLES, "9")]))
        else {
            panic!("not partly");
        };
        // More than there was is not believed.
        assert_eq!(receiver.heard(Version::V2, 10, delivered(204, &[(SAMPLES, "99")])), done(10, 0));
    }

    #[test]
    fn an_older_receiver_is_found_out_in_each_of_its_ways() {
        for answer in [refused(415, &[]), delivered(204, &[]), delivered(200, &[])] {
            let mut receiver = Receiver::new(RemoteWriteProtocol::Auto);
            assert_eq!(receiver.heard(Version::V2, 10, answer), Step::As(Version::V1));
            assert_eq!(receiver.version(), Version::V1);
            assert_eq!(receiver.heard(Version::V1, 10, delivered(204, &[])), done(10, 0));
        }
        let mut receiver = Receiver::new(RemoteWriteProtocol::Auto);
        assert_eq!(receiver.heard(Version::V2, 10, refused(400, &[])), Step::As(Version::V1));
        assert_eq!(receiver.version(), Version::V2, "perhaps it was the content");
        assert_eq!(receiver.heard(Version::V1, 10, refused(400, &[])), done(0, 10));
        assert_eq!(receiver.version(), Version::V2);
        assert_eq!(receiver.heard(Version::V1, 10, delivered(204, &[])), done(10, 0));
        assert_eq!(receiver.version(), Version::V1, "it was the version");
    }

    #[test]
    fn a_version_that_was_asked_for_is_kept() {
        let mut receiver = Receiver::new(RemoteWriteProtocol::V2);
        assert_eq!(receiver.version(), Version::V2);
        for answer in [refused(415, &[]), refused(400, &[]), delivered(204, &[])] {
            let Step::Done { delivered: 0, refused: 10, .. } = receiver.heard(Version::V2, 10, answer) else {
                panic!("not refused");
            };
        }
        assert_eq!(receiver.version(), Version::V2);
        assert_eq!(Receiver::new(RemoteWriteProtocol::V1).version(), Version::V1);
    }

    #[test]
    fn what_may_work_later_changes_nothing() {
        let mut receiver = Receiver::new(RemoteWriteProtocol::Auto);
        let after = Some(Duration::from_secs(3));
        let outcome = Outcome::Retry { why: Failure::Status(429), after };
        assert_eq!(receiver.heard(Version::V2, 1, outcome), Step::Again { why: Failure::Status(429), after });
        assert_eq!(receiver.version(), Version::V2);
    }
}
