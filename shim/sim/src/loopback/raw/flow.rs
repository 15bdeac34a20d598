//! The numbers of one scripted connection.

use smoltcp::wire::{IpAddress, IpEndpoint};

use super::{RawPeer, Segment};
use crate::loopback::Flags;

/// The maximum number of rounds of a handshake: neighbour discovery is one of them.
const ROUNDS: usize = 16;

/// The options of the scripted end when a connection opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// Its initial sequence number. Default 1000.
    pub isn: u32,
    /// Its receive window, as on the wire. Default 65535.
    pub window: u16,
    /// The maximum segment size that it announces. Default 1460.
    pub mss: Option<u16>,
    /// Its window scale option. Default none, so that windows are exact.
    pub window_scale: Option<u8>,
}

impl Default for Handshake {
    fn default() -> Self {
        Self {
            isn: 1000,
            window: u16::MAX,
            mss: Some(1460),
            window_scale: None,
        }
    }
}

/// The scripted end's numbers of one connection, and the segments made from them. Nothing
/// is tracked automatically: a test reports what was received, and may change every
/// number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// The scripted end.
    pub local: IpEndpoint,
    /// Our end.
    pub remote: IpEndpoint,
    /// The scripted end's initial sequence number.
    pub isn: u32,
    /// Our end's initial sequence number.
    pub remote_isn: u32,
    /// The next sequence number the scripted end sends.
    pub seq: u32,
    /// The next sequence number it expects from our end.
    pub ack: u32,
    /// The window it announces.
    pub window: u16,
}

impl Flow {
    /// A segment with these flags at the present numbers.
    #[must_use]
    pub fn segment(&self, flags: Flags) -> Segment {
        let (from, to) = (self.local.port, self.remote.port);
        Segment {
            src: self.local.addr,
            dst: self.remote.addr,
            ..Segment::new(from, to, flags, self.seq, self.ack).with_window(self.window)
        }
    }

    /// A pure ACK.
    #[must_use]
    pub fn ack(&self) -> Segment {
        self.segment(Flags::ACK)
    }

    /// A RST at the next sequence number, without ACK.
    #[must_use]
    pub fn rst(&self) -> Segment {
        self.segment(Flags::RST)
    }

    /// A FIN; the next segment comes after it.
    #[must_use]
    pub fn fin(&mut self) -> Segment {
        let segment = self.segment(Flags::FIN | Flags::ACK);
        self.seq = self.seq.wrapping_add(1);
        segment
    }

    /// Data; the next segment comes after it.
    #[must_use]
    pub fn data(&mut self, payload: impl Into<Vec<u8>>) -> Segment {
        let segment = self.segment(Flags::PSH | Flags::ACK).with_payload(payload);
        self.seq = self.seq.wrapping_add(segment.seq_len());
        segment
    }

    /// Acknowledges `len` more sequence numbers of our end from now on.
    pub fn take(&mut self, len: u32) {
        self.ack = self.ack.wrapping_add(len);
    }
}

impl RawPeer {
    /// Accepts a connection of ours: answers our SYN and receives our ACK.
    ///
    /// `pump` runs our end (a poll); with latency it must also let time pass. It is
    /// called a few times.
    ///
    /// # Panics
    ///
    /// If our end does not send a SYN and then the ACK that belongs to it.
    #[track_caller]
    pub fn handshake(&self, handshake: Handshake, mut pump: impl FnMut()) -> Flow {
        let syn = self.next_segment(&mut pump, "a SYN");
        assert_eq!(syn.flags, Flags::SYN, "expected a SYN, got {syn}");
        let mut flow = flow_of(&syn, handshake);
        self.send(&flow.opening(Flags::SYN | Flags::ACK, handshake));
        flow.seq = flow.seq.wrapping_add(1);
        let ack = self.next_segment(&mut pump, "the ACK of our SYN|ACK");
        assert_eq!(ack.flags, Flags::ACK, "expected a pure ACK, got {ack}");
        assert_eq!(
            (ack.seq, ack.ack),
            (flow.ack, flow.seq),
            "the handshake's ACK has wrong numbers: {ack}"
        );
        flow
    }

    /// Connects to a listener of ours, from `from_port` at the scripted end's address of
    /// the same family. For `pump`, see [`RawPeer::handshake`].
    ///
    /// # Panics
    ///
    /// If our end does not answer with the right SYN|ACK.
    #[track_caller]
    pub fn open(
        &self,
        from_port: u16,
        to: impl Into<IpEndpoint>,
        handshake: Handshake,
        mut pump: impl FnMut(),
    ) -> Flow {
        let flow = self.call(from_port, to, handshake, &mut pump);
        self.send(&flow.ack());
        pump();
        flow
    }

    /// Like [`RawPeer::open`], but the ACK of our SYN|ACK is not sent: the handshake
    /// stays incomplete.
    ///
    /// # Panics
    ///
    /// As [`RawPeer::open`].
    #[track_caller]
    pub fn call(
        &self,
        from_port: u16,
        to: impl Into<IpEndpoint>,
        handshake: Handshake,
        mut pump: impl FnMut(),
    ) -> Flow {
        let remote = to.into();
        let addr = match remote.addr {
            IpAddress::Ipv4(_) => crate::loopback::PEER_V4.into(),
            IpAddress::Ipv6(_) => crate::loopback::PEER_V6.into(),
        };
        let mut flow = Flow {
            local: IpEndpoint::new(addr, from_port),
            remote,
            isn: handshake.isn,
            remote_isn: 0,
            seq: handshake.isn,
            ack: 0,
            window: handshake.window,
        };
        self.send(&flow.opening(Flags::SYN, handshake));
        flow.seq = flow.seq.wrapping_add(1);
        let answer = self.next_segment(&mut pump, "a SYN|ACK");
        assert_eq!(
            (answer.flags, answer.ack),
            (Flags::SYN | Flags::ACK, flow.seq),
            "expected a SYN|ACK of {}, got {answer}",
            flow.seq
        );
        flow.remote_isn = answer.seq;
        flow.ack = answer.seq.wrapping_add(1);
        flow
    }

    #[track_caller]
    fn next_segment(&self, pump: &mut impl FnMut(), what: &str) -> Segment {
        for _ in 0..ROUNDS {
            if let Some(segment) = self.try_recv() {
                return segment;
            }
            pump();
        }
        panic!("expected {what}, but our end sent nothing");
    }
}

fn flow_of(syn: &Segment, handshake: Handshake) -> Flow {
    Flow {
        local: IpEndpoint::new(syn.dst, syn.dst_port),
        remote: IpEndpoint::new(syn.src, syn.src_port),
        isn: handshake.isn,
        remote_isn: syn.seq,
        seq: handshake.isn,
        ack: syn.seq.wrapping_add(1),
        window: handshake.window,
    }
}

impl Flow {
    /// The segment that carries our SYN, with its options.
    fn opening(&self, flags: Flags, handshake: Handshake) -> Segment {
        Segment {
            mss: handshake.mss,
            window_scale: handshake.window_scale,
            ..self.segment(flags)
        }
    }
}
