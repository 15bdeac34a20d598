//! One connection from its SYN to its end, on one thread.
//!
//! Each iteration: serve the stack, check the state, let the feed write, sleep. The sleep
//! ends with a frame, an input, a signal or a deadline; otherwise nothing runs. It is the
//! only place where this thread waits for anything.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use lastbyte::core::{Progress, Window};
use lastbyte::stack::{ConnectionId, OpenError, UnknownConnection};
use lastbyte::{Cause, Clock, Instant, OnPeerFin, State};

use super::args::ConnectionArgs;
use super::bring_up::bring_up;
use super::connect::{HostStack, HostWriter, Prepared, Run};
use super::console;
use super::exit::{self, Failure};
use super::peer::Outcome;
use super::progress::Line;
use super::report::{self, Account, End};
use lastbyte_host::host_clock::Watch;
use lastbyte_host::signals::Signals;

/// How often the link is checked, and an idle progress line redrawn.
const TICK: Duration = Duration::from_secs(1);
/// A pause for when a frame is due and the device has no room.
pub(super) const DEVICE_FULL_PAUSE: Duration = Duration::from_millis(1);
/// How often stderr is checked while it does not keep up with the peer's output.
const STDERR_PAUSE: Duration = Duration::from_millis(20);

/// The source of the bytes.
pub trait Feed {
    /// Prepares to supply bytes.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    fn start(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// The descriptor that becomes readable when there is something to write.
    fn to_watch(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Writes what is available and fits. Called while the connection is open, and also
    /// after its end if [`is_probe`](Self::is_probe). `is_ready`: whether the watched
    /// input has something.
    fn supply(&mut self, writer: &mut HostWriter<'_, '_>, now: Instant, is_ready: bool) -> Supply;

    /// Whether a refused write, not the state, shows the end of the connection.
    fn is_probe(&self) -> bool;

    /// The text for the progress line when nothing is pending.
    fn idle(&self) -> &'static str;
}

/// The result of a [`Feed`].
#[derive(Debug)]
pub enum Supply {
    /// It wrote something: there may be more.
    Moved,
    /// It waits for room.
    Full,
    /// It waits for its input.
    Hungry,
    /// It waits until this time.
    Until(Instant),
    /// Its write was refused.
    Refused,
    /// There are no more bytes.
    End,
    /// The input has failed.
    Broken(io::Error),
}

/// Why the loop aborted a live connection.
#[derive(Debug)]
enum Stop {
    Signal,
    NotReading,
    Input(io::Error),
    Device(String),
}

/// Runs a connection for `feed`, prints how it ended and returns the exit code.
///
/// # Errors
///
/// There was no connection.
pub fn run(
    args: &ConnectionArgs,
    prepared: Prepared,
    feed: &mut impl Feed,
    line: Line,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    prepared.run(|stack, mut run| {
        let remote = bring_up(stack, &mut run, signals)?;
        let offload = stack.device_mut().get_ref().offload();
        let offload = offload.towards(remote.ip());
        let id = match stack.connect(remote, run.options) {
            Ok(id) => id,
            Err(OpenError::NoRoute) => {
                let end = End::Cause(Cause::Unreachable);
                let peer = run.peer.take();
                let outcome = peer.map(|peer| peer.end(true, console::line));
                let account = Account::unbegun(Some(Cause::Unreachable), Some(remote));
                let account = account.over(offload).beside(outcome);
                return Ok(print_end(args, end, &account, end.code(), signals));
            }
            Err(error) => return Err(Failure::other(error.to_string())),
        };
        let mut session = Session {
            stack,
            id,
            run: &mut run,
            line,
            signals,
            call_timeout: args.call_timeout,
            was_open: false,
            is_finishing: false,
            moved: Moved::default(),
            tick_at: Instant::ZERO,
        };
        let stop = session.serve(feed);
        let (end, account) = session
            .conclude(stop)
            .map_err(|unknown| Failure::other(unknown.to_string()))?;
        let outcome = session.wind_up(args.peer_grace);
        let account = account.over(offload).beside(outcome);
        let code = code(end, outcome, signals.have_arrived());
        Ok(print_end(args, end, &account, code, signals))
    })?
}

/// The exit code of a run whose connection and whose peer ended like this.
const fn code(end: End, peer: Option<Outcome>, was_interrupted: bool) -> u8 {
    match (end.code(), peer) {
        // The bytes arrived, but were not all processed.
        (0, Some(Outcome::Terminated)) if was_interrupted => exit::of_cause(Cause::Aborted),
        (0, Some(Outcome::Terminated)) => exit::OTHER,
        (code, _) => code,
    }
}

/// Prints the end in the form that the options select, and returns the exit code.
fn print_end(
    args: &ConnectionArgs,
    end: End,
    account: &Account,
    code: u8,
    signals: &mut Signals,
) -> u8 {
    if args.json {
        if let Err(error) = account.print_json(Some(signals)) {
            exit::error(&format!("printing the report: {error}"));
            return if code == 0 { exit::OTHER } else { code };
        }
    } else if !args.quiet {
        report::print(end, account);
    } else if end.code() != 0 && end != End::Broken {
        exit::error(&format!("{}: {}", end.name(), report::what(end)));
    }
    code
}

pub(super) struct Session<'r, 's, 'a> {
    pub(super) stack: &'s mut HostStack<'a>,
    id: ConnectionId,
    pub(super) run: &'r mut Run,
    line: Line,
    pub(super) signals: &'r mut Signals,
    call_timeout: Option<Duration>,
    was_open: bool,
    is_finishing: bool,
    moved: Moved,
    tick_at: Instant,
}

