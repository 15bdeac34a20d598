use roxmltree::{Document, Node};

use super::super::model::PeerModel;
use super::super::recording::{Moment, Note, Recording};
use super::super::rule::{Finding, Rule};
use super::super::scenario::{Scenario, Step};
use super::super::{Chance, Link, Links, Network, Profile, record};
use super::*;
use crate::loopback::{Damage, Fate, Sender};
use lastbyte::{Ledger, Options, State};
use smoltcp::phy::Medium;

fn has_class(node: &Node<'_, '_>, class: &str) -> bool {
    let classes = node.attribute("class").unwrap_or_default();
    classes.split(' ').any(|one| one == class)
}

/// The number of groups with all these classes.
fn count(document: &Document<'_>, classes: &[&str]) -> usize {
    let groups = document.descendants().filter(|node| node.has_tag_name("g"));
    groups
        .filter(|group| classes.iter().all(|class| has_class(group, class)))
        .count()
}

fn empty(scenario: Scenario) -> Recording {
    Recording {
        scenario,
        frames: Vec::new(),
        moments: Vec::new(),
    }
}

/// A run with every fault of a bad wire.
fn lossy() -> Recording {
    let link = Link {
        jitter: Duration::from_millis(15),
        loss: Chance::percent(8),
        duplication: Chance::percent(5),
        reordering: Chance::percent(5),
        held_back: Duration::from_millis(80),
        corruption: Chance::percent(5),
        ..Link::with_latency(Duration::from_millis(10))
    };
    let scenario = Scenario {
        network: Network::Links(Box::new(Links::symmetric(link))),
        peer: PeerModel::HalfCloses(60_000),
        plan: vec![Step::Write(70_000), Step::Write(1), Step::Finish],
        options: Options::default(),
        ..Scenario::new(Profile::Transfer, 3)
    };
    record(&scenario).1
}

#[track_caller]
fn assert_complete(recording: &Recording) {
    let ladder = recording.ladder();
    let document = Document::parse(&ladder).expect("well-formed");
    let frames = &recording.frames;
    let number = |is_one: fn(&RecordedFrame) -> bool| {
        let drawn = frames.iter().filter(|frame| is_one(frame));
        drawn.count()
    };
    let fate = |class: &str| count(&document, &["frame", class]);
    assert_eq!(count(&document, &["frame"]), frames.len());
    assert_eq!(fate("lost"), number(|frame| frame.fate.is_lost()));
    assert_eq!(
        fate("forged"),
        number(|frame| frame.sender == Sender::Stranger)
    );
    assert_eq!(
        fate("other"),
        number(|frame| frame.segment().is_none() && frame.sender == Sender::End)
    );
    let is_damaged: fn(&RecordedFrame) -> bool = |frame| {
        let fate = frame.fate;
        matches!(fate, Fate::Arrives { damage, .. } if damage.is_some())
    };
    assert_eq!(fate("damaged"), number(is_damaged));
    let copies = document.descendants().filter(|node| {
        has_class(node, "copy")
            && node
                .parent()
                .is_some_and(|group| has_class(&group, "frame"))
    });
    let is_doubled: fn(&RecordedFrame) -> bool =
        |frame| matches!(frame.fate, Fate::Arrives { again_at, .. } if again_at.is_some());
    assert_eq!(copies.count(), number(is_doubled));

    let noted = |is_one: fn(&Note) -> bool| {
        let moments = recording.moments.iter();
        moments.filter(|moment| is_one(&moment.note)).count()
    };
    assert_eq!(
        count(&document, &["refused-write"]),
        noted(|note| matches!(note, Note::Failed(_)))
    );
    assert_eq!(
        count(&document, &["broken-rule"]),
        noted(|note| matches!(note, Note::Found(_)))
    );
}

#[test]
fn every_frame_loss_and_refusal_is_drawn() {
    for profile in Profile::ALL {
        for seed in 10..18 {
            let (_, recording) = record(&Scenario::new(profile, seed));
            if recording.frames.len() <= 2 * FRAMES_PER_END {
                assert_complete(&recording);
            }
        }
    }
}

#[test]
fn a_bad_wire_and_a_refused_write_are_drawn() {
    let recording = lossy();
    assert!(recording.frames.len() >= 100, "{}", recording.frames.len());
    let failed = |moment: &Moment| matches!(moment.note, Note::Failed(_));
    assert!(recording.moments.iter().any(failed));
    assert_complete(&recording);
}

