//! Is there a QEMU, and how does one get it on this system?

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::command::QEMU;
use crate::{Context, Problem, Result};

/// A family of systems that share a package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum System {
    Debian,
    Fedora,
    Arch,
    Suse,
    Alpine,
    Mac,
    Unknown,
}

impl System {
    fn detect() -> Self {
        if cfg!(target_os = "macos") {
            return Self::Mac;
        }
        let release = fs::read_to_string("/etc/os-release")
            .or_else(|_| fs::read_to_string("/usr/lib/os-release"));
        Self::from_os_release(&release.unwrap_or_default())
    }

    /// From the `ID` and `ID_LIKE` of os-release(5), the system itself before those it is like.
    fn from_os_release(text: &str) -> Self {
        let field = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default()
                .trim_matches(['"', '\''])
                .to_owned()
        };
        let (id, like) = (field("ID"), field("ID_LIKE"));
        id.split_whitespace()
            .chain(like.split_whitespace())
            .find_map(|id| match id {
                "debian" | "ubuntu" => Some(Self::Debian),
                "fedora" | "rhel" | "centos" => Some(Self::Fedora),
                "arch" => Some(Self::Arch),
                "suse" | "opensuse" => Some(Self::Suse),
                "alpine" => Some(Self::Alpine),
                _ => None,
            })
            .unwrap_or(Self::Unknown)
    }

    /// The command that installs QEMU, for a shell of root's.
    fn command(self) -> Option<&'static str> {
        match self {
            Self::Debian => {
                Some("apt-get update && apt-get install -y --no-install-recommends qemu-system-x86")
            }
            Self::Fedora => Some("dnf install -y qemu-system-x86-core"),
            Self::Arch => Some("pacman -S --needed qemu-system-x86"),
            Self::Suse => Some("zypper install -y qemu-x86"),
            Self::Alpine => Some("apk add qemu-system-x86_64"),
            Self::Mac => Some("brew install qemu"),
            Self::Unknown => None,
        }
    }

    /// The same for the user who reads it.
    fn advice(self, is_root: bool) -> String {
        match self.command() {
            None => format!("install the package that has {QEMU}"),
            Some(command) if is_root || self == Self::Mac => format!("run: {command}"),
            Some(command) => format!(
                "run: {}",
                command
                    .split(" && ")
                    .map(|part| format!("sudo {part}"))
                    .collect::<Vec<_>>()
                    .join(" && ")
            ),
        }
    }
}

/// Checks that QEMU is there.
///
/// # Errors
///
/// It is not: the problem names the command that installs it.
pub fn require() -> Result<()> {
    match find(QEMU) {
        Some(_) => Ok(()),
        None => Err(missing(System::detect())),
    }
}

/// Checks that QEMU is there, and on Debian and Ubuntu installs it if that needs no question answered: as root, or
/// where sudo asks for no password. A user of another system is told the command: their machine is theirs.
///
/// # Errors
///
/// It is not there and was not installed.
pub fn ensure() -> Result<()> {
    if find(QEMU).is_some() {
        return Ok(());
    }
    let system = System::detect();
    let (System::Debian, Some(install)) = (system, system.command()) else {
        return Err(missing(system));
    };
    let mut shell = if is_root() {
        Command::new("sh")
    } else if sudo_asks_nothing() {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "sh"]);
        sudo
    } else {
        return Err(missing(system));
    };
    eprintln!("{QEMU} is missing; installing it: {install}");
    let status = shell
        .args(["-c", install])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()
        .context("cannot run the package manager")?;
    if status.success() && find(QEMU).is_some() {
        Ok(())
    } else {
        Err(Problem::new(format!(
            "{QEMU} could not be installed ({status}); {}",
            system.advice(is_root())
        )))
    }
}

fn missing(system: System) -> Problem {
    Problem::new(format!("{QEMU} is missing; {}", system.advice(is_root())))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn sudo_asks_nothing() -> bool {
    let quiet = || Stdio::null();
    let status = Command::new("sudo")
        .args(["-n", "true"])
        .stdin(quiet())
        .stdout(quiet())
        .stderr(quiet())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Where `program` would be started from.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_known_by_themselves_and_by_their_relatives() {
        let detect = System::from_os_release;
        assert_eq!(
            detect("PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n"),
            System::Debian
        );
        assert_eq!(detect("ID=ubuntu\nID_LIKE=debian\n"), System::Debian);
        assert_eq!(
            detect("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"),
            System::Debian
        );
        assert_eq!(
            detect("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"),
            System::Fedora
        );
        assert_eq!(
            detect("ID=\"opensuse-tumbleweed\"\nID_LIKE=\"opensuse suse\"\n"),
            System::Suse
        );
        assert_eq!(detect("ID=manjaro\nID_LIKE=arch\n"), System::Arch);
        assert_eq!(detect("ID=alpine\n"), System::Alpine);
        assert_eq!(detect("ID=nixos\n"), System::Unknown);
        assert_eq!(detect(""), System::Unknown);
    }

    #[test]
    fn the_advice_is_a_command_to_paste() {
        assert_eq!(
            System::Debian.advice(false),
            "run: sudo apt-get update && sudo apt-get install -y --no-install-recommends qemu-system-x86"
        );
        assert_eq!(
            System::Arch.advice(true),
            "run: pacman -S --needed qemu-system-x86"
        );
        assert_eq!(System::Mac.advice(false), "run: brew install qemu");
        assert!(System::Unknown.advice(false).contains(QEMU));
    }

    #[test]
    fn programs_are_found_on_the_path() {
        assert!(find("sh").is_some());
        assert!(find("qemu-system-of-nobody").is_none());
    }
}
