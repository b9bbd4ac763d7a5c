//! What the log is told of the governor, and how often: each thing once. Absent: the log.

use super::decision::Change;

/// What has been said.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// At the last step and still above the budget.
    exhausted: bool,
    /// Why a step could not be taken, last.
    refused: Option<String>,
}

impl Notices {
    /// Whether to say that the budget is not met at the last step. Use goes up and down around the budget: that it was met
    /// for a while is no news, only a step up makes it one.
    pub(super) fn exhausted(&mut self, is_exhausted: bool) -> bool {
        is_exhausted && !std::mem::replace(&mut self.exhausted, true)
    }

    /// Whether to say that a step could not be taken, because of `why`: not if that was said since one was taken.
    pub(super) fn refused(&mut self, why: &str) -> bool {
        if self.refused.as_deref() == Some(why) {
            return false;
        }
        self.refused = Some(why.to_owned());
        true
    }

    /// A step was taken.
    pub(super) fn stepped(&mut self, change: &Change) {
        self.refused = None;
        self.exhausted &= change.is_down();
    }
}

#[cfg(test)]
mod tests {
    use super::super::decision::Use;
    use super::super::step::Step;
    use super::*;

    fn change(from: usize, to: usize) -> Change {
        let step = |number| Step::all().nth(number).unwrap();
        Change { from: step(from), to: step(to), used: Use::default() }
    }

    #[test]
    fn a_use_around_the_budget_is_said_once_until_a_step_up() {
        let mut notices = Notices::default();
        let said = |notices: &mut Notices| [true, false, true, false, true].map(|above| notices.exhausted(above));
        assert_eq!(said(&mut notices), [true, false, false, false, false]);
        notices.stepped(&change(6, 5));
        notices.stepped(&change(5, 6));
        assert_eq!(said(&mut notices), [true, false, false, false, false]);
    }

    #[test]
    fn a_refusal_is_said_once_for_each_reason() {
        let mut notices = Notices::default();
        let said = ["no map", "no map", "not permitted", "not permitted"].map(|why| notices.refused(why));
        assert_eq!(said, [true, false, true, false]);
        notices.stepped(&change(0, 1));
        assert!(notices.refused("not permitted"), "it was over");
    }
}
