//! One connection from its SYN to its end, on one thread.
//!
//! Each iteration: serve the network, check the state, let the feed write, sleep. The sleep
//! ends with a frame, an input, a signal or a deadline; otherwise nothing runs. It is the
//! only place where this thread waits for anything. What the session needs of the network,
//! over the stack or the async layer, is in [`over`](super::over).

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use lastbyte::core::{Progress, Window};
use lastbyte::stack::OpenError;
use lastbyte::{Cause, Error, Instant, OnPeerFin, State};

use super::args::ConnectionArgs;
use super::connect::{Prepared, Run};
use super::console;
use super::exit::{self, Failure};
use super::over::{Connection, Over, Program, before};
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
pub(super) trait Feed {
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

    /// Writes what is available and fits, and waits while there is no room. Called while the
    /// connection is open, and also after its end if [`is_probe`](Self::is_probe).
    /// `is_ready`: whether the watched input has something.
    ///
    /// It is dropped while it waits for room if something else happens.
    async fn supply(
        &mut self,
        connection: &mut impl Connection,
        now: Instant,
        is_ready: bool,
    ) -> Supply;

    /// Whether a refused write, not the state, shows the end of the connection.
    fn is_probe(&self) -> bool;

    /// The text for the progress line when nothing is pending.
    fn idle(&self) -> &'static str;
}

/// The result of a [`Feed`].
#[derive(Debug)]
pub(super) enum Supply {
    /// It wrote something: there may be more.
    Moved,
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
pub(super) fn run(
    args: &ConnectionArgs,
    prepared: Prepared,
    feed: &mut impl Feed,
    line: Line,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    prepared.run(args.over, signals, |run, remote, signals| Start {
        args,
        run,
        remote,
        feed,
        line,
        signals,
    })?
}

/// Everything of a session except its network.
struct Start<'r, F> {
    args: &'r ConnectionArgs,
    run: Run,
    /// The peer's address and port.
    remote: SocketAddr,
    feed: &'r mut F,
    line: Line,
    signals: &'r mut Signals,
}

impl<F: Feed> Program for Start<'_, F> {
    type Output = Result<u8, Failure>;

    async fn run(self, over: impl Over) -> Result<u8, Failure> {
        let Self {
            args,
            mut run,
            remote,
            feed,
            line,
            signals,
        } = self;
        let offload = run.offload.towards(remote.ip());
        let connection = match over.connect(remote, run.options) {
            Ok(connection) => connection,
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
            over,
            connection,
            run: &mut run,
            line,
            signals,
            call_timeout: args.call_timeout,
            was_open: false,
            is_finishing: false,
            moved: Moved::default(),
            tick_at: Instant::ZERO,
        };
        let stop = session.serve(feed).await;
        let concluded = session.conclude(stop).await;
        let (end, account) = concluded.map_err(|error| Failure::other(error.to_string()))?;
        let outcome = session.wind_up(args.peer_grace).await;
        let account = account.over(offload).beside(outcome);
        let code = code(end, outcome, signals.have_arrived());
        Ok(print_end(args, end, &account, code, signals))
    }
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

pub(super) struct Session<'r, O: Over> {
    pub(super) over: O,
    connection: O::Connection,
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

