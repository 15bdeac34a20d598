//! One connection from its SYN to its end, on one thread.
//!
//! Each turn: serve the stack, look at the state, let the feed write, sleep.
//! The sleep ends with a frame, an input, a signal or a deadline; between them
//! nothing runs.

use std::io;
use std::time::Duration;

use lastbyte::stack::smoltcp::socket::{Socket, tcp};
use lastbyte::stack::{ConnectionId, OpenError, UnknownConnection};
use lastbyte::{Cause, Clock, Instant, OnPeerFin, Progress, State, Window};

use super::args::ConnectionArgs;
use super::connect::{HostStack, HostWriter, Prepared, Run};
use super::exit::{self, Failure};
use super::progress::Line;
use super::report::{self, Account, End};
use crate::host_clock::Watch;

/// How often the link is looked at, and an idle progress line redrawn.
const TICK: Duration = Duration::from_secs(1);
/// A pause where the device takes no frame although one is due.
const DEVICE_FULL_PAUSE: Duration = Duration::from_millis(1);
/// How long the peer's own FIN is waited for after ours was acknowledged, so
/// that the peer is not left without an answer.
const LINGER: Duration = Duration::from_millis(500);
/// How long a peer of ours may run on after the connection has ended.
const PEER_GRACE: Duration = Duration::from_secs(2);
/// How often a peer of ours is looked at meanwhile.
const PEER_POLL: Duration = Duration::from_millis(10);

/// Where the bytes come from.
pub trait Feed {
    /// Writes what there is and what fits. Called while the connection is
    /// open, and after its end as well if [`is_probe`](Self::is_probe).
    /// `is_ready` says that the watched input has something.
    fn supply(&mut self, writer: &mut HostWriter<'_, '_>, now: Instant, is_ready: bool) -> Supply;

    /// Whether the end of the connection is to be learnt from a refused write,
    /// not from looking.
    fn is_probe(&self) -> bool;

    /// What it does when nothing is pending.
    fn idle(&self) -> &'static str;
}

/// What a [`Feed`] did.
#[derive(Debug)]
pub enum Supply {
    /// It wrote something: there may be more.
    Moved,
    /// It waits for room.
    Full,
    /// It waits for its input.
    Hungry,
    /// It waits for this time.
    Until(Instant),
    /// Its write was refused.
    Refused,
    /// There is no more.
    End,
    /// The input is broken.
    Broken(io::Error),
}

/// Why the loop aborted a connection that lives.
#[derive(Debug)]
enum Stop {
    Signal,
    NotReading,
    Input(io::Error),
    Device(String),
}

/// Runs a connection for `feed` and tells how it ended; returns the exit code.
///
/// # Errors
///
/// There was no connection. With `--json` that has been reported too.
pub fn run(
    args: &ConnectionArgs,
    prepared: Prepared,
    feed: &mut impl Feed,
    line: Line,
) -> Result<u8, Failure> {
    let remote = prepared.remote();
    prepared.run(|stack, mut run| {
        let offload = stack.device_mut().get_ref().offload();
        let offload = offload.towards(remote.ip());
        let id = match stack.connect(run.remote, run.options) {
            Ok(id) => id,
            Err(OpenError::NoRoute) => {
                let end = End::Cause(Cause::Unreachable);
                let account = Account::unbegun(Some(Cause::Unreachable), Some(remote));
                return Ok(tell(args, end, &account.over(offload)));
            }
            Err(error) => return Err(Failure::other(error.to_string())),
        };
        let mut session = Session {
            stack,
            id,
            run: &mut run,
            line,
            call_limit: args.call_limit,
            was_open: false,
            is_finishing: false,
            moved: Moved::default(),
            tick_at: Instant::ZERO,
        };
        let stop = session.serve(feed);
        let is_interrupted = matches!(stop, Some(Stop::Signal));
        let (end, account) = session
            .conclude(stop)
            .map_err(|unknown| Failure::other(unknown.to_string()))?;
        let code = tell(args, end, &account.over(offload));
        if !is_interrupted {
            session.linger();
        }
        if let Some(peer) = run.peer.take() {
            peer.end(is_interrupted, |text| anstream::eprintln!("{text}"));
        }
        if let Err(error) = stack.device_mut().finish() {
            exit::note(&format!("the capture is incomplete: {error}"));
        }
        Ok(code)
    })?
}

