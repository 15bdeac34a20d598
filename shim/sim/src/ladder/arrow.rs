//! Frames as arrows.

use svg::node::element::{Group, Marker, Path, TSpan};

use super::super::recording::RecordedFrame;
use super::label::{Kind, Label};
use super::layout::{Anchor, Column};
use super::paper::{self, BAND, OURS, OUTSIDE, PEERS};
use crate::loopback::{Damage, Direction, Fate, Sender};

/// The colours of the arrow heads, by class.
const HEADS: [(&str, &str); 5] = [
    ("ours", "#2563eb"),
    ("peers", "#0f766e"),
    ("forged", "#a21caf"),
    ("other", "#b6bec9"),
    ("damaged", "#ea580c"),
];

/// Next to each lifeline arrows are horizontal, so that none crosses the text there.
const LANE: i32 = 280;
/// How far the arrow of a lost frame extends, horizontally and vertically.
const LOST: (i32, i32) = (46, 6);
/// The room that a label needs above its arrow.
const WORDS: i32 = 14;

/// One frame, and the indices of its ends among the anchors.
#[derive(Debug)]
pub(super) struct Arrow<'a> {
    pub(super) frame: &'a RecordedFrame,
    pub(super) label: Label,
    begins: usize,
    arrives: Vec<usize>,
}

/// The definitions of the arrow heads.
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
    /// Adds everything that needs a place to `anchors`.
    pub(super) fn new(frame: &'a RecordedFrame, label: Label, anchors: &mut Vec<Anchor>) -> Self {
        let begins = anchors.len();
        let far = column_of_end(frame.direction);
        let near = column_of_end(frame.direction.opposite());
        let level = |at, column, above, after| Anchor {
            at,
            column,
            above,
            below: 4,
            after,
        };
        let mut arrives = Vec::new();
        match (frame.sender, frame.fate) {
            // The arrow passes the other end, and its label is where it arrives.
            (Sender::Stranger, _) => {
                anchors.push(level(frame.sent_at, near, 4, None));
                arrives.push(anchors.len());
                anchors.push(level(frame.sent_at, far, WORDS, None));
            }
            (Sender::End, Fate::Lost(_)) => anchors.push(level(frame.sent_at, near, WORDS, None)),
            (Sender::End, Fate::Arrives { at, again_at, .. }) => {
                anchors.push(level(frame.sent_at, near, WORDS, None));
                for at in [Some(at), again_at].into_iter().flatten() {
                    arrives.push(anchors.len());
                    anchors.push(level(at, far, 4, Some(begins)));
                }
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

    /// The edges of the lifelines, where the arrow begins and where it ends.
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
        let forward = (to - from).signum();
        let leaves = match self.frame.sender {
            Sender::End => from + forward * LANE,
            Sender::Stranger => PEERS - LANE,
        };
        if self.frame.fate.is_lost() {
            let end = (leaves + forward * LOST.0, begins + LOST.1);
            let way = [(from, begins), (leaves, begins), end];
            group = group
                .add(paper::way("hit", &way))
                .add(paper::way("arrow", &way))
                .add(paper::cross("cross", end, 5));
        }
        for (copy, &arrival) in self.arrives.iter().enumerate() {
            let class = if copy == 0 { "arrow" } else { "arrow copy" };
            let down = y[arrival];
            let enters = to - forward * LANE;
            let way = [(from, begins), (leaves, begins), (enters, down), (to, down)];
            group = group
                .add(paper::way("hit", &way))
                .add(paper::way(class, &way));
        }
        group
    }

    /// The label of the arrow.
    pub(super) fn draw_label(&self, y: &[i32]) -> Group {
        let (place, at_us) = match (self.frame.sender, self.arrives.first()) {
            (Sender::Stranger, Some(&arrival)) => {
                (y[arrival], self.frame.direction == Direction::ToUs)
            }
            _ => (y[self.begins], self.frame.direction == Direction::ToPeer),
        };
        let (class, x) = if at_us {
            ("label", OURS + BAND + 8)
        } else {
            ("label right", PEERS - 10)
        };
        let mut words = paper::text(class, x, place - 4, &self.words());
        if let Fate::Lost(loss) = self.frame.fate {
            words = words.add(
                TSpan::new(loss.to_string())
                    .set("class", "loss")
                    .set("dx", 9),
            );
        }
        let class = self.class().replace("frame ", "words ");
        Group::new().set("class", class).add(words)
    }
}
