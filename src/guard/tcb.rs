//! What the guard keeps of one connection, and every transition of its phase.
//!
//! RFC 9293, 3.3.1, calls that a transmission control block. This one is made of what was
//! seen on the wire: it knows what left and what arrived, not what anybody means to do.
//!
//! It is made of `Cell`s, each number in one of its own: most segments read and change few
//! of them, and smoltcp holds a receive and a transmit token at once.

mod received;
mod sent;

use super::flow::Flow;
use super::wire::seq::is_before;
use crate::core::facts::{Sent, Window};
use core::cell::Cell;
use core::num::NonZeroU16;

/// How far the two ends have agreed on sequence numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There is no connection.
    Unused,
    /// It has ended and sends no more: later segments from its other end belong to no
    /// connection. Its addresses and ports are still known, for the report.
    Over,
    /// A caller may open it at the local port.
    Listening,
    /// Nothing was sent yet: nothing can be judged, or quoted by ICMP.
    Opening,
    /// Our SYN has left: ICMP errors may be about it.
    SynSent,
    /// The peer's answer has come since; whether smoltcp took it is still to be seen. It
    /// has reasons of its own not to: a damaged link header, say.
    SynSeen,
    /// Our answer to the peer's SYN has left.
    SynReceived,
    /// Both SYNs are known (RFC 9293, 3.10.7.4): the rules hold.
    Synchronised,
    /// Our FIN has left as well, and is not acknowledged.
    Finishing,
    /// The peer's FIN was taken in, and ours has not left, or is acknowledged.
    PeerFinished,
    /// The peer's FIN was taken in, and ours has left and is not acknowledged.
    Closing,
    /// Both FINs are acknowledged, ours first.
    TimeWait,
}

/// What moves a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// There is no connection any more.
    Cleared,
    /// Nothing more is to be said on it.
    Ended,
    /// A socket listens.
    Listens,
    /// Both ends are known.
    Assigned,
    /// A SYN without ACK leaves.
    SynLeaves,
    /// A SYN with ACK leaves.
    AnswerLeaves,
    /// A SYN with ACK arrives, as an answer to ours.
    AnswerArrives,
    /// A FIN leaves for the first time.
    FinLeaves,
    /// The stack has taken in what the guard let through.
    TakenIn {
        peer: Sending,
        /// Whether our FIN has left and is not acknowledged.
        is_fin_in_flight: bool,
    },
}

impl Phase {
    /// Every transition there is.
    // tuning: phase-in-place
    #[inline(always)]
    const fn after(self, event: Event) -> Self {
        match event {
            Event::Cleared => Self::Unused,
            Event::Listens => Self::Listening,
            Event::Assigned => Self::Opening,
            Event::SynLeaves => Self::SynSent,
            Event::AnswerArrives => Self::SynSeen,
            Event::AnswerLeaves => Self::SynReceived,
            Event::FinLeaves => match self {
                Self::Synchronised => Self::Finishing,
                Self::PeerFinished => Self::Closing,
                Self::Unused
                | Self::Over
                | Self::Listening
                | Self::Opening
                | Self::SynSent
                | Self::SynSeen
                | Self::SynReceived
                | Self::Finishing
                | Self::Closing
                | Self::TimeWait => self,
            },
            Event::TakenIn {
                peer,
                is_fin_in_flight,
            } => match (peer, self) {
                (Sending::Open, Self::SynSeen | Self::SynReceived) | (Sending::Alone, _) => {
                    Self::Synchronised
                }
                (Sending::Unknown | Sending::Open, _) => self,
                (Sending::Finished, _) if is_fin_in_flight => Self::Closing,
                (Sending::Finished, _) => Self::PeerFinished,
                (Sending::TimeWait, _) => Self::TimeWait,
            },
            Event::Ended => match self.has_ends() {
                true => Self::Over,
                false => self,
            },
        }
    }

    /// Whether both ends of a connection are known.
    const fn has_ends(self) -> bool {
        match self {
            Self::Unused | Self::Listening => false,
            Self::Over
            | Self::Opening
            | Self::SynSent
            | Self::SynSeen
            | Self::SynReceived
            | Self::Synchronised
            | Self::Finishing
            | Self::PeerFinished
            | Self::Closing
            | Self::TimeWait => true,
        }
    }
}

/// Whether the peer may still send data, as the stack has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Sending {
    /// The handshake is not complete.
    #[default]
    Unknown,
    Open,
    /// As before, and our FIN is acknowledged.
    Alone,
    /// Its FIN was taken in.
    Finished,
    /// Both FINs are acknowledged, ours first.
    TimeWait,
}

