//! The senders: lastbyte, a bare smoltcp loop, and the kernel.

use crate::content::Content;
use crate::{Call, Failure, Outcome, PORT, Plan, Polls};
use embedded_io::Write as _;
use lastbyte::stack::{Config, ConnectionId, SlotBuffers, Stack};
use lastbyte::{Clock, Options, WriteError};
use lastbyte_sim::loopback::{lastbyte_time, smoltcp_time};
use nix::time::{ClockId, clock_gettime};
use smoltcp::iface::{Interface, SocketHandle, SocketSet, SocketStorage};
use smoltcp::phy::Device;
use smoltcp::socket::tcp;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Address};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

const RX_BUFFER: usize = 16 * 1024;

/// Both ends of every connection.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    pub mac: EthernetAddress,
    pub own: Ipv4Address,
    pub prefix: u8,
    pub peer: Ipv4Address,
}

/// Measures from its creation to [`Stopwatch::outcome`].
#[derive(Debug)]
struct Stopwatch {
    started: Instant,
    cpu: Duration,
}

impl Stopwatch {
    fn start() -> Result<Self, Failure> {
        Ok(Self {
            cpu: cpu_time()?,
            started: Instant::now(),
        })
    }

    fn outcome(&self, bytes: u64) -> Result<Outcome, Failure> {
        let seconds = self.started.elapsed().as_secs_f64();
        let cpu_seconds = cpu_time()?.saturating_sub(self.cpu).as_secs_f64();
        Ok(Outcome {
            bytes,
            seconds,
            cpu_seconds,
        })
    }
}

/// The processor time of this thread, including its system calls.
fn cpu_time() -> Result<Duration, Failure> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// Whether the time is up. The clock is only read from time to time, because that takes
/// longer than a small write.
#[derive(Debug)]
struct Limit {
    until: Instant,
    every: u32,
    count: u32,
}

impl Limit {
    fn new(plan: &Plan) -> Self {
        Self {
            until: Instant::now() + plan.time,
            every: u32::try_from(16_384 / plan.write).unwrap_or(0).clamp(1, 64),
            count: 0,
        }
    }

    fn is_reached(&mut self) -> bool {
        self.count += 1;
        self.count.is_multiple_of(self.every) && Instant::now() >= self.until
    }
}

/// lastbyte with `N` connections, lent to `program` once all are open.
fn with_stack<const N: usize, D: Device, C: Clock, R>(
    (device, clock): (D, C),
    ends: Ends,
    buffer: usize,
    program: impl FnOnce(&mut Stack<'_, D, C, N>, [ConnectionId; N]) -> Result<R, Failure>,
) -> Result<R, Failure> {
    let mut memory: Vec<_> = (0..N)
        .map(|_| (vec![0; buffer], vec![0; RX_BUFFER]))
        .collect();
    let mut memory = memory.iter_mut();
    let buffers = std::array::from_fn(|_| match memory.next() {
        Some((tx, rx)) => SlotBuffers { tx, rx },
        None => SlotBuffers {
            tx: &mut [],
            rx: &mut [],
        },
    });
    let mut storage = [const { SocketStorage::EMPTY }; N];
    let config = Config::new(ends.mac.into(), seed());
    let mut stack = Stack::new(device, clock, config, buffers, &mut storage)?;
    stack.interface_mut().update_ip_addrs(|own| {
        let _ = own.push(IpCidr::new(ends.own.into(), ends.prefix));
    });
    let mut ids = Vec::with_capacity(N);
    for _ in 0..N {
        let id = stack.connect((ends.peer, PORT), Options::default())?;
        stack.wait_open(id)?;
        ids.push(id);
    }
    let ids = <[ConnectionId; N]>::try_from(ids).map_err(|_| "as many as were opened")?;
    program(&mut stack, ids)
}

/// Different in each run, as for a restarted device.
fn seed() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |since| since.as_nanos() as u64)
}

