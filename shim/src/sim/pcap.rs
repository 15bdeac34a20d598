//! A recording as a capture file.

use std::io::{self, Write};

use lastbyte::Instant;
use smoltcp::phy::{PcapLinkType, PcapSink};

use super::recording::{RecordedFrame, Recording};
use crate::loopback::{Direction, Fate, Sender, smoltcp_time};

impl Recording {
    /// Writes what crossed the interface of our end, as a pcap file of Ethernet
    /// frames: ours when they were sent, those of the peer whenever a copy
    /// arrived, with what the wire had done to it, and forged ones.
    ///
    /// Frames of ours are in it even if they were lost on the way, as in any
    /// capture at the sender.
    ///
    /// ```
    /// use lastbyte_shim::sim::{Profile, Scenario, record};
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
    /// Those of `out`; nothing is written behind the first.
    pub fn write_pcap(&self, mut out: impl Write) -> io::Result<()> {
        let mut seen: Vec<_> = self.frames.iter().flat_map(sights).collect();
        // Those of one time are in the order in which they were sent.
        seen.sort_by_key(|sight| sight.at);
        // smoltcp makes the records; a `Vec` takes them without fail.
        let mut record = Vec::new();
        record.global_header(PcapLinkType::Ethernet);
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
