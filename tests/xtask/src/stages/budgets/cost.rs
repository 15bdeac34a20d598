//! The numbers of the budgets: how they are read, checked against ceilings, and printed.

use crate::tables::compiler_line;
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The sizes of writes that the clients of `tests/budgets` make.
const WRITES: [u32; 3] = [16, 64, 1460];

/// The cost of a client.
#[derive(Debug, Clone, PartialEq)]
pub struct Client {
    pub flash: u64,
    /// Static memory with one connection.
    pub ram: u64,
    /// Static memory of one more connection.
    pub connection: u64,
    pub stack: u64,
    /// Instructions of a write, in the order of [`WRITES`].
    pub writes: [f64; 3],
}

/// The output of a client on its board.
#[derive(Debug, PartialEq)]
pub struct Ran {
    pub stack: u64,
    pub writes: [f64; 3],
}

/// The cost of the guard alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    /// Instructions of a write of 1460.
    pub write_1460: f64,
    pub flash: u64,
}

/// What the client of `asynch` costs over the blocking one.
#[derive(Debug, Clone, PartialEq)]
pub struct Asynch {
    pub flash: f64,
    /// Instructions of a write that has room.
    pub write: f64,
}

impl Asynch {
    /// The difference between the two clients.
    pub fn over(blocking: &Client, flash: u64, writes: [f64; 3]) -> Self {
        let more = |size: usize| writes[size] - blocking.writes[size];
        // Each octet has its share of the waits for room. Two sizes of writes show how much that
        // is, and so what a write costs that does not wait.
        let share = (more(1) - more(0)) / f64::from(WRITES[1] - WRITES[0]);
        Self {
            flash: float(flash) - float(blocking.flash),
            write: more(0) - share * f64::from(WRITES[0]),
        }
    }
}

/// The measurements of one target.
pub struct Cost {
    pub target: &'static str,
    pub board: &'static str,
    pub rows: Vec<Row>,
}

/// One number of both clients, and its ceiling.
#[derive(Debug, PartialEq)]
pub struct Row {
    key: Key,
    /// `None`: bare smoltcp has no such value.
    bare: Option<f64>,
    ours: f64,
    /// The difference, in the unit of the ceiling: octets, instructions of a write, or
    /// thousandths of the bare client's.
    more: f64,
    ceiling: f64,
    /// For the guard's instructions: percent of a write without it.
    share: Option<f64>,
}

impl Row {
    pub fn is_exceeded(&self) -> bool {
        self.more > self.ceiling
    }
}

/// The value that a ceiling limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Flash,
    Ram,
    Connection,
    Stack,
    Write(u32),
    GuardWrite,
    GuardFlash,
    AsyncWrite,
    AsyncFlash,
}

impl Key {
    const ALL: [Self; 11] = [
        Self::Flash,
        Self::Ram,
        Self::Connection,
        Self::Stack,
        Self::Write(WRITES[0]),
        Self::Write(WRITES[1]),
        Self::Write(WRITES[2]),
        Self::GuardWrite,
        Self::GuardFlash,
        Self::AsyncWrite,
        Self::AsyncFlash,
    ];

    /// The name in the file of ceilings.
    fn name(self) -> String {
        match self {
            Self::Flash => "flash".to_owned(),
            Self::Ram => "ram".to_owned(),
            Self::Connection => "connection".to_owned(),
            Self::Stack => "stack".to_owned(),
            Self::Write(length) => format!("w{length}"),
            Self::GuardWrite => "guard_w1460".to_owned(),
            Self::GuardFlash => "guard_flash".to_owned(),
            Self::AsyncWrite => "async_write".to_owned(),
            Self::AsyncFlash => "async_flash".to_owned(),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Flash => "flash, octets".to_owned(),
            Self::Ram => "static memory, octets".to_owned(),
            Self::Connection => "static memory of one more connection".to_owned(),
            Self::Stack => "stack, octets".to_owned(),
            Self::Write(length) => format!("instructions an octet, writes of {length}"),
            Self::GuardWrite => "its guard, instructions of a write of 1460".to_owned(),
            Self::GuardFlash => "its guard, flash".to_owned(),
            Self::AsyncWrite => "async over blocking, a write that has room".to_owned(),
            Self::AsyncFlash => "async over blocking, flash".to_owned(),
        }
    }