/// lastbyte: writes according to the plan until the time is up, flushes, finishes.
pub fn ours<D: Device, C: Clock>(
    parts: (D, C),
    ends: Ends,
    plan: &Plan,
    content: &Content,
) -> Result<Outcome, Failure> {
    with_stack::<1, _, _, _>(parts, ends, plan.buffer, |stack, [id]| {
        let mut writer = stack.writer(id)?;
        let watch = Stopwatch::start()?;
        let mut limit = Limit::new(plan);
        let mut sent = 0;
        while !limit.is_reached() {
            let piece = content.at(sent, plan.write);
            sent += match plan.call {
                Call::Write => writer.write(piece)?,
                Call::WriteMore => writer.write_more(piece)?,
            } as u64;
        }
        writer.flush()?;
        let outcome = watch.outcome(sent)?;
        writer.finish()?;
        Ok(outcome)
    })
}

/// lastbyte with `N` connections, of which the first `busy` send.
pub fn ours_many<const N: usize, D: Device, C: Clock>(
    parts: (D, C),
    ends: Ends,
    plan: &Plan,
    busy: usize,
    content: &Content,
) -> Result<Outcome, Failure> {
    with_stack::<N, _, _, _>(parts, ends, plan.buffer, |stack, ids| {
        let busy = ids.get(..busy).unwrap_or(&ids);
        let mut sent = vec![0; busy.len()];
        let watch = Stopwatch::start()?;
        let mut limit = Limit::new(plan);
        while !limit.is_reached() {
            let mut moved = 0;
            for (id, sent) in busy.iter().zip(&mut sent) {
                let piece = content.at(*sent, plan.write);
                let accepted = match stack.writer(*id)?.try_write(piece) {
                    Err(WriteError::WouldBlock { .. }) => 0,
                    result => result? as u64,
                };
                *sent += accepted;
                moved += accepted;
            }
            if moved == 0 {
                stack.wait(lastbyte::Instant::NEVER);
            }
        }
        for id in busy {
            stack.writer(*id)?.flush()?;
        }
        let outcome = watch.outcome(sent.iter().sum())?;
        for id in ids {
            stack.writer(id)?.finish()?;
        }
        Ok(outcome)
    })
}

/// The time of each of `count` writes of 64 bytes until it is acknowledged.
pub fn ours_latency<D: Device, C: Clock>(
    parts: (D, C),
    ends: Ends,
    count: usize,
    content: &Content,
) -> Result<Vec<Duration>, Failure> {
    with_stack::<1, _, _, _>(parts, ends, 64 * 1024, |stack, [id]| {
        let mut writer = stack.writer(id)?;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let started = Instant::now();
            writer.write_all(content.at(0, 64))?;
            writer.flush()?;
            times.push(started.elapsed());
        }
        writer.finish()?;
        Ok(times)
    })
}

/// What a user of smoltcp would write: an interface, its sockets, and a loop that fills
/// the buffers, polls, and waits.
struct Bare<'w, D: Device> {
    device: D,
    interface: Interface,
    sockets: SocketSet<'static>,
    handles: Vec<SocketHandle>,
    clock: &'w mut dyn Clock,
}

