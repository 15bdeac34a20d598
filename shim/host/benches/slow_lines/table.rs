//! The table, for readers and as tab-separated values.

use crate::cell::{BUFFERS, CAP, CONNECTIONS, LINES, LONG, QUEUES, ROUND_TRIP};
use crate::ends::Writer;
use crate::lines::{Row, Summary};
use std::fmt::Write as _;

/// The goals for 500 kB at 1 Mbit/s: the maximum multiple of the line's own time, and the
/// maximum percentage of the sent data that is sent twice.
const AIMED_TIMES: f64 = 2.2;
const AIMED_TWICE: f64 = 12.0;
/// The maximum percentage by which lastbyte may be slower than bare smoltcp with Reno.
const AIMED_SLOWER: f64 = 10.0;
/// The maximum number of cells that are listed.
const LISTED: usize = 12;

pub fn print(rows: &[Row]) {
    println!(
        "Round trip {} ms. Each connection sends {} (at {}). Line: its own\n\
         time in seconds, the data once at full rate and 1.5 round trips. Then, by writer: seconds\n\
         until the peer has everything, that time as a multiple of the line's own, and how much of\n\
         the data sent was sent twice. Loss in percent of the frames, each way; with losses, the\n\
         median of several runs. A run stops ('>') at {CAP} times the line's own time, but not before\n\
         {} s. 'ended': the user timeout of lastbyte (100 s) ended a connection.",
        ROUND_TRIP.as_millis(),
        LINES.map(|line| kilobytes(line.bytes)).join(", "),
        LINES.map(|line| line.name).join(", "),
        LONG.as_secs(),
    );
    let is_first = |row: &Row| row.cell.line == LINES[1] && row.cell.queue == QUEUES[1];
    println!("\n1 Mbit/s, queue of 8 frames\n");
    print_rows(rows.iter().filter(|row| is_first(row)));
    println!("\nOther lines without loss\n");
    print_rows(
        rows.iter()
            .filter(|row| row.cell.loss == 0 && !is_first(row)),
    );
    print_aims(rows);
    print_slower(rows);
    print_small(rows);
}

fn print_rows<'a>(rows: impl Iterator<Item = &'a Row>) {
    print!("line       queue buffer loss conn.  line");
    for writer in Writer::ALL {
        print!(" |{:^21}", writer.name());
    }
    println!();
    for row in rows {
        println!("{}", line_of(row));
    }
}

fn line_of(row: &Row) -> String {
    let cell = &row.cell;
    let mut line = format!(
        "{:10} {:5} {:>6} {:4} {:5} {:5.1}",
        cell.line.name,
        cell.queue,
        kibibytes(cell.buffer),
        cell.loss,
        cell.connections,
        cell.own_time().as_secs_f64(),
    );
    for writer in Writer::ALL {
        let summary = row.of(writer);
        let _ = match (summary.time, row.ratio(writer)) {
            (Some(time), Some(ratio)) => write!(line, " | {:7.2} {ratio:5.2}", time.as_secs_f64()),
            _ if summary.ended > 0 => write!(line, " |   ended     -"),
            _ => write!(line, " | {:>7}     -", capped(row)),
        };
        let _ = write!(line, " {:5.1} %", summary.percent_twice());
    }
    line
}

/// The time at which a run was stopped.
pub fn capped(row: &Row) -> String {
    format!("> {:.0}", row.cell.limit().as_secs_f64())
}

