//! Interface, device, sockets, clock and connections in one: the blocking
//! driver.

use super::calls::UnknownConnection;
use super::config::{Config, ConfigError, SlotBuffers};
use super::opening::OpenError;
use super::parts::{DEVICE_FULL_PAUSE_MS, Network, Parts};
use super::reader::Reader;
use super::socket::Socket;
use super::tracker::{ConnectionId, Net, Taken, Tracker};
use super::writer::Writer;
use crate::core::error::WriteError;
use crate::core::options::Options;
use crate::core::report::{Advice, Report};
use crate::core::state::State;
use crate::trace::{self, Note};
use crate::{Clock, Instant};
use core::fmt;
use core::time::Duration;
use smoltcp::iface::{Interface, SocketSet, SocketStorage};
use smoltcp::phy::Device;
use smoltcp::wire::{IpEndpoint, IpListenEndpoint};

/// How long an abort waits at most for its RST to be sent, if the device is busy or the
/// neighbour unresolved. A shorter call timeout replaces it.
const RST_LINGER_MS: u32 = 1_000;

/// How long a blocking call may take.
#[derive(Debug, Clone, Copy)]
pub(super) enum CallTimeout {
    /// The call timeout of this connection.
    Of(ConnectionId),
    /// No timeout of its own: something else bounds the call.
    None,
}

/// An attempt of a blocking call that had no result.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tried {
    pub(super) at: Instant,
    pub(super) taken: Taken,
    /// When smoltcp is to be polled again.
    pub(super) next: Instant,
}

/// `N` connections over a device and a clock.
///
/// The order in which a program uses it:
///
/// 1. [`new`](Self::new), with the two things that a port supplies.
/// 2. [`interface_mut`](Self::interface_mut) to set addresses and routes; or `start_dhcp`,
///    `start_slaac` or `claim_address`, with the feature of each.
/// 3. [`connect`](Self::connect) or [`listen`](Self::listen).
/// 4. [`writer`](Self::writer) and [`reader`](Self::reader), as often as
///    needed; while one of them blocks, every connection is served.
/// 5. [`poll`](Self::poll) or [`wait`](Self::wait) in between.
///
/// smoltcp is not hidden: an application can add UDP sockets to
/// [`sockets_mut`](Self::sockets_mut), and the stack polls them too.
///
/// Dropping the stack resets the connections that live.
pub struct Stack<'a, D: Device, C: Clock, const N: usize> {
    parts: Parts<'a, D, N>,
    clock: C,
}

impl<'a, D: Device, C: Clock, const N: usize> Stack<'a, D, C, N> {
    /// Makes a stack from a device and a clock, buffers for each connection, and storage
    /// for one socket for each connection plus one for each socket that the application
    /// adds itself.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], which names what does not fit.
    pub fn new(
        device: D,
        mut clock: C,
        config: Config,
        buffers: [SlotBuffers<'a>; N],
        storage: &'a mut [SocketStorage<'a>],
    ) -> Result<Self, ConfigError> {
        let parts = Parts::new(device, clock.now(), config, buffers, storage)?;
        Ok(Self { parts, clock })
    }

    /// The tracker, to be queried.
    #[cfg(any(feature = "address-conflicts", feature = "dhcpv4"))]
    pub(super) const fn tracker(&self) -> &Tracker<N> {
        &self.parts.tracker
    }

    /// The parts, lent for one call at the present time.
    pub(super) fn parts(&mut self) -> (&mut Tracker<N>, Net<'_, 'a, D>) {
        self.parts.lend(self.clock.now())
    }

    /// The interface: addresses, routes.
    pub const fn interface_mut(&mut self) -> &mut Interface {
        self.parts.network_mut().interface
    }

