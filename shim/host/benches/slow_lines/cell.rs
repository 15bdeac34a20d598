//! One cell of the table: its parameters, the time of the line itself, and one run of it.

use crate::Failure;
use crate::content::Content;
use crate::ends::{self, End, FIRST_PORT, Plan, Writer};
use lastbyte::core::Nagle;
use lastbyte::{Instant, WriteError};
use lastbyte_sim::loopback::{Behaviour, Direction, FrameEvent, World, WorldConfig};
use lastbyte_sim::{Chance, Link, Links};
use smoltcp::wire::{IpProtocol, Ipv4Packet, TcpPacket};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// The round trip over an empty line.
pub const ROUND_TRIP: Duration = Duration::from_millis(100);
/// A run stops at this multiple of the line's own time, but not before [`LONG`].
pub const CAP: u32 = 20;
/// No run stops before this.
pub const LONG: Duration = Duration::from_secs(120);
/// The number of octets of IPv4 and TCP headers in each data segment.
const HEADERS: u64 = 40;
/// The number of octets of data in a full segment.
const SEGMENT: u64 = 1460;
/// The size of the peer's receive buffer: more than any line holds.
const PEER_WINDOW: usize = 256 * 1024;
/// The queue of the line back, in frames, which carries only ACKs.
const RETURN_QUEUE: usize = 100;
/// The size of one write.
const WRITE: u64 = 64 * 1024;

/// A line: its rate, and how much each connection sends over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    pub name: &'static str,
    pub bits_a_second: u64,
    pub bytes: u64,
}

pub const LINES: [Line; 3] = [
    Line {
        name: "64 kbit/s",
        bits_a_second: 64_000,
        bytes: 100_000,
    },
    Line {
        name: "1 Mbit/s",
        bits_a_second: 1_000_000,
        bytes: 500_000,
    },
    Line {
        name: "10 Mbit/s",
        bits_a_second: 10_000_000,
        bytes: 2_000_000,
    },
];
pub const QUEUES: [usize; 3] = [5, 8, 50];
pub const BUFFERS: [usize; 4] = [2 << 10, 4 << 10, 16 << 10, 64 << 10];
/// The percentage of lost frames, in each direction.
pub const LOSSES: [u32; 3] = [0, 1, 10];
pub const CONNECTIONS: [usize; 3] = [1, 4, 8];

/// One cell of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    pub line: Line,
    /// The queue of the line, in frames.
    pub queue: usize,
    /// The size of each connection's transmit buffer.
    pub buffer: usize,
    /// Percent.
    pub loss: u32,
    pub connections: usize,
}

/// The result of a run.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// The time from the first SYN until the peer had the last byte; `None` if the run
    /// was stopped before, or a connection ended.
    pub time: Option<Duration>,
    /// Whether a timeout of lastbyte ended a connection.
    pub has_ended: bool,
    /// The number of octets of data that our end sent.
    pub sent: u64,
    /// The number of octets of data that the peer received.
    pub delivered: u64,
}

