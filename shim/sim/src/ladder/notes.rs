//! The notes next to our lifeline.

use lastbyte::{Cause, Instant, Ledger, State};
use svg::node::element::Group;

use super::super::recording::{Moment, Note};
use super::super::scenario::Step;
use super::layout::{Anchor, Column};
use super::paper::{self, BAND, LINE, NOTE_LETTERS, NOTES, OURS};

/// The class of a highlighted note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Plain,
    Refusal,
    Finding,
}

/// The lines of one time.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) at: Instant,
    mark: Mark,
    /// The class and text of each line.
    lines: Vec<(&'static str, String)>,
    /// The connection that has the state.
    pub(super) connection: usize,
    /// The state that begins here.
    pub(super) state: Option<State>,
    /// The time until which the state is not observed.
    pub(super) unseen_until: Option<Instant>,
    tooltip: String,
}

/// The class of a state, for its colour.
pub(super) const fn class_of(state: State) -> &'static str {
    match state {
        State::Idle => "idle",
        State::Connecting => "connecting",
        State::Listening => "listening",
        State::Open => "open",
        State::PeerFinished(_) => "peer-finished",
        State::WriteFinished(_) => "writing finished",
        State::Finishing(_) => "finishing",
        State::Closed(Cause::Finished | Cause::Aborted) => "closed",
        State::Closed(_) => "broken",
    }
}

/// The text of `moments` in order, without repetitions.
pub(super) fn blocks(moments: &[Moment]) -> Vec<Block> {
    let several = bands(moments) > 1;
    let mut known = vec![(State::Idle, Ledger::ZERO); bands(moments)];
    let blocks = moments.iter().enumerate().map(|(number, moment)| {
        let known = &mut known[moment.connection];
        let mut block = Block::of(moment, *known, several);
        *known = (moment.state, moment.ledger);
        if blocks_the_view(&moment.note) {
            let mut later = moments[number + 1..].iter();
            let next = later.find(|next| next.connection == moment.connection);
            block.unseen_until = next.map(|next| next.at);
        }
        block
    });
    blocks.filter(|block| !block.lines.is_empty()).collect()
}

/// The number of connections, each with its own band.
pub(super) fn bands(moments: &[Moment]) -> usize {
    let connections = moments.iter().map(|moment| moment.connection);
    connections.max().unwrap_or(0) + 1
}

/// Whether our end is inside one call until the next moment, so that its state and ledger
/// may change without a note.
const fn blocks_the_view(note: &Note) -> bool {
    matches!(
        note,
        Note::Step(Step::WriteAll(_) | Step::Flush | Step::Finish | Step::Neglect(_))
    )
}

impl Block {
    /// A note that frames are left out here.
    pub(super) fn left_out(at: Instant, frames: usize) -> Self {
        Self {
            at,
            mark: Mark::Plain,
            lines: vec![("left-out", format!("… {frames} frames are left out here …"))],
            connection: 0,
            state: None,
            unseen_until: None,
            tooltip: String::new(),
        }
    }

    /// If there are several connections, the text names the connection.
    fn of(moment: &Moment, known: (State, Ledger), several: bool) -> Self {
        let mut lines = Vec::new();
        let mut mark = Mark::Plain;
        let mut at = moment.at;
        let whose = match several {
            true => format!("#{} ", moment.connection),
            false => String::new(),
        };
        let mut say = |class, words: &str| {
            let words = match class {
                "peer" | "said" => words.to_owned(),
                _ => format!("{whose}{words}"),
            };
            let wrapped = paper::wrap(&words, NOTE_LETTERS);
            lines.extend(wrapped.into_iter().map(|line| (class, line)));
        };
        match &moment.note {
            Note::Changed => {}
            Note::Step(step) => say("step", &format!("▸ {step:?}")),
            Note::Accepted(bytes) => say("ledger", &format!("{bytes} bytes taken")),
            Note::Failed(error) => {
                mark = Mark::Refusal;
                say("refused", &error.to_string());
            }
            Note::Happened(happening) => say("happening", &format!("⚑ {happening:?}")),
            Note::Found(finding) => {
                (mark, at) = (Mark::Finding, finding.at);
                say("finding", &finding.to_string());
            }
            Note::Opened { .. } | Note::Wrote(_) | Note::Read(_) | Note::Called(_) => {
                say(
                    "step",
                    &format!("▸ {}", moment.note.words().unwrap_or_default()),
                );
            }
            Note::Served { .. } => {
                say(
                    "peer",
                    &format!("◂ {}", moment.note.words().unwrap_or_default()),
                );
            }
            Note::Said(words) => say("said", &format!("• {words}")),
        }
        let is_new = moment.state != known.0 && mark != Mark::Finding;
        if is_new {
            say("state", &format!("{:?}", moment.state));
        }
        if moment.ledger != known.1 && mark != Mark::Finding {
            let ledger = moment.ledger;
            let account = format!(
                "accepted {} · acknowledged {} · pending {}",
                ledger.accepted(),
                ledger.acknowledged(),
                ledger.pending()
            );
            say("ledger", &account);
        }
        Self {
            at,
            mark,
            lines,
            connection: moment.connection,
            state: is_new.then_some(moment.state),
            unseen_until: None,
            tooltip: moment.to_string().trim().to_owned(),
        }
    }

