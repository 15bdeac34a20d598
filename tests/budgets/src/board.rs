//! The emulated boards, each with a clock that advances by a nanosecond with every
//! instruction (`-icount shift=0`): a TI LM3S6965 with a Cortex-M3, and QEMU's riscv
//! `virt`.

use core::ptr;
use semihosting::process;
use semihosting::sys::arm_compat::sys_writec;

#[cfg(target_arch = "arm")]
pub use arm::Counter;
#[cfg(target_arch = "riscv32")]
pub use riscv32::Counter;

/// The entry of a program, and its panic handler.
#[macro_export]
macro_rules! program {
    ($run:path) => {
        #[cfg_attr(target_arch = "arm", cortex_m_rt::entry)]
        #[cfg_attr(target_arch = "riscv32", riscv_rt::entry)]
        fn main() -> ! {
            let stack = $crate::board::Stack::paint();
            $run(&stack)
        }

        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            $crate::board::fail()
        }
    };
}

/// Prints numbers in a separate line, without the formatting of `core`, which would hide
/// whether a client needs it.
pub fn print(numbers: &[u32]) {
    sys_writec(b'=');
    for &number in numbers {
        sys_writec(b' ');
        let mut divisor = 1_000_000_000;
        let mut rest = number;
        let mut has_begun = false;
        while divisor > 0 {
            let digit = rest / divisor;
            rest %= divisor;
            has_begun |= digit > 0 || divisor == 1;
            if has_begun {
                sys_writec(b'0' + digit as u8);
            }
            divisor /= 10;
        }
    }
    sys_writec(b'\n');
}

/// Ends the emulator.
pub fn exit() -> ! {
    process::exit(0)
}

/// Ends the emulator with a failure.
pub fn fail() -> ! {
    process::exit(1)
}

unsafe extern "C" {
    /// The first octet after static memory: the stack grows down to it.
    static __sheap: u32;
}

const PAINT: u32 = 0xa5a5_5a5a;

/// The number of words above the painted ones that the painting itself may use.
const OWN_WORDS: usize = 64;

/// The stack, painted from below.
#[derive(Debug)]
pub struct Stack {
    bottom: *const u32,
    top: *const u32,
}

impl Stack {
    /// Paints what is not in use.
    #[inline(never)]
    #[must_use]
    pub fn paint() -> Self {
        let bottom = (&raw const __sheap).cast_mut();
        let here = 0_u32;
        let top = (&raw const here).cast_mut();
        let mut at = bottom;
        // SAFETY: there is nothing between the static memory and the stack pointer, and
        // the words that this function uses are not touched.
        unsafe {
            while at < top.sub(OWN_WORDS) {
                at.write_volatile(PAINT);
                at = at.add(1);
            }
        }
        Self { bottom, top }
    }

    /// How many octets below the entry's were ever used.
    #[must_use]
    pub fn high_water(&self) -> u32 {
        let mut at = self.bottom;
        // SAFETY: as above; reading goes no further than the stack's own words.
        unsafe {
            while at < self.top && ptr::read_volatile(at) == PAINT {
                at = at.add(1);
            }
        }
        (self.top as usize - at as usize) as u32
    }
}

#[cfg(target_arch = "arm")]
mod arm {
    use cortex_m::peripheral::syst::SystClkSource;
    use cortex_m::peripheral::{Peripherals, SYST};

    /// The register for the LM3S6965's system clock. With 0 in the divider it ticks every
    /// 5 ns.
    const RCC: *mut u32 = 0x400f_e060 as *mut u32;
    const RCC_DIVIDER: u32 = 0xf << 23;
    const INSTRUCTIONS_PER_TICK: u32 = 5;

    /// Counts instructions in steps of five, fewer than 80 million at a time.
    #[derive(Debug)]
    pub struct Counter;

    impl Counter {
        /// A running counter.
        #[must_use]
        pub fn new() -> Self {
            let Some(peripherals) = Peripherals::take() else {
                super::fail();
            };
            let mut timer = peripherals.SYST;
            // SAFETY: the address is that of a register of this board.
            unsafe { RCC.write_volatile(RCC.read_volatile() & !RCC_DIVIDER) };
            timer.set_clock_source(SystClkSource::Core);
            timer.set_reload(0x00ff_ffff);
            timer.clear_current();
            timer.enable_counter();
            Self
        }

        /// How many instructions a function takes.
        pub fn count<R>(&mut self, what: impl FnOnce() -> R) -> (R, u32) {
            let before = SYST::get_current();
            let result = what();
            // It counts down, and has 24 bits.
            let ticks = before.wrapping_sub(SYST::get_current()) & 0x00ff_ffff;
            (result, ticks * INSTRUCTIONS_PER_TICK)
        }
    }

    impl Default for Counter {
        fn default() -> Self {
            Self::new()
        }
    }
}

#[cfg(target_arch = "riscv32")]
mod riscv32 {
    use riscv::register::minstret;

    /// Counts instructions, fewer than 2^32 at a time.
    #[derive(Debug, Default)]
    pub struct Counter;

    impl Counter {
        /// A running counter.
        #[must_use]
        pub const fn new() -> Self {
            Self
        }

        /// How many instructions a function takes.
        pub fn count<R>(&mut self, what: impl FnOnce() -> R) -> (R, u32) {
            let before = minstret::read() as u32;
            let result = what();
            (result, (minstret::read() as u32).wrapping_sub(before))
        }
    }
}
