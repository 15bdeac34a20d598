//! The kernel's beats: its TCP in a network namespace, over a TAP. The other end of the
//! TAP is a world with the same line and the same peer, run in real time.

use crate::Failure;
use crate::beats::{self, EVERY, NAGLES};
use crate::content::Content;
use crate::ends::FIRST_PORT;
use lastbyte::Clock;
use lastbyte::core::Nagle;
use lastbyte_host::host_clock::HostClock;
use lastbyte_host::namespace::{self, OUR_V4, PREFIX_V4};
use lastbyte_host::tap::{Offload, Tap};
use lastbyte_sim::loopback::{Behaviour, Direction, LoopDevice, World, WorldConfig, smoltcp_time};
use smoltcp::phy::{Device, RxToken, TxToken};
use smoltcp::wire::{EthernetFrame, IpCidr, IpProtocol, Ipv4Packet, TcpPacket};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

/// The number of connections that beat in parallel, so that many beats take little time.
const CONNECTIONS: usize = 100;
/// The resolution of the times.
const TICK: Duration = Duration::from_millis(1);
/// How long the last beats may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A beat that the kernel accepted.
#[derive(Debug, Clone, Copy)]
struct Beat {
    /// The time since the beginning.
    at: Duration,
    /// Its end in the stream.
    ends: u32,
}

/// The times of this many beats of each connection, for each of [`NAGLES`], which share
/// the connections.
pub fn run(beats_each: usize, content: &Content) -> Result<[Vec<Duration>; 2], Failure> {
    namespace::run_with(Offload::None, |_namespace, tap| {
        let world = World::new(WorldConfig::default());
        beats::links().lay(&world, 0);
        let peer = world.peer();
        // The kernel has the address that is otherwise the peer's.
        peer.set_addresses(&[IpCidr::new(OUR_V4.into(), PREFIX_V4)]);
        peer.listen(FIRST_PORT, Behaviour::sink().backlog(CONNECTIONS));
        let acks = Acks::watch(&world);
        let began = Instant::now();
        let beats = thread::scope(|scope| {
            let clients: Vec<_> = (0..CONNECTIONS)
                .map(|number| scope.spawn(move || client(number, beats_each, began, content)))
                .collect();
            let mut path = Path::new(&world, tap, began)?;
            while !clients.iter().all(thread::ScopedJoinHandle::is_finished) {
                path.carry();
            }
            let mut all = Vec::new();
            for client in clients {
                all.push(client.join().map_err(|_| "a client failed")??);
            }
            let limit = Instant::now() + PATIENCE;
            while Instant::now() < limit && !acks.borrow().cover(&all) {
                path.carry();
            }
            Ok::<_, Failure>(all)
        })?;
        let (off, on): (Vec<_>, Vec<_>) = beats.into_iter().partition(Client::is_eager);
        let acks = acks.borrow();
        Ok([acks.times(&world, &on)?, acks.times(&world, &off)?])
    })?
}

/// One connection of the kernel: its local port and its beats. The stream stays open
/// while they are evaluated.
struct Client {
    port: u16,
    beats: Vec<Beat>,
    nagle: Nagle,
    _stream: TcpStream,
}

impl Client {
    fn is_eager(&self) -> bool {
        self.nagle == Nagle::Off
    }
}

fn client(
    number: usize,
    beats: usize,
    began: Instant,
    content: &Content,
) -> Result<Client, Failure> {
    let mut stream = TcpStream::connect((OUR_V4, FIRST_PORT))?;
    let port = stream.local_addr()?.port();
    let nagle = NAGLES[number % NAGLES.len()];
    stream.set_nodelay(nagle == Nagle::Off)?;
    let now = began.elapsed();
    let phase = EVERY * number as u32 / CONNECTIONS as u32;
    let first = Duration::from_secs(now.as_secs() + 1) + phase;
    let (mut sent, mut all) = (0, Vec::with_capacity(beats));
    for beat in 0..beats {
        let due = first + EVERY * beat as u32;
        thread::sleep(due.saturating_sub(began.elapsed()));
        let bytes = content.at(sent, beats::length(beat + number * beats, content));
        sent += bytes.len() as u64;
        let at = began.elapsed();
        stream.write_all(bytes)?;
        let ends = u32::try_from(sent)?;
        all.push(Beat { at, ends });
    }
    Ok(Client {
        port,
        beats: all,
        nagle,
        _stream: stream,
    })
}

