//! The simulator has teeth: for every rule of the core that is broken on purpose, some
//! seed finds it, and there are no findings while all rules hold.
//!
//! `./ci.sh teeth`, or `RUSTFLAGS="--cfg lastbyte_sabotage" cargo test --release --target-dir target/sabotage
//! -p lastbyte-sim --test teeth`.

/// Without the flag no rule can be broken, and the test would prove nothing.
#[cfg(not(lastbyte_sabotage))]
#[test]
fn rules_can_be_broken() {
    panic!("build with RUSTFLAGS=\"--cfg lastbyte_sabotage\", as `./ci.sh teeth` does");
}

#[cfg(lastbyte_sabotage)]
mod teeth {
    use std::ops::Range;
    use std::thread;

    use lastbyte::sabotage::{Sabotage, set};
    use lastbyte_sim::{Coverage, Failing, Over, Profile, Rule, Sweep};

    /// The number of seeds that are tried before a sabotage counts as missed.
    const SEEDS: u64 = 100_000;

    /// The rules that a sabotage must break: a finding of another kind is accidental.
    /// Empty: any rule.
    const fn expected(sabotage: Sabotage) -> &'static [Rule] {
        match sabotage {
            Sabotage::None
            | Sabotage::RstRule
            | Sabotage::SndNxtRule
            | Sabotage::Latch
            | Sabotage::Drain
            | Sabotage::FirstWrite => &[],
            Sabotage::CreditRst => &[Rule::Acknowledged],
            Sabotage::BareSyn => &[Rule::Answers, Rule::Cause],
            Sabotage::Fragments => &[Rule::Acknowledged, Rule::Cause, Rule::Panic],
            Sabotage::OldAck => &[Rule::FirstWrite, Rule::Read],
            Sabotage::FullDevice | Sabotage::RstWithText => &[Rule::FirstWrite],
            Sabotage::Damaged | Sabotage::Complaints => &[Rule::Cause],
            Sabotage::RstAtUna
            | Sabotage::ChallengeBudget
            | Sabotage::WrongAck
            | Sabotage::LoudAbort => &[Rule::Answers],
            Sabotage::GroupSyn => &[Rule::Answers, Rule::Listens],
            Sabotage::HalfOpen => &[Rule::Listens],
            Sabotage::DeafBind => &[Rule::Cause, Rule::Listens],
            Sabotage::Unread | Sabotage::CutText => &[Rule::Read],
            Sabotage::BlindHeard
            | Sabotage::FinDuplicates
            | Sabotage::NarrowWindow
            | Sabotage::StaleRow
            | Sabotage::ZeroOctet => &[],
        }
    }

    /// The sabotages that the simulator does not notice, and the tests that do.
    const fn seen_by(sabotage: Sabotage) -> Option<&'static str> {
        match sabotage {
            Sabotage::BlindHeard => Some("row_69_blind_segment_is_not_heard"),
            Sabotage::FinDuplicates => Some("a_fin_is_sent_again_after_duplicate_acks"),
            Sabotage::NarrowWindow => Some("duplicate_acks_send_nothing_beyond_a_narrow_window"),
            Sabotage::StaleRow => Some("a_client_with_a_fixed_port_can_reconnect_at_once"),
            Sabotage::ZeroOctet => {
                Some("a_lone_octet_is_sent_again_whatever_its_value_while_the_peer_sends")
            }
            _ => None,
        }
    }

    /// The first of `seeds` with a finding: seeds are taken in order, and a thread
    /// finishes those that it has taken.
    fn first_failing(seeds: Range<u64>) -> Option<Failing> {
        let sweep = Sweep {
            over: Over::Stack,
            profiles: Profile::ALL.to_vec(),
            seeds,
            jobs: thread::available_parallelism().map_or(1, usize::from),
            patience: 1,
        };
        sweep.run(|_| ()).failing.into_iter().next()
    }

    /// The first seed whose first finding is one of these rules, or of any if there are
    /// none.
    fn first_of(rules: &[Rule]) -> Option<Failing> {
        let mut from = 0;
        while let Some(failing) = first_failing(from..SEEDS) {
            if rules.is_empty() || rules.contains(&failing.finding.rule) {
                return Some(failing);
            }
            from = failing.seed + 1;
        }
        None
    }

    // A single test, because a sabotage applies to the whole process.
    #[test]
    fn every_sabotage_is_found() {
        let mut missed = Vec::new();
        let mut end = 0;
        println!(
            "{:<15} {:>6} {:<10} found by",
            "sabotage", "seed", "profile"
        );
        for sabotage in Sabotage::ALL {
            set(sabotage);
            let name = format!("{sabotage:?}");
            if let Some(test) = seen_by(sabotage) {
                println!("{name:<15} seen by the test {test}");
                continue;
            }
            let Some(Failing {
                profile,
                seed,
                finding,
            }) = first_of(expected(sabotage))
            else {
                println!("{name:<15} missed");
                missed.push(sabotage);
                continue;
            };
            println!("{name:<15} {seed:>6} {:<10} {finding}", profile.to_string());
            end = end.max(seed + 1);
        }
        assert_eq!(missed, [], "not found by {SEEDS} seeds");

        set(Sabotage::None);
        Coverage::reset();
        assert_eq!(first_failing(0..end), None, "without any sabotage");
        let coverage = Coverage::now();
        assert_eq!(coverage.unexpected(), [], "listed as out of reach");
    }
}
