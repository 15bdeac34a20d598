//! What the application at the peer does with a connection.

use std::rc::Rc;
use std::time::Duration;

use lastbyte::Instant;

use super::{Answers, Mark, Reply, StreamFault};

/// How the application reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reads {
    /// It reads everything at once.
    #[default]
    Everything,
    /// It reads at most this many bytes, then pauses.
    Rate {
        /// Bytes read at once.
        bytes: usize,
        /// Pause after each read.
        every: Duration,
    },
    /// It never reads: its window closes once the receive buffer is full.
    Nothing,
}

/// What the application sends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Sends {
    /// Nothing.
    #[default]
    Nothing,
    /// These bytes, once.
    Bytes(Rc<[u8]>),
    /// As much as the window allows, without end; byte `n` is `n % 251`.
    Flood,
}

/// When the application ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// When its TCP has received at least this many bytes: all bytes of the segment with the
    /// last of them count. [`Mark::Received`] is exact.
    TakenIn(u64),
    /// At this time. A connection that begins later ends as soon as it is open.
    At(Instant),
    /// When everything that it sends was passed to its TCP.
    Sent,
}

/// How the application ends the connection. The later variants are stronger, and may
/// follow a weaker one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// `shutdown`: a FIN; it reads on as before (half-close).
    Fin,
    /// `exit`: a FIN, and a RST in answer to data that arrives afterwards.
    Exit,
    /// A RST.
    Reset,
}

/// What the application at the peer does with each connection of a port.
///
/// The fields may be set directly; the methods read well in a test.
///
/// ```
/// use std::time::Duration;
/// use lastbyte_sim::loopback::Behaviour;
///
/// // Answers, then half-closes, and reads 100 bytes a second.
/// let behaviour = Behaviour::sink()
///     .sending(*b"hello")
///     .closing_after_sending()
///     .reading(100, Duration::from_secs(1));
/// # let _ = behaviour;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// How it reads.
    pub reads: Reads,
    /// What it sends.
    pub sends: Sends,
    /// Code of the test that answers, in place of `sends`.
    pub answers: Option<Answers>,
    /// The faults at certain bytes, for each connection. Several faults at one mark
    /// happen in this order.
    pub faults: Vec<(Mark, StreamFault)>,
    /// How it ends the connection by itself. A weaker ending after a stronger
    /// one does nothing.
    pub endings: Vec<(When, Ending)>,
    /// Whether it closes once it has read everything up to our FIN.
    pub closes_on_fin: bool,
    /// Whether a socket listens again after its connection has ended.
    pub listens_again: bool,
    /// Sockets that listen at once; at least one.
    pub backlog: usize,
    /// Size of each receive buffer in bytes; it bounds the window.
    pub rx_buffer: usize,
    /// Size of each send buffer in bytes.
    pub tx_buffer: usize,
    /// How long acknowledgements are delayed; `None`: not at all.
    pub ack_delay: Option<Duration>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self::sink()
    }
}

impl Behaviour {
    /// Reads everything, sends nothing, closes after our FIN, listens again:
    /// a discard server. One socket, 65,535-byte receive buffer, 4096-byte
    /// send buffer, acknowledgements delayed by 10 ms.
    #[must_use]
    pub fn sink() -> Self {
        Self {
            reads: Reads::Everything,
            sends: Sends::Nothing,
            answers: None,
            faults: Vec::new(),
            endings: Vec::new(),
            closes_on_fin: true,
            listens_again: true,
            backlog: 1,
            rx_buffer: usize::from(u16::MAX),
            tx_buffer: 4096,
            ack_delay: Some(Duration::from_millis(10)),
        }
    }

    /// Like [`Behaviour::sink`], but never reads: the window closes.
    #[must_use]
    pub fn silent() -> Self {
        Self {
            reads: Reads::Nothing,
            ..Self::sink()
        }
    }

