//! The law of the queue, in memory and on disk, with restarts and files that others wrote.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn batch(shard: u16, samples: u32, length: usize) -> Batch {
    // Every batch differs, so that one that is handed out is known again.
    let packed: Vec<u8> = (0..length).map(|at| (at as u32 ^ samples) as u8).collect();
    Batch { shard, samples, at_ms: i64::from(samples), packed: packed.into() }
}

fn account() -> Arc<Account> {
    Arc::new(Account::new("test"))
}

fn open(folder: &Path, shards: u16, most: usize) -> (Queue, Arc<Account>) {
    let account = account();
    (Queue::on_disk(Arc::clone(&account), shards, most, folder).unwrap(), account)
}

fn numbers(queue: &mut Queue, shard: u16) -> Vec<u32> {
    let mut all = Vec::new();
    while let Some(job) = queue.take(shard) {
        all.push(job.samples);
        queue.done(&job, job.samples, Reason::Refused);
    }
    all
}

#[test]
fn a_shard_gets_its_batches_in_order_and_one_at_a_time() {
    let mut queue = Queue::in_memory(account(), 2, 1 << 20);
    for (shard, samples) in [(0, 1), (1, 2), (0, 3)] {
        queue.push(batch(shard, samples, 10));
    }
    let first = queue.take(0).unwrap();
    assert_eq!(first.samples, 1);
    assert!(queue.take(0).is_none(), "the first is on its way");
    assert_eq!(queue.take(1).unwrap().samples, 2);
    queue.put_back(&first);
    assert_eq!(queue.take(0).unwrap().samples, 1);
    queue.done(&first, 1, Reason::Refused);
    assert_eq!(queue.take(0).unwrap().samples, 3);
}

#[test]
fn the_oldest_goes_first_but_not_what_is_on_its_way() {
    let account = account();
    let mut queue = Queue::in_memory(Arc::clone(&account), 1, 3 * 1_032);
    for samples in [1, 2, 4] {
        queue.push(batch(0, samples, 1_000));
    }
    let job = queue.take(0).unwrap();
    queue.push(batch(0, 8, 1_000));
    assert_eq!(account.totals().undelivered, [0, 2, 0, 0, 0, 0, 0]);
    queue.done(&job, 1, Reason::Refused);
    assert_eq!(numbers(&mut queue, 0), [4, 8]);
    // One that never fits is not kept.
    queue.push(batch(0, 16, 4_000));
    assert_eq!(account.totals().undelivered, [0, 18, 0, 0, 0, 0, 0]);
}

#[test]
fn what_is_not_delivered_outlives_the_agent_and_what_is_delivered_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (mut queue, _) = open(folder.path(), 2, 1 << 20);
        for samples in 1..=6 {
            queue.push(batch((samples % 2) as u16, samples, 100));
        }
        // 2 and 4 (shard 0) are delivered, 1 and 3 are not: what is done is not a beginning.
        for wanted in [2, 4] {
            let job = queue.take(0).unwrap();
            assert_eq!(job.samples, wanted);
            queue.done(&job, wanted, Reason::Refused);
        }
        assert!(queue.take(1).is_some(), "on its way when the agent is killed");
    }
    let (mut queue, account) = open(folder.path(), 2, 1 << 20);
    assert_eq!((account.totals().gathered, account.totals().pending), (1 + 3 + 5 + 6, 15));
    queue.push(batch(1, 7, 100));
    assert_eq!(numbers(&mut queue, 1), [1, 3, 5, 7]);
    assert_eq!(numbers(&mut queue, 0), [6]);
    drop(queue);
    let (queue, account) = open(folder.path(), 2, 1 << 20);
    assert_eq!((queue.pending(), account.totals().gathered), (0, 0));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "the lock and the position");
}

#[test]
fn batches_of_another_number_of_shards_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (mut queue, _) = open(folder.path(), 4, 1 << 20);
        [(3, 1), (2, 2)].into_iter().for_each(|(shard, samples)| queue.push(batch(shard, samples, 10)));
    }
    let (mut queue, _) = open(folder.path(), 2, 1 << 20);
    queue.push(batch(1, 3, 10));
    assert!(queue.take(1).is_none(), "it waits for the old ones");
    let job = queue.take(0).unwrap();
    assert!(queue.take(0).is_none() && queue.take(1).is_none());
    queue.done(&job, 1, Reason::Refused);
    assert_eq!(numbers(&mut queue, 0), [2]);
    assert_eq!(numbers(&mut queue, 1), [3]);
}

