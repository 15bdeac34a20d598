//! Faults, in particular a stack overflow.
//!
//! The stack is at the beginning of RAM (`memory.x`). Below it there is no memory. The
//! memory protection unit forbids the 256 MiB below, so that no stack frame is large
//! enough to skip them: the first write below the stack is a fault. Without such a unit
//! the bus of the chip reports an access outside of memory as a fault; QEMU's does not.
//!
//! Its limit: it protects one stack. If each task has a stack, as with an RTOS, each needs
//! a region of its own, set at every task switch.

use crate::registers::{Register, read, write};
use core::arch::naked_asm;
use cortex_m_rt::ExceptionFrame;

/// The start of the forbidden addresses; the RAM, with the stack first, follows them.
const FORBIDDEN: u32 = 0x1000_0000;

/// Bits of `ProtectionAttributes`: no access at all, 2^(27 + 1) octets.
const NO_EXECUTION: u32 = 1 << 28;
const SIZE_256_MIB: u32 = 27 << 1;
const REGION_ON: u32 = 1 << 0;

/// Bits of `ProtectionControl`.
const UNIT_ON: u32 = 1 << 0;
const ALL_ELSE_AS_WITHOUT: u32 = 1 << 2;

/// Bits of `FaultStatus`: a forbidden access, and an exception frame that could not be
/// pushed onto the stack.
const FORBIDDEN_ACCESS: u32 = 1 << 1;
const FORBIDDEN_FRAME: u32 = 1 << 4;

/// The stack that a fault handler needs, including its log line.
const HANDLER_ROOM: usize = 2048;

/// Makes the processor report a stack overflow.
pub fn guard_stack() {
    write(Register::ProtectionNumber, 0);
    write(Register::ProtectionBase, FORBIDDEN);
    write(
        Register::ProtectionAttributes,
        NO_EXECUTION | SIZE_256_MIB | REGION_ON,
    );
    write(Register::ProtectionControl, ALL_ELSE_AS_WITHOUT | UNIT_ON);
    cortex_m::asm::dsb();
    cortex_m::asm::isb();
}

/// The handler of every fault. If there is not enough stack left for the log line, the
/// contents of the stack are discarded: nothing returns to them.
///
/// # Safety
///
/// Called only by the processor.
// SAFETY: the name is the one that cortex-m-rt puts into the vector table, and no other
// function has it.
#[unsafe(naked)]
#[unsafe(export_name = "HardFault")]
unsafe extern "C" fn hard_fault() -> ! {
    naked_asm!(
        "mov r0, sp",
        "movw r1, #:lower16:_stack_end",
        "movt r1, #:upper16:_stack_end",
        "add.w r1, r1, #{room}",
        "cmp r0, r1",
        "bhs 1f",
        "movw r1, #:lower16:_stack_start",
        "movt r1, #:upper16:_stack_start",
        "mov sp, r1",
        "1:",
        "b {fault}",
        room = const HANDLER_ROOM,
        fault = sym fault,
    )
}

/// Logs what happened and stops. `frame` is the address of the exception frame.
extern "C" fn fault(frame: *const ExceptionFrame) -> ! {
    let status = read(Register::FaultStatus);
    let has_frame = status & FORBIDDEN_FRAME == 0;
    let is_near_the_end = frame.addr() < stack_end() + HANDLER_ROOM;
    if !has_frame || status & FORBIDDEN_ACCESS != 0 && is_near_the_end {
        panic!("stack overflow: all {} octets are in use", stack_len());
    }
    // SAFETY: the processor has put the frame there, and it was not overwritten: there
    // was room for this handler.
    let frame = unsafe { &*frame };
    panic!("hard fault, status {status:#x}: {frame:?}");
}

unsafe extern "C" {
    static _stack_end: u8;
    static _stack_start: u8;
}

fn stack_end() -> usize {
    (&raw const _stack_end).addr()
}

fn stack_len() -> usize {
    (&raw const _stack_start).addr() - stack_end()
}