/// What the receiving side of a connection took in and can still take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Receipt {
    /// Octets of sequence space that came in order since the last receipt.
    pub(crate) in_order: u32,
    /// Octets of the receive buffer.
    pub(crate) buffer: u32,
    /// Whether more will come.
    pub(crate) peer: Sending,
}

/// What a segment that counts says of either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Seen {
    /// Nothing that ends one.
    #[default]
    Nothing,
    /// The peer's FIN, in order.
    Fin,
    /// The ACK of all that was sent, with our FIN if it has left.
    AckOfFin,
    /// The peer's FIN, and the ACK of ours.
    BothFins,
    /// A RST.
    Rst,
    /// The SYN of a new connection between the same ends, after TIME-WAIT was entered. It
    /// does not go on.
    NewSyn,
}

/// What was seen of one connection since its facts were last taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    /// The peer was heard, and this is its newest window.
    pub(crate) heard: Option<Window>,
    /// What the newest segment says of either direction.
    pub(crate) seen: Seen,
    /// What left, the latest of the kind that carries the most information.
    pub(crate) sent: Option<Sent>,
    /// How many of the segments that left had been sent before.
    pub(crate) resent: u8,
    /// A RST of ours left.
    pub(crate) has_reset: bool,
    /// An ICMP error came about one of our segments in flight: see [`Table::icmp`].
    ///
    /// [`Table::icmp`]: super::table::Table::icmp
    pub(crate) icmp: bool,
}

/// The sequence numbers of a connection (RFC 9293, 3.3.1).
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// SND.UNA: the oldest octet that is not acknowledged.
    pub(crate) snd_una: Cell<u32>,
    /// SND.NXT: the next octet to send.
    pub(crate) snd_nxt: Cell<u32>,
    /// The octet after all that was queued for sending.
    pub(crate) queued: Cell<u32>,
    /// RCV.NXT: the octet expected next.
    pub(crate) rcv_nxt: Cell<u32>,
    /// The octet after all that has arrived in order. It is ahead of RCV.NXT if smoltcp
    /// could not be given all of that.
    pub(crate) arrived: Cell<u32>,
    /// RCV.WND: octets from RCV.NXT on that our advertised window allows the peer to send.
    pub(crate) rcv_wnd: Cell<u32>,
    /// The most octets that were in flight at any time.
    pub(crate) most_in_flight: Cell<u32>,
    /// Octets of the receive buffer.
    pub(crate) buffer: Cell<u32>,
}

impl Known {
    /// How many octets of sequence space are sent and not acknowledged.
    pub(crate) fn in_flight(&self) -> u32 {
        self.snd_nxt.get().wrapping_sub(self.snd_una.get())
    }

    /// The number after the window that was announced to the peer.
    pub(crate) fn edge(&self) -> u32 {
        self.rcv_nxt.get().wrapping_add(self.rcv_wnd.get())
    }

    /// Whether the peer has acknowledged more than this before.
    pub(crate) fn is_overtaken(&self, ack: u32) -> bool {
        is_before(ack, self.snd_una.get())
    }
}

/// What the newest segments in both directions said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Newest {
    /// The peer's window, as the field has it.
    pub(crate) window: u16,
    /// By how much the windows that we announce are shifted.
    pub(crate) shift: u8,
    /// By how much the peer's are.
    pub(crate) peer_shift: u8,
    /// Whether the last octet sent is zero.
    pub(crate) ends_in_zero: bool,
    /// How much of what was sent last was sent into a closed window: an octet, and perhaps
    /// a FIN.
    pub(crate) probe: u8,
    /// Whether the peer has said since that it did not take it.
    pub(crate) is_refused: bool,
    /// Whether a keep-alive has left since the newest octet: the answers to it wake a
    /// stopped timer.
    pub(crate) is_prodded: bool,
}

/// What the guard knows of one connection.
#[derive(Debug)]
pub(crate) struct Tcb {
    /// That of the segments that arrive for it, from the handshake on; after the end,
    /// for the report. While it listens, only our port counts.
    flow: Flow,
    /// Whether the peer has called us.
    is_passive: bool,
    pub(crate) facts: Cell<Facts>,
    phase: Cell<Phase>,
    /// What is known of its sequence numbers, from its SYN on.
    pub(crate) known: Known,
    newest: Cell<Newest>,
    /// The most octets of sequence space that one segment had, as far as seen: the
    /// peer takes so many at once.
    pub(crate) largest: Cell<u16>,
    /// The most octets of data that a segment of ours may have, if it is limited; also of
    /// the connections that this block gets.
    pub(crate) max_segment: Option<NonZeroU16>,
    /// Whether there are facts to collect.
    pub(crate) is_touched: Cell<bool>,
}

