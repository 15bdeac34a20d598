//! Faults, the overflow of the stack first of all.
//!
//! The stack is at the beginning of RAM (`memory.x`). Below it there is no memory. The
//! memory protection unit forbids the 256 MiB below, so that no frame is large enough to
//! leap over them: the first write below the stack is a fault. Without such a unit the bus
//! of the chip reports an access to no memory as a fault; QEMU's does not.
//!
//! What it cannot do: it protects one stack. Where each task has a stack, as with an RTOS,
//! each needs a region of its own, set when tasks are switched.

use crate::registers::{Register, read, write};
use core::arch::naked_asm;
use cortex_m_rt::ExceptionFrame;

/// Where the forbidden addresses begin; the RAM, and the stack first in it, follow them.
const FORBIDDEN: u32 = 0x1000_0000;

/// Bits of `ProtectionAttributes`: no access for anybody, 2^(27 + 1) octets.
const NO_EXECUTION: u32 = 1 << 28;
const SIZE_256_MIB: u32 = 27 << 1;
const REGION_ON: u32 = 1 << 0;

/// Bits of `ProtectionControl`.
const UNIT_ON: u32 = 1 << 0;
const ALL_ELSE_AS_WITHOUT: u32 = 1 << 2;

/// Bits of `FaultStatus`: an access that is forbidden, and a frame of an exception that
/// could not be put onto the stack.
const FORBIDDEN_ACCESS: u32 = 1 << 1;
const FORBIDDEN_FRAME: u32 = 1 << 4;

/// What the handler of a fault needs of the stack, with the line of the log.
const HANDLER_ROOM: usize = 2048;

/// Lets the processor report when the stack overflows.
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

/// Every fault comes here. If there is not enough stack left to say so, its contents are
/// given up: nothing returns to them.
///
/// # Safety
///
/// Called by the processor alone.
// SAFETY: the name is the one cortex-m-rt puts into the table of vectors, and nobody else
// has it.
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

/// Says what happened and stops. `frame` is where the stack was.
extern "C" fn fault(frame: *const ExceptionFrame) -> ! {
    let status = read(Register::FaultStatus);
    let has_frame = status & FORBIDDEN_FRAME == 0;
    let is_near_the_end = frame.addr() < stack_end() + HANDLER_ROOM;
    if !has_frame || status & FORBIDDEN_ACCESS != 0 && is_near_the_end {
        panic!("stack overflow: all {} octets are in use", stack_len());
    }
    // SAFETY: the processor has put the frame there, and nothing has been written to the
    // stack in its place: there was room for this handler.
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
