//! Who wants calls has them; where nobody does, nobody is subscribed.

use super::tie::tests::One;
use super::*;

/// Waits for what another thread does soon.
fn wait(until: impl Fn() -> bool) {
    while !until() {
        std::thread::yield_now();
    }
}

#[test]
fn where_none_are_kept_the_tap_is_asked_only_while_somebody_follows() {
    let tap = Arc::new(Tap::default());
    let calls = Calls::start(&tap, 0, None, None).unwrap();
    assert_eq!(tap.subscribers(), 0);
    for round in 1..4 {
        let mut followed = calls.follow(CallFilter::default()).unwrap();
        // Already: what comes now is shown.
        assert_eq!(tap.subscribers(), 1);
        assert!(tap.offer(&[One::served(1, 1, 0, 1).joined()]));
        assert!(followed.calls.blocking_recv().is_some());
        assert_eq!((calls.counts().taken, calls.counts().lost, calls.counts().kept), (round, 0, 0));
        drop(followed);
        wait(|| tap.subscribers() == 0);
    }
    // One who follows is told of the end, whoever was subscribed before.
    let mut followed = calls.follow_all().unwrap();
    calls.stop();
    assert!(followed.calls.blocking_recv().is_none());
    assert_eq!(calls.follow_all().unwrap_err(), FollowError::Stopped);
}

#[test]
fn who_sleeps_can_be_stopped() {
    let tap = Arc::new(Tap::default());
    Calls::start(&tap, 0, None, None).unwrap().stop();
    assert_eq!(tap.subscribers(), 0);
}

#[test]
fn where_calls_are_kept_the_tap_is_asked_always() {
    let tap = Arc::new(Tap::default());
    let calls = Calls::start(&tap, 1, None, None).unwrap();
    drop(calls.follow_all().unwrap());
    assert!(tap.offer(&[One::served(1, 1, 0, 1).joined()]));
    wait(|| calls.counts().kept == 1);
    assert_eq!(tap.subscribers(), 1);
}

#[test]
fn a_tap_without_room_refuses_who_follows() {
    let tap = Arc::new(Tap::default());
    let calls = Calls::start(&tap, 0, None, None).unwrap();
    let others: Vec<_> =
        (0..crate::tap::MAX_SUBSCRIBERS).map(|_| tap.subscribe(1, crate::tap::Fullness::Lose).unwrap()).collect();
    assert_eq!(calls.follow_all().unwrap_err(), FollowError::Tap(TapError::TooMany));
    drop(others);
    assert!(calls.follow_all().is_ok());
}

#[test]
fn the_end_comes_even_while_more_and_more_calls_do() {
    let tap = Arc::new(Tap::default());
    let calls = Calls::start(&tap, 10, None, None).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !over.load(Ordering::Relaxed) {
                number += 1;
                tap.offer(&[One::served(1, 1, number, number + 1).joined()]);
            }
        });
        wait(|| calls.counts().taken > 100);
        let (ended, end) = std::sync::mpsc::channel();
        let calls = &calls;
        scope.spawn(move || {
            calls.stop();
            let _ = ended.send(());
        });
        let came = end.recv_timeout(Duration::from_secs(20));
        over.store(true, Ordering::Relaxed);
        came.expect("a second, and what a busy machine takes");
    });
    assert!(calls.counts().kept > 0, "what was held is put out");
}
