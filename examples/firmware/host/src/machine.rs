//! The emulated machine for a firmware.

use object::elf::{EM_ARM, EM_RISCV, FileHeader32};
use object::endian::Endianness;
use object::read::elf::FileHeader;
use std::ffi::OsStr;
use std::fmt;

/// A machine that QEMU emulates, for which there is a board in this directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// TI's LM3S6965 on its evaluation board.
    Lm3s6965,
    /// QEMU's own RISC-V machine, with 32 bits.
    RiscvVirt,
}

/// Why there is no machine for a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MachineError {
    /// It is not a 32-bit ELF file.
    #[error("this is not a 32-bit ELF file: give the firmware as cargo built it")]
    NotElf,
    /// It is for another architecture.
    #[error("no board here is of architecture {0} (ELF's e_machine); there are ARM and RISC-V")]
    Architecture(u16),
}

impl Machine {
    /// The machine for a firmware, by its architecture.
    ///
    /// # Errors
    ///
    /// [`MachineError`].
    pub fn of(elf: &[u8]) -> Result<Self, MachineError> {
        let header = FileHeader32::<Endianness>::parse(elf).map_err(|_| MachineError::NotElf)?;
        let endian = header.endian().map_err(|_| MachineError::NotElf)?;
        match header.e_machine(endian) {
            EM_ARM => Ok(Self::Lm3s6965),
            EM_RISCV => Ok(Self::RiscvVirt),
            other => Err(MachineError::Architecture(other)),
        }
    }

    /// QEMU's program for the machine.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Lm3s6965 => "qemu-system-arm",
            Self::RiscvVirt => "qemu-system-riscv32",
        }
    }

    /// The package of Debian and Ubuntu that has the program.
    #[must_use]
    pub const fn package(self) -> &'static str {
        match self {
            Self::Lm3s6965 => "qemu-system-arm",
            Self::RiscvVirt => "qemu-system-misc",
        }
    }

    /// Whether the firmware can detect that the cable is unplugged: the emulated LM3S6965
    /// has no PHY to query.
    #[must_use]
    pub const fn tells_link(self) -> bool {
        match self {
            Self::Lm3s6965 => false,
            Self::RiscvVirt => true,
        }
    }

    /// QEMU's arguments for the machine, with a network card on the other end
    /// of network `id`.
    pub(crate) fn arguments(self, id: &str, hardware_addr: &str) -> Vec<String> {
        let (machine, card): (&[&str], String) = match self {
            Self::Lm3s6965 => (
                &["-machine", "lm3s6965evb"],
                format!("nic,netdev={id},model=stellaris,macaddr={hardware_addr}"),
            ),
            Self::RiscvVirt => (
                &[
                    "-machine",
                    "virt",
                    "-bios",
                    "none",
                    // QEMU's default is the interface before virtio 1.0.
                    "-global",
                    "virtio-mmio.force-legacy=false",
                ],
                format!("virtio-net-device,netdev={id},mac={hardware_addr}"),
            ),
        };
        let option = match self {
            Self::Lm3s6965 => "-net",
            Self::RiscvVirt => "-device",
        };
        let mut arguments: Vec<String> = machine.iter().map(ToString::to_string).collect();
        arguments.extend([option.to_owned(), card]);
        arguments
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lm3s6965 => "lm3s6965",
            Self::RiscvVirt => "riscv-virt",
        })
    }
}

/// Whether this machine has a program, searched in the PATH like a shell does.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(OsStr::new(program)).is_file())
}
