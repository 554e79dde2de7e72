//! What the guest's CPUs were doing, from the monitor's text.

/// One CPU of a machine that has been stopped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cpu {
    /// QEMU's number for it.
    pub index: u64,
    /// The program counter.
    pub rip: u64,
    /// The frame pointer.
    pub rbp: u64,
    /// The stack pointer.
    pub rsp: u64,
    /// The address of the last page fault.
    pub cr2: u64,
    /// Whether it waits in `hlt`.
    pub is_halted: bool,
    /// Whether it takes interrupts.
    pub takes_interrupts: bool,
    /// Return addresses, innermost first, as far as the frame pointers lead.
    pub callers: Vec<u64>,
}

/// RFLAGS.IF.
const INTERRUPT_FLAG: u64 = 1 << 9;

/// Reads the answer to `info registers -a`.
#[must_use]
pub fn parse_registers(text: &str) -> Vec<Cpu> {
    let mut cpus: Vec<Cpu> = Vec::new();
    for line in text.lines() {
        if let Some(index) = line.trim().strip_prefix("CPU#") {
            cpus.push(Cpu {
                index: index.parse().unwrap_or(cpus.len() as u64),
                ..Cpu::default()
            });
            continue;
        }
        let Some(cpu) = cpus.last_mut() else { continue };
        for (name, value) in assignments(line) {
            match name {
                "RIP" | "EIP" => cpu.rip = value,
                "RBP" | "EBP" => cpu.rbp = value,
                "RSP" | "ESP" => cpu.rsp = value,
                "CR2" => cpu.cr2 = value,
                "HLT" => cpu.is_halted = value != 0,
                "RFL" | "EFL" => cpu.takes_interrupts = value & INTERRUPT_FLAG != 0,
                _ => {}
            }
        }
    }
    cpus
}

/// The `NAME=hexadecimal` words of a line.
fn assignments(line: &str) -> impl Iterator<Item = (&str, u64)> {
    line.split_whitespace()
        .filter_map(|word| word.split_once('='))
        .filter_map(|(name, value)| Some((name, u64::from_str_radix(value, 16).ok()?)))
}

/// Reads the answer to `x /2gx ADDRESS`: the two words of a frame, the caller's frame pointer and the return address.
/// `None` where the guest has no memory at that address.
#[must_use]
pub fn parse_frame(text: &str) -> Option<(u64, u64)> {
    let mut words = text
        .split_once(':')?
        .1
        .split_whitespace()
        .map_while(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    Some((words.next()?, words.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// QEMU 7.2's own words, shortened.
    const TWO_CPUS: &str = "\r
CPU#0\r
RAX=0000000000000000 RBX=0000000000000000 RCX=0000000000000000 RDX=0000000000000000\r
RSI=0000000000000000 RDI=0000000000000000 RBP=ffff800000010fe0 RSP=ffff800000010f80\r
RIP=ffffffff80001234 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0\r
CR0=80010033 CR2=00000000deadbeef CR3=0000000000101000 CR4=00000020\r
\r
CPU#1\r
EAX=00000000 EBX=00000000 ECX=00000000 EDX=00060fb1\r
EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=1\r
";

    #[test]
    fn registers_of_every_cpu() {
        let cpus = parse_registers(TWO_CPUS);
        assert_eq!(cpus.len(), 2);
        assert_eq!((cpus[0].index, cpus[0].rip), (0, 0xffff_ffff_8000_1234));
        assert_eq!(
            (cpus[0].rbp, cpus[0].cr2),
            (0xffff_8000_0001_0fe0, 0xdead_beef)
        );
        assert!(cpus[0].takes_interrupts && !cpus[0].is_halted);
        assert_eq!((cpus[1].index, cpus[1].rip), (1, 0xfff0));
        assert!(!cpus[1].takes_interrupts && cpus[1].is_halted);
        assert_eq!(parse_registers("unknown command"), []);
    }

    #[test]
    fn frames() {
        let text = "ffff800000010fe0: 0xffff800000011000 0xffffffff80001111\r\n";
        assert_eq!(
            parse_frame(text),
            Some((0xffff_8000_0001_1000, 0xffff_ffff_8000_1111))
        );
        assert_eq!(
            parse_frame("0000000000000000: Cannot access memory\r\n"),
            None
        );
        assert_eq!(parse_frame(""), None);
    }
}
