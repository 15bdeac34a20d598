//! The kernel's side: the sink, and the paths to it.

use crate::content::Content;
use crate::senders::{self, Ends};
use crate::{Failure, Outcome, PORT, Plan};
use lastbyte::Clock;
use lastbyte_host::host_clock::HostClock;
use lastbyte_host::namespace::{self, KERNEL_V4, Namespace, OUR_HARDWARE_ADDR, OUR_V4, PREFIX_V4};
use lastbyte_host::tap::{Offload, Tap};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::gettid;
use smoltcp::phy::{Medium, TunTapInterface, wait};
use smoltcp::wire::EthernetAddress;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;
use xxhash_rust::xxh3::Xxh3;

/// Both ends of a connection over a TAP.
pub const ENDS: Ends = Ends {
    mac: EthernetAddress(OUR_HARDWARE_ADDR),
    own: OUR_V4,
    prefix: PREFIX_V4,
    peer: KERNEL_V4,
};

/// The buffer of one read.
const CHUNK: usize = 1 << 20;

/// What the sink received.
#[derive(Debug, Clone, Copy)]
struct Received {
    bytes: u64,
    hash: Option<u64>,
}

/// Whether the sink hashes what it reads. Hashing takes as long as receiving, so it is
/// only done in runs that do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Length and hash.
    Content,
    /// Length.
    Length,
}

/// Reads `connections` to their end, from one thread.
fn sink(
    listener: &TcpListener,
    connections: usize,
    check: Check,
) -> Result<Received, std::io::Error> {
    let mut streams = Vec::with_capacity(connections);
    for _ in 0..connections {
        streams.push(listener.accept()?.0);
    }
    let mut chunk = vec![0; CHUNK];
    let mut received = 0;
    if let [stream] = streams.as_mut_slice() {
        let mut hasher = Xxh3::new();
        loop {
            let read = match stream.read(&mut chunk)? {
                0 => break,
                len => chunk.get(..len).unwrap_or_default(),
            };
            received += read.len() as u64;
            if check == Check::Content {
                hasher.update(read);
            }
        }
        let hash = (check == Check::Content).then(|| hasher.digest());
        return Ok(Received {
            bytes: received,
            hash,
        });
    }
    for stream in &streams {
        stream.set_nonblocking(true)?;
    }
    while !streams.is_empty() {
        let mut fds: Vec<_> = streams
            .iter()
            .map(|stream| PollFd::new(stream.as_fd(), PollFlags::POLLIN))
            .collect();
        poll(&mut fds, PollTimeout::NONE)?;
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        let mut ready = ready.into_iter();
        let mut failed = None;
        streams.retain_mut(|stream| {
            if !ready.next().unwrap_or(false) {
                return true;
            }
            match stream.read(&mut chunk) {
                Ok(0) => false,
                Ok(len) => {
                    received += len as u64;
                    true
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => true,
                Err(error) => {
                    failed = Some(error);
                    false
                }
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(Received {
        bytes: received,
        hash: None,
    })
}

/// Runs `send` against a sink in the namespace of this thread.
fn against_sink(
    listener: TcpListener,
    connections: usize,
    check: Check,
    content: &Content,
    send: impl FnOnce() -> Result<Outcome, Failure>,
) -> Result<Outcome, Failure> {
    thread::scope(|scope| {
        let sink = scope.spawn(move || sink(&listener, connections, check));
        let outcome = send()?;
        let received = sink.join().map_err(|_| "the sink failed")??;
        if received.bytes != outcome.bytes {
            let (got, of) = (received.bytes, outcome.bytes);
            return Err(format!("the sink got {got} of {of} bytes").into());
        }
        match received.hash {
            Some(hash) if hash != content.hash(outcome.bytes) => {
                Err("the sink got other bytes than were sent".into())
            }
            _ => Ok(outcome),
        }
    })
}

/// A TAP in a namespace of its own, lent to `program` with a listener.
fn over_tap<R: Send>(
    offload: Offload,
    program: impl FnOnce(Tap, TcpListener) -> Result<R, Failure> + Send,
) -> Result<R, Failure> {
    namespace::run_with(offload, |_namespace, tap| {
        if tap.offload() != offload {
            return Err(format!("this kernel offers {}, not {offload}", tap.offload()).into());
        }
        program(tap, TcpListener::bind(("0.0.0.0", PORT))?)
    })?
}

pub fn ours(
    offload: Offload,
    plan: &Plan,
    check: Check,
    content: &Content,
) -> Result<Outcome, Failure> {
    over_tap(offload, |tap, listener| {
        against_sink(listener, 1, check, content, || {
            let clock = HostClock::watching(&tap)?;
            senders::ours((tap, clock), ENDS, plan, content)
        })
    })
}

pub fn bare(
    offload: Offload,
    plan: &Plan,
    check: Check,
    content: &Content,
) -> Result<Outcome, Failure> {
    bare_many(offload, plan, (1, 1), check, content)
}

pub fn bare_many(
    offload: Offload,
    plan: &Plan,
    connections: (usize, usize),
    check: Check,
    content: &Content,
) -> Result<Outcome, Failure> {
    over_tap(offload, |tap, listener| {
        against_sink(listener, connections.0, check, content, || {
            let mut clock = HostClock::watching(&tap)?;
            senders::bare((tap, &mut clock), ENDS, plan, connections, content)
        })
    })
}

pub fn ours_many<const N: usize>(
    offload: Offload,
    plan: &Plan,
    busy: usize,
    content: &Content,
) -> Result<Outcome, Failure> {
    over_tap(offload, |tap, listener| {
        against_sink(listener, N, Check::Length, content, || {
            let clock = HostClock::watching(&tap)?;
            senders::ours_many::<N, _, _>((tap, clock), ENDS, plan, busy, content)
        })
    })
}

/// Waits like a user of smoltcp's own device.
struct SelectClock {
    started: Instant,
    fd: std::os::fd::RawFd,
}

impl Clock for SelectClock {
    fn now(&mut self) -> lastbyte::Instant {
        lastbyte::Instant::ZERO + self.started.elapsed()
    }

    fn wait(&mut self, until: Option<lastbyte::Instant>) {
        let now = self.now();
        let pause = until.map(|until| until.since(now).into());
        // Interrupted or not: what is due is checked after every wait.
        let _ = wait(self.fd, pause);
    }
}

/// A bare loop over the device that is part of smoltcp.
pub fn stock(plan: &Plan, check: Check, content: &Content) -> Result<Outcome, Failure> {
    const NAME: &str = "stock0";
    in_namespace(|_| {
        let device = TunTapInterface::new(NAME, Medium::Ethernet)?;
        let address = format!("{KERNEL_V4}/{PREFIX_V4}");
        ip(&["addr", "add", &address, "dev", NAME])?;
        ip(&["link", "set", NAME, "up"])?;
        let listener = TcpListener::bind(("0.0.0.0", PORT))?;
        against_sink(listener, 1, check, content, || {
            let mut clock = SelectClock {
                started: Instant::now(),
                fd: device.as_raw_fd(),
            };
            senders::bare((device, &mut clock), ENDS, plan, (1, 1), content)
        })
    })
}

/// The kernel's TCP over the loopback of this machine, with buffers of its choice.
pub fn over_loopback(plan: &Plan, check: Check, content: &Content) -> Result<Outcome, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let target = listener.local_addr()?;
    against_sink(listener, 1, check, content, || {
        senders::kernel(TcpStream::connect(target)?, plan, content)
    })
}

/// The kernel's TCP at both ends of a pair of virtual Ethernet cards, each in a
/// namespace of its own.
pub fn veth(plan: &Plan, check: Check, content: &Content) -> Result<Outcome, Failure> {
    const OURS: &str = "veth0";
    const THEIRS: &str = "veth1";
    thread::scope(|scope| {
        let (send_id, receiver_ids) = mpsc::channel();
        let (signal_ready, ready) = mpsc::channel();
        let receiver = scope.spawn(move || -> Result<Received, Failure> {
            let _namespace = Namespace::enter_empty()?;
            send_id.send(gettid())?;
            ready.recv()?;
            ip(&["addr", "add", "10.78.0.1/24", "dev", THEIRS])?;
            ip(&["link", "set", THEIRS, "up"])?;
            let listener = TcpListener::bind(("0.0.0.0", PORT))?;
            send_id.send(gettid())?;
            Ok(sink(&listener, 1, check)?)
        });
        let sender = scope.spawn(move || -> Result<Outcome, Failure> {
            let _namespace = Namespace::enter_empty()?;
            let there = receiver_ids.recv()?.to_string();
            ip(&["link", "add", OURS, "type", "veth", "peer", "name", THEIRS])?;
            ip(&["link", "set", THEIRS, "netns", &there])?;
            ip(&["addr", "add", "10.78.0.2/24", "dev", OURS])?;
            ip(&["link", "set", OURS, "up"])?;
            signal_ready.send(())?;
            receiver_ids.recv()?;
            let stream = TcpStream::connect((Ipv4Addr::new(10, 78, 0, 1), PORT))?;
            setsockopt(&stream, sockopt::SndBuf, &plan.buffer)?;
            senders::kernel(stream, plan, content)
        });
        let outcome = sender.join().map_err(|_| "the sender failed")??;
        let received = receiver.join().map_err(|_| "the sink failed")??;
        let is_right = received.bytes == outcome.bytes
            && received
                .hash
                .is_none_or(|hash| hash == content.hash(outcome.bytes));
        if is_right {
            Ok(outcome)
        } else {
            Err("the sink got other bytes than were sent".into())
        }
    })
}

/// A thread in an empty namespace of its own.
fn in_namespace<R: Send>(
    program: impl FnOnce(Namespace) -> Result<R, Failure> + Send,
) -> Result<R, Failure> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| program(Namespace::enter_empty()?));
        thread.join().map_err(|_| "the run failed")?
    })
}

