//! The steps, in their one order, and what each asks for.

use redtap_kernel::probe::Tuning;

/// Answers are cut to two to this power bytes: status lines, error packets and first frames fit.
pub const ANSWER_CLASS: u8 = redtap_stages::limits::GOVERNED_ANSWER;
/// The steps, first the one that does everything. A step keeps what those before it do.
const NAMES: [&str; 7] = ["full", "short_capture", "mute_unknown", "sample_2", "sample_4", "sample_8", "sample_16"];
/// Steps before the first that samples.
const UNSAMPLED: u8 = 2;

/// How far the agent has stepped down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Step(u8);

impl Step {
    /// Nothing is left out.
    pub const FULL: Self = Self(0);
    /// Number of steps.
    pub const COUNT: usize = NAMES.len();

    /// All, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0_u8..).take(Self::COUNT).map(Self)
    }

    /// From 0.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// As in logs, metrics and status.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.get(usize::from(self.0)).copied().unwrap_or("")
    }

    /// The next one that does less.
    #[must_use]
    pub fn down(self) -> Option<Self> {
        let next = self.0 + 1;
        (usize::from(next) < Self::COUNT).then_some(Self(next))
    }

    /// The next one that does more.
    #[must_use]
    pub fn up(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }

    /// What the kernel programs are asked for.
    #[must_use]
    pub fn tuning(self) -> Tuning {
        Tuning { answer_class: if self.0 >= 1 { ANSWER_CLASS } else { 0 }, sampling: self.0.saturating_sub(UNSAMPLED) }
    }

    /// Connections that begin with nothing known are given up at once.
    #[must_use]
    pub fn mutes_unknown(self) -> bool {
        self.0 >= UNSAMPLED
    }

    /// The share of connections that are followed.
    #[must_use]
    pub fn sampling_ratio(self) -> f64 {
        0.5_f64.powi(i32::from(self.tuning().sampling))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redtap_stages::abi::MAX_SAMPLING;

    #[test]
    fn the_order_is_shorter_answers_then_the_unknown_then_halves() {
        let steps: Vec<_> = Step::all()
            .map(|step| (step.name(), step.tuning().answer_class, step.mutes_unknown(), step.sampling_ratio()))
            .collect();
        assert_eq!(
            steps,
            [
                ("full", 0, false, 1.0),
                ("short_capture", 9, false, 1.0),
                ("mute_unknown", 9, true, 1.0),
                ("sample_2", 9, true, 0.5),
                ("sample_4", 9, true, 0.25),
                ("sample_8", 9, true, 0.125),
                ("sample_16", 9, true, 0.0625),
            ]
        );
        assert_eq!(Step::all().last().map(|last| last.tuning().sampling), Some(MAX_SAMPLING));
    }

    #[test]
    fn every_step_has_its_way_back() {
        for step in Step::all() {
            if let Some(down) = step.down() {
                assert_eq!(down.up(), Some(step));
            }
        }
        assert_eq!(Step::FULL.up(), None);
        assert_eq!(Step::all().filter(|step| step.down().is_none()).count(), 1);
    }
}
