//! The client on `lastbyte::asynch`, with an executor of two tasks: the client and the runner.
#![no_std]
#![no_main]

use budgets::board::{self, Stack as CallStack};
use budgets::client::{Aligned, CONNECTIONS, Client, PORT, RX, TX, Ticks, measure};
use budgets::mac::{Frames, Mac, OUR_ADDRESS, OUR_MAC, PEER_ADDRESS};
use core::cell::Cell;
use core::future::{Future, pending};
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use lastbyte::asynch::{Alarm, Connection, Now, Shared};
use lastbyte::stack::smoltcp::iface::SocketStorage;
use lastbyte::stack::smoltcp::wire::IpCidr;
use lastbyte::stack::{Buffers, Config};
use lastbyte::{Instant, Options};
use static_cell::{ConstStaticCell, StaticCell};

budgets::program!(run);

/// A clock of milliseconds, which each read advances by one.
struct Time(Cell<u32>);

impl Now for Time {
    fn now(&self) -> Instant {
        let mut ticks = Ticks::at(self.0.get());
        self.0.set(ticks.tick());
        Instant::from_millis(u64::from(self.0.get()))
    }
}

/// Never ends by itself: the executor polls the runner while the client waits.
struct Busy;

impl Alarm for Busy {
    async fn wait(&mut self, _until: Option<Instant>) {
        pending().await
    }
}

/// Whether the client was woken. The runner is polled whenever the client waits.
static WOKEN: AtomicBool = AtomicBool::new(false);
static VTABLE: RawWakerVTable = RawWakerVTable::new(|_| RAW, |_| wake(), |_| wake(), |_| ());
const RAW: RawWaker = RawWaker::new(core::ptr::null(), &VTABLE);

fn wake() {
    WOKEN.store(true, Relaxed);
}

type Net = Shared<'static, Mac, Time, CONNECTIONS>;

/// The runner lives in the frame of `run`, which never ends.
struct Tasks<'r> {
    net: &'static Net,
    connections: [Option<Connection<'static, Net>>; CONNECTIONS],
    runner: Pin<&'r mut dyn Future<Output = ()>>,
}

/// Runs a task, and the runner while it waits.
fn block_on<T>(runner: &mut Pin<&mut dyn Future<Output = ()>>, task: impl Future<Output = T>) -> T {
    // SAFETY: the functions in the table use no pointer.
    let waker = unsafe { Waker::from_raw(RAW) };
    let mut cx = Context::from_waker(&waker);
    let mut task = pin!(task);
    loop {
        WOKEN.store(false, Relaxed);
        if let Poll::Ready(value) = task.as_mut().poll(&mut cx) {
            return value;
        }
        while !WOKEN.load(Relaxed) {
            let mut cx = Context::from_waker(Waker::noop());
            if runner.as_mut().poll(&mut cx).is_ready() {
                board::fail();
            }
        }
    }
}

impl Client for Tasks<'_> {
    fn open(&mut self) {
        for connection in &mut self.connections {
            *connection = None;
            let opening = self.net.connect((PEER_ADDRESS, PORT), Options::DEFAULT);
            // After any error, the next write finds no connection and comes here.
            *connection = block_on(&mut self.runner, opening).ok();
        }
    }

    fn write(&mut self, connection: usize, bytes: &[u8]) -> Option<usize> {
        let connection = self.connections.get_mut(connection)?.as_mut()?;
        let (writer, _) = connection.split();
        block_on(&mut self.runner, writer.write(bytes)).ok()
    }
}

static BUFFERS: ConstStaticCell<Aligned<Buffers<CONNECTIONS, TX, RX>>> =
    ConstStaticCell::new(Aligned(Buffers::new()));
static FRAMES: ConstStaticCell<Frames> = ConstStaticCell::new(Frames::new());
static STORAGE: ConstStaticCell<[SocketStorage<'static>; CONNECTIONS]> =
    ConstStaticCell::new([SocketStorage::EMPTY; CONNECTIONS]);
static NET: StaticCell<Net> = StaticCell::new();

fn run(call_stack: &CallStack) -> ! {
    let config = Config::new(OUR_MAC.into(), 1);
    let net = Net::new(
        Mac::new(FRAMES.take()),
        Time(Cell::new(0)),
        config,
        BUFFERS.take().0.split(),
        STORAGE.take(),
    );
    let Ok(net) = net else {
        board::fail();
    };
    let net: &'static Net = NET.init(net);
    let set = net.with_network(|network| {
        network.interface.update_ip_addrs(|all| {
            all.push(IpCidr::new(OUR_ADDRESS.into(), 24)).unwrap_or(());
        });
    });
    if set.is_err() {
        board::fail();
    }
    let runner = pin!(async {
        net.run(Busy).await;
    });
    let mut tasks = Tasks {
        net,
        connections: [const { None }; CONNECTIONS],
        runner,
    };
    measure(&mut tasks, call_stack)
}