fn ip(args: &[&str]) -> Result<(), Failure> {
    let done = Command::new("ip").args(args).status();
    match done {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("ip {}: {status}", args.join(" ")).into()),
        Err(error) => Err(format!("ip (of iproute2): {error}").into()),
    }
}

/// The times of small writes, over a TAP whose kernel acknowledges at once, so that its
/// delayed acknowledgements are not measured.
pub fn latency<R: Send>(
    send: impl FnOnce(Tap, HostClock) -> Result<R, Failure> + Send,
) -> Result<R, Failure> {
    over_tap(Offload::Segmentation, |tap, listener| {
        let network = format!("{}/{PREFIX_V4}", Ipv4Addr::from(network_of(KERNEL_V4)));
        let route = ["route", "change", &network, "dev", namespace::TAP_NAME];
        let how = ["src", &KERNEL_V4.to_string(), "quickack", "1"];
        ip(&[&route[..], &how[..]].concat())?;
        thread::scope(|scope| {
            let sink = scope.spawn(move || sink(&listener, 1, Check::Length));
            let clock = HostClock::watching(&tap)?;
            let result = send(tap, clock)?;
            sink.join().map_err(|_| "the sink failed")??;
            Ok(result)
        })
    })
}

fn network_of(address: Ipv4Addr) -> u32 {
    address.to_bits() & !(u32::MAX >> PREFIX_V4)
}
