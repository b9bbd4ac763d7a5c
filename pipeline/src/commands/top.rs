//! `redtap top`: services, endpoints, edges and calls on a terminal, of the running agent or of a probe of its own.
//!
//! Life cycle: a source (an agent over HTTP, or with `--own` a probe in this process) -> a thread that asks it once a second for
//! what is on the screen ([`fetch`]) -> what was answered and which keys were pressed become a [`state::State`] -> a screen,
//! which is a pure function of the state and the size ([`screen`]). The terminal is as it was before when it ends: by a key, a
//! signal, an error or a panic.
//!
//! Bounds: one question at a time, answers of [`source::MAX_ANSWER`] bytes, [`fetch::CALLS`] calls.
//! Absent: anything that changes the agent.

mod fetch;
mod rows;
mod screen;
mod source;
mod state;

use super::Probing;
use super::agent::Which;
use super::signals::Signals;
use anyhow::{Context as _, Result, ensure};
use fetch::Fetcher;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use source::{Agent, Own, Source};
use state::State;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a key is waited for: answers and signals are noticed after that.
const PATIENCE: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "Examples:
  redtap top                                     what the running agent sees
  redtap top --address 127.0.0.1:8080 --last 15m
  redtap top --url https://host:9464 --ca ca.pem --token-file token   an agent elsewhere
  redtap top --own --process nginx               without an agent: with a probe of its own (as root)

Keys: 1 services, 2 endpoints, 3 edges, 4 calls; / filters, s sorts, r turns the order, ? helps,
q quits.
Colours are left out where NO_COLOR is set.";

/// What `top` takes.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Top {
    #[command(flatten)]
    which: Which,
    /// Watch with a probe of its own instead of asking an agent. Needs root.
    #[arg(long)]
    own: bool,
    /// How far back rates and durations look: 5s to 24h.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = last)]
    last: u32,
    #[command(flatten)]
    probing: Probing,
}

/// Seconds.
fn last(text: &str) -> Result<u32, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3_600,
        _ => 0,
    };
    let seconds = digits.parse::<u32>().ok().and_then(|number| number.checked_mul(unit));
    seconds.filter(|seconds| (5..=86_400).contains(seconds)).ok_or_else(|| "write a time from 5s to 24h".to_owned())
}

/// Shows what there is until it is asked to end.
pub(super) fn top(options: &Top) -> Result<ExitCode> {
    ensure!(
        std::io::stdin().is_terminal() && std::io::stdout().is_terminal(),
        "`redtap top` needs a terminal; scripts read the same at /api/v1/services (docs/api.md)"
    );
    let settings = options.probing.load()?.settings;
    let stop = Signals::listen()?.into_flag(None)?;
    let source: Box<dyn Source> =
        if options.own { Box::new(Own::start(&settings)?) } else { Box::new(Agent::of(&options.which, &settings)?) };
    let mut state = State::new(source.name(), options.last, colours());
    let fetcher = Fetcher::start(source, state.wish()).context("cannot start a thread")?;
    // From here on a panic restores the terminal as well.
    let ended = ratatui::try_init().context("cannot use this terminal").and_then(|mut terminal| {
        let ended = show(&mut terminal, &mut state, &fetcher, &stop);
        ratatui::restore();
        ended
    });
    fetcher.stop(options.own);
    ended.map(|()| ExitCode::SUCCESS)
}

/// <https://no-color.org>
fn colours() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_some_and(|term| term != "dumb")
}

fn show(terminal: &mut DefaultTerminal, state: &mut State, fetcher: &Fetcher, stop: &AtomicBool) -> Result<()> {
    while !state.quit && !stop.load(Ordering::Acquire) {
        while let Some(answer) = fetcher.answer() {
            state.take(answer);
        }
        terminal.draw(|frame| screen::draw(frame, state)).context("the terminal is gone")?;
        if event::poll(PATIENCE).context("the terminal is gone")? {
            // What a resize changes is seen by the next drawing.
            if let Event::Key(key) = event::read().context("the terminal is gone")?
                && key.kind != KeyEventKind::Release
            {
                let before = state.wish();
                state.press(key.code, key.modifiers);
                if state.wish() != before {
                    fetcher.wish(state.wish());
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_of_time_has_a_unit_and_bounds() {
        assert_eq!([last("1m"), last("90s"), last("24h")], [Ok(60), Ok(90), Ok(86_400)]);
        for bad in ["", "5", "4s", "25h", "m", "-1m", "1d", "99999999999h"] {
            assert!(last(bad).is_err(), "{bad}");
        }
    }
}