/// The results compared with the goals, at 1 Mbit/s and with a queue of 8 frames.
fn print_aims(rows: &[Row]) {
    println!(
        "\nAimed at, for lastbyte with 1 Mbit/s, a queue of 8 frames, no loss: {AIMED_TIMES} times \
         the line's own\ntime at most, {AIMED_TWICE} % sent twice at most\n"
    );
    for row in rows {
        let cell = &row.cell;
        let counts = cell.line == LINES[1]
            && cell.queue == QUEUES[1]
            && cell.loss == 0
            && cell.buffer >= BUFFERS[2];
        if !counts {
            continue;
        }
        let ratio = row.ratio(Writer::Lastbyte).unwrap_or(f64::INFINITY);
        let twice = row.of(Writer::Lastbyte).percent_twice();
        let is_met = ratio <= AIMED_TIMES && twice <= AIMED_TWICE;
        println!(
            "{:>6}, {} connections: {ratio:.2} times, {twice:.1} %: {}",
            kibibytes(cell.buffer),
            cell.connections,
            if is_met { "met" } else { "MISSED" },
        );
    }
}

/// The percentage by which lastbyte is slower than bare smoltcp with Reno.
fn percent_slower(row: &Row) -> f64 {
    let seconds = |writer| {
        let time = row.of(writer).time.unwrap_or_else(|| row.cell.limit());
        time.as_secs_f64()
    };
    let ours = row.of(Writer::Lastbyte);
    if ours.time.is_none() && ours.ended > 0 {
        return f64::INFINITY;
    }
    100.0 * (seconds(Writer::Lastbyte) / seconds(Writer::Reno) - 1.0)
}

/// The cells without loss in which lastbyte is slower than bare smoltcp with Reno.
fn print_slower(rows: &[Row]) {
    let clean = rows.iter().filter(|row| row.cell.loss == 0);
    let mut all: Vec<_> = clean.map(|row| (percent_slower(row), row)).collect();
    all.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let slower = all.iter().filter(|(percent, _)| *percent > AIMED_SLOWER);
    println!(
        "\nWithout loss, lastbyte is more than {AIMED_SLOWER} % slower than smoltcp with Reno in {} of {} cells,\n\
         and as much faster in {}\n",
        slower.clone().count(),
        all.len(),
        all.iter()
            .filter(|(percent, _)| *percent < -AIMED_SLOWER)
            .count(),
    );
    print_rows(slower.map(|(_, row)| *row).take(LISTED));
}

/// The cells whose buffers hold less than the line and its queue: congestion control has
/// nothing to do.
fn print_small(rows: &[Row]) {
    println!("\nSmall buffers, one connection, no loss: congestion control costs nothing\n");
    print_rows(rows.iter().filter(|row| {
        let cell = &row.cell;
        cell.loss == 0
            && cell.connections == CONNECTIONS[0]
            && cell.buffer <= BUFFERS[1]
            && cell.queue == QUEUES[1]
    }));
}

/// Every cell, one in a line.
pub fn tsv(rows: &[Row]) -> String {
    let mut out = String::from("bits_a_second\tqueue\tbuffer\tloss_percent\tconnections\tline_s");
    for writer in Writer::ALL {
        for column in ["s", "times", "percent_twice", "ended"] {
            let _ = write!(out, "\t{} {column}", writer.name());
        }
    }
    out.push('\n');
    for row in rows {
        let cell = &row.cell;
        let _ = write!(
            out,
            "{}\t{}\t{}\t{}\t{}\t{:.3}",
            cell.line.bits_a_second,
            cell.queue,
            cell.buffer,
            cell.loss,
            cell.connections,
            cell.own_time().as_secs_f64(),
        );
        for writer in Writer::ALL {
            let summary = row.of(writer);
            out.push_str(&columns(row, writer, &summary));
        }
        out.push('\n');
    }
    out
}

fn columns(row: &Row, writer: Writer, summary: &Summary) -> String {
    let times = match (summary.time, row.ratio(writer)) {
        (Some(time), Some(ratio)) => format!("{:.3}\t{ratio:.3}", time.as_secs_f64()),
        _ => format!("{}\t", capped(row)),
    };
    let (twice, ended) = (summary.percent_twice(), summary.ended);
    format!("\t{times}\t{twice:.2}\t{ended}")
}

pub fn kibibytes(bytes: usize) -> String {
    format!("{} KiB", bytes >> 10)
}

pub fn kilobytes(bytes: u64) -> String {
    format!("{} kB", bytes / 1000)
}
