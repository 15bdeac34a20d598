//! Namespaces, TAPs and captures with the real kernel.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use lastbyte::Clock;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Device, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr, IpEndpoint};

use super::*;
use crate::capture::Capture;
use crate::host_clock::HostClock;

mod offload;

const LIMIT: Duration = Duration::from_secs(10);

/// A bare smoltcp endpoint over a device.
struct Endpoint<D: Device> {
    device: D,
    clock: HostClock,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: smoltcp::iface::SocketHandle,
}

impl<D: Device> Endpoint<D> {
    fn new(device: D, clock: HostClock) -> Self {
        Self::with_buffer(device, clock, 16 * 1024)
    }

    fn with_buffer(mut device: D, clock: HostClock, buffer_len: usize) -> Self {
        let config = Config::new(EthernetAddress(OUR_HARDWARE_ADDR).into());
        let mut interface = Interface::new(config, &mut device, Instant::ZERO);
        interface.update_ip_addrs(|addrs| {
            addrs
                .push(IpCidr::new(OUR_V4.into(), PREFIX_V4))
                .expect("room for one address");
            addrs
                .push(IpCidr::new(OUR_V6.into(), PREFIX_V6))
                .expect("room for a second address");
        });
        let buffer = || tcp::SocketBuffer::new(vec![0; buffer_len]);
        let mut sockets = SocketSet::new(vec![]);
        let handle = sockets.add(tcp::Socket::new(buffer(), buffer()));
        Self {
            device,
            clock,
            interface,
            sockets,
            handle,
        }
    }

    fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    fn connect(&mut self, to: impl Into<IpEndpoint>) {
        let socket: &mut tcp::Socket<'_> = self.sockets.get_mut(self.handle);
        socket
            .connect(self.interface.context(), to, 50_000)
            .expect("a fresh socket connects");
    }

    /// Closes, and polls until both sides have closed.
    #[track_caller]
    fn finish(&mut self) {
        self.socket().close();
        self.until("end", |s| s.state() == tcp::State::TimeWait);
    }

    fn poll(&mut self) -> Instant {
        let micros = self.clock.now().as_micros();
        let at = Instant::from_micros(i64::try_from(micros).expect("not for ages"));
        self.interface.poll(at, &mut self.device, &mut self.sockets);
        at
    }

    /// Polls until `done`, sleeping in between.
    #[track_caller]
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut tcp::Socket<'static>) -> bool) {
        let limit = self.clock.now() + LIMIT;
        loop {
            let at = self.poll();
            if done(self.socket()) {
                return;
            }
            let now = self.clock.now();
            assert!(now < limit, "no {what} in time");
            let next = self.interface.poll_delay(at, &self.sockets);
            let next = next.map_or(limit, |delay| now + delay.into());
            self.clock.wait(Some(next.min(limit)));
        }
    }
}

fn endpoint(tap: Tap) -> Endpoint<Tap> {
    let clock = HostClock::watching(&tap).unwrap();
    Endpoint::new(tap, clock)
}

/// A kernel peer in this thread's namespace, which returns what it has read.
fn sink(address: IpAddr) -> (SocketAddr, thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    let reader = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    });
    (at, reader)
}

#[test]
fn the_namespace_differs_from_the_callers() {
    let network = || fs::read_link("/proc/thread-self/ns/net").unwrap();
    let ours = network();
    test(|_, _| assert_ne!(network(), ours));
    assert_eq!(network(), ours);
    assert!(if_nametoindex(TAP_NAME).is_err());
}

/// A namespace is ready as soon as it is entered: if the first frame were lost,
/// connecting would take a second. The machine may be busy, so one quick attempt of three
/// is enough.
#[track_caller]
fn reaches_the_kernel_at(address: IpAddr) {
    let is_quick = |_| reach_the_kernel_at(address) < Duration::from_millis(900);
    assert!((0..3).any(is_quick));
}

/// Sends a few bytes to the kernel at `address`, in a namespace of its own: smoltcp
/// resolves one neighbour per second, whatever its address. Returns how long it took to
/// connect; `None` if there is no such address.
#[track_caller]
fn reach_the_kernel_at(address: IpAddr) -> Duration {
    let mut took = Duration::ZERO;
    test(|namespace, tap| {
        if address.is_ipv6() && !namespace.has_ipv6() {
            eprintln!("SKIPPED: IPv6 is switched off");
            return;
        }
        let (at, reader) = sink(address);
        let mut endpoint = endpoint(tap);
        let start = HostInstant::now();
        endpoint.connect(at);
        endpoint.until("connection", |s| s.may_send());
        took = start.elapsed();
        endpoint.socket().send_slice(b"the last byte").unwrap();
        endpoint.finish();
        assert_eq!(reader.join().unwrap(), b"the last byte");
    });
    took
}

