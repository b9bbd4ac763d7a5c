//! The thread that asks: once a second, and at once when something else is wished for.
//!
//! Bounds: one question at a time, [`QUEUE`] answers that nobody has taken; it waits then.

use super::source::Source;
use super::state::{Answer, View, Wish};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often it asks.
const EVERY: Duration = Duration::from_secs(1);
/// Answers that wait to be taken.
const QUEUE: usize = 8;
/// Newest calls that are asked for.
pub(super) const CALLS: usize = 200;

/// The thread, and what is said to it.
pub(super) struct Fetcher {
    wishes: Sender<Wish>,
    answers: Receiver<Answer>,
    thread: JoinHandle<()>,
}

impl Fetcher {
    /// Starts it.
    pub(super) fn start(source: Box<dyn Source>, wish: Wish) -> io::Result<Self> {
        let (wishes, wished) = bounded(QUEUE);
        let (given, answers) = bounded(QUEUE);
        let run = move || run(source, wish, &wished, &given);
        let thread = std::thread::Builder::new().name("redtap-top".to_owned()).spawn(run)?;
        Ok(Self { wishes, answers, thread })
    }

    /// What is on the screen from now on. One that does not fit is a key too many.
    pub(super) fn wish(&self, wish: Wish) {
        let _ = self.wishes.try_send(wish);
    }

    /// What was answered since.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }

    /// Ends it, and the source. What a source leaves behind is waited for; an agent that does not answer is not.
    pub(super) fn stop(self, wait: bool) {
        drop((self.wishes, self.answers));
        if wait {
            let _ = self.thread.join();
        }
    }
}

fn run(mut source: Box<dyn Source>, mut wish: Wish, wished: &Receiver<Wish>, given: &Sender<Answer>) {
    loop {
        let answer = ask(source.as_mut(), &wish).unwrap_or_else(|error| Answer::Failed(format!("{error:#}")));
        if given.send(answer).is_err() {
            break;
        }
        match wished.recv_timeout(EVERY) {
            // Only the last counts.
            Ok(new) => wish = wished.try_iter().last().unwrap_or(new),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    source.end();
}

fn ask(source: &mut dyn Source, wish: &Wish) -> anyhow::Result<Answer> {
    let health = source.health()?;
    Ok(match (wish.view, &wish.service) {
        (View::Services, _) | (View::Endpoints, None) => Answer::Services(health, source.services(wish.last)?),
        (View::Endpoints, Some(service)) => {
            Answer::Service(health, service.clone(), source.service(service, wish.last)?)
        }
        (View::Edges, _) => Answer::Topology(health, source.topology(wish.last)?),
        (View::Calls, _) => Answer::Calls(health, source.calls(CALLS)?),
    })
}
