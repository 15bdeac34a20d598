//! Slow lines with short queues, in virtual time: lastbyte against bare smoltcp
//! loops with and without congestion control.

#[path = "../common/content.rs"]
mod content;
mod cell;
mod ends;
mod lines;

use clap::Parser;
use content::Content;
use std::error::Error;
use std::process::ExitCode;

pub type Failure = Box<dyn Error + Send + Sync>;

#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, default_value_t = 5)]
    seeds: u64,
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let started = std::time::Instant::now();
    let rows = lines::measure(&cell::Cell::all(), arguments.seeds, &Content::new());
    match rows {
        Ok(rows) => {
            for row in rows {
                let c = row.cell;
                print!("{}\t{}\t{}\t{}\t{}\t{:.2}", c.line.name, c.queue, c.buffer, c.loss, c.connections, c.own_time().as_secs_f64());
                for w in ends::Writer::ALL {
                    print!("\t{:.2}\t{:.1}%", row.ratio(w).unwrap_or(99.0), row.of(w).percent_twice());
                }
                println!();
            }
        }
        Err(error) => eprintln!("{error}"),
    }
    println!("{:.0} s", started.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}
