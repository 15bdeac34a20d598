//! What is offloaded to the kernel of a TAP, and which settings stay after a run.

use std::io::Write;

use smoltcp::phy::{DeviceCapabilities, PacketMeta, RxToken};

use super::*;
use crate::tap::Offload;
use lastbyte_sim::loopback::{is_intact, tcp_in_frame};
use smoltcp::phy::Medium;
use smoltcp::wire::TcpPacket;

/// Bytes that differ at every position.
fn content(len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}

/// A device, and the longest frame that crossed it in either direction.
struct Longest<D> {
    inner: D,
    sent: usize,
    received: usize,
}

struct Seen<'a, T>(T, &'a mut usize);

impl<T: RxToken> RxToken for Seen<'_, T> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        self.0.consume(|frame| {
            *self.1 = frame.len().max(*self.1);
            f(frame)
        })
    }

    fn meta(&self) -> PacketMeta {
        self.0.meta()
    }
}

impl<T: TxToken> TxToken for Seen<'_, T> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        *self.1 = len.max(*self.1);
        self.0.consume(len, f)
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.0.set_meta(meta);
    }
}

impl<D: Device> Device for Longest<D> {
    type RxToken<'a>
        = Seen<'a, D::RxToken<'a>>
    where
        Self: 'a;
    type TxToken<'a>
        = Seen<'a, D::TxToken<'a>>
    where
        Self: 'a;

    fn capabilities(&self) -> DeviceCapabilities {
        self.inner.capabilities()
    }

    fn receive(&mut self, at: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let (rx, tx) = self.inner.receive(at)?;
        Some((Seen(rx, &mut self.received), Seen(tx, &mut self.sent)))
    }

    fn transmit(&mut self, at: Instant) -> Option<Self::TxToken<'_>> {
        Some(Seen(self.inner.transmit(at)?, &mut self.sent))
    }
}

/// Like [`test_with`], with this much offloaded to the kernel, which must offer it.
#[track_caller]
fn with_exactly(offload: Offload, inside: impl FnOnce(Namespace, Tap) + Send) {
    test_with(offload, |namespace, tap| {
        assert_eq!(tap.offload(), offload);
        inside(namespace, tap);
    });
}

/// Sends 2 MB to a kernel sink at `address`, which must receive all of it. Returns the longest
/// frame sent.
fn sends_all(offload: Offload, address: IpAddr) {
    with_exactly(offload, move |namespace, tap| {
        if address.is_ipv6() && !namespace.has_ipv6() {
            eprintln!("SKIPPED: IPv6 is switched off");
            return;
        }
        let (at, reader) = sink(address);
        let max_frame = tap.capabilities().max_transmission_unit;
        let clock = HostClock::watching(&tap).unwrap();
        let device = Longest {
            inner: tap,
            sent: 0,
            received: 0,
        };
        let mut endpoint = Endpoint::with_buffer(device, clock, 256 * 1024);
        endpoint.connect(at);
        endpoint.until("connection", |s| s.may_send());
        let content = content(2_000_000);
        let mut rest = &content[..];
        while !rest.is_empty() {
            endpoint.until("room", |s| s.can_send());
            let sent = endpoint.socket().send_slice(rest).unwrap();
            rest = &rest[sent..];
        }
        endpoint.finish();
        assert!(reader.join().unwrap() == content, "other bytes arrived");
        let is_cut_by_kernel = endpoint.device.sent > max_frame;
        let expected = offload.towards(address) == Offload::Segmentation;
        assert_eq!(is_cut_by_kernel, expected, "{}", endpoint.device.sent);
        assert_eq!(endpoint.device.inner.frames_dropped(), 0);
    });
}

#[test]
fn everything_arrives_at_every_level_of_offload() {
    for offload in Offload::ALL {
        sends_all(offload, KERNEL_V4.into());
        sends_all(offload, KERNEL_V6.into());
    }
}

/// A device that announces for IPv6 what it can do for IPv4.
struct Pretender(Longest<Tap>);

impl Device for Pretender {
    type RxToken<'a> = <Longest<Tap> as Device>::RxToken<'a>;
    type TxToken<'a> = <Longest<Tap> as Device>::TxToken<'a>;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = self.0.capabilities();
        capabilities.segmentation.tcpv6 = capabilities.segmentation.tcpv4;
        capabilities
    }

    fn receive(&mut self, at: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        self.0.receive(at)
    }

    fn transmit(&mut self, at: Instant) -> Option<Self::TxToken<'_>> {
        self.0.transmit(at)
    }
}

