//! A blueprint: what a topology is to be, before it is one.
//!
//! Life cycle: a [`Blueprint`] is filled in freely, [`Blueprint::check`]ed, and becomes a [`Plan`], which cannot be wrong
//! and is all that [`crate::topology::Topology::start`] takes. All that is wrong is reported at once.
//!
//! Absent: where events come from and where publications go; those are given at the start.

use crate::edge::EdgeCapacity;
use crate::engine::Engines;
use crate::source::BATCH_RECORDS;
use redtap_stages::abi::MAX_SHARDS;
use redtap_stages::aggregate::AggregateSettings;
use redtap_stages::converge::ConvergeRules;
use redtap_stages::decode::DecodeSettings;
use redtap_stages::filter::FilterRules;
use redtap_stages::flow::conn::About;
use redtap_stages::flow::converged::Converged;
use redtap_stages::flow::event::Span;
use redtap_stages::flow::exchange::Exchange;
use redtap_stages::flow::joined::Joined;
use redtap_stages::flow::message::Message;
use redtap_stages::flow::segment::Segment;
use redtap_stages::flush::FlushSettings;
use redtap_stages::join::JoinSettings;
use redtap_stages::limits;
use redtap_stages::pair::PairSettings;

/// The stages, in the order in which an event meets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StageId {
    /// Records to segments.
    Decode,
    /// Segments to segments with a protocol.
    Identify,
    /// Segments to messages.
    Parse,
    /// Messages to exchanges.
    Pair,
    /// Exchanges to fewer exchanges.
    Filter,
    /// Exchanges to exchanges with dimensions.
    Converge,
    /// Those to exchanges with identities.
    Join,
    /// Those to deltas of series.
    Aggregate,
    /// Deltas to publications.
    Flush,
}

impl StageId {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Decode,
        Self::Identify,
        Self::Parse,
        Self::Pair,
        Self::Filter,
        Self::Converge,
        Self::Join,
        Self::Aggregate,
        Self::Flush,
    ];

    /// Place in the chain, from 0.
    #[must_use]
    pub fn place(self) -> usize {
        self as usize
    }
}

/// Which stages share a thread.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ThreadPlan {
    /// Each shard has threads of its own; else all shards share.
    pub per_shard: bool,
    /// A new thread begins with each of these, in ascending order. Empty: one thread for all stages.
    pub cuts: Vec<StageId>,
}

impl ThreadPlan {
    /// One thread for everything.
    #[must_use]
    pub fn one() -> Self {
        Self::default()
    }

    /// Two threads: what touches payloads, and what follows.
    #[must_use]
    pub fn split() -> Self {
        Self { per_shard: false, cuts: vec![StageId::Pair] }
    }

    fn of_a_shard(&self) -> usize {
        self.cuts.len() + 1
    }
}

/// Settings of the stages that have any.
#[derive(Debug, Clone, Default)]
pub struct StageSettings {
    /// Of `decode`.
    pub decode: DecodeSettings,
    /// Of `pair`.
    pub pair: PairSettings,
    /// Of `filter`.
    pub filter: FilterRules,
    /// Of `converge`.
    pub converge: ConvergeRules,
    /// Of `join`.
    pub join: JoinSettings,
    /// Of `aggregate`.
    pub aggregate: AggregateSettings,
    /// Of `flush`.
    pub flush: FlushSettings,
}

/// What a topology is to be.
#[derive(Debug, Clone)]
pub struct Blueprint {
    /// Chains of stages, one a source: 1 to [`MAX_SHARDS`].
    pub shards: usize,
    /// What turns the stages.
    pub engine: Engines,
    /// Which stages share a thread.
    pub threads: ThreadPlan,
    /// Batches that an edge holds: 1 to [`EdgeCapacity::MAX`].
    pub edge_batches: usize,
    /// Settings of the stages.
    pub stages: StageSettings,
    /// The most that all bounded memory may come to, bytes; `None`: no check.
    pub memory_limit: Option<u64>,
}

impl Default for Blueprint {
    fn default() -> Self {
        Self {
            shards: 1,
            engine: Engines::default(),
            threads: ThreadPlan::default(),
            edge_batches: EdgeCapacity::DEFAULT.batches(),
            stages: StageSettings::default(),
            memory_limit: None,
        }
    }
}

/// What is wrong with a blueprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlueprintError {
    /// Too few or too many shards.
    #[error("{0} shards; there can be 1 to {MAX_SHARDS}")]
    Shards(usize),
    /// Too small or too large an edge.
    #[error("edges of {0} batches; they can hold 1 to {max}", max = EdgeCapacity::MAX)]
    Edges(usize),
    /// A thread cannot begin with `decode`: one begins there anyway.
    #[error("a thread begins with decode in any case; name the stages that others begin with")]
    CutAtDecode,
    /// Cuts out of order, or twice the same.
    #[error("the stages that threads begin with must be named once each, in the order of the stages")]
    CutOrder,
    /// More memory than allowed.
    #[error("the bounds come to {estimate} bytes, the limit is {limit}; fewer shards or smaller edges need less")]
    Memory {
        /// What the bounds come to.
        estimate: u64,
        /// The limit.
        limit: u64,
    },
}

