//! The walks of ARCHITECTURE.md lead through existing files and functions.

use crate::shape::root;
use std::fs;

const LONGEST_WALK: usize = 15;

/// The stops of a walk: the lines that begin with a number.
fn stops(section: &str) -> Vec<&str> {
    let is_stop = |line: &&str| {
        let number = line.split('.').next().unwrap_or_default();
        number.parse::<usize>().is_ok()
    };
    section.lines().filter(is_stop).collect()
}

/// The texts in backquotes.
fn quoted(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_walks_lead_through_existing_code() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut findings = Vec::new();
    for title in ["## Life of a byte", "## Life of an ACK", "## Life of a RST"] {
        let (_, rest) = text
            .split_once(title)
            .unwrap_or_else(|| panic!("no {title}"));
        let stops = stops(rest.split("\n## ").next().unwrap());
        assert!(
            (5..=LONGEST_WALK).contains(&stops.len()),
            "{title}: {} stops",
            stops.len()
        );
        for (index, stop) in stops.into_iter().enumerate() {
            assert!(
                stop.starts_with(&format!("{}. ", index + 1)),
                "{title}: {stop}"
            );
            // smoltcp's steps are in no file of ours.
            let [file, function, ..] = quoted(stop)[..] else {
                assert!(stop.contains(". smoltcp "), "no file and function: {stop}");
                continue;
            };
            let name = function.rsplit("::").next().unwrap();
            let code = fs::read_to_string(root().join(file)).unwrap_or_default();
            let has_it = [format!("fn {name}("), format!("fn {name}<")];
            if !has_it.iter().any(|it| code.contains(it.as_str())) {
                findings.push(format!("{title}: {stop}"));
            }
        }
    }
    crate::shape::assert_none("the code is elsewhere", &findings);
}
