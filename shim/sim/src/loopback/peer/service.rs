//! A port of the peer: its sockets, and the record of each connection.

use std::collections::{BTreeMap, VecDeque};

use lastbyte::Instant;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::wire::IpEndpoint;

use super::fault::Suffered;
use super::slot::Slot;
use super::{Behaviour, Ending, Mark, PeerConfig};
use crate::loopback::frame::TcpPeek;

/// The peer's record of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Counts the connections of the port, from 0.
    pub number: u64,
    /// The address and port of our end.
    pub remote: Option<IpEndpoint>,
    /// When the first segment arrived, or was due to be sent.
    pub began_at: Instant,
    /// The state of the peer's socket, or its last one.
    pub state: tcp::State,
    /// The bytes that the peer's TCP received, up to [`PeerConfig::keep_bytes`].
    pub received: Vec<u8>,
    /// How many bytes the peer's TCP received.
    pub taken_in: u64,
    /// How many bytes the application passed to the peer's TCP.
    pub sent: u64,
    /// How many of those we have not acknowledged.
    pub unacknowledged: usize,
    /// When the peer's TCP received our FIN.
    pub saw_fin: Option<Instant>,
    /// When a RST of ours ended the connection.
    pub saw_rst: Option<Instant>,
    /// When its socket was closed for good.
    pub ended_at: Option<Instant>,
}

impl Connection {
    fn new(number: u64, remote: Option<IpEndpoint>, now: Instant) -> Self {
        Self {
            number,
            remote,
            began_at: now,
            state: tcp::State::Closed,
            received: Vec::new(),
            taken_in: 0,
            sent: 0,
            unacknowledged: 0,
            saw_fin: None,
            saw_rst: None,
            ended_at: None,
        }
    }

    pub(super) fn without_bytes(&self) -> Self {
        Self {
            received: Vec::new(),
            ..*self
        }
    }
}

pub(super) type Sockets = SocketSet<'static>;

/// A port of the peer.
#[derive(Debug)]
pub(super) struct Service {
    port: u16,
    pub(super) behaviour: Behaviour,
    listening: bool,
    slots: Vec<Slot>,
    ended: VecDeque<Connection>,
    pub(super) accepted: u64,
    /// The sequence number of the first byte of each of our ends, if it matters.
    firsts: BTreeMap<IpEndpoint, u32>,
    /// The faults that have happened at marks.
    pub(super) suffered: Suffered,
}

/// What to do with a segment of ours that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// The TCP gets it.
    Whole,
    /// The TCP gets this many bytes of it; the rest is checked again.
    Split(usize),
    /// It is beyond a mark that is not reached, so it is too early, and is lost.
    Lost,
}

impl Service {
    pub(super) fn new(port: u16, behaviour: Behaviour) -> Self {
        Self {
            port,
            behaviour,
            listening: false,
            slots: Vec::new(),
            ended: VecDeque::new(),
            accepted: 0,
            firsts: BTreeMap::new(),
            suffered: Suffered::default(),
        }
    }

    /// How much of a segment the TCP may get, so that no byte beyond the next mark is
    /// received before the fault there has happened.
    pub(super) fn admit(&mut self, sockets: &Sockets, segment: &TcpPeek) -> Admission {
        let has_marks = self
            .behaviour
            .faults
            .iter()
            .any(|(mark, _)| matches!(mark, Mark::Received(_)));
        if !has_marks {
            return Admission::Whole;
        }
        let from = IpEndpoint::new(segment.src, segment.src_port);
        if segment.syn {
            self.firsts.insert(from, segment.seq.wrapping_add(1));
            return Admission::Whole;
        }
        let slot = self.slots.iter().find(|slot| {
            let socket = sockets.get::<tcp::Socket>(slot.handle);
            socket.remote_endpoint() == Some(from)
        });
        let mark = slot.and_then(|slot| slot.next_mark(&self.behaviour));
        let (Some(mark), Some(&first)) = (mark, self.firsts.get(&from)) else {
            return Admission::Whole;
        };
        // No stream of a test is half as long as the sequence space.
        let begins = i64::from(segment.seq.wrapping_sub(first) as i32);
        let mark = i64::try_from(mark).unwrap_or(i64::MAX);
        let ends = begins + segment.text as i64;
        let is_within = ends < mark || ends == mark && !segment.fin;
        if is_within || segment.text == 0 && !segment.fin {
            Admission::Whole
        } else if begins < mark {
            Admission::Split(usize::try_from(mark - begins).unwrap_or(segment.text))
        } else {
            Admission::Lost
        }
    }

    /// Adds a socket. Returns its index among the slots.
    fn add_slot(&mut self, sockets: &mut Sockets, outgoing: bool) -> usize {
        let behaviour = &self.behaviour;
        let mut socket = tcp::Socket::new(
            tcp::SocketBuffer::new(vec![0; behaviour.rx_buffer]),
            tcp::SocketBuffer::new(vec![0; behaviour.tx_buffer]),
        );
        let delay = behaviour.ack_delay.map(smoltcp::time::Duration::from);
        socket.set_ack_delay(delay);
        self.slots.push(Slot::new(sockets.add(socket), outgoing));
        self.slots.len() - 1
    }

