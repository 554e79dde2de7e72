//! Kernels of a few bytes, for what the real one cannot do: fail before it can say a word.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use twinframe_tests::command::Words;
use twinframe_tests::machine::Machine;
use twinframe_tests::qemu::{self, Watch};
use twinframe_tests::verdict::Outcome;

use crate::stage::{Boot, Stage, expect, table};

/// The I/O port of COM1's transmitter.
const COM1: u16 = 0x3f8;

/// The I/O port of COM2's transmitter.
const COM2: u16 = 0x2f8;

/// Far more than a kernel of a few instructions needs.
const DEADLINE: Duration = Duration::from_secs(30);

/// For a kernel that never ends: it has to get there first, on a machine under load.
const HANG_TIME: Duration = Duration::from_secs(5);

/// All of them.
pub(crate) fn trials(stage: &Arc<Stage>) -> Vec<Trial> {
    table(
        stage,
        &[
            ("runner::reports_silent_success", silent_success),
            ("runner::reports_silent_hang", silent_hang),
            ("runner::reports_endless_talker", endless_talker),
            ("runner::reports_early_triple_fault", early_triple_fault),
            (
                "runner::reports_talker_without_result",
                talker_without_result,
            ),
            ("runner::reports_garbage_among_events", garbage_among_events),
            ("runner::reports_power_off", power_off),
            ("runner::reports_failure_of_qemu", failure_of_qemu),
            ("runner::reports_full_disk", full_disk),
        ],
    )
}

fn silent_success(stage: &Stage, name: &str) -> Result<(), Failed> {
    let boot = boot(stage, name, &Code::default().exit(0x10), DEADLINE)?;
    boot.is(|outcome| matches!(outcome, Outcome::Silent(_)))?;
    boot.says(&[
        "silence: the kernel printed nothing at all; QEMU exited with status 33\n",
        "the serial log is empty",
    ])
}

fn silent_hang(stage: &Stage, name: &str) -> Result<(), Failed> {
    let boot = boot(stage, name, &Code::default().spin(), HANG_TIME)?;
    boot.is(|outcome| matches!(outcome, Outcome::Silent(_)))?;
    boot.says(&[
        "silence: the kernel printed nothing at all; no end after 5 s\n",
        &format!("CPU 0: {:#018x} (interrupts off)\n", ENTRY + 1),
    ])
}

/// There is always something to read from it: that must not keep the deadline from passing.
fn endless_talker(stage: &Stage, name: &str) -> Result<(), Failed> {
    let boot = boot(
        stage,
        name,
        &Code::default().print_for_ever(COM1, b'x'),
        HANG_TIME,
    )?;
    boot.is(|outcome| matches!(outcome, Outcome::Hang(_)))?;
    boot.says(&[
        "hang before the first test: no end after 5 s\n",
        "CPU 0: ",
        "xxxxxxxx",
    ])
}

fn early_triple_fault(stage: &Stage, name: &str) -> Result<(), Failed> {
    let boot = boot(stage, name, &Code::default().triple_fault(), DEADLINE)?;
    boot.is(|outcome| matches!(outcome, Outcome::TripleFault(_)))?;
    boot.says(&[
        "triple fault before the first test: the machine reset itself\n",
        &format!("CPU 0: {:#018x}", ENTRY + 7),
    ])
}

fn talker_without_result(stage: &Stage, name: &str) -> Result<(), Failed> {
    let code = Code::default().print(COM1, "hello\n").exit(0x10);
    let boot = boot(stage, name, &code, DEADLINE)?;
    boot.is(|outcome| matches!(outcome, Outcome::NoResult(_)))?;
    boot.says(&[
        "no result: ",
        "status 33\n",
        "the last lines of the serial log",
        "  hello\n",
    ])
}

fn garbage_among_events(stage: &Stage, name: &str) -> Result<(), Failed> {
    let events = "{\"v\":1,\"ev\n{\"v\":1,\"ev\":\"result\",\"verdict\":\"pass\",\"passed\":1}\n";
    let code = Code::default()
        .print(COM1, "hello\n")
        .print(COM2, events)
        .exit(0x10);
    let boot = boot(stage, name, &code, DEADLINE)?;
    boot.is(|outcome| *outcome == Outcome::BrokenEvents)?;
    boot.says(&[
        "broken events: ",
        "lines on COM2 that are no events",
        "  line 1: ",
    ])
}

/// The status is the same as after a triple fault, but this is none.
fn power_off(stage: &Stage, name: &str) -> Result<(), Failed> {
    let code = Code::default().print(COM1, "bye\n").power_off();
    let boot = boot(stage, name, &code, DEADLINE)?;
    boot.is(|outcome| matches!(outcome, Outcome::NoResult(_)))?;
    boot.says(&[
        "no result: ",
        "QEMU exited with status 0 (guest-shutdown)\n",
    ])
}

fn failure_of_qemu(stage: &Stage, name: &str) -> Result<(), Failed> {
    let folder = stage.folder(name);
    let kernel = folder.join("kernel.elf");
    fs::create_dir_all(folder)?;
    fs::write(&kernel, "this is no kernel")?;
    let boot = boot_file(stage, name, &kernel, DEADLINE)?;
    boot.is(|outcome| matches!(outcome, Outcome::QemuError(_)))?;
    boot.says(&[
        "QEMU failed: QEMU exited with status 1\n",
        "QEMU says:\n",
        "kernel",
    ])
}

