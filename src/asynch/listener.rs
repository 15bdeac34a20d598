//! Connections that peers open.

use super::call::Call;
use super::connection::Connection;
use super::network::AnyShared;
use crate::core::error::{Timeout, WriteError};
use crate::core::options::Options;
use crate::stack::smoltcp::wire::IpListenEndpoint;
use crate::stack::{ConnectionId, Error};
use core::task::Poll;

/// Accepts callers at one local end, one after another.
///
/// It holds one slot while it listens. A caller that completes the handshake keeps that slot,
/// and the listener goes on with another: at once if one is free, otherwise with the next
/// [`accept`](Self::accept). To serve several callers at once, let several tasks listen at the
/// same port, or hand each connection to a task, and give the network as many slots.
///
/// While every slot of the port has a connection, further callers are not refused: their SYNs
/// are dropped, and they repeat them.
///
/// Dropping it releases the slot.
#[derive(Debug)]
pub struct Listener<'s, S: AnyShared> {
    shared: &'s S,
    local: IpListenEndpoint,
    options: Options,
    /// The connection that waits for a caller.
    next: Option<ConnectionId>,
}

impl<'s, S: AnyShared> Listener<'s, S> {
    pub(super) fn new(
        shared: &'s S,
        local: IpListenEndpoint,
        options: Options,
    ) -> Result<Self, Error> {
        let next = Some(shared.listen(local, options)?);
        Ok(Self {
            shared,
            local,
            options,
            next,
        })
    }

    /// Waits for a caller, at most for the call timeout, and returns the connection with it.
    /// Can be repeated. If it is dropped before it has completed, it goes on listening: the
    /// next call returns a caller that comes meanwhile.
    ///
    /// # Errors
    ///
    /// [`WriteError::TimedOut`] with [`Timeout::Call`] if there was no caller: call it again.
    /// [`Error::Open`] if there is no slot to listen with. Otherwise why listening has ended;
    /// it begins again with the next call.
    pub fn accept(&mut self) -> impl Future<Output = Result<Connection<'s, S>, Error>> {
        let shared = self.shared;
        Call::new(shared, ConnectionId::NONE, move |_: &S, call, cx| {
            call.id = match self.next {
                Some(id) => id,
                None => match shared.listen(self.local, self.options) {
                    Ok(id) => *self.next.insert(id),
                    Err(error) => return Poll::Ready(Err(error)),
                },
            };
            let Poll::Ready(opened) = shared.poll_open(call, cx) else {
                return Poll::Pending;
            };
            let goes_on = matches!(
                opened,
                Err(Error::Write(WriteError::TimedOut {
                    why: Timeout::Call,
                    ..
                }))
            );
            if !goes_on {
                self.next = None;
            }
            if opened.is_ok() {
                // Without a free slot, the next call tries again.
                self.next = shared.listen(self.local, self.options).ok();
            } else if !goes_on {
                shared.release(call.id);
            }
            Poll::Ready(opened.map(|()| Connection::new(shared, call.id)))
        })
    }
}

impl<S: AnyShared> Listener<'_, S> {
    /// Names the connection that waits for a caller to the calls of a
    /// [`Shared`](super::Shared); `None` while no slot listens.
    #[must_use]
    pub const fn id(&self) -> Option<ConnectionId> {
        self.next
    }
}

impl<S: AnyShared> Drop for Listener<'_, S> {
    fn drop(&mut self) {
        if let Some(id) = self.next {
            self.shared.release(id);
        }
    }
}
