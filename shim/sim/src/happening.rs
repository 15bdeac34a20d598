//! What happens to our end from outside.

use std::time::Duration;

/// A segment that a third host sends, mostly with the peer's address.
///
/// Numbers are distances from our end's RCV.NXT and SND.NXT. None of the distances is
/// zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// A RST at this distance beyond RCV.NXT.
    Rst(u32),
    /// A SYN at this distance.
    Syn(u32),
    /// An ACK of this distance beyond SND.NXT.
    Ack(u32),
    /// A FIN with data at this distance.
    Fin(u32),
    /// Data at RCV.NXT whose ACK number is older than any window by this much.
    OldAck(u32),
    /// Data at `seq` with the ACK number `ack`.
    Blind {
        /// Its sequence number.
        seq: u32,
        /// Its ACK number.
        ack: u32,
    },
    /// While we connect: a SYN without ACK, of this number.
    BareSyn(u32),
    /// While we connect: a RST whose ACK number is wrong by this much; 0: without ACK.
    WrongRst(u32),
    /// While we connect: this answer, with an ACK number that is wrong by this much.
    WrongAnswer(Answer, u32),
    /// A RST in the window or an ACK beyond SND.NXT, at this distance, in two fragments.
    Fragments(Fragmented, u32),
    /// A RST at RCV.NXT with a wrong checksum in this layer.
    Damaged(Layer),
    /// A SYN to this address, in place of ours, at our port; `true`: at a port
    /// without a listener.
    AstraySyn(Astray, bool),
    /// A SYN of a host that sends nothing else.
    HalfOpen,
}

/// The kind of an answer to our SYN.
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

/// What is sent in fragments.
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

/// An address to which or from which no segment of a connection can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Astray {
    /// To the broadcast address of our network; to all nodes in IPv6.
    Broadcast,
    /// To 255.255.255.255; to our solicited-node group in IPv6.
    LimitedBroadcast,
    /// To a group that we belong to: all hosts.
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
    /// Our device's transmit queue stalls for this long: the device accepts no frame to
    /// send, and returns no received frame.
    Stuck(Duration),
    /// A forged segment arrives.
    Forged(Forgery),
    /// Several forged segments arrive, with a pause after each.
    Storm {
        /// The segment.
        forgery: Forgery,
        /// The number of segments.
        times: u32,
        /// The pause between two.
        every: Duration,
    },
    /// A router reports with ICMP that a segment in flight cannot be delivered, with this
    /// code of "destination unreachable".
    Unreachable(u8),
    /// The peer's machine reports with ICMPv6 that it does not know what follows the
    /// header of a segment in flight: a parameter problem with this code.
    ParameterProblem(u8),
    /// Like [`Unreachable`](Self::Unreachable), but addressed to another host.
    Misdirected(u8),
}
