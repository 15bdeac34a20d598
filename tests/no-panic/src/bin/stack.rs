//! Calls everything public of `lastbyte::stack` with values that the compiler cannot
//! know. The judge (`judge/`) checks that `lastbyte` causes no panic in it.
//!
//! smoltcp has panics of its own, which are in this program, so the linker's proof of
//! `core.rs` does not work here. The handler below uses the place of a panic, so that the
//! optimiser keeps it. The program is never run.
#![no_std]
#![no_main]

#[path = "../asynch.rs"]
mod asynch;

use core::fmt::Write as _;
use core::hint::black_box;
use core::panic::PanicInfo;
use core::time::Duration;
use embedded_io::{
    BufRead as _, Error as _, Read as _, ReadReady as _, Write as _, WriteReady as _,
};
use lastbyte::core::Nagle;
use lastbyte::stack::smoltcp::iface::{Interface, SocketHandle, SocketSet, SocketStorage};
use lastbyte::stack::smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use lastbyte::stack::smoltcp::wire::{EthernetAddress, IpAddress, IpCidr, IpEndpoint};
use lastbyte::stack::smoltcp::{iface, socket::tcp, time};
use lastbyte::stack::{
    Buffers, Config, ConfigError, ConnectionId, Error, Net, OpenError, Reader, Stack, Tracker,
    UnknownConnection, Writer, boot_seed,
};
use lastbyte::{Clock, Instant, OnPeerFin, OnReceive, Options, ReadError, WriteError};

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    used(info.location());
    loop {}
}

/// A value that the compiler does not know.
fn any<T>(some: T) -> T {
    black_box(some)
}

/// Makes a computed value count as used.
fn used<T>(value: T) {
    let _ = black_box(value);
}

struct Board {
    frame: [u8; 1514],
}

struct Token<'b>(&'b mut [u8; 1514]);

impl RxToken for Token<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0.get(..any(60)).unwrap_or(&[]))
    }
}

impl TxToken for Token<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let result = f(self.0.get_mut(..len).unwrap_or(&mut []));
        used(self.0);
        result
    }
}

impl Device for Board {
    type RxToken<'t> = Token<'t>;
    type TxToken<'t> = Token<'t>;

    fn receive(&mut self, _: time::Instant) -> Option<(Token<'_>, Token<'_>)> {
        // One frame for both, because this never runs.
        let frame = any(&raw mut self.frame);
        // SAFETY: it is not run.
        any(true).then(|| unsafe { (Token(&mut *frame), Token(&mut *frame)) })
    }

    fn transmit(&mut self, _: time::Instant) -> Option<Token<'_>> {
        any(true).then_some(Token(&mut self.frame))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = any(1514);
        capabilities
    }
}

struct Ticks;

impl Clock for Ticks {
    fn now(&mut self) -> Instant {
        Instant::from_micros(any(0))
    }

    fn wait(&mut self, until: Option<Instant>) {
        used(until);
    }
}

type OurStack<'a> = Stack<'a, Board, Ticks, 2>;

/// The entry point, from which the linker finds what is used.
#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    loop {
        with_stack();
        with_tracker();
        asynch::with_shared();
        errors();
        #[cfg(feature = "sabotage")]
        sabotage::all();
    }
}

fn config() -> Config {
    let address = EthernetAddress(any([2, 0, 0, 0, 0, 1]));
    let seed = boot_seed(&any([0; 16]), any(0));
    Config::new(address.into(), seed).local_ports(any(1)..=any(2))
}

fn address() -> IpAddress {
    #[cfg(feature = "ipv6")]
    if any(true) {
        return IpAddress::v6(any(0), 0, 0, 0, 0, 0, 0, 1);
    }
    IpAddress::v4(any(10), 0, 0, 2)
}

fn options() -> Options {
    Options::builder()
        .user_timeout(any(Duration::ZERO))
        .keep_alive(any(Duration::ZERO))
        .on_peer_fin(any(OnPeerFin::Refuse))
        .on_receive(any(OnReceive::Keep))
        .nagle(any(Nagle::On))
        .build()
        .unwrap_or_default()
}

