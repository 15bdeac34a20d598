//! Shapes and text in one style.

use std::fmt::Write;
use std::time::Duration;

use lastbyte::Instant;
use svg::node::element::{
    Circle, Group, Line, Path, Pattern, Polyline, Rectangle, Style, TSpan, Text, Title,
};

/// The places of the columns.
pub(super) const WIDTH: i32 = 1_450;
pub(super) const AXIS: i32 = 110;
pub(super) const NOTES: i32 = 126;
pub(super) const OURS: i32 = 520;
pub(super) const PEERS: i32 = 1_360;
pub(super) const OUTSIDE: i32 = 1_435;
/// Half of the width of the band along our lifeline.
pub(super) const BAND: i32 = 9;
/// The height of a line of text.
pub(super) const LINE: i32 = 15;
/// The number of letters in a line of a note.
pub(super) const NOTE_LETTERS: usize = 54;

const STYLE: &str = "
text { font: 11px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #1f2937; }
.title { font: bold 20px system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; }
.detail { fill: #4b5563; }
.axis { text-anchor: end; fill: #374151; } .axis .fine { fill: #9ca3af; }
.tick { stroke: #cbd5e1; } .row { stroke: #f1f5f9; }
.life { stroke: #94a3b8; stroke-width: 2; }
.end { fill: #ffffff; stroke: #94a3b8; stroke-width: 1.5; } .name { font: bold 14px system-ui, 'DejaVu Sans', sans-serif; }
.middle { text-anchor: middle; } .right { text-anchor: end; }
.arrow { stroke-width: 1.4; stroke-linejoin: round; fill: none; } .hit { stroke: transparent; stroke-width: 9; fill: none; }
.label { paint-order: stroke; stroke: #ffffff; stroke-width: 4px; stroke-linejoin: round; }
.ours .arrow { stroke: #2563eb; marker-end: url(#head-ours); } .ours .label { fill: #1e40af; }
.peers .arrow { stroke: #0f766e; marker-end: url(#head-peers); } .peers .label { fill: #115e59; }
.forged .arrow { stroke: #a21caf; stroke-width: 1.8; marker-end: url(#head-forged); } .forged .label { fill: #a21caf; font-weight: bold; }
.other .arrow { stroke: #b6bec9; stroke-width: 0.9; marker-end: url(#head-other); } .other .label { fill: #8a94a3; }
.damaged .arrow { stroke: #ea580c; marker-end: url(#head-damaged); } .damaged .label { fill: #c2410c; }
.arrow.copy { stroke-dasharray: 5 4; } .lost .arrow { marker-end: none; }
.cross { stroke: #dc2626; stroke-width: 2; } .words .loss { fill: #dc2626; font-weight: bold; }
.zero-window .label { font-weight: bold; }
.step { font-weight: bold; fill: #111827; } .ledger { fill: #475569; } .state { font-weight: bold; }
.peer { fill: #0f766e; } .said { fill: #7c2d12; font-style: italic; }
.happening { fill: #a21caf; font-weight: bold; } .left-out { font-weight: bold; fill: #92400e; }
.refused { fill: #b91c1c; font-weight: bold; } .refusal { fill: #dc2626; stroke: #ffffff; stroke-width: 1.5; }
.refusal-cross { stroke: #ffffff; stroke-width: 2; }
.refusal-box { fill: #fef2f2; stroke: #fca5a5; }
.finding { fill: #ffffff; font-weight: bold; } .finding-box { fill: #dc2626; }
.break { fill: #f8fafc; } .break-line { fill: none; stroke: #cbd5e1; stroke-width: 1.3; } .break-text { fill: #64748b; font-style: italic; }
.band-text { font-size: 9.5px; fill: #1f2937; letter-spacing: 0.4px; }
.unseen { fill: url(#unseen); }
.idle { fill: #e5e7eb; } .connecting { fill: #bfdbfe; } .listening { fill: #ddd6fe; } .open { fill: #86efac; }
.peer-finished { fill: #fcd34d; } .finishing { fill: #67e8f9; } .closed { fill: #cbd5e1; } .broken { fill: #fca5a5; }
";

/// The style sheet.
pub(super) fn style() -> Style {
    Style::new(STYLE)
}

/// The pattern over a state that was not observed, by its name in the style.
pub(super) fn hatching() -> Pattern {
    let stroke = Path::new()
        .set("d", "M -2 2 L 2 -2 M 0 8 L 8 0 M 6 10 L 10 6")
        .set("stroke", "#ffffff")
        .set("stroke-width", 3)
        .set("stroke-opacity", 0.75);
    Pattern::new()
        .set("id", "unseen")
        .set("width", 8)
        .set("height", 8)
        .set("patternUnits", "userSpaceOnUse")
        .add(stroke)
}

/// Replaces characters that XML cannot hold.
fn clean(text: &str) -> String {
    let clean = |letter: char| match letter {
        '\n' | '\t' => letter,
        letter if letter.is_control() || ('\u{fffe}'..='\u{ffff}').contains(&letter) => '\u{fffd}',
        letter => letter,
    };
    text.chars().map(clean).collect()
}

pub(super) fn text(class: &str, x: i32, y: i32, words: &str) -> Text {
    Text::new(clean(words))
        .set("class", class)
        .set("x", x)
        .set("y", y)
}

pub(super) fn title(words: &str) -> Title {
    Title::new(clean(words))
}

pub(super) fn line(class: &str, from: (i32, i32), to: (i32, i32)) -> Line {
    Line::new()
        .set("class", class)
        .set("x1", from.0)
        .set("y1", from.1)
        .set("x2", to.0)
        .set("y2", to.1)
}

/// A line with corners.
pub(super) fn way(class: &str, corners: &[(i32, i32)]) -> Polyline {
    let corners = corners.iter().map(|(x, y)| format!("{x},{y}"));
    Polyline::new()
        .set("class", class)
        .set("points", corners.collect::<Vec<_>>().join(" "))
}

pub(super) fn rectangle(class: &str, corner: (i32, i32), width: i32, height: i32) -> Rectangle {
    Rectangle::new()
        .set("class", class)
        .set("x", corner.0)
        .set("y", corner.1)
        .set("width", width)
        .set("height", height.max(0))
}

/// Two crossing lines.
pub(super) fn cross(class: &str, (x, y): (i32, i32), half: i32) -> Group {
    Group::new()
        .add(line(class, (x - half, y - half), (x + half, y + half)))
        .add(line(class, (x - half, y + half), (x + half, y - half)))
}

/// A round sign with a cross.
pub(super) fn stop_sign(x: i32, y: i32) -> Group {
    let disc = Circle::new()
        .set("class", "refusal")
        .set("cx", x)
        .set("cy", y)
        .set("r", 8);
    Group::new()
        .add(disc)
        .add(cross("refusal-cross", (x, y), 3))
}

/// A wavy line from edge to edge, where time is left out.
pub(super) fn wave(y: i32) -> Path {
    let mut way = format!("M {AXIS} {y}");
    for x in (AXIS..PEERS - 10).step_by(20) {
        let _ = write!(way, " Q {} {} {} {y}", x + 5, y - 5, x + 10);
        let _ = write!(way, " T {} {y}", x + 20);
    }
    Path::new().set("class", "break-line").set("d", way)
}

/// A time at the axis. Digits below a millisecond are grey.
pub(super) fn time(y: i32, at: Instant) -> Text {
    let micros = at.as_micros();
    let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    let whole = match (hours, minutes) {
        (0, 0) => format!("{seconds}"),
        (0, _) => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    };
    let fine = TSpan::new(format!("{:03}", rest % 1_000)).set("class", "fine");
    text(
        "axis",
        AXIS - 8,
        y + 4,
        &format!("{whole}.{:03}", rest / 1_000),
    )
    .add(fine)
}

/// A duration, with at most two units.
pub(super) fn duration(lasts: Duration) -> String {
    let seconds = lasts.as_secs();
    match seconds {
        0 => format!("{:.3} ms", lasts.as_secs_f64() * 1e3),
        1..60 => format!("{:.3} s", lasts.as_secs_f64()),
        60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
    }
}

/// Breaks text into lines of at most this many letters.
pub(super) fn wrap(words: &str, letters: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        while !rest.is_empty() {
            let used = lines.last().map_or(0, |line| line.chars().count());
            let gap = usize::from(used > 0);
            if used > 0 && used + gap + rest.len() > letters {
                lines.push(String::new());
                continue;
            }
            let part: String = rest.drain(..rest.len().min(letters)).collect();
            if let Some(line) = lines.last_mut() {
                line.push_str(&" ".repeat(gap));
                line.push_str(&part);
            }
        }
    }
    lines
}