    pub(super) fn start_listening(&mut self, sockets: &mut Sockets) {
        self.listening = true;
        let incoming = self.slots.iter().filter(|slot| !slot.outgoing).count();
        for _ in incoming..self.behaviour.backlog.max(1) {
            self.add_slot(sockets, false);
        }
        for slot in &self.slots {
            let socket = sockets.get_mut::<tcp::Socket>(slot.handle);
            if slot.is_free(socket) && !slot.outgoing {
                // Cannot fail: the socket is closed, the port is not zero.
                let _ = socket.listen(self.port);
            }
        }
    }

    /// Drops every connection, as a machine does when it reboots.
    pub(super) fn forget(&mut self, sockets: &mut Sockets, now: Instant) {
        for slot in self.slots.drain(..) {
            let last = slot.snapshot(sockets.get_mut(slot.handle), true);
            self.ended.extend(last.map(|connection| Connection {
                ended_at: Some(now),
                ..connection
            }));
            sockets.remove(slot.handle);
        }
        if self.listening {
            self.start_listening(sockets);
        }
    }

    pub(super) fn stop_listening(&mut self, sockets: &mut Sockets) {
        self.listening = false;
        for slot in &self.slots {
            let socket = sockets.get_mut::<tcp::Socket>(slot.handle);
            if socket.is_listening() {
                socket.close();
            }
        }
    }

    /// The socket to connect with; `None` if the previous connection lives.
    pub(super) fn outgoing(
        &mut self,
        sockets: &mut Sockets,
        remote: IpEndpoint,
        now: Instant,
    ) -> Option<SocketHandle> {
        let used = self.slots.iter().position(|slot| slot.outgoing);
        let place = used.unwrap_or_else(|| self.add_slot(sockets, true));
        let slot = &mut self.slots[place];
        let socket = sockets.get_mut::<tcp::Socket>(slot.handle);
        if socket.is_open() {
            return None;
        }
        // A connection in TIME-WAIT is replaced.
        self.ended.extend(slot.snapshot(socket, true));
        slot.begin(Connection::new(self.accepted, Some(remote), now));
        self.accepted += 1;
        Some(slot.handle)
    }

    /// How much the socket that is connected to this port of ours can receive.
    pub(super) fn room(&self, sockets: &Sockets, our_port: u16) -> Option<usize> {
        let mut slots = self.slots.iter();
        slots.find_map(|slot| {
            let socket = sockets.get::<tcp::Socket>(slot.handle);
            let is_it = socket.remote_endpoint()?.port == our_port;
            is_it.then(|| socket.recv_capacity() - socket.recv_queue())
        })
    }

    pub(super) fn end(&mut self, sockets: &mut Sockets, how: Ending) {
        for slot in &mut self.slots {
            slot.end(sockets.get_mut(slot.handle), how);
        }
    }

    /// Records what the sockets have done, and lets the application act. Returns whether
    /// anything changed.
    pub(super) fn serve(
        &mut self,
        sockets: &mut Sockets,
        config: &PeerConfig,
        now: Instant,
        heard_rst: bool,
    ) -> bool {
        let mut changed = false;
        for slot in &mut self.slots {
            let socket = sockets.get_mut::<tcp::Socket>(slot.handle);
            let remote = socket.remote_endpoint();
            if !slot.has_connection() && remote.is_some() {
                slot.begin(Connection::new(self.accepted, remote, now));
                self.accepted += 1;
                changed = true;
            }
            slot.note(socket, now, heard_rst);
            changed |= slot.act(socket, &self.behaviour, config, now, &mut self.suffered);
            if let Some(ended) = slot.retire(socket, config, now) {
                self.ended.push_back(ended);
                changed = true;
                if self.listening && self.behaviour.listens_again && !slot.outgoing {
                    // Cannot fail: the socket is closed, the port is not zero.
                    let _ = socket.listen(self.port);
                }
            }
        }
        while self.ended.len() > config.keep_connections {
            self.ended.pop_front();
        }
        changed
    }

    /// When the application acts next by itself.
    pub(super) fn next_due(&self, sockets: &Sockets, now: Instant) -> Instant {
        let dues = self.slots.iter().map(|slot| {
            let socket = sockets.get::<tcp::Socket>(slot.handle);
            slot.next_due(socket, &self.behaviour, now)
        });
        dues.min().unwrap_or(Instant::NEVER)
    }

    /// The connection that began last, without its bytes.
    pub(super) fn last(&self, sockets: &mut Sockets) -> Option<Connection> {
        let ended = self.ended.iter().max_by_key(|ended| ended.number);
        let live = self.slots.iter().max_by_key(|slot| slot.number());
        let live = live.and_then(|slot| slot.snapshot(sockets.get_mut(slot.handle), false));
        let ended = ended.map(Connection::without_bytes);
        live.into_iter().chain(ended).max_by_key(|last| last.number)
    }

    /// Every connection, in the order in which they began.
    pub(super) fn connections(&self, sockets: &mut Sockets) -> Vec<Connection> {
        let slots = self.slots.iter();
        let live = slots.filter_map(|slot| slot.snapshot(sockets.get_mut(slot.handle), true));
        let mut all: Vec<_> = self.ended.iter().cloned().chain(live).collect();
        all.sort_by_key(|connection| connection.number);
        all
    }
}