/// The latest moment at which a byte was accepted or acknowledged, or nothing
/// waited.
#[derive(Debug, Default)]
struct Moved {
    at: Instant,
    accepted: u64,
    acknowledged: u64,
}

impl Session<'_, '_, '_> {
    /// The loop. Returns `None` if the connection ended by itself.
    fn serve(&mut self, feed: &mut impl Feed) -> Option<Stop> {
        loop {
            let next = self.stack.poll().unwrap_or(Instant::NEVER);
            let now = self.stack.clock_mut().now();
            if let Some(stop) = self.interruption(now) {
                return Some(stop);
            }
            let Ok(progress) = self.progress() else {
                return None;
            };
            self.was_open |= progress.state.is_established();
            let is_probe = self.was_open && !self.is_finishing && feed.is_probe();
            let peer_at = self.show_peer(now);
            self.line.show(&progress, feed.idle(), now);
            let Some(call_at) = self.call_deadline(&progress, now) else {
                return Some(Stop::NotReading);
            };
            let supply = match progress.state {
                State::Idle => return None,
                State::Closed(_) if !is_probe => return None,
                State::PeerFinished(OnPeerFin::Refuse) if !is_probe => {
                    self.begin_finish();
                    continue;
                }
                State::Connecting
                | State::Listening
                | State::WriteFinished(_)
                | State::Finishing(_) => Supply::Full,
                State::Open | State::PeerFinished(_) | State::Closed(_) => self.supply(feed),
            };
            let wake_at = match supply {
                // Checks the descriptors, without a pause.
                Supply::Moved => Instant::ZERO,
                Supply::Full | Supply::Hungry => Instant::NEVER,
                Supply::Until(at) => at,
                Supply::Refused => continue,
                Supply::End => {
                    self.begin_finish();
                    continue;
                }
                Supply::Broken(error) => return Some(Stop::Input(error)),
            };
            if let Some(input) = self.run.input {
                let is_wanted = matches!(supply, Supply::Hungry | Supply::Moved);
                self.stack.clock_mut().set_watched(input, is_wanted);
            }
            // Something is still due right after polling: the device has no room at present.
            let next = next.max(now + DEVICE_FULL_PAUSE).min(self.tick_at);
            let until = wake_at.min(next).min(call_at).min(peer_at);
            self.stack.clock_mut().wait(Some(until));
        }
    }

    /// Shows some of our peer's output above the progress line. Returns when to do that
    /// again, at the latest. What a terminal does not accept stays in the pipe.
    pub(super) fn show_peer(&mut self, now: Instant) -> Instant {
        let (Some(peer), Some(output)) = (&mut self.run.peer, self.run.output) else {
            return Instant::NEVER;
        };
        let clock = self.stack.clock_mut();
        let keeps_up = console::keeps_up();
        let is_open =
            !keeps_up || !clock.is_ready(output) || peer.show_output(|text| self.line.print(text));
        if !is_open {
            // At its end the descriptor stays ready.
            self.run.output = None;
        }
        clock.set_watched(output, is_open && keeps_up);
        if is_open && !keeps_up {
            now + STDERR_PAUSE
        } else {
            Instant::NEVER
        }
    }

    fn supply(&mut self, feed: &mut impl Feed) -> Supply {
        let is_ready = self
            .run
            .input
            .is_some_and(|input: Watch| self.stack.clock_mut().is_ready(input));
        let now = self.stack.clock_mut().now();
        match self.stack.writer(self.id) {
            Ok(mut writer) => feed.supply(&mut writer, now, is_ready),
            Err(_) => Supply::Refused,
        }
    }

    fn progress(&mut self) -> Result<Progress, UnknownConnection> {
        self.stack.writer(self.id)?.progress()
    }

    fn begin_finish(&mut self) {
        self.is_finishing = true;
        if let Ok(mut writer) = self.stack.writer(self.id) {
            writer.begin_finish();
        }
    }

    /// What ends the run from outside the connection. The link is also checked once a
    /// second.
    fn interruption(&mut self, now: Instant) -> Option<Stop> {
        if self.signals.take() {
            return Some(Stop::Signal);
        }
        if self.stack.clock_mut().has_device_failed() {
            let tap = self.stack.device_mut().get_mut();
            let error = tap.take_error().map(|error| format!(" ({error})"));
            return Some(Stop::Device(format!(
                "the TAP interface was removed{}",
                error.unwrap_or_default()
            )));
        }
        if now >= self.tick_at {
            self.tick_at = now + TICK;
            let is_up = self.stack.device_mut().get_ref().is_link_up();
            self.stack.set_link(is_up);
        }
        None
    }

    /// When the call timeout is reached if there is no progress until then; `None` if it
    /// is reached. For a peer that is not heard, the user timeout applies instead.
    fn call_deadline(&mut self, progress: &Progress, now: Instant) -> Option<Instant> {
        let Some(limit) = self.call_timeout else {
            return Some(Instant::NEVER);
        };
        let ledger = progress.ledger;
        let is_idle = ledger.pending() == 0 || !progress.state.is_established();
        let has_moved = ledger.accepted() != self.moved.accepted
            || ledger.acknowledged() != self.moved.acknowledged;
        if is_idle || has_moved {
            self.moved = Moved {
                at: now,
                accepted: ledger.accepted(),
                acknowledged: ledger.acknowledged(),
            };
        }
        if is_idle {
            return Some(Instant::NEVER);
        }
        let at = self.moved.at + limit;
        match progress.window {
            _ if now < at => Some(at),
            Window::Zero => None,
            Window::Open => Some(Instant::NEVER),
        }
    }

    /// Prints why our address was removed.
    fn explain_loss(&mut self) {
        if let Some(conflict) = self.stack.conflict() {
            exit::note(&conflict.to_string());
        } else if self.run.own.dhcp && self.stack.lease().is_err() {
            exit::note("the DHCP lease has ended, and no server has renewed it");
        }
    }

    /// Ends what still lives, and makes the report.
    fn conclude(&mut self, stop: Option<Stop>) -> Result<(End, Account), UnknownConnection> {
        let ends = self.stack.endpoints(self.id)?;
        let mut report = self.stack.report(self.id)?;
        if stop.is_some()
            && let Ok(aborted) = self.stack.writer(self.id)?.abort()
        {
            report = aborted;
        }
        if let (Some(Stop::Signal), Some(peer)) = (&stop, &mut self.run.peer) {
            // It ends at the same time as we do, not before: its end is not the cause.
            peer.terminate();
        }
        self.line.clear();
        if report.cause == Some(Cause::AddressLost) {
            self.explain_loss();
        }
        let latched = End::Cause(report.cause.unwrap_or(Cause::Aborted));
        let end = match stop {
            None => latched,
            // The first cause stays: the peer may have closed before, and
            // only the drain was interrupted.
            Some(Stop::Signal) => latched,
            Some(Stop::NotReading) if latched == End::Cause(Cause::Aborted) => End::NotReading,
            Some(Stop::NotReading) => latched,
            Some(Stop::Input(error)) => {
                exit::error(&format!("reading the input: {error}"));
                End::Broken
            }
            Some(Stop::Device(what)) => {
                exit::error(&what);
                End::Broken
            }
        };
        Ok((end, Account::of(end, &report, ends)))
    }
}
