//! Throughput: lastbyte compared with a bare smoltcp loop over the same device, in
//! interleaved runs. smoltcp's own TAP device and the kernel's TCP are measured as well.
//!
//! `./ci.sh bench`, or `cargo bench -p lastbyte-host --bench throughput -- --help`.
//! Needs root, /dev/net/tun, and `ip` of iproute2.

mod chart;
#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "other benchmarks need the rest")]
mod common;
#[path = "../common/content.rs"]
mod content;
mod kernel;
#[path = "../common/paper.rs"]
mod paper;
mod sections;
mod senders;
mod statistics;

use bytesize::ByteSize;
use clap::Parser;
use content::Content;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub type Failure = Box<dyn Error + Send + Sync>;

/// The port of the sink.
pub const PORT: u16 = 5000;

#[derive(Debug, Parser)]
#[command(about = "Throughput, compared with a bare smoltcp loop over the same device")]
pub struct Arguments {
    /// Runs of each kind, interleaved; one more run warms up and is checked by its hash
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Milliseconds of each run
    #[arg(long, default_value_t = 150)]
    millis: u64,
    /// Three short runs of each kind: a rough measurement
    #[arg(long)]
    quick: bool,
    /// Only these sections
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Section>,
    /// Only these transmit buffers, as in 64KiB
    #[arg(long, value_delimiter = ',')]
    buffers: Vec<ByteSize>,
    /// Only these sizes of writes
    #[arg(long, value_delimiter = ',')]
    writes: Vec<ByteSize>,
    /// Draw the throughput into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Passed by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Section {
    /// Throughput by transmit buffer, for four senders
    Paths,
    /// Buffers and sizes of writes, over a TAP
    Tap,
    /// Buffers and sizes of writes, over a wire in the process
    Loopback,
    /// Plain and announced writes over a TAP, and the kernel's `send` over loopback
    Send,
    /// The time of a small write until it is acknowledged
    Latency,
    /// Many connections
    Many,
}

/// One kind of run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The size of the transmit buffer.
    pub buffer: usize,
    /// The size of each write.
    pub write: usize,
    /// The duration of the run.
    pub time: Duration,
    /// When a bare loop polls.
    pub polls: Polls,
    /// The call with which lastbyte writes.
    pub call: Call,
}

/// The call with which lastbyte writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `Write::write`, which sends at once.
    Write,
    /// `Writer::write_more`, which leaves sending to the call that fills half of the buffer.
    WriteMore,
}

/// When a bare smoltcp loop polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polls {
    /// Once its buffer is full. What the peer has sent meanwhile, even its FIN, is only
    /// detected then.
    WhenFull,
    /// At each write, like lastbyte.
    EachWrite,
}

/// The result of a run.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// The number of bytes written and acknowledged.
    pub bytes: u64,
    /// The time from the first write to the last acknowledgement.
    pub seconds: f64,
    /// The processor time of the sending thread.
    pub cpu_seconds: f64,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if arguments.quick {
        arguments.runs = arguments.runs.min(3);
        arguments.millis = arguments.millis.min(40);
    }
    let started = Instant::now();
    match run(&arguments) {
        Ok(()) => {
            println!("\n{:.0} s in all", started.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\nNOT MEASURED: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let content = Content::new();
    let is_wanted = |section| arguments.only.is_empty() || arguments.only.contains(&section);
    println!(
        "Medians of {} runs of {} ms that take turns; Gbit/s from the first write to the last\n\
         acknowledgement. ns/B: processor time of the sending thread, the kernel's work in its\n\
         system calls included. The first run of each kind does not count: the sink hashes it.",
        arguments.runs, arguments.millis
    );
    if is_wanted(Section::Paths) {
        let curves = sections::paths(arguments, &content)?;
        if let Some(path) = &arguments.svg {
            chart::draw(&curves, path)?;
            println!("drawn into {}", path.display());
        }
    }
    if is_wanted(Section::Tap) {
        sections::tap(arguments, &content)?;
    }
    if is_wanted(Section::Loopback) {
        sections::loopback(arguments, &content)?;
    }
    if is_wanted(Section::Send) {
        sections::send(arguments, &content)?;
    }
    if is_wanted(Section::Latency) {
        sections::latency(arguments, &content)?;
    }
    if is_wanted(Section::Many) {
        sections::many(arguments, &content)?;
    }
    Ok(())
}
