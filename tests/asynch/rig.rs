//! A network in a world, and an executor in its time.

use crate::common::{PORT, RX, TX, buffers, config, storage};
use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use lastbyte::asynch::{Alarm, Connection, Local, Lock, Now, Shared};
use lastbyte::stack::Network;
use lastbyte::stack::smoltcp::phy::{Device, DeviceCapabilities};
use lastbyte::stack::smoltcp::time::Instant as SmoltcpInstant;
use lastbyte::{Clock, Error, Instant, Options};
use lastbyte_sim::loopback::{
    Behaviour, LoopDevice, OUR_ADDRESSES, PEER_V4, RxToken, TxToken, World, WorldConfig,
};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::Wake;

/// How many connections a network has.
pub const SLOTS: usize = 2;

/// Polls, and steps of the world, of one run.
const MOST_STEPS: u32 = 100_000;

/// A task, boxed: each is of another type.
pub type Task<'t> = Pin<Box<dyn Future<Output = ()> + 't>>;

/// A device that wakes a waker when it has a frame, as one with an interrupt does.
pub struct Mac {
    device: LoopDevice,
    waker: Rc<RefCell<Option<Waker>>>,
}

impl Mac {
    pub fn is_link_up(&mut self) -> bool {
        self.device.is_link_up()
    }

    pub fn set_waker(&mut self, waker: &Waker) {
        self.waker.replace(Some(waker.clone()));
    }
}

impl Device for Mac {
    type RxToken<'t> = RxToken<'t>;
    type TxToken<'t> = TxToken<'t>;

    fn receive(&mut self, at: SmoltcpInstant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        self.device.receive(at)
    }

    fn transmit(&mut self, at: SmoltcpInstant) -> Option<TxToken<'_>> {
        self.device.transmit(at)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.device.capabilities()
    }
}

/// The time of a world.
#[derive(Clone)]
pub struct WorldTime(World);

impl Now for WorldTime {
    fn now(&self) -> Instant {
        self.0.now()
    }
}

/// The wakers to wake, each with its time.
type Timers = Rc<RefCell<Vec<(Instant, Waker)>>>;

/// The alarm of the runner, and the sleep of other tasks.
#[derive(Clone)]
pub struct Timer {
    world: World,
    timers: Timers,
}

impl Timer {
    /// Sleeps for this long in virtual time.
    pub async fn sleep(&self, time: Duration) {
        self.sleep_until(self.world.now() + time).await;
    }

    async fn sleep_until(&self, at: Instant) {
        poll_fn(|cx| {
            if self.world.now() >= at {
                return Poll::Ready(());
            }
            self.timers.borrow_mut().push((at, cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

impl Alarm for Timer {
    async fn wait(&mut self, until: Option<Instant>) {
        match until {
            Some(until) => self.sleep_until(until).await,
            None => core::future::pending().await,
        }
    }
}

/// The waker of a task.
#[derive(Default)]
pub struct Flag {
    is_woken: AtomicBool,
    wakes: AtomicU64,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Relaxed) {
            self.wakes.fetch_add(1, Relaxed);
        }
    }
}

/// How often a task was polled, and how often it was woken while it was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    pub polls: u64,
    pub wakes: u64,
}

struct Running<'t> {
    task: Task<'t>,
    flag: Arc<Flag>,
    polls: u64,
    is_done: bool,
}

pub type Net<K = Local> = Shared<'static, Mac, WorldTime, SLOTS, K>;
pub type OurConnection = Connection<'static, Net>;

/// A network, the world around it, and the executor of its tasks.
pub struct Rig<K: Lock + 'static = Local> {
    pub world: World,
    pub net: &'static Net<K>,
    pub timer: Timer,
    device_waker: Rc<RefCell<Option<Waker>>>,
    /// Decides which of the tasks that were woken is polled first.
    dice: Cell<u64>,
    /// Whether the tasks are polled in the given order.
    pub is_in_order: Cell<bool>,
    /// The counts of the runner in the last run.
    pub served: Cell<Count>,
}

impl Rig {
    pub fn new() -> Self {
        Self::sized(TX)
    }

    pub fn sized(tx: usize) -> Self {
        Self::over(WorldConfig::default(), tx)
    }
}

impl<K: Lock> Rig<K> {
    pub fn over(world: WorldConfig, tx: usize) -> Self {
        #[cfg(lastbyte_sabotage)]
        crate::teeth::break_what_is_named();
        let world = World::new(world);
        let device_waker = Rc::default();
        let mac = Mac {
            device: world.device(),
            waker: Rc::clone(&device_waker),
        };
        let net = Net::<K>::new(
            mac,
            WorldTime(world.clone()),
            config(&world),
            buffers(tx, RX),
            storage(SLOTS + 1),
        );
        let net: &Net<K> = Box::leak(Box::new(net.expect("a good configuration")));
        net.wake_by(Mac::set_waker).expect("not lent");
        let rig = Self {
            timer: Timer {
                world: world.clone(),
                timers: Rc::default(),
            },
            world,
            net,
            device_waker,
            dice: Cell::new(1),
            is_in_order: Cell::new(true),
            served: Cell::default(),
        };
        rig.set_addresses();
        rig
    }

    pub fn set_addresses(&self) {
        let set = |network: Network<'_, '_>| {
            network.interface.update_ip_addrs(|own| {
                own.clear();
                own.extend(OUR_ADDRESSES);
            });
        };
        self.net.with_network(set).expect("not lent");
    }