    /// Like [`Behaviour::sink`], with code of the test that answers: see
    /// [`Peer::serve`](super::Peer::serve). Its send buffer holds 16 KiB.
    ///
    /// ```
    /// use lastbyte_sim::loopback::{Behaviour, Ending, Mark, StreamFault, World, WorldConfig};
    ///
    /// // An echo that breaks off in the middle of its second reply of ten bytes.
    /// let echo = Behaviour::serving(|received, reply| {
    ///     reply.send(received);
    ///     received.clear();
    /// })
    /// .fault(Mark::Sent(15), StreamFault::End(Ending::Fin));
    /// World::new(WorldConfig::default()).peer().listen(7, echo);
    /// ```
    #[must_use]
    pub fn serving(answer: impl FnMut(&mut Vec<u8>, &mut Reply<'_>) + 'static) -> Self {
        Self {
            answers: Some(Answers::new(answer)),
            tx_buffer: 16 * 1024,
            ..Self::sink()
        }
    }

    /// Adds a fault at exactly this byte of each connection: see [`StreamFault`].
    #[must_use]
    pub fn fault(mut self, at: Mark, fault: StreamFault) -> Self {
        self.faults.push((at, fault));
        self
    }

    /// Reads at most `bytes`, then pauses for `every`.
    #[must_use]
    pub fn reading(mut self, bytes: usize, every: Duration) -> Self {
        self.reads = Reads::Rate { bytes, every };
        self
    }

    /// Sends these bytes.
    #[must_use]
    pub fn sending(mut self, bytes: impl Into<Rc<[u8]>>) -> Self {
        self.sends = Sends::Bytes(bytes.into());
        self
    }

    /// Sends as much as the window allows, without end.
    #[must_use]
    pub fn flooding(mut self) -> Self {
        self.sends = Sends::Flood;
        self
    }

    /// Ends the connection at this time, in this way.
    #[must_use]
    pub fn ending(mut self, when: When, how: Ending) -> Self {
        self.endings.push((when, how));
        self
    }

    /// Half-closes once `bytes` were received.
    #[must_use]
    pub fn closing_after(self, bytes: u64) -> Self {
        self.ending(When::TakenIn(bytes), Ending::Fin)
    }

    /// Half-closes at `time`.
    #[must_use]
    pub fn closing_at(self, time: Instant) -> Self {
        self.ending(When::At(time), Ending::Fin)
    }

    /// Half-closes after everything it sends.
    #[must_use]
    pub fn closing_after_sending(self) -> Self {
        self.ending(When::Sent, Ending::Fin)
    }

    /// Resets once `bytes` were received.
    #[must_use]
    pub fn aborting_after(self, bytes: u64) -> Self {
        self.ending(When::TakenIn(bytes), Ending::Reset)
    }

    /// Resets at `time`.
    #[must_use]
    pub fn aborting_at(self, time: Instant) -> Self {
        self.ending(When::At(time), Ending::Reset)
    }

    /// Exits once `bytes` were received.
    #[must_use]
    pub fn exiting_after(self, bytes: u64) -> Self {
        self.ending(When::TakenIn(bytes), Ending::Exit)
    }

    /// Exits at `time`.
    #[must_use]
    pub fn exiting_at(self, time: Instant) -> Self {
        self.ending(When::At(time), Ending::Exit)
    }

    /// Does not close its direction after our FIN.
    #[must_use]
    pub fn staying_open(mut self) -> Self {
        self.closes_on_fin = false;
        self
    }

    /// Accepts one connection for each socket, then refuses.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.listens_again = false;
        self
    }

    /// Listens with this many sockets at once.
    #[must_use]
    pub fn backlog(mut self, sockets: usize) -> Self {
        self.backlog = sockets;
        self
    }

    /// Receives into buffers of this many bytes.
    #[must_use]
    pub fn rx_buffer(mut self, bytes: usize) -> Self {
        self.rx_buffer = bytes;
        self
    }

    /// Acknowledges every segment at once.
    #[must_use]
    pub fn acking_at_once(mut self) -> Self {
        self.ack_delay = None;
        self
    }
}
