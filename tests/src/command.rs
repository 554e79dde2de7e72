//! QEMU's command line. Every QEMU that this project starts is described by a [`Vm`].

use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::machine::{Board, Machine, Mebibytes};

/// The program.
pub const QEMU: &str = "qemu-system-x86_64";

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// QEMU's translator: works everywhere and is the reference.
    Tcg,
    /// The same with one thread for all CPUs, which take turns: other interleavings.
    SingleTcg,
    /// The host's CPU.
    Kvm,
}

impl Accelerator {
    /// KVM only where the CPU says that it can virtualise *and* the device opens: there are virtual machines with a
    /// `/dev/kvm` on which an ordinary guest hangs.
    #[must_use]
    pub fn choose() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let opens = || {
            File::options()
                .read(true)
                .write(true)
                .open("/dev/kvm")
                .is_ok()
        };
        if can_virtualise(&cpuinfo) && opens() {
            Self::Kvm
        } else {
            Self::Tcg
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::SingleTcg => "tcg,thread=single",
            Self::Kvm => "kvm",
        }
    }
}

fn can_virtualise(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .flat_map(str::split_whitespace)
        .any(|flag| flag == "vmx" || flag == "svm")
}

/// How the kernel's command line reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// The boot protocol's own way.
    Append(String),
    /// As the `fw_cfg` file that the kernel looks for when the boot protocol gave it nothing.
    FwCfg(String),
}

/// A virtual machine with a kernel to boot.
#[derive(Debug, Clone)]
pub struct Vm {
    /// The machine, which fixes everything that the fields below do not.
    pub machine: &'static Machine,
    /// `-m`.
    pub memory: Mebibytes,
    /// `-smp`.
    pub cpus: u32,
    /// `-accel`.
    pub accelerator: Accelerator,
    /// `-icount`: how many nanoseconds an instruction takes, as a power of two. All CPUs take turns, time passes
    /// with instructions, and the same run can be had again; another power is another order of events.
    pub icount: Option<u8>,
    /// The ELF.
    pub kernel: PathBuf,
    /// What the kernel is told.
    pub words: Words,
    /// Whether it has the device by which a kernel ends QEMU with a status.
    pub has_debug_exit: bool,
    /// Where COM2 goes. COM1 is QEMU's standard output.
    pub events: PathBuf,
}

impl Vm {
    /// `kernel` on `machine`, its files in `folder`.
    #[must_use]
    pub fn new(machine: &'static Machine, kernel: &Path, words: Words, folder: &Path) -> Self {
        Self {
            machine,
            memory: machine.memory,
            cpus: machine.cpus,
            accelerator: machine.accelerator,
            icount: machine.icount,
            kernel: kernel.into(),
            words,
            has_debug_exit: true,
            events: folder.join("events.jsonl"),
        }
    }

    /// The memory and the CPUs of every node, as QEMU reads them. Whole shares, and the last node
    /// has what is left of the memory; with fewer CPUs than nodes, some nodes have none.
    fn nodes(&self) -> Vec<(String, String)> {
        let nodes = u64::from(self.machine.nodes).min(self.memory.0);
        let cpus = u64::from(self.cpus);
        let part = |node: u64| {
            let share = self.memory.0 / nodes;
            let is_last = node + 1 == nodes;
            let size = Mebibytes(if is_last {
                self.memory.0 - share * node
            } else {
                share
            });
            let object = format!("memory-backend-ram,id=ram{node},size={size}");
            let mut line = format!("node,nodeid={node},memdev=ram{node}");
            let (first, end) = (cpus * node / nodes, cpus * (node + 1) / nodes);
            if first < end {
                let _ = write!(line, ",cpus={first}-{}", end - 1);
            }
            (object, line)
        };
        (0..nodes).map(part).collect()
    }

    /// The arguments after the program's name.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let board = match self.machine.board {
            Board::Q35 => "q35",
            Board::Pc => "pc",
            // Else QEMU adds words of its own to the kernel's command line.
            Board::Microvm => "microvm,acpi=off,auto-kernel-cmdline=off",
        };
        let board = if self.machine.is_sparse {
            format!("{board},memory-backend=ram")
        } else {
            board.into()
        };
        let events = self.events.display().to_string();
        let mut arguments = Vec::new();
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(ToString::to_string));
        add(&[
            "-M",
            &board,
            "-m",
            &self.memory.to_string(),
            "-smp",
            &self.cpus.to_string(),
        ]);
        if self.machine.is_sparse {
            // The host is not asked whether it has so much.
            let size = self.memory;
            let object = format!("memory-backend-ram,id=ram,size={size},reserve=off");
            add(&["-object", &object]);
        }
        for (object, node) in self.nodes() {
            add(&["-object", &object, "-numa", &node]);
        }
        add(&["-accel", self.accelerator.name()]);
        if let Some(shift) = self.icount {
            add(&["-icount", &format!("shift={shift},sleep=off")]);
            add(&["-rtc", "base=2020-01-01,clock=vm"]);
        }
        if let Some(model) = self.machine.cpu_model {
            add(&["-cpu", model]);
        }
        add(&[
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ]);
        add(&["-kernel", &self.kernel.display().to_string()]);
        match &self.words {
            Words::Append(words) => add(&["-append", words]),
            Words::FwCfg(words) => {
                add(&[
                    "-fw_cfg",
                    &format!("name=opt/twinframe/cmdline,string={}", option_value(words)),
                ]);
            }
        }
        add(&["-serial", "stdio"]);
        if self.machine.board == Board::Microvm {
            // This board makes one port only.
            add(&[
                "-chardev",
                &format!("file,id=events,path={}", option_value(&events)),
            ]);
            add(&["-device", "isa-serial,chardev=events,index=1"]);
        } else {
            add(&["-serial", &format!("file:{events}")]);
        }
        if self.has_debug_exit {
            add(&["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
        }
        for device in self.machine.devices {
            add(&["-device", device]);
        }
        arguments
    }
}