// What one more connection costs in memory, of what is not free on a small machine.
// `./ci.sh budgets` prints what they add up to; the address families that are in it make
// the difference.
const _: () = assert!(size_of::<Tcb>() <= 116);

impl Tcb {
    pub(crate) fn new() -> Self {
        Self {
            flow: Flow::NONE,
            is_passive: false,
            facts: Cell::new(Facts::default()),
            phase: Cell::new(Phase::Unused),
            known: Known::default(),
            newest: Cell::new(Newest::default()),
            largest: Cell::new(0),
            max_segment: None,
            is_touched: Cell::new(false),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn newest(&self) -> Newest {
        self.newest.get()
    }

    // tuning: phase-in-place
    #[inline(always)]
    fn note(&self, event: Event) {
        self.phase.set(self.phase.get().after(event));
    }

    /// Forgets what was seen, and belongs to these ends from now on.
    pub(crate) fn assign(&mut self, arriving: Flow) {
        let is_passive = self.phase.get() == Phase::Listening;
        let peer_shift = self.newest.get().peer_shift;
        self.reset(arriving, Event::Assigned);
        self.is_passive = is_passive;
        self.note_peer_shift(is_passive.then_some(peer_shift));
    }

    /// Forgets what was seen, and waits for a caller at this port.
    pub(crate) fn listen(&mut self, port: u16) {
        let ports = [[0; 2], port.to_be_bytes()];
        let flow = Flow {
            ports,
            ..Flow::NONE
        };
        self.reset(flow, Event::Listens);
    }

    /// Forgets what was seen: there is no connection.
    pub(crate) fn clear(&mut self) {
        self.reset(Flow::NONE, Event::Cleared);
    }

    fn reset(&mut self, flow: Flow, event: Event) {
        let is_touched = self.is_touched.get();
        *self = Self {
            flow,
            phase: Cell::new(self.phase.get().after(event)),
            max_segment: self.max_segment,
            is_touched: Cell::new(is_touched),
            ..Self::new()
        };
    }

    /// The connection sends no more: later segments from its other end belong to no connection.
    pub(crate) fn end(&self) {
        self.note(Event::Ended);
    }

    /// Whether segments of this flow are for it.
    pub(crate) fn is_for(&self, arriving: Flow) -> bool {
        let is_none = |phase| matches!(phase, Phase::Unused | Phase::Over | Phase::Listening);
        self.flow.ports == arriving.ports
            && self.flow.addresses == arriving.addresses
            && !is_none(self.phase.get())
    }

    /// Both ends, if it has any.
    pub(crate) fn flow(&self) -> Option<Flow> {
        self.phase.get().has_ends().then_some(self.flow)
    }

    /// Whether a caller at this port is to be answered, or waits for an answer.
    pub(crate) fn serves(&self, port: [u8; 2]) -> bool {
        let [_, ours] = self.flow.ports;
        let is_live = !matches!(self.phase.get(), Phase::Unused | Phase::Over);
        is_live && ours == port && (self.is_passive || self.phase.get() == Phase::Listening)
    }

    /// So many octets more wait to be sent, or are sent already.
    #[inline]
    pub(crate) fn note_queued(&self, octets: u32) {
        let queued = self.known.queued.get().wrapping_add(octets);
        self.known.queued.set(queued);
    }

    /// Takes in what the socket took in.
    pub(crate) fn advance(&self, receipt: Receipt) {
        let known = &self.known;
        let rcv_nxt = known.rcv_nxt.get().wrapping_add(receipt.in_order);
        known.rcv_nxt.set(rcv_nxt);
        let rcv_wnd = known.rcv_wnd.get().saturating_sub(receipt.in_order);
        known.rcv_wnd.set(rcv_wnd);
        known.buffer.set(receipt.buffer);
        if is_before(known.arrived.get(), rcv_nxt) {
            known.arrived.set(rcv_nxt);
        }
        let has_finished = matches!(self.phase.get(), Phase::Finishing | Phase::Closing);
        self.note(Event::TakenIn {
            peer: receipt.peer,
            is_fin_in_flight: has_finished && known.in_flight() > 0,
        });
    }
}
