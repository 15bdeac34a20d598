//! Faults, in particular a stack overflow.
//!
//! The stack is directly above the flash (`memory.x`) and grows down towards it. The hart's
//! physical memory protection forbids writes to the flash: so the first write below the
//! stack is a fault, and no stack frame can skip 256 KiB of flash. On a chip without memory
//! below the RAM, the bus reports such a write as a fault.
//!
//! Its limits: it does not stop the network card, which writes to memory by itself, and it
//! protects one stack, not those of the tasks of an RTOS.

use core::arch::global_asm;
use riscv::ExceptionNumber;
use riscv::interrupt::Exception;
use riscv::register::mcause::{self, Trap};
use riscv::register::{mepc, mtval};
use riscv_rt::TrapFrame;

/// The stack that a fault handler needs, including its log line.
const HANDLER_ROOM: usize = 2032;

// Every trap begins here. riscv-rt's own entry code pushes the registers onto the stack,
// which is a fault again if the stack is full. So the stack pointer is checked first, and
// if there is not enough room, the contents of the stack are discarded: nothing returns to
// them.
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

// Without these two, a fault or a stray interrupt causes a silent endless loop.

// SAFETY: the name is the one that riscv-rt calls, and no other function has it.
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
    panic!("no handler for {:?}", mcause::read().cause());
}