/// In a list of options a comma separates, and two commas are one.
fn option_value(text: &str) -> String {
    text.replace(',', ",,")
}

/// The whole command line, quoted for a shell: it repeats the run by hand.
impl fmt::Display for Vm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(QEMU)?;
        for argument in self.arguments() {
            write!(f, " {}", quote(&argument))?;
        }
        Ok(())
    }
}

/// `word` as one word of a POSIX shell.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(machine: &str, words: Words) -> Vm {
        Vm::new(
            Machine::named(machine).unwrap(),
            Path::new("/k.elf"),
            words,
            Path::new("/out"),
        )
    }

    #[test]
    fn the_default_machine() {
        let vm = vm("smp1", Words::Append("test=pages::order_zero".into()));
        assert_eq!(
            vm.to_string(),
            "qemu-system-x86_64 -M q35 -m 256M -smp 1 -accel tcg -nodefaults -no-user-config -display none -no-reboot \
             -kernel /k.elf -append test=pages::order_zero -serial stdio -serial file:/out/events.jsonl \
             -device isa-debug-exit,iobase=0xf4,iosize=4 -device edu"
        );
    }

    #[test]
    fn nodes_share_memory_and_cpus() {
        let mut vm = vm("numa4", Words::Append(String::new()));
        vm.memory = Mebibytes(1025);
        let parts = vm.nodes();
        assert_eq!(parts[0].0, "memory-backend-ram,id=ram0,size=256M");
        assert_eq!(parts[3].0, "memory-backend-ram,id=ram3,size=257M");
        let cpus: Vec<&str> = parts
            .iter()
            .map(|(_, node)| &node[node.len() - 8..])
            .collect();
        assert_eq!(cpus, ["cpus=0-0", "cpus=1-2", "cpus=3-3", "cpus=4-5"]);
        vm.cpus = 1;
        let with_cpus = vm
            .nodes()
            .iter()
            .filter(|(_, node)| node.contains("cpus"))
            .count();
        assert_eq!(with_cpus, 1);
        vm.machine = Machine::default_machine();
        assert_eq!(vm.nodes(), []);
    }

    #[test]
    fn sparse_memory_is_not_reserved() {
        let line = vm("mem4t", Words::Append(String::new())).to_string();
        let memory = "-M q35,memory-backend=ram -m 4096G -smp 1 \
                      -object memory-backend-ram,id=ram,size=4096G,reserve=off -accel";
        assert!(line.contains(memory), "{line}");
    }

    #[test]
    fn knobs_overrule_the_table() {
        let mut vm = vm("epyc", Words::Append(String::new()));
        vm.memory = Mebibytes(7 << 10);
        vm.cpus = 4;
        vm.accelerator = Accelerator::Kvm;
        let line = vm.to_string();
        assert!(
            line.contains("-M q35 -m 7G -smp 4 -accel kvm -cpu EPYC "),
            "{line}"
        );
        assert!(line.contains(" -append '' "), "{line}");
    }

    #[test]
    fn schedules_are_arguments() {
        let line = vm("smp4single", Words::Append(String::new())).to_string();
        assert!(line.contains(" -accel tcg,thread=single "), "{line}");
        let mut vm = vm("smp4icount", Words::Append(String::new()));
        let counts = " -accel tcg -icount shift=3,sleep=off -rtc base=2020-01-01,clock=vm ";
        assert!(vm.to_string().contains(counts), "{vm}");
        vm.icount = None;
        assert!(!vm.to_string().contains("icount"), "{vm}");
    }

    #[test]
    fn microvm_gets_its_second_port_as_a_device() {
        let mut vm = vm("microvm", Words::FwCfg("suite=a,b seed=1".into()));
        vm.events = "/a,b/events".into();
        let arguments = vm.arguments();
        assert!(arguments.contains(&"name=opt/twinframe/cmdline,string=suite=a,,b seed=1".into()));
        assert!(arguments.contains(&"file,id=events,path=/a,,b/events".into()));
        assert!(!arguments.contains(&"-append".into()));
        assert_eq!(
            arguments
                .iter()
                .filter(|argument| *argument == "-serial")
                .count(),
            1
        );
    }

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quote("a=b,c"), "a=b,c");
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote("$HOME"), "'$HOME'");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn only_a_cpu_that_says_so_can_virtualise() {
        assert!(can_virtualise("processor: 0\nflags\t\t: fpu vmx sse\n"));
        assert!(can_virtualise("flags : svm"));
        assert!(!can_virtualise("flags : fpu sse\nvmx flags : ept\n"));
        assert!(!can_virtualise("model name : svm\n"));
    }
}
