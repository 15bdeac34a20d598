//! Our end over the async layer: each call is a task, and the runner runs beside it.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use embedded_io_async::Write;
use lastbyte::asynch::{Alarm, Connection, Listener, Now, Shared};
use lastbyte::core::Progress;
use lastbyte::stack::{ConnectionId, Error, Network};
use lastbyte::{Clock, Instant, Ledger, Options, Report, State, WriteError};
use smoltcp::wire::{IpEndpoint, IpListenEndpoint};

use super::{End, Way};
use crate::executor::Time;
use crate::loopback::{LoopClock, LoopDevice};

/// How often a call is dropped at most before it is made for good.
const MOST_DROPS: u32 = 4;
/// A call is dropped after at most so many polls.
const MOST_POLLS: u64 = 4;
/// A call is dropped after at most this time.
const LONGEST_MS: u64 = 2_000;

/// The time of our end when that of the world is zero. smoltcp starts a zero-window probe for
/// its time zero plus the retransmission timeout, to send it at once: at the beginning of time
/// that would be later, and less than a second before the runner wakes.
const BEGIN: Duration = Duration::from_secs(3_607);

/// The network of a run.
pub(crate) type Net<'a, const N: usize> = Shared<'a, LoopDevice, Time<LateClock>, N>;

/// The clock of a world, which began earlier.
pub(crate) struct LateClock(pub(crate) LoopClock);

impl Clock for LateClock {
    fn now(&mut self) -> Instant {
        self.0.now() + BEGIN
    }

    fn wait(&mut self, until: Option<Instant>) {
        self.0.wait(until.map(to_world));
    }
}

/// A time of our end as that of the world.
fn to_world(at: Instant) -> Instant {
    match at {
        Instant::NEVER => at,
        at => Instant::ZERO + at.since(Instant::ZERO + BEGIN),
    }
}

/// Who owns a connection.
enum Owner<'s, 'a, const N: usize> {
    /// It waits for a caller.
    Listener(Listener<'s, Net<'a, N>>),
    Connection(Connection<'s, Net<'a, N>>),
    /// Accepting has failed.
    Failed(WriteError),
}

/// The applications, and the runner.
pub(crate) struct Tasks<'s, 'a, const N: usize> {
    shared: &'s Net<'a, N>,
    time: Time<LateClock>,
    runner: Pin<Box<dyn Future<Output = ()> + 's>>,
    /// Whether the runner sleeps, and until when.
    sleep: Sleep,
    owners: Vec<(ConnectionId, Owner<'s, 'a, N>)>,
    dice: u64,
    extension: Duration,
}

type Sleep = Rc<Cell<Option<Instant>>>;

/// The alarm of the runner, which shows that it sleeps.
struct SeenAlarm {
    time: Time<LateClock>,
    sleep: Sleep,
}

impl Alarm for SeenAlarm {
    async fn wait(&mut self, until: Option<Instant>) {
        self.sleep.set(Some(until.unwrap_or(Instant::NEVER)));
        self.time.wait(until).await;
        self.sleep.set(None);
    }
}

impl<'s, 'a, const N: usize> Tasks<'s, 'a, N> {
    pub(crate) fn new(shared: &'s Net<'a, N>, time: Time<LateClock>, seed: u64) -> Self {
        let sleep = Sleep::default();
        let alarm = SeenAlarm {
            time: time.clone(),
            sleep: Rc::clone(&sleep),
        };
        Self {
            shared,
            time,
            runner: Box::pin(async move {
                shared.run(alarm).await;
            }),
            sleep,
            owners: Vec::new(),
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            extension: Duration::ZERO,
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) % below
    }

    /// The owner of a connection. A listener whose caller has come becomes a connection.
    fn owner(&mut self, id: ConnectionId) -> Option<&mut Owner<'s, 'a, N>> {
        let (_, owner) = self.owners.iter_mut().find(|(of, _)| *of == id)?;
        let accepted = match owner {
            Owner::Listener(listener) => once(listener.accept()),
            Owner::Connection(_) | Owner::Failed(_) => Poll::Pending,
        };
        match accepted {
            Poll::Ready(Ok(connection)) => *owner = Owner::Connection(connection),
            Poll::Ready(Err(error)) => *owner = Owner::Failed(as_write_error(error)),
            Poll::Pending => {}
        }
        Some(owner)
    }

    fn connection(
        &mut self,
        id: ConnectionId,
    ) -> Result<Option<&mut Connection<'s, Net<'a, N>>>, WriteError> {
        match self.owner(id) {
            Some(Owner::Connection(connection)) => Ok(Some(connection)),
            Some(Owner::Listener(_)) => Ok(None),
            Some(Owner::Failed(error)) => Err(*error),
            None => Err(NOT_OPEN),
        }
    }