/// The path between the kernel and the world.
struct Path<'w> {
    world: &'w World,
    tap: Tap,
    device: LoopDevice,
    clock: HostClock,
    began: Instant,
}

impl<'w> Path<'w> {
    fn new(world: &'w World, tap: Tap, began: Instant) -> Result<Self, Failure> {
        Ok(Self {
            clock: HostClock::watching(&tap)?,
            device: world.device(),
            world,
            tap,
            began,
        })
    }

    /// Moves the received frames, then waits for at most a tick.
    fn carry(&mut self) {
        self.world.run_until(self.world.after(self.began.elapsed()));
        let now = smoltcp_time(self.world.now());
        pass(&mut self.tap, &mut self.device, now);
        pass(&mut self.device, &mut self.tap, now);
        let until = self.clock.now() + TICK;
        self.clock.wait(Some(until));
    }
}

/// Moves every frame that has arrived from one device to another.
fn pass(from: &mut impl Device, to: &mut impl Device, now: smoltcp::time::Instant) {
    while let Some((rx, _)) = from.receive(now) {
        rx.consume(|frame| {
            if let Some(tx) = to.transmit(now) {
                tx.consume(frame.len(), |room| room.copy_from_slice(frame));
            }
        });
    }
}

/// What the kernel received, by its port.
#[derive(Debug, Default)]
struct Acks(BTreeMap<u16, Heard>);

#[derive(Debug)]
struct Heard {
    /// The number of its SYN.
    first: u32,
    /// How many octets were acknowledged, and when.
    acknowledged: Vec<(u32, lastbyte::Instant)>,
}

impl Acks {
    fn watch(world: &World) -> Rc<RefCell<Self>> {
        let acks = Rc::new(RefCell::new(Self::default()));
        let seen = Rc::clone(&acks);
        world.witness(move |at, direction, frame| {
            seen.borrow_mut().note(at, direction, frame);
        });
        acks
    }

    fn note(&mut self, at: lastbyte::Instant, direction: Direction, frame: &[u8]) -> Option<()> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
        let segment = TcpPacket::new_checked(packet.payload()).ok()?;
        if packet.next_header() != IpProtocol::Tcp {
            return None;
        }
        match direction {
            Direction::ToPeer if segment.syn() => {
                let heard = Heard {
                    first: segment.seq_number().0.cast_unsigned(),
                    acknowledged: Vec::new(),
                };
                self.0.entry(segment.src_port()).or_insert(heard);
            }
            Direction::ToPeer => {}
            Direction::ToUs => {
                let heard = self.0.get_mut(&segment.dst_port())?;
                let number = segment.ack_number().0.cast_unsigned();
                let octets = number.wrapping_sub(heard.first).wrapping_sub(1);
                if octets > heard.acknowledged() {
                    heard.acknowledged.push((octets, at));
                }
            }
        }
        Some(())
    }

    /// Whether every beat is acknowledged.
    fn cover(&self, clients: &[Client]) -> bool {
        clients.iter().all(|client| {
            let heard = self.0.get(&client.port).map_or(0, Heard::acknowledged);
            client.beats.last().is_none_or(|beat| beat.ends <= heard)
        })
    }

    fn times(&self, world: &World, clients: &[Client]) -> Result<Vec<Duration>, Failure> {
        let mut times = Vec::new();
        for client in clients {
            let heard = self.0.get(&client.port).ok_or("a connection unheard")?;
            for beat in &client.beats {
                let mut acks = heard.acknowledged.iter();
                let ack = acks.find(|(octets, _)| *octets >= beat.ends);
                let (_, at) = ack.ok_or("a beat was not acknowledged in time")?;
                times.push(at.since(world.after(beat.at)));
            }
        }
        Ok(times)
    }
}

impl Heard {
    fn acknowledged(&self) -> u32 {
        self.acknowledged.last().map_or(0, |(octets, _)| *octets)
    }
}