    /// Whether the note must be shown, whatever else is left out.
    pub(super) fn stands_out(&self) -> bool {
        self.mark != Mark::Plain
    }

    fn margin(&self) -> i32 {
        if self.stands_out() { 5 } else { 0 }
    }

    pub(super) fn anchor(&self) -> Anchor {
        Anchor {
            at: self.at,
            column: Column::Notes,
            above: 8 + self.margin(),
            below: self.lines.len() as i32 * LINE - 7 + self.margin(),
            after: None,
        }
    }

    pub(super) fn draw(&self, y: i32) -> Group {
        let class = match self.mark {
            Mark::Plain => "note",
            Mark::Refusal => "note refused-write",
            Mark::Finding => "note broken-rule",
        };
        let mut group = Group::new()
            .set("class", class)
            .add(paper::title(&self.tooltip));
        let height = self.lines.len() as i32 * LINE + 4;
        let boxed = |class| {
            paper::rectangle(class, (NOTES - 6, y - 10), OURS - BAND - 6 - NOTES, height)
                .set("rx", 4)
        };
        match self.mark {
            Mark::Plain => {}
            Mark::Refusal => {
                group = group
                    .add(boxed("refusal-box"))
                    .add(paper::stop_sign(OURS, y));
            }
            Mark::Finding => group = group.add(boxed("finding-box")),
        }
        for (number, (class, words)) in self.lines.iter().enumerate() {
            let baseline = y + 4 + number as i32 * LINE;
            let mut x = NOTES;
            if let (&"state", Some(state)) = (class, self.state) {
                let pill = paper::rectangle(class_of(state), (NOTES, baseline - 9), 10, 10);
                group = group.add(pill.set("rx", 3));
                x += 16;
            }
            group = group.add(paper::text(class, x, baseline, words));
        }
        group
    }
}

/// The band of connection `number` of `bands` along our lifeline, from state to state.
pub(super) fn band(
    starts: &[(i32, State)],
    (number, bands): (usize, usize),
    top: i32,
    bottom: i32,
) -> Group {
    let bands = i32::try_from(bands).unwrap_or(i32::MAX);
    let width = (2 * BAND / bands).max(1);
    let left = OURS - BAND + i32::try_from(number).unwrap_or(0) * width;
    let mut group = Group::new().set("class", "band");
    let before = std::iter::once((top, State::Idle));
    let starts: Vec<_> = before.chain(starts.iter().copied()).collect();
    let ends = starts.iter().skip(1).map(|(y, _)| *y);
    for (&(from, state), until) in starts.iter().zip(ends.chain([bottom])) {
        let name = format!("{state:?}");
        let class = class_of(state);
        let stretch = paper::rectangle(class, (left, from), width, until - from);
        let title = match bands {
            1 => name.clone(),
            _ => format!("#{number} {name}"),
        };
        group = group.add(stretch.add(paper::title(&title)));
        if bands > 1 {
            // There is no room for text.
            continue;
        }
        let length = name.len() as i32 * 7 + 16;
        let mut y = from + 14;
        while y + length <= until {
            let turned = format!("translate({} {y}) rotate(90)", OURS - 3);
            let words = paper::text("band-text", 0, 0, &name).set("transform", turned);
            group = group.add(words);
            y += length.max(500);
        }
    }
    group
}
