//! A stage that only hands on, and batches for it: what is left of a way through edges and turns when nothing is done.

use redtap::edge::Inlet;
use redtap_stages::reasons;
use redtap_stages::stage::{Ledger, Stage};
use redtap_stages::time::Nanos;

/// Records in a batch.
pub const RECORDS: usize = 256;

/// Numbers.
pub type Batch = Vec<u64>;

reasons! {
    /// None.
    enum Reject {}
}

/// Hands on what it is given, without a copy.
pub struct Pass(Ledger);

impl Default for Pass {
    fn default() -> Self {
        Self(Ledger::new::<Reject>())
    }
}

impl Stage for Pass {
    type In = Batch;
    type Out = Batch;
    const NAME: &'static str = "pass";

    fn process(&mut self, _: Nanos, input: &mut Batch, out: &mut Batch) {
        let n = input.len() as u64;
        self.0.taken += n;
        self.0.passed += n;
        std::mem::swap(input, out);
    }

    fn tick(&mut self, _: Nanos, _: &mut Batch) {}

    fn drain(&mut self, _: Nanos, _: &mut Batch) {}

    fn ledger(&self) -> Ledger {
        self.0
    }
}

/// Makes a batch one of [`RECORDS`].
pub fn fill(batch: &mut Batch) {
    batch.resize(RECORDS, 7);
}

/// Takes what is there; how many records.
pub fn take(inlet: &mut Inlet<Batch>) -> u64 {
    let Some((_, batch)) = inlet.take() else { return 0 };
    let n = batch.len() as u64;
    inlet.give_back(batch);
    n
}
