//! The network that tasks share.

use super::connection::Connection;
use super::doomed::Doomed;
use super::inner::Inner;
use super::listener::Listener;
use super::lock::{Local, Lock};
use super::network::Calls;
use super::time::Now;
use crate::core::options::Options;
use crate::core::report::{Progress, Report};
use crate::core::state::State;
use crate::stack::smoltcp::iface::SocketStorage;
use crate::stack::smoltcp::phy::Device;
use crate::stack::smoltcp::wire::{IpEndpoint, IpListenEndpoint};
use crate::stack::{Config, ConfigError, ConnectionId, Error, Network, Parts, SlotBuffers};
use core::fmt;
use core::task::{Context, Poll, Waker};

/// `N` connections over a device, shared by the tasks of one program.
///
/// It contains everything, the device included: each call first processes what the device has
/// received, so that the first write after the peer's FIN or RST is refused even if no other
/// task has run. A handle is a `&Shared`.
///
/// 1. [`new`](Self::new), with device, clock, configuration and buffers, like
///    [`Stack::new`](crate::Stack::new).
/// 2. [`with_network`](Self::with_network) to set addresses and routes.
/// 3. [`run`](Self::run), in a task of its own. It serves the device and the timers while all
///    other tasks wait.
/// 4. [`connect`](Self::connect) and [`listen`](Self::listen), from any task.
///
/// `K` is the [lock](super::Lock) around it: [`Local`] unless tasks run at several priorities
/// or in several threads. A program writes one alias, which also serves as the parameter of
/// its tasks:
///
/// ```
/// # use lastbyte::asynch::{Now, Shared};
/// # use lastbyte::stack::smoltcp::phy::Loopback as Mac;
/// # struct Clock;
/// # impl Now for Clock { fn now(&self) -> lastbyte::Instant { lastbyte::Instant::ZERO } }
/// type Net = Shared<'static, Mac, Clock, 4>;
/// type Connection = lastbyte::asynch::Connection<'static, Net>;
/// ```
///
/// Dropping it resets the connections that live.
pub struct Shared<'a, D: Device, C: Now, const N: usize, K: Lock = Local> {
    inner: K::Cell<Inner<'a, D, C, N>>,
    doomed: Doomed<N>,
}

impl<'a, D: Device, C: Now, const N: usize, K: Lock> Shared<'a, D, C, N, K> {
    /// Makes a network of a device and a clock, with buffers for each connection and storage
    /// for their sockets: one for each connection, plus one for each socket that the
    /// application adds itself.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], which names what does not fit.
    pub fn new(
        device: D,
        clock: C,
        config: Config,
        buffers: [SlotBuffers<'a>; N],
        storage: &'a mut [SocketStorage<'a>],
    ) -> Result<Self, ConfigError> {
        let parts = Parts::new(device, clock.now(), config, buffers, storage)?;
        Ok(Self {
            inner: K::new(Inner::new(parts, clock)),
            doomed: Doomed::new(),
        })
    }

    /// Borrows the content. `None` if it is already lent in the same call stack.
    #[inline]
    pub(super) fn enter<R>(&self, use_it: impl FnOnce(&mut Inner<'a, D, C, N>) -> R) -> Option<R> {
        let result = K::with(&self.inner, use_it)?;
        if self.doomed.is_any() {
            self.release_doomed();
        }
        Some(result)
    }

    /// Releases the connections that were dropped while the network was lent, to this thread or
    /// to another.
    // tuning: doomed-apart
    #[inline(never)]
    fn release_doomed(&self) {
        let _ = K::with(&self.inner, |inner| inner.release_doomed(&self.doomed));
    }

    /// Sets the function that gives the device the waker of the runner: for
    /// `EmbassyDevice`, its method of that name. Without one, the [`Alarm`](super::Alarm)
    /// has to end when the device has a frame.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn wake_by(&self, set_waker: fn(&mut D, &Waker)) -> Result<(), Error> {
        self.change(|inner| inner.set_waker = Some(set_waker))
    }

    /// Lends interface and sockets to a closure: to set addresses and routes, or to use
    /// sockets of the application's own. The runner checks them at once.
    ///
    /// Other calls inside the closure do nothing: those that wait are attempted again later,
    /// the others fail with [`Error::Busy`]. A connection that is dropped there is released
    /// when the closure has returned.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`], in such a closure.
    pub fn with_network<T>(&self, use_it: impl FnOnce(Network<'_, 'a>) -> T) -> Result<T, Error> {
        self.change(|inner| use_it(inner.parts.network_mut()))
    }

    /// Lends the device to a closure, as [`with_network`](Self::with_network) lends the
    /// interface.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`], in such a closure.
    pub fn with_device<T>(&self, use_it: impl FnOnce(&mut D) -> T) -> Result<T, Error> {
        self.change(|inner| use_it(&mut inner.parts.device))
    }