fn full_disk(stage: &Stage, name: &str) -> Result<(), Failed> {
    let code = Code::default().print(COM1, "hello\n").exit(0x10);
    let kernel = code.write(&stage.folder(name))?;
    let words = Words::Append(String::new());
    let vm = stage.vm(name, Machine::default_machine(), &kernel, words);
    // Every write to this device finds no room.
    let watch = Watch {
        serial_log: "/dev/full".into(),
        is_shown: false,
        deadline: DEADLINE,
    };
    match qemu::run(&vm, &watch) {
        Ok(run) => Err(format!("nobody noticed: {:?}", run.ending).into()),
        Err(problem) => {
            let needle =
                "cannot write /dev/full: No space left on device (os error 28); make room there";
            expect(&problem.to_string(), &[needle])
        }
    }
}

fn boot(stage: &Stage, name: &str, code: &Code, deadline: Duration) -> Result<Boot, Failed> {
    let kernel = code.write(&stage.folder(name))?;
    boot_file(stage, name, &kernel, deadline)
}

fn boot_file(stage: &Stage, name: &str, kernel: &Path, deadline: Duration) -> Result<Boot, Failed> {
    let words = Words::Append(String::new());
    let vm = stage.vm(name, Machine::default_machine(), kernel, words);
    Ok(stage.boot(vm, None, deadline)?)
}

/// Where the code is loaded and entered, in 32-bit protected mode without paging: so PVH has it.
const ENTRY: u32 = 0x10_0000;

/// 32-bit machine code.
#[derive(Default)]
pub(crate) struct Code(Vec<u8>);

impl Code {
    /// Sends `text` to a serial port.
    fn print(mut self, port: u16, text: &str) -> Self {
        let [low, high] = port.to_le_bytes();
        self.0.extend([0x66, 0xba, low, high]); // mov dx, port
        for byte in text.bytes() {
            self.0.extend([0xb0, byte, 0xee]); // mov al, byte; out dx, al
        }
        self
    }

    /// Sends `byte` to a serial port, again and again.
    fn print_for_ever(self, port: u16, byte: u8) -> Self {
        let mut code = self.print(port, "");
        code.0.extend([0xb0, byte, 0xee, 0xeb, 0xfd]); // mov al, byte; out dx, al; jmp back to out
        code
    }

    /// Ends QEMU with status `2 * value + 1`.
    fn exit(mut self, value: u8) -> Self {
        self.0.extend([0xb0, value, 0xe6, 0xf4]); // mov al, value; out 0xf4, al
        self
    }

    /// Never ends.
    pub(crate) fn spin(mut self) -> Self {
        self.0.extend([0xfa, 0xeb, 0xfe]); // cli; jmp to itself
        self
    }

    /// Loads an empty interrupt table, and interrupts. Only as the first thing.
    fn triple_fault(mut self) -> Self {
        self.0.extend([0x0f, 0x01, 0x1d, 8, 0, 0x10, 0]); // lidt [ENTRY + 8]
        self.0.extend([0xcc, 0, 0, 0, 0, 0, 0]); // int3; a limit and a base of zero
        self
    }

    /// Turns the machine off through the ICH9's power management, at the ports where SeaBIOS puts it.
    fn power_off(mut self) -> Self {
        self.0.extend([0x66, 0xba, 0x04, 0x06]); // mov dx, 0x604
        self.0.extend([0x66, 0xb8, 0x00, 0x20, 0x66, 0xef]); // mov ax, SLP_EN; out dx, ax
        self.spin()
    }

    /// Writes a kernel with this code into `folder`.
    pub(crate) fn write(&self, folder: &Path) -> Result<PathBuf, Failed> {
        let file = folder.join("kernel.elf");
        fs::create_dir_all(folder)?;
        fs::write(&file, self.elf())?;
        Ok(file)
    }

    /// An ELF with one segment, and with the note that makes it a PVH kernel.
    fn elf(&self) -> Vec<u8> {
        const HEADERS: u32 = 0x40;
        const NOTE: u32 = HEADERS + 2 * 0x38;
        const CODE: u32 = 0x1000;
        let size = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let mut file = Vec::new();
        file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        file.extend([2, 0, 62, 0, 1, 0, 0, 0]); // an executable for x86-64
        append(&mut file, &[ENTRY, 0, HEADERS, 0, 0, 0, 0]);
        file.extend([0x40, 0, 0x38, 0, 2, 0, 0x40, 0, 0, 0, 0, 0]); // two program headers, no sections
        append(
            &mut file,
            &[
                1, 5, CODE, 0, ENTRY, 0, ENTRY, 0, size, 0, size, 0, 0x1000, 0,
            ],
        );
        append(&mut file, &[4, 4, NOTE, 0, 0, 0, 0, 0, 20, 0, 20, 0, 4, 0]);
        append(&mut file, &[4, 4, 18]); // the sizes of name and address; XEN_ELFNOTE_PHYS32_ENTRY
        file.extend(b"Xen\0");
        append(&mut file, &[ENTRY]);
        file.resize(CODE as usize, 0);
        file.extend(&self.0);
        file
    }
}

/// Words of 32 bits; one of 64 is its low half and its high half.
fn append(file: &mut Vec<u8>, words: &[u32]) {
    file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}
