//! A stack on a TAP in a private namespace, and the truth about its wire.

use crate::peer::Peer;
use lastbyte::stack::{ConnectionId, Stack};
use lastbyte::{Clock as _, Instant, Options, Report, WriteError};
use lastbyte_host::capture::Capture;
use lastbyte_host::host_clock::HostClock;
use lastbyte_host::namespace::{
    self, KERNEL_V4, Namespace, NamespaceError, OUR_HARDWARE_ADDR, OUR_V4, OUR_V6, PREFIX_V4,
    PREFIX_V6,
};
use lastbyte_host::tap::{Offload, Tap};
use lastbyte_sim::loopback::{Flags, Flow, Segment};
use lastbyte_sim::setup::Setup;
use sha2::{Digest, Sha256};
use smoltcp::phy::Medium;
use smoltcp::wire::{EthernetAddress, IpCidr, IpEndpoint};
use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

/// How many bytes a call without waiting has accepted.
#[track_caller]
pub fn accepted(written: Result<usize, WriteError>) -> usize {
    match written {
        Err(WriteError::WouldBlock { .. }) => 0,
        known => known.expect("the connection takes bytes"),
    }
}

pub type TapStack<'a> = Stack<'a, Capture<Tap>, HostClock, 1>;

pub const PORT: u16 = 5000;

/// Bytes after the IP packet of a frame that an [`Injector`](crate::injector) sends. IP
/// ignores them, and they mark forged frames in a capture.
pub const FORGED: &[u8] = b"forged";

/// How long a test waits for what must happen, on a busy machine. Other tests check the
/// exact time in virtual time.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What is missing on this machine for these tests; `None` if they can run.
///
/// The first thread calls it, before there are others: without root, it enters a user
/// namespace, in which every later thread is root.
pub fn missing() -> Option<String> {
    let tried = match namespace::run(|_, _| ()) {
        Err(NamespaceError::MultiThreaded) => {
            Namespace::enter_empty().and_then(|_| namespace::run(|_, _| ()))
        }
        other => other,
    };
    tried.err().map(|error| error.to_string())
}

/// A pcap that stays in memory.
#[derive(Debug, Clone, Default)]
struct Pcap(Rc<RefCell<Vec<u8>>>);

