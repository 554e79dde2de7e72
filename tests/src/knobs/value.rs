//! What can be written behind each knob.

use std::str::FromStr;
use std::time::Duration;

use crate::command::Accelerator;
use crate::machine::{Board, MACHINES, Machine, Mebibytes};
use crate::{Problem, Result};

/// Below this the kernel image, its stacks and its tables leave nothing to test with.
pub const LEAST_MEMORY: Mebibytes = Mebibytes(16);

/// What the kernel brings up. QEMU refuses what its board cannot have: more than 255 need x2APIC.
const MOST_CPUS: u32 = 512;

/// The largest exponent of two that QEMU takes for `-icount`.
const MOST_SHIFT: u8 = 10;

/// The longest time that the kernel takes: a week.
const MOST_MINUTES: u32 = 7 * 24 * 60;

/// The longest deadline: four weeks, more than is ever suggested for the longest stress.
const MOST_SECONDS: u64 = 4 * 60 * MOST_MINUTES as u64;

/// A number in digits; the library takes a plus sign, too, which QEMU and the kernel do not.
fn number<T: FromStr>(text: &str) -> Option<T> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

/// A machine by its name in the table, or the first one with that chipset.
pub(super) fn machine(name: &str) -> Result<&'static Machine> {
    let board = match name {
        "q35" => Some(Board::Q35),
        "pc" => Some(Board::Pc),
        "microvm" => Some(Board::Microvm),
        _ => None,
    };
    Machine::named(name)
        .or_else(|| MACHINES.iter().find(|machine| Some(machine.board) == board))
        .ok_or_else(|| {
            let names: Vec<_> = MACHINES.iter().map(|machine| machine.name).collect();
            Problem::new(format!(
                "MACHINE={name}: no such machine; there are q35, {}",
                names.join(", ")
            ))
        })
}

pub(super) fn memory(text: &str) -> Result<Mebibytes> {
    let upper = text.to_ascii_uppercase();
    let (digits, scale) = [("T", 1 << 20), ("G", 1 << 10), ("M", 1)]
        .into_iter()
        .find_map(|(unit, scale)| Some((upper.strip_suffix(unit)?, scale)))
        .unwrap_or((&upper, 1));
    let size = number::<u64>(digits).and_then(|size| size.checked_mul(scale));
    match size.map(Mebibytes) {
        Some(size) if size >= LEAST_MEMORY => Ok(size),
        Some(_) => Err(Problem::new(format!(
            "MEM={text}: the kernel needs at least {LEAST_MEMORY}"
        ))),
        None => Err(Problem::new(format!(
            "MEM={text}: not a size; write MiB, GiB or TiB, as in 64M or 6G"
        ))),
    }
}

pub(super) fn cpus(text: &str) -> Result<u32> {
    match number(text) {
        Some(count @ 1..=MOST_CPUS) => Ok(count),
        _ => Err(Problem::new(format!(
            "SMP={text}: not a number of CPUs; write 1 to {MOST_CPUS}"
        ))),
    }
}

/// The accelerator that `ACCEL` names.
///
/// # Errors
///
/// It names none.
pub fn accelerator(text: &str) -> Result<Accelerator> {
    match text {
        "auto" => Ok(Accelerator::choose()),
        "tcg" => Ok(Accelerator::Tcg),
        "single" => Ok(Accelerator::SingleTcg),
        "kvm" => Ok(Accelerator::Kvm),
        _ => Err(Problem::new(format!(
            "ACCEL={text}: write tcg, single, kvm or auto"
        ))),
    }
}

/// The power of two that `ICOUNT` names.
pub(super) fn shift(text: &str) -> Result<u8> {
    match number(text) {
        Some(shift @ 0..=MOST_SHIFT) => Ok(shift),
        _ => Err(Problem::new(format!(
            "ICOUNT={text}: not an exponent; write 0 to {MOST_SHIFT}"
        ))),
    }
}

pub(super) fn minutes(text: &str) -> Result<u32> {
    match number(text) {
        Some(minutes @ 1..=MOST_MINUTES) => Ok(minutes),
        _ => Err(Problem::new(format!(
            "MINUTES={text}: not a time; write minutes, 1 to {MOST_MINUTES}"
        ))),
    }
}

/// Five minutes, beside the time that stress was given.
pub(super) fn default_timeout(minutes: Option<u32>) -> Duration {
    Duration::from_secs(300 + 60 * u64::from(minutes.unwrap_or(0)))
}

/// The seed that `SEED` names.
///
/// # Errors
///
/// It is no number of 64 bits.
pub fn seed(text: &str) -> Result<u64> {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let seed = match hexadecimal {
        Some(digits) if digits.starts_with('+') => None,
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => number(text),
    };
    seed.ok_or_else(|| {
        Problem::new(format!(
            "SEED={text}: not a 64-bit number; write it decimal or 0x hexadecimal"
        ))
    })
}

/// The names in `SUITE`. Without one everything would run, which is not what somebody wants who writes that.
pub(super) fn list(text: &str) -> Result<Vec<String>> {
    let names = text.split(|c: char| c == ',' || c.is_whitespace());
    let names: Vec<_> = names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    if names.is_empty() {
        return Err(Problem::new(format!(
            "SUITE={text}: no name; write suites, separated by commas"
        )));
    }
    Ok(names)
}

/// A limit in whole seconds, as the knob `name` gives it.
///
/// # Errors
///
/// It is not a positive number.
pub fn seconds(name: &str, text: &str) -> Result<Duration> {
    match number(text) {
        Some(seconds @ 1..=MOST_SECONDS) => Ok(Duration::from_secs(seconds)),
        _ => Err(Problem::new(format!(
            "{name}={text}: not a time; write seconds, 1 to {MOST_SECONDS}"
        ))),
    }
}