impl Cell {
    /// Every cell.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for line in LINES {
            for queue in QUEUES {
                for buffer in BUFFERS {
                    for loss in LOSSES {
                        all.extend(CONNECTIONS.map(|connections| Self {
                            line,
                            queue,
                            buffer,
                            loss,
                            connections,
                        }));
                    }
                }
            }
        }
        all
    }

    /// The time of the line if it is never idle and carries nothing twice: the handshake,
    /// then every octet, then the latency.
    pub fn own_time(&self) -> Duration {
        let octets = self.line.bytes + HEADERS * self.line.bytes.div_ceil(SEGMENT);
        let bits = octets * 8 * self.connections as u64;
        Duration::from_micros(bits * 1_000_000 / self.line.bits_a_second) + ROUND_TRIP * 3 / 2
    }

    /// When a run stops.
    pub fn limit(&self) -> Duration {
        LONG.max(self.own_time() * CAP)
    }

    fn links(&self) -> Links {
        let to_us = Link {
            latency: ROUND_TRIP / 2,
            loss: Chance::percent(self.loss),
            bandwidth: Some(self.line.bits_a_second / 8),
            queue_frames: RETURN_QUEUE,
            ..Link::default()
        };
        Links {
            to_peer: Link {
                queue_frames: self.queue,
                ..to_us.clone()
            },
            to_us,
        }
    }

    /// One run. Lossy lines differ by `seed`; the others do not.
    pub fn run(&self, writer: Writer, seed: u64, content: &Content) -> Result<Outcome, Failure> {
        let world = World::new(WorldConfig::ip());
        self.links().lay(&world, seed);
        for port in (FIRST_PORT..).take(self.connections) {
            let sink = Behaviour::sink().rx_buffer(PEER_WINDOW);
            world.peer().listen(port, sink);
        }
        let tally = Tally::watch(&world, self);
        let began = world.now();
        let limit = began + self.limit();
        let plan = Plan {
            connections: self.connections,
            buffer: self.buffer,
            nagle: Nagle::On,
        };
        let delivered = ends::with(writer, &world, plan, |end| {
            self.deliver(end, &world, limit, content)
        });
        let has_ended = match delivered {
            Ok(()) => false,
            Err(error) if error.is::<WriteError>() => true,
            Err(error) => return Err(error),
        };
        let tally = tally.borrow();
        self.check(&world, content)?;
        let times: Option<Vec<Instant>> = tally.complete_at.iter().copied().collect();
        let last = times.and_then(|times| times.into_iter().max());
        let ports = (FIRST_PORT..).take(self.connections);
        Ok(Outcome {
            time: last.map(|at| at.since(began)),
            has_ended,
            sent: tally.sent,
            delivered: ports.map(|port| world.peer().taken_in(port)).sum(),
        })
    }

    /// Writes, closes, and waits until every byte is acknowledged.
    fn deliver(
        &self,
        end: &mut dyn End,
        world: &World,
        limit: Instant,
        content: &Content,
    ) -> Result<(), Failure> {
        let total = self.line.bytes;
        let mut written = vec![0; self.connections];
        while world.now() < limit {
            let mut is_done = true;
            for (connection, written) in written.iter_mut().enumerate() {
                while *written < total {
                    let piece = content.at(*written, WRITE.min(total - *written) as usize);
                    let accepted = end.write(connection, piece)? as u64;
                    *written += accepted;
                    if *written == total {
                        end.close(connection)?;
                    }
                    if accepted == 0 {
                        break;
                    }
                }
                is_done &= end.acknowledged(connection)? == total;
            }
            if is_done {
                break;
            }
            end.wait(limit);
        }
        Ok(())
    }

    /// Fails unless the peer has received, in order, what was sent to it.
    fn check(&self, world: &World, content: &Content) -> Result<(), Failure> {
        for port in (FIRST_PORT..).take(self.connections) {
            let received = world.peer().received(port);
            let mut position = 0;
            for piece in received.chunks(WRITE as usize) {
                if piece != content.at(position, piece.len()) {
                    return Err(format!("the peer got other bytes than were sent: {self:?}").into());
                }
                position += piece.len() as u64;
            }
        }
        Ok(())
    }
}

/// Counts what crosses the wire.
#[derive(Debug)]
struct Tally {
    /// The number of octets of data from our end, including lost ones.
    sent: u64,
    /// When the peer had the last byte, by connection.
    complete_at: Vec<Option<Instant>>,
}

impl Tally {
    fn watch(world: &World, cell: &Cell) -> Rc<RefCell<Self>> {
        let tally = Rc::new(RefCell::new(Self {
            sent: 0,
            complete_at: vec![None; cell.connections],
        }));
        let (seen, total) = (Rc::clone(&tally), cell.line.bytes);
        world.observe(move |world, event| {
            let Some((port, data)) = data_to_peer(event) else {
                return;
            };
            seen.borrow_mut().sent += data;
            let Some(at) = event.fate.arrives_at().filter(|_| data > 0) else {
                return;
            };
            let seen = Rc::clone(&seen);
            // Actions come before the frames of the same time.
            world.at(at + Duration::from_micros(1), move |world| {
                let mut tally = seen.borrow_mut();
                let connection = usize::from(port.wrapping_sub(FIRST_PORT));
                let Some(complete_at) = tally.complete_at.get_mut(connection) else {
                    return;
                };
                if complete_at.is_none() && world.peer().taken_in(port) >= total {
                    *complete_at = Some(at);
                }
            });
        });
        tally
    }
}

/// The peer's port and the number of data octets of a segment of ours.
fn data_to_peer(event: &FrameEvent<'_>) -> Option<(u16, u64)> {
    if event.direction != Direction::ToPeer {
        return None;
    }
    let packet = Ipv4Packet::new_checked(event.frame).ok()?;
    if packet.next_header() != IpProtocol::Tcp {
        return None;
    }
    let segment = TcpPacket::new_checked(packet.payload()).ok()?;
    Some((segment.dst_port(), segment.payload().len() as u64))
}
