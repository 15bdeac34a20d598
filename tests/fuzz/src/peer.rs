//! What the peer sends: segments, other frames, ICMP.

use super::conn::octet;
use super::frame::build;
use super::harness::{CALLER, Harness, LISTEN_AT, LONGEST};
use super::input::{AckOf, Control, Number, SegmentOf, SeqOf};
use lastbyte_sim::loopback::{Flags, OUR_V4, OUR_V6, PEER_V4, PEER_V6, Segment};
use smoltcp::wire::{IpAddress, IpEndpoint};

impl Harness<'_> {
    /// Both ends of a connection: those of the stack, or those that a caller would use.
    pub fn ends(&self, which: usize) -> (IpEndpoint, IpEndpoint) {
        let conn = self.conns[which].as_ref();
        let known = conn.and_then(|conn| self.stack.endpoints(conn.id).ok().flatten());
        known.unwrap_or_else(|| {
            let (ours, theirs): (IpAddress, IpAddress) = match self.openings[which].ipv6 {
                false => (OUR_V4.into(), PEER_V4.into()),
                true => (OUR_V6.into(), PEER_V6.into()),
            };
            let number = which as u16;
            (
                IpEndpoint::new(ours, LISTEN_AT + number),
                IpEndpoint::new(theirs, CALLER + number),
            )
        })
    }

    pub fn send(&mut self, which: usize, what: SegmentOf) {
        let ends @ (ours, theirs) = self.ends(which);
        let isn = self.openings[which].isn.from(1000);
        let mut tracks = self.tracks.borrow_mut();
        let track = tracks.get(ends);
        let (rcv_nxt, edge) = match &track {
            Some(track) if track.is_synchronised() => {
                (track.rcv_hi, track.window_edge.unwrap_or(track.rcv_hi))
            }
            _ => (isn, isn),
        };
        let (snd_nxt, una) = track.map_or((0, 0), |track| (track.snd_nxt, track.may_una));
        drop(tracks);
        let seq = match what.seq {
            SeqOf::RcvNxt(number) => number.from(rcv_nxt),
            SeqOf::WindowEdge(number) => number.from(edge),
        };
        let ack = match what.ack {
            AckOf::SndNxt(number) => number.from(snd_nxt),
            AckOf::SndUna(number) => number.from(una),
        };
        let segment = Segment {
            src: theirs.addr,
            dst: ours.addr,
            ..Segment::new(theirs.port, ours.port, flags(what.control), seq, ack)
                .with_window(what.window)
                .with_payload(text(seq, flags(what.control), what.len % LONGEST))
        };
        let medium = self.world.config().medium;
        for frame in build(medium, &segment, what.mangle) {
            self.send_frame(frame);
        }
    }

    /// Passes a frame to the device, which delivers it, or keeps it for now.
    pub fn send_frame(&mut self, frame: Vec<u8>) {
        if self.world.is_full() {
            self.waiting.push(frame.clone());
        }
        self.raw.send_frame(frame);
    }

    pub fn send_icmp(&mut self, which: usize, code: u8, seq: AckOf, len: u8) {
        let ends @ (ours, theirs) = self.ends(which);
        let mut tracks = self.tracks.borrow_mut();
        let Some(track) = tracks.get(ends) else {
            return;
        };
        let seq = match seq {
            AckOf::SndNxt(number) => number.from(track.snd_nxt.wrapping_sub(1)),
            AckOf::SndUna(number) => number.from(track.may_una),
        };
        let code = code % 8;
        let is_hard = match ours.addr {
            IpAddress::Ipv4(_) => matches!(code, 2..=4),
            IpAddress::Ipv6(_) => matches!(code, 1 | 4..=6),
        };
        if is_hard && track.has_sent(seq) {
            track.may_unreachable = true;
        }
        drop(tracks);
        let quoted =
            Segment {
                src: ours.addr,
                dst: theirs.addr,
                ..Segment::new(ours.port, theirs.port, Flags::ACK, seq, 0)
                    .with_payload(vec![0; usize::from(len)])
            };
        self.raw.send_unreachable(&quoted, code);
    }
}

fn flags(control: Control) -> Flags {
    const ALL: [Flags; 6] = [
        Flags::FIN,
        Flags::SYN,
        Flags::RST,
        Flags::PSH,
        Flags::ACK,
        Flags::URG,
    ];
    match control {
        Control::Ack => Flags::ACK,
        Control::Data => Flags::PSH | Flags::ACK,
        Control::FinAck => Flags::FIN | Flags::ACK,
        Control::Rst => Flags::RST,
        Control::RstAck => Flags::RST | Flags::ACK,
        Control::Syn => Flags::SYN,
        Control::SynAck => Flags::SYN | Flags::ACK,
        Control::Bits(bits) => (0..)
            .zip(ALL)
            .filter(|(bit, _)| bits >> bit & 1 == 1)
            .fold(Flags::NONE, |flags, (_, flag)| flags | flag),
    }
}

/// The octets of the peer's stream in a segment at this number.
fn text(seq: u32, flags: Flags, len: u16) -> Vec<u8> {
    let seq = seq.wrapping_add(u32::from(flags.contains(Flags::SYN)));
    let numbers = 0..u32::from(len);
    numbers
        .map(|number| octet(seq.wrapping_add(number)))
        .collect()
}

/// A segment at the present numbers.
pub fn plain(control: Control, window: u16) -> SegmentOf {
    SegmentOf {
        control,
        seq: SeqOf::RcvNxt(Number::Exact),
        ack: AckOf::SndNxt(Number::Exact),
        window,
        len: 0,
        mangle: None,
    }
}