/// The most memory that the bounded parts can come to, bytes, all shards. Not what a run uses: most of it is only
/// reached by hostile traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryEstimate {
    /// Batches in edges, at twice [`BATCH_RECORDS`] records each.
    pub edges: u64,
    /// Unfinished messages kept by `parse`.
    pub parse_buffers: u64,
    /// Unanswered requests kept by `pair`.
    pub pending: u64,
}

impl MemoryEstimate {
    fn of(shards: usize, edge_batches: usize) -> Self {
        let items = size_of::<Span>()
            + 2 * size_of::<About<Segment>>()
            + size_of::<About<Message>>()
            + 2 * size_of::<Exchange>()
            + size_of::<Converged>()
            + size_of::<Joined>();
        let shards = shards as u64;
        Self {
            edges: shards * (edge_batches as u64 + 2) * 2 * BATCH_RECORDS as u64 * items as u64,
            parse_buffers: shards * limits::PARSE_BUFFERS_TOTAL as u64,
            pending: shards * limits::MAX_PENDING as u64 * size_of::<Exchange>() as u64,
        }
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.edges + self.parse_buffers + self.pending
    }
}

/// A checked blueprint.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) shards: usize,
    pub(crate) engine: Engines,
    pub(crate) threads: ThreadPlan,
    pub(crate) edges: EdgeCapacity,
    pub(crate) stages: StageSettings,
    memory: MemoryEstimate,
}

impl Plan {
    /// Chains of stages; as many sources are needed.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// What its bounds come to.
    #[must_use]
    pub fn memory(&self) -> MemoryEstimate {
        self.memory
    }

    /// The thread of a stage, from 0.
    #[must_use]
    pub fn thread_of(&self, shard: usize, place: usize) -> usize {
        let group = self.threads.cuts.iter().filter(|cut| cut.place() <= place).count();
        if self.threads.per_shard { shard * self.threads.of_a_shard() + group } else { group }
    }
}

impl Blueprint {
    /// The plan of this blueprint.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn check(self) -> Result<Plan, Vec<BlueprintError>> {
        let mut errors = Vec::new();
        if !(1..=MAX_SHARDS).contains(&self.shards) {
            errors.push(BlueprintError::Shards(self.shards));
        }
        let edges = EdgeCapacity::new(self.edge_batches);
        if edges.is_none() {
            errors.push(BlueprintError::Edges(self.edge_batches));
        }
        if self.threads.cuts.first() == Some(&StageId::Decode) {
            errors.push(BlueprintError::CutAtDecode);
        }
        if !self.threads.cuts.is_sorted_by(|a, b| a < b) {
            errors.push(BlueprintError::CutOrder);
        }
        let memory = MemoryEstimate::of(self.shards, self.edge_batches);
        if let Some(limit) = self.memory_limit.filter(|limit| memory.total() > *limit) {
            errors.push(BlueprintError::Memory { estimate: memory.total(), limit });
        }
        match edges {
            Some(edges) if errors.is_empty() => {
                let Self { shards, engine, threads, stages, .. } = self;
                Ok(Plan { shards, engine, threads, edges, stages, memory })
            }
            _ => Err(errors),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_of_everything_that_is_wrong_at_once() {
        let blueprint = Blueprint {
            shards: 9,
            edge_batches: 0,
            threads: ThreadPlan { per_shard: false, cuts: vec![StageId::Decode, StageId::Decode] },
            memory_limit: Some(1_000),
            ..Blueprint::default()
        };
        let memory = MemoryEstimate::of(9, 0).total();
        assert_eq!(
            blueprint.check().unwrap_err(),
            vec![
                BlueprintError::Shards(9),
                BlueprintError::Edges(0),
                BlueprintError::CutAtDecode,
                BlueprintError::CutOrder,
                BlueprintError::Memory { estimate: memory, limit: 1_000 },
            ]
        );
    }

    #[test]
    fn gives_each_stage_its_thread() {
        let threads = |threads: ThreadPlan| {
            let plan = Blueprint { shards: 2, threads, ..Blueprint::default() }.check().unwrap();
            let of = |shard| StageId::ALL.map(|stage| plan.thread_of(shard, stage.place()));
            (of(0), of(1))
        };
        assert_eq!(threads(ThreadPlan::one()), ([0; 9], [0; 9]));
        let split = [0, 0, 0, 1, 1, 1, 1, 1, 1];
        assert_eq!(threads(ThreadPlan::split()), (split, split));
        let own = ThreadPlan { per_shard: true, cuts: vec![StageId::Pair] };
        assert_eq!(threads(own), (split, split.map(|group| group + 2)));
    }
}
