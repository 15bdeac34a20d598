//! One bare socket of ours with a script at the other end.

use crate::common::*;
use lastbyte_sim::loopback::{
    Bare, Flags, Flow, Handshake, PEER_V4, PEER_V6, RawPeer, Segment, World, WorldConfig,
};
use smoltcp::socket::tcp;
use smoltcp::wire::{IpAddress, IpEndpoint};
use std::time::Duration;

/// The scripted end's address in each family.
pub const PEERS: [IpAddress; 2] = [IpAddress::Ipv4(PEER_V4), IpAddress::Ipv6(PEER_V6)];

/// Everything that a socket shows of its end: its state, the other end, and what a write
/// returns.
pub type Shown = (
    tcp::State,
    Option<IpEndpoint>,
    Result<usize, tcp::SendError>,
);

/// What a socket shows after every end.
pub const ENDED: Shown = (tcp::State::Closed, None, Err(tcp::SendError::InvalidState));

pub struct Script {
    pub bare: Bare,
    pub raw: RawPeer,
    /// The script's numbers. While our end connects, they are those of the answer to its
    /// SYN.
    pub flow: Flow,
}

impl Script {
    /// Our SYN was received; nothing was answered.
    #[track_caller]
    pub fn connecting(peer: IpAddress) -> Self {
        let world = World::new(WorldConfig::instant());
        Self::connecting_in(&world, peer)
    }

    #[track_caller]
    pub fn connecting_in(world: &World, peer: IpAddress) -> Self {
        let raw = world.raw();
        let mut bare = Bare::new(world);
        bare.connect((peer, PORT));
        // The neighbour is resolved first.
        let syn = (0..4).find_map(|_| {
            bare.poll();
            raw.try_recv()
        });
        let syn = syn.expect("a SYN");
        assert_eq!(syn.flags, Flags::SYN, "{syn}");
        let Handshake { isn, window, .. } = Handshake::default();
        let flow = Flow {
            local: IpEndpoint::new(syn.dst, syn.dst_port),
            remote: IpEndpoint::new(syn.src, syn.src_port),
            isn,
            remote_isn: syn.seq,
            seq: isn,
            ack: syn.seq.wrapping_add(1),
            window,
        };
        Self { bare, raw, flow }
    }

    #[track_caller]
    pub fn open(peer: IpAddress) -> Self {
        Self::open_at(peer, Handshake::default().window)
    }

    /// Announces this window from the other end.
    #[track_caller]
    pub fn open_at(peer: IpAddress, window: u16) -> Self {
        let world = World::new(WorldConfig::instant());
        Self::opened(&world, Bare::new(&world), peer, window)
    }

    /// Our end with buffers of this many octets in each direction.
    #[track_caller]
    pub fn open_with_buffers(peer: IpAddress, len: usize) -> Self {
        let world = World::new(WorldConfig::instant());
        let bare = Bare::with_buffers(&world, len, len);
        Self::opened(&world, bare, peer, Handshake::default().window)
    }

    #[track_caller]
    fn opened(world: &World, mut bare: Bare, peer: IpAddress, window: u16) -> Self {
        let raw = world.raw();
        bare.connect((peer, PORT));
        let handshake = Handshake {
            window,
            ..Handshake::default()
        };
        let flow = raw.handshake(handshake, || {
            bare.poll();
        });
        let mut script = Self { bare, raw, flow };
        assert_eq!(script.state(), tcp::State::Established);
        script
    }

    /// Sends a segment and lets our end process it.
    pub fn send(&mut self, segment: &Segment) {
        self.raw.send(segment);
        self.bare.poll();
    }

    /// Acknowledges this many more octets.
    pub fn acknowledge(&mut self, len: u32) {
        self.flow.take(len);
        let ack = self.flow.ack();
        self.send(&ack);
    }

    pub fn send_fin(&mut self) {
        let fin = self.flow.fin();
        self.send(&fin);
    }

    /// Writes this many octets, which the socket accepts, and sends what it may.
    #[track_caller]
    pub fn write(&mut self, len: usize) {
        let taken = self.bare.socket().send_slice(&pattern(0, len));
        assert_eq!(taken, Ok(len));
        self.bare.poll();
    }

    /// Serves our end for this long.
    pub fn run(&mut self, time: Duration) {
        self.bare.run_for(time);
    }

    pub fn state(&mut self) -> tcp::State {
        self.bare.socket().state()
    }

    pub fn unsent(&mut self) -> usize {
        self.bare.socket().send_queue()
    }

    /// What the socket shows, including the result of a write of one octet.
    pub fn shown(&mut self) -> Shown {
        let socket = self.bare.socket();
        let remote = socket.remote_endpoint();
        (socket.state(), remote, socket.send_slice(b"?"))
    }

    /// Receives every segment of ours, including a delayed ACK.
    pub fn sent(&mut self) -> Vec<Segment> {
        self.run(ms(20));
        self.sent_so_far()
    }

    /// Receives every segment of ours that has arrived.
    pub fn sent_so_far(&mut self) -> Vec<Segment> {
        std::iter::from_fn(|| self.raw.try_recv()).collect()
    }

    /// Asserts that our end has sent one pure ACK, of everything sent, and nothing else.
    #[track_caller]
    pub fn expect_ack(&mut self) {
        let sent = self.sent();
        assert_eq!(numbers(&sent), [(Flags::ACK, self.flow.ack, self.flow.seq)]);
        assert!(sent[0].payload.is_empty(), "{sent:?}");
    }

    /// Asserts that our end has sent these octets next, in one segment, and nothing else.
    #[track_caller]
    pub fn expect_data(&mut self, len: usize) {
        let sent = self.sent_so_far();
        let lens: Vec<_> = sent.iter().map(|s| (s.seq, s.payload.len())).collect();
        assert_eq!(lens, [(self.flow.ack, len)]);
    }

    /// Asserts that our end sends nothing for this long.
    #[track_caller]
    pub fn expect_silence(&mut self, time: Duration) {
        self.raw.recv_nothing();
        self.run(time);
        self.raw.recv_nothing();
    }
}

/// Flags, sequence number and ACK number of each segment.
pub fn numbers(segments: &[Segment]) -> Vec<(Flags, u32, u32)> {
    let of = |segment: &Segment| (segment.flags, segment.seq, segment.ack);
    segments.iter().map(of).collect()
}