    pub fn lose_addresses(&self) {
        let clear = |network: Network<'_, '_>| {
            network.interface.update_ip_addrs(|own| {
                own.clear();
            });
        };
        self.net.with_network(clear).expect("not lent");
    }

    /// Draws the order of the tasks at random.
    pub fn shuffle(&self, seed: u64) {
        self.dice.set(seed | 1);
        self.is_in_order.set(false);
    }

    fn draw(&self, below: usize) -> usize {
        let mut dice = self.dice.get();
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        self.dice.set(dice);
        (dice >> 11) as usize % below
    }

    #[track_caller]
    fn assert_invariants(&self, task: usize) {
        let (forgotten, oversleeps) = (self.net.forgotten(), self.net.oversleeps());
        let at = self.world.now();
        assert_eq!(forgotten, 0, "a wake is lost at {at:?}, after task {task}");
        assert!(
            !oversleeps,
            "the runner oversleeps at {at:?}, after task {task}"
        );
    }

    /// Runs tasks, with the runner, to their ends. Returns the counts of the tasks.
    #[track_caller]
    pub fn run<'t>(&self, tasks: Vec<Task<'t>>) -> Vec<Count>
    where
        K: 't,
    {
        let (net, timer) = (self.net, self.timer.clone());
        let runner: Task<'t> = Box::pin(async move {
            net.run(timer).await;
        });
        let mut all: Vec<Running<'t>> = core::iter::once(runner)
            .chain(tasks)
            .map(|task| Running {
                task,
                flag: Arc::new(Flag {
                    is_woken: AtomicBool::new(true),
                    wakes: AtomicU64::new(0),
                }),
                polls: 0,
                is_done: false,
            })
            .collect();
        for step in 0.. {
            if all.iter().skip(1).all(|task| task.is_done) {
                break;
            }
            assert!(step < MOST_STEPS, "the tasks never end");
            let woken: Vec<usize> = (0..all.len())
                .filter(|&at| !all[at].is_done && all[at].flag.is_woken.load(Relaxed))
                .collect();
            let Some(&first) = woken.first() else {
                self.pass_time();
                continue;
            };
            let next = match self.is_in_order.get() {
                true => first,
                false => woken[self.draw(woken.len())],
            };
            let task = &mut all[next];
            task.flag.is_woken.store(false, Relaxed);
            task.polls += 1;
            let waker = Waker::from(Arc::clone(&task.flag));
            let polled = task.task.as_mut().poll(&mut Context::from_waker(&waker));
            task.is_done = polled.is_ready();
            self.assert_invariants(next);
        }
        let count = |task: &Running<'t>| Count {
            polls: task.polls,
            wakes: task.flag.wakes.load(Relaxed),
        };
        self.served.set(count(&all[0]));
        all.iter().skip(1).map(count).collect()
    }

    /// All tasks sleep: the world continues to the next frame or timer.
    fn pass_time(&self) {
        let timers = &self.timer.timers;
        let next = timers.borrow().iter().map(|(at, _)| *at).min();
        self.world.clock().wait(next);
        let now = self.world.now();
        let mut due = Vec::new();
        timers.borrow_mut().retain(|(at, waker)| {
            let is_later = *at > now;
            if !is_later {
                due.push(waker.clone());
            }
            is_later
        });
        let is_early = due.is_empty();
        due.into_iter().for_each(Waker::wake);
        if is_early && let Some(waker) = &*self.device_waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Runs one task, and returns what it returns.
    #[track_caller]
    pub fn block_on<T>(&self, task: impl Future<Output = T>) -> T {
        let result = RefCell::new(None);
        self.run(vec![Box::pin(async {
            let value = task.await;
            *result.borrow_mut() = Some(value);
        })]);
        result.into_inner().expect("the task has ended")
    }

    /// Lets time pass, with the runner running.
    pub fn run_for(&self, time: Duration) {
        self.block_on(self.timer.sleep(time));
    }

    /// Connects to the peer's port, where this listens.
    #[track_caller]
    pub fn open(&self, behaviour: Behaviour, options: Options) -> Connection<'static, Net<K>> {
        self.world.peer().listen(PORT, behaviour);
        self.connect(options).expect("the peer listens")
    }

    #[track_caller]
    pub fn connect(&self, options: Options) -> Result<Connection<'static, Net<K>>, Error> {
        self.block_on(self.net.connect((PEER_V4, PORT), options))
    }

    /// How many connections can be opened at present.
    pub fn free_slots(&self) -> usize {
        let mut listeners = Vec::new();
        while listeners.len() <= SLOTS
            && let Ok(listener) = self.net.listen(999, Options::default())
        {
            listeners.push(listener);
        }
        listeners.len()
    }
}

/// Polls once, with a waker that does nothing.
pub fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A future that is dropped after this many polls, if it has not completed by then.
pub struct UpTo<F> {
    future: Option<Pin<Box<F>>>,
    polls: u32,
}

impl<F: Future> Future for UpTo<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = self.future.as_mut().filter(|_| true) else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        self.polls -= 1;
        if self.polls > 0 {
            return Poll::Pending;
        }
        self.future = None;
        Poll::Ready(None)
    }
}

/// Drops `future` after this many polls; at once, if that is zero.
pub fn up_to<F: Future>(polls: u32, future: F) -> UpTo<F> {
    let future = (polls > 0).then(|| Box::pin(future));
    UpTo { future, polls }
}