    /// Records that the link went up or down; see [`Stack::set_link`](crate::Stack::set_link).
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn set_link(&self, up: bool) -> Result<(), Error> {
        self.change(|inner| {
            let now = inner.clock.now();
            inner.parts.set_link(up, now);
        })
    }

    /// Follows the link of the device with `is_up`, which returns whether the link is up. It
    /// is called at once, whenever the runner runs, and by each call that has waited. A change
    /// of the link should wake the runner.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn follow_link(&self, is_up: fn(&mut D) -> bool) -> Result<(), Error> {
        self.change(|inner| {
            inner.parts.link_query = Some(is_up);
            let now = inner.clock.now();
            inner.look_at_link(now);
        })
    }

    /// Changes something that the runner has to check.
    fn change<T>(&self, change: impl FnOnce(&mut Inner<'a, D, C, N>) -> T) -> Result<T, Error> {
        let changed = self.enter(|inner| {
            let result = change(inner);
            inner.kick();
            result
        });
        changed.ok_or(Error::Busy)
    }

    /// Opens a connection to `remote` and waits until it is open, at most for the connect
    /// timeout and the call timeout. If this fails, or is dropped before it has completed,
    /// nothing is left of the connection.
    ///
    /// # Errors
    ///
    /// [`Error::Open`] if it could not begin, otherwise why it was not opened.
    pub fn connect(
        &self,
        remote: impl Into<IpEndpoint>,
        options: Options,
    ) -> impl Future<Output = Result<Connection<'_, Self>, Error>> {
        Connection::open(self, remote.into(), options)
    }

    /// Starts connecting to `remote`, without waiting. The handshake goes on while the runner
    /// runs; a write waits for it, and so does
    /// [`wait_open`](Connection::wait_open).
    ///
    /// # Errors
    ///
    /// [`Error::Open`]: nothing was opened. [`Error::Busy`].
    pub fn begin_connect(
        &self,
        remote: impl Into<IpEndpoint>,
        options: Options,
    ) -> Result<Connection<'_, Self>, Error> {
        let begun = self.enter(|inner| inner.connect(remote.into(), options));
        Ok(Connection::new(self, begun.ok_or(Error::Busy)??))
    }

    /// Listens at `local`. The slot is in use at once; [`Listener::accept`] waits for a
    /// caller, any number of times.
    ///
    /// # Errors
    ///
    /// [`Error::Open`], or [`Error::Busy`].
    pub fn listen(
        &self,
        local: impl Into<IpListenEndpoint>,
        options: Options,
    ) -> Result<Listener<'_, Self>, Error> {
        Listener::new(self, local.into(), options)
    }

    /// The state of a connection, as of the last poll.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`] if its slot was opened again, or [`Error::Busy`].
    pub fn state(&self, id: ConnectionId) -> Result<State, Error> {
        Calls::state(self, id)
    }

    /// The report of a connection, also after its end.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`] if its slot was opened again, or [`Error::Busy`].
    pub fn report(&self, id: ConnectionId) -> Result<Report, Error> {
        Calls::report(self, id)
    }

    /// State and ledger of a connection, and whether the peer reads.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`] if its slot was opened again, or [`Error::Busy`].
    pub fn progress(&self, id: ConnectionId) -> Result<Progress, Error> {
        Calls::progress(self, id)
    }

    /// Ends a connection at once with a RST, whichever task owns it; the calls that wait for
    /// it fail.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`] if its slot was opened again, or [`Error::Busy`].
    pub fn abort(&self, id: ConnectionId) -> Result<Report, Error> {
        Calls::abort(self, id)
    }

    /// How many wakes were lost so far: tasks that wait for a wish that has already come
    /// true. For tests.
    #[cfg(feature = "trace")]
    #[doc(hidden)]
    pub fn forgotten(&self) -> usize {
        self.enter(Inner::forgotten).unwrap_or_default()
    }

    /// Whether something is due before the runner wakes. For tests.
    #[cfg(feature = "trace")]
    #[doc(hidden)]
    pub fn oversleeps(&self) -> bool {
        self.enter(Inner::oversleeps).unwrap_or_default()
    }

    /// Releases a connection once the network is not lent.
    pub(super) fn doom(&self, id: ConnectionId) {
        self.doomed.add(id.slot());
        // Another thread may have returned it just before.
        self.release_doomed();
    }

    /// Borrows the content for one poll. A task that finds it lent is woken again.
    #[inline]
    pub(super) fn enter_or_retry<T>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Inner<'a, D, C, N>, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if let Some(polled) = self.enter(|inner| poll(inner, cx)) {
            return polled;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<D: Device, C: Now, const N: usize, K: Lock> fmt::Debug for Shared<'_, D, C, N, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl<D: Device, C: Now, const N: usize, K: Lock> Drop for Shared<'_, D, C, N, K> {
    fn drop(&mut self) {
        // Every handle has borrowed it, so it is not lent.
        let _ = self.enter(Inner::abort_all);
    }
}
