//! Slow lines with short queues and losses: lastbyte compared with bare smoltcp loops
//! with and without congestion control, in virtual time, so that every run gives the same
//! numbers. Also the time from a heartbeat to its acknowledgement, which is measured for
//! the kernel's TCP as well.
//!
//! `./ci.sh bench`, or `cargo bench -p lastbyte-host --bench slow_lines -- --help`.
//! The kernel's part needs root and /dev/net/tun.

mod beats;
mod cell;
mod chart;
#[path = "../common/content.rs"]
#[allow(dead_code, reason = "other benchmarks need the rest")]
mod content;
mod ends;
mod kernel;
mod lines;
#[path = "../common/paper.rs"]
mod paper;
mod table;

use cell::Cell;
use clap::Parser;
use content::Content;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

pub type Failure = Box<dyn Error + Send + Sync>;

#[derive(Debug, Parser)]
#[command(about = "Slow lines with short queues and losses, compared with bare smoltcp loops")]
struct Arguments {
    /// Runs of each cell with losses, of which the median counts
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Heartbeats in virtual time
    #[arg(long, default_value_t = 10_000)]
    beats: usize,
    /// Heartbeats of each of the kernel's 100 connections, one a second
    #[arg(long, default_value_t = 50)]
    kernel_beats: usize,
    /// One run of each cell and few heartbeats: a rough measurement
    #[arg(long)]
    quick: bool,
    /// Only these sections
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Section>,
    /// Draw a chart of the times by buffer into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// The file for the full table
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/slow_lines.tsv"))]
    tsv: PathBuf,
    /// Passed by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Section {
    /// Data over slow lines
    Lines,
    /// Heartbeats over a line with losses
    Beats,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if arguments.quick {
        arguments.seeds = 1;
        arguments.beats = arguments.beats.min(1_000);
        arguments.kernel_beats = arguments.kernel_beats.min(5);
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
    if is_wanted(Section::Lines) {
        let rows = lines::measure(&Cell::all(), arguments.seeds, &content)?;
        table::print(&rows);
        fs::write(&arguments.tsv, table::tsv(&rows))?;
        println!("\nevery cell: {}", arguments.tsv.display());
        if let Some(path) = &arguments.svg {
            chart::draw(&rows, path)?;
            println!("drawn into {}", path.display());
        }
    }
    if is_wanted(Section::Beats) {
        beats::print(arguments.beats, arguments.kernel_beats, &content)?;
    }
    Ok(())
}
