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
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// How often the tasks are polled at most before the clock is looked at, although a task is
/// still woken: a busy task must not hide what the clock watches.
const MOST_ROUNDS: u32 = 64;

/// A clock that tasks share, and the executor that sleeps with it. Clones are the same.
pub struct Time<C> {
    inner: Rc<Inner<C>>,
}

struct Inner<C> {
    clock: RefCell<C>,
    sleepers: RefCell<Vec<Sleeper<C>>>,
    /// The number of sleepers so far, the next one's name.
    next_sleeper: Cell<u64>,
}

/// A task that sleeps, and what ends that.
struct Sleeper<C> {
    number: u64,
    until: Instant,
    is_ready: fn(&mut C) -> bool,
    waker: Waker,
}

/// A sleep of a task. Dropped, it leaves no waker.
struct Sleep<'t, C: Clock> {
    time: &'t Time<C>,
    until: Instant,
    is_ready: fn(&mut C) -> bool,
    number: Option<u64>,
}

impl<C: Clock> Future for Sleep<'_, C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let inner = &*self.time.inner;
        let mut sleepers = inner.sleepers.borrow_mut();
        let Some(number) = self.number else {
            let number = inner.next_sleeper.get();
            inner.next_sleeper.set(number + 1);
            sleepers.push(Sleeper {
                number,
                until: self.until,
                is_ready: self.is_ready,
                waker: cx.waker().clone(),
            });
            drop(sleepers);
            self.number = Some(number);
            return Poll::Pending;
        };
        match sleepers.iter_mut().find(|it| it.number == number) {
            Some(sleeper) => {
                sleeper.waker.clone_from(cx.waker());
                Poll::Pending
            }
            // It was woken.
            None => Poll::Ready(()),
        }
    }
}

impl<C: Clock> Drop for Sleep<'_, C> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let mut sleepers = self.time.inner.sleepers.borrow_mut();
            sleepers.retain(|sleeper| sleeper.number != number);
        }
    }
}

impl<C: Clock> Time<C> {
    /// An executor that sleeps with this clock.
    #[must_use]
    pub fn new(clock: C) -> Self {
        Self {
            inner: Rc::new(Inner {
                clock: RefCell::new(clock),
                sleepers: RefCell::default(),
                next_sleeper: Cell::new(0),
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
        if self.now() < at {
            self.wait_for(at, |_| false).await;
        }
    }

    /// Completes with the next sleep of the thread: the device, or whatever else the clock
    /// watches, may be ready.
    pub async fn next_wake(&self) {
        self.wait_for(Instant::NEVER, |_| true).await;
    }

    /// Completes after the next sleep of the thread that ends at `until` or later, or after
    /// which `is_ready` is true of the clock. So it always looks at what the clock watches,
    /// even if the time has passed.
    pub async fn wait_for(&self, until: Instant, is_ready: fn(&mut C) -> bool) {
        Sleep {
            time: self,
            until,
            is_ready,
            number: None,
        }
        .await;
    }

    /// Runs `task`, and a runner beside it, to the end of the task. Each is polled only after
    /// it was woken.
    ///
    /// # Panics
    ///
    /// If the runner ends.
    pub fn block_on<T>(&self, runner: impl Future, task: impl Future<Output = T>) -> T {
        let (mut runner, mut task) = (pin!(runner), pin!(task));
        let flags = [Arc::new(Flag::woken()), Arc::new(Flag::woken())];
        let [of_runner, of_task] = &flags;
        let wakers = flags.each_ref().map(|flag| Waker::from(Arc::clone(flag)));
        let mut rounds = 0;
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
            rounds += 1;
            let is_woken = of_task.is_woken() || of_runner.is_woken();
            if !is_woken || rounds >= MOST_ROUNDS {
                rounds = 0;
                self.wait(is_woken);
            }
        }
    }

    /// The thread sleeps until a timer, or until the clock wakes it; if a task `is_woken`, it
    /// only looks.
    fn wait(&self, is_woken: bool) {
        let inner = &*self.inner;
        let next = match is_woken {
            true => Some(Instant::ZERO),
            false => inner.sleepers.borrow().iter().map(|it| it.until).min(),
        };
        let mut clock = inner.clock.borrow_mut();
        clock.wait(next.filter(|&at| at != Instant::NEVER));
        let now = clock.now();
        let mut woken = Vec::new();
        inner.sleepers.borrow_mut().retain(|sleeper| {
            let is_over = sleeper.until <= now || (sleeper.is_ready)(&mut clock);
            if is_over {
                woken.push(sleeper.waker.clone());
            }
            !is_over
        });
        drop(clock);
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
        let sleepers = self.inner.sleepers.borrow();
        f.debug_struct("Time")
            .field("sleepers", &sleepers.len())
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
        self.wait_for(until.unwrap_or(Instant::NEVER), |_| true)
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
