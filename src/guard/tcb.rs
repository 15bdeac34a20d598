//! What the guard stores of one connection, and every transition of its phase.
//!
//! RFC 9293, 3.3.1, calls this a transmission control block. It is derived from what was
//! seen on the wire: it holds what was sent and what arrived, not what either end
//! intends.
//!
//! Each number is in a `Cell` of its own: most segments read and change few of them, and
//! smoltcp holds a receive and a transmit token at once.

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
    /// The connection has ended and sends no more: later segments from its other end
    /// belong to no connection. Its addresses and ports are kept for the report.
    Over,
    /// A caller may open the connection at the local port.
    Listening,
    /// Nothing was sent yet: no segment can be judged, and ICMP can quote none.
    Opening,
    /// Our SYN was sent: ICMP errors may be about it.
    SynSent,
    /// The peer's answer has arrived, but it is unknown whether smoltcp accepted it: it
    /// may drop a segment for reasons of its own, such as a damaged link header.
    SynSeen,
    /// Our answer to the peer's SYN was sent.
    SynReceived,
    /// Both SYNs are known (RFC 9293, 3.10.7.4): the rules apply.
    Synchronised,
    /// Our FIN was sent as well, and is not acknowledged.
    Finishing,
    /// The peer's FIN was processed, and ours was not sent, or is acknowledged.
    PeerFinished,
    /// The peer's FIN was processed, and ours was sent and is not acknowledged.
    Closing,
    /// Both FINs are acknowledged, ours first.
    TimeWait,
}

/// What changes a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// The connection was removed.
    Cleared,
    /// Nothing more is sent on the connection.
    Ended,
    /// A socket listens.
    Listens,
    /// Both ends are known.
    Assigned,
    /// A SYN without ACK is sent.
    SynLeaves,
    /// A SYN with ACK is sent.
    AnswerLeaves,
    /// A SYN with ACK arrives, as an answer to ours.
    AnswerArrives,
    /// A FIN is sent for the first time.
    FinLeaves,
    /// The TCP stack has processed what the guard let through.
    TakenIn {
        peer: Sending,
        /// Whether our FIN was sent and is not acknowledged.
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

/// Whether the peer may still send data, by the state of the TCP stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Sending {
    /// The handshake is not complete.
    #[default]
    Unknown,
    Open,
    /// Like `Open`, and our FIN is acknowledged.
    Alone,
    /// The peer's FIN was processed.
    Finished,
    /// Both FINs are acknowledged, ours first.
    TimeWait,
}

/// What the receiving side of a connection accepted, and how much it can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Receipt {
    /// Octets of sequence space that arrived in order since the last receipt.
    pub(crate) in_order: u32,
    /// The size of the receive buffer in octets.
    pub(crate) buffer: u32,
    /// Whether the peer may send more.
    pub(crate) peer: Sending,
}

/// The effect of an acceptable segment on either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Seen {
    /// It ends neither direction.
    #[default]
    Nothing,
    /// The peer's FIN, in order.
    Fin,
    /// The ACK of everything that was sent, including our FIN if it was sent.
    AckOfFin,
    /// The peer's FIN, and the ACK of ours.
    BothFins,
    /// A RST.
    Rst,
    /// The SYN of a new connection between the same ends, after TIME-WAIT was entered.
    /// The guard drops it.
    NewSyn,
}

/// What was seen of one connection since its facts were last taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    /// If the peer was heard: its newest window.
    pub(crate) heard: Option<Window>,
    /// The effect of the newest segment on either direction.
    pub(crate) seen: Seen,
    /// What was sent: the latest of the kind with the most information.
    pub(crate) sent: Option<Sent>,
    /// How many of the sent segments had been sent before.
    pub(crate) resent: u8,
    /// Whether a RST of ours was sent.
    pub(crate) has_reset: bool,
    /// Whether an ICMP error arrived about one of our segments in flight: see [`Table::icmp`].
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
    /// The octet after everything that was queued for sending.
    pub(crate) queued: Cell<u32>,
    /// RCV.NXT: the octet expected next.
    pub(crate) rcv_nxt: Cell<u32>,
    /// The octet after everything that has arrived in order. It is above RCV.NXT if
    /// smoltcp did not get all of it.
    pub(crate) arrived: Cell<u32>,
    /// Octets from RCV.NXT on that our advertised window allows the peer to send, or
    /// [`PASSED`]: see [`rcv_wnd`](Self::rcv_wnd).
    pub(crate) announced: Cell<u32>,
    /// The largest number of octets that were in flight at any time.
    pub(crate) most_in_flight: Cell<u32>,
    /// The size of the receive buffer in octets.
    pub(crate) buffer: Cell<u32>,
}

/// In place of the window after a FIN right at its edge: the stack's own ends before RCV.NXT
/// until it has announced another, and it takes no segment at all until then.
const PASSED: u32 = u32::MAX;

