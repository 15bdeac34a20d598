//! Places each event on a time axis that is stretched where much happens and compressed
//! where nothing happens.

use std::time::Duration;

use lastbyte::Instant;

/// The height of the arrow of a frame with the median latency.
const TRAVEL: u64 = 36;
/// The longest time without an event that is drawn in full.
const LONGEST_GAP: u64 = 110;
/// The height of a longer time without an event.
const BREAK: i32 = 42;
/// The distance between two times.
const STEP: i32 = 5;
/// The minimum height of an arrow.
const SLANT: i32 = 9;

/// The columns: things in one column must not overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Notes,
    Ours,
    Peers,
}

const COLUMNS: usize = 3;

/// Something that needs a place.
#[derive(Debug, Clone)]
pub(super) struct Anchor {
    pub(super) at: Instant,
    pub(super) column: Column,
    /// The room that it needs above its place.
    pub(super) above: i32,
    /// The room that it needs below its place.
    pub(super) below: i32,
    /// The anchor that it must be below, as the end of an arrow is below its beginning.
    pub(super) after: Option<usize>,
}

/// A stretch of time that is not drawn in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Break {
    pub(super) y: i32,
    pub(super) lasts: Duration,
}

/// The place of everything.
#[derive(Debug)]
pub(super) struct Layout {
    /// The place of each anchor.
    pub(super) y: Vec<i32>,
    pub(super) breaks: Vec<Break>,
    /// The times to write at the axis.
    pub(super) times: Vec<(i32, Instant)>,
    /// The place of the end.
    pub(super) bottom: i32,
}

struct Placing {
    layout: Layout,
    /// The first free place of each column.
    free: [i32; COLUMNS],
    /// The lowest place so far.
    lowest: i32,
}

/// Places the anchors below `top`. Anchors of the same time keep their order.
pub(super) fn place(anchors: &[Anchor], travel: Duration, top: i32) -> Layout {
    let mut order: Vec<usize> = (0..anchors.len()).collect();
    order.sort_by_key(|&anchor| anchors[anchor].at);
    let mut placing = Placing {
        layout: Layout {
            y: vec![top; anchors.len()],
            breaks: Vec::new(),
            times: Vec::new(),
            bottom: top,
        },
        free: [top; COLUMNS],
        lowest: top,
    };
    let mut last: Option<(Instant, i32)> = None;
    for group in order.chunk_by(|&one, &other| anchors[one].at == anchors[other].at) {
        let Some(at) = group.first().map(|&first| anchors[first].at) else {
            continue;
        };
        let base = match last {
            None => top,
            Some((before, base)) => placing.advance(base, at.since(before), travel),
        };
        last = Some((at, placing.group(anchors, group, base)));
    }
    let bottoms = placing.free.into_iter().max();
    placing.layout.bottom = bottoms.unwrap_or(top).max(placing.lowest);
    placing.layout
}

impl Placing {
    /// The place of the time that is `quiet` after the time at `base`.
    fn advance(&mut self, base: i32, quiet: Duration, travel: Duration) -> i32 {
        let travel = travel.as_micros().max(1);
        let height = quiet.as_micros() * u128::from(TRAVEL) / travel;
        if height <= u128::from(LONGEST_GAP) {
            return (base + height as i32).max(self.lowest + STEP);
        }
        let bottom = self.free.into_iter().max().unwrap_or(base);
        let bottom = bottom.max(self.lowest);
        self.layout.breaks.push(Break {
            y: bottom + 16,
            lasts: quiet,
        });
        bottom + BREAK
    }

    /// Places what happens at one time, at or below `base`.
    fn group(&mut self, anchors: &[Anchor], group: &[usize], base: i32) -> i32 {
        let mut base = base;
        for column in [Column::Notes, Column::Ours, Column::Peers] {
            let mut of_column = group.iter().map(|&anchor| &anchors[anchor]);
            if let Some(first) = of_column.find(|anchor| anchor.column == column) {
                base = base.max(self.free[column as usize] + first.above);
            }
        }
        if let Some(&first) = group.first() {
            self.layout.times.push((base, anchors[first].at));
        }
        for &index in group {
            let anchor = &anchors[index];
            let free = &mut self.free[anchor.column as usize];
            let start = anchor.after.map(|after| self.layout.y[after] + SLANT);
            let y = base.max(*free + anchor.above).max(start.unwrap_or(base));
            *free = y + anchor.below;
            self.lowest = self.lowest.max(y);
            self.layout.y[index] = y;
        }
        base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(micros: u64, column: Column, after: Option<usize>) -> Anchor {
        Anchor {
            at: Instant::from_micros(micros),
            column,
            above: 10,
            below: 5,
            after,
        }
    }

    fn layout(anchors: &[Anchor]) -> Layout {
        place(anchors, Duration::from_micros(100), 0)
    }

    #[test]
    fn things_in_one_column_do_not_overlap_and_time_only_grows() {
        let anchors: Vec<_> = (0..50)
            .map(|number| anchor(number / 3 * 7, Column::Ours, None))
            .collect();
        let y = layout(&anchors).y;
        assert!(y.windows(2).all(|pair| pair[1] - pair[0] >= 15), "{y:?}");
    }

    #[test]
    fn an_arrow_goes_down_even_if_it_takes_no_time() {
        let anchors = [
            anchor(5, Column::Ours, None),
            anchor(5, Column::Peers, Some(0)),
        ];
        let y = layout(&anchors).y;
        assert!(y[1] >= y[0] + SLANT);
    }

    #[test]
    fn hours_of_silence_take_little_room_and_are_marked() {
        let hours = Duration::from_secs(7_200);
        let anchors = [
            anchor(0, Column::Ours, None),
            anchor(100, Column::Peers, Some(0)),
            anchor(100 + hours.as_micros() as u64, Column::Ours, None),
        ];
        let layout = layout(&anchors);
        assert_eq!(layout.breaks.len(), 1);
        assert_eq!(layout.breaks[0].lasts, hours);
        assert!(layout.breaks[0].y > layout.y[1] && layout.breaks[0].y < layout.y[2]);
        assert!(layout.bottom < 200, "{layout:?}");
        assert_eq!(layout.times.len(), 3);
    }
}
