//! Memory that the network card reads and writes (DMA).
//!
//! There are two kinds: pages for the queues, which `virtio-drivers` requests, and
//! buffers for frames. Both sides use the same addresses, and this machine has no cache
//! to maintain. On a chip with a cache, `share` and `unshare` clean and invalidate a
//! buffer.

use core::cell::Cell;
use core::ptr::NonNull;
use critical_section::Mutex;
use static_cell::ConstStaticCell;
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// Two queues, each with a page that the card reads and one that it writes.
const PAGES: usize = 4;

#[repr(align(4096))]
struct Page(
    #[expect(dead_code, reason = "the driver and the card know it by its address")] [u8; PAGE_SIZE],
);

const _: () = assert!(align_of::<Page>() == PAGE_SIZE && size_of::<Page>() == PAGE_SIZE);

static POOL: ConstStaticCell<[Page; PAGES]> =
    ConstStaticCell::new([const { Page([0; PAGE_SIZE]) }; PAGES]);

/// The part of the pool that is not yet allocated.
static LEFT: Mutex<Cell<&'static mut [Page]>> = Mutex::new(Cell::new(&mut []));

/// `virtio-drivers` gets memory from the pool, once. The card is never released, so no
/// memory is ever returned.
pub struct Pool;

// SAFETY: a page is allocated once, zeroed, and has no other owner; addresses are the
// same for the card and for the hart.
unsafe impl Hal for Pool {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let given = critical_section::with(|cs| {
            let left = LEFT.borrow(cs);
            let all = match POOL.try_take() {
                Some(whole) => whole,
                None => left.take(),
            };
            match all.split_at_mut_checked(pages) {
                Some((given, rest)) => {
                    left.set(rest);
                    given
                }
                None => &mut [],
            }
        });
        match given {
            // With this address the driver detects that there is no memory left.
            [] => (0, NonNull::dangling()),
            [..] => {
                let start = NonNull::from(given).cast();
                (address(start), start)
            }
        }
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        // Zero is success.
        0
    }

    unsafe fn mmio_phys_to_virt(addr: PhysAddr, _: usize) -> NonNull<u8> {
        // Only cards on a PCI bus need this.
        let addr = usize::try_from(addr).unwrap_or_default();
        NonNull::new(core::ptr::with_exposed_provenance_mut(addr)).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        address(buffer.cast())
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// The address of memory, for the card.
fn address(memory: NonNull<u8>) -> PhysAddr {
    // Exposed, because the card, not the hart, accesses it.
    memory.as_ptr().expose_provenance() as PhysAddr
}

/// The header of virtio and the largest frame.
pub const BUFFER_LEN: usize = 12 + 1514;

/// The buffer of a frame.
///
/// A pointer, not a reference: while the card has the buffer, no reference to it may
/// exist.
pub struct Buffer(NonNull<[u8; BUFFER_LEN]>);

impl Buffer {
    pub fn new(memory: &'static mut [u8; BUFFER_LEN]) -> Self {
        Self(NonNull::from(memory))
    }

    pub fn octets(&self) -> &[u8; BUFFER_LEN] {
        // SAFETY: the memory lives forever and only this value owns it. While the card
        // has the buffer, it is in a `Lent` and cannot be accessed.
        unsafe { self.0.as_ref() }
    }

    pub fn octets_mut(&mut self) -> &mut [u8; BUFFER_LEN] {
        // SAFETY: as above.
        unsafe { self.0.as_mut() }
    }
}
