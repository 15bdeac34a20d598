//! A wire of two queues, a settable clock, and segments: only what these tests need,
//! because the loopback of the workspace enables everything for lastbyte.

use lastbyte::stack::{Config, ConfigError, SlotBuffers, Stack};
use lastbyte::{Clock, Instant};
use smoltcp::iface::SocketStorage;
use smoltcp::phy::{self, ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::wire::{
    EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpProtocol, IpRepr, Ipv4Packet,
    Ipv6Packet, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// Our end's device, and its frames.
#[derive(Debug, Clone)]
pub struct Wire {
    medium: Medium,
    to_us: Rc<RefCell<VecDeque<Vec<u8>>>>,
    from_us: Rc<RefCell<VecDeque<Vec<u8>>>>,
}

impl Wire {
    #[must_use]
    pub fn new(medium: Medium) -> Self {
        Self {
            medium,
            to_us: Rc::default(),
            from_us: Rc::default(),
        }
    }

    pub fn send(&self, frame: Vec<u8>) {
        self.to_us.borrow_mut().push_back(frame);
    }

    /// What our end sent next.
    #[must_use]
    pub fn recv(&self) -> Option<Vec<u8>> {
        self.from_us.borrow_mut().pop_front()
    }
}

pub struct RxToken(Vec<u8>);

impl phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

pub struct TxToken(Wire);

impl phy::TxToken for TxToken {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.from_us.borrow_mut().push_back(frame);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(RxToken, TxToken)> {
        let frame = self.to_us.borrow_mut().pop_front()?;
        Some((RxToken(frame), TxToken(self.clone())))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<TxToken> {
        Some(TxToken(self.clone()))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = self.medium;
        capabilities.max_transmission_unit = 1_500;
        capabilities
    }
}

/// A clock that advances when it waits.
#[derive(Debug, Clone)]
pub struct Hand(Rc<Cell<Instant>>);

impl Default for Hand {
    fn default() -> Self {
        // An odd hour: 3 h 17 min 41.123457 s.
        Self(Rc::new(Cell::new(Instant::from_micros(11_861_123_457))))
    }
}

impl Clock for Hand {
    fn now(&mut self) -> Instant {
        self.0.get()
    }

    fn wait(&mut self, until: Option<Instant>) {
        let hour = self.0.get() + Duration::from_secs(3_600);
        self.0.set(until.unwrap_or(hour).max(self.0.get()));
    }
}

/// A segment of the peer as an IP packet.
#[must_use]
pub fn packet(
    (from, to): (IpAddress, IpAddress),
    ports: (u16, u16),
    control: TcpControl,
    seq: i32,
    ack: Option<i32>,
) -> Vec<u8> {
    let tcp = TcpRepr {
        src_port: ports.0,
        dst_port: ports.1,
        control,
        seq_number: TcpSeqNumber(seq),
        ack_number: ack.map(TcpSeqNumber),
        window_len: 1_000,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let ip = IpRepr::new(from, to, IpProtocol::Tcp, tcp.buffer_len(), 64);
    let mut bytes = vec![0; ip.header_len() + tcp.buffer_len()];
    let checksums = ChecksumCapabilities::default();
    ip.emit(&mut bytes, &checksums);
    let mut segment = TcpPacket::new_unchecked(&mut bytes[ip.header_len()..]);
    tcp.emit(&mut segment, &from, &to, &checksums);
    bytes
}

/// Control, sequence and ACK number of a segment of ours.
#[must_use]
pub fn numbers(packet: &[u8]) -> Option<(bool, bool, i32, i32)> {
    let payload = match packet.first()? >> 4 {
        4 => Ipv4Packet::new_checked(packet).ok()?.payload(),
        _ => Ipv6Packet::new_checked(packet).ok()?.payload(),
    };
    let tcp = TcpPacket::new_checked(payload).ok()?;
    Some((tcp.syn(), tcp.rst(), tcp.seq_number().0, tcp.ack_number().0))
}

/// Our port.
pub const PORT: u16 = 80;

pub type Ours = Stack<'static, Wire, Hand, 1>;

/// Our end, with addresses of both versions.
///
/// # Errors
///
/// What lastbyte refuses.
pub fn made(medium: Medium) -> Result<(Ours, Wire), ConfigError> {
    let wire = Wire::new(medium);
    let address = match medium {
        Medium::Ip => HardwareAddress::Ip,
        Medium::Ethernet => EthernetAddress([2, 0, 0, 0, 0, 1]).into(),
    };
    let buffers = [SlotBuffers {
        tx: vec![0; 1_000].leak(),
        rx: vec![0; 1_000].leak(),
    }];
    let storage = vec![SocketStorage::EMPTY].leak();
    let config = Config::new(address, 42);
    let mut stack = Stack::new(wire.clone(), Hand::default(), config, buffers, storage)?;
    stack.interface_mut().update_ip_addrs(|list| {
        for version in [Version::V4, Version::V6] {
            let prefix = if version == Version::V4 { 24 } else { 64 };
            let cidr = IpCidr::new(version.ours(), prefix);
            list.push(cidr).expect("room");
        }
    });
    Ok((stack, wire))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V4,
    V6,
}

impl Version {
    /// The version that lastbyte was built for.
    pub const BUILT: Self = if cfg!(feature = "ipv4") {
        Self::V4
    } else {
        Self::V6
    };

    /// The other version.
    pub const OTHER: Self = if cfg!(feature = "ipv4") {
        Self::V6
    } else {
        Self::V4
    };

    #[must_use]
    pub fn ours(self) -> IpAddress {
        match self {
            Self::V4 => IpAddress::v4(10, 77, 0, 2),
            Self::V6 => IpAddress::v6(0xfd77, 0, 0, 0, 0, 0, 0, 2),
        }
    }

    #[must_use]
    pub fn peers(self) -> IpAddress {
        match self {
            Self::V4 => IpAddress::v4(10, 77, 0, 1),
            Self::V6 => IpAddress::v6(0xfd77, 0, 0, 0, 0, 0, 0, 1),
        }
    }

    /// A segment of the peer's.
    #[must_use]
    pub fn from_peer(self, control: TcpControl, seq: i32, ack: Option<i32>) -> Vec<u8> {
        packet((self.peers(), self.ours()), (100, PORT), control, seq, ack)
    }
}

/// The version that lastbyte was built for.
pub const BUILT_MEDIUM: Medium = if cfg!(feature = "ip") {
    Medium::Ip
} else {
    Medium::Ethernet
};

/// The other version.
pub const OTHER_MEDIUM: Medium = if cfg!(feature = "ip") {
    Medium::Ethernet
} else {
    Medium::Ip
};