impl<'w, D: Device> Bare<'w, D> {
    fn new(
        (mut device, clock): (D, &'w mut dyn Clock),
        ends: Ends,
        connections: usize,
        buffer: usize,
    ) -> Result<Self, Failure> {
        let mut config = smoltcp::iface::Config::new(HardwareAddress::from(ends.mac));
        config.random_seed = seed();
        let mut interface = Interface::new(config, &mut device, smoltcp_time(clock.now()));
        interface.update_ip_addrs(|own| {
            let _ = own.push(IpCidr::new(ends.own.into(), ends.prefix));
        });
        let mut sockets = SocketSet::new(vec![]);
        let handles = (0..connections)
            .map(|_| {
                let memory = |len| tcp::SocketBuffer::new(vec![0; len]);
                sockets.add(tcp::Socket::new(memory(RX_BUFFER), memory(buffer)))
            })
            .collect();
        let mut bare = Self {
            device,
            interface,
            sockets,
            handles,
            clock,
        };
        let first_port = 49_152 + (seed() % 16_000) as u16;
        for (port, handle) in (first_port..).zip(bare.handles.clone()) {
            let socket = bare.sockets.get_mut::<tcp::Socket<'_>>(handle);
            socket
                .connect(bare.interface.context(), (ends.peer, PORT), port)
                .map_err(|error| format!("connect: {error:?}"))?;
            bare.until(handle, tcp::Socket::may_send)?;
        }
        Ok(bare)
    }

    fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    fn poll(&mut self) {
        let now = smoltcp_time(self.clock.now());
        self.interface
            .poll(now, &mut self.device, &mut self.sockets);
    }

    fn wait(&mut self) {
        let now = smoltcp_time(self.clock.now());
        let next = self.interface.poll_at(now, &self.sockets);
        self.clock.wait(next.map(lastbyte_time));
    }

    fn until(
        &mut self,
        handle: SocketHandle,
        is_done: impl Fn(&tcp::Socket<'static>) -> bool,
    ) -> Result<(), Failure> {
        loop {
            self.poll();
            let socket = self.socket(handle);
            if is_done(socket) {
                return Ok(());
            }
            if !socket.is_active() {
                return Err("the connection ended".into());
            }
            self.wait();
        }
    }

    /// Closes, and waits until the peer has acknowledged our FIN.
    fn finish(&mut self) -> Result<(), Failure> {
        for handle in self.handles.clone() {
            self.socket(handle).close();
            self.until(handle, |socket| socket.state() != tcp::State::FinWait1)?;
        }
        Ok(())
    }
}

/// A bare loop with `connections`, of which the first `busy` send.
pub fn bare<D: Device>(
    parts: (D, &mut dyn Clock),
    ends: Ends,
    plan: &Plan,
    (connections, busy): (usize, usize),
    content: &Content,
) -> Result<Outcome, Failure> {
    let mut bare = Bare::new(parts, ends, connections, plan.buffer)?;
    let busy: Vec<_> = bare.handles.iter().copied().take(busy).collect();
    let mut sent = vec![0; busy.len()];
    let watch = Stopwatch::start()?;
    let mut limit = Limit::new(plan);
    'sending: loop {
        bare.poll();
        let mut moved = 0;
        for (handle, sent) in busy.iter().zip(&mut sent) {
            while bare.socket(*handle).can_send() {
                let piece = content.at(*sent, plan.write);
                let accepted = bare.socket(*handle).send_slice(piece);
                let accepted = accepted.map_err(|_| "the connection ended")? as u64;
                *sent += accepted;
                moved += accepted;
                if limit.is_reached() {
                    break 'sending;
                }
                if plan.polls == Polls::EachWrite {
                    bare.poll();
                }
            }
        }
        if moved == 0 {
            bare.wait();
        }
    }
    for handle in &busy {
        bare.until(*handle, |socket| socket.send_queue() == 0)?;
    }
    let outcome = watch.outcome(sent.iter().sum())?;
    bare.finish()?;
    Ok(outcome)
}

/// Like [`ours_latency`], with a bare loop.
pub fn bare_latency<D: Device>(
    parts: (D, &mut dyn Clock),
    ends: Ends,
    count: usize,
    content: &Content,
) -> Result<Vec<Duration>, Failure> {
    let mut bare = Bare::new(parts, ends, 1, 64 * 1024)?;
    let mut times = Vec::with_capacity(count);
    for handle in bare.handles.clone().repeat(count) {
        let started = Instant::now();
        bare.socket(handle)
            .send_slice(content.at(0, 64))
            .map_err(|_| "the connection ended")?;
        bare.until(handle, |socket| socket.send_queue() == 0)?;
        times.push(started.elapsed());
    }
    bare.finish()?;
    Ok(times)
}

/// The kernel's own TCP. It does not report what is acknowledged, so the run ends with
/// the peer's answer to our FIN.
pub fn kernel(mut stream: TcpStream, plan: &Plan, content: &Content) -> Result<Outcome, Failure> {
    let watch = Stopwatch::start()?;
    let mut limit = Limit::new(plan);
    let mut sent = 0;
    while !limit.is_reached() {
        sent += stream.write(content.at(sent, plan.write))? as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest)?;
    watch.outcome(sent)
}
