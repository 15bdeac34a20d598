//! Random sizes, speeds, losses, ends, orders and dropped calls, compared with a model.
//!
//! A seed is printed if its run fails. `SEEDS=3000 cargo test --test asynch soak` runs more.

use crate::common::{PORT, assert_ledger, ms, options, pattern, secs};
use crate::rig::{Net, Rig, up_to};
use core::cell::{Cell, RefCell};
use core::time::Duration;
use lastbyte::asynch::{Reader, Writer};
use lastbyte::{Cause, Error, OnReceive, Timeout, WriteError};
use lastbyte_sim::loopback::{Behaviour, Direction, Drops};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

const SEEDS: u64 = 150;

struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }

    fn size(&mut self, least: usize, most: usize) -> usize {
        least + self.draw((most - least) as u64) as usize
    }
}

/// What is drawn before a run begins.
struct Scenario {
    tx: usize,
    len: usize,
    behaviour: Behaviour,
    sends: bool,
    is_lossy: bool,
    /// When the peer ends the connection, and how.
    end: (Duration, u64),
}

impl Scenario {
    fn draw(dice: &mut Dice) -> Self {
        let tx = [100, 536, 1_460, 4_096, 9_000][dice.size(0, 5)];
        let len = dice.size(200, 20_000);
        let mut behaviour = Behaviour::sink().rx_buffer(dice.size(600, 8_000));
        if dice.draw(2) == 0 {
            behaviour = behaviour.reading(dice.size(100, 2_000), ms(1 + dice.draw(40)));
        }
        let end = (ms(dice.draw(400)), dice.draw(6));
        if end.1 == 2 {
            behaviour = behaviour.exiting_after(dice.draw(len as u64));
        }
        let sends = dice.draw(2) == 0;
        if sends {
            behaviour = behaviour.sending(pattern(9, 5_000));
        }
        Self {
            tx,
            len,
            behaviour,
            sends,
            is_lossy: dice.draw(3) == 0,
            end,
        }
    }
}

fn lose(rig: &Rig, seed: u64) {
    for (direction, salt) in [(Direction::ToPeer, 1), (Direction::ToUs, 2)] {
        let mut dice = Dice::new(seed * 4 + salt);
        let drops = Drops::matching(move |_| dice.draw(12) == 0);
        rig.world.set_drops(direction, drops);
    }
}

/// Writes all of `data` in pieces, drops some calls, and flushes. Returns how much was
/// accepted, and the error that ended it.
async fn write(
    rig: &Rig,
    writer: &mut Writer<'static, Net>,
    data: &[u8],
    dice: &RefCell<Dice>,
) -> (usize, Option<Error>) {
    let draw = |below| dice.borrow_mut().draw(below);
    let mut accepted = 0;
    while accepted < data.len() {
        let piece = 1 + draw(3_000) as usize;
        let end = (accepted + piece).min(data.len());
        let polls = match draw(4) {
            0 => 1 + draw(2) as u32,
            _ => u32::MAX,
        };
        match up_to(polls, writer.write(&data[accepted..end])).await {
            Some(Ok(written)) => accepted += written,
            Some(Err(error)) => return (accepted, Some(error)),
            None => {}
        }
        match draw(12) {
            0 => rig.timer.sleep(ms(5)).await,
            1 => {
                let _ = up_to(2, writer.flush()).await;
            }
            _ => {}
        }
    }
    (accepted, writer.flush().await.err())
}

/// Reads to the end, and drops some calls.
async fn read(reader: &mut Reader<'static, Net>, dice: &RefCell<Dice>) -> Vec<u8> {
    let mut received = Vec::new();
    let mut into = [0; 333];
    loop {
        let polls = 1 + dice.borrow_mut().draw(3) as u32;
        match up_to(polls, reader.read(&mut into)).await {
            Some(Ok(0) | Err(_)) => return received,
            Some(Ok(read)) => received.extend_from_slice(&into[..read]),
            None => {}
        }
    }
}

/// Returns what ended the connection.
fn run(seed: u64) -> Option<Cause> {
    let mut dice = Dice::new(seed);
    let scenario = Scenario::draw(&mut dice);
    let rig = Rig::sized(scenario.tx);
    rig.shuffle(seed);
    if scenario.is_lossy {
        lose(&rig, seed);
    }
    let world = rig.world.clone();
    rig.world.at(rig.world.now() + scenario.end.0, move |_| {
        match scenario.end.1 {
            0 => world.peer().close(PORT),
            1 => world.peer().abort(PORT),
            _ => {}
        }
    });
    let options = options(|o| {
        o.call_timeout(secs(40))
            .user_timeout(secs(100))
            .on_receive(OnReceive::Keep)
    });
    rig.world.peer().listen(PORT, scenario.behaviour);
    let connection = match rig.connect(options) {
        Ok(connection) => connection,
        Err(error) => {
            let is_early = error.cause().is_some() || scenario.is_lossy;
            assert!(is_early, "{error}");
            return error.cause();
        }
    };
    let (mut writer, mut reader) = connection.into_split();
    let data = pattern(0, scenario.len);
    let dice = RefCell::new(dice);
    let (written, received) = (Cell::new((0, None)), RefCell::default());
    rig.run(vec![
        Box::pin(async { written.set(write(&rig, &mut writer, &data, &dice).await) }),
        Box::pin(async {
            if scenario.sends {
                *received.borrow_mut() = read(&mut reader, &dice).await;
            }
        }),
    ]);
    let (accepted, error) = written.take();
    let ledger = writer.report().unwrap().ledger;
    assert_ledger(ledger, accepted as u64, ledger.acknowledged());
    let cause = error.and_then(|error| error.cause());
    if let Some(error) = error {
        // A lost wake leads to a call timeout although the peer reads.
        let is_call_timeout = matches!(
            error,
            Error::Write(WriteError::TimedOut {
                why: Timeout::Call,
                ..
            })
        );
        assert!(scenario.is_lossy || !is_call_timeout, "{error}");
        if cause.is_some() {
            let next = rig.block_on(writer.write(b"x")).unwrap_err();
            assert_eq!(next.cause(), cause, "latched");
        }
    } else {
        assert_ledger(ledger, scenario.len as u64, scenario.len as u64);
    }
    assert!(data.starts_with(&rig.world.peer().received(PORT)));
    assert!(pattern(9, 5_000).starts_with(&received.into_inner()));
    cause
}

#[test]
fn random_runs_lose_no_wake_and_no_byte() {
    let seeds = std::env::var("SEEDS").map_or(SEEDS, |seeds| seeds.parse().expect("a number"));
    let mut ends = BTreeMap::new();
    for seed in 1..=seeds {
        match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok(cause) => *ends.entry(format!("{cause:?}")).or_insert(0) += 1,
            Err(panic) => {
                eprintln!("seed {seed}");
                resume_unwind(panic);
            }
        }
    }
    eprintln!("{ends:?}");
    assert!(ends.len() >= 3, "all ended alike: {ends:?}");
}
