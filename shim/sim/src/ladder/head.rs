//! The head of a diagram: what was run, the two ends, and the legend.

use svg::node::element::Group;

use super::super::recording::{Note, Recording};
use super::super::scenario::Family;
use super::notes;
use super::paper::{self, AXIS, OURS, PEERS, WIDTH};
use crate::loopback::{Fate, OUR_V4, OUR_V6, PEER_V4, PEER_V6, Sender};
use lastbyte::core::Closer;
use lastbyte::{Cause, OnPeerFin, State};

/// The number of letters in a line of the head.
const LETTERS: usize = 196;
/// The number of letters for the peer's model.
const MODEL_LETTERS: usize = 90;
/// The maximum number of lines of one item.
const LINES: usize = 3;
/// The height of a line of the head.
const LINE: i32 = 16;
/// The place of the second line.
const SECOND: i32 = 58;
/// The height of the legend and of the names of the ends.
const BELOW: i32 = 118;

/// The text of the head, line by line. The first line is the title.
pub(super) fn lines(recording: &Recording) -> Vec<String> {
    let scenario = recording.scenario.to_string();
    let mut all = Vec::new();
    for words in scenario.lines().map(str::trim).chain([&*ending(recording)]) {
        let mut wrapped = paper::wrap(words, LETTERS);
        if wrapped.len() > LINES {
            wrapped.truncate(LINES);
            wrapped.push("…".to_owned());
        }
        all.extend(wrapped);
    }
    all
}

fn ending(recording: &Recording) -> String {
    let frames = &recording.frames;
    let lost = frames.iter().filter(|frame| frame.fate.is_lost()).count();
    let is_damaged = |fate| {
        matches!(
            fate,
            Fate::Arrives {
                damage: Some(_),
                ..
            }
        )
    };
    let damaged = frames.iter().filter(|frame| is_damaged(frame.fate)).count();
    let forged = frames
        .iter()
        .filter(|frame| frame.sender == Sender::Stranger)
        .count();
    let is_finding = |note: &Note| matches!(note, Note::Found(_));
    let findings = recording
        .moments
        .iter()
        .filter(|moment| is_finding(&moment.note))
        .count();
    let end = recording.moments.last().map_or_else(
        || "nothing was noted".to_owned(),
        |moment| {
            let ledger = moment.ledger;
            format!(
                "{:?}, accepted {}, acknowledged {}, pending {}",
                moment.state,
                ledger.accepted(),
                ledger.acknowledged(),
                ledger.pending()
            )
        },
    );
    format!(
        "ended {end}; {} frames, {lost} lost, {damaged} damaged, {forged} forged; {findings} findings",
        frames.len()
    )
}

/// The height of the head.
pub(super) fn height(lines: &[String]) -> i32 {
    SECOND + lines.len().saturating_sub(1) as i32 * LINE + BELOW
}

pub(super) fn draw(recording: &Recording, lines: &[String]) -> Group {
    let mut group = Group::new().set("class", "head");
    let mut y = SECOND;
    for (number, words) in lines.iter().enumerate() {
        if number == 0 {
            group = group.add(paper::text("title", 24, 36, words));
            continue;
        }
        group = group.add(paper::text("detail", 24, y, words));
        y += LINE;
    }
    group.add(legend(y + 4)).add(ends(recording, y + 62))
}

/// A box above each lifeline.
fn ends(recording: &Recording, y: i32) -> Group {
    let scenario = &recording.scenario;
    let (ours, peers) = match scenario.family {
        Family::V4 => (OUR_V4.to_string(), PEER_V4.to_string()),
        Family::V6 => (OUR_V6.to_string(), PEER_V6.to_string()),
    };
    let model = format!("{:?}", scenario.peer);
    let model = paper::wrap(&model, MODEL_LETTERS).swap_remove(0);
    let boxes = [
        (
            OURS,
            190,
            "our end",
            ours,
            format!("{:?}", scenario.opening),
        ),
        (PEERS, 150, "the peer", peers, String::new()),
    ];
    let mut group = Group::new()
        .set("class", "ends")
        .add(paper::text("axis", AXIS - 8, y + 46, "time in s"))
        .add(paper::text("label right", PEERS - 84, y + 28, &model));
    for (x, width, name, address, more) in boxes {
        let words = [address, more].join(" ");
        group = group
            .add(paper::rectangle("end", (x - width / 2, y), width, 42).set("rx", 8))
            .add(paper::text("name middle", x, y + 18, name))
            .add(paper::text("middle", x, y + 34, words.trim()));
    }
    group
}

const STATES: [(State, &str); 8] = [
    (State::Idle, "idle"),
    (State::Listening, "listening"),
    (State::Connecting, "connecting"),
    (State::Open, "open"),
    (State::PeerFinished(OnPeerFin::Refuse), "peer finished"),
    (State::Finishing(Closer::Us), "finishing"),
    (State::Closed(Cause::Finished), "closed by us"),
    (State::Closed(Cause::PeerReset), "closed otherwise"),
];

const ARROWS: [(&str, &str, &str); 7] = [
    ("frame ours", "arrow", "from our end"),
    ("frame peers", "arrow", "from the peer"),
    ("frame ours", "arrow copy", "second copy"),
    ("frame damaged", "arrow", "damaged"),
    ("frame forged", "arrow", "forged"),
    ("frame other", "arrow", "no TCP"),
    ("frame ours lost", "arrow", "lost"),
];

fn legend(y: i32) -> Group {
    let mut group = Group::new()
        .set("class", "legend")
        .add(paper::rectangle("break", (16, y), WIDTH - 32, 46).set("rx", 6));
    let mut x = 28;
    for (class, line, words) in ARROWS {
        let mut entry = Group::new()
            .set("class", class.replace("frame", "sample"))
            .add(paper::line(line, (x, y + 14), (x + 40, y + 14)));
        if class.contains("lost") {
            entry = entry.add(paper::cross("cross", (x + 40, y + 14), 4));
        }
        group = group
            .add(entry)
            .add(paper::text("detail", x + 50, y + 18, words));
        x += 76 + words.len() as i32 * 7;
    }
    group = group
        .add(paper::stop_sign(x + 8, y + 14))
        .add(paper::text("detail", x + 24, y + 18, "call failed"))
        .add(paper::rectangle("finding-box", (x + 124, y + 7), 22, 14).set("rx", 4))
        .add(paper::text("detail", x + 154, y + 18, "broken rule"));
    x = 28;
    for (state, words) in STATES {
        let swatch = paper::rectangle(notes::class_of(state), (x, y + 26), 18, 13);
        group = group
            .add(swatch.set("rx", 3))
            .add(paper::text("detail", x + 26, y + 37, words));
        x += 48 + words.len() as i32 * 7;
    }
    group = group
        .add(paper::rectangle("open", (x, y + 26), 18, 13).set("rx", 3))
        .add(paper::rectangle("unseen", (x, y + 26), 18, 13).set("rx", 3))
        .add(paper::text("detail", x + 26, y + 37, "inside a call"));
    let numbers = "on arrows: flags seq:length ack window (new or 0)";
    group.add(paper::text("detail right", WIDTH - 28, y + 37, numbers))
}