    /// For the README, where a write counts as a whole.
    fn short_text(self) -> String {
        match self {
            Self::Connection => "each further connection".to_owned(),
            Self::Write(length) => format!("instructions, write of {length}"),
            _ => self.text(),
        }
    }

    /// Whether the ceiling is in thousandths of the bare client's value.
    fn is_relative(self) -> bool {
        self == Self::Write(1460)
    }
}

/// The ceilings by target and figure.
pub type Ceilings = BTreeMap<(String, Key), f64>;

/// Reads `ceilings.txt`: "TARGET FIGURE NUMBER" on a line, and comments.
pub fn parse_ceilings(text: &str) -> Result<Ceilings> {
    let mut ceilings = Ceilings::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = || format!("line {} of the ceilings: {line}", index + 1);
        let words: Vec<_> = line.split_whitespace().collect();
        let [target, name, ceiling] = words[..] else {
            bail!("{}: not TARGET FIGURE NUMBER", wrong());
        };
        let key = Key::ALL.into_iter().find(|key| key.name() == name);
        let key = key.with_context(|| format!("{}: no such figure", wrong()))?;
        let ceiling: i32 = ceiling.parse().with_context(wrong)?;
        let before = ceilings.insert((target.to_owned(), key), f64::from(ceiling));
        ensure!(before.is_none(), "{}: for the second time", wrong());
    }
    Ok(ceilings)
}

/// The lines of numbers that an emulated board prints.
fn numbers(printed: &str) -> Result<Vec<Vec<u64>>> {
    let lines = printed
        .lines()
        .filter_map(|line| line.trim_end().strip_prefix("= "));
    lines
        .map(|line| line.split(' ').map(str::parse).collect::<Result<_, _>>())
        .collect::<Result<_, _>>()
        .with_context(|| format!("the emulated board prints: {printed}"))
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

/// Reads what a client prints: the octets of stack, and for each size of write that size, the
/// octets written and the instructions that took.
pub fn parse_client(printed: &str) -> Result<Ran> {
    let mut stack = None;
    let mut writes = Vec::new();
    for line in numbers(printed)? {
        match line[..] {
            [octets] if stack.is_none() => stack = Some(octets),
            [length, octets, instructions] if octets > 0 => {
                let each = float(instructions) * float(length) / float(octets);
                writes.push((length, each));
            }
            _ => bail!("the emulated board prints: {printed}"),
        }
    }
    let lengths: Vec<_> = writes.iter().map(|(length, _)| *length).collect();
    ensure!(
        lengths == WRITES.map(u64::from),
        "the emulated board writes {lengths:?} octets, not {WRITES:?}: {printed}"
    );
    Ok(Ran {
        stack: stack.with_context(|| format!("the board prints no stack: {printed}"))?,
        writes: std::array::from_fn(|index| writes[index].1),
    })
}

/// Reads what the guard's program prints: octets, instructions with it, and without.
pub fn parse_guard(printed: &str) -> Result<f64> {
    match &numbers(printed)?[..] {
        [line] => match line[..] {
            [octets, with, without] if octets > 0 && with > without => {
                Ok((float(with - without) * 1460.0 / float(octets)).round())
            }
            _ => bail!("the emulated board prints: {printed}"),
        },
        _ => bail!("the emulated board prints: {printed}"),
    }
}

/// Combines the values of both clients, with the ceiling of each difference. Fails if a
/// value has no ceiling.
pub fn compare(
    target: &str,
    bare: &Client,
    ours: &Client,
    guard: &Guard,
    asynch: &Asynch,
    ceilings: &Ceilings,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for key in Key::ALL {
        let ceiling = ceilings
            .get(&(target.to_owned(), key))
            .with_context(|| format!("no ceiling for {} of {target}", key.name()))?;
        let (bare, ours) = match key {
            Key::Flash => (Some(float(bare.flash)), float(ours.flash)),
            Key::Ram => (Some(float(bare.ram)), float(ours.ram)),
            Key::Connection => (Some(float(bare.connection)), float(ours.connection)),
            Key::Stack => (Some(float(bare.stack)), float(ours.stack)),
            Key::Write(length) => {
                let place = WRITES.iter().position(|write| *write == length);
                let place = place.context("a write of another size")?;
                (Some(bare.writes[place]), ours.writes[place])
            }
            Key::GuardWrite => (None, guard.write_1460),
            Key::GuardFlash => (None, float(guard.flash)),
            Key::AsyncWrite => (None, asynch.write),
            Key::AsyncFlash => (None, asynch.flash),
        };
        let difference = ours - bare.unwrap_or(0.0);
        rows.push(Row {
            key,
            bare,
            ours,
            more: match bare {
                Some(bare) if key.is_relative() => 1000.0 * difference / bare,
                _ => difference,
            },
            ceiling: *ceiling,
            share: None,
        });
    }
    let write = ours.writes[WRITES.len() - 1];
    for row in rows.iter_mut().filter(|row| row.key == Key::GuardWrite) {
        row.share = Some(100.0 * row.ours / (write - row.ours));
    }
    Ok(rows)
}

/// The cells of a row: bare, lastbyte, more, at most.
fn cells(row: &Row) -> [String; 4] {
    let (divisor, digits) = match row.key {
        Key::Write(length) => (f64::from(length), 2),
        _ => (1.0, 0),
    };
    let figure = |value: f64| format!("{:.digits$}", value / divisor);
    let difference = |value: f64| match row.key {
        key if key.is_relative() => format!("{:.1} %", value / 10.0),
        Key::Write(_) => format!("{value:.0} a write"),
        _ => format!("{value:.0}"),
    };
    [
        row.bare.map(figure).unwrap_or_default(),
        figure(row.ours),
        difference(row.more),
        difference(row.ceiling),
    ]
}

/// The table of a target, for a terminal.
pub fn text(cost: &Cost) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "  {:<44} {:>9} {:>9} {:>12} {:>12}",
        cost.target, "smoltcp", "lastbyte", "more", "at most"
    );
    for row in &cost.rows {
        let [bare, ours, more, ceiling] = cells(row);
        let name = row.key.text();
        let _ = write!(
            text,
            "    {name:<42} {bare:>9} {ours:>9} {more:>12} {ceiling:>12}"
        );
        if let Some(share) = row.share {
            let _ = write!(text, "  {share:.1} % more than without");
        }
        text.push_str(if row.is_exceeded() {
            "  TOO MUCH\n"
        } else {
            "\n"
        });
    }
    text
}

