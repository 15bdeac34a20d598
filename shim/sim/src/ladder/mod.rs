//! A recording drawn as a time-sequence diagram.
//!
//! Time runs down. It is stretched where much happens and compressed where nothing
//! happens, so that a run of hours fits. Events of the same time on one side are drawn
//! one below the other.

mod arrow;
mod head;
mod label;
mod layout;
mod notes;
mod paper;

#[cfg(test)]
mod tests;

use std::time::Duration;

use lastbyte::Instant;
use svg::Document;
use svg::node::element::{Definitions, Group};

use super::recording::{RecordedFrame, Recording};
use arrow::Arrow;
use label::Labels;
use layout::{Anchor, Layout};
use notes::Block;
use paper::{AXIS, BAND, NOTES, OURS, PEERS, WIDTH};

/// This many frames from the beginning, and this many from the end, are drawn.
const FRAMES_PER_END: usize = 1_000;

/// The maximum number of notes that are drawn at one end, not counting highlighted ones.
const NOTES_PER_END: usize = 2_000;

/// Everything below the head.
struct Chart<'a> {
    arrows: Vec<Arrow<'a>>,
    blocks: Vec<Block>,
    /// The number of our end's connections.
    bands: usize,
    /// The index of the first anchor of each block.
    first_block: usize,
    layout: Layout,
    top: i32,
}

impl Recording {
    /// A time-sequence diagram as a single SVG file that needs no other files. With the
    /// feature `svg`.
    ///
    /// Our end is on the left: its state as a coloured band, and next to it what the
    /// application did and how the ledger changed. The peer is on the right. Numbers on
    /// the arrows count from the SYN of each connection; the tooltips show the full
    /// numbers. Of a very long run only the beginning and the end are drawn.
    ///
    /// ```
    /// use lastbyte_sim::{Profile, Scenario, record};
    ///
    /// let (_, recording) = record(&Scenario::new(Profile::Lan, 1));
    /// assert!(recording.ladder().starts_with("<svg"));
    /// ```
    #[must_use]
    pub fn ladder(&self) -> String {
        let head = head::lines(self);
        let top = head::height(&head) + 24;
        let chart = Chart::of(self, top);
        let bottom = chart.layout.bottom + 24;
        let mut definitions = Definitions::new().add(paper::hatching());
        for marker in arrow::heads() {
            definitions = definitions.add(marker);
        }
        let height = bottom + 24;
        let paper = paper::rectangle("", (0, 0), WIDTH, height).set("fill", "#ffffff");
        Document::new()
            .set("viewBox", (0, 0, WIDTH, height))
            .set("width", WIDTH)
            .set("height", height)
            .add(paper::style())
            .add(definitions)
            .add(paper)
            .add(head::draw(self, &head))
            .add(chart.draw(bottom))
            .to_string()
    }
}

/// The range of `len` things that is left out.
fn gap(len: usize, per_end: usize) -> std::ops::Range<usize> {
    if len <= 2 * per_end {
        return 0..0;
    }
    per_end..len - per_end
}

/// The median latency of the frames, for the scale.
fn median_travel(frames: &[RecordedFrame]) -> Duration {
    let arrivals = frames
        .iter()
        .filter_map(|frame| Some((frame.fate.arrives_at()?, frame.sent_at)));
    let mut travels: Vec<_> = arrivals
        .map(|(at, sent_at)| at.since(sent_at))
        .filter(|travel| !travel.is_zero())
        .collect();
    travels.sort_unstable();
    let median = travels.get(travels.len() / 2).copied();
    median.unwrap_or(Duration::from_millis(1))
}

impl<'a> Chart<'a> {
    fn of(recording: &'a Recording, top: i32) -> Self {
        let left_out = gap(recording.frames.len(), FRAMES_PER_END);
        let mut anchors: Vec<Anchor> = Vec::new();
        let mut labels = Labels::default();
        let mut arrows = Vec::new();
        for (number, frame) in recording.frames.iter().enumerate() {
            let label = labels.next(frame);
            if !left_out.contains(&number) {
                arrows.push(Arrow::new(frame, label, &mut anchors));
            }
        }
        let blocks = chosen_blocks(recording, &recording.frames[left_out]);
        let first_block = anchors.len();
        anchors.extend(blocks.iter().map(Block::anchor));
        let layout = layout::place(&anchors, median_travel(&recording.frames), top);
        Self {
            arrows,
            blocks,
            bands: notes::bands(&recording.moments),
            first_block,
            layout,
            top,
        }
    }

