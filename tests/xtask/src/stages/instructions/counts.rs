//! Counts of instructions: how they are read, compared with the baseline, and printed.

use crate::tables::compiler_line;
use anyhow::{Context as _, Result, bail, ensure};
use std::fmt::Write as _;

/// How far a count may differ from the baseline, in thousandths. The counts do not vary between
/// runs, but bytes are copied differently on different processors.
const TOLERANCE_PERMILLE: u64 = 20;
/// The minimum number of calls: with fewer, some are missing.
const FEWEST: usize = 10;

/// The instructions of a call, and those of bare smoltcp for the same work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    name: String,
    ours: u64,
    bare: u64,
}

/// The accepted counts, and their compiler.
#[derive(Debug, PartialEq, Eq)]
pub struct Baseline {
    pub compiler: String,
    calls: Vec<Call>,
}

/// A benchmark's line, as in "instructions::write::write_ours sends_16:...": the name of the
/// call, and whether it is ours.
fn heading(line: &str) -> Option<(String, bool)> {
    let mut words = line.split_whitespace();
    let function = words
        .next()?
        .strip_prefix("instructions::")?
        .split("::")
        .nth(1)?;
    let case = words.next()?.split(':').next()?;
    let (call, is_ours) = match function.split_once("_ours") {
        Some((call, _)) => (call, true),
        None => (function.split_once("_bare")?.0, false),
    };
    Some((format!("{call}.{case}"), is_ours))
}

/// Reads the benchmark's output. Each call must occur twice, once of each kind.
pub fn parse(printed: &str) -> Result<Vec<Call>> {
    let mut calls: Vec<(String, [Option<u64>; 2])> = Vec::new();
    let mut current = None;
    for line in printed.lines() {
        if let Some((name, is_ours)) = heading(line) {
            let known = calls.iter().position(|(known, _)| *known == name);
            let place = known.unwrap_or_else(|| {
                calls.push((name, [None; 2]));
                calls.len() - 1
            });
            current = Some((place, usize::from(is_ours)));
        } else if let Some(rest) = line.trim_start().strip_prefix("Instructions:") {
            let (place, kind) = current.take().context("a count without a call")?;
            let count = rest.trim_start().split('|').next().unwrap_or_default();
            let count = count
                .parse()
                .with_context(|| format!("cannot read: {line}"))?;
            calls[place].1[kind] = Some(count);
        }
    }
    ensure!(
        calls.len() >= FEWEST,
        "only {} calls were counted",
        calls.len()
    );
    let both = |(name, counts): (String, [Option<u64>; 2])| match counts {
        [Some(bare), Some(ours)] => Ok(Call { name, ours, bare }),
        _ => bail!("{name} was not counted on both"),
    };
    calls.into_iter().map(both).collect()
}

/// The file of the baseline.
pub fn baseline_text(calls: &[Call], compiler: &str) -> String {
    let mut text = format!("# rustc {compiler}\n");
    for call in calls {
        let _ = writeln!(text, "{} {} {}", call.name, call.ours, call.bare);
    }
    text
}

impl Baseline {
    pub fn parse(text: &str) -> Result<Self> {
        let (first, rest) = text.split_once('\n').context("is empty")?;
        let compiler = first.strip_prefix("# rustc ");
        let compiler = compiler.context("does not begin with: # rustc VERSION")?;
        let call = |line: &str| {
            let words: Vec<_> = line.split_whitespace().collect();
            let [name, ours, bare] = words[..] else {
                bail!("not NAME COUNT COUNT: {line}");
            };
            Ok(Call {
                name: name.to_owned(),
                ours: ours.parse().with_context(|| line.to_owned())?,
                bare: bare.parse().with_context(|| line.to_owned())?,
            })
        };
        Ok(Self {
            compiler: compiler.to_owned(),
            calls: rest.lines().map(call).collect::<Result<_>>()?,
        })
    }

    fn of(&self, name: &str) -> Option<u64> {
        let call = self.calls.iter().find(|call| call.name == name)?;
        Some(call.ours)
    }
}

/// The percent by which `a` is more than `b`.
#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn percent_more(a: u64, b: u64) -> f64 {
    100.0 * (a as f64 - b as f64) / b as f64
}

/// The differences from the baseline of the same compiler.
pub fn complaints(calls: &[Call], baseline: &Baseline) -> Vec<String> {
    let mut wrong = Vec::new();
    for call in calls {
        let name = &call.name;
        match baseline.of(name) {
            None => wrong.push(format!("{name}: is not in the baseline")),
            Some(before) => {
                let change = call.ours.abs_diff(before);
                if 1000 * change > TOLERANCE_PERMILLE * before {
                    let percent = percent_more(call.ours, before);
                    wrong.push(format!("{name}: {percent:+.1} % against the baseline"));
                }
            }
        }
    }
    for call in &baseline.calls {
        if !calls.iter().any(|counted| counted.name == call.name) {
            wrong.push(format!("{}: is missing", call.name));
        }
    }
    wrong
}