fn set_addresses(interface: &mut Interface) {
    interface.update_ip_addrs(|all| {
        all.push(IpCidr::new(address(), 24)).unwrap_or(());
    });
}

fn with_stack() {
    let mut buffers = any(Buffers::<2, 2048, 512>::new());
    let mut storage = [SocketStorage::EMPTY; 3];
    let board = Board {
        frame: any([0; 1514]),
    };
    let storage = storage.get_mut(any(0)..).unwrap_or(&mut []);
    match Stack::new(board, Ticks, config(), buffers.split(), storage) {
        Ok(mut stack) => {
            set_addresses(stack.interface_mut());
            let mut id = None;
            while any(true) {
                used(call_stack(&mut stack, &mut id));
                used(&mut stack);
            }
        }
        Err(error) => used(error),
    }
}

fn call_stack(stack: &mut OurStack<'_>, held: &mut Option<ConnectionId>) -> Result<(), Error> {
    if any(false) {
        *held = Some(stack.connect((address(), any(80)), options())?);
    }
    if any(false) {
        *held = Some(stack.listen(any(80), options())?);
    }
    let Some(id) = any(*held) else {
        return Ok(());
    };
    match any(0_u8) {
        0 => used((stack.sockets_mut(), any(0))),
        1 => used((stack.device_mut(), any(0))),
        2 => used((stack.clock_mut(), any(0))),
        3 => stack.set_link(any(true)),
        4 => stack.wait_open(id)?,
        5 => used(stack.poll()),
        6 => stack.wait(Instant::from_micros(any(0))),
        7 => stack.run_for(any(Duration::ZERO)),
        8 => used(stack.state(id)?),
        9 => used(stack.report(id)?),
        10 => used(stack.poll_advice(id)?),
        11 => used(stack.endpoints(id)?),
        12 => used(stack.release(id)?),
        13 => call_reader(stack.reader(id)?).map_err(|_| UnknownConnection)?,
        _ => call_writer(stack.writer(id)?)?,
    }
    Ok(())
}

fn call_writer(mut writer: Writer<'_, OurStack<'_>>) -> Result<(), Error> {
    let bytes = any(&[0_u8; 64][..]);
    match any(0_u8) {
        0 => used(writer.try_write(bytes)?),
        1 => used(writer.write_with(|room| {
            used(room);
            any(0)
        })?),
        2 => writer.begin_finish(),
        3 => used(writer.finished()),
        4 => used(writer.finish()?),
        5 => used(writer.abort()?),
        6 => used(writer.state()),
        7 => used(writer.progress()?),
        8 => used(writer.report()?),
        9 => used(writer.id()),
        10 => used(writer.write(bytes)?),
        11 => writer.flush()?,
        12 => used(writer.write_ready()?),
        _ => {
            let mut scoped = writer.scoped();
            used(scoped.try_write(bytes)?);
            match any(0_u8) {
                0 => used(scoped.finish()?),
                1 => used(scoped.abort()?),
                _ => drop(scoped),
            }
        }
    }
    Ok(())
}

fn call_reader(mut reader: Reader<'_, OurStack<'_>>) -> Result<(), ReadError> {
    let mut into = any([0_u8; 64]);
    match any(0_u8) {
        0 => used(reader.try_read(&mut into)?),
        1 => used(reader.id()),
        2 => used(reader.read(&mut into)?),
        3 => used(reader.fill_buf()?),
        4 => reader.consume(any(0)),
        _ => used(reader.read_ready()?),
    }
    used(into);
    Ok(())
}