/// The tables of all targets, for `docs/MEASUREMENTS.md`.
pub fn markdown(costs: &[Cost], compiler: &str) -> String {
    let mut text = format!("{}\n", compiler_line(compiler));
    for cost in costs {
        let _ = write!(
            text,
            "\n| {}, `{}` | bare smoltcp | lastbyte | more | at most |\n|---|--:|--:|--:|--:|\n",
            cost.board, cost.target
        );
        for row in &cost.rows {
            let [bare, ours, more, ceiling] = cells(row);
            let name = row.key.text();
            let share = row.share.map(|share| format!(" ({share:.1} %)"));
            let more = more + &share.unwrap_or_default();
            let _ = writeln!(text, "| {name} | {bare} | {ours} | {more} | {ceiling} |");
        }
    }
    text
}

/// The figures of the first target in one row, for the README.
pub fn summary(costs: &[Cost], compiler: &str) -> String {
    let mut text = format!("{}\n\n", compiler_line(compiler));
    let Some(cost) = costs.first() else {
        return text;
    };
    let rows = cost.rows.iter().filter(|row| row.bare.is_some());
    let (mut heads, mut figures) = (String::new(), String::new());
    for row in rows {
        let [_, _, more, _] = cells(row);
        let _ = write!(heads, " {} |", row.key.short_text());
        let _ = write!(figures, " {} |", more.trim_end_matches(" a write"));
    }
    let rule = "--:|".repeat(heads.matches('|').count());
    let _ = writeln!(
        text,
        "| {} |{heads}\n|---|{rule}\n| more than bare smoltcp |{figures}",
        cost.board
    );
    text
}

#[cfg(test)]
#[path = "cost_tests.rs"]
mod tests;
