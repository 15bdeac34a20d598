//! What happens to our end from outside.

use std::time::Duration;

/// A segment that a third host sends, most of them in the peer's name.
///
/// Numbers are distances from those of our end: RCV.NXT, SND.NXT. None of the
/// distances is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// A RST that far beyond RCV.NXT.
    Rst(u32),
    /// A SYN at that distance.
    Syn(u32),
    /// An ACK that far beyond SND.NXT.
    Ack(u32),
    /// A FIN with data at that distance.
    Fin(u32),
    /// Data at RCV.NXT whose ACK number is older than any window, by so much.
    OldAck(u32),
    /// Data at this number, acknowledging that one.
    Blind {
        /// Its sequence number.
        seq: u32,
        /// Its ACK number.
        ack: u32,
    },
    /// While we connect: a SYN without ACK, of this number.
    BareSyn(u32),
    /// While we connect: a RST whose ACK number is that far off; 0: without ACK.
    WrongRst(u32),
    /// While we connect: this, with an ACK number that far off.
    WrongAnswer(Answer, u32),
    /// A RST in the window or an ACK beyond SND.NXT, that far, in two fragments.
    Fragments(Fragmented, u32),
    /// A RST at RCV.NXT whose checksum of this layer is wrong.
    Damaged(Layer),
    /// A SYN to this address, in place of ours, at our port; `true`: at a port
    /// without a listener.
    AstraySyn(Astray, bool),
    /// A SYN of a host that sends nothing after it.
    HalfOpen,
}

/// What an answer to our SYN looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// SYN and ACK.
    SynAck,
    /// FIN and ACK.
    FinAck,
    /// PSH and ACK, with data.
    PshAck,
    /// ACK alone.
    Ack,
}

/// What comes in fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragmented {
    /// A RST.
    Rst,
    /// An ACK.
    Ack,
}

/// A layer with a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The IPv4 header; TCP's where that is IPv6.
    Ip,
    /// TCP.
    Tcp,
}

/// Where or whence no segment of a connection can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Astray {
    /// To the broadcast address of our network; to all nodes in IPv6.
    Broadcast,
    /// To 255.255.255.255; to the group of our solicited node in IPv6.
    LimitedBroadcast,
    /// To a group of ours: all hosts.
    Group,
    /// To the loopback address.
    ToLoopback,
    /// From the loopback address, to ours.
    FromLoopback,
    /// From our own address, to it.
    FromOurselves,
}

/// Something that happens to our end from outside, at its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// The addresses of our interface are removed.
    AddressLost,
    /// The driver reports that the link is down; nothing passes.
    LinkDown,
    /// The driver reports that the link is up again.
    LinkUp,
    /// Our device's transmit queue stands still for so long: it takes no frame,
    /// and gives none.
    Stuck(Duration),
    /// A forged segment arrives.
    Forged(Forgery),
    /// So many forged segments arrive, one each so often.
    Storm {
        /// Which.
        forgery: Forgery,
        /// How many.
        times: u32,
        /// The pause between two.
        every: Duration,
    },
    /// A router says with ICMP that a segment in flight cannot be
    /// delivered; the code is that of "destination unreachable".
    Unreachable(u8),
    /// The peer's machine says with ICMPv6 that it does not know what follows the
    /// header of a segment in flight: a parameter problem of this code.
    ParameterProblem(u8),
    /// Like [`Unreachable`](Self::Unreachable), but addressed to another host.
    Misdirected(u8),
}
