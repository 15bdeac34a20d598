//! A stack on a TAP in a private namespace, and the truth about its wire.

use crate::peer::Peer;
use lastbyte::stack::{ConnectionId, Stack};
use lastbyte::{Clock as _, Instant, Options, Report};
use lastbyte_shim::capture::Capture;
use lastbyte_shim::host_clock::HostClock;
use lastbyte_shim::loopback::{Flags, Segment};
use lastbyte_shim::namespace::{
    self, KERNEL_V4, Namespace, OUR_HARDWARE_ADDR, OUR_V4, OUR_V6, PREFIX_V4, PREFIX_V6,
};
use lastbyte_shim::setup::Setup;
use lastbyte_shim::tap::Tap;
use smoltcp::phy::Medium;
use smoltcp::wire::{EthernetAddress, IpCidr, IpEndpoint};
use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

pub type TapStack<'a> = Stack<'a, Capture<Tap>, HostClock, 1>;

pub const PORT: u16 = 5000;

/// How long a peer may take to start.
const START_LIMIT: Duration = Duration::from_secs(20);

/// What this machine lacks for these tests; `None` if they can run.
pub fn missing() -> Option<String> {
    let is_root = nix::unistd::Uid::effective().is_root();
    if !is_root && let Err(error) = Namespace::enter_empty() {
        // Every test thread inherits the user namespace made here.
        return Some(error.to_string());
    }
    namespace::run(|_, _| ())
        .err()
        .map(|error| error.to_string())
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

/// What a test works with.
pub struct Lab<'l, 'a> {
    pub stack: &'l mut TapStack<'a>,
    pub namespace: Namespace,
    pcap: Pcap,
}

/// Runs `test` in a namespace of its own.
#[track_caller]
pub fn lab(test: impl FnOnce(&mut Lab<'_, '_>) + Send) {
    let done = namespace::run(|namespace, tap| {
        let pcap = Pcap::default();
        let clock = HostClock::watching(&tap).expect("descriptors are left");
        let device = Capture::to_writer(tap, Box::new(pcap.clone()), Duration::ZERO);
        let addresses = [
            IpCidr::new(OUR_V4.into(), PREFIX_V4),
            IpCidr::new(OUR_V6.into(), PREFIX_V6),
        ];
        let setup = Setup::new(EthernetAddress(OUR_HARDWARE_ADDR).into(), &addresses);
        setup
            .run(device, clock, |stack| {
                test(&mut Lab {
                    stack,
                    namespace,
                    pcap,
                });
            })
            .expect("the setup is sound");
    });
    done.expect("the namespace was there a moment ago");
}

/// Options whose limits fit a test's patience.
pub fn quick() -> lastbyte::OptionsBuilder {
    Options::builder()
        .connect_limit(Duration::from_secs(3))
        .silence_limit(Duration::from_secs(3))
        .finish_limit(Duration::from_secs(5))
        .call_limit(Duration::from_secs(20))
}

pub fn server() -> IpEndpoint {
    (KERNEL_V4, PORT).into()
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
        let wanted = std::net::SocketAddr::new(server.addr.into(), server.port);
        self.namespace
            .wait_listening(wanted, Some(&mut peer.child), START_LIMIT)
            .expect("the peer listens");
        let id = self.stack.connect(server, options).expect("a free slot");
        self.stack.wait_open(id).expect("the peer accepts");
        id
    }

    pub fn now(&mut self) -> Instant {
        self.stack.clock_mut().now()
    }

    /// Serves the stack until the connection has ended, for `limit` at most.
    #[track_caller]
    pub fn wait_end(&mut self, id: ConnectionId, limit: Duration) -> Report {
        let until = self.now() + limit;
        while !self.stack.state(id).expect("a good id").is_closed() {
            assert!(self.now() < until, "no end within {limit:?}");
            self.stack.wait(until);
        }
        self.stack.report(id).expect("a good id")
    }

    /// Checks the ledger against the wire: the identity, and that what it calls
    /// acknowledged is what the peer's segments acknowledged.
    #[track_caller]
    pub fn check(&mut self, id: ConnectionId) -> Report {
        let report = self.stack.report(id).expect("a good id");
        let ledger = report.ledger;
        assert_eq!(
            ledger.accepted(),
            ledger.acknowledged() + ledger.undelivered()
        );
        let (local, remote) = self
            .stack
            .endpoints(id)
            .expect("a good id")
            .expect("opened");
        let on_wire = self.acknowledged_on_wire(local.port, remote.port);
        assert_eq!(
            ledger.acknowledged(),
            on_wire.min(ledger.accepted()),
            "the ledger against the peer's acknowledgements"
        );
        report
    }

    /// The highest acknowledgement that the peer sent to this port, as a count
    /// of bytes behind our SYN (our FIN may be one of them).
    fn acknowledged_on_wire(&mut self, our_port: u16, peer_port: u16) -> u64 {
        let written = self.stack.device_mut().finish();
        written.expect("memory takes everything");
        let pcap = self.pcap.0.borrow();
        let mut isn = None;
        let mut highest: u64 = 0;
        for frame in frames(&pcap) {
            let Some(segment) = Segment::parse(frame, Medium::Ethernet, Instant::ZERO) else {
                continue;
            };
            if segment.src_port == our_port && segment.is(Flags::SYN) {
                isn = Some(segment.seq);
            }
            let is_from_peer = segment.src_port == peer_port && segment.dst_port == our_port;
            if let (true, true, Some(isn)) = (is_from_peer, segment.is(Flags::ACK), isn) {
                let acknowledged = segment.ack.wrapping_sub(isn.wrapping_add(1));
                highest = highest.max(u64::from(acknowledged));
            }
        }
        highest
    }
}

/// The frames of a pcap file in memory, in the byte order of this machine.
fn frames(pcap: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = pcap.get(24..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (header, behind) = rest.split_at_checked(16)?;
        let len = u32::from_ne_bytes(header[8..12].try_into().ok()?);
        let (frame, behind) = behind.split_at_checked(len.try_into().ok()?)?;
        rest = behind;
        Some(frame)
    })
}
