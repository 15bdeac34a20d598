//! The measurements, and their tables.

use crate::common::{OUR_MAC, OUR_V4, PEER_V4, PREFIX, Reader, ReaderClock, See, Time};
use crate::content::Content;
use crate::kernel::{self, Check};
use crate::senders::{self, Ends};
use crate::statistics::{interleave, median, percentile};
use crate::{Arguments, Call, Failure, Outcome, PORT, Plan, Polls};
use bytesize::ByteSize;
use lastbyte_host::tap::Offload;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::Xxh3;

pub const BUFFERS: [usize; 6] = [1460, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
const WRITES: [usize; 4] = [16, 64, 1460, 64 << 10];
/// The number of small writes timed in each run.
const SMALL_WRITES: usize = 2_000;

/// The throughput of each sender, for each of [`BUFFERS`].
#[derive(Debug, Default)]
pub struct Curves {
    pub ours: Vec<f64>,
    pub bare: Vec<f64>,
    pub stock: Vec<f64>,
    pub veth: Vec<f64>,
}

fn plan(arguments: &Arguments, buffer: usize, write: usize) -> Plan {
    Plan {
        buffer,
        write,
        time: Duration::from_millis(arguments.millis),
        polls: Polls::WhenFull,
        call: Call::Write,
    }
}

/// Those of `all` that were selected: without a selection, all.
fn wanted(all: &[usize], only: &[ByteSize]) -> impl Iterator<Item = usize> {
    all.iter()
        .copied()
        .filter(|size| only.is_empty() || only.iter().any(|only| only.as_u64() == *size as u64))
}

fn check(is_warm_up: bool) -> Check {
    if is_warm_up {
        Check::Content
    } else {
        Check::Length
    }
}

pub fn size(bytes: usize) -> String {
    match bytes {
        1_048_576.. if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        1_024.. if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    }
}

/// Four senders to a kernel sink, in writes of 64 KiB.
pub fn paths(arguments: &Arguments, content: &Content) -> Result<Curves, Failure> {
    println!(
        "\nTo the kernel, in writes of 64 KiB: lastbyte and a bare smoltcp loop over a TAP whose\n\
         kernel does segmentation and checksums (tso), a bare loop over smoltcp's TunTapInterface, and the\n\
         kernel's TCP over veth\n\n\
         {:>9} {:>9} {:>9} {:>8} {:>9} {:>9} {:>9} {:>8} {:>8}",
        "buffer", "lastbyte", "bare", "ratio", "stock", "x stock", "veth", "ns/B", "bare"
    );
    let mut curves = Curves::default();
    for buffer in wanted(&BUFFERS, &arguments.buffers) {
        let plan = plan(arguments, buffer, 64 << 10);
        let tso = Offload::Segmentation;
        let [bare, ours, stock, veth] = interleave(
            arguments.runs,
            [
                &mut |first| kernel::bare(tso, &plan, check(first), content),
                &mut |first| kernel::ours(tso, &plan, check(first), content),
                &mut |first| kernel::stock(&plan, check(first), content),
                &mut |first| kernel::veth(&plan, check(first), content),
            ],
        )?;
        println!(
            "{:>9} {:>9.2} {:>9.2} {:>7.1}% {:>9.2} {:>9.1} {:>9.2} {:>8.3} {:>8.3}",
            size(buffer),
            ours.rate(),
            bare.rate(),
            ours.percent_of(&bare),
            stock.rate(),
            ours.percent_of(&stock) / 100.0,
            veth.rate(),
            ours.cpu(),
            bare.cpu(),
        );
        curves.ours.push(ours.rate());
        curves.bare.push(bare.rate());
        curves.stock.push(stock.rate());
        curves.veth.push(veth.rate());
    }
    Ok(curves)
}

/// The lines of a table of buffers and sizes of writes, with three senders each:
/// lastbyte, a bare loop, and one that polls as often as lastbyte.
fn grid(
    arguments: &Arguments,
    ours: &mut dyn FnMut(&Plan, Check) -> Result<Outcome, Failure>,
    bare: &dyn Fn(&Plan, Check) -> Result<Outcome, Failure>,
) -> Result<(), Failure> {
    println!(
        "\n{:>9} {:>9} {:>10} {:>10} {:>8} {:>10} {:>8} {:>8} {:>8} {:>8}",
        "buffer",
        "write",
        "lastbyte",
        "bare",
        "ratio",
        "polling",
        "ratio",
        "ns/B",
        "bare",
        "polling"
    );
    for buffer in wanted(&BUFFERS, &arguments.buffers) {
        for write in wanted(&WRITES, &arguments.writes) {
            let plan = plan(arguments, buffer, write);
            let prompt = Plan {
                polls: Polls::EachWrite,
                ..plan
            };
            let [bare, polling, ours] = interleave(
                arguments.runs,
                [
                    &mut |first| bare(&plan, check(first)),
                    &mut |first| bare(&prompt, check(first)),
                    &mut |first| ours(&plan, check(first)),
                ],
            )?;
            println!(
                "{:>9} {:>9} {:>10.3} {:>10.3} {:>7.1}% {:>10.3} {:>7.1}% {:>8.3} {:>8.3} {:>8.3}",
                size(buffer),
                size(write),
                ours.rate(),
                bare.rate(),
                ours.percent_of(&bare),
                polling.rate(),
                ours.percent_of(&polling),
                ours.cpu(),
                bare.cpu(),
                polling.cpu(),
            );
        }
    }
    Ok(())
}

/// The explanation of the columns of [`grid`].
const GRID: &str = "bare: a loop that polls only when its buffer is full; polling: one that polls at each\n\
    write. lastbyte receives before each write, to refuse the first one after a FIN, and\n\
    sends at once.";

/// Every buffer with every size of writes, over a TAP, where receiving and sending are a
/// system call each.
pub fn tap(arguments: &Arguments, content: &Content) -> Result<(), Failure> {
    println!("\nOver a TAP (tso) to the kernel. {GRID}");
    let tso = Offload::Segmentation;
    grid(
        arguments,
        &mut |plan, check| kernel::ours(tso, plan, check, content),
        &|plan, check| kernel::bare(tso, plan, check, content),
    )
}

/// A reader in this process, and what it has read once the run is over.
fn over_loopback(
    check: Check,
    content: &Content,
    send: impl FnOnce((crate::common::End, ReaderClock), Ends) -> Result<Outcome, Failure>,
) -> Result<Outcome, Failure> {
    let hasher = Rc::new(RefCell::new(Xxh3::new()));
    let see: See = match check {
        Check::Content => {
            let hasher = Rc::clone(&hasher);
            Box::new(move |bytes| hasher.borrow_mut().update(bytes))
        }
        Check::Length => Box::new(|_| ()),
    };
    let (reader, end) = Reader::new(PORT, 1, see);
    let reader = Rc::new(RefCell::new(reader));
    let ends = Ends {
        mac: OUR_MAC,
        own: OUR_V4,
        prefix: PREFIX,
        peer: PEER_V4,
    };
    let time = Time::Since(Instant::now());
    let outcome = send((end, ReaderClock::new(Rc::clone(&reader), time)), ends)?;
    let received = reader.borrow().received;
    let is_right = match check {
        Check::Content => hasher.borrow().digest() == content.hash(outcome.bytes),
        Check::Length => true,
    };
    if received != outcome.bytes || !is_right {
        return Err("the reader got other bytes than were sent".into());
    }
    Ok(outcome)
}

/// Every buffer with every size of writes, over a wire in the process.
pub fn loopback(arguments: &Arguments, content: &Content) -> Result<(), Failure> {
    println!(
        "\nOver a wire in the process, to a bare smoltcp reader that takes its turn on the same\n\
         core: its cost is in every figure, and no system call is. {GRID}"
    );
    grid(
        arguments,
        &mut |plan, check| {
            over_loopback(check, content, |parts, ends| {
                senders::ours(parts, ends, plan, content)
            })
        },
        &|plan, check| {
            over_loopback(check, content, |(end, mut clock), ends| {
                senders::bare((end, &mut clock), ends, plan, (1, 1), content)
            })
        },
    )
}

/// Plain writes and announced ones, compared with the kernel's TCP.
pub fn send(arguments: &Arguments, content: &Content) -> Result<(), Failure> {
    println!(
        "\nOver a TAP (tso) to the kernel, with a buffer of 1 MiB, compared with the kernel's `send` over\n\
         loopback: microseconds of a write, and how many times as fast as `send`\n\n\
         {:>9} {:>9} {:>9} {:>8} {:>11} {:>8} {:>7} {:>7} {:>11}",
        "write",
        "send",
        "write",
        "times",
        "write_more",
        "times",
        "cpu: send",
        "write",
        "write_more"
    );
    let tso = Offload::Segmentation;
    for write in wanted(&WRITES, &arguments.writes) {
        let plain = plan(arguments, 1 << 20, write);
        let announced = Plan {
            call: Call::WriteMore,
            ..plain
        };
        let [send, ours, more] = interleave(
            arguments.runs,
            [
                &mut |first| kernel::over_loopback(&plain, check(first), content),
                &mut |first| kernel::ours(tso, &plain, check(first), content),
                &mut |first| kernel::ours(tso, &announced, check(first), content),
            ],
        )?;
        let micros = |rate: f64| write as f64 * 8.0 / rate / 1e3;
        let cpu = |nanos: f64| nanos * write as f64 / 1e3;
        println!(
            "{:>9} {:>9.3} {:>9.3} {:>8.2} {:>11.3} {:>8.2} {:>9.3} {:>7.3} {:>11.3}",
            size(write),
            micros(send.rate()),
            micros(ours.rate()),
            ours.percent_of(&send) / 100.0,
            micros(more.rate()),
            more.percent_of(&send) / 100.0,
            cpu(send.cpu()),
            cpu(ours.cpu()),
            cpu(more.cpu()),
        );
    }
    Ok(())
}

/// The time of a write of 64 bytes until its acknowledgement.
pub fn latency(arguments: &Arguments, content: &Content) -> Result<(), Failure> {
    println!(
        "\n64 bytes over a TAP, from the write to the acknowledgement, in us: {SMALL_WRITES} in each\n\
         run; the medians of the runs' percentiles\n\n{:>9} {:>9} {:>9}",
        "", "p50", "p99"
    );
    let mut all: [Vec<Vec<Duration>>; 2] = Default::default();
    for run in 0..=arguments.runs {
        let bare = kernel::latency(|tap, mut clock| {
            senders::bare_latency((tap, &mut clock), kernel::ENDS, SMALL_WRITES, content)
        })?;
        let ours = kernel::latency(|tap, clock| {
            senders::ours_latency((tap, clock), kernel::ENDS, SMALL_WRITES, content)
        })?;
        if run > 0 {
            for (times, kind) in all.iter_mut().zip([bare, ours]) {
                times.push(kind);
            }
        }
    }
    for (name, runs) in ["bare", "lastbyte"].into_iter().zip(&all) {
        let of = |percent| median(runs.iter().map(|times| percentile(times, percent)));
        println!("{name:>9} {:>9.1} {:>9.1}", of(50), of(99));
    }
    Ok(())
}

/// Several connections, with one of them or all of them busy.
pub fn many(arguments: &Arguments, content: &Content) -> Result<(), Failure> {
    println!(
        "\nConnections over a TAP (tso), buffers of 64 KiB, writes of 64 KiB; the sum of all\n\n\
         {:>9} {:>9} {:>10} {:>10} {:>8} {:>9} {:>9}",
        "of these", "busy", "lastbyte", "bare", "ratio", "ns/B", "bare"
    );
    many_of::<1>(arguments, content)?;
    many_of::<8>(arguments, content)?;
    many_of::<64>(arguments, content)?;
    many_of::<256>(arguments, content)
}

fn many_of<const N: usize>(arguments: &Arguments, content: &Content) -> Result<(), Failure> {
    let tso = Offload::Segmentation;
    let plan = plan(arguments, 64 << 10, 64 << 10);
    let busies = if N == 1 { vec![1] } else { vec![1, N] };
    for busy in busies {
        let [bare, ours] = interleave(
            arguments.runs,
            [
                &mut |_| kernel::bare_many(tso, &plan, (N, busy), Check::Length, content),
                &mut |_| kernel::ours_many::<N>(tso, &plan, busy, content),
            ],
        )?;
        println!(
            "{N:>9} {busy:>9} {:>10.3} {:>10.3} {:>7.1}% {:>9.3} {:>9.3}",
            ours.rate(),
            bare.rate(),
            ours.percent_of(&bare),
            ours.cpu(),
            bare.cpu(),
        );
    }
    Ok(())
}
