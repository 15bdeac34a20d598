//! The client on lastbyte, with every feature.
#![no_std]
#![no_main]

use budgets::board::{self, Stack as CallStack};
use budgets::client::{Aligned, CONNECTIONS, Client, PORT, RX, TX, Ticks, measure};
use budgets::mac::{Frames, Mac, OUR_ADDRESS, OUR_MAC, PEER_ADDRESS};
use embedded_io::Write as _;
use lastbyte::Options;
use lastbyte::stack::smoltcp::iface::SocketStorage;
use lastbyte::stack::smoltcp::wire::IpCidr;
use lastbyte::stack::{Buffers, Config, ConnectionId, Error, Stack};
use static_cell::{ConstStaticCell, StaticCell};

budgets::program!(run);

struct Writer {
    stack: Stack<'static, Mac, Ticks, CONNECTIONS>,
    ids: [Option<ConnectionId>; CONNECTIONS],
}

impl Writer {
    fn try_open(&mut self) -> Result<(), Error> {
        for id in &mut self.ids {
            if let Some(ended) = id.take() {
                self.stack.release(ended)?;
            }
            let new = self
                .stack
                .connect((PEER_ADDRESS, PORT), Options::default())?;
            *id = Some(new);
            self.stack.wait_open(new)?;
        }
        Ok(())
    }
}

impl Client for Writer {
    fn open(&mut self) {
        // Whatever the error, the next write finds no connection and gets here.
        self.try_open().unwrap_or(());
    }

    fn write(&mut self, connection: usize, bytes: &[u8]) -> Option<usize> {
        let id = (*self.ids.get(connection)?)?;
        self.stack.writer(id).ok()?.write(bytes).ok()
    }
}

static BUFFERS: ConstStaticCell<Aligned<Buffers<CONNECTIONS, TX, RX>>> =
    ConstStaticCell::new(Aligned(Buffers::new()));
static FRAMES: ConstStaticCell<Frames> = ConstStaticCell::new(Frames::new());
static STORAGE: ConstStaticCell<[SocketStorage<'static>; CONNECTIONS]> =
    ConstStaticCell::new([SocketStorage::EMPTY; CONNECTIONS]);
static CLIENT: StaticCell<Writer> = StaticCell::new();

fn run(call_stack: &CallStack) -> ! {
    let buffers = BUFFERS.take().0.split();
    let storage = STORAGE.take();
    let client = CLIENT.init_with(|| {
        let config = Config::new(OUR_MAC.into(), 1);
        let Ok(mut stack) = Stack::new(
            Mac::new(FRAMES.take()),
            Ticks::new(),
            config,
            buffers,
            storage,
        ) else {
            board::fail();
        };
        stack.interface_mut().update_ip_addrs(|all| {
            all.push(IpCidr::new(OUR_ADDRESS.into(), 24)).unwrap_or(());
        });
        Writer {
            stack,
            ids: [None; CONNECTIONS],
        }
    });
    measure(client, call_stack)
}
