//! The calls of the handles of a network, made of the same attempts as blocking calls.

use super::inner::Inner;
use super::lock::Lock;
use super::network::{AnyShared, Calls, Limit, Wait, Waiting};
use super::shared::Shared;
use super::time::Now;
use crate::core::error::WriteError;
use crate::core::options::Options;
use crate::core::report::{Advice, Progress, Report};
use crate::core::state::{Cause, State};
use crate::stack::smoltcp::phy::Device;
use crate::stack::smoltcp::wire::{IpEndpoint, IpListenEndpoint};
use crate::stack::{ConnectionId, Departure, Error, Half, Net, Taken, Tracker, Wish};
use crate::trace::Note;
use core::task::{Context, Poll};

impl<'a, D: Device, C: Now, const N: usize, K: Lock> Shared<'a, D, C, N, K> {
    /// One attempt of a call.
    fn attempt<T, E: Into<Error>>(
        &self,
        call: &mut Waiting,
        cx: &mut Context<'_>,
        wait: Wait,
        attempt: impl FnOnce(&mut Tracker<N>, &mut Net<'_, 'a, D>, Taken) -> Result<Option<T>, E>,
    ) -> Poll<Result<T, Error>> {
        self.enter_or_retry(cx, |inner, cx| inner.attempt(call, cx, wait, attempt))
    }

    fn attempt_end(
        &self,
        call: &mut Waiting,
        cx: &mut Context<'_>,
        half: Half,
    ) -> Poll<Result<Cause, Error>> {
        let id = call.id;
        let wait = Wait::new(half, Wish::Ended, Limit::None);
        self.attempt(call, cx, wait, |tracker, _, _| {
            tracker.state(id).map(State::cause)
        })
    }

    /// A call that does not wait.
    pub(super) fn at_once<T, E: Into<Error>>(
        &self,
        call: impl FnOnce(&mut Tracker<N>, &mut Net<'_, 'a, D>) -> Result<T, E>,
    ) -> Result<T, Error> {
        match self.enter(|inner| inner.at_once(call)) {
            Some(result) => result.map_err(Into::into),
            None => Err(Error::Busy),
        }
    }

    /// A query, which changes nothing.
    fn query<T, E: Into<Error>>(
        &self,
        query: impl FnOnce(&mut Inner<'a, D, C, N>) -> Result<T, E>,
    ) -> Result<T, Error> {
        match self.enter(query) {
            Some(result) => result.map_err(Into::into),
            None => Err(Error::Busy),
        }
    }
}

/// The error of a flush, for the observer of a test.
fn as_write_error(result: &Result<(), Error>) -> Result<(), WriteError> {
    match result {
        Err(Error::Write(error)) => Err(*error),
        _ => Ok(()),
    }
}

impl<D: Device, C: Now, const N: usize, K: Lock> Calls for Shared<'_, D, C, N, K> {
    fn poll_connect(
        &self,
        cx: &mut Context<'_>,
        remote: IpEndpoint,
        options: Options,
    ) -> Poll<Result<ConnectionId, Error>> {
        self.enter_or_retry(cx, |inner, _| {
            Poll::Ready(inner.connect(remote, options).map_err(Error::from))
        })
    }

    fn poll_open(&self, call: &mut Waiting, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let id = call.id;
        self.attempt(
            call,
            cx,
            Wait::new(Half::Write, Wish::Open, Limit::Call),
            |tracker, _, _| tracker.attempt_open(id),
        )
    }

