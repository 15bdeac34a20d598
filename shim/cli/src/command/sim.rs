//! `lastbyte sim`: many bad networks, or one of them in detail.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::exit::Failure;
use super::over::Layer;
use super::{files, locale, progress};
use lastbyte_sim::{self as sim, Coverage, Profile, Recording, Scenario, Summary, Sweep};

/// With this many seeds, every cell that can be reached must be reached.
const MANY: u64 = 10_000_000;

const TEMPLATE: &str = "{bar:30} {percent:>3}% {human_pos}/{human_len} seeds {per_sec} {eta} left";

/// Exit code of a run with findings.
const FOUND: u8 = 1;

/// Arguments of `lastbyte sim`.
#[derive(Debug, Args)]
pub struct SimArgs {
    /// The seeds to run: from A on, B not included
    #[arg(long, value_name = "A..B", default_value = "0..10000", value_parser = parse_seeds, conflicts_with = "seed")]
    pub seeds: Range<u64>,
    /// Number of parallel threads, at most 1024 [default: one for each processor]
    #[arg(long, value_name = "N", conflicts_with = "seed", value_parser = parse_count)]
    pub jobs: Option<NonZeroUsize>,
    /// Profile to draw from: lan, wifi, lte, satellite, rotten, hostile, slow, outage,
    /// calls or transfer; may be repeated [default: all of them in turn]
    #[arg(long, value_name = "NAME", value_parser = parse_profile)]
    pub profile: Vec<Profile>,
    /// The layer of the library to test; over async, calls are also dropped and made again
    #[arg(long, value_name = "WHAT", default_value = "stack")]
    pub over: Layer,
    /// Stop after this many seeds that broke a rule
    #[arg(long, value_name = "N", default_value = "10", conflicts_with = "seed", value_parser = parse_count)]
    pub patience: NonZeroUsize,
    /// Replay this one seed
    #[arg(long, value_name = "N", value_parser = parse_seed)]
    pub seed: Option<u64>,
    /// Reduce the scenario to the smallest that still breaks the rule
    #[arg(long, requires = "seed")]
    pub shrink: bool,
    /// Draw the run as a time-sequence diagram
    #[arg(long, value_name = "FILE.svg", requires = "seed")]
    pub ladder: Option<PathBuf>,
    /// Capture the traffic at our end to FILE, for Wireshark
    #[arg(long, value_name = "FILE", requires = "seed")]
    pub pcap: Option<PathBuf>,
    /// Print which cells of the transition table were reached
    #[arg(long, conflicts_with = "seed")]
    pub coverage: bool,
    /// Print every frame and step
    #[arg(long, requires = "seed")]
    pub log: bool,
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let wanted = || "two numbers with .. between them, such as 0..10000".to_owned();
    let (from, to) = text.split_once("..").ok_or_else(wanted)?;
    let number = |text: &str| text.replace('_', "").parse::<u64>().map_err(|_| wanted());
    let (from, to) = (number(from)?, number(to)?);
    if from >= to {
        return Err(format!("there is no seed from {from} up to {to}"));
    }
    Ok(from..to)
}

fn parse_seed(text: &str) -> Result<u64, String> {
    let number = text.replace('_', "").parse();
    number.map_err(|_| format!("a seed is a number from 0 to {}", u64::MAX))
}

fn parse_count(text: &str) -> Result<NonZeroUsize, String> {
    text.parse()
        .map_err(|_| "use a number from 1 on; more than 1024 count as 1024".to_owned())
}

fn parse_profile(text: &str) -> Result<Profile, String> {
    text.parse()
        .map_err(|unknown: sim::UnknownProfile| unknown.to_string())
}

/// Runs the selected seeds.
///
/// # Errors
///
/// A file cannot be written, or stdout is closed. Findings are not an error
/// here: the exit code reports them.
pub fn run(args: &SimArgs) -> Result<u8, Failure> {
    // A panic in a run is a finding, and reported as one.
    panic::set_hook(Box::new(|_| ()));
    let profiles = match args.profile.as_slice() {
        [] => Profile::ALL.to_vec(),
        chosen => chosen.to_vec(),
    };
    let jobs = args
        .jobs
        .or_else(|| std::thread::available_parallelism().ok())
        .map_or(1, NonZeroUsize::get);
    let sweep = Sweep {
        profiles,
        seeds: args.seeds.clone(),
        over: match args.over {
            Layer::Stack => sim::Over::Stack,
            Layer::Async => sim::Over::Async,
        },
        jobs,
        patience: args.patience.get(),
    };
    let done = panic::catch_unwind(AssertUnwindSafe(|| match args.seed {
        Some(seed) => replay(args, &sweep.scenario(seed)),
        None => sweep_all(args, &sweep),
    }));
    // Outside of a run it is a bug of the simulator, and must be reported.
    done.unwrap_or_else(|panic| {
        let words = sim::words(&*panic);
        Err(Failure::other(format!("the simulator failed: {words}")))
    })
}

fn printed(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(format!("printing: {error}")))
        }
        _ => Ok(()),
    }
}

// ---- many ----

fn sweep_all(args: &SimArgs, sweep: &Sweep) -> Result<u8, Failure> {
    let bar = ProgressBar::new(sweep.seeds.end - sweep.seeds.start).with_style(style());
    Coverage::reset();
    let summary = sweep.run(|done| bar.set_position(done));
    bar.finish_and_clear();
    let coverage = Coverage::now();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_summary(&mut text, &summary, sweep, &coverage, args);
    printed(locale::print(&text))?;
    let is_whole = sweep.profiles.len() == Profile::ALL.len();
    // Over the async layer some rows are out of reach: nothing is written to a listener.
    let is_whole = is_whole && sweep.over == sim::Over::Stack;
    let must_reach = is_whole && summary.seeds >= MANY && !coverage.missing().is_empty();
    let is_sound = summary.failing.is_empty() && !must_reach && coverage.unexpected().is_empty();
    Ok(if is_sound { 0 } else { FOUND })
}

