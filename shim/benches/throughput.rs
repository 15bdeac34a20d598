//! Throughput over a TAP device to the host's kernel: lastbyte against a bare
//! smoltcp send loop on the same kind of device, with the same buffer and write
//! size, in interleaved runs.
//!
//! `cargo bench -p lastbyte-shim --bench throughput [-- --mib 100 --runs 5]`
//! Needs root (a private network namespace) and /dev/net/tun.

use clap::Parser;
use embedded_io::Write as _;
use lastbyte::{Clock, Options};
use lastbyte_shim::host_clock::HostClock;
use lastbyte_shim::loopback::{lastbyte_time, smoltcp_time};
use lastbyte_shim::namespace::{self, KERNEL_V4, OUR_HARDWARE_ADDR, OUR_V4, PREFIX_V4};
use lastbyte_shim::setup::Setup;
use lastbyte_shim::tap::Tap;
use smoltcp::iface::{Config, Interface, SocketSet, SocketStorage};
use smoltcp::socket::tcp;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};
use std::error::Error;
use std::io::Read;
use std::net::TcpListener;
use std::thread;
use std::time::Instant;

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Debug, Parser)]
struct Arguments {
    /// Mebibytes in each run
    #[arg(long, default_value_t = 100)]
    mib: usize,
    /// Runs of each kind
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Passed by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// One line of the result.
#[derive(Debug, Clone, Copy)]
struct Case {
    buffer: usize,
    write: usize,
}

const CASES: [Case; 4] = [
    Case {
        buffer: 64 * 1024,
        write: 64 * 1024,
    },
    Case {
        buffer: 64 * 1024,
        write: 1460,
    },
    Case {
        buffer: 16 * 1024,
        write: 1460,
    },
    Case {
        buffer: 4 * 1024,
        write: 1460,
    },
];

const PORT: u16 = 5000;
const RX_BUFFER: usize = 16 * 1024;

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let total = arguments.mib << 20;
    println!(
        "{} MiB to a kernel sink over TAP, median of {} interleaved runs each",
        arguments.mib, arguments.runs
    );
    println!(
        "{:>9} {:>9} {:>14} {:>14} {:>8} {:>15}",
        "buffer", "write", "bare Gbit/s", "lastbyte", "ratio", "of pairs"
    );
    for case in CASES {
        let mut bare = Vec::new();
        let mut ours = Vec::new();
        // The first pair warms up and does not count.
        for run in 0..=arguments.runs {
            let pair = (
                measure(total, case, send_bare)?,
                measure(total, case, send_ours)?,
            );
            if run > 0 {
                bare.push(pair.0);
                ours.push(pair.1);
            }
        }
        let ratios: Vec<f64> = ours
            .iter()
            .zip(&bare)
            .map(|(ours, bare)| ours / bare)
            .collect();
        println!(
            "{:>9} {:>9} {:>14.2} {:>14.2} {:>7.1}% {:>6.1}%-{:.1}%",
            case.buffer,
            case.write,
            median(&bare),
            median(&ours),
            100.0 * median(&ours) / median(&bare),
            100.0 * ratios.iter().copied().fold(f64::INFINITY, f64::min),
            100.0 * ratios.iter().copied().fold(0.0, f64::max),
        );
    }
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Gbit/s from the first byte to the last acknowledgement, in a namespace of
/// its own, to a sink that counts.
fn measure(
    total: usize,
    case: Case,
    send: fn(Tap, usize, Case) -> Result<f64, Failure>,
) -> Result<f64, Failure> {
    namespace::run(|_namespace, tap| {
        let listener = TcpListener::bind(("0.0.0.0", PORT))?;
        thread::scope(|scope| {
            let sink = scope.spawn(move || -> Result<usize, std::io::Error> {
                let (mut connection, _) = listener.accept()?;
                let mut chunk = vec![0; 1 << 20];
                let mut received = 0;
                loop {
                    match connection.read(&mut chunk)? {
                        0 => return Ok(received),
                        n => received += n,
                    }
                }
            });
            let seconds = send(tap, total, case)?;
            let received = sink.join().map_err(|_| "the sink failed")??;
            if received != total {
                return Err(format!("the sink got {received} of {total} bytes").into());
            }
            Ok(total as f64 * 8.0 / 1e9 / seconds)
        })
    })?
}

fn send_ours(tap: Tap, total: usize, case: Case) -> Result<f64, Failure> {
    let clock = HostClock::watching(&tap)?;
    let chunk = vec![0x5a; case.write];
    let mut setup = Setup::new(
        EthernetAddress(OUR_HARDWARE_ADDR).into(),
        &[IpCidr::new(OUR_V4.into(), PREFIX_V4)],
    );
    setup.tx_buffer = case.buffer;
    setup.rx_buffer = RX_BUFFER;
    setup.run(tap, clock, |stack| {
        let id = stack.connect((KERNEL_V4, PORT), Options::default())?;
        stack.wait_open(id)?;
        let started = Instant::now();
        let mut writer = stack.writer(id)?;
        let mut left = total;
        while left > 0 {
            left -= writer.write(&chunk[..case.write.min(left)])?;
        }
        writer.flush()?;
        let seconds = started.elapsed().as_secs_f64();
        writer.finish()?;
        Ok(seconds)
    })?
}

/// What a user of smoltcp writes: poll, fill the buffer, wait.
fn send_bare(mut tap: Tap, total: usize, case: Case) -> Result<f64, Failure> {
    let mut clock = HostClock::watching(&tap)?;
    let chunk = vec![0x5a; case.write];
    let hardware_addr: HardwareAddress = EthernetAddress(OUR_HARDWARE_ADDR).into();
    let mut interface = Interface::new(
        Config::new(hardware_addr),
        &mut tap,
        smoltcp_time(clock.now()),
    );
    interface.update_ip_addrs(|own| {
        let _ = own.push(IpCidr::new(OUR_V4.into(), PREFIX_V4));
    });
    let socket = tcp::Socket::new(
        tcp::SocketBuffer::new(vec![0; RX_BUFFER]),
        tcp::SocketBuffer::new(vec![0; case.buffer]),
    );
    let mut storage = [SocketStorage::EMPTY];
    let mut sockets = SocketSet::new(&mut storage[..]);
    let handle = sockets.add(socket);
    let local_port = 49_152 + (std::process::id() % 16_384) as u16;
    sockets
        .get_mut::<tcp::Socket<'_>>(handle)
        .connect(interface.context(), (KERNEL_V4, PORT), local_port)
        .map_err(|error| format!("connect: {error:?}"))?;

    let mut started = None;
    let mut left = total;
    loop {
        interface.poll(smoltcp_time(clock.now()), &mut tap, &mut sockets);
        let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
        if !socket.is_active() {
            return Err("the connection ended".into());
        }
        if socket.may_send() {
            started.get_or_insert_with(Instant::now);
            let mut sent = false;
            while left > 0 && socket.can_send() {
                left -= socket
                    .send_slice(&chunk[..case.write.min(left)])
                    .unwrap_or(0);
                sent = true;
            }
            if sent {
                continue;
            }
            if left == 0 && socket.send_queue() == 0 {
                break;
            }
        }
        let next = interface.poll_at(smoltcp_time(clock.now()), &sockets);
        clock.wait(next.map(lastbyte_time));
    }
    let seconds = started.map_or(f64::NAN, |started| started.elapsed().as_secs_f64());
    sockets.get_mut::<tcp::Socket<'_>>(handle).close();
    // Until the sink has our FIN.
    while sockets.get::<tcp::Socket<'_>>(handle).state() == tcp::State::FinWait1 {
        interface.poll(smoltcp_time(clock.now()), &mut tap, &mut sockets);
        let next = interface.poll_at(smoltcp_time(clock.now()), &sockets);
        clock.wait(next.map(lastbyte_time));
    }
    Ok(seconds)
}