/// The reason why segmentation is not offloaded over IPv6. Once this fails, offload it:
/// `Offload::announce` and `Offload::towards`.
#[test]
fn smoltcp_makes_long_frames_of_ipv6_and_drops_them() {
    with_exactly(Offload::Segmentation, |namespace, tap| {
        if !namespace.has_ipv6() {
            eprintln!("SKIPPED: IPv6 is switched off");
            return;
        }
        let (at, _reader) = sink(KERNEL_V6.into());
        let max_frame = tap.capabilities().max_transmission_unit;
        let clock = HostClock::watching(&tap).unwrap();
        let device = Pretender(Longest {
            inner: tap,
            sent: 0,
            received: 0,
        });
        let mut endpoint = Endpoint::with_buffer(device, clock, 64 * 1024);
        endpoint.connect(at);
        endpoint.until("connection", |s| s.may_send());
        assert_eq!(endpoint.socket().send_slice(&content(10_000)), Ok(10_000));
        let give_up = endpoint.clock.now() + Duration::from_millis(200);
        while endpoint.clock.now() < give_up {
            endpoint.poll();
            endpoint.clock.wait(Some(give_up));
        }
        assert_eq!(endpoint.socket().send_queue(), 10_000, "it is sent now");
        assert!(endpoint.device.0.sent <= max_frame, "it is sent whole now");
    });
}

/// The kernel passes on long frames that it has not segmented; smoltcp receives the same
/// bytes from them.
#[test]
fn long_frames_of_the_kernel_are_received() {
    for (offload, is_long) in [(Offload::Segmentation, true), (Offload::Checksum, false)] {
        with_exactly(offload, move |_, tap| {
            let listener = TcpListener::bind((KERNEL_V4, 0)).unwrap();
            let at = listener.local_addr().unwrap();
            let sender = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(&content(500_000)).unwrap();
            });
            let max_frame = tap.capabilities().max_transmission_unit;
            let clock = HostClock::watching(&tap).unwrap();
            let device = Longest {
                inner: tap,
                sent: 0,
                received: 0,
            };
            let mut endpoint = Endpoint::with_buffer(device, clock, 256 * 1024);
            endpoint.connect(at);
            let mut received = Vec::new();
            while received.len() < 500_000 {
                endpoint.until("bytes", |s| s.can_recv());
                let mut chunk = vec![0; 65_536];
                let len = endpoint.socket().recv_slice(&mut chunk).unwrap();
                received.extend_from_slice(&chunk[..len]);
            }
            sender.join().unwrap();
            assert!(received == content(500_000), "other bytes arrived");
            assert_eq!(endpoint.device.received > max_frame, is_long);
            assert_eq!(endpoint.device.inner.frames_dropped(), 0);
        });
    }
}

/// The frames of a capture, with the lengths that their headers contain.
fn records(path: &std::path::Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let mut rest = &bytes[24..];
    let mut frames = Vec::new();
    while let Some((header, after)) = rest.split_at_checked(16) {
        let len = u32::from_ne_bytes(header[8..12].try_into().unwrap());
        let (frame, after) = after.split_at(len as usize);
        frames.push(frame.to_vec());
        rest = after;
    }
    frames
}

#[test]
fn a_capture_shows_segments_and_checksums_as_on_a_wire() {
    with_exactly(Offload::Segmentation, |_, tap| {
        let path = std::env::temp_dir().join(format!("lastbyte-tso-{}.pcap", std::process::id()));
        let (at, reader) = sink(KERNEL_V4.into());
        let max_frame = tap.capabilities().max_transmission_unit;
        let clock = HostClock::watching(&tap).unwrap();
        let capture = Capture::create(tap, &path, clock.epoch_since_1970()).unwrap();
        let mut endpoint = Endpoint::with_buffer(capture, clock, 256 * 1024);
        endpoint.connect(at);
        endpoint.until("connection", |s| s.may_send());
        let content = content(200_000);
        assert_eq!(endpoint.socket().send_slice(&content).unwrap(), 200_000);
        endpoint.finish();
        assert!(reader.join().unwrap() == content, "other bytes arrived");
        let count = endpoint.device.finish().unwrap();
        let frames = records(&path);
        assert_eq!(frames.len() as u64, count);
        assert!(count > 200_000 / 1460, "{count}");

        let mut stream = Vec::new();
        let mut fins = 0;
        for frame in &frames {
            assert!(frame.len() <= max_frame, "{} octets", frame.len());
            let Some((from, _, octets)) = tcp_in_frame(frame, Medium::Ethernet) else {
                continue;
            };
            assert!(is_intact(frame, Medium::Ethernet), "{frame:02x?}");
            if from == OUR_V4.into() {
                let tcp = TcpPacket::new_unchecked(octets);
                stream.extend_from_slice(tcp.payload());
                fins += usize::from(tcp.fin());
            }
        }
        // Nothing was lost, so the segments are consecutive.
        assert!(stream == content, "the capture shows other bytes");
        assert_eq!(fins, 1);
        is_accepted_by_tshark(&path);
        fs::remove_file(&path).unwrap();
    });
}