fn style() -> ProgressStyle {
    // The template is constant, and a test reads it.
    let style = ProgressStyle::with_template(TEMPLATE);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    progress::with_characters(style, locale::is_utf8())
}

fn write_summary(
    out: &mut String,
    summary: &Summary,
    sweep: &Sweep,
    coverage: &Coverage,
    args: &SimArgs,
) -> fmt::Result {
    for failing in &summary.failing {
        writeln!(
            out,
            "seed {} of {}: {}",
            failing.seed, failing.profile, failing.finding
        )?;
        writeln!(out, "  {} --shrink --log", failing.replay())?;
    }
    let names: Vec<_> = sweep
        .profiles
        .iter()
        .map(|profile| profile.name())
        .collect();
    writeln!(
        out,
        "{} seeds of {} in {:.1} s: {} findings",
        summary.seeds,
        names.join(", "),
        summary.took.as_secs_f64(),
        summary.failing.len(),
    )?;
    let threads = summary.threads;
    writeln!(
        out,
        "{} seeds a second ({} for each of {threads} threads), {} s of virtual time a second, {} frames",
        summary.seeds_per_second(),
        summary.seeds_per_second() / threads.max(1) as u64,
        summary.speed_up(),
        summary.frames,
    )?;
    let causes = summary.causes.iter();
    let causes: Vec<_> = causes
        .map(|(cause, times)| format!("{cause} {times}"))
        .collect();
    writeln!(out, "ends: {}", causes.join(", "))?;
    writeln!(out, "hash {:016x}", summary.hash)?;
    if args.coverage {
        writeln!(out, "{coverage}")?;
    }
    write_coverage(out, coverage)
}

fn write_coverage(out: &mut String, coverage: &Coverage) -> fmt::Result {
    let (reached, missing) = (coverage.reached(), coverage.missing());
    writeln!(
        out,
        "transition table: {reached} of {} cells within reach were reached",
        reached + missing.len(),
    )?;
    for row in missing {
        writeln!(out, "  not reached: {row}")?;
    }
    for row in coverage.unexpected() {
        writeln!(out, "  reached, although listed as out of reach: {row}")?;
    }
    Ok(())
}

// ---- one ----

fn replay(args: &SimArgs, drawn: &Scenario) -> Result<u8, Failure> {
    // Before the work, so that a name that cannot be written wastes none.
    let files = create_files(args)?;
    let first = sim::run(drawn).findings.into_iter().next();
    let scenario = match &first {
        Some(finding) if args.shrink => sim::shrink(drawn, finding.rule),
        _ => drawn.clone(),
    };
    let (outcome, recording) = sim::record(&scenario);
    let [ladder, capture] = files;
    if let Some((path, mut file)) = ladder {
        let written = file.write_all(recording.ladder().as_bytes());
        written.map_err(|error| files::cannot_write(path, &error))?;
    }
    if let Some((path, file)) = capture {
        let written = recording.write_pcap(file);
        written.map_err(|error| files::cannot_write(path, &error))?;
    }
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_run(&mut text, args, &recording, &outcome);
    printed(locale::print(&text))?;
    Ok(if outcome.findings.is_empty() {
        0
    } else {
        FOUND
    })
}

/// A file and its name.
type Created<'a> = Option<(&'a Path, File)>;

/// The files for the ladder and the capture, if they are wanted.
fn create_files<'a>(args: &'a SimArgs) -> Result<[Created<'a>; 2], Failure> {
    let wanted = [("--ladder", &args.ladder), ("--pcap", &args.pcap)];
    let outputs: Vec<_> = wanted
        .iter()
        .filter_map(|(flag, path)| Some((*flag, path.as_deref()?)))
        .collect();
    if let Some((flag, _)) = outputs.iter().find(|(_, path)| *path == Path::new("-")) {
        return Err(Failure::usage(format!(
            "{flag} - : a run is described on standard output, which takes nothing else; name a \
             file (./- for one of that name)"
        )));
    }
    let mut created = files::create_all(&outputs)?.into_iter();
    let mut with_file = |path: &'a Option<PathBuf>| {
        path.as_deref()
            .and_then(|path| Some((path, created.next()?)))
    };
    Ok(wanted.map(|(_, path)| with_file(path)))
}

fn write_run(
    out: &mut String,
    args: &SimArgs,
    recording: &Recording,
    outcome: &sim::Outcome,
) -> fmt::Result {
    if args.log {
        write!(out, "{recording}")?;
    } else {
        writeln!(out, "{}", recording.scenario)?;
    }
    let cause = outcome.cause.map_or("none", lastbyte::Cause::name);
    let ledger = outcome.ledger;
    writeln!(
        out,
        "end {cause}: accepted {}, acknowledged {}, undelivered {}; {} frames in {:.3} s, hash {:016x}",
        ledger.accepted(),
        ledger.acknowledged(),
        ledger.undelivered(),
        outcome.frames,
        outcome.elapsed.as_secs_f64(),
        outcome.hash,
    )?;
    for finding in &outcome.findings {
        writeln!(out, "FOUND {finding}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range() {
        assert_eq!(parse_seeds("3..7"), Ok(3..7));
        assert_eq!(parse_seeds("0..1_000_000"), Ok(0..1_000_000));
        for wrong in ["", "7", "7..7", "9..3", "a..b", "1..2..3", "-1..4"] {
            assert!(parse_seeds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_template_is_valid() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