/// Tells the end as it was asked for, and returns the exit code.
fn tell(args: &ConnectionArgs, end: End, account: &Account) -> u8 {
    if args.json {
        if let Err(error) = account.print_json() {
            exit::error(&format!("printing the report: {error}"));
            return if end.code() == 0 {
                exit::OTHER
            } else {
                end.code()
            };
        }
    } else if !args.quiet {
        report::print(end, account);
    } else if end.code() != 0 && end != End::Broken {
        exit::error(&format!("{}: {}", end.name(), report::what(end)));
    }
    end.code()
}

struct Session<'r, 's, 'a> {
    stack: &'s mut HostStack<'a>,
    id: ConnectionId,
    run: &'r mut Run,
    line: Line,
    call_limit: Option<Duration>,
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
    /// The loop; `None` if the connection ended by itself.
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
            self.show_peer();
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
                State::Connecting | State::Listening | State::Finishing(_) => Supply::Full,
                State::Open | State::PeerFinished(_) | State::Closed(_) => self.supply(feed),
            };
            let wake_at = match supply {
                // A look at the descriptors, without a pause.
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
            // Due right after polling: the device takes no more at present.
            let next = next.max(now + DEVICE_FULL_PAUSE).min(self.tick_at);
            let until = wake_at.min(next).min(call_at);
            self.stack.clock_mut().wait(Some(until));
        }
    }

    /// Shows what our peer has printed, above the progress line.
    fn show_peer(&mut self) {
        let (Some(peer), Some(output)) = (&mut self.run.peer, self.run.output) else {
            return;
        };
        let clock = self.stack.clock_mut();
        if clock.is_ready(output) && !peer.show_output(|text| self.line.print(text)) {
            // At its end it is ready for ever.
            clock.set_watched(output, false);
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

    /// What ends the run from outside of the connection. Once a second the
    /// link is looked at as well.
    fn interruption(&mut self, now: Instant) -> Option<Stop> {
        if self.run.signals.take() {
            return Some(Stop::Signal);
        }
        if self.stack.clock_mut().has_device_failed() {
            let tap = self.stack.device_mut().get_mut();
            let error = tap.take_error().map(|error| format!(" ({error})"));
            return Some(Stop::Device(format!(
                "the TAP interface went away{}",
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

    /// When the call limit is reached if no byte moves until then; `None` if
    /// that is now. A peer that is not heard from is not judged by this limit
    /// but by the silence limit.
    fn call_deadline(&mut self, progress: &Progress, now: Instant) -> Option<Instant> {
        let Some(limit) = self.call_limit else {
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

    /// Ends what still lives, and draws up the account.
    fn conclude(&mut self, stop: Option<Stop>) -> Result<(End, Account), UnknownConnection> {
        let ends = self.stack.endpoints(self.id)?;
        let mut report = self.stack.report(self.id)?;
        if stop.is_some()
            && let Ok(aborted) = self.stack.writer(self.id)?.abort()
        {
            report = aborted;
        }
        self.line.clear();
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

    /// Answers the peer for a moment after the end: its FIN may follow ours,
    /// and a peer of our own may have something to print.
    fn linger(&mut self) {
        let now = self.stack.clock_mut().now();
        let (close_at, peer_at) = (now + LINGER, now + PEER_GRACE);
        if let Some(input) = self.run.input {
            self.stack.clock_mut().set_watched(input, false);
        }
        loop {
            let next = self.stack.poll().unwrap_or(Instant::NEVER);
            let now = self.stack.clock_mut().now();
            self.show_peer();
            let peer_runs = self
                .run
                .peer
                .as_mut()
                .is_some_and(|peer| peer.try_wait().is_none());
            let is_done = if self.run.peer.is_some() {
                !peer_runs || now >= peer_at
            } else {
                !self.awaits_fin() || now >= close_at
            };
            if is_done || self.run.signals.take() || self.stack.clock_mut().has_device_failed() {
                return;
            }
            let next = next.max(now + DEVICE_FULL_PAUSE);
            let until = next.min(now + PEER_POLL);
            self.stack.clock_mut().wait(Some(until));
        }
    }

    /// Whether our FIN is acknowledged and the peer's has not come yet.
    fn awaits_fin(&mut self) -> bool {
        let mut sockets = self.stack.sockets_mut().iter();
        sockets.any(|(_, socket)| {
            matches!(socket, Socket::Tcp(socket) if socket.state() == tcp::State::FinWait2)
        })
    }
}
