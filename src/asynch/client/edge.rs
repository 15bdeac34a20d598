//! The traits of `edge-nal` 0.7.

use super::{Client, endpoint};
use crate::asynch::connection::{Connection, Reader, Writer};
use crate::asynch::listener::Listener;
use crate::asynch::network::AnyShared;
use crate::core::error::{ClosedBy, How, Timeout, WriteError};
use crate::core::options::Options;
use crate::core::state::Cause;
use crate::stack::Error;
use crate::stack::smoltcp::wire::{IpAddress, IpListenEndpoint};
use core::cell::Cell;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use edge_nal::{Close, Readable, TcpAccept, TcpBind, TcpConnect, TcpShutdown, TcpSplit};

impl<'s, S: AnyShared> TcpConnect for Client<'s, S> {
    type Error = Error;
    type Socket<'a>
        = Connection<'s, S>
    where
        Self: 'a;

    async fn connect(&self, remote: SocketAddr) -> Result<Connection<'s, S>, Error> {
        Client::connect(self, remote).await
    }
}

/// An unspecified address (`0.0.0.0`, `::`) listens at every address of ours.
impl<'s, S: AnyShared> TcpBind for Client<'s, S> {
    type Error = Error;
    type Accept<'a>
        = Acceptor<'s, S>
    where
        Self: 'a;

    async fn bind(&self, local: SocketAddr) -> Result<Acceptor<'s, S>, Error> {
        let addr = match local.ip().is_unspecified() {
            true => None,
            false => Some(endpoint(local)?.addr),
        };
        let port = local.port();
        Acceptor::new(self.shared, IpListenEndpoint { addr, port }, self.options)
    }
}

/// Accepts connections at one port, for any number of tasks.
///
/// Made by [`TcpBind::bind`] of a [`Client`]. It listens in one slot; each further task that
/// waits uses one more. An accepted connection does not depend on it.
pub struct Acceptor<'s, S: AnyShared> {
    shared: &'s S,
    local: IpListenEndpoint,
    options: Options,
    /// Listens while no task waits for a caller.
    spare: Cell<Option<Listener<'s, S>>>,
}

impl<'s, S: AnyShared> Acceptor<'s, S> {
    fn new(shared: &'s S, local: IpListenEndpoint, options: Options) -> Result<Self, Error> {
        let listener = Listener::new(shared, local, options)?;
        Ok(Self {
            shared,
            local,
            options,
            spare: Cell::new(Some(listener)),
        })
    }
}

impl<S: AnyShared> fmt::Debug for Acceptor<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

/// A listener in use by a task. It is returned when the task has a caller, or gives up: a
/// caller that comes meanwhile is kept.
struct Lent<'c, 's, S: AnyShared> {
    listener: Option<Listener<'s, S>>,
    spare: &'c Cell<Option<Listener<'s, S>>>,
}

impl<S: AnyShared> Drop for Lent<'_, '_, S> {
    fn drop(&mut self) {
        // One listens while no task waits for a caller; the others are closed.
        let other = self.spare.take();
        self.spare.set(other.or_else(|| self.listener.take()));
    }
}

/// Whether `accept` failed because of one caller, or because none came. The next call waits for
/// the next caller.
fn is_about_one_caller(error: &Error) -> bool {
    let is_timeout = matches!(
        error,
        Error::Write(WriteError::TimedOut {
            why: Timeout::Call,
            ..
        })
    );
    // The connection was open, and ended before the task was polled.
    let has_ended = matches!(
        error.cause(),
        Some(Cause::PeerReset | Cause::Vanished | Cause::Unacknowledged)
    );
    is_timeout || has_ended
}

/// Waits for a caller without bound, because the trait has no timeout. It skips a caller that has
/// reset before the task is polled, so that a port scan does not end a server.
impl<'s, S: AnyShared> TcpAccept for Acceptor<'s, S> {
    type Error = Error;
    type Socket<'a>
        = Connection<'s, S>
    where
        Self: 'a;

    async fn accept(&self) -> Result<(SocketAddr, Connection<'s, S>), Error> {
        let listener = match self.spare.take() {
            Some(listener) => listener,
            None => Listener::new(self.shared, self.local, self.options)?,
        };
        let mut lent = Lent {
            listener: None,
            spare: &self.spare,
        };
        let listener = lent.listener.insert(listener);
        let connection = loop {
            match listener.accept().await {
                Err(error) if is_about_one_caller(&error) => {}
                Err(error) => return Err(error),
                Ok(connection) => break connection,
            }
        };
        let remote = connection.endpoints()?.map(|(_, remote)| remote);
        let remote = remote.map_or(
            SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            |remote| SocketAddr::new(address(remote.addr), remote.port),
        );
        Ok((remote, connection))
    }
}

const fn address(address: IpAddress) -> IpAddr {
    match address {
        #[cfg(feature = "proto-ipv4")]
        IpAddress::Ipv4(v4) => IpAddr::V4(v4),
        #[cfg(feature = "proto-ipv6")]
        IpAddress::Ipv6(v6) => IpAddr::V6(v6),
        #[allow(unreachable_patterns, reason = "other crates may turn a version on")]
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    }
}

impl<S: AnyShared> Readable for Reader<'_, S> {
    async fn readable(&mut self) -> Result<(), Error> {
        self.read_with(|_| 0).await.map(|_| ())
    }
}

impl<S: AnyShared> Readable for Connection<'_, S> {
    async fn readable(&mut self) -> Result<(), Error> {
        self.reader.readable().await
    }
}

impl<'s, S: AnyShared> TcpSplit for Connection<'s, S> {
    type Read<'a>
        = &'a mut Reader<'s, S>
    where
        Self: 'a;
    type Write<'a>
        = &'a mut Writer<'s, S>
    where
        Self: 'a;

    fn split(&mut self) -> (Self::Read<'_>, Self::Write<'_>) {
        (&mut self.reader, &mut self.writer)
    }
}

/// `Close::Write` sends our FIN after the drain, and reading goes on; it completes when the peer
/// has acknowledged every byte. `Close::Read` reads and discards until the peer's FIN.
/// `Close::Both` does one after the other, and finishes the connection. A direction that is closed
/// already, by us or by the peer, can be closed again.
impl<S: AnyShared> TcpShutdown for Connection<'_, S> {
    async fn close(&mut self, what: Close) -> Result<(), Error> {
        if what != Close::Read {
            match self.finish_writing().await {
                // It is closed already.
                Err(Error::Write(WriteError::Closed {
                    by: ClosedBy::Finish,
                    ..
                })) => {}
                // The peer has finished first: our FIN is the last one.
                Err(Error::Write(WriteError::PeerClosed { how: How::Fin, .. })) => {
                    self.finish().await?;
                }
                finished => finished?,
            }
            self.writer.flush().await?;
        }
        if what != Close::Write {
            while self.read_with(<[u8]>::len).await? > 0 {}
        }
        if what == Close::Both {
            self.finish().await?;
        }
        Ok(())
    }

    async fn abort(&mut self) -> Result<(), Error> {
        Connection::abort(self).map(|_| ())
    }
}
