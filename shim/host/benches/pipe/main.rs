//! How fast the pipe is, beside `embassy_sync::pipe` and `heapless::spsc`, in interleaved runs.
//!
//! `./ci.sh bench` with `BENCH=pipe`, or `cargo bench -p lastbyte-host --bench pipe`. One thread
//! writes and reads in turns, so that nothing is measured but the calls. The critical section of a
//! host is a mutex of the standard library; on a microcontroller it is a few instructions. The
//! queue of heapless has none, and takes a byte at a time; neither of the two knows that the other
//! half was dropped, or has an account.

use clap::Parser;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use futures_lite::future::{block_on, zip};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// What each holds.
const CAPACITY: usize = 512;
/// A queue of heapless holds one less than its size.
const QUEUE: usize = CAPACITY + 1;

#[derive(Debug, Parser)]
#[command(about = "How fast the pipe is, beside embassy_sync::pipe and heapless::spsc")]
struct Arguments {
    /// Runs of each, which take turns
    #[arg(long, default_value_t = 25)]
    runs: usize,
    /// Milliseconds of each run
    #[arg(long, default_value_t = 20)]
    millis: u64,
    /// Three short runs of each: no more than a first look
    #[arg(long)]
    quick: bool,
    /// Passed by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Takes bytes through something, so many a call, for so long; returns bytes a second.
type Run = fn(usize, Duration) -> f64;

/// Repeats `round`, which takes so many bytes through.
fn rate(bytes: usize, time: Duration, mut round: impl FnMut()) -> f64 {
    let started = Instant::now();
    let mut rounds = 0_u32;
    while started.elapsed() < time {
        for _ in 0..64 {
            round();
        }
        rounds += 64;
    }
    f64::from(rounds) * bytes as f64 / started.elapsed().as_secs_f64()
}

fn lastbyte_calls(len: usize, time: Duration) -> f64 {
    let pipe = lastbyte::pipe::Pipe::<CAPACITY>::new();
    let (mut writer, mut reader) = pipe.split().expect("it has no halves");
    let (bytes, mut into) = (vec![1; len], vec![0; len]);
    rate(len, time, || {
        assert_eq!(writer.try_write(black_box(&bytes)), Ok(len));
        assert_eq!(reader.try_read(black_box(&mut into)), Ok(Some(len)));
    })
}

type EmbassyPipe = embassy_sync::pipe::Pipe<CriticalSectionRawMutex, CAPACITY>;

fn embassy_calls(len: usize, time: Duration) -> f64 {
    let mut pipe = EmbassyPipe::new();
    let (reader, writer) = pipe.split();
    let (bytes, mut into) = (vec![1; len], vec![0; len]);
    rate(len, time, || {
        // Up to the end of its buffer in one call, and the rest in the next.
        let mut written = 0;
        while written < len {
            written += writer
                .try_write(black_box(&bytes[written..]))
                .expect("room");
        }
        let mut read = 0;
        while read < len {
            read += reader
                .try_read(black_box(&mut into[read..]))
                .expect("bytes");
        }
    })
}

fn heapless_calls(len: usize, time: Duration) -> f64 {
    let mut queue = heapless::spsc::Queue::<u8, QUEUE>::new();
    let (mut producer, mut consumer) = queue.split();
    let (bytes, mut into) = (vec![1; len], vec![0; len]);
    rate(len, time, || {
        for &byte in black_box(&bytes) {
            producer.enqueue(byte).expect("room");
        }
        for byte in black_box(&mut into) {
            *byte = consumer.dequeue().expect("bytes");
        }
    })
}

/// How many bytes two tasks take through at a time.
const STREAM: usize = 64 * 1024;

fn lastbyte_tasks(len: usize, time: Duration) -> f64 {
    use embedded_io_async::{Read, Write};

    let pipe = lastbyte::pipe::Pipe::<CAPACITY>::new();
    let (mut writer, mut reader) = pipe.split().expect("it has no halves");
    let (bytes, mut into) = (vec![1; len], vec![0; len]);
    rate(STREAM, time, || {
        let writing = async {
            for _ in 0..STREAM / len {
                writer.write_all(black_box(&bytes)).await.expect("a reader");
            }
        };
        let reading = async {
            let mut read = 0;
            while read < STREAM {
                read += reader.read(black_box(&mut into)).await.expect("a writer");
            }
        };
        block_on(zip(writing, reading));
    })
}

fn embassy_tasks(len: usize, time: Duration) -> f64 {
    let mut pipe = EmbassyPipe::new();
    let (reader, writer) = pipe.split();
    let (bytes, mut into) = (vec![1; len], vec![0; len]);
    rate(STREAM, time, || {
        let writing = async {
            for _ in 0..STREAM / len {
                let mut written = 0;
                while written < len {
                    written += writer.write(black_box(&bytes[written..])).await;
                }
            }
        };
        let reading = async {
            let mut read = 0;
            while read < STREAM {
                read += reader.read(black_box(&mut into)).await;
            }
        };
        block_on(zip(writing, reading));
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs all in turns, and prints the rate of the first, and what the rates of the others are to
/// it: the median of the ratios of runs that followed each other.
fn compare(arguments: &Arguments, title: &str, lens: &[usize], contenders: &[(&str, Run)]) {
    println!("\n{title}\n");
    print!("| bytes a call |");
    for (name, _) in contenders {
        print!(" {name} |");
    }
    println!("\n|--:|{}", "--:|".repeat(contenders.len()));
    let (runs, time) = match arguments.quick {
        true => (3, Duration::from_millis(5)),
        false => (arguments.runs, Duration::from_millis(arguments.millis)),
    };
    for &len in lens {
        let mut rates = vec![Vec::new(); contenders.len()];
        for _ in 0..runs {
            for (rates, (_, run)) in rates.iter_mut().zip(contenders) {
                rates.push(run(len, time));
            }
        }
        print!("| {len} | {:.1} MB/s |", median(rates[0].clone()) / 1e6);
        for others in &rates[1..] {
            let ratios = others.iter().zip(&rates[0]).map(|(other, own)| other / own);
            print!(" {:.2} |", median(ratios.collect()));
        }
        println!();
    }
}

fn main() {
    let arguments = Arguments::parse();
    compare(
        &arguments,
        &format!("Calls that do not wait, in one thread, {CAPACITY} bytes of room"),
        &[1, 4, 16, 64, 256],
        &[
            ("lastbyte::pipe", lastbyte_calls),
            ("embassy_sync::pipe, of that", embassy_calls),
            ("heapless::spsc, of that", heapless_calls),
        ],
    );
    compare(
        &arguments,
        &format!("Two async tasks in one thread, {CAPACITY} bytes of room"),
        &[1, 16, 64, 256, 1024],
        &[
            ("lastbyte::pipe", lastbyte_tasks),
            ("embassy_sync::pipe, of that", embassy_tasks),
        ],
    );
}