impl Known {
    /// RCV.WND: octets from RCV.NXT on that our advertised window allows the peer to send.
    pub(crate) fn rcv_wnd(&self) -> u32 {
        match self.has_passed_the_window() {
            true => 0,
            false => self.announced.get(),
        }
    }

    /// Whether the peer's FIN stood right at the edge of the window, and no ACK of it was sent.
    pub(crate) fn has_passed_the_window(&self) -> bool {
        self.announced.get() == PASSED
    }

    /// How many octets of sequence space are sent and not acknowledged.
    pub(crate) fn in_flight(&self) -> u32 {
        self.snd_nxt.get().wrapping_sub(self.snd_una.get())
    }

    /// The sequence number after the window that was announced to the peer.
    pub(crate) fn edge(&self) -> u32 {
        self.rcv_nxt.get().wrapping_add(self.rcv_wnd())
    }

    /// Whether the peer has already acknowledged more than this.
    pub(crate) fn is_overtaken(&self, ack: u32) -> bool {
        is_before(ack, self.snd_una.get())
    }
}

/// What the newest segments in both directions contained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Newest {
    /// The peer's window, as in the field.
    pub(crate) window: u16,
    /// The shift of the windows that we announce.
    pub(crate) shift: u8,
    /// The shift of the peer's windows.
    pub(crate) peer_shift: u8,
    /// Whether the last octet sent is zero.
    pub(crate) ends_in_zero: bool,
    /// How much of the last segment was sent into a closed window: an octet, and perhaps a
    /// FIN.
    pub(crate) probe: u8,
    /// Whether the peer has since reported that it did not accept it.
    pub(crate) is_refused: bool,
    /// Whether a keep-alive was sent since the newest octet: the answers to it restart a
    /// stopped timer.
    pub(crate) is_prodded: bool,
}

/// What the guard knows of one connection.
#[derive(Debug)]
pub(crate) struct Tcb {
    /// The flow of arriving segments, from the handshake on; after the end, for the
    /// report. While the connection listens, only our port counts.
    flow: Flow,
    /// Whether the peer has opened the connection.
    is_passive: bool,
    pub(crate) facts: Cell<Facts>,
    phase: Cell<Phase>,
    /// The sequence numbers, from the SYN on.
    pub(crate) known: Known,
    newest: Cell<Newest>,
    /// The largest number of octets of sequence space in one segment so far: the peer
    /// accepts that many at once.
    pub(crate) largest: Cell<u16>,
    /// The maximum number of octets of data in a segment of ours, if it is limited. It is
    /// kept for the next connections of this block.
    pub(crate) max_segment: Option<NonZeroU16>,
    /// Whether there are facts to collect.
    pub(crate) is_touched: Cell<bool>,
}

// The memory of one more connection, which matters on a small machine. `./ci.sh budgets`
// prints the totals. The size depends on the address families that are compiled in.
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

    /// Forgets what was seen, and assigns the block to these ends.
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

    /// Records that the connection sends no more: later segments from its other end belong to
    /// no connection.
    pub(crate) fn end(&self) {
        self.note(Event::Ended);
    }

    /// Whether segments of this flow belong to this connection.
    pub(crate) fn is_for(&self, arriving: Flow) -> bool {
        let is_none = |phase| matches!(phase, Phase::Unused | Phase::Over | Phase::Listening);
        self.flow.ports == arriving.ports
            && self.flow.addresses == arriving.addresses
            && !is_none(self.phase.get())
    }

    /// The flow of arriving segments, if both ends are known.
    pub(crate) fn flow(&self) -> Option<Flow> {
        self.phase.get().has_ends().then_some(self.flow)
    }

    /// Whether a caller at this port is to be answered, or waits for an answer.
    pub(crate) fn serves(&self, port: [u8; 2]) -> bool {
        let [_, ours] = self.flow.ports;
        let is_live = !matches!(self.phase.get(), Phase::Unused | Phase::Over);
        is_live && ours == port && (self.is_passive || self.phase.get() == Phase::Listening)
    }

    /// Records that more octets wait to be sent, or are already sent.
    #[inline]
    pub(crate) fn note_queued(&self, octets: u32) {
        let queued = self.known.queued.get().wrapping_add(octets);
        self.known.queued.set(queued);
    }

    /// Processes the receipt of the socket.
    pub(crate) fn advance(&self, receipt: Receipt) {
        let known = &self.known;
        let rcv_nxt = known.rcv_nxt.get().wrapping_add(receipt.in_order);
        known.rcv_nxt.set(rcv_nxt);
        let left = match known.announced.get().checked_sub(receipt.in_order) {
            Some(left) => left,
            None if receipt.peer == Sending::Finished => PASSED,
            None => 0,
        };
        known.announced.set(left);
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
