//! Faults, the overflow of the stack first of all.
//!
//! The stack lies directly above the flash (`memory.x`) and grows down towards it. The
//! hart's physical memory protection forbids writes to the flash: so the first write below
//! the stack is a fault, and no frame leaps over 256 KiB of flash. Where there is no memory
//! below the RAM, the bus of a chip reports the same.
//!
//! What it cannot do: it does not stop the network card, which writes to memory by itself;
//! and it protects one stack, not those of the tasks of an RTOS.

use core::arch::global_asm;
use riscv::ExceptionNumber;
use riscv::interrupt::Exception;
use riscv::register::mcause::{self, Trap};
use riscv::register::{mepc, mtval};
use riscv_rt::TrapFrame;

/// What the handler of a fault needs of the stack, with the line of the log.
const HANDLER_ROOM: usize = 2032;

// Every trap begins here. riscv-rt's own beginning puts the registers onto the stack, which
// is a fault again if the stack is at its end. So that is looked at first, and if there is
// not enough left, its contents are given up: nothing returns to them.
global_asm!(
    ".section .trap.start, \"ax\"",
    ".global _start_trap",
    ".balign 4",
    "_start_trap:",
    "csrw mscratch, t0",
    "la t0, {end}",
    "addi t0, t0, {room}",
    "bltu sp, t0, 1f",
    "csrr t0, mscratch",
    "j _default_start_trap",
    "1:",
    "la sp, _stack_start",
    "j {fault}",
    end = sym __estack,
    room = const HANDLER_ROOM,
    fault = sym fault_at_the_end,
);

unsafe extern "C" {
    static __estack: u8;
    static _stack_start: u8;
}

/// There was no room for the registers.
extern "C" fn fault_at_the_end() -> ! {
    let (start, end) = (
        (&raw const _stack_start).addr(),
        (&raw const __estack).addr(),
    );
    let cause = mcause::read().cause();
    let store_fault = Trap::Exception(Exception::StoreFault.number());
    if cause == store_fault && mtval::read() < end {
        panic!("stack overflow: all {} octets are in use", start - end);
    }
    panic!(
        "{cause:?} at {:#x}, value {:#x}",
        mepc::read(),
        mtval::read()
    );
}

// Without these two, a fault or a stray interrupt is an endless loop that says
// nothing.

// SAFETY: the name is the one riscv-rt calls, and nobody else has it.
#[unsafe(export_name = "ExceptionHandler")]
fn exception(frame: &TrapFrame) -> ! {
    panic!(
        "{:?} at {:#x}, value {:#x}: {:x?}",
        mcause::read().cause(),
        mepc::read(),
        mtval::read(),
        frame
    );
}

// SAFETY: as above.
#[unsafe(export_name = "DefaultHandler")]
fn interrupt() -> ! {
    panic!("nothing handles {:?}", mcause::read().cause());
}