/// The table for a terminal.
pub fn text(calls: &[Call], baseline: &Baseline) -> String {
    let mut text = format!(
        "  {:<20} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
        "instructions of", "lastbyte", "bare", "more", "percent", "before"
    );
    for Call { name, ours, bare } in calls {
        let more = i128::from(*ours) - i128::from(*bare);
        let percent = percent_more(*ours, *bare);
        let before = baseline
            .of(name)
            .map_or("-".to_owned(), |count| count.to_string());
        let _ = writeln!(
            text,
            "  {name:<20} {ours:>9} {bare:>9} {more:>9} {percent:>8.1}% {before:>9}"
        );
    }
    text
}

/// The table for `docs/MEASUREMENTS.md`.
pub fn markdown(calls: &[Call], compiler: &str) -> String {
    let mut text = format!(
        "{}\n\n| call | lastbyte | bare smoltcp | more |\n|---|--:|--:|--:|\n",
        compiler_line(compiler)
    );
    for Call { name, ours, bare } in calls {
        let more = i128::from(*ours) - i128::from(*bare);
        let percent = percent_more(*ours, *bare);
        let _ = writeln!(
            text,
            "| `{name}` | {ours} | {bare} | {more} ({percent:.1} %) |"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// gungraun's output for ten calls of both kinds.
    fn printed() -> String {
        let mut text = String::new();
        for number in 0..10 {
            for (kind, count) in [("ours", 2000), ("bare", 1000)] {
                let _ = writeln!(
                    text,
                    "instructions::write::write_{kind} sends_{number}:State::Quiet\n  \
                     Instructions:    {}|N/A   (*********)\n  L1 Hits: 12|N/A",
                    count + number
                );
            }
        }
        text
    }

    fn baseline(calls: &[Call]) -> Baseline {
        Baseline::parse(&baseline_text(calls, "1.95.0")).unwrap()
    }

    #[test]
    fn the_counts_of_both_kinds_are_read() {
        let calls = parse(&printed()).unwrap();
        let first = Call {
            name: "write.sends_0".to_owned(),
            ours: 2000,
            bare: 1000,
        };
        assert_eq!((calls.len(), &calls[0]), (10, &first));
        let line = "instructions::frame::frame_ours_beside of_64:Ours::<64>::new";
        assert_eq!(heading(line), Some(("frame.of_64".to_owned(), true)));
    }

    #[test]
    fn counts_that_are_missing_are_errors() {
        assert!(parse("").is_err());
        let without_bare = printed().replace("write_bare sends_3", "write_x sends_3");
        assert!(parse(&without_bare).is_err());
        let unreadable = printed().replace("2003|", "many|");
        assert!(parse(&unreadable).is_err());
    }

    #[test]
    fn the_baseline_is_read_as_it_is_written() {
        let calls = parse(&printed()).unwrap();
        let baseline = baseline(&calls);
        assert_eq!(baseline.calls, calls);
        assert_eq!(baseline.compiler, "1.95.0");
        for wrong in [
            "",
            "write 1 2\n",
            "# rustc 1.95.0\nwrite 1\n",
            "# rustc 1\nw a 2\n",
        ] {
            assert!(Baseline::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_count_more_than_two_percent_off_is_reported() {
        let calls = parse(&printed()).unwrap();
        let mut off = calls.clone();
        off[0].ours = 2040;
        assert_eq!(complaints(&off, &baseline(&calls)), Vec::<String>::new());
        off[0].ours = 2041;
        off[1].ours = 1900;
        assert_eq!(
            complaints(&off, &baseline(&calls)),
            [
                "write.sends_0: +2.0 % against the baseline",
                "write.sends_1: -5.0 % against the baseline"
            ]
        );
    }

    #[test]
    fn a_new_or_missing_call_is_reported() {
        let calls = parse(&printed()).unwrap();
        let fewer = &calls[1..];
        assert_eq!(
            complaints(&calls, &baseline(fewer)),
            ["write.sends_0: is not in the baseline"]
        );
        assert_eq!(
            complaints(fewer, &baseline(&calls)),
            ["write.sends_0: is missing"]
        );
    }

    #[test]
    fn the_table_for_people_is_that_of_the_baseline() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let read = |path: &str| std::fs::read_to_string(format!("{root}/{path}")).unwrap();
        let baseline = Baseline::parse(&read(&super::super::baseline_path())).unwrap();
        let document = read(crate::tables::DOCUMENT);
        let table = crate::tables::table(&document, "calls").unwrap();
        assert_eq!(table, markdown(&baseline.calls, &baseline.compiler));
    }
}