    fn block_places(&self) -> impl Iterator<Item = (i32, &Block)> {
        let places = self.layout.y.iter().skip(self.first_block);
        places.copied().zip(&self.blocks)
    }

    fn draw(&self, bottom: i32) -> Group {
        let mut group = Group::new().set("class", "chart");
        group = self.draw_axis(group);
        let from = self.top - 24;
        for number in 0..self.bands {
            let of_it = |block: &Block| block.connection == number;
            let starts: Vec<_> = self
                .block_places()
                .filter(|(_, block)| of_it(block))
                .filter_map(|(y, block)| Some((y, block.state?)))
                .collect();
            group = group.add(notes::band(&starts, (number, self.bands), from, bottom));
        }
        group =
            group
                .add(self.draw_unseen())
                .add(paper::line("life", (PEERS, from), (PEERS, bottom)));
        for arrow in &self.arrows {
            group = group.add(arrow.draw(&self.layout.y));
        }
        for arrow in &self.arrows {
            group = group.add(arrow.draw_label(&self.layout.y));
        }
        for (y, block) in self.block_places() {
            group = group.add(block.draw(y));
        }
        group
    }

    /// The time during a call, in which the state was not observed.
    fn draw_unseen(&self) -> Group {
        let times = &self.layout.times;
        let mut group = Group::new();
        for (y, block) in self.block_places() {
            let Some(until) = block.unseen_until.filter(|&until| until > block.at) else {
                continue;
            };
            let end = times.partition_point(|&(_, at)| at < until);
            let end = times.get(end).map_or(self.layout.bottom, |(y, _)| *y);
            let stretch = paper::rectangle("unseen", (OURS - BAND, y), 2 * BAND, end - y);
            group = group.add(stretch.add(paper::title("in a call: not observed")));
        }
        group
    }

    fn draw_axis(&self, mut group: Group) -> Group {
        let mut last = i32::MIN / 2;
        for &(y, at) in &self.layout.times {
            if y - last < 12 {
                continue;
            }
            last = y;
            group = group
                .add(paper::line("row", (AXIS, y), (OURS - BAND, y)))
                .add(paper::line("tick", (AXIS - 4, y), (AXIS, y)))
                .add(paper::time(y, at));
        }
        for pause in &self.layout.breaks {
            let words = format!("{} without an event", paper::duration(pause.lasts));
            let strip = paper::rectangle("break", (AXIS, pause.y - 9), PEERS - AXIS, 18);
            group = group
                .add(strip)
                .add(paper::wave(pause.y - 7))
                .add(paper::wave(pause.y + 9))
                .add(paper::text("break-text", NOTES, pause.y + 4, &words));
        }
        group
    }
}

/// The notes of our end, without those from the time of the frames that are left out, and
/// up to the maximum number.
fn chosen_blocks(recording: &Recording, left_out: &[RecordedFrame]) -> Vec<Block> {
    let mut blocks = notes::blocks(&recording.moments);
    let (Some(first), Some(last)) = (left_out.first(), left_out.last()) else {
        return thin_out(blocks);
    };
    let (from, until) = (first.sent_at, last.sent_at);
    let is_hidden = |at: Instant| from <= at && at <= until;
    blocks.retain(|block| !is_hidden(block.at) || block.state.is_some() || block.stands_out());
    blocks.push(Block::left_out(from, left_out.len()));
    thin_out(blocks)
}

fn thin_out(blocks: Vec<Block>) -> Vec<Block> {
    let left_out = gap(blocks.len(), NOTES_PER_END);
    let numbered = blocks.into_iter().enumerate();
    let kept = numbered.filter(|(number, block)| {
        !left_out.contains(number) || block.stands_out() || block.state.is_some()
    });
    kept.map(|(_, block)| block).collect()
}
