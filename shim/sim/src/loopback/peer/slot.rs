//! One socket of a port, and its application.

use lastbyte::Instant;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;

use super::fault::{Outside, Suffered};
use super::serve::Desk;
use super::service::Connection;
use super::{Behaviour, Ending, Mark, PeerConfig, Reads, Sends, StreamFault, When};

/// Byte `n` of a flood is `n` modulo this prime, so that no power of two hides a shift.
const FLOOD_PERIOD: u64 = 251;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) handle: SocketHandle,
    /// Whether it connects to us, and so never listens.
    pub(super) outgoing: bool,
    /// `None` while there is none. `received` holds what was read, and `taken_in` also
    /// counts the unread bytes, as of the last record.
    connection: Option<Connection>,
    next_read: Instant,
    /// The number of bytes that the application has read.
    read: u64,
    /// The strongest ending so far.
    ended: Option<Ending>,
    /// An ending that was requested before the connection was open.
    ends_once_open: Option<Ending>,
    /// The number of bytes received when the application exited.
    taken_in_at_exit: u64,
    /// The maximum length of `received`.
    keep_bytes: usize,
    /// The data of the server, if there is one.
    desk: Option<Desk>,
    /// Which of the behaviour's faults have happened.
    faults_done: Vec<bool>,
    /// The maximum number of bytes that the application reads.
    reads_until: u64,
    /// Until when the application hangs.
    stalled_until: Instant,
}

impl Slot {
    pub(super) fn new(handle: SocketHandle, outgoing: bool) -> Self {
        Self {
            handle,
            outgoing,
            connection: None,
            next_read: Instant::ZERO,
            read: 0,
            ended: None,
            ends_once_open: None,
            taken_in_at_exit: 0,
            keep_bytes: 0,
            desk: None,
            faults_done: Vec::new(),
            reads_until: u64::MAX,
            stalled_until: Instant::ZERO,
        }
    }

    pub(super) fn begin(&mut self, connection: Connection) {
        *self = Self {
            connection: Some(connection),
            ..Self::new(self.handle, self.outgoing)
        };
    }

    pub(super) fn has_connection(&self) -> bool {
        self.connection.is_some()
    }

    /// The order among the connections of the port, by their beginning.
    pub(super) fn number(&self) -> Option<u64> {
        self.connection.as_ref().map(|connection| connection.number)
    }

    pub(super) fn is_free(&self, socket: &tcp::Socket<'_>) -> bool {
        self.connection.is_none() && socket.state() == tcp::State::Closed
    }

    /// Records what the segments since the last call have done.
    pub(super) fn note(&mut self, socket: &tcp::Socket<'_>, now: Instant, heard_rst: bool) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let (before, state) = (connection.state, socket.state());
        connection.taken_in = self.read + socket.recv_queue() as u64;
        connection.unacknowledged = socket.send_queue();
        if matches!(
            state,
            tcp::State::CloseWait
                | tcp::State::LastAck
                | tcp::State::Closing
                | tcp::State::TimeWait
        ) {
            connection.saw_fin.get_or_insert(now);
        }
        if heard_rst && is_over(state) && !is_over(before) {
            connection.saw_rst.get_or_insert(now);
        }
        connection.state = state;
    }

    /// Lets the application read, send and end. Returns whether it did anything. Faults at
    /// marks are recorded in `suffered`.
    pub(super) fn act(
        &mut self,
        socket: &mut tcp::Socket<'_>,
        behaviour: &Behaviour,
        config: &PeerConfig,
        now: Instant,
        suffered: &mut Suffered,
    ) -> bool {
        self.keep_bytes = config.keep_bytes;
        if behaviour.answers.is_some() && self.connection.is_some() {
            self.desk.get_or_insert_with(Desk::new);
        }
        if self.connection.is_some() && socket.state() == tcp::State::TimeWait {
            // smoltcp drops unread bytes when TIME-WAIT ends.
            self.take(socket, socket.recv_queue());
        }
        if self.connection.is_none() || !is_synchronised(socket.state()) {
            return false;
        }
        let has_faults = !behaviour.faults.is_empty();
        let mut acted = has_faults && self.suffer(socket, behaviour, now, suffered);
        if !suffered.outside.is_empty() {
            return true;
        }
        if now < self.stalled_until {
            return acted;
        }
        acted |= self.read(socket, behaviour.reads, now);
        if self.ended.is_none() {
            let most = self.may_send(behaviour);
            acted |= match self.desk {
                Some(_) => self.answer(socket, behaviour, most, now),
                None => self.send(socket, &behaviour.sends, most),
            };
            acted |= has_faults && self.suffer(socket, behaviour, now, suffered);
        }
        if let Some(how) = self.ends_once_open.take() {
            acted |= self.end(socket, how);
        }
        for &(when, how) in &behaviour.endings {
            if self.is_due(when, &behaviour.sends, now) {
                acted |= self.end(socket, how);
            }
        }
        // An application gets the FIN only after it has read everything.
        let finished = socket.state() == tcp::State::CloseWait && socket.recv_queue() == 0;
        let waits_to_send = match &self.desk {
            Some(desk) => desk.has_plans(),
            None => {
                matches!(&behaviour.sends, Sends::Bytes(_))
                    && !self.is_due(When::Sent, &behaviour.sends, now)
            }
        };
        if finished && behaviour.closes_on_fin && !waits_to_send {
            acted |= self.end(socket, Ending::Fin);
        }
        self.note(socket, now, false);
        acted
    }

