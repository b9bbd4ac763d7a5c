//! What the governor asks of all connections at once: shorter answers, a sample of the connections.
//!
//! One word in the map `rt_tuning` (`bpf/maps.h`), read by the programs with each operation. Absent: when to ask for what.

use aya::maps::{Array, MapData};
use parking_lot::Mutex;
use redtap_stages::abi::MAX_SAMPLING;

use super::StepError;

/// What is asked for. The default asks for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tuning {
    /// At most two to this power bytes are captured of an answer, whatever its connection's budget is (full capture aside);
    /// 0: as many as that budget says.
    pub answer_class: u8,
    /// Of so many connections, two to this power, one is followed; at most [`MAX_SAMPLING`]. Datagram sockets all are.
    pub sampling: u8,
}

impl Tuning {
    /// The word that the programs read (`RT_TUNING_*` in `bpf/abi.h`).
    fn word(self) -> u64 {
        u64::from(self.sampling.min(MAX_SAMPLING)) << 8 | u64::from(self.answer_class.min(super::options::MAX_CLASS))
    }
}

/// The map.
pub(super) struct Dial(Mutex<Array<MapData, u64>>);

impl Dial {
    pub(super) fn new(map: aya::maps::Map) -> Result<Self, StepError> {
        Ok(Self(Mutex::new(Array::try_from(map).map_err(|source| StepError::Map { source })?)))
    }

    pub(super) fn set(&self, tuning: Tuning) -> Result<(), StepError> {
        self.0.lock().set(0, tuning.word(), 0).map_err(|source| StepError::Map { source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_holds_both_and_never_more_than_the_programs_take() {
        assert_eq!(Tuning::default().word(), 0);
        assert_eq!(Tuning { answer_class: 9, sampling: 3 }.word(), 0x0309);
        assert_eq!(Tuning { answer_class: 200, sampling: 200 }.word(), 0x0410);
    }
}