    /// Makes a call until it has a result. It is dropped and made again as the dice decide.
    fn call<T>(
        &mut self,
        id: ConnectionId,
        mut make: impl AsyncFnMut(&mut Connection<'s, Net<'a, N>>) -> Result<T, Error>,
    ) -> Result<T, WriteError> {
        let place = self.owners.iter().position(|(of, _)| *of == id);
        let Some(place) = place else {
            return Err(NOT_OPEN);
        };
        let (_, owner) = self.owners.swap_remove(place);
        let mut own = None;
        let drops = match self.draw(2) {
            0 => 0,
            _ => self.draw(u64::from(MOST_DROPS)) as u32 + 1,
        };
        let mut plan = [(0, Duration::ZERO); MOST_DROPS as usize];
        for (polls, time) in &mut plan {
            *polls = self.draw(MOST_POLLS) as u32 + 1;
            *time = Duration::from_millis(self.draw(LONGEST_MS));
        }
        let time = self.time.clone();
        let started = time.now();
        let mut dropped_at = started;
        let outcome = self.run(async {
            let mut connection = match owner {
                Owner::Connection(connection) => connection,
                Owner::Failed(error) => return Err(error),
                Owner::Listener(mut listener) => match listener.accept().await {
                    Ok(connection) => connection,
                    Err(error) => {
                        let error = as_write_error(error);
                        own = Some(match listener.id() == Some(id) {
                            true => Owner::Listener(listener),
                            false => Owner::Failed(error),
                        });
                        return Err(error);
                    }
                },
            };
            dropped_at = time.now();
            let mut result = None;
            for (polls, limit) in plan.into_iter().take(drops as usize) {
                let until = time.now() + limit;
                let call = make(&mut connection);
                result = up_to(polls, call, time.sleep_until(until)).await;
                if result.is_some() {
                    break;
                }
                dropped_at = time.now();
            }
            let result = match result {
                Some(result) => result,
                None => make(&mut connection).await,
            };
            own = Some(Owner::Connection(connection));
            result.map_err(as_write_error)
        });
        self.extension = dropped_at.since(started);
        self.owners.extend(own.map(|owner| (id, owner)));
        outcome
    }

    /// Runs `task` and the runner to the end of the task.
    fn run<T>(&mut self, task: impl Future<Output = T>) -> T {
        let runner = checked(self.shared, self.runner.as_mut());
        self.time.block_on(runner, checked(self.shared, task))
    }

    /// Gives the slot back.
    fn disown(&mut self, id: ConnectionId) {
        self.owners.retain(|(of, _)| *of != id);
    }
}

/// A connection that was never opened.
const NOT_OPEN: WriteError = WriteError::NotOpen {
    ledger: Ledger::ZERO,
};

fn as_write_error(error: Error) -> WriteError {
    match error {
        Error::Write(error) => error,
        _ => NOT_OPEN,
    }
}

/// One poll of a call, which is dropped then.
fn once<F: Future>(call: F) -> Poll<F::Output> {
    pin!(call).poll(&mut Context::from_waker(Waker::noop()))
}

/// Checks after each poll that no wake is lost, and that the runner does not oversleep.
async fn checked<T, const N: usize>(net: &Net<'_, N>, task: impl Future<Output = T>) -> T {
    let mut task = pin!(task);
    poll_fn(|cx| {
        let polled = task.as_mut().poll(cx);
        assert_eq!(net.forgotten(), 0, "a wake was lost");
        assert!(!net.oversleeps(), "the runner oversleeps");
        polled
    })
    .await
}

/// Polls `call` so often at most, and until `end` completes. `None` if it was dropped.
async fn up_to<T>(
    polls: u32,
    call: impl Future<Output = T>,
    end: impl Future<Output = ()>,
) -> Option<T> {
    let (mut call, mut end) = (pin!(call), pin!(end));
    let mut left = polls;
    poll_fn(|cx| {
        left -= 1;
        match call.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => end.as_mut().poll(cx).map(|()| None),
        }
    })
    .await
}

impl<const N: usize> End for Tasks<'_, '_, N> {
    const SLOTS: usize = N;

    fn connect(&mut self, remote: IpEndpoint, options: Options) -> Result<ConnectionId, Error> {
        let connection = self.shared.begin_connect(remote, options)?;
        let id = connection.id();
        self.owners.push((id, Owner::Connection(connection)));
        Ok(id)
    }

    fn listen(&mut self, local: IpListenEndpoint, options: Options) -> Result<ConnectionId, Error> {
        let listener = self.shared.listen(local, options)?;
        // One that has just begun has an id.
        let id = listener.id().ok_or(Error::Busy)?;
        self.owners.push((id, Owner::Listener(listener)));
        Ok(id)
    }