    /// The interface and the sockets, lent together. A DHCP or DNS socket that the
    /// application has added with [`sockets_mut`](Self::sockets_mut) needs both, because its
    /// answers go into the interface.
    ///
    /// ```no_run
    /// # use lastbyte::stack::{smoltcp::phy::Device, Stack};
    /// # use lastbyte::Clock;
    /// fn add_route<D: Device, C: Clock>(stack: &mut Stack<'_, D, C, 1>) {
    ///     let network = stack.network_mut();
    ///     let sockets = network.sockets.iter().count();
    ///     network.interface.update_ip_addrs(|addresses| assert!(addresses.len() < sockets));
    /// }
    /// ```
    pub const fn network_mut(&mut self) -> Network<'_, 'a> {
        self.parts.network_mut()
    }

    /// The socket set. The TCP sockets of the connections are in it; do not use those.
    pub const fn sockets_mut(&mut self) -> &mut SocketSet<'a> {
        &mut self.parts.sockets
    }

    /// The device.
    pub const fn device_mut(&mut self) -> &mut D {
        &mut self.parts.device
    }

    /// The clock.
    pub const fn clock_mut(&mut self) -> &mut C {
        &mut self.clock
    }

    /// Records that the link went up or down. This ends no connection; the reports of the
    /// connections that were open meanwhile show it. If the link came up, the hardware
    /// addresses of all neighbours are resolved again, because other machines may be
    /// connected.
    pub fn set_link(&mut self, up: bool) {
        self.parts.set_link(up, self.clock.now());
    }

    /// Follows the link of the device: `is_up` returns whether it is up. It is called at
    /// once, at each [`poll`](Self::poll) and after each sleep of a blocking call, so
    /// that reports also show that the link went down during a call. It replaces
    /// [`set_link`](Self::set_link).
    ///
    /// A link that goes down and comes back between two calls of `is_up` is not noticed,
    /// so a change of the link should end [`Clock::wait`].
    pub fn follow_link(&mut self, is_up: fn(&mut D) -> bool) {
        self.parts.link_query = Some(is_up);
        self.look_at_link();
    }

    fn look_at_link(&mut self) {
        if let Some(up) = self.parts.link_change() {
            self.set_link(up);
        }
    }

    /// Starts connecting, without waiting. The handshake proceeds while the stack is
    /// polled. A write waits for it.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: nothing was opened.
    pub fn connect(
        &mut self,
        remote: impl Into<IpEndpoint>,
        options: Options,
    ) -> Result<ConnectionId, OpenError> {
        let (tracker, mut net) = self.parts();
        tracker.connect_at_once(&mut net, remote.into(), options)
    }

    /// Starts waiting for a peer to connect, without blocking.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: nothing was opened.
    pub fn listen(
        &mut self,
        local: impl Into<IpListenEndpoint>,
        options: Options,
    ) -> Result<ConnectionId, OpenError> {
        let (tracker, mut net) = self.parts();
        tracker.listen(&mut net, local.into(), options)
    }

    /// Waits until the connection is open.
    ///
    /// # Errors
    ///
    /// Why the connection was not opened, or [`WriteError::TimedOut`] if the call timeout
    /// was reached while the handshake, or the wait for a peer, still goes on.
    pub fn wait_open(&mut self, id: ConnectionId) -> Result<(), WriteError> {
        self.block_on(CallTimeout::Of(id), |tracker, _, _| {
            tracker.attempt_open(id)
        })
    }

    /// Does everything that is due and returns when to call again at the latest, if no
    /// frame arrives before; `None` if only a frame can change anything.
    pub fn poll(&mut self) -> Option<Instant> {
        self.look_at_link();
        let (tracker, mut net) = self.parts();
        tracker.ingest(&mut net);
        Some(tracker.send_due(&mut net)).filter(|&at| at != Instant::NEVER)
    }

    /// Sleeps until something is due, a frame arrives, or `until`, and then polls, so
    /// that the effect is visible on return. Before that, it sends what Nagle's algorithm
    /// holds back, because no write follows during the sleep.
    pub fn wait(&mut self, until: Instant) {
        let (tracker, net) = self.parts();
        if until > net.now {
            tracker.push_all(net.sockets);
        }
        let (next, now) = self.next_poll();
        if next > now {
            if until > now {
                self.sleep(next.min(until));
            }
            self.poll();
            return;
        }
        self.poll();
        let (next, now) = self.next_poll();
        if next <= now && until > now {
            // Something is still due right after polling: the device has no room.
            self.sleep(now.plus_millis(DEVICE_FULL_PAUSE_MS).min(until));
        }
    }

    /// When to poll next, and the present time.
    fn next_poll(&mut self) -> (Instant, Instant) {
        let (tracker, mut net) = self.parts();
        (tracker.poll_at(&mut net), net.now)
    }

    fn sleep(&mut self, until: Instant) {
        self.clock
            .wait(Some(until).filter(|&at| at != Instant::NEVER));
    }

    /// Polls and sleeps for this long.
    pub fn run_for(&mut self, duration: Duration) {
        let until = self.clock.now() + duration;
        while self.clock.now() < until {
            self.wait(until);
        }
        self.poll();
    }

    /// Lends the writing end of a connection.
    ///
    /// # Errors
    ///
    /// [`UnknownConnection`].
    pub fn writer(&mut self, id: ConnectionId) -> Result<Writer<'_, Self>, UnknownConnection> {
        self.parts.tracker.state(id)?;
        Ok(Writer::new(self, id))
    }

    /// Lends the reading end of a connection. Useful with
    /// [`OnReceive::Keep`](crate::OnReceive::Keep) only.
    ///
    /// # Errors
    ///
    /// [`UnknownConnection`].
    pub fn reader(&mut self, id: ConnectionId) -> Result<Reader<'_, Self>, UnknownConnection> {
        self.parts.tracker.state(id)?;
        Ok(Reader::new(self, id))
    }

    /// Lends both ends of a connection in one value, for crates that implement a protocol.
    ///
    /// # Errors
    ///
    /// [`UnknownConnection`].
    pub fn socket(&mut self, id: ConnectionId) -> Result<Socket<'_, Self>, UnknownConnection> {
        self.parts.tracker.state(id)?;
        Ok(Socket::new(self, id))
    }

    /// The received bytes of a connection that are contiguous in the buffer.
    pub(super) fn peek(&mut self, id: ConnectionId) -> &[u8] {
        let (tracker, net) = self.parts();
        tracker.peek(net.sockets, id)
    }

    /// The state of the connection, as of the last poll.
    ///
    /// # Errors
    ///
    /// [`UnknownConnection`].
    pub fn state(&self, id: ConnectionId) -> Result<State, UnknownConnection> {
        self.parts.tracker.state(id)
    }

    /// The report of the connection.
    ///
    /// # Errors
    ///
    /// [`UnknownConnection`].
    pub fn report(&mut self, id: ConnectionId) -> Result<Report, UnknownConnection> {
        let now = self.clock.now();
        self.parts.tracker.report(id, now)
    }

    /// Returns advice about the connection that was not returned before.
    ///
    /// # Errors
    ///
    /// [`UnknownConnection`].
    pub fn poll_advice(&mut self, id: ConnectionId) -> Result<Option<Advice>, UnknownConnection> {
        self.parts.tracker.poll_advice(id)
    }

    /// Our end and the peer's; `None` while no peer has connected.
    ///
    /// # Errors
    ///
    /// [`UnknownConnection`].
    pub fn endpoints(
        &self,
        id: ConnectionId,
    ) -> Result<Option<(IpEndpoint, IpEndpoint)>, UnknownConnection> {
        self.parts.tracker.endpoints(id)
    }

    /// Frees the slot of a connection, and aborts the connection if it lives.
    ///
    /// # Errors
    ///
    /// [`UnknownConnection`].
    pub fn release(&mut self, id: ConnectionId) -> Result<Report, UnknownConnection> {
        let (tracker, mut net) = self.parts();
        tracker.release(&mut net, id)
    }

    /// Aborts, and waits a bounded time for the RST to be sent. If the connection had
    /// already ended and its RST still waits, this call does not wait for it.
    pub(super) fn abort(&mut self, id: ConnectionId) -> Result<Report, UnknownConnection> {
        let call_ms = self.parts.tracker.connection(id)?.options().call_ms();
        let until = self.clock.now().plus_millis(call_ms.min(RST_LINGER_MS));
        let waits_already = self.parts.tracker.is_rst_due(id, &self.parts.sockets);
        let report = self.release(id)?;
        while !waits_already
            && self.parts.tracker.is_rst_due(id, &self.parts.sockets)
            && self.clock.now() < until
        {
            self.wait(until);
        }
        Ok(report)
    }

    /// Repeats `attempt` until it has a result, within the limit. Before each attempt it
    /// processes everything that the device has received, serves every connection, and
    /// sends what Nagle's algorithm holds back. In between it sleeps.
    pub(super) fn block_on<T, E: From<WriteError>>(
        &mut self,
        limit: CallTimeout,
        attempt: impl FnMut(&mut Tracker<N>, &mut Net<'_, 'a, D>, Taken) -> Result<Option<T>, E>,
    ) -> Result<T, E> {
        self.block_after(None, limit, attempt)
    }

    /// Reports a call to the observer of this thread.
    pub(super) fn trace(&self, id: ConnectionId, note: Note<'_>) {
        if let Ok(connection) = self.parts.tracker.connection(id) {
            trace::report(connection, note);
        }
    }

    /// Like [`block_on`](Self::block_on), for a caller that has already made an attempt
    /// and sent what followed from it: the device is not polled twice before the first
    /// sleep.
    pub(super) fn block_after<T, E: From<WriteError>>(
        &mut self,
        mut tried: Option<Tried>,
        limit: CallTimeout,
        mut attempt: impl FnMut(&mut Tracker<N>, &mut Net<'_, 'a, D>, Taken) -> Result<Option<T>, E>,
    ) -> Result<T, E> {
        let mut started = None;
        loop {
            if let Some(tried) = tried {
                self.pause(limit, *started.get_or_insert(tried.at), tried)?;
            }
            let (tracker, mut net) = self.parts();
            let taken = tracker.take_in_all(&mut net);
            let result = attempt(tracker, &mut net, taken);
            // Whatever the result: what was received may have to be answered.
            if !matches!(result, Ok(None)) {
                tracker.send_after_ingest(&mut net);
            }
            if let Some(result) = result? {
                return Ok(result);
            }
            tracker.push_all(net.sockets);
            tried = Some(Tried {
                at: net.now,
                taken,
                next: tracker.send_due(&mut net),
            });
        }
    }

    /// Sleeps after an attempt of a call that began at `started`. Fails once the limit of
    /// the call is reached.
    fn pause(
        &mut self,
        limit: CallTimeout,
        started: Instant,
        tried: Tried,
    ) -> Result<(), WriteError> {
        let now = tried.at;
        let mut until = Instant::NEVER;
        if let CallTimeout::Of(id) = limit {
            until = self.parts.tracker.call_deadline(id, started)?;
            if now >= until {
                return Err(self.parts.tracker.call_timed_out(id, started));
            }
        }
        // Nothing was received since that attempt, so nothing is missed by sleeping. A
        // frame that arrives later ends the sleep.
        if tried.taken != Taken::More {
            let soon = now.plus_millis(DEVICE_FULL_PAUSE_MS);
            let next = match tried.taken == Taken::Full {
                true => soon,
                // Something is still due right after sending: the device has no room.
                false => tried.next.max(soon),
            };
            self.sleep(next.min(until));
        }
        // The link is recorded before the timers run, so that the report of a connection that a
        // timer ends includes it.
        self.look_at_link();
        Ok(())
    }
}

impl<D: Device, C: Clock, const N: usize> fmt::Debug for Stack<'_, D, C, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack")
            .field("tracker", &self.parts.tracker)
            .finish_non_exhaustive()
    }
}

impl<D: Device, C: Clock, const N: usize> Drop for Stack<'_, D, C, N> {
    fn drop(&mut self) {
        let (tracker, mut net) = self.parts();
        tracker.abort_all(&mut net);
    }
}
