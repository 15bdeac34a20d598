//! Frames as arrows.

use lastbyte::Instant;
use svg::node::element::{Group, Marker, Path};

use super::super::recording::RecordedFrame;
use super::label::{Kind, Label};
use super::layout::{Anchor, Column};
use super::paper::{self, BAND, OUTSIDE, OURS, PEERS};
use crate::loopback::{Damage, Direction, Fate, Sender};

/// The colours of the arrow heads, by class.
const HEADS: [(&str, &str); 5] = [
    ("ours", "#2563eb"),
    ("peers", "#0f766e"),
    ("forged", "#a21caf"),
    ("other", "#b6bec9"),
    ("damaged", "#ea580c"),
];

/// How far a lost frame has come down in the middle.
const FALL: i32 = 8;

/// One frame, and where its ends are among the anchors.
#[derive(Debug)]
pub(super) struct Arrow<'a> {
    pub(super) frame: &'a RecordedFrame,
    pub(super) label: Label,
    begins: usize,
    arrives: Vec<(usize, Instant)>,
}

/// The heads, to be referred to.
pub(super) fn heads() -> Vec<Marker> {
    let heads = HEADS.iter().map(|(class, colour)| {
        let shape = Path::new()
            .set("d", "M 0 0.8 L 9 4 L 0 7.2 z")
            .set("fill", *colour);
        Marker::new()
            .set("id", format!("head-{class}"))
            .set("markerWidth", 10)
            .set("markerHeight", 8)
            .set("refX", 9)
            .set("refY", 4)
            .set("orient", "auto")
            .set("markerUnits", "userSpaceOnUse")
            .add(shape)
    });
    heads.collect()
}

const fn column_of_end(direction: Direction) -> Column {
    match direction {
        Direction::ToPeer => Column::Peers,
        Direction::ToUs => Column::Ours,
    }
}

impl<'a> Arrow<'a> {
    /// Adds what needs a place to `anchors`.
    pub(super) fn new(frame: &'a RecordedFrame, label: Label, anchors: &mut Vec<Anchor>) -> Self {
        let begins = anchors.len();
        let column = match frame.sender {
            Sender::End => column_of_end(frame.direction.opposite()),
            // Its label is at its end.
            Sender::Stranger => column_of_end(frame.direction),
        };
        let anchor = Anchor {
            at: frame.sent_at,
            column,
            above: 14,
            below: 3,
            after: None,
        };
        anchors.push(anchor);
        let mut arrives = Vec::new();
        if let (Fate::Arrives { at, again_at, .. }, Sender::End) = (frame.fate, frame.sender) {
            for at in [Some(at), again_at].into_iter().flatten() {
                arrives.push((anchors.len(), at));
                anchors.push(Anchor {
                    at,
                    column: column_of_end(frame.direction),
                    above: 4,
                    below: 4,
                    after: Some(begins),
                });
            }
        }
        Self {
            frame,
            label,
            begins,
            arrives,
        }
    }

    fn damage(&self) -> Option<Damage> {
        match self.frame.fate {
            Fate::Lost(_) => None,
            Fate::Arrives { damage, .. } => damage,
        }
    }

    fn class(&self) -> String {
        let who = match (self.frame.sender, self.label.kind, self.frame.direction) {
            (Sender::Stranger, _, _) => "forged",
            (Sender::End, Kind::Other, _) => "other",
            (Sender::End, _, Direction::ToPeer) => "ours",
            (Sender::End, _, Direction::ToUs) => "peers",
        };
        let mut class = format!("frame {who}");
        if self.label.kind == Kind::ZeroWindow {
            class += " zero-window";
        }
        if self.frame.fate.is_lost() {
            class += " lost";
        }
        if self.damage().is_some() {
            class += " damaged";
        }
        class
    }

    fn words(&self) -> String {
        let label = &self.label.text;
        match (self.frame.sender, self.damage()) {
            (Sender::Stranger, _) => format!("forged: {label}"),
            (Sender::End, None) => label.clone(),
            (Sender::End, Some(Damage::Bit(bit))) => format!("{label} – bit {bit} flipped"),
            (Sender::End, Some(Damage::Cut(len))) => format!("{label} – cut to {len}"),
        }
    }

    /// The edges of the life lines, where it begins and where it ends.
    const fn edges(&self) -> (i32, i32) {
        let (ours, peers) = (OURS + BAND + 1, PEERS - 1);
        match (self.frame.sender, self.frame.direction) {
            (Sender::Stranger, Direction::ToUs) => (OUTSIDE, ours),
            (Sender::Stranger, Direction::ToPeer) => (OUTSIDE, PEERS + 1),
            (Sender::End, Direction::ToUs) => (peers, ours),
            (Sender::End, Direction::ToPeer) => (ours, peers),
        }
    }

    /// The lines, under every label.
    pub(super) fn draw(&self, y: &[i32]) -> Group {
        let tooltip = self.frame.to_string();
        let mut group = Group::new()
            .set("class", self.class())
            .add(paper::title(tooltip.trim()));
        let (from, to) = self.edges();
        let begins = y[self.begins];
        if self.frame.sender == Sender::Stranger {
            group = group.add(paper::line("arrow", (from, begins - 10), (to, begins)));
        }
        if self.frame.fate.is_lost() {
            let middle = (i32::midpoint(from, to), begins + FALL);
            group = group
                .add(paper::line("arrow", (from, begins), middle))
                .add(paper::cross("cross", middle, 5));
        }
        for (copy, &(arrival, _)) in self.arrives.iter().enumerate() {
            let class = if copy == 0 { "arrow" } else { "arrow copy" };
            let (start, end) = ((from, begins), (to, y[arrival]));
            group = group
                .add(paper::line("hit", start, end))
                .add(paper::line(class, start, end));
        }
        group
    }

    /// What is written on it.
    pub(super) fn draw_label(&self, y: &[i32]) -> Group {
        let begins = y[self.begins];
        let (left, right) = (OURS + BAND + 8, PEERS - 10);
        let is_left = match self.frame.sender {
            Sender::End => self.frame.direction == Direction::ToPeer,
            Sender::Stranger => self.frame.direction == Direction::ToUs,
        };
        let (class, x) = if is_left {
            ("label", left)
        } else {
            ("label right", right)
        };
        let mut group = Group::new()
            .set("class", self.class().replace("frame ", "words "))
            .add(paper::text(class, x, begins - 3, &self.words()));
        if let Fate::Lost(loss) = self.frame.fate {
            let (from, to) = self.edges();
            let (class, aside) = if from < to {
                ("label loss", 10)
            } else {
                ("label loss right", -10)
            };
            let x = i32::midpoint(from, to) + aside;
            group = group.add(paper::text(class, x, begins + FALL + 4, &loss.to_string()));
        }
        group
    }
}
