//! The shared tables against the kernel's own maps: slots written by a BPF program that is run on demand
//! (`bpf/ringtest.bpf.c`) and by map updates, verdicts read back through the bpf(2) system call.
//!
//! Needs root (CAP_BPF and CAP_PERFMON); says so and skips otherwise, and fails instead when `CI=true`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

#[path = "live/skip.rs"]
mod skip;

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use aya::maps::{Array, Map};
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun};
use aya::{Ebpf, Pod};
use redtap_kernel::slots::{Shard, SlotCounts, Slots, SlotsError};
use redtap_stages::abi::{Capture, Slot, Verdict};

/// `SLOTS` of the program.
const SLOTS: usize = 1024;
/// `OP_SLOT` of the program.
const OP_SLOT: u64 = 4;

/// A slot as the bpf(2) system call takes it.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Words([u64; 8]);

// SAFETY: eight integers, no padding.
unsafe impl Pod for Words {}

/// The program and its tables; `None` (with the reason printed) where that is not allowed.
fn load() -> Option<(Ebpf, Slots)> {
    let object = aya::include_bytes_aligned!("ring_live/ringtest.o");
    let loaded = Ebpf::load(object).and_then(|mut ebpf| {
        let program: &mut RawTracePoint = ebpf.program_mut("produce").unwrap().try_into()?;
        program.load()?;
        Ok(ebpf)
    });
    match loaded {
        Ok(ebpf) => {
            let slots = map_tables(&ebpf, SLOTS).unwrap();
            Some((ebpf, slots))
        }
        Err(error) => {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "the slot tests must run in CI: {error}");
            skip::note(&format!("no BPF here: {error}"));
            None
        }
    }
}

fn map_tables(ebpf: &Ebpf, count: usize) -> Result<Slots, SlotsError> {
    let [slots, dirty, verdicts] = ["rt_slots", "rt_dirty", "rt_verdict"].map(|name| match ebpf.map(name) {
        Some(Map::Array(map)) => map.fd().as_fd(),
        _ => panic!("no array {name} in the object"),
    });
    Slots::map(slots, dirty, verdicts, count)
}

/// Has the program update the slot of `conn_id` `rounds` times: offset, time and turn count up to `rounds`.
fn update(ebpf: &Ebpf, conn_id: u64, rounds: u64) {
    let program: &RawTracePoint = ebpf.program("produce").unwrap().try_into().unwrap();
    let mut args = [0; 12];
    args[..3].copy_from_slice(&[OP_SLOT, rounds, conn_id]);
    let answer = program.test_run(RawTracePointRunOptions { args, cpu: None }).unwrap().return_value;
    assert_eq!(u64::from(answer), rounds);
}

fn ids(slots: &[Slot]) -> Vec<u64> {
    slots.iter().map(|slot| slot.conn_id).collect()
}

#[test]
fn dirty_slots_are_taken_once_and_whole() {
    let Some((ebpf, slots)) = load() else { return };
    let mut taken = Vec::new();
    assert_eq!(slots.take_dirty(&mut taken, 100), 0);
    for conn_id in [1, 63, 64, 1023] {
        update(&ebpf, conn_id, conn_id);
    }
    assert_eq!(slots.take_dirty(&mut taken, 100), 4);
    assert_eq!(ids(&taken), [1, 63, 64, 1023]);
    for slot in &taken {
        assert_eq!((slot.offset, slot.ts_ns, slot.turn & 1), ([0, slot.conn_id], [0, slot.conn_id], 1));
        assert_eq!(slot.turn >> 1, slot.conn_id);
    }
    assert_eq!(slots.take_dirty(&mut taken, 100), 0);
    assert_eq!(slots.counts(), SlotCounts { taken: 4, torn: 0, left_over: 0 });
}

#[test]
fn what_is_over_the_bound_stays_dirty_and_is_not_starved_by_busy_slots() {
    let Some((ebpf, slots)) = load() else { return };
    let mut taken = Vec::new();
    for conn_id in [1, 2, 3, 200, 300] {
        update(&ebpf, conn_id, 1);
    }
    assert_eq!(slots.take_dirty(&mut taken, 2), 2);
    // News in the slots that had their turn do not push the others back.
    update(&ebpf, 1, 1);
    assert_eq!(slots.take_dirty(&mut taken, 2), 2);
    assert_eq!(slots.take_dirty(&mut taken, 2), 2);
    assert_eq!(slots.take_dirty(&mut taken, 0), 0);
    assert_eq!(ids(&taken), [1, 2, 200, 300, 1, 3]);
    assert_eq!(slots.counts(), SlotCounts { taken: 6, torn: 0, left_over: 2 });
}

