//! An application that makes every kind of call, on every kind of network.

use std::time::Duration;

use embedded_io::Write;
use lastbyte::{OnReceive, Options};
use lastbyte_sim::loopback::Reply;
use lastbyte_sim::{self as sim, Finding, GuestStack, Harness, Profile, Scenario};
use smoltcp::wire::IpEndpoint;

const LONGEST: usize = 300;

/// Options of a connection that reads.
pub fn keeps() -> Options {
    Options::builder()
        .on_receive(OnReceive::Keep)
        .build()
        .expect("sound")
}

/// Answers each byte with its successor.
pub fn successors(received: &mut Vec<u8>, reply: &mut Reply<'_>) {
    let answer: Vec<u8> = received
        .drain(..)
        .map(|byte| byte.wrapping_add(1))
        .collect();
    reply.send(&answer);
}

/// An application that makes every kind of call, depending on its seed, and reports truthfully.
fn wild<const N: usize>(stack: &mut GuestStack<'_, N>, server: IpEndpoint, seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut roll = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) % below.max(1)
    };
    let mut ids = Vec::new();
    for _ in 0..30 {
        if ids.len() < N
            && let Ok(id) = stack.connect(server, keeps())
        {
            ids.push(id);
            continue;
        }
        let place = roll(ids.len() as u64) as usize;
        let id = ids[place];
        let len = roll(LONGEST as u64) as usize;
        let is_over = match roll(10) {
            0 => {
                let writer = stack.writer(id).expect("held");
                let _ = writer.finish();
                true
            }
            1 => {
                let writer = stack.writer(id).expect("held");
                writer.abort().expect("held");
                true
            }
            2 => stack.writer(id).expect("held").flush().is_err(),
            3 => {
                // Busy elsewhere: the stack is not served.
                let world = stack.device_mut().world().clone();
                world.run_for(Duration::from_secs(roll(200)));
                false
            }
            4 => {
                stack.run_for(Duration::from_secs(roll(200)));
                false
            }
            5 => {
                let mut into = [0; LONGEST];
                let read = stack.reader(id).expect("held").try_read(&mut into);
                read.is_err()
            }
            _ => {
                let bytes = [seed as u8; LONGEST];
                stack
                    .writer(id)
                    .expect("held")
                    .write_all(&bytes[..len])
                    .is_err()
            }
        };
        if is_over {
            // A connection that had ended is released.
            let _ = stack.release(id);
            ids.swap_remove(place);
        }
    }
}

/// The findings with this seed: a third of the seeds each without a server, with one, and
/// with three connections.
pub fn findings(seed: u64) -> (Scenario, Vec<Finding>) {
    let scenario = Scenario::new(Profile::ALL[seed as usize % Profile::ALL.len()], seed);
    let served = || Harness::new(&scenario).serve(7, successors);
    let findings = match seed / 10 % 3 {
        0 => sim::run_app(&scenario, |stack, server| wild(stack, server, seed)).findings,
        1 => {
            served()
                .run(|stack, server| wild(stack, server, seed))
                .findings
        }
        _ => {
            let harness = served().connections::<3>();
            harness
                .run(|stack, server| wild(stack, server, seed))
                .findings
        }
    };
    (scenario, findings)
}