#[test]
fn the_kernel_is_reached_over_ipv4() {
    reaches_the_kernel_at(KERNEL_V4.into());
}

#[test]
fn the_kernel_is_reached_over_ipv6() {
    reaches_the_kernel_at(KERNEL_V6.into());
}

#[test]
fn lo_is_up_and_the_hosts_ports_are_not_there() {
    test(|namespace, _tap| {
        let listener = TcpListener::bind("127.0.0.1:4000").unwrap();
        let at = listener.local_addr().unwrap();
        TcpStream::connect(at).unwrap();
        assert_eq!(namespace.listeners(4000).unwrap(), [at]);
        assert_eq!(namespace.listeners(4001).unwrap(), []);
    });
}

#[test]
fn waiting_for_a_listener_ends_when_it_listens() {
    test(|namespace, _tap| {
        let wanted = SocketAddr::from((KERNEL_V4, 4000));
        let soon = Duration::from_millis(50);
        let timed_out = namespace.wait_listening(wanted, None, soon).unwrap_err();
        assert!(matches!(timed_out, ListenError::TimedOut { .. }));

        let lo = TcpListener::bind("127.0.0.1:4000").unwrap();
        let elsewhere = namespace.wait_listening(wanted, None, soon).unwrap_err();
        assert!(matches!(elsewhere, ListenError::Elsewhere { .. }));
        drop(lo);

        let listener = thread::spawn(move || {
            thread::sleep(soon);
            TcpListener::bind("0.0.0.0:4000").unwrap()
        });
        namespace.wait_listening(wanted, None, LIMIT).unwrap();
        drop(listener.join().unwrap());

        let _v6 = TcpListener::bind("[::]:4000").unwrap();
        namespace.wait_listening(wanted, None, LIMIT).unwrap();
    });
}

#[test]
fn waiting_for_a_listener_ends_with_its_process() {
    test(|namespace, _tap| {
        let mut peer = Command::new("false").spawn().unwrap();
        let wanted = SocketAddr::from((KERNEL_V4, 4000));
        let error = namespace
            .wait_listening(wanted, Some(&mut peer), LIMIT)
            .unwrap_err();
        assert!(matches!(error, ListenError::PeerEnded { .. }), "{error}");
    });
}

#[test]
fn a_cut_cable_carries_nothing_until_it_is_mended() {
    test(|_, tap| {
        let (at, _reader) = sink(KERNEL_V4.into());
        let mut endpoint = endpoint(tap);
        endpoint.device.set_dropping(true);
        endpoint.connect(at);
        let give_up = endpoint.clock.now() + Duration::from_millis(300);
        while endpoint.clock.now() < give_up {
            endpoint.poll();
            endpoint.clock.wait(Some(give_up));
        }
        assert_eq!(endpoint.socket().state(), tcp::State::SynSent);
        assert!(endpoint.device.frames_dropped() > 0);
        endpoint.device.set_dropping(false);
        endpoint.until("connection", |s| s.may_send());
    });
}

#[test]
fn a_removed_interface_is_an_error_and_not_a_panic() {
    test(|_, mut tap| {
        let mut clock = HostClock::watching(&tap).unwrap();
        assert!(tap.take_error().is_none());
        while tap.receive(Instant::ZERO).is_some() {}
        let removed = Command::new("ip").args(["link", "del", TAP_NAME]).status();
        if !removed.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: needs iproute2");
            return;
        }
        clock.wait(None);
        assert!(clock.has_device_failed());
        for _ in 0..3 {
            assert!(tap.receive(Instant::ZERO).is_none());
            let tx = tap.transmit(Instant::ZERO).expect("a token, and no loop");
            tx.consume(60, |frame| frame.fill(0));
        }
        assert!(tap.take_error().is_some());
        assert!(tap.take_error().is_none());
        assert!(!tap.is_link_up());
        // The interface was removed, and the clock still sleeps.
        let until = clock.now() + Duration::from_millis(20);
        clock.wait(Some(until));
        assert!(clock.now() >= until);
    });
}

#[test]
fn a_link_that_is_down_drops_frames_and_may_come_back() {
    test(|_, mut tap| {
        let send = |tap: &mut Tap| {
            let tx = tap.transmit(Instant::ZERO).expect("room");
            tx.consume(60, |frame| frame.fill(0xff));
        };
        tap.set_up(false).unwrap();
        assert!(!tap.is_link_up());
        send(&mut tap);
        assert_eq!(tap.frames_dropped(), 1);
        assert!(tap.take_error().is_none());
        tap.set_up(true).unwrap();
        assert!(tap.wait_carrier(LIMIT));
        send(&mut tap);
        assert_eq!(tap.frames_dropped(), 1);
    });
}

