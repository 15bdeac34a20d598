//! The reading end of a connection.

use super::driver::{CallTimeout, Stack};
use super::tracker::ConnectionId;
use crate::Clock;
use crate::core::error::ReadError;
use embedded_io::{BufRead, ErrorType, Read, ReadReady};
use smoltcp::phy::Device;

/// The reading end of a connection, lent by
/// [`Stack::reader`](super::Stack::reader), for connections opened with
/// [`OnReceive::Keep`](crate::OnReceive::Keep).
///
/// `Ok(0)` means that the peer has finished and everything was read. Any other end of the
/// connection is an error, which is returned after the bytes received before it.
#[derive(Debug)]
pub struct Reader<'s, S> {
    stack: &'s mut S,
    id: ConnectionId,
}

impl<'s, 'a, D: Device, C: Clock, const N: usize> Reader<'s, Stack<'a, D, C, N>> {
    pub(super) const fn new(stack: &'s mut Stack<'a, D, C, N>, id: ConnectionId) -> Self {
        Self { stack, id }
    }

    /// Reads received bytes without waiting. `Ok(None)`: there are none at present.
    /// `Ok(Some(0))`: no more will arrive.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn try_read(&mut self, into: &mut [u8]) -> Result<Option<usize>, ReadError> {
        let (tracker, mut net) = self.stack.parts();
        tracker.poll(&mut net);
        tracker.try_read(net.sockets, self.id, into)
    }

    /// Waits until at least one byte was received, or no more will arrive.
    pub(super) fn wait_readable(&mut self) -> Result<(), ReadError> {
        let id = self.id;
        self.stack.block_on(CallTimeout::Of(id), |tracker, net, _| {
            tracker.attempt_readable(net.sockets, id)
        })
    }

    /// The connection's id, to borrow a writer or a reader again.
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        self.id
    }
}

impl<D: Device, C: Clock, const N: usize> ErrorType for Reader<'_, Stack<'_, D, C, N>> {
    type Error = ReadError;
}

impl<D: Device, C: Clock, const N: usize> Read for Reader<'_, Stack<'_, D, C, N>> {
    /// Waits until at least one byte was received, at most for the call timeout.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Self::Error> {
        let id = self.id;
        self.stack.block_on(CallTimeout::Of(id), |tracker, net, _| {
            tracker.try_read(net.sockets, id, into)
        })
    }
}

impl<D: Device, C: Clock, const N: usize> BufRead for Reader<'_, Stack<'_, D, C, N>> {
    /// Waits until at least one byte was received, at most for the call timeout, and
    /// lends the contiguous part of the received bytes.
    fn fill_buf(&mut self) -> Result<&[u8], Self::Error> {
        self.wait_readable()?;
        Ok(self.stack.peek(self.id))
    }

    fn consume(&mut self, count: usize) {
        let (tracker, net) = self.stack.parts();
        tracker.consume(net.sockets, self.id, count);
    }
}

impl<D: Device, C: Clock, const N: usize> ReadReady for Reader<'_, Stack<'_, D, C, N>> {
    /// Whether a read would return at once, with bytes or an error.
    fn read_ready(&mut self) -> Result<bool, Self::Error> {
        let (tracker, mut net) = self.stack.parts();
        tracker.read_ready(&mut net, self.id)
    }
}
