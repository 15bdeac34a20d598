//! A wire inside the process, with a bare smoltcp endpoint that reads at its other end:
//! the cost of sending without a kernel.

use lastbyte::Clock;
use lastbyte_sim::loopback::smoltcp_time;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr, Ipv4Address};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant as HostInstant;

pub const OUR_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
pub const OUR_V4: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
pub const PEER_V4: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);
pub const PREFIX: u8 = 24;
const PEER_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 2]);

/// The longest Ethernet frame.
const MAX_FRAME: usize = 1514;
/// The receive buffer of the peer.
const PEER_BUFFER: usize = 4 << 20;

/// Frames in flight in one direction, and the memory of those that arrived.
#[derive(Debug, Default)]
struct Lane {
    frames: VecDeque<Vec<u8>>,
    spent: Vec<Vec<u8>>,
}

/// One end of the wire.
#[derive(Debug)]
pub struct End {
    incoming: Rc<RefCell<Lane>>,
    outgoing: Rc<RefCell<Lane>>,
}

/// Both ends of a wire.
fn wire() -> (End, End) {
    let (there, back) = (Rc::default(), Rc::default());
    let ours = End {
        incoming: Rc::clone(&back),
        outgoing: Rc::clone(&there),
    };
    let theirs = End {
        incoming: there,
        outgoing: back,
    };
    (ours, theirs)
}

impl Device for End {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MAX_FRAME;
        capabilities
    }

    fn receive(&mut self, _: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        let frame = self.incoming.borrow_mut().frames.pop_front()?;
        let rx = RxToken {
            frame,
            lane: &self.incoming,
        };
        Some((rx, TxToken(&self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        Some(TxToken(&self.outgoing))
    }
}

/// A frame that arrived.
#[derive(Debug)]
pub struct RxToken<'a> {
    frame: Vec<u8>,
    lane: &'a RefCell<Lane>,
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let result = f(&self.frame);
        self.lane.borrow_mut().spent.push(self.frame);
        result
    }
}

/// Permission to send a frame.
#[derive(Debug)]
pub struct TxToken<'a>(&'a RefCell<Lane>);

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = self.0.borrow_mut().spent.pop().unwrap_or_default();
        frame.resize(len, 0);
        let result = f(&mut frame);
        self.0.borrow_mut().frames.push_back(frame);
        result
    }
}

/// Called with what was read.
pub type See = Box<dyn FnMut(&[u8])>;

/// A bare smoltcp endpoint that acknowledges and reads everything.
pub struct Reader {
    device: End,
    interface: Interface,
    sockets: SocketSet<'static>,
    handles: Vec<SocketHandle>,
    /// What it has read.
    pub received: u64,
    see: See,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader that listens at `port` for this many connections, and our end of the wire
    /// to it. `see` is called with what it reads.
    pub fn new(port: u16, connections: usize, see: See) -> (Self, End) {
        let (ours, mut device) = wire();
        let mut interface =
            Interface::new(Config::new(PEER_MAC.into()), &mut device, Instant::ZERO);
        interface.update_ip_addrs(|own| {
            let _ = own.push(IpCidr::new(PEER_V4.into(), PREFIX));
        });
        let mut sockets = SocketSet::new(vec![]);
        let room = PEER_BUFFER / connections;
        let handles = (0..connections)
            .map(|_| {
                let buffer = |len| tcp::SocketBuffer::new(vec![0; len]);
                let mut socket = tcp::Socket::new(buffer(room), buffer(64));
                socket.set_ack_delay(None);
                let listens = socket.listen(port);
                debug_assert!(listens.is_ok());
                sockets.add(socket)
            })
            .collect();
        let reader = Self {
            device,
            interface,
            sockets,
            handles,
            received: 0,
            see,
        };
        (reader, ours)
    }

    /// Processes what was sent, reads it, and answers.
    pub fn poll(&mut self, now: Instant) {
        if self.device.incoming.borrow().frames.is_empty() {
            return;
        }
        self.interface
            .poll(now, &mut self.device, &mut self.sockets);
        for handle in &self.handles {
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(*handle);
            while socket.recv_queue() > 0 {
                let Ok(len) = socket.recv(|bytes| {
                    (self.see)(bytes);
                    (bytes.len(), bytes.len())
                }) else {
                    break;
                };
                self.received += len as u64;
            }
        }
    }
}

/// A clock whose waits run the reader.
#[derive(Debug, Clone)]
pub struct ReaderClock {
    reader: Rc<RefCell<Reader>>,
    time: Time,
}

/// The source of the time.
#[derive(Debug, Clone, Copy)]
pub enum Time {
    /// The host's clock, since this instant.
    Since(HostInstant),
    /// A counter: each query is a microsecond later, so that every run is the same.
    Counted(u64),
}

impl ReaderClock {
    pub fn new(reader: Rc<RefCell<Reader>>, time: Time) -> Self {
        Self { reader, time }
    }
}

impl Clock for ReaderClock {
    fn now(&mut self) -> lastbyte::Instant {
        match &mut self.time {
            Time::Since(started) => lastbyte::Instant::ZERO + started.elapsed(),
            Time::Counted(micros) => {
                *micros += 1;
                lastbyte::Instant::from_micros(*micros)
            }
        }
    }

    fn wait(&mut self, _: Option<lastbyte::Instant>) {
        let now = smoltcp_time(self.now());
        self.reader.borrow_mut().poll(now);
    }
}