impl Write for Pcap {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The fixture of a test.
pub struct Lab<'l, 'a> {
    pub stack: &'l mut TapStack<'a>,
    pub namespace: Namespace,
    pcap: Pcap,
}

/// A segment in the capture.
#[derive(Debug, Clone)]
pub struct Seen {
    pub segment: Segment,
    pub is_forged: bool,
}

/// Runs `test` in a namespace of its own.
#[track_caller]
pub fn lab(test: impl FnOnce(&mut Lab<'_, '_>) + Send) {
    lab_with(|_| (), test);
}

/// Like [`lab`], with other buffers.
#[track_caller]
pub fn lab_with(adapt: impl FnOnce(&mut Setup) + Send, test: impl FnOnce(&mut Lab<'_, '_>) + Send) {
    lab_over(Offload::Segmentation, adapt, test);
}

/// Like [`lab_with`], with this much offloaded to the kernel.
#[track_caller]
pub fn lab_over(
    offload: Offload,
    adapt: impl FnOnce(&mut Setup) + Send,
    test: impl FnOnce(&mut Lab<'_, '_>) + Send,
) {
    let done = namespace::run_with(offload, |namespace, tap| {
        assert_eq!(tap.offload(), offload, "offered by this kernel");
        let pcap = Pcap::default();
        let clock = HostClock::watching(&tap).expect("descriptors are left");
        let device = Capture::to_writer(tap, Box::new(pcap.clone()), Duration::ZERO);
        let addresses = [
            IpCidr::new(OUR_V4.into(), PREFIX_V4),
            IpCidr::new(OUR_V6.into(), PREFIX_V6),
        ];
        let mut setup = Setup::new(
            EthernetAddress(OUR_HARDWARE_ADDR).into(),
            &addresses,
            Setup::random_seed(),
        );
        adapt(&mut setup);
        setup
            .run(device, clock, |stack| {
                test(&mut Lab {
                    stack,
                    namespace,
                    pcap,
                });
            })
            .expect("the setup is valid");
    });
    done.expect("the namespace was there a moment ago");
}

/// Options with timeouts that are short enough for a test.
pub fn quick() -> lastbyte::core::OptionsBuilder {
    Options::builder()
        .connect_timeout(Duration::from_secs(3))
        .user_timeout(Duration::from_secs(3))
        .finish_timeout(Duration::from_secs(5))
        .call_timeout(Duration::from_secs(20))
}

pub fn server() -> IpEndpoint {
    (KERNEL_V4, PORT).into()
}

/// Fails if the wait was shorter than `limit`, or much longer.
#[track_caller]
pub fn assert_waited(elapsed: Duration, limit: Duration) {
    assert!(
        (limit..limit + PATIENCE).contains(&elapsed),
        "{elapsed:?} in place of {limit:?}"
    );
}

/// Content that differs at every position.
pub fn content(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .collect()
}

pub fn sha256(data: &[u8]) -> String {
    Sha256::digest(data)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Lab<'_, '_> {
    /// Waits until `peer` listens, and connects to it.
    #[track_caller]
    pub fn connect(&mut self, peer: &mut Peer, options: Options) -> ConnectionId {
        self.connect_to(peer, server(), options)
    }

    #[track_caller]
    pub fn connect_to(
        &mut self,
        peer: &mut Peer,
        server: IpEndpoint,
        options: Options,
    ) -> ConnectionId {
        self.wait_listening(peer, server);
        let id = self.stack.connect(server, options).expect("a free slot");
        self.stack.wait_open(id).expect("the peer accepts");
        id
    }

    /// Waits until `peer` listens.
    #[track_caller]
    pub fn wait_listening(&mut self, peer: &mut Peer, server: IpEndpoint) {
        let wanted = std::net::SocketAddr::new(server.addr.into(), server.port);
        self.namespace
            .wait_listening(wanted, Some(&mut peer.child), PATIENCE)
            .expect("the peer listens");
    }

    pub fn now(&mut self) -> Instant {
        self.stack.clock_mut().now()
    }

    /// Serves the stack until the connection has ended.
    #[track_caller]
    pub fn wait_end(&mut self, id: ConnectionId) -> Report {
        let until = self.now() + PATIENCE;
        while !self.stack.state(id).expect("a good id").is_closed() {
            assert!(self.now() < until, "no end within {PATIENCE:?}");
            self.stack.wait(until);
        }
        self.stack.report(id).expect("a good id")
    }

    /// Checks the ledger: its identity, and that its acknowledged bytes are those that
    /// the peer's segments acknowledged on the wire.
    #[track_caller]
    pub fn check(&mut self, id: ConnectionId) -> Report {
        let report = self.stack.report(id).expect("a good id");
        let ledger = report.ledger;
        assert_eq!(
            ledger.accepted(),
            ledger.acknowledged() + ledger.undelivered()
        );
        let on_wire = self.acknowledged_on_wire(id);
        assert_eq!(
            ledger.acknowledged(),
            on_wire.min(ledger.accepted()),
            "the ledger against the peer's acknowledgements"
        );
        report
    }

    #[track_caller]
    fn endpoints(&self, id: ConnectionId) -> (IpEndpoint, IpEndpoint) {
        let endpoints = self.stack.endpoints(id).expect("a good id");
        endpoints.expect("opened")
    }

    /// The highest acknowledgement that the peer sent to this port other than in a
    /// RST, as a count of bytes after our SYN (our FIN may be one of them).
    #[track_caller]
    fn acknowledged_on_wire(&mut self, id: ConnectionId) -> u64 {
        let (local, remote) = self.endpoints(id);
        let mut isn = None;
        let mut highest: u64 = 0;
        for Seen { segment, is_forged } in self.seen_since(&mut 0) {
            if segment.src_port == local.port && segment.is(Flags::SYN) {
                isn = Some(segment.seq);
            }
            let is_from_peer = segment.src_port == remote.port && segment.dst_port == local.port;
            let is_acknowledging = segment.is(Flags::ACK) && !segment.is(Flags::RST);
            if let (true, true, Some(isn)) = (is_from_peer && !is_forged, is_acknowledging, isn) {
                let acknowledged = segment.ack.wrapping_sub(isn.wrapping_add(1));
                highest = highest.max(u64::from(acknowledged));
            }
        }
        highest
    }

    /// The segments captured after `cursor`, which begins at 0 and moves to
    /// the end.
    #[track_caller]
    pub fn seen_since(&mut self, cursor: &mut usize) -> Vec<Seen> {
        let device = self.stack.device_mut();
        device.flush();
        assert!(device.take_error().is_none(), "memory takes everything");
        let pcap = self.pcap.0.borrow();
        let from = (*cursor).max(PCAP_HEADER_LEN);
        *cursor = pcap.len();
        frames(pcap.get(from..).unwrap_or_default())
            .filter_map(|(time, frame)| {
                Some(Seen {
                    segment: Segment::parse(frame, Medium::Ethernet, time)?,
                    is_forged: frame.ends_with(FORGED),
                })
            })
            .collect()
    }

    /// The present numbers of the peer, read from the wire: its next sequence number, and
    /// what it expects once everything that we sent has arrived.
    #[track_caller]
    pub fn flow(&mut self, id: ConnectionId) -> Flow {
        let (local, remote) = self.endpoints(id);
        let mut flow = Flow {
            local: remote,
            remote: local,
            isn: 0,
            remote_isn: 0,
            seq: 0,
            ack: 0,
            window: 1_000,
        };
        for Seen { segment, .. } in self.seen_since(&mut 0) {
            if segment.src_port != local.port || segment.dst_port != remote.port {
                continue;
            }
            let end = segment.seq.wrapping_add(segment.seq_len());
            if segment.is(Flags::SYN) {
                (flow.remote_isn, flow.ack) = (segment.seq, end);
            } else {
                flow.seq = segment.ack;
                let is_news = end.wrapping_sub(flow.ack) < 1 << 31;
                flow.ack = if is_news { end } else { flow.ack };
            }
        }
        flow
    }
}

/// The length of the header of a pcap file.
const PCAP_HEADER_LEN: usize = 24;

/// The frames in the records of a pcap file, in the byte order of this
/// machine, with their times.
fn frames(records: &[u8]) -> impl Iterator<Item = (Instant, &[u8])> {
    let mut rest = records;
    std::iter::from_fn(move || {
        let (header, after) = rest.split_at_checked(16)?;
        let word = |at: usize| Some(u32::from_ne_bytes(header[at..at + 4].try_into().ok()?));
        let micros = u64::from(word(0)?) * 1_000_000 + u64::from(word(4)?);
        let (frame, after) = after.split_at_checked(word(8)?.try_into().ok()?)?;
        rest = after;
        Some((Instant::from_micros(micros), frame))
    })
}
