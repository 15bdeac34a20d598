//! Tasks over a blocking clock: an executor of one thread, for programs on
//! `lastbyte::asynch`.
//!
//! While every task waits, the thread sleeps in [`Clock::wait`]. So the same tasks run in the
//! virtual time of a [`World`](crate::loopback::World), with its `LoopClock`, and in real time
//! over a TAP, with the clock of `lastbyte-host`.
//!
//! ```
//! use embedded_io_async::Write;
//! use lastbyte::Options;
//! use lastbyte::asynch::Shared;
//! use lastbyte::stack::{Buffers, Config};
//! use lastbyte_sim::executor::Time;
//! use lastbyte_sim::loopback::{Behaviour, OUR_ADDRESSES, PEER_V4, World, WorldConfig};
//! use lastbyte_sim::loopback::our_hardware_address;
//! use smoltcp::iface::SocketStorage;
//! use std::time::Duration;
//!
//! let world = World::new(WorldConfig::default());
//! world.peer().listen(5000, Behaviour::sink());
//! let time = Time::new(world.clock());
//! let mut buffers = Buffers::<1, 2048, 512>::new();
//! let mut sockets = [SocketStorage::EMPTY; 1];
//! let config = Config::new(our_hardware_address(world.config().medium), 42);
//! let net = Shared::<_, _, 1>::new(
//!     world.device(),
//!     time.clone(),
//!     config,
//!     buffers.split(),
//!     &mut sockets,
//! )?;
//! net.with_network(|network| {
//!     network.interface.update_ip_addrs(|own| own.extend(OUR_ADDRESSES));
//! })?;
//! let report = time.block_on(net.run(time.clone()), async {
//!     let mut connection = net.connect((PEER_V4, 5000), Options::default()).await?;
//!     connection.write_all(b"beat\n").await?;
//!     time.sleep(Duration::from_secs(1)).await;
//!     connection.finish().await
//! })?;
//! assert_eq!(report.ledger.acknowledged(), 5);
//! # Ok::<(), lastbyte::Error>(())
//! ```

use lastbyte::asynch::{Alarm, Now};
use lastbyte::{Clock, Instant};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// A clock that tasks share, and the executor that sleeps with it. Clones are the same.
pub struct Time<C> {
    inner: Rc<Inner<C>>,
}

struct Inner<C> {
    clock: RefCell<C>,
    /// Who is to be woken at which time.
    timers: RefCell<Vec<(Instant, Waker)>>,
    /// How often the thread has slept: an alarm ends with the sleep after it began.
    sleeps: Cell<u64>,
    /// Who is to be woken by the end of any sleep.
    alarms: RefCell<Vec<Waker>>,
}

impl<C: Clock> Time<C> {
    /// An executor that sleeps with this clock.
    #[must_use]
    pub fn new(clock: C) -> Self {
        Self {
            inner: Rc::new(Inner {
                clock: RefCell::new(clock),
                timers: RefCell::default(),
                sleeps: Cell::new(0),
                alarms: RefCell::default(),
            }),
        }
    }

    /// Uses the clock, for what else it can do.
    ///
    /// # Panics
    ///
    /// In a call of itself.
    pub fn with_clock<T>(&self, use_it: impl FnOnce(&mut C) -> T) -> T {
        use_it(&mut self.inner.clock.borrow_mut())
    }

    /// Completes after so much time.
    pub async fn sleep(&self, time: Duration) {
        self.sleep_until(self.now() + time).await;
    }

    /// Completes at that time.
    pub async fn sleep_until(&self, at: Instant) {
        poll_fn(|cx| {
            if self.now() >= at {
                return Poll::Ready(());
            }
            let waker = cx.waker().clone();
            self.inner.timers.borrow_mut().push((at, waker));
            Poll::Pending
        })
        .await;
    }

    /// Completes with the next sleep of the thread: the device, or whatever else the clock
    /// watches, may be ready.
    pub async fn next_wake(&self) {
        let before = self.inner.sleeps.get();
        poll_fn(|cx| {
            if self.inner.sleeps.get() != before {
                return Poll::Ready(());
            }
            self.inner.alarms.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Runs `task`, and a runner beside it, to the end of the task.
    ///
    /// # Panics
    ///
    /// If the runner ends.
    pub fn block_on<T>(&self, runner: impl Future, task: impl Future<Output = T>) -> T {
        let (mut runner, mut task) = (pin!(runner), pin!(task));
        let flags = [Arc::new(Flag::woken()), Arc::new(Flag::woken())];
        let [of_runner, of_task] = &flags;
        let wakers = flags.each_ref().map(|flag| Waker::from(Arc::clone(flag)));
        loop {
            if of_task.take() {
                let mut cx = Context::from_waker(&wakers[1]);
                if let Poll::Ready(value) = task.as_mut().poll(&mut cx) {
                    return value;
                }
            }
            if of_runner.take() {
                let mut cx = Context::from_waker(&wakers[0]);
                let polled = runner.as_mut().poll(&mut cx);
                assert!(polled.is_pending(), "the runner of a network never ends");
            }
            if !of_task.is_woken() && !of_runner.is_woken() {
                self.wait();
            }
        }
    }

    /// Every task waits: the thread sleeps until a timer, or until the clock wakes it.
    fn wait(&self) {
        let inner = &*self.inner;
        let next = inner.timers.borrow().iter().map(|(at, _)| *at).min();
        inner.clock.borrow_mut().wait(next);
        inner.sleeps.set(inner.sleeps.get() + 1);
        let now = self.now();
        let mut woken = inner.alarms.take();
        inner.timers.borrow_mut().retain(|(at, waker)| {
            if *at <= now {
                woken.push(waker.clone());
            }
            *at > now
        });
        woken.into_iter().for_each(Waker::wake);
    }
}

impl<C> Clone for Time<C> {
    fn clone(&self) -> Self {
        Self {
            inner: Rc::clone(&self.inner),
        }
    }
}

impl<C> fmt::Debug for Time<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Time")
            .field("sleeps", &self.inner.sleeps.get())
            .finish_non_exhaustive()
    }
}

impl<C: Clock> Now for Time<C> {
    fn now(&self) -> Instant {
        self.inner.clock.borrow_mut().now()
    }
}

impl<C: Clock> Alarm for Time<C> {
    async fn wait(&mut self, until: Option<Instant>) {
        let (mut timer, mut device) = (
            pin!(self.sleep_until(until.unwrap_or(Instant::NEVER))),
            pin!(self.next_wake()),
        );
        poll_fn(|cx| {
            let is_due = timer.as_mut().poll(cx).is_ready();
            match is_due || device.as_mut().poll(cx).is_ready() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}

/// Whether a task was woken.
struct Flag(AtomicBool);

impl Flag {
    const fn woken() -> Self {
        Self(AtomicBool::new(true))
    }

    fn take(&self) -> bool {
        self.0.swap(false, Relaxed)
    }

    fn is_woken(&self) -> bool {
        self.0.load(Relaxed)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}
