//! Which cells of the transition table a process has reached.
//!
//! For tests: one that claims to exercise the whole table shows here what it
//! left out. Marking a cell that was reached before costs one load.

use core::sync::atomic::{AtomicU64, Ordering};

/// Words of the set of rows: enough for every `u8`.
const WORDS: usize = 4;

static REACHED: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

/// The word a row stands in, and its bit there.
fn place(row: u8) -> Option<(&'static AtomicU64, u64)> {
    let word = REACHED.get(usize::from(row >> 6))?;
    Some((word, 1 << (row & 63)))
}

/// Notes that an event was taken through this row.
pub(crate) fn mark(row: u8) {
    if let Some((word, bit)) = place(row)
        && word.load(Ordering::Relaxed) & bit == 0
    {
        word.fetch_or(bit, Ordering::Relaxed);
    }
}

/// Whether any connection of this process took an event through the row since
/// the last [`reset`].
///
/// ```
/// use lastbyte::{Connection, Instant, Options, coverage};
///
/// let mut connection = Connection::new(1);
/// connection.handle_connect(Options::default(), Instant::ZERO);
/// assert!(coverage::is_reached(1));
/// assert!(!coverage::is_reached(2));
/// ```
#[must_use]
pub fn is_reached(row: u8) -> bool {
    place(row).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
}

/// The rows that were reached since the last [`reset`], in order.
pub fn reached() -> impl Iterator<Item = u8> {
    (0..=u8::MAX).filter(|&row| is_reached(row))
}

/// Forgets what was reached.
pub fn reset() {
    for word in &REACHED {
        word.store(0, Ordering::Relaxed);
    }
}