#[test]
fn texts_do_not_overlap() {
    let ladder = lossy().ladder();
    let document = Document::parse(&ladder).expect("well-formed");
    let chart = document
        .descendants()
        .find(|node| has_class(node, "chart"))
        .expect("the chart");
    let texts: Vec<_> = chart
        .descendants()
        .filter(|node| node.has_tag_name("text") && !has_class(node, "band-text"))
        .map(|text| {
            let number = |name| text.attribute(name).and_then(|it| it.parse::<i32>().ok());
            (number("x").expect("a place"), number("y").expect("a place"))
        })
        .collect();
    for column in [0..AXIS, NOTES..OURS, OURS..OURS + 100, PEERS - 100..PEERS] {
        let mut y: Vec<_> = texts
            .iter()
            .filter(|(x, _)| column.contains(x))
            .map(|(_, y)| *y)
            .collect();
        y.sort_unstable();
        assert!(y.len() > 40, "{column:?}: {}", y.len());
        let least = y.windows(2).map(|pair| pair[1] - pair[0]).min();
        assert!(least >= Some(12), "{column:?}: {least:?}");
    }
}

#[test]
fn the_texts_of_the_legend_do_not_overlap() {
    // The width of a letter in the font of the style, in tenths of a unit.
    const LETTER: i32 = 67;
    let ladder = lossy().ladder();
    let document = Document::parse(&ladder).expect("well-formed");
    let legend = document
        .descendants()
        .find(|node| has_class(node, "legend"))
        .expect("the legend");
    let mut spans: Vec<(i32, i32, i32)> = legend
        .descendants()
        .filter(|node| node.has_tag_name("text"))
        .map(|text| {
            let number = |name| text.attribute(name).and_then(|it| it.parse::<i32>().ok());
            let (x, y) = (number("x").expect("a place"), number("y").expect("a place"));
            let words = text.text().unwrap_or_default();
            let width = words.trim().chars().count() as i32 * LETTER / 10;
            let from = if has_class(&text, "right") {
                x - width
            } else {
                x
            };
            (y, from, from + width)
        })
        .collect();
    spans.sort_unstable();
    assert!(spans.len() > 15, "{spans:?}");
    for pair in spans.windows(2) {
        let is_same_line = pair[0].0 == pair[1].0;
        assert!(!is_same_line || pair[0].2 + 8 < pair[1].1, "{pair:?}");
    }
}

#[test]
fn an_empty_recording_can_be_drawn() {
    assert_complete(&empty(Scenario::new(Profile::Lan, 1)));
}

#[test]
fn text_may_hold_any_character() {
    let mut recording = empty(Scenario::new(Profile::Lan, 1));
    let detail = "a <b> & \"c\" \u{0}\u{1b}\u{ffff} ]]> 'd'".to_owned();
    let finding = Finding {
        rule: Rule::Panic,
        at: Instant::ZERO,
        detail,
    };
    recording.moments.push(Moment {
        connection: 0,
        at: Instant::ZERO,
        state: State::Open,
        ledger: Ledger::ZERO,
        note: Note::Found(finding),
    });
    assert_complete(&recording);
    let ladder = recording.ladder();
    let document = Document::parse(&ladder).expect("well-formed");
    let mut texts = document.descendants().filter_map(|node| node.text());
    assert!(texts.any(|text| text.contains("a <b> & \"c\"")));
}

#[test]
fn both_ends_of_a_very_long_run_are_drawn() {
    let mut recording = empty(Scenario::new(Profile::Lan, 1));
    let (_, short) = record(&recording.scenario);
    let frame = short.frames.first().expect("a frame");
    for number in 0..5_000 {
        let at = Instant::from_micros(number * 1_000);
        recording.frames.push(RecordedFrame {
            medium: Medium::Ethernet,
            sent_at: at,
            fate: Fate::Arrives {
                at: at + Duration::from_micros(1),
                again_at: None,
                damage: Some(Damage::Bit(number as usize)),
            },
            ..frame.clone()
        });
    }
    let ladder = recording.ladder();
    let document = Document::parse(&ladder).expect("well-formed");
    assert_eq!(count(&document, &["frame"]), 2 * FRAMES_PER_END);
    let mut texts = document.descendants().filter_map(|node| node.text());
    assert!(texts.any(|text| text.contains("3000 frames are left out")));
    for shown in ["bit 0 ", "bit 999 ", "bit 4000 ", "bit 4999 "] {
        assert!(ladder.contains(shown), "{shown}");
    }
    assert!(!ladder.contains("bit 1000 ") && !ladder.contains("bit 3999 "));
}
