//! What the bytes of an input mean.

use arbitrary::Arbitrary;

/// Operations beyond these are not carried out: an input is to be quick.
pub const OPERATIONS: usize = 64;

/// What an input begins with. Operations follow, up to its end.
#[derive(Debug, Arbitrary)]
pub struct Head {
    pub ethernet: bool,
    /// The checksums that the device takes care of, a bit each.
    pub offload: u8,
    pub tx: BufferSize,
    pub rx: BufferSize,
    pub first: Opening,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum BufferSize {
    Tiny,
    Small,
    Medium,
    Large,
}

impl BufferSize {
    pub const fn octets(self) -> usize {
        match self {
            Self::Tiny => 1,
            Self::Small => 64,
            Self::Medium => 300,
            Self::Large => 2048,
        }
    }
}

/// How a connection is opened, and with what options.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub struct Opening {
    pub listen: bool,
    pub ipv6: bool,
    pub half_close: bool,
    pub keep: bool,
    pub keep_alive: bool,
    pub short_limits: bool,
    pub nagle_off: bool,
    /// Whether the peer completes the handshake at once.
    pub handshake: bool,
    pub window: u16,
    pub isn: Number,
    /// Where to connect to: few of them are the peer's neighbours.
    pub target: u8,
}

/// Which of the connections.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub struct Which(u8);

impl Which {
    pub const COUNT: usize = 4;

    pub fn number(self) -> usize {
        usize::from(self.0) % Self::COUNT
    }
}

/// A number in the neighbourhood of one that matters.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Number {
    Exact,
    Near(i8),
    Off(i16),
    Far(u32),
    /// Whatever matters.
    Blind(u32),
}

impl Number {
    pub const fn from(self, base: u32) -> u32 {
        match self {
            Self::Exact => base,
            Self::Near(off) => base.wrapping_add_signed(off as i32),
            Self::Off(off) => base.wrapping_add_signed(off as i32),
            Self::Far(off) => base.wrapping_add(off),
            Self::Blind(number) => number,
        }
    }
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum SeqOf {
    RcvNxt(Number),
    WindowEdge(Number),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum AckOf {
    SndNxt(Number),
    SndUna(Number),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Control {
    Ack,
    Data,
    FinAck,
    Rst,
    RstAck,
    Syn,
    SynAck,
    /// Any combination of bits.
    Bits(u8),
}

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Mangle {
    TcpChecksum,
    IpChecksum,
    Cut(u8),
    Padding(u8),
    Vlan,
    /// The fragment field of IPv4 (flags and offset), or a fragment header.
    Fragment(u16),
    /// All of it, in two fragments of IPv4; the first has so many times eight octets.
    Split(u8),
    /// A header of IPv6 between the two: its number, its place in a list.
    Extension(u8),
    ForeignMac,
    BroadcastMac,
    OtherPort,
    OtherAddress,
    Flip {
        at: u16,
        bits: u8,
    },
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub struct SegmentOf {
    pub control: Control,
    pub seq: SeqOf,
    pub ack: AckOf,
    pub window: u16,
    pub len: u16,
    pub mangle: Option<Mangle>,
}

#[derive(Debug, Arbitrary)]
pub enum Call {
    TryWrite(u16),
    Write(u16),
    WriteWith(u16),
    Read(u8),
    Flush,
    BeginFinish,
    Finish,
    Abort,
    Release,
    Report,
}

#[derive(Debug, Arbitrary)]
pub enum Event {
    /// Seconds and milliseconds pass while the stack is polled.
    Run(u8, u8),
    /// They pass while it is not.
    Sleep(u8, u8),
    AddressesGone,
    AddressesBack,
    Link(bool),
    Neighbours(bool),
    Poll,
    /// The device's transmit queue stands still; `false`: it moves again.
    Stuck(bool),
}

/// A SYN that concerns no connection.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Astray {
    Broadcast,
    LimitedBroadcast,
    Group,
    ToLoopback,
    FromLoopback,
    FromOurselves,
    FromMapped,
    Stranger,
}

#[derive(Debug, Arbitrary)]
pub enum Operation {
    Segment {
        which: Which,
        poll: bool,
        segment: SegmentOf,
    },
    Call {
        which: Which,
        call: Call,
    },
    /// The peer takes in everything and says so.
    AckAll {
        which: Which,
        window: u16,
    },
    Icmp {
        which: Which,
        code: u8,
        seq: AckOf,
        len: u8,
    },
    Event(Event),
    Reopen {
        which: Which,
        opening: Opening,
    },
    Astray {
        which: Which,
        astray: Astray,
        ipv6: bool,
        poll: bool,
    },
    Raw {
        bytes: Vec<u8>,
        poll: bool,
    },
}