fn with_tracker() {
    let (mut rx, mut tx) = (any([0; 512]), any([0; 2048]));
    let mut board = Board {
        frame: any([0; 1514]),
    };
    let config = config();
    let mut interface = Interface::new(
        iface::Config::new(EthernetAddress([2, 0, 0, 0, 0, 1]).into()),
        &mut board,
        time::Instant::ZERO,
    );
    set_addresses(&mut interface);
    let mut storage = [SocketStorage::EMPTY];
    let mut sockets = SocketSet::new(&mut storage[..]);
    let handle: SocketHandle = sockets.add(tcp::Socket::new(
        tcp::SocketBuffer::new(&mut rx[..]),
        tcp::SocketBuffer::new(&mut tx[..]),
    ));
    let Ok(mut tracker) = Tracker::<1>::new(&config, &board, [handle]) else {
        return;
    };
    let mut id = None;
    while any(true) {
        let mut net = Net {
            interface: &mut interface,
            sockets: &mut sockets,
            device: &mut board,
            now: Instant::from_micros(any(0)),
        };
        used(call_tracker(&mut tracker, &mut net, &mut id));
        used(&mut tracker);
    }
}

fn call_steps(tracker: &mut Tracker<1>, net: &mut Net<'_, '_, Board>) -> bool {
    let mut steps = tracker.steps(net);
    let taken = steps.take_in();
    used(steps.sockets());
    used(&mut steps);
    taken | steps.send()
}

fn call_tracker(
    tracker: &mut Tracker<1>,
    net: &mut Net<'_, '_, Board>,
    held: &mut Option<ConnectionId>,
) -> Result<(), Error> {
    let now = net.now;
    match any(0_u8) {
        0 => *held = Some(tracker.connect(net, IpEndpoint::new(address(), any(80)), options())?),
        1 => *held = Some(tracker.listen(net, any(80).into(), options())?),
        2 => tracker.poll(net),
        3 => used(tracker.poll_at(net)),
        4 => used(call_steps(tracker, net)),
        7 => tracker.set_link(any(true)),
        _ => {}
    }
    let Some(id) = any(*held) else {
        return Ok(());
    };
    let bytes = any(&[0_u8; 64][..]);
    match any(0_u8) {
        0 => used(tracker.try_write(net, id, bytes)?),
        1 => used(tracker.write_with(net, id, |room| {
            used(room);
            any(0)
        })?),
        2 => used(tracker.write_ready(net, id)?),
        3 => tracker.begin_finish(net, id)?,
        4 => used(tracker.finished(id, now)?),
        5 => used(tracker.abort(net, id)?),
        6 => used(tracker.release(net, id)?),
        7 => used(tracker.state(id)?),
        8 => used(tracker.progress(net.sockets, id)?),
        9 => used(tracker.report(id, now)?),
        10 => used(tracker.poll_advice(id)?),
        11 => used(tracker.endpoints(id)?),
        _ => {
            let mut into = any([0; 64]);
            used(tracker.try_read(net.sockets, id, &mut into));
            used(into);
        }
    }
    Ok(())
}

/// Accepts text and discards it.
struct Sink;

impl core::fmt::Write for Sink {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        used(text);
        if any(false) {
            Err(core::fmt::Error)
        } else {
            Ok(())
        }
    }
}

fn print(what: impl core::fmt::Display + core::fmt::Debug) {
    used(write!(Sink, "{what} {what:?}"));
}

fn errors() {
    print(any(ConfigError::MtuTooSmall { mtu: any(0) }));
    print(any(OpenError::NoRoute));
    print(any(UnknownConnection));
    let error = any(Error::from(OpenError::NoRoute));
    used((
        error.kind(),
        any(OpenError::NoRoute).kind(),
        UnknownConnection.kind(),
    ));
    print(error);
    print(WriteError::from(UnknownConnection));
}

/// Deliberate panics, one for each method of finding them.
#[cfg(feature = "sabotage")]
mod sabotage {
    use super::{any, used};
    use core::time::Duration;

    pub(super) fn all() {
        place();
        inside();
    }

    /// An unchecked index: it contains its place.
    #[inline(never)]
    fn place() {
        let table = any([0_u8; 4]);
        used(table[any(0_usize)]);
    }

    /// A sum that overflows inside of `core`, without a place of ours.
    #[inline(never)]
    fn inside() {
        used(any(Duration::ZERO) + any(Duration::ZERO));
    }
}
