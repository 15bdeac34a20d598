//! Our end over the blocking stack.

use std::time::Duration;

use embedded_io::Write;
use lastbyte::core::Progress;
use lastbyte::stack::{ConnectionId, Error, Network, Stack};
use lastbyte::{Instant, Options, Report, State, WriteError};
use smoltcp::wire::{IpEndpoint, IpListenEndpoint};

use super::{End, Way};
use crate::loopback::{LoopClock, LoopDevice};

pub(in crate::end) type OurStack<'a, const N: usize> = Stack<'a, LoopDevice, LoopClock, N>;

/// The stack of a run.
pub(crate) struct RunStack<'a, const N: usize>(pub(crate) OurStack<'a, N>);

impl<const N: usize> End for RunStack<'_, N> {
    const SLOTS: usize = N;

    fn connect(&mut self, remote: IpEndpoint, options: Options) -> Result<ConnectionId, Error> {
        Ok(self.0.connect(remote, options)?)
    }

    fn listen(&mut self, local: IpListenEndpoint, options: Options) -> Result<ConnectionId, Error> {
        Ok(self.0.listen(local, options)?)
    }

    fn is_owned(&self, _: ConnectionId) -> bool {
        true
    }

    fn can_finish(&mut self, _: ConnectionId) -> bool {
        true
    }

    fn with_network<R: Default>(&mut self, use_it: impl FnOnce(Network<'_, '_>) -> R) -> R {
        use_it(self.0.network_mut())
    }

    fn set_link(&mut self, is_up: bool) {
        self.0.set_link(is_up);
    }

    fn serve(&mut self) -> Option<Instant> {
        self.0.poll()
    }

    fn wait(&mut self, until: Instant) {
        self.0.wait(until);
    }

    fn state(&self, id: ConnectionId) -> Result<State, Error> {
        Ok(self.0.state(id)?)
    }

    fn report(&mut self, id: ConnectionId) -> Result<Report, Error> {
        Ok(self.0.report(id)?)
    }

    fn progress(&mut self, id: ConnectionId) -> Result<Progress, Error> {
        Ok(self.0.writer(id)?.progress()?)
    }

    fn try_write(&mut self, id: ConnectionId, bytes: &[u8], way: Way) -> Result<usize, WriteError> {
        let mut writer = self.0.writer(id)?;
        let written = match way {
            Way::Part => writer.try_write(bytes),
            Way::More => writer.try_write_more(bytes),
            Way::Whole => writer.try_write_message(bytes).map(|()| bytes.len()),
        };
        match written {
            Err(WriteError::WouldBlock { .. }) => Ok(0),
            written => written,
        }
    }

    fn write_all(&mut self, id: ConnectionId, bytes: &[u8]) -> Result<(), WriteError> {
        self.0.writer(id)?.write_all(bytes)
    }

    fn flush(&mut self, id: ConnectionId) -> Result<(), WriteError> {
        self.0.writer(id)?.flush()
    }

    fn finish_writing(&mut self, id: ConnectionId) -> Result<(), WriteError> {
        self.0.writer(id)?.finish_writing()
    }

    fn try_read(&mut self, id: ConnectionId, into: &mut [u8]) -> Result<Option<usize>, Error> {
        Ok(self.0.reader(id)?.try_read(into)?)
    }

    fn begin_finish(&mut self, id: ConnectionId) {
        if let Ok(mut writer) = self.0.writer(id) {
            writer.begin_finish();
        }
    }

    fn finished(&mut self, id: ConnectionId) -> Option<Result<Report, WriteError>> {
        match self.0.writer(id) {
            Ok(mut writer) => writer.finished(),
            Err(unknown) => Some(Err(unknown.into())),
        }
    }

    fn finish(&mut self, id: ConnectionId) -> Result<Report, WriteError> {
        self.0.writer(id)?.finish()
    }

    fn abort(&mut self, id: ConnectionId) {
        if let Ok(writer) = self.0.writer(id) {
            // The id is valid, so the call cannot fail.
            let _ = writer.abort();
        }
    }

    fn release(&mut self, id: ConnectionId) {
        // As above.
        let _ = self.0.release(id);
    }

    /// A slot whose connection has ended can be opened again.
    fn release_all(&mut self) -> bool {
        false
    }

    fn extension(&self) -> Duration {
        Duration::ZERO
    }
}