impl<O: Over> Session<'_, O> {
    /// The loop. Returns `None` if the connection ended by itself.
    async fn serve(&mut self, feed: &mut impl Feed) -> Option<Stop> {
        loop {
            let next = self.over.serve();
            let now = self.over.now();
            if let Some(stop) = self.interruption(now) {
                return Some(stop);
            }
            let Ok(progress) = self.connection.progress() else {
                return None;
            };
            self.was_open |= progress.state.is_established();
            let is_probe = self.was_open && !self.is_finishing && feed.is_probe();
            let peer_at = self.show_peer(now);
            self.line.show(&progress, feed.idle(), now);
            let Some(call_at) = self.call_deadline(&progress, now) else {
                return Some(Stop::NotReading);
            };
            // Something is still due right after polling: the device has no room at present.
            let next = next.max(now + DEVICE_FULL_PAUSE).min(self.tick_at);
            let until = next.min(call_at).min(peer_at);
            match progress.state {
                State::Idle => return None,
                State::Closed(_) if !is_probe => return None,
                State::PeerFinished(OnPeerFin::Refuse) if !is_probe => self.begin_finish(),
                State::Connecting | State::Listening => {
                    let rest = self.over.wait(until);
                    before(
                        self.connection.opened(),
                        unwatched(self.over, self.run.input, rest),
                    )
                    .await;
                }
                State::WriteFinished(_) | State::Finishing(_) => {
                    let rest = self.over.wait(until);
                    before(
                        self.connection.finished(),
                        unwatched(self.over, self.run.input, rest),
                    )
                    .await;
                }
                State::Open | State::PeerFinished(_) | State::Closed(_) => {
                    let is_ready = self.run.input.is_some_and(|input: Watch| {
                        self.over.with_clock(|clock| clock.is_ready(input))
                    });
                    let rest = unwatched(self.over, self.run.input, self.over.wait(until));
                    let supply = feed.supply(&mut self.connection, self.over.now(), is_ready);
                    match before(supply, rest).await {
                        // It waited for room, and something else has happened.
                        None | Some(Supply::Refused) => {}
                        // Checks the descriptors, without a pause.
                        Some(Supply::Moved) => self.rest(true, is_probe, Instant::ZERO).await,
                        Some(Supply::Hungry) => self.rest(true, is_probe, until).await,
                        Some(Supply::Until(at)) => self.rest(false, is_probe, until.min(at)).await,
                        Some(Supply::End) => self.begin_finish(),
                        Some(Supply::Broken(error)) => return Some(Stop::Input(error)),
                    }
                }
            }
        }
    }

    /// Waits for the input, if it `is_wanted`, until something else happens. The end of the
    /// connection does not concern a probe.
    async fn rest(&mut self, is_wanted: bool, is_probe: bool, until: Instant) {
        watch(self.over, self.run.input, is_wanted);
        let rest = self.over.wait(until);
        if is_probe {
            rest.await;
        } else {
            before(self.connection.ended(), rest).await;
        }
    }

    /// Shows some of our peer's output above the progress line. Returns when to do that
    /// again, at the latest. What a terminal does not accept stays in the pipe.
    pub(super) fn show_peer(&mut self, now: Instant) -> Instant {
        let (Some(peer), Some(output)) = (&mut self.run.peer, self.run.output) else {
            return Instant::NEVER;
        };
        let keeps_up = console::keeps_up();
        let is_ready = self.over.with_clock(|clock| clock.is_ready(output));
        let is_open = !keeps_up || !is_ready || peer.show_output(|text| self.line.print(text));
        if !is_open {
            // At its end the descriptor stays ready.
            self.run.output = None;
        }
        watch(self.over, Some(output), is_open && keeps_up);
        if is_open && !keeps_up {
            now + STDERR_PAUSE
        } else {
            Instant::NEVER
        }
    }

    fn begin_finish(&mut self) {
        self.is_finishing = true;
        self.connection.begin_finish();
    }

    /// What ends the run from outside the connection. The link is also checked once a
    /// second.
    fn interruption(&mut self, now: Instant) -> Option<Stop> {
        if self.signals.take() {
            return Some(Stop::Signal);
        }
        if self.over.with_clock(|clock| clock.has_device_failed()) {
            let error = self
                .over
                .with_device(|device| device.get_mut().take_error());
            let error = error.map(|error| format!(" ({error})"));
            return Some(Stop::Device(format!(
                "the TAP interface was removed{}",
                error.unwrap_or_default()
            )));
        }
        if now >= self.tick_at {
            self.tick_at = now + TICK;
            let is_up = self
                .over
                .with_device(|device| device.get_ref().is_link_up());
            self.over.set_link(is_up);
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
        let (conflict, has_lease) = self.over.addressing();
        if let Some(conflict) = conflict {
            exit::note(&conflict.to_string());
        } else if self.run.own.dhcp && !has_lease {
            exit::note("the DHCP lease has ended, and no server has renewed it");
        }
    }

    /// Ends what still lives, and makes the report.
    async fn conclude(&mut self, stop: Option<Stop>) -> Result<(End, Account), Error> {
        let ends = self.connection.endpoints()?;
        let mut report = self.connection.report()?;
        if stop.is_some()
            && let Ok(aborted) = self.connection.abort().await
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

/// Whether the clock watches this input from now on. What cannot be used must not end a sleep.
fn watch(over: impl Over, input: Option<Watch>, is_wanted: bool) {
    if let Some(input) = input {
        over.with_clock(|clock| clock.set_watched(input, is_wanted));
    }
}

/// Rests while the input is not wanted.
async fn unwatched(over: impl Over, input: Option<Watch>, rest: impl Future<Output = ()>) {
    watch(over, input, false);
    rest.await;
}
