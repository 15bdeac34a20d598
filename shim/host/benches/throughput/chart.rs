//! The chart: throughput by transmit buffer, for four senders.

use crate::Failure;
use crate::paper::{FAINT, GREY, heading, round, sheet, text};
use crate::sections::{BUFFERS, Curves, size};
use std::path::Path;
use svg::node::element::{Circle, Group, Line, Polyline};

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 430.0;
/// The place of the curves.
const LEFT: f64 = 64.0;
const RIGHT: f64 = WIDTH - 28.0;
const TOP: f64 = 104.0;
const BOTTOM: f64 = HEIGHT - 62.0;
/// The distance between two horizontal lines, in Gbit/s.
const STEP: f64 = 10.0;

/// How one sender is drawn. Colour-blind readers can distinguish the colours (Okabe, Ito).
struct Style {
    name: &'static str,
    colour: &'static str,
    width: f64,
    dashes: &'static str,
}

const OURS: Style = Style {
    name: "lastbyte over a TAP (tso)",
    colour: "#0072b2",
    width: 3.0,
    dashes: "none",
};
const BARE: Style = Style {
    name: "bare smoltcp loop over the same TAP (tso)",
    colour: "#e69f00",
    width: 2.0,
    dashes: "7 4",
};
const STOCK: Style = Style {
    name: "bare smoltcp loop over its TunTapInterface",
    colour: "#d55e00",
    width: 2.0,
    dashes: "none",
};
const VETH: Style = Style {
    name: "kernel TCP over veth (buffer: SO_SNDBUF)",
    colour: "#6e7781",
    width: 2.0,
    dashes: "2 4",
};

/// Draws the curves into a file.
pub fn draw(curves: &Curves, path: &Path) -> Result<(), Failure> {
    if curves.ours.len() != BUFFERS.len() {
        return Err("the chart needs all transmit buffers: leave out --buffers".into());
    }
    let all = [
        (&VETH, &curves.veth),
        (&STOCK, &curves.stock),
        (&BARE, &curves.bare),
        (&OURS, &curves.ours),
    ];
    let highest = all
        .iter()
        .flat_map(|(_, rates)| rates.iter().copied())
        .fold(STEP, f64::max);
    let highest = (highest / STEP).ceil() * STEP;
    let title = "Throughput of lastbyte and of three others over the transmit buffer";
    let mut document = sheet(WIDTH, HEIGHT, title)
        .add(heading(
            LEFT,
            "One connection to a kernel sink, writes of 64 KiB",
        ))
        .add(axes(highest));
    for (index, (style, rates)) in all.iter().enumerate() {
        document = document.add(curve(style, rates, highest));
        // Ours is first in the legend, and drawn last.
        document = document.add(legend(style, all.len() - 1 - index));
    }
    document = document.add(figures(&curves.ours, highest));
    svg::save(path, &document)?;
    Ok(())
}

fn x_of(index: usize) -> f64 {
    let steps = (BUFFERS.len() - 1) as f64;
    LEFT + 24.0 + (RIGHT - LEFT - 48.0) * index as f64 / steps
}

fn y_of(rate: f64, highest: f64) -> f64 {
    BOTTOM - (BOTTOM - TOP) * rate / highest
}

fn axes(highest: f64) -> Group {
    let mut group = Group::new();
    let lines = (highest / STEP) as usize;
    for line in 0..=lines {
        let rate = line as f64 * STEP;
        let y = round(y_of(rate, highest));
        group = group
            .add(
                Line::new()
                    .set("x1", LEFT)
                    .set("x2", RIGHT)
                    .set("y1", y)
                    .set("y2", y)
                    .set("stroke", if line == 0 { GREY } else { FAINT }),
            )
            .add(
                text(LEFT - 8.0, y + 4.5, &rate.to_string())
                    .set("text-anchor", "end")
                    .set("fill", GREY),
            );
    }
    for (index, buffer) in BUFFERS.into_iter().enumerate() {
        group = group.add(
            text(x_of(index), BOTTOM + 20.0, &size(buffer))
                .set("text-anchor", "middle")
                .set("fill", GREY),
        );
    }
    let middle = f64::midpoint(TOP, BOTTOM);
    group
        .add(
            text(
                f64::midpoint(LEFT, RIGHT),
                BOTTOM + 44.0,
                "transmit buffer of the sender",
            )
            .set("text-anchor", "middle"),
        )
        .add(
            text(20.0, middle, "Gbit/s")
                .set("text-anchor", "middle")
                .set("transform", format!("rotate(-90 20 {middle})")),
        )
}

fn stroked<N: svg::Node>(mut node: N, style: &Style) -> N {
    node.assign("stroke", style.colour);
    node.assign("stroke-width", style.width);
    node.assign("stroke-dasharray", style.dashes);
    node
}

fn curve(style: &Style, rates: &[f64], highest: f64) -> Group {
    let points: Vec<(f64, f64)> = rates
        .iter()
        .enumerate()
        .map(|(index, rate)| (round(x_of(index)), round(y_of(*rate, highest))))
        .collect();
    let path: Vec<String> = points.iter().map(|(x, y)| format!("{x},{y}")).collect();
    let line = Polyline::new()
        .set("points", path.join(" "))
        .set("fill", "none")
        .set("stroke-linejoin", "round");
    points
        .iter()
        .fold(Group::new().add(stroked(line, style)), |group, (x, y)| {
            group.add(
                Circle::new()
                    .set("cx", *x)
                    .set("cy", *y)
                    .set("r", style.width + 1.0)
                    .set("fill", style.colour),
            )
        })
}

/// The legend: two columns of two, above the curves.
fn legend(style: &Style, place: usize) -> Group {
    let x = LEFT + 350.0 * (place % 2) as f64;
    let y = 54.0 + 22.0 * (place / 2) as f64;
    let line = Line::new()
        .set("x1", x)
        .set("x2", x + 30.0)
        .set("y1", y - 4.5)
        .set("y2", y - 4.5);
    Group::new()
        .add(stroked(line, style))
        .add(text(x + 38.0, y, style.name))
}

/// The labels of lastbyte's points.
fn figures(rates: &[f64], highest: f64) -> Group {
    rates
        .iter()
        .enumerate()
        .fold(Group::new(), |group, (index, rate)| {
            let digits = if *rate < 10.0 { 1 } else { 0 };
            let words = format!("{rate:.digits$}");
            let y = y_of(*rate, highest);
            // The lowest label would cover other curves.
            let y = if *rate < highest / 4.0 {
                y - 12.0
            } else {
                y + 22.0
            };
            group.add(
                text(x_of(index), y, &words)
                    .set("text-anchor", "middle")
                    .set("font-weight", "bold")
                    .set("fill", OURS.colour),
            )
        })
}