#[test]
fn a_torn_end_is_ignored_and_what_was_changed_is_unreadable() {
    let folder = tempfile::tempdir().unwrap();
    let fill = || {
        let (mut queue, _) = open(folder.path(), 1, 1 << 20);
        (1..=3).for_each(|samples| queue.push(batch(0, samples, 100)));
    };
    let segment = || {
        let mut all: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        all.retain(|path| path.extension().is_some_and(|end| end == "seg"));
        all.sort();
        all.pop().unwrap()
    };
    fill();
    let whole = std::fs::read(segment()).unwrap();
    std::fs::write(segment(), &whole[..whole.len() - 1]).unwrap();
    let (mut queue, account) = open(folder.path(), 1, 1 << 20);
    assert_eq!((account.totals().gathered, account.totals().undelivered), (3, [0; 7]));
    // New batches go to a new file: the torn end stays an end.
    queue.push(batch(0, 4, 100));
    assert_eq!(numbers(&mut queue, 0), [1, 2, 4]);
    drop(queue);
    fill();
    let mut changed = std::fs::read(segment()).unwrap();
    // In the middle of the second batch.
    changed[8 + 124 + 50] ^= 1;
    std::fs::write(segment(), changed).unwrap();
    let (mut queue, account) = open(folder.path(), 1, 1 << 20);
    assert_eq!((account.totals().gathered, account.totals().undelivered), (2, [0, 0, 0, 1, 0, 0, 0]));
    assert_eq!(numbers(&mut queue, 0), [1]);
}

#[test]
fn files_of_others_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).unwrap();
    write("0000000000000001.seg", b"not one of ours");
    write("0000000000000002.seg", b"RTSP");
    write("0000000000000003.seg", &[b"RTSPOOL1".as_slice(), &[0xff; 100]].concat());
    write("readme.txt", b"hello");
    write("position", b"nonsense");
    std::fs::create_dir(folder.path().join("0000000000000004.seg")).unwrap();
    let (mut queue, account) = open(folder.path(), 1, 1 << 20);
    assert_eq!((account.totals().gathered, account.totals().undelivered), (2, [0, 0, 0, 2, 0, 0, 0]));
    queue.push(batch(0, 5, 10));
    assert_eq!(numbers(&mut queue, 0), [5]);
    assert!(folder.path().join("readme.txt").exists());
}

#[test]
fn a_folder_is_for_one_agent() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path(), 1, 1 << 20);
    let second = Queue::on_disk(account(), 1, 1 << 20, folder.path());
    assert!(matches!(second, Err(SpoolError::Taken)));
}

#[test]
fn a_batch_that_changes_while_it_waits_is_unreadable() {
    let folder = tempfile::tempdir().unwrap();
    let (mut queue, account) = open(folder.path(), 1, 1 << 20);
    (1..=2).for_each(|samples| queue.push(batch(0, samples, 100)));
    let path = folder.path().join("0000000000000001.seg");
    let mut changed = std::fs::read(&path).unwrap();
    changed[50] ^= 1;
    std::fs::write(&path, changed).unwrap();
    assert_eq!(numbers(&mut queue, 0), [2]);
    assert_eq!(account.totals().undelivered, [0, 0, 0, 1, 0, 0, 0]);
}

#[test]
fn the_newest_time_is_that_of_what_was_taken_or_waits_and_not_of_what_was_refused_or_dropped() {
    let mut queue = Queue::in_memory(account(), 1, 3 * 1_032);
    assert_eq!(queue.newest_ms(), 0);
    // The time of each is the number of its samples.
    for samples in [50, 60] {
        queue.push(batch(0, samples, 1_000));
    }
    assert_eq!(queue.newest_ms(), 60);
    let job = queue.take(0).unwrap();
    queue.done(&job, 1, Reason::Refused);
    let job = queue.take(0).unwrap();
    assert_eq!(queue.newest_ms(), 60, "on its way");
    queue.done(&job, 0, Reason::Refused);
    assert_eq!(queue.newest_ms(), 50, "a part of it was taken, of the other nothing");
    for samples in [99, 51, 52, 53] {
        queue.push(batch(0, samples, 1_000));
    }
    assert_eq!(queue.newest_ms(), 53, "the oldest had to go");
}