#[test]
fn each_shard_takes_its_own_connections_and_leaves_the_others_marked() {
    let Some((ebpf, slots)) = load() else { return };
    // The program gives connection n to shard n % 3. Three does not divide 64: whose a slot is depends on its owner, not
    // on its place.
    let [zero, one, two] = std::array::from_fn(|index| Shard::new(index, 3).unwrap());
    for conn_id in [1, 2, 3, 1000, 1001, 1027] {
        update(&ebpf, conn_id, 1);
    }
    let mut taken = Vec::new();
    assert_eq!(slots.take_dirty_of(one, &mut taken, 1), 1);
    assert_eq!(slots.take_dirty_of(zero, &mut taken, 100), 0, "the slot of 3 is 1027's by now");
    assert_eq!(slots.take_dirty_of(two, &mut taken, 100), 2);
    assert_eq!(slots.take_dirty_of(one, &mut taken, 100), 2);
    assert_eq!(ids(&taken), [1, 2, 1001, 1000, 1027]);
    assert_eq!(slots.take_dirty(&mut taken, 100), 0);
    assert_eq!(Shard::new(3, 3), None);
    assert_eq!(Shard::new(0, 9), None);
}

#[test]
fn a_slot_that_changed_hands_comes_with_its_new_owner() {
    let Some((ebpf, slots)) = load() else { return };
    let mut taken = Vec::new();
    update(&ebpf, 5, 1);
    update(&ebpf, 5 + SLOTS as u64, 2);
    assert_eq!(slots.take_dirty(&mut taken, 100), 1);
    assert_eq!(ids(&taken), [5 + SLOTS as u64]);
}

#[test]
fn a_mark_on_a_slot_without_owner_or_of_a_wrong_one_is_counted_and_skipped() {
    let Some((mut ebpf, slots)) = load() else { return };
    let mut table: Array<_, Words> = ebpf.take_map("rt_slots").unwrap().try_into().unwrap();
    let mut marks: Array<_, u64> = ebpf.take_map("rt_dirty").unwrap().try_into().unwrap();
    table.set(3, Words([4, 1, 1, 1, 1, 1, 1, 1]), 0).unwrap();
    marks.set(0, 1 << 2 | 1 << 3, 0).unwrap();
    let mut taken = Vec::new();
    assert_eq!(slots.take_dirty(&mut taken, 100), 0);
    assert_eq!(slots.counts(), SlotCounts { taken: 0, torn: 2, left_over: 0 });
}

#[test]
fn the_last_state_arrives_whole_however_the_reads_fall_between_the_writes() {
    const ROUNDS: u64 = 2_000_000;
    let Some((ebpf, slots)) = load() else { return };
    let done = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = Vec::new();
            loop {
                // Looked at before taking: what was written before it was set is taken below.
                let last = done.load(Ordering::Acquire);
                let mut taken = Vec::new();
                slots.take_dirty(&mut taken, 8);
                if let Some(slot) = taken.first() {
                    seen.push((slot.offset[1], slot.ts_ns[1], slot.turn >> 1));
                    // Keep a bounded tail.
                    if seen.len() > 100_000 {
                        seen.drain(..50_000);
                    }
                }
                if last {
                    return seen;
                }
            }
        });
        update(&ebpf, 9, ROUNDS);
        done.store(true, Ordering::Release);
        reader.join().unwrap()
    });
    assert!(seen.is_sorted_by_key(|(offset, ..)| *offset), "an offset went back");
    assert!(seen.is_sorted_by_key(|(_, _, turn)| *turn), "a turn went back");
    assert_eq!(seen.last(), Some(&(ROUNDS, ROUNDS, ROUNDS)));
    assert_eq!(slots.counts().torn, 0);
}

#[test]
fn the_kernel_reads_the_verdict_that_was_set() {
    let Some((mut ebpf, slots)) = load() else { return };
    let verdicts: Array<_, u64> = ebpf.take_map("rt_verdict").unwrap().try_into().unwrap();
    let conn_id = 3 * SLOTS as u64 + 17;
    let verdict = Verdict { conn_id, capture: Capture::Full, ingress_class: 12, egress_class: 9, role: 2 };
    slots.set_verdict(verdict);
    assert_eq!(verdicts.get(&17, 0).unwrap(), conn_id << 16 | 2 << 14 | 1 << 12 | 12 << 6 | 9);
    assert_eq!(verdicts.get(&16, 0).unwrap(), 0);
    slots.set_verdict(Verdict { capture: Capture::Mute, ..verdict });
    assert_eq!(verdicts.get(&17, 0).unwrap(), conn_id << 16 | 2 << 14 | 2 << 12 | 12 << 6 | 9);
}

#[test]
fn refuses_counts_that_cannot_be_masked_and_tables_that_are_too_small() {
    let Some((ebpf, _)) = load() else { return };
    for count in [0, 1, 32, 1000, 1 << 21] {
        assert!(matches!(map_tables(&ebpf, count), Err(SlotsError::Count { .. })), "{count}");
    }
    assert!(matches!(map_tables(&ebpf, SLOTS * 2), Err(SlotsError::Map { table: "slots", .. })));
}