#[test]
fn opening_reports_what_is_wrong() {
    test(|_, tap| {
        let error = |name| Tap::open(name).expect_err("must not open");
        assert!(matches!(error("tap9"), TapError::NoSuchInterface { .. }));
        assert!(matches!(error("lo"), TapError::NotATap { .. }));
        assert!(matches!(error(TAP_NAME), TapError::Busy { .. }));
        for name in ["", "a/b", "tap%d", "sixteen-bytes-xx"] {
            assert!(matches!(error(name), TapError::BadName { .. }), "{name}");
        }
        let small = Tap::create("tap9", 67).expect_err("must not create");
        assert!(matches!(small, TapError::MtuTooSmall { mtu: 67, .. }));
        assert!(matches!(
            Tap::create(TAP_NAME, 1500).expect_err("must not create"),
            TapError::Busy { .. }
        ));
        // None of the attempts created anything.
        assert!(if_nametoindex("tap9").is_err());
        drop(tap);
        assert!(if_nametoindex(TAP_NAME).is_err());
    });
}

#[test]
fn an_existing_tap_is_attached_to_and_kept_after_the_run() {
    test(|_, _tap| {
        let ip = |args: &[&str]| Command::new("ip").args(args).status();
        let added = ip(&["tuntap", "add", "dev", "tap9", "mode", "tap"]);
        if !added.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: needs iproute2");
            return;
        }
        ip(&["link", "set", "tap9", "mtu", "576", "up"]).unwrap();
        let tap = Tap::open("tap9").unwrap();
        assert!(tap.wait_carrier(LIMIT));
        assert_eq!(tap.capabilities().max_transmission_unit, 576 + 14);
        drop(tap);
        assert!(if_nametoindex("tap9").is_ok());

        ip(&["tuntap", "add", "dev", "tun9", "mode", "tun"]).unwrap();
        let error = Tap::open("tun9").expect_err("must not open");
        assert!(matches!(error, TapError::NotATap { .. }));
    });
}

#[test]
fn a_capture_shows_both_directions_to_tshark() {
    test(|_, tap| {
        let path = std::env::temp_dir().join(format!("lastbyte-{}.pcap", std::process::id()));
        let (at, reader) = sink(KERNEL_V4.into());
        let clock = HostClock::watching(&tap).unwrap();
        let capture = Capture::create(tap, &path, clock.epoch_since_1970()).unwrap();
        let mut endpoint = Endpoint::new(capture, clock);
        endpoint.connect(at);
        endpoint.until("connection", |s| s.may_send());
        endpoint.socket().send_slice(b"captured").unwrap();
        endpoint.finish();
        assert_eq!(reader.join().unwrap(), b"captured");
        let frames = endpoint.device.finish().unwrap();
        let fields = ["-T", "fields", "-e", "ip.src", "-e", "tcp.flags.str"];
        let shown = Command::new("tshark")
            .arg("-r")
            .arg(&path)
            .args(fields)
            .stderr(Stdio::inherit())
            .output();
        fs::remove_file(&path).unwrap();
        let Ok(shown) = shown else {
            eprintln!("SKIPPED: needs tshark");
            return;
        };
        assert!(shown.status.success());
        let lines = String::from_utf8(shown.stdout).unwrap();
        assert_eq!(lines.lines().count() as u64, frames, "{lines}");
        for address in [OUR_V4, KERNEL_V4] {
            assert!(lines.contains(&address.to_string()), "{lines}");
        }
    });
}

#[test]
fn a_peer_process_is_in_the_namespace() {
    test(|namespace, tap| {
        let program = "import socket\n\
            s = socket.create_server(('10.77.0.1', 4000))\n\
            c, _ = s.accept()\n\
            c.sendall(c.recv(100).upper())\n";
        let peer = Command::new("python3").args(["-c", program]).spawn();
        let Ok(mut peer) = peer else {
            eprintln!("SKIPPED: needs python3");
            return;
        };
        let wanted = SocketAddr::from((KERNEL_V4, 4000));
        namespace
            .wait_listening(wanted, Some(&mut peer), LIMIT)
            .unwrap();
        let mut endpoint = endpoint(tap);
        endpoint.connect(wanted);
        endpoint.until("connection", |s| s.may_send());
        endpoint.socket().send_slice(b"shout").unwrap();
        endpoint.until("answer", |s| s.recv_queue() == 5);
        let mut answer = [0; 5];
        endpoint.socket().recv_slice(&mut answer).unwrap();
        assert_eq!(&answer, b"SHOUT");
        assert!(peer.wait().unwrap().success());
    });
}
