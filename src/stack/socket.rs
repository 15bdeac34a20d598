//! Both ends of a connection in one value, for crates that implement a protocol.

use super::driver::Stack;
use super::error::Error;
use super::reader::Reader;
use super::tracker::ConnectionId;
use super::writer::Writer;
use crate::Clock;
use embedded_io::{BufRead, ErrorType, Read, ReadReady, Write, WriteReady};
use smoltcp::phy::Device;

/// A connection as one value that reads and writes, lent by [`Stack::socket`].
///
/// Crates that implement a protocol take one value that is `Read + Write`, as this is. It also
/// implements `BufRead`, `ReadReady` and `WriteReady`. It reads like a [`Reader`] and writes
/// like a [`Writer`], with one error type for both. Open the connection with
/// [`OnReceive::Keep`](crate::OnReceive::Keep).
///
/// Dropping a socket does nothing: it is only lent.
///
/// ```no_run
/// use embedded_io::{BufRead, Write};
/// use lastbyte::stack::smoltcp::phy::Device;
/// use lastbyte::stack::{ConnectionId, Stack};
/// use lastbyte::{Clock, Error};
///
/// fn request<D: Device, C: Clock>(
///     stack: &mut Stack<'_, D, C, 1>,
///     id: ConnectionId,
/// ) -> Result<usize, Error> {
///     let mut socket = stack.socket(id)?;
///     write!(socket, "GET / HTTP/1.0\r\n\r\n")?;
///     let answer = socket.fill_buf()?.len();
///     socket.consume(answer);
///     Ok(answer)
/// }
/// ```
#[derive(Debug)]
pub struct Socket<'s, S> {
    stack: &'s mut S,
    id: ConnectionId,
}

impl<'s, 'a, D: Device, C: Clock, const N: usize> Socket<'s, Stack<'a, D, C, N>> {
    pub(super) const fn new(stack: &'s mut Stack<'a, D, C, N>, id: ConnectionId) -> Self {
        Self { stack, id }
    }

    /// The writing end, for what a [`Writer`] has in addition to `Write`.
    pub const fn writer(&mut self) -> Writer<'_, Stack<'a, D, C, N>> {
        Writer::new(self.stack, self.id)
    }

    /// The reading end.
    pub const fn reader(&mut self) -> Reader<'_, Stack<'a, D, C, N>> {
        Reader::new(self.stack, self.id)
    }

    /// The writing end by itself, to [`finish`](Writer::finish) or [`abort`](Writer::abort).
    #[must_use]
    pub const fn into_writer(self) -> Writer<'s, Stack<'a, D, C, N>> {
        Writer::new(self.stack, self.id)
    }

    /// The connection's id, to borrow it again.
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        self.id
    }
}

impl<S> ErrorType for Socket<'_, S> {
    type Error = Error;
}

impl<D: Device, C: Clock, const N: usize> Read for Socket<'_, Stack<'_, D, C, N>> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Self::Error> {
        Ok(self.reader().read(into)?)
    }
}

impl<D: Device, C: Clock, const N: usize> BufRead for Socket<'_, Stack<'_, D, C, N>> {
    fn fill_buf(&mut self) -> Result<&[u8], Self::Error> {
        self.reader().wait_readable()?;
        Ok(self.stack.peek(self.id))
    }

    fn consume(&mut self, count: usize) {
        self.reader().consume(count);
    }
}

impl<D: Device, C: Clock, const N: usize> ReadReady for Socket<'_, Stack<'_, D, C, N>> {
    fn read_ready(&mut self) -> Result<bool, Self::Error> {
        Ok(self.reader().read_ready()?)
    }
}

impl<D: Device, C: Clock, const N: usize> Write for Socket<'_, Stack<'_, D, C, N>> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        Ok(self.writer().write(bytes)?)
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(self.writer().flush()?)
    }
}

impl<D: Device, C: Clock, const N: usize> WriteReady for Socket<'_, Stack<'_, D, C, N>> {
    fn write_ready(&mut self) -> Result<bool, Self::Error> {
        Ok(self.writer().write_ready()?)
    }
}
