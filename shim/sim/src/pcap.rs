//! A recording as a capture file.

use std::io::{self, Write};

use lastbyte::Instant;
use smoltcp::phy::{Medium, PcapLinkType, PcapSink};

use super::recording::{RecordedFrame, Recording};
use crate::loopback::{Direction, Fate, Sender, smoltcp_time};

impl Recording {
    /// Writes the frames that crossed the interface of our end as a pcap file: our frames
    /// when they were sent, those of the peer when a copy arrived, with its damage, and
    /// forged ones.
    ///
    /// It contains frames of ours that were lost later, like any capture at the sender.
    ///
    /// ```
    /// use lastbyte_sim::{Profile, Scenario, record};
    ///
    /// let (_, recording) = record(&Scenario::new(Profile::Lan, 1));
    /// let mut file = Vec::new();
    /// recording.write_pcap(&mut file)?;
    /// assert_eq!(file[..4], 0xa1b2_c3d4_u32.to_ne_bytes());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of `out`; nothing is written after the first.
    pub fn write_pcap(&self, mut out: impl Write) -> io::Result<()> {
        let mut seen: Vec<_> = self.frames.iter().flat_map(sights).collect();
        // Frames of the same time are in the order in which they were sent.
        seen.sort_by_key(|sight| sight.at);
        // smoltcp makes the records; writing to a `Vec` cannot fail.
        let mut record = Vec::new();
        record.global_header(match self.scenario.medium {
            Medium::Ethernet => PcapLinkType::Ethernet,
            Medium::Ip => PcapLinkType::Ip,
        });
        out.write_all(&record)?;
        for sight in seen {
            record.clear();
            record.packet(smoltcp_time(sight.at), &sight.bytes());
            out.write_all(&record)?;
        }
        out.flush()
    }
}

/// A frame that crosses the interface.
#[derive(Debug, Clone, Copy)]
struct Sight<'a> {
    at: Instant,
    frame: &'a RecordedFrame,
    is_first: bool,
}

impl Sight<'_> {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.frame.bytes.clone();
        if let (
            Direction::ToUs,
            Fate::Arrives {
                damage: Some(damage),
                ..
            },
            true,
        ) = (self.frame.direction, self.frame.fate, self.is_first)
        {
            damage.apply(&mut bytes);
        }
        bytes
    }
}

/// When a frame crosses our interface, if it does.
fn sights(frame: &RecordedFrame) -> impl Iterator<Item = Sight<'_>> {
    let times = match (frame.direction, frame.sender, frame.fate) {
        (Direction::ToPeer, Sender::End, _) => [Some(frame.sent_at), None],
        (Direction::ToPeer, Sender::Stranger, _) | (Direction::ToUs, _, Fate::Lost(_)) => {
            [None, None]
        }
        (Direction::ToUs, _, Fate::Arrives { at, again_at, .. }) => [Some(at), again_at],
    };
    let numbered = times.into_iter().enumerate();
    numbered.filter_map(move |(number, at)| {
        Some(Sight {
            at: at?,
            frame,
            is_first: number == 0,
        })
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use smoltcp::phy::Medium;

    use super::super::{
        Chance, Forgery, Happening, Link, Links, Network, PeerModel, Profile, Scenario, Step,
        record,
    };
    use super::*;
    use crate::loopback::{is_intact, lastbyte_time};

    /// Whether the frame is ARP, or a segment with right checksums.
    fn is_sound(frame: &[u8]) -> bool {
        frame[12..14] == [0x08, 0x06] || is_intact(frame, Medium::Ethernet)
    }

    /// The time and bytes of each record.
    fn read(mut file: &[u8]) -> Vec<(Instant, Vec<u8>)> {
        let word = |bytes: &[u8], number: usize| {
            let word = &bytes[number * 4..][..4];
            u32::from_ne_bytes(word.try_into().expect("four octets"))
        };
        assert_eq!((word(file, 0), word(file, 5)), (0xa1b2_c3d4, 1));
        file = &file[24..];
        let mut records = Vec::new();
        while !file.is_empty() {
            let micros = u64::from(word(file, 0)) * 1_000_000 + u64::from(word(file, 1));
            let len = word(file, 2) as usize;
            assert_eq!(word(file, 3) as usize, len);
            let frame = file[16..16 + len].to_vec();
            records.push((Instant::from_micros(micros), frame));
            file = &file[16 + len..];
        }
        records
    }

    fn recording(link: Link) -> Recording {
        let scenario = Scenario {
            network: Network::Links(Box::new(Links::symmetric(link))),
            peer: PeerModel::ReadsAll,
            plan: vec![Step::Write(20_000), Step::Finish],
            happenings: vec![(
                Instant::from_micros(150_000),
                Happening::Forged(Forgery::Rst(5)),
            )],
            ..Scenario::new(Profile::Transfer, 3)
        };
        record(&scenario).1
    }

    fn written(recording: &Recording) -> Vec<(Instant, Vec<u8>)> {
        let mut file = Vec::new();
        recording.write_pcap(&mut file).expect("a vector has room");
        read(&file)
    }

    #[test]
    fn a_sound_run_is_read_back_frame_by_frame() {
        let link = Link::with_latency(Duration::from_millis(20));
        let recording = recording(link);
        let records = written(&recording);
        assert!(records.len() > 20 && records.len() == recording.frames.len());
        assert!(records.is_sorted_by_key(|(at, _)| *at));
        assert!(records.iter().all(|(_, frame)| is_sound(frame)));
        for frame in &recording.frames {
            let at = match frame.direction {
                Direction::ToPeer => frame.sent_at,
                Direction::ToUs => frame.fate.arrives_at().expect("nothing is lost"),
            };
            assert!(records.contains(&(at, frame.bytes.clone())), "{frame}");
        }
        let of_strangers = |frame: &&RecordedFrame| frame.sender == Sender::Stranger;
        assert_eq!(recording.frames.iter().filter(of_strangers).count(), 1);
    }

    #[test]
    fn the_capture_holds_what_our_end_saw_of_a_bad_wire() {
        let recording = recording(Link {
            jitter: Duration::from_millis(10),
            loss: Chance::percent(5),
            duplication: Chance::percent(20),
            corruption: Chance::percent(20),
            ..Link::with_latency(Duration::from_millis(5))
        });
        let records = written(&recording);
        assert!(records.is_sorted_by_key(|(at, _)| *at));
        let (mut seen, mut damaged) = (0, 0);
        for frame in &recording.frames {
            match (frame.direction, frame.fate) {
                (Direction::ToPeer, _) => seen += 1,
                (Direction::ToUs, Fate::Lost(_)) => {}
                (
                    Direction::ToUs,
                    Fate::Arrives {
                        again_at, damage, ..
                    },
                ) => {
                    seen += 1 + usize::from(again_at.is_some());
                    damaged += usize::from(damage.is_some());
                }
            }
        }
        assert_eq!(records.len(), seen);
        let broken = records.iter().filter(|(_, frame)| !is_sound(frame));
        assert_eq!(broken.count(), damaged);
        assert!(damaged > 0 && seen > recording.frames.len() / 2);
    }

    #[test]
    fn a_write_error_ends_the_capture() {
        let link = Link::with_latency(Duration::from_millis(20));
        let mut short = [0; 100];
        let error = recording(link).write_pcap(&mut short[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }

    #[test]
    fn times_are_kept_to_the_microsecond() {
        let at = Instant::from_micros(3_600_000_007);
        assert_eq!(lastbyte_time(smoltcp_time(at)), at);
    }
}