    fn is_owned(&self, id: ConnectionId) -> bool {
        let is_it = |(of, owner): &(ConnectionId, Owner<'_, '_, N>)| {
            *of == id && !matches!(owner, Owner::Failed(_))
        };
        self.owners.iter().any(is_it)
    }

    fn can_finish(&mut self, id: ConnectionId) -> bool {
        !matches!(self.owner(id), Some(Owner::Listener(_)))
    }

    fn with_network<R: Default>(&mut self, use_it: impl FnOnce(Network<'_, '_>) -> R) -> R {
        // It is not lent at present.
        self.shared.with_network(use_it).unwrap_or_default()
    }

    fn set_link(&mut self, is_up: bool) {
        let _ = self.shared.set_link(is_up);
    }

    fn serve(&mut self) -> Option<Instant> {
        let sleep = Rc::clone(&self.sleep);
        sleep.set(None);
        let sleeps = poll_fn(|cx| match sleep.get() {
            Some(_) => Poll::Ready(()),
            None => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        });
        self.run(sleeps);
        let next = self.sleep.get().filter(|&at| at != Instant::NEVER);
        next.map(to_world)
    }

    fn wait(&mut self, until: Instant) {
        let until = until + BEGIN;
        if until > self.time.now() {
            let time = self.time.clone();
            self.run(time.wait_for(until, |_| true));
        }
        self.serve();
    }

    fn state(&self, id: ConnectionId) -> Result<State, Error> {
        self.shared.state(id)
    }

    fn report(&mut self, id: ConnectionId) -> Result<Report, Error> {
        self.shared.report(id)
    }

    fn progress(&mut self, id: ConnectionId) -> Result<Progress, Error> {
        self.shared.progress(id)
    }

    fn try_write(&mut self, id: ConnectionId, bytes: &[u8], way: Way) -> Result<usize, WriteError> {
        let is_dropped = self.draw(2) == 0;
        let Some(connection) = self.connection(id)? else {
            return Ok(0);
        };
        let written = match way {
            Way::Part if is_dropped => once(connection.write(bytes)),
            Way::Part => Poll::Ready(connection.try_write(bytes)),
            Way::More => once(connection.write_more(bytes)),
            Way::Whole => once(connection.write_message(bytes)).map_ok(|()| bytes.len()),
        };
        match written.map_err(as_write_error) {
            Poll::Pending | Poll::Ready(Err(WriteError::WouldBlock { .. })) => Ok(0),
            Poll::Ready(written) => written,
        }
    }

    fn write_all(&mut self, id: ConnectionId, bytes: &[u8]) -> Result<(), WriteError> {
        let mut rest = bytes;
        let mut extension = Duration::ZERO;
        while !rest.is_empty() {
            let written = self.call(id, async |connection| connection.write(rest).await);
            extension += self.extension;
            self.extension = extension;
            rest = &rest[written?..];
        }
        Ok(())
    }

    fn flush(&mut self, id: ConnectionId) -> Result<(), WriteError> {
        self.call(id, async |connection| connection.flush().await)
    }

    fn finish_writing(&mut self, id: ConnectionId) -> Result<(), WriteError> {
        self.call(id, async |connection| connection.finish_writing().await)
    }

    fn try_read(&mut self, id: ConnectionId, into: &mut [u8]) -> Result<Option<usize>, Error> {
        let Some(connection) = self.connection(id)? else {
            return Ok(None);
        };
        match once(embedded_io_async::Read::read(connection, into)) {
            Poll::Pending => Ok(None),
            Poll::Ready(read) => read.map(Some),
        }
    }

    fn begin_finish(&mut self, id: ConnectionId) {
        // Begun by its first poll, it goes on when it is dropped.
        let _ = self.finished(id);
    }

    fn finished(&mut self, id: ConnectionId) -> Option<Result<Report, WriteError>> {
        match self.connection(id) {
            Ok(Some(connection)) => match once(connection.finish()) {
                Poll::Pending => None,
                Poll::Ready(outcome) => Some(outcome.map_err(as_write_error)),
            },
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }

    fn finish(&mut self, id: ConnectionId) -> Result<Report, WriteError> {
        let outcome = self.call(id, async |connection| connection.finish().await);
        if self.draw(2) == 0 {
            self.disown(id);
        }
        outcome
    }

    fn abort(&mut self, id: ConnectionId) {
        if self.draw(2) == 0
            && let Ok(Some(connection)) = self.connection(id)
        {
            let _ = connection.abort();
        }
        self.disown(id);
    }

    fn release(&mut self, id: ConnectionId) {
        self.disown(id);
    }

    fn release_all(&mut self) -> bool {
        let is_any = !self.owners.is_empty();
        self.owners.clear();
        is_any
    }

    fn extension(&self) -> Duration {
        self.extension
    }
}

impl<const N: usize> std::fmt::Debug for Tasks<'_, '_, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tasks").finish_non_exhaustive()
    }
}