    #[inline]
    fn poll_write(
        &self,
        call: &mut Waiting,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Error>> {
        self.enter_or_retry(cx, |inner, cx| {
            inner.write(call, cx, bytes, Departure::AtOnce)
        })
    }

    fn poll_write_more(
        &self,
        call: &mut Waiting,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Error>> {
        self.enter_or_retry(cx, |inner, cx| {
            inner.write(call, cx, bytes, Departure::WithMore)
        })
    }

    fn poll_write_with<F: FnOnce(&mut [u8]) -> usize>(
        &self,
        call: &mut Waiting,
        cx: &mut Context<'_>,
        fill: &mut Option<F>,
    ) -> Poll<Result<usize, Error>> {
        let id = call.id;
        self.attempt(
            call,
            cx,
            Wait::new(Half::Write, Wish::Room(1), Limit::Call),
            |tracker, net, taken| tracker.attempt_write_with(net, id, taken, fill),
        )
    }

    fn poll_write_message(
        &self,
        call: &mut Waiting,
        cx: &mut Context<'_>,
        message: &[u8],
    ) -> Poll<Result<(), Error>> {
        let id = call.id;
        self.attempt(
            call,
            cx,
            Wait::new(Half::Write, Wish::Room(message.len()), Limit::Call),
            |tracker, net, taken| tracker.attempt_message(net, id, taken, message),
        )
    }

    fn poll_flush(&self, call: &mut Waiting, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let id = call.id;
        self.enter_or_retry(cx, |inner, cx| {
            if call.is_first() {
                inner.trace(id, Note::Flush);
            }
            let polled = inner.attempt(
                call,
                cx,
                Wait::new(Half::Write, Wish::Flushed, Limit::Call),
                |tracker, net, _| tracker.attempt_flush(net.sockets, id),
            );
            if let Poll::Ready(flushed) = &polled {
                inner.trace(id, Note::Flushed(as_write_error(flushed)));
            }
            polled
        })
    }

    fn poll_finish_writing(
        &self,
        call: &mut Waiting,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let id = call.id;
        self.attempt(
            call,
            cx,
            Wait::new(Half::Write, Wish::Open, Limit::Call),
            |tracker, net, _| tracker.attempt_finish_writing(net, id),
        )
    }

    fn poll_finish(&self, call: &mut Waiting, cx: &mut Context<'_>) -> Poll<Result<Report, Error>> {
        let (id, is_first) = (call.id, call.is_first());
        self.attempt(
            call,
            cx,
            Wait::new(Half::Write, Wish::Closed, Limit::None),
            |tracker, net, _| {
                if is_first {
                    tracker.begin_finish(net, id)?;
                }
                tracker.attempt_finish(id, net.now)
            },
        )
    }

    fn poll_end(&self, call: &mut Waiting, cx: &mut Context<'_>) -> Poll<Result<Cause, Error>> {
        self.attempt_end(call, cx, Half::Write)
    }

    fn poll_end_reading(
        &self,
        call: &mut Waiting,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Cause, Error>> {
        self.attempt_end(call, cx, Half::Read)
    }

    fn poll_read(
        &self,
        call: &mut Waiting,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<Result<usize, Error>> {
        let id = call.id;
        self.attempt(
            call,
            cx,
            Wait::new(Half::Read, Wish::Readable, Limit::Call),
            |tracker, net, _| tracker.try_read(net.sockets, id, into),
        )
    }

    fn poll_read_with<F: FnOnce(&[u8]) -> usize>(
        &self,
        call: &mut Waiting,
        cx: &mut Context<'_>,
        take: &mut Option<F>,
    ) -> Poll<Result<usize, Error>> {
        let id = call.id;
        self.attempt(
            call,
            cx,
            Wait::new(Half::Read, Wish::Readable, Limit::Call),
            |tracker, net, _| tracker.attempt_read_with(net.sockets, id, take),
        )
    }

    fn try_write(&self, id: ConnectionId, bytes: &[u8]) -> Result<usize, Error> {
        self.at_once(|tracker, net| tracker.try_write(net, id, bytes))
    }

    fn write_ready(&self, id: ConnectionId) -> Result<bool, Error> {
        self.at_once(|tracker, net| tracker.write_ready(net, id))
    }

    fn read_ready(&self, id: ConnectionId) -> Result<bool, Error> {
        self.at_once(|tracker, net| tracker.read_ready(net, id))
    }

    fn room(&self, id: ConnectionId) -> Result<usize, Error> {
        self.at_once(|tracker, net| tracker.room(net, id))
    }

    fn listen(&self, local: IpListenEndpoint, options: Options) -> Result<ConnectionId, Error> {
        self.at_once(|tracker, net| tracker.listen(net, local, options))
    }

    fn abort(&self, id: ConnectionId) -> Result<Report, Error> {
        self.at_once(|tracker, net| tracker.abort(net, id))
    }

    fn state(&self, id: ConnectionId) -> Result<State, Error> {
        self.query(|inner| inner.parts.tracker.state(id))
    }

    fn report(&self, id: ConnectionId) -> Result<Report, Error> {
        self.query(|inner| {
            let now = inner.clock.now();
            inner.parts.tracker.report(id, now)
        })
    }

    fn progress(&self, id: ConnectionId) -> Result<Progress, Error> {
        self.query(|inner| {
            let now = inner.clock.now();
            let (tracker, net) = inner.parts.lend(now);
            tracker.progress(net.sockets, id)
        })
    }

    fn poll_advice(&self, id: ConnectionId) -> Result<Option<Advice>, Error> {
        self.query(|inner| inner.parts.tracker.poll_advice(id))
    }

    fn endpoints(&self, id: ConnectionId) -> Result<Option<(IpEndpoint, IpEndpoint)>, Error> {
        self.query(|inner| inner.parts.tracker.endpoints(id))
    }

    fn release(&self, id: ConnectionId) {
        if self.enter(|inner| inner.release(id)).is_none() {
            self.doom(id);
        }
    }

    fn withdraw(&self, call: &Waiting) {
        // While the network is lent, the waker stays: the task is woken once needlessly.
        let _ = self.enter(|inner| inner.withdraw(call));
    }
}

impl<D: Device, C: Now, const N: usize, K: Lock> AnyShared for Shared<'_, D, C, N, K> {}
