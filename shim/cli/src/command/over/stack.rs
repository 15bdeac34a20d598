//! A session over the blocking stack.

use std::cell::{RefCell, RefMut};
use std::future::{Future, pending, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use lastbyte::core::Progress;
use lastbyte::stack::smoltcp::wire::IpEndpoint;
use lastbyte::stack::{Conflict, ConnectionId, Network, OpenError, Stack, UnknownConnection};
use lastbyte::{Clock, Error, Instant, Options, Report, WriteError, Writer};
use lastbyte_host::host_clock::HostClock;

use super::{Connection, Over, Program};
use crate::command::connect::HostDevice;

/// The stack of the command.
pub(in crate::command) type HostStack<'a> = Stack<'a, HostDevice, HostClock, 1>;

/// Runs `program` over `stack`.
pub(in crate::command) fn on_stack<P: Program>(stack: &mut HostStack<'_>, program: P) -> P::Output {
    let stack = RefCell::new(stack);
    let mut running = pin!(program.run(OnStack(&stack)));
    loop {
        // It waits in `Over::wait` alone, which blocks.
        let polled = running
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(output) = polled {
            return output;
        }
    }
}

/// A handle of the stack, borrowed for each call.
#[derive(Clone, Copy)]
struct OnStack<'r, 's, 'a>(&'r RefCell<&'s mut HostStack<'a>>);

impl<'r, 's, 'a> OnStack<'r, 's, 'a> {
    fn stack(self) -> RefMut<'r, &'s mut HostStack<'a>> {
        self.0.borrow_mut()
    }
}

impl<'r, 's, 'a> Over for OnStack<'r, 's, 'a> {
    type Connection = OfStack<'r, 's, 'a>;

    fn with_clock<R>(self, use_it: impl FnOnce(&mut HostClock) -> R) -> R {
        use_it(self.stack().clock_mut())
    }

    fn with_device<R: Default>(self, use_it: impl FnOnce(&mut HostDevice) -> R) -> R {
        use_it(self.stack().device_mut())
    }

    fn with_network<R: Default>(self, use_it: impl FnOnce(Network<'_, '_>) -> R) -> R {
        use_it(self.stack().network_mut())
    }

    fn set_link(self, is_up: bool) {
        self.stack().set_link(is_up);
    }

    fn connect(self, remote: SocketAddr, options: Options) -> Result<Self::Connection, OpenError> {
        let id = self.stack().connect(remote, options)?;
        Ok(OfStack { over: self, id })
    }

    fn serve(self) -> Instant {
        self.stack().poll().unwrap_or(Instant::NEVER)
    }

    async fn wait(self, until: Instant) {
        self.with_clock(|clock| clock.wait(Some(until)));
    }

    fn now(self) -> Instant {
        self.with_clock(Clock::now)
    }

    fn addressing(self) -> (Option<Conflict>, bool) {
        let stack = self.stack();
        (stack.conflict(), stack.lease().is_ok())
    }
}

/// A connection of the stack.
struct OfStack<'r, 's, 'a> {
    over: OnStack<'r, 's, 'a>,
    id: ConnectionId,
}

impl<'a> OfStack<'_, '_, 'a> {
    fn with_writer<R>(
        &self,
        use_it: impl FnOnce(Writer<'_, HostStack<'a>>) -> R,
    ) -> Result<R, UnknownConnection> {
        Ok(use_it(self.over.stack().writer(self.id)?))
    }

    /// One attempt of a write: pending while there is no room.
    fn attempt<R>(
        &self,
        write: impl FnOnce(Writer<'_, HostStack<'a>>) -> Result<R, WriteError>,
    ) -> Poll<Result<R, Error>> {
        match self.with_writer(write) {
            Ok(Err(WriteError::WouldBlock { .. })) => Poll::Pending,
            Ok(written) => Poll::Ready(written.map_err(Error::from)),
            Err(unknown) => Poll::Ready(Err(unknown.into())),
        }
    }
}

impl Connection for OfStack<'_, '_, '_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        poll_fn(|_| self.attempt(|mut writer| writer.try_write(bytes))).await
    }

    async fn write_with(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) -> Result<usize, Error> {
        let mut fill = Some(fill);
        poll_fn(|_| {
            self.attempt(|mut writer| {
                writer.write_with(|room| fill.take().map_or(0, |fill| fill(room)))
            })
        })
        .await
    }

    async fn opened(&mut self) {
        pending::<()>().await;
    }

    async fn ended(&mut self) {
        pending::<()>().await;
    }

    fn begin_finish(&mut self) {
        // A stale id has nothing to finish.
        let _ = self.with_writer(|mut writer| writer.begin_finish());
    }

    async fn finished(&mut self) {
        pending::<()>().await;
    }

    async fn abort(&mut self) -> Result<Report, Error> {
        let mut stack = self.over.stack();
        Ok(stack.writer(self.id)?.abort()?)
    }

    fn progress(&mut self) -> Result<Progress, Error> {
        Ok(self.with_writer(|mut writer| writer.progress())??)
    }

    fn report(&mut self) -> Result<Report, Error> {
        Ok(self.over.stack().report(self.id)?)
    }

    fn endpoints(&self) -> Result<Option<(IpEndpoint, IpEndpoint)>, Error> {
        Ok(self.over.stack().endpoints(self.id)?)
    }
}