    fn read(&mut self, socket: &mut tcp::Socket<'_>, reads: Reads, now: Instant) -> bool {
        let queued = socket.recv_queue();
        if self.ended == Some(Ending::Exit) {
            let late = self.read + queued as u64 > self.taken_in_at_exit;
            return late && self.end(socket, Ending::Reset);
        }
        let limit = match reads {
            Reads::Everything => queued,
            Reads::Rate { bytes, .. } if now >= self.next_read => bytes.min(queued),
            Reads::Rate { .. } | Reads::Nothing => 0,
        };
        let most = self.reads_until.saturating_sub(self.read);
        let limit = limit.min(usize::try_from(most).unwrap_or(usize::MAX));
        if limit == 0 {
            return false;
        }
        if let Reads::Rate { every, .. } = reads {
            self.next_read = now + every;
        }
        self.take(socket, limit);
        true
    }

    /// Reads at most `limit` of the received bytes.
    fn take(&mut self, socket: &mut tcp::Socket<'_>, limit: usize) {
        let mut left = limit;
        // The buffer is a ring: at most two pieces.
        for _ in 0..2 {
            left -= socket
                .recv(|bytes| {
                    let len = bytes.len().min(left);
                    self.keep(&bytes[..len]);
                    (len, len)
                })
                .unwrap_or(0);
        }
        self.read += (limit - left) as u64;
    }

    fn keep(&mut self, bytes: &[u8]) {
        if let Some(desk) = &mut self.desk {
            desk.receive(bytes);
        }
        if let Some(connection) = &mut self.connection {
            let room = self.keep_bytes.saturating_sub(connection.received.len());
            let len = room.min(bytes.len());
            connection.received.extend_from_slice(&bytes[..len]);
        }
    }

    fn send(&mut self, socket: &mut tcp::Socket<'_>, sends: &Sends, most: u64) -> bool {
        let Some(connection) = &mut self.connection else {
            return false;
        };
        let before = connection.sent;
        // The buffer is a ring: at most two pieces.
        for _ in 0..2 {
            let most = usize::try_from(most - (connection.sent - before)).unwrap_or(usize::MAX);
            let sent = match sends {
                Sends::Nothing => Ok(0),
                Sends::Bytes(bytes) => {
                    let done = usize::try_from(connection.sent).unwrap_or(usize::MAX);
                    let left = bytes.get(done..).unwrap_or_default();
                    socket.send_slice(left.get(..most).unwrap_or(left))
                }
                Sends::Flood => socket.send(|room| {
                    let len = room.len().min(most);
                    for (byte, n) in room[..len].iter_mut().zip(connection.sent..) {
                        *byte = (n % FLOOD_PERIOD) as u8;
                    }
                    (len, len)
                }),
            };
            connection.sent += sent.unwrap_or(0) as u64;
        }
        connection.sent > before
    }

