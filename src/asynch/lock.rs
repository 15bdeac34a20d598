//! Locks: only one user of a network at a time.
//!
//! A [`Shared`](super::Shared) is in one cell, and each call borrows it for one poll. The
//! kind of cell depends on the callers:
//!
//! - [`Local`]: all tasks run in executors of one thread, or of one interrupt priority. The
//!   compiler keeps such a network there: it is not `Sync`.
//! - [`CriticalSection`]: tasks of several priorities, as in RTIC, or of several cores.
//!   Interrupts are off during one poll, which takes some 100 us with a full frame on a
//!   Cortex-M3 at 50 MHz; if that is too long, run all network tasks at one priority.
//! - [`Threads`] (feature `std`): threads of an operating system, such as those of tokio.

#[cfg(feature = "std")]
use core::cell::Cell;
use core::cell::RefCell;

/// A kind of cell that lends its content to one user at a time.
///
/// A type of this kind has no data: it only names the cell.
pub trait Lock {
    /// The cell.
    type Cell<T>;

    /// A cell with `content`.
    fn new<T>(content: T) -> Self::Cell<T>;

    /// Lends the content for one call of `use_it`. `None`, without a call, if the content is
    /// already lent in the same call stack; never because another thread or interrupt has
    /// it.
    fn with<T, R>(cell: &Self::Cell<T>, use_it: impl FnOnce(&mut T) -> R) -> Option<R>;
}

/// For tasks of one thread or one interrupt priority: a [`RefCell`].
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Local;

impl Lock for Local {
    type Cell<T> = RefCell<T>;

    fn new<T>(content: T) -> RefCell<T> {
        RefCell::new(content)
    }

    fn with<T, R>(cell: &RefCell<T>, use_it: impl FnOnce(&mut T) -> R) -> Option<R> {
        match cell.try_borrow_mut() {
            Ok(mut content) => Some(use_it(&mut content)),
            Err(_) => None,
        }
    }
}

/// For tasks of several interrupt priorities or cores: a
/// [`critical_section::Mutex`](https://docs.rs/critical-section/1/critical_section/struct.Mutex.html).
#[cfg(feature = "critical-section")]
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CriticalSection;

#[cfg(feature = "critical-section")]
impl Lock for CriticalSection {
    type Cell<T> = critical_section::Mutex<RefCell<T>>;

    fn new<T>(content: T) -> Self::Cell<T> {
        critical_section::Mutex::new(RefCell::new(content))
    }

    fn with<T, R>(cell: &Self::Cell<T>, use_it: impl FnOnce(&mut T) -> R) -> Option<R> {
        critical_section::with(|token| Local::with(cell.borrow(token), use_it))
    }
}

/// For threads of an operating system: a [`Mutex`](std::sync::Mutex).
///
/// A thread that has borrowed the content of one network can use another while no other thread does.
#[cfg(feature = "std")]
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Threads;

#[cfg(feature = "std")]
std::thread_local! {
    /// Whether this thread has borrowed the content of a cell: to wait for a mutex that it
    /// holds would block it without end.
    static IS_LENT: Cell<bool> = const { Cell::new(false) };
}

/// The content of a cell is lent to this thread until this is dropped.
#[cfg(feature = "std")]
struct Lent {
    /// Whether another was lent to it before.
    was_lent: bool,
}

#[cfg(feature = "std")]
impl Drop for Lent {
    fn drop(&mut self) {
        IS_LENT.set(self.was_lent);
    }
}

#[cfg(feature = "std")]
impl Lock for Threads {
    type Cell<T> = std::sync::Mutex<T>;

    fn new<T>(content: T) -> Self::Cell<T> {
        std::sync::Mutex::new(content)
    }

    fn with<T, R>(cell: &Self::Cell<T>, use_it: impl FnOnce(&mut T) -> R) -> Option<R> {
        use std::sync::{PoisonError, TryLockError};

        let lent = Lent {
            was_lent: IS_LENT.replace(true),
        };
        // A thread that panicked in a closure of the application has left the content in
        // a consistent state.
        let mut content = match lent.was_lent {
            false => cell.lock().unwrap_or_else(PoisonError::into_inner),
            // This network, or another, which a thread may use that waits for ours.
            true => match cell.try_lock() {
                Ok(content) => content,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return None,
            },
        };
        Some(use_it(&mut content))
    }
}
