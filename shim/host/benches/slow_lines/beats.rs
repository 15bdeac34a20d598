//! The time from a beat to its acknowledgement, over a line that loses a tenth of the
//! frames.

use crate::cell::ROUND_TRIP;
use crate::content::Content;
use crate::ends::{self, End, FIRST_PORT, Plan, Writer};
use crate::{Failure, kernel};
use lastbyte::core::Nagle;
use lastbyte::{Instant, WriteError};
use lastbyte_sim::loopback::{Behaviour, World, WorldConfig};
use lastbyte_sim::{Chance, Link, Links};
use std::collections::VecDeque;
use std::time::Duration;

/// The time between two beats.
pub const EVERY: Duration = Duration::from_secs(1);
/// The loss in percent of the frames, in each direction.
const LOSS: u32 = 10;
/// The number of sockets of the peer: a socket that did not receive the end of its
/// connection waits without bound.
const SPARE_SOCKETS: usize = 8;
/// Each writer with its defaults, and with Nagle's algorithm off.
pub const NAGLES: [Nagle; 2] = [Nagle::On, Nagle::Off];
/// The size of our transmit buffer: more than a minute of beats.
const BUFFER: usize = 4 << 10;

pub fn print(beats: usize, kernel_beats: usize, content: &Content) -> Result<(), Failure> {
    println!(
        "\nA beat of 16 to 64 bytes each second, round trip {} ms, {LOSS} % loss each way: seconds until\n\
         it is acknowledged\n\n\
         {:31} {:>7} {:>7} {:>7} {:>7}",
        ROUND_TRIP.as_millis(),
        "",
        "beats",
        "median",
        "99 %",
        "worst"
    );
    for writer in [Writer::Lastbyte, Writer::Reno] {
        for nagle in NAGLES {
            let seen = run(writer, nagle, beats, content)?;
            print_times(&name(writer.name(), nagle), &seen.times);
            if seen.reconnections > 0 {
                println!("  connected again {} times", seen.reconnections);
            }
        }
    }
    match kernel::run(kernel_beats, content) {
        Ok(times) => {
            for (nagle, times) in NAGLES.iter().zip(&times) {
                print_times(&name("Linux, in real time", *nagle), times);
            }
        }
        Err(error) if std::env::var("CI").is_ok_and(|value| value == "true") => return Err(error),
        Err(error) => println!("SKIPPED: the kernel's beats: {error}"),
    }
    Ok(())
}

fn name(writer: &str, nagle: Nagle) -> String {
    match nagle {
        Nagle::On => writer.to_owned(),
        Nagle::Off => format!("{writer}, Nagle off"),
    }
}

fn print_times(name: &str, times: &[Duration]) {
    let mut seconds: Vec<_> = times.iter().map(Duration::as_secs_f64).collect();
    seconds.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        let place = (seconds.len() * percent / 100).min(seconds.len().saturating_sub(1));
        seconds.get(place).copied().unwrap_or(f64::NAN)
    };
    println!(
        "{name:31} {:7} {:7.2} {:7.2} {:7.2}",
        times.len(),
        at(50),
        at(99),
        at(100)
    );
}

/// The line, in both directions.
pub fn links() -> Links {
    Links::symmetric(Link {
        latency: ROUND_TRIP / 2,
        loss: Chance::percent(LOSS),
        ..Link::default()
    })
}

/// The number of bytes of a beat.
pub fn length(beat: usize, content: &Content) -> usize {
    let byte = content.at(beat as u64, 1).first().copied().unwrap_or(0);
    16 + usize::from(byte) % 49
}

/// What a client measured.
struct Seen {
    /// How long each beat waited.
    times: Vec<Duration>,
    /// How often the connection ended and was replaced by another.
    reconnections: usize,
}

/// The times of `beats` beats, in virtual time.
fn run(writer: Writer, nagle: Nagle, beats: usize, content: &Content) -> Result<Seen, Failure> {
    let world = World::new(WorldConfig::ip());
    links().lay(&world, 0);
    let sink = Behaviour::sink().backlog(SPARE_SOCKETS);
    world.peer().listen(FIRST_PORT, sink);
    let plan = Plan {
        connections: 1,
        buffer: BUFFER,
        nagle,
    };
    ends::with(writer, &world, plan, |end| {
        let mut client = Client::new(&world, content);
        while client.seen.times.len() < beats {
            client.begin_beats(beats);
            match client.step(end) {
                Ok(()) => end.wait(client.next_due(beats)),
                Err(error) if error.is::<WriteError>() => {
                    end.reconnect(0)?;
                    client.start_again();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(client.seen)
    })
}

/// A beat that is not acknowledged.
struct Beat {
    /// Its beginning and end in the stream of all beats.
    begins: u64,
    ends: u64,
    due: Instant,
}

struct Client<'a> {
    world: &'a World,
    content: &'a Content,
    /// When the next beat is due.
    due: Instant,
    begun: usize,
    waiting: VecDeque<Beat>,
    /// The position in the stream at which the connection began, the end of what was
    /// written, and the length of the stream so far.
    base: u64,
    written: u64,
    total: u64,
    seen: Seen,
}

impl<'a> Client<'a> {
    fn new(world: &'a World, content: &'a Content) -> Self {
        Self {
            world,
            content,
            due: world.now() + EVERY,
            begun: 0,
            waiting: VecDeque::new(),
            base: 0,
            written: 0,
            total: 0,
            seen: Seen {
                times: Vec::new(),
                reconnections: 0,
            },
        }
    }

    fn begin_beats(&mut self, beats: usize) {
        while self.begun < beats && self.world.now() >= self.due {
            let begins = self.total;
            self.total += length(self.begun, self.content) as u64;
            self.waiting.push_back(Beat {
                begins,
                ends: self.total,
                due: self.due,
            });
            self.begun += 1;
            self.due = self.due + EVERY;
        }
    }

    fn next_due(&self, beats: usize) -> Instant {
        if self.begun < beats {
            self.due
        } else {
            Instant::NEVER
        }
    }

    /// Writes what is available, and records what is acknowledged.
    fn step(&mut self, end: &mut dyn End) -> Result<(), Failure> {
        while self.written < self.total {
            let rest = (self.total - self.written) as usize;
            let accepted = end.write(0, self.content.at(self.written, rest))?;
            if accepted == 0 {
                break;
            }
            self.written += accepted as u64;
        }
        let acknowledged = self.base + end.acknowledged(0)?;
        while let Some(beat) = self.waiting.front()
            && beat.ends <= acknowledged
        {
            self.seen.times.push(self.world.now().since(beat.due));
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Continues on another connection with what was not acknowledged.
    fn start_again(&mut self) {
        self.base = self.waiting.front().map_or(self.total, |beat| beat.begins);
        self.written = self.base;
        self.seen.reconnections += 1;
    }
}
