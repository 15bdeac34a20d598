//! The meaning of the bytes of an input.

use arbitrary::{Arbitrary, Unstructured};

/// The maximum number of operations that are run, so that an input is quick.
pub const OPERATIONS: usize = 64;

/// The beginning of an input. Operations follow, up to its end.
#[derive(Debug, Arbitrary)]
pub struct Head {
    pub ethernet: bool,
    /// The checksums that are offloaded to the device, one bit each.
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

/// How a connection is opened, and with which options.
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
    /// The peer's address; only a few are on our link.
    pub target: u8,
}

/// The number of the connection.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub struct Which(u8);

impl Which {
    pub const COUNT: usize = 4;

    pub fn number(self) -> usize {
        usize::from(self.0) % Self::COUNT
    }
}

/// A number near a relevant one.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Number {
    Exact,
    Near(i8),
    Off(i16),
    Far(u32),
    /// A relevant number.
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

/// The fault of a frame.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Mangle {
    TcpChecksum,
    IpChecksum,
    Cut(u8),
    Padding(u8),
    Vlan,
    /// The fragment field of IPv4 (flags and offset), or a fragment header.
    Fragment(u16),
    /// The whole packet, in two IPv4 fragments; the first has this many times eight octets.
    Split(u8),
    /// An IPv6 header between the two, by its index in a list.
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

#[derive(Debug)]
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
    WriteMore(u16),
    TryWriteMore(u16),
    WriteMessage(u16),
    TryWriteMessage(u16),
    /// A query for room, and then a write of that much.
    Room,
    FinishWriting,
}

/// A call begins with a 32-bit number. Without this bit in it, its highest bits select
/// one of the first calls, like a derived implementation for those alone: so an
/// additional call changes no existing input. With this bit, its lowest bits select one
/// of the others.
const IS_OTHER: u32 = 1 << 7;
const FIRST_CALLS: u64 = 10;
const OTHER_CALLS: u32 = 6;

impl<'a> Arbitrary<'a> for Call {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let choice = u32::arbitrary(input)?;
        if choice & IS_OTHER != 0 {
            return Ok(match (choice & (IS_OTHER - 1)) % OTHER_CALLS {
                0 => Self::WriteMore(u16::arbitrary(input)?),
                1 => Self::TryWriteMore(u16::arbitrary(input)?),
                2 => Self::WriteMessage(u16::arbitrary(input)?),
                3 => Self::TryWriteMessage(u16::arbitrary(input)?),
                4 => Self::Room,
                _ => Self::FinishWriting,
            });
        }
        Ok(match (u64::from(choice) * FIRST_CALLS) >> 32 {
            0 => Self::TryWrite(u16::arbitrary(input)?),
            1 => Self::Write(u16::arbitrary(input)?),
            2 => Self::WriteWith(u16::arbitrary(input)?),
            3 => Self::Read(u8::arbitrary(input)?),
            4 => Self::Flush,
            5 => Self::BeginFinish,
            6 => Self::Finish,
            7 => Self::Abort,
            8 => Self::Release,
            _ => Self::Report,
        })
    }
}

#[derive(Debug, Arbitrary)]
pub enum Event {
    /// This time, in seconds and milliseconds, passes while the stack is polled.
    Run(u8, u8),
    /// This time passes while it is not polled.
    Sleep(u8, u8),
    AddressesGone,
    AddressesBack,
    Link(bool),
    Neighbours(bool),
    Poll,
    /// The device's transmit queue is stalled; `false`: it runs again.
    Stuck(bool),
}

/// A SYN for no connection.
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
    /// The peer receives everything and acknowledges it.
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