/// Whether tshark accepts every checksum, length and sequence number.
fn is_accepted_by_tshark(path: &std::path::Path) {
    let checks = ["tcp.check_checksum:TRUE", "ip.check_checksum:TRUE"];
    let complaints = "tcp.checksum.status == 0 || ip.checksum.status == 0 || _ws.malformed \
        || tcp.analysis.lost_segment || tcp.analysis.retransmission";
    let shown = Command::new("tshark")
        .args(["-o", checks[0], "-o", checks[1], "-Y", complaints, "-r"])
        .arg(path)
        .output();
    match shown {
        Ok(shown) => {
            assert!(shown.status.success(), "{shown:?}");
            let complaints = String::from_utf8_lossy(&shown.stdout);
            assert_eq!(complaints, "");
        }
        Err(_) => eprintln!("SKIPPED: the part of the test that needs tshark"),
    }
}

/// Attaches to the TAP like any program, makes the kernel send a SYN to it, and prints
/// the sum over the segment with its pseudo header: 0xffff if the checksum is right.
const PLAIN_USER: &str = r"
import fcntl, os, select, socket, struct, sys
tap = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(tap, 0x400454ca, struct.pack('16sH22x', sys.argv[1].encode(), 0x1002))
peer = socket.socket()
peer.setblocking(False)
peer.connect_ex(('10.79.0.2', 9))
while select.select([tap], [], [], 5)[0]:
    frame = os.read(tap, 70000)
    if frame[12:14] == b'\x08\x00' and frame[23] == 6:
        tcp = frame[34:14 + int.from_bytes(frame[16:18], 'big')]
        data = frame[26:34] + struct.pack('>BBH', 0, 6, len(tcp)) + tcp
        total = sum(struct.unpack('>%dH' % (len(data) // 2), data))
        while total >> 16: total = (total & 0xffff) + (total >> 16)
        print(hex(total))
        break
";

#[test]
fn the_next_user_of_a_tap_gets_complete_frames() {
    test(|_, _tap| {
        let ip = |args: &[&str]| Command::new("ip").args(args).status();
        let added = ip(&["tuntap", "add", "dev", "tap9", "mode", "tap"]);
        if !added.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: needs iproute2");
            return;
        }
        ip(&["addr", "add", "10.79.0.1/24", "dev", "tap9"]).unwrap();
        ip(&["link", "set", "tap9", "up"]).unwrap();
        let neighbour = ["neigh", "add", "10.79.0.2", "lladdr", "02:00:00:00:00:09"];
        ip(&[&neighbour[..], &["dev", "tap9"]].concat()).unwrap();
        let tap = Tap::open("tap9").unwrap();
        assert_eq!(tap.offload(), Offload::Segmentation);
        drop(tap);
        let user = Command::new("python3")
            .args(["-c", PLAIN_USER, "tap9"])
            .output();
        match user {
            Ok(user) => assert_eq!(
                String::from_utf8_lossy(&user.stdout),
                "0xffff\n",
                "{user:?}"
            ),
            Err(_) => eprintln!("SKIPPED: needs python3"),
        }
    });
}

/// A TAP that another program has used with a longer header in front of each frame (like
/// virtual machines), and one without any.
#[test]
fn a_tap_of_another_program_gets_our_header() {
    test(|_, _tap| {
        let ip = |args: &[&str]| Command::new("ip").args(args).status();
        let added = ip(&["tuntap", "add", "dev", "tap9", "mode", "tap", "vnet_hdr"]);
        if !added.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: needs iproute2");
            return;
        }
        let longer = "import fcntl, os, struct\n\
            tap = os.open('/dev/net/tun', os.O_RDWR)\n\
            fcntl.ioctl(tap, 0x400454ca, struct.pack('16sH22x', b'tap9', 0x5002))\n\
            fcntl.ioctl(tap, 0x400454d8, struct.pack('i', 12))\n";
        let user = Command::new("python3").args(["-c", longer]).status();
        if !user.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: needs python3");
            return;
        }
        let address = format!("{KERNEL_V4}/{PREFIX_V4}");
        ip(&["link", "del", TAP_NAME]).unwrap();
        ip(&["addr", "add", &address, "dev", "tap9"]).unwrap();
        ip(&["link", "set", "tap9", "up"]).unwrap();
        for most in Offload::ALL {
            let tap = Tap::open_with("tap9", most).unwrap();
            assert_eq!(tap.offload(), most);
            assert!(tap.wait_carrier(LIMIT));
            let (at, reader) = sink(KERNEL_V4.into());
            let mut endpoint = endpoint(tap);
            endpoint.connect(at);
            endpoint.until("connection", |s| s.may_send());
            endpoint.socket().send_slice(b"the last byte").unwrap();
            endpoint.finish();
            assert_eq!(reader.join().unwrap(), b"the last byte");
        }
    });
}
