//! A stage actor: turns a [`Runner`](crate::runner::Runner) when a doorbell rings.
//!
//! The message carries nothing: data travels on edges. A bell rings only when its edge says that someone sleeps (see
//! [`crate::edge`]), so a mailbox holds a few doorbells at most: one from each neighbour and one from control. A bell that
//! finds the mailbox full is dropped without loss, since a doorbell is already in it.
//!
//! After [`TURN_BUDGET`] turns an actor gives way to the others of its arbiter and goes on after them. When its runner
//! is finished the actor stops, which closes its outgoing edge, which finishes the next: a source that ends takes the
//! whole chain down in order, with nothing left in it.
//!
//! Absent: timers (time comes with the data) and supervision (the runner catches the panics of its stage).

use crate::edge::Bell;
use crate::runner::{Turn, Turns};
use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, WrapFuture};
use crossbeam_channel::Sender;

/// Messages that a mailbox holds, besides the one that each clone of the address may add.
pub const MAILBOX: usize = 2;
/// Batches that an actor moves before it lets the others of its thread run. Few, so that on a shared thread a batch is still
/// in the cache when the next stage takes it, and few batches are ever made.
pub const TURN_BUDGET: usize = 2;

/// There may be something to do.
#[derive(Debug, Clone, Copy)]
pub struct Doorbell;

impl Message for Doorbell {
    type Result = ();
}

/// The actor of one stage.
#[derive(Debug)]
pub struct StageActor {
    name: &'static str,
    /// Gone when finished.
    runner: Option<Box<dyn Turns>>,
    finished: Sender<&'static str>,
    yielding: bool,
}

impl StageActor {
    /// An actor that reports the name of its stage to `finished` when all is handed on.
    #[must_use]
    pub fn new(runner: Box<dyn Turns>, finished: Sender<&'static str>) -> Self {
        Self { name: runner.name(), runner: Some(runner), finished, yielding: false }
    }

    fn run(&mut self, ctx: &mut Context<Self>) {
        for _ in 0..TURN_BUDGET {
            let Some(runner) = self.runner.as_mut() else { return };
            match runner.turn() {
                Turn::Worked => {}
                Turn::Idle | Turn::Blocked => return,
                Turn::Finished => {
                    self.runner = None;
                    ctx.stop();
                    return;
                }
            }
        }
        if !self.yielding {
            self.yielding = true;
            // Not `notify`: that is handled in the same poll, and the others of this thread would starve.
            let others = actix_rt::task::yield_now().into_actor(self);
            ctx.spawn(others.map(|(), actor, ctx| {
                actor.yielding = false;
                actor.run(ctx);
            }));
        }
    }
}

impl Actor for StageActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Drop for StageActor {
    /// Says so in every way that an actor can end. The channel holds one place for each actor.
    fn drop(&mut self) {
        self.runner = None;
        let _ = self.finished.try_send(self.name);
    }
}

impl Handler<Doorbell> for StageActor {
    type Result = ();

    fn handle(&mut self, _: Doorbell, ctx: &mut Self::Context) {
        self.run(ctx);
    }
}

/// A bell that rings this actor. Keeps one clone of the address, made here, for as long as it lives: a clone for each ring
/// would each raise the bound of the mailbox.
#[must_use]
pub fn bell(actor: &Addr<StageActor>) -> Bell {
    let actor = actor.clone();
    Box::new(move || {
        // Full: a doorbell is in there already. Closed: nobody needs waking any more.
        drop(actor.try_send(Doorbell));
    })
}