/// What may happen to a queue.
#[derive(Debug, Clone)]
enum Act {
    Push(u16, u32, usize),
    Take(u16),
    Done(u16, u32),
    Back(u16),
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0_u16..3, 0_u32..1_000, 1_usize..20_000).prop_map(|(shard, samples, length)| Act::Push(shard, samples, length)),
        4 => (0_u16..3).prop_map(Act::Take),
        3 => (0_u16..3, 0_u32..1_000).prop_map(|(shard, delivered)| Act::Done(shard, delivered)),
        1 => (0_u16..3).prop_map(Act::Back),
        1 => Just(Act::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn gathered_is_delivered_and_undelivered_and_pending(
        acts in proptest::collection::vec(act(), 1..120),
        disk: bool,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let most = 1 << 17;
        let make = |account: &Arc<Account>| match disk {
            true => Queue::on_disk(Arc::clone(account), 3, most, folder.path()).unwrap(),
            false => Queue::in_memory(Arc::clone(account), 3, most),
        };
        let mut counted = account();
        let mut queue = make(&counted);
        let mut out: BTreeMap<u16, Job> = BTreeMap::new();
        let mut highest: BTreeMap<u16, u64> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Push(shard, samples, length) => queue.push(batch(shard, samples, length)),
                Act::Take(shard) => {
                    if let Some(job) = queue.take(shard) {
                        prop_assert!(!out.contains_key(&shard), "two of a shard at a time");
                        // A batch that is gone or done never comes again, and none comes before an earlier one.
                        prop_assert!(highest.insert(shard, job.number).is_none_or(|before| before < job.number));
                        out.insert(shard, job);
                    }
                }
                Act::Done(shard, delivered) => {
                    if let Some(job) = out.remove(&shard) {
                        queue.done(&job, delivered, Reason::Refused);
                    }
                }
                Act::Back(shard) => {
                    if let Some(job) = out.remove(&shard) {
                        queue.put_back(&job);
                        highest.insert(shard, job.number - 1);
                    }
                }
                Act::Restart => {
                    let before = queue.pending();
                    queue.end();
                    prop_assert_eq!(counted.totals().pending, queue.pending());
                    let kept = queue.pending();
                    prop_assert!(disk || kept == 0);
                    drop(queue);
                    counted = account();
                    queue = make(&counted);
                    if !disk {
                        // Numbers begin anew.
                        highest.clear();
                    }
                    // What was on its way is sent again, if it is still on disk.
                    for (shard, job) in std::mem::take(&mut out) {
                        highest.insert(shard, if disk { job.number - 1 } else { 0 });
                    }
                    prop_assert_eq!(queue.pending(), kept);
                    prop_assert!(kept <= before);
                }
            }
            let totals = counted.totals();
            prop_assert_eq!(totals.pending, queue.pending());
            prop_assert_eq!(totals.gathered, totals.delivered + totals.undelivered.iter().sum::<u64>() + totals.pending);
            prop_assert!(queue.bytes <= most as u64);
            let on_disk: u64 = queue.spool.as_ref().map_or(0, Spool::bytes);
            prop_assert!(on_disk <= most as u64);
        }
    }
}

#[test]
fn numbers_of_batches_that_are_done_ahead_of_others_are_not_used_again() {
    let folder = tempfile::tempdir().unwrap();
    // As large as a segment, so that each has one to itself.
    let large = |shard, samples| batch(shard, samples, 70_000);
    {
        let (mut queue, _) = open(folder.path(), 2, 1 << 20);
        [(0, 1), (1, 2), (1, 3)].into_iter().for_each(|(shard, samples)| queue.push(large(shard, samples)));
        assert_eq!(numbers(&mut queue, 1), [2, 3]);
    }
    // Here the segments of the two are let go.
    drop(open(folder.path(), 2, 1 << 20));
    {
        let (mut queue, _) = open(folder.path(), 2, 1 << 20);
        [(1, 4), (1, 5)].into_iter().for_each(|(shard, samples)| queue.push(large(shard, samples)));
    }
    let (mut queue, _) = open(folder.path(), 2, 1 << 20);
    assert_eq!(numbers(&mut queue, 1), [4, 5]);
    assert_eq!(numbers(&mut queue, 0), [1]);
}

#[test]
fn what_cannot_be_read_now_is_kept_until_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let (mut queue, account) = open(folder.path(), 1, 1 << 20);
    queue.push(batch(0, 1, 100));
    let segment = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.into_iter().find(|path| path.extension().is_some_and(|kind| kind == "seg")).unwrap();
    let away = folder.path().join("away");
    std::fs::rename(&segment, &away).unwrap();
    // Reading a folder is an error of the system, and no sign that nothing is there.
    std::fs::create_dir(&segment).unwrap();
    assert!(queue.take(0).is_none());
    assert_eq!((account.totals().pending, account.totals().undelivered), (1, [0; 7]));
    std::fs::remove_dir(&segment).unwrap();
    std::fs::rename(&away, &segment).unwrap();
    assert_eq!(numbers(&mut queue, 0), [1]);
}
