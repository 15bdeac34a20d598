//! The chart: the time of 500 kB over 1 Mbit/s, by transmit buffer and writer.

use crate::Failure;
use crate::cell::{BUFFERS, CONNECTIONS, LINES, LOSSES, QUEUES, ROUND_TRIP};
use crate::ends::Writer;
use crate::lines::Row;
use crate::paper::{FAINT, GREY, heading, round, sheet, text};
use crate::table::{capped, kibibytes, kilobytes};
use std::path::Path;
use svg::node::element::{Group, Line, Rectangle};

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 360.0;
/// The place of the bars.
const LEFT: f64 = 64.0;
const RIGHT: f64 = WIDTH - 28.0;
const TOP: f64 = 104.0;
/// The place of the text of the legend.
const LEGEND: f64 = 58.0;
const BOTTOM: f64 = HEIGHT - 62.0;
/// The range of the axis, in seconds: a longer bar is cut off, and its time is written on it.
const HIGHEST: f64 = 35.0;
/// The distance between two horizontal lines, in seconds.
const STEP: usize = 5;
/// The width of a bar, and the gap next to it.
const BAR: f64 = 40.0;
const GAP: f64 = 8.0;

/// Colours that colour-blind readers can distinguish (Okabe, Ito).
const fn colour(writer: Writer) -> &'static str {
    match writer {
        Writer::Lastbyte => "#0072b2",
        Writer::Reno => "#e69f00",
        Writer::Uncontrolled => "#6e7781",
    }
}

const fn name(writer: Writer) -> &'static str {
    match writer {
        Writer::Lastbyte => "lastbyte",
        Writer::Reno => "bare smoltcp with Reno",
        Writer::Uncontrolled => "bare smoltcp without congestion control",
    }
}

/// Draws the bars into a file.
pub fn draw(rows: &[Row], path: &Path) -> Result<(), Failure> {
    let (line, queue) = (LINES[1], QUEUES[1]);
    let drawn: Vec<_> = rows
        .iter()
        .filter(|row| {
            let cell = &row.cell;
            cell.line == line
                && cell.queue == queue
                && cell.loss == LOSSES[0]
                && cell.connections == CONNECTIONS[0]
        })
        .collect();
    let [first, ..] = drawn.as_slice() else {
        return Err("no row to draw".into());
    };
    let words = format!(
        "Seconds for {} at {}, round trip {} ms, queue of {queue} frames",
        kilobytes(line.bytes),
        line.name,
        ROUND_TRIP.as_millis(),
    );
    let mut document = sheet(WIDTH, HEIGHT, &words)
        .add(heading(LEFT, &words))
        .add(axes());
    for (place, writer) in Writer::ALL.into_iter().enumerate() {
        document = document.add(legend(writer, place));
        for (group, row) in drawn.iter().enumerate() {
            document = document.add(bar(row, writer, x_of(group, place)));
        }
    }
    document = document.add(own_time(first.cell.own_time().as_secs_f64()));
    svg::save(path, &document)?;
    Ok(())
}

fn width_of_group() -> f64 {
    (RIGHT - LEFT) / BUFFERS.len() as f64
}

/// The left edge of a bar.
fn x_of(group: usize, place: usize) -> f64 {
    let bars = Writer::ALL.len() as f64;
    let middle = LEFT + width_of_group() * (group as f64 + 0.5);
    middle - (bars * BAR + (bars - 1.0) * GAP) / 2.0 + (BAR + GAP) * place as f64
}

fn y_of(seconds: f64) -> f64 {
    BOTTOM - (BOTTOM - TOP) * seconds.min(HIGHEST) / HIGHEST
}

fn horizontal(seconds: f64, colour: &str) -> Line {
    let y = round(y_of(seconds));
    Line::new()
        .set("x1", LEFT)
        .set("x2", RIGHT)
        .set("y1", y)
        .set("y2", y)
        .set("stroke", colour)
}

fn axes() -> Group {
    let mut group = Group::new();
    for seconds in (0..=HIGHEST as usize).step_by(STEP) {
        let colour = if seconds == 0 { GREY } else { FAINT };
        let y = y_of(seconds as f64);
        group = group.add(horizontal(seconds as f64, colour)).add(
            text(LEFT - 8.0, y + 4.5, &seconds.to_string())
                .set("text-anchor", "end")
                .set("fill", GREY),
        );
    }
    for (place, buffer) in BUFFERS.into_iter().enumerate() {
        let x = LEFT + width_of_group() * (place as f64 + 0.5);
        group = group.add(
            text(x, BOTTOM + 20.0, &kibibytes(buffer))
                .set("text-anchor", "middle")
                .set("fill", GREY),
        );
    }
    group.add(
        text(
            f64::midpoint(LEFT, RIGHT),
            BOTTOM + 44.0,
            "transmit buffer of the sender",
        )
        .set("text-anchor", "middle"),
    )
}

fn bar(row: &Row, writer: Writer, x: f64) -> Group {
    let time = row.of(writer).time;
    let seconds = time.map_or(f64::INFINITY, |time| time.as_secs_f64());
    let label = time.map_or_else(|| capped(row), |_| format!("{seconds:.1}"));
    let y = round(y_of(seconds));
    let words = text(x + BAR / 2.0, y - 5.0, &label)
        .set("text-anchor", "middle")
        .set("font-size", 12)
        .set("fill", colour(writer));
    let words = match writer {
        Writer::Lastbyte => words.set("font-weight", "bold"),
        Writer::Reno | Writer::Uncontrolled => words,
    };
    let block = Rectangle::new()
        .set("x", round(x))
        .set("y", y)
        .set("width", BAR)
        .set("height", round(BOTTOM - y))
        .set("fill", colour(writer));
    Group::new().add(block).add(words)
}

/// A dashed line where the bars would end if the line were never idle, with its label.
fn own_time(seconds: f64) -> Group {
    let (x, y) = (LEFT + 580.0, LEGEND - 4.0);
    let sample = dashed(Line::new())
        .set("x1", x)
        .set("x2", x + 26.0)
        .set("y1", y)
        .set("y2", y);
    let words = format!("the line itself: {seconds:.1}");
    Group::new()
        .add(dashed(horizontal(seconds, GREY)))
        .add(sample)
        .add(text(x + 34.0, LEGEND, &words))
}

fn dashed(line: Line) -> Line {
    line.set("stroke", "#1f2328").set("stroke-dasharray", "4 4")
}

/// The legend: one line, above the bars.
fn legend(writer: Writer, place: usize) -> Group {
    let x = LEFT + [0.0, 100.0, 290.0].get(place).copied().unwrap_or(0.0);
    let y = LEGEND;
    let block = Rectangle::new()
        .set("x", x)
        .set("y", y - 11.0)
        .set("width", 14)
        .set("height", 14)
        .set("fill", colour(writer));
    Group::new().add(block).add(text(x + 22.0, y, name(writer)))
}