    /// Calls the server, if there is one, and sends its replies, at most `most` bytes.
    fn answer(
        &mut self,
        socket: &mut tcp::Socket<'_>,
        behaviour: &Behaviour,
        most: u64,
        now: Instant,
    ) -> bool {
        let (Some(answers), Some(desk), Some(connection)) =
            (&behaviour.answers, &mut self.desk, &mut self.connection)
        else {
            return false;
        };
        let is_at_end = socket.state() == tcp::State::CloseWait && socket.recv_queue() == 0;
        let who = (connection.number, connection.remote);
        if let Some(how) = desk.answer(answers, who, is_at_end, now) {
            return self.end(socket, how);
        }
        let out = desk.to_send();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let sent = socket.send_slice(out.get(..most).unwrap_or(out));
        let sent = sent.unwrap_or(0);
        desk.note_sent(sent);
        connection.sent += sent as u64;
        let closes = desk.closes_now();
        closes && self.end(socket, Ending::Fin) || sent > 0
    }

    // ---- faults at a byte ----

    fn has_happened(&self, number: usize) -> bool {
        self.faults_done.get(number).copied().unwrap_or(false)
    }

    /// The faults that have not happened yet.
    fn to_come<'b>(
        &self,
        behaviour: &'b Behaviour,
    ) -> impl Iterator<Item = (usize, &'b (Mark, StreamFault))> {
        let faults = behaviour.faults.iter().enumerate();
        faults.filter(|&(number, _)| !self.has_happened(number))
    }

    /// The next number of received bytes at which something happens.
    pub(super) fn next_mark(&self, behaviour: &Behaviour) -> Option<u64> {
        let marks = self.to_come(behaviour);
        marks
            .filter_map(|(_, (mark, _))| match *mark {
                Mark::Received(bytes) => Some(bytes),
                Mark::Sent(_) => None,
            })
            .min()
    }

    /// How many more bytes may be sent before something happens.
    fn may_send(&self, behaviour: &Behaviour) -> u64 {
        let sent = self.connection.as_ref().map_or(0, |it| it.sent);
        let marks = self.to_come(behaviour);
        let marks = marks.filter_map(|(_, (mark, _))| match *mark {
            Mark::Sent(bytes) => Some(bytes.saturating_sub(sent)),
            Mark::Received(_) => None,
        });
        marks.min().unwrap_or(u64::MAX)
    }

    /// Performs the faults that are due at the bytes received and sent. Returns whether
    /// there was one.
    fn suffer(
        &mut self,
        socket: &mut tcp::Socket<'_>,
        behaviour: &Behaviour,
        now: Instant,
        suffered: &mut Suffered,
    ) -> bool {
        let (mut any, outside) = (false, &mut suffered.outside);
        for (number, (mark, fault)) in behaviour.faults.iter().enumerate() {
            let Some(connection) = &self.connection else {
                return any;
            };
            let is_due = match (*mark, fault) {
                (Mark::Received(bytes), _) => self.read + socket.recv_queue() as u64 >= bytes,
                (Mark::Sent(bytes), StreamFault::End(Ending::Fin | Ending::Exit)) => {
                    connection.sent >= bytes
                }
                (Mark::Sent(bytes), _) => connection.sent >= bytes && socket.send_queue() == 0,
            };
            if !is_due || self.has_happened(number) {
                continue;
            }
            self.faults_done.resize(behaviour.faults.len(), false);
            self.faults_done[number] = true;
            any = true;
            match fault.clone() {
                StreamFault::End(how) => {
                    self.end(socket, how);
                }
                StreamFault::StopsReading => {
                    self.reads_until = self.read + socket.recv_queue() as u64;
                }
                StreamFault::Stalls(time) => self.stalled_until = now + time,
                StreamFault::LinkDown(time) => outside.push(Outside::LinkDown(time)),
                StreamFault::Vanishes(time) => outside.push(Outside::Vanishes(time)),
                StreamFault::Reboots(seed) => outside.push(Outside::Reboots(seed)),
                StreamFault::Call(action) => outside.push(Outside::Call(action)),
            }
        }
        suffered.any |= any;
        any
    }

    fn is_due(&self, when: When, sends: &Sends, now: Instant) -> bool {
        let Some(connection) = &self.connection else {
            return false;
        };
        match (when, sends) {
            (When::TakenIn(bytes), _) => connection.taken_in >= bytes,
            (When::At(time), _) => now >= time,
            (When::Sent, Sends::Nothing) => true,
            (When::Sent, Sends::Bytes(bytes)) => connection.sent >= bytes.len() as u64,
            (When::Sent, Sends::Flood) => false,
        }
    }

    /// Ends the connection, unless it was already ended at least as strongly.
    pub(super) fn end(&mut self, socket: &mut tcp::Socket<'_>, how: Ending) -> bool {
        if self.connection.is_none() || self.ended >= Some(how) {
            return false;
        }
        if how != Ending::Reset && !is_synchronised(socket.state()) {
            // If a socket is closed in SYN-RECEIVED, smoltcp mistakes the ACK of the SYN
            // for the ACK of the FIN, and then never sends the FIN.
            self.ends_once_open = self.ends_once_open.max(Some(how));
            return false;
        }
        self.ended = Some(how);
        match how {
            Ending::Fin => socket.close(),
            Ending::Exit => {
                self.taken_in_at_exit = self.read + socket.recv_queue() as u64;
                socket.close();
            }
            Ending::Reset => socket.abort(),
        }
        true
    }

    /// Removes the connection once its socket has nothing more to send.
    pub(super) fn retire(
        &mut self,
        socket: &mut tcp::Socket<'_>,
        config: &PeerConfig,
        now: Instant,
    ) -> Option<Connection> {
        self.keep_bytes = config.keep_bytes;
        // An aborted socket has its remote endpoint until its RST was sent.
        if !is_over(socket.state()) || socket.remote_endpoint().is_some() {
            return None;
        }
        self.add_unread(socket);
        let mut connection = self.connection.take()?;
        connection.state = tcp::State::Closed;
        connection.ended_at = Some(now);
        Some(connection)
    }

    /// Records what the application will never read.
    fn add_unread(&mut self, socket: &mut tcp::Socket<'_>) {
        let unread = peek_all(socket);
        self.keep(&unread);
    }

    /// The present record of the connection, with the bytes if requested.
    pub(super) fn snapshot(
        &self,
        socket: &mut tcp::Socket<'_>,
        with_bytes: bool,
    ) -> Option<Connection> {
        let connection = self.connection.as_ref()?;
        let mut received = Vec::new();
        if with_bytes {
            received.extend_from_slice(&connection.received);
            received.extend(peek_all(socket));
            received.truncate(self.keep_bytes);
        }
        Some(Connection {
            received,
            state: socket.state(),
            taken_in: self.read + socket.recv_queue() as u64,
            unacknowledged: socket.send_queue(),
            ..connection.without_bytes()
        })
    }

    /// When the application acts next by itself.
    pub(super) fn next_due(
        &self,
        socket: &tcp::Socket<'_>,
        behaviour: &Behaviour,
        now: Instant,
    ) -> Instant {
        if self.connection.is_none() || !is_synchronised(socket.state()) {
            return Instant::NEVER;
        }
        let rated = matches!(behaviour.reads, Reads::Rate { bytes, .. } if bytes > 0);
        let reads_on = self.ended != Some(Ending::Exit);
        let read = if rated && reads_on && socket.recv_queue() > 0 {
            self.next_read
        } else {
            Instant::NEVER
        };
        if now < self.stalled_until {
            return self.stalled_until;
        }
        let call_at = self.desk.as_ref().map_or(Instant::NEVER, Desk::call_at);
        let read = match self.ended {
            None => read.min(call_at),
            Some(_) => read,
        };
        let endings = behaviour.endings.iter().map(|&(when, how)| match when {
            When::At(time) if self.ended < Some(how) => time,
            When::At(_) | When::TakenIn(_) | When::Sent => Instant::NEVER,
        });
        endings.fold(read, Instant::min)
    }
}

fn peek_all(socket: &mut tcp::Socket<'_>) -> Vec<u8> {
    let mut unread = vec![0; socket.recv_queue()];
    let len = socket.peek_slice(&mut unread).unwrap_or(0);
    unread.truncate(len);
    unread
}

/// Whether the application may read, send or end.
fn is_synchronised(state: tcp::State) -> bool {
    match state {
        tcp::State::Established
        | tcp::State::FinWait1
        | tcp::State::FinWait2
        | tcp::State::CloseWait
        | tcp::State::Closing
        | tcp::State::LastAck => true,
        tcp::State::Closed
        | tcp::State::Listen
        | tcp::State::SynSent
        | tcp::State::SynReceived
        | tcp::State::TimeWait => false,
    }
}

/// Whether the connection is over (a listener that was reset in SYN-RECEIVED listens
/// again by itself).
fn is_over(state: tcp::State) -> bool {
    matches!(state, tcp::State::Closed | tcp::State::Listen)
}
