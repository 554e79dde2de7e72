//! The knobs of `make run`: read from the environment and from options, checked before anything is built.

mod value;

use std::time::Duration;

use crate::command::Accelerator;
use crate::machine::{Machine, Mebibytes};
use crate::testlist::KernelTest;
use crate::{Problem, Result};

pub use value::{LEAST_MEMORY, accelerator, seconds, seed};
use value::{cpus, default_timeout, list, machine, memory, minutes, shift};

/// The names, in the environment; as options they are written in lower case.
pub const NAMES: &[&str] = &[
    "SMP", "MEM", "MACHINE", "ACCEL", "ICOUNT", "SEED", "SUITE", "TEST", "MINUTES", "TIMEOUT",
];

/// The knobs, read.
#[derive(Debug)]
pub struct Knobs {
    /// `MACHINE`.
    pub machine: &'static Machine,
    /// `MEM`, or the machine's.
    pub memory: Mebibytes,
    /// `SMP`, or the machine's.
    pub cpus: u32,
    /// `ACCEL`.
    pub accelerator: Accelerator,
    /// `ICOUNT`, or the machine's.
    pub icount: Option<u8>,
    /// `SEED`.
    pub seed: Option<u64>,
    /// `SUITE`; all if empty.
    pub suites: Vec<String>,
    /// `TEST`.
    pub test: Option<String>,
    /// `MINUTES`.
    pub minutes: Option<u32>,
    /// `TIMEOUT`.
    pub timeout: Duration,
}

impl Knobs {
    /// Reads the knobs; `value` gives what the user wrote for a name.
    ///
    /// # Errors
    ///
    /// One line naming the knob, what is wrong with it, and what it can be.
    pub fn read(value: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let value = |name: &str| {
            value(name)
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
        };
        let machine = match value("MACHINE") {
            Some(name) => machine(&name)?,
            None => Machine::default_machine(),
        };
        let icount = value("ICOUNT").map_or(Ok(machine.icount), |text| shift(&text).map(Some))?;
        let minutes = value("MINUTES").map(|text| minutes(&text)).transpose()?;
        let knobs = Self {
            machine,
            memory: value("MEM").map_or(Ok(machine.memory), |text| memory(&text))?,
            cpus: value("SMP").map_or(Ok(machine.cpus), |text| cpus(&text))?,
            accelerator: match value("ACCEL").as_deref() {
                Some(text) if text != "auto" => accelerator(text)?,
                // Only the translator counts instructions, or has CPUs take turns.
                _ if icount.is_some() || machine.is_scheduled() => machine.accelerator,
                _ => Accelerator::choose(),
            },
            icount,
            seed: value("SEED").map(|text| seed(&text)).transpose()?,
            suites: value("SUITE").map_or(Ok(Vec::new()), |text| list(&text))?,
            test: value("TEST"),
            minutes,
            timeout: value("TIMEOUT").map_or(Ok(default_timeout(minutes)), |text| {
                seconds("TIMEOUT", &text)
            })?,
        };
        if knobs.icount.is_some() && knobs.accelerator == Accelerator::Kvm {
            return Err(Problem::new(
                "ICOUNT and ACCEL=kvm exclude each other: only TCG counts instructions",
            ));
        }
        if knobs.test.is_some() && !knobs.suites.is_empty() {
            return Err(Problem::new(
                "TEST and SUITE exclude each other: a test names its suite",
            ));
        }
        Ok(knobs)
    }

    /// The kernel's command line for them.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        if let Some(test) = &self.test {
            words.push(format!("test={test}"));
        }
        if !self.suites.is_empty() {
            words.push(format!("suite={}", self.suites.join(",")));
        }
        if let Some(seed) = self.seed {
            words.push(format!("seed={seed}"));
        }
        if let Some(minutes) = self.minutes {
            words.push(format!("minutes={minutes}"));
        }
        words.join(" ")
    }

    /// Whether the kernel runs this test when it is given [`words`](Self::words).
    #[must_use]
    pub fn selects(&self, test: &KernelTest) -> bool {
        match &self.test {
            Some(name) => test.name == *name,
            None => {
                !test.is_proof
                    && (self.suites.is_empty()
                        || self.suites.iter().any(|suite| suite == test.suite()))
            }
        }
    }

    /// Checks the names of suites and tests against those in the kernel.
    ///
    /// # Errors
    ///
    /// A name that the kernel does not have.
    pub fn check_names(&self, tests: &[KernelTest]) -> Result<()> {
        let mut known: Vec<&str> = tests
            .iter()
            .filter(|test| !test.is_proof)
            .map(KernelTest::suite)
            .collect();
        known.dedup(); // the list is sorted
        for suite in &self.suites {
            if !known.contains(&suite.as_str()) {
                return Err(Problem::new(format!(
                    "SUITE={suite}: no such suite; there are {}",
                    known.join(", ")
                )));
            }
        }
        match &self.test {
            Some(name) if !tests.iter().any(|test| test.name == *name) => {
                Err(Problem::new(format!(
                    "TEST={name}: no such test; `cargo test --test kernel -- --list` lists them"
                )))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(knobs: &[(&str, &str)]) -> Result<Knobs> {
        Knobs::read(|name| {
            knobs
                .iter()
                .find(|(knob, _)| *knob == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    fn refusal(name: &'static str, value: &str) -> String {
        let why = read(&[(name, value)]).unwrap_err().to_string();
        assert!(
            why.starts_with(&format!("{name}={value}: ")) && !why.contains('\n'),
            "{why}"
        );
        why
    }

    #[test]
    fn nothing_said_is_the_default_machine_and_everything() {
        let knobs = read(&[("SEED", ""), ("SUITE", " ")]).unwrap();
        assert_eq!(knobs.machine.name, "smp1");
        assert_eq!((knobs.memory, knobs.cpus), (Mebibytes(256), 1));
        assert_eq!(knobs.words(), "");
    }

    #[test]
    fn knobs_become_words_and_sizes() {
        let knobs = [
            ("SUITE", "pages,slab"),
            ("SEED", "0xff"),
            ("MEM", "6g"),
            ("SMP", "4"),
            ("MACHINE", "pc"),
        ];
        let knobs = read(&knobs).unwrap();
        assert_eq!(knobs.words(), "suite=pages,slab seed=255");
        assert_eq!(
            (knobs.memory, knobs.cpus, knobs.machine.name),
            (Mebibytes(6144), 4, "pc")
        );
        let knobs = read(&[
            ("TEST", "a::b"),
            ("SEED", "18446744073709551615"),
            ("MEM", "64"),
        ])
        .unwrap();
        assert_eq!(
            (knobs.words().as_str(), knobs.memory),
            ("test=a::b seed=18446744073709551615", Mebibytes(64))
        );
    }

    #[test]
    fn counted_instructions_need_the_translator() {
        let knobs = read(&[("ICOUNT", "7"), ("MINUTES", "30")]).unwrap();
        assert_eq!(
            (knobs.icount, knobs.accelerator),
            (Some(7), Accelerator::Tcg)
        );
        assert_eq!(knobs.words(), "minutes=30");
        assert_eq!(knobs.timeout, Duration::from_secs(2100));
        // What the longest stress gets can be written, too.
        let longest = read(&[("MINUTES", "10080")]).unwrap().timeout;
        let written = longest.as_secs().to_string();
        assert_eq!(read(&[("TIMEOUT", &written)]).unwrap().timeout, longest);
        let knobs = read(&[("MACHINE", "smp4icount")]).unwrap();
        assert_eq!((knobs.icount, knobs.cpus), (Some(3), 4));
        let knobs = read(&[("MACHINE", "smp4single")]).unwrap();
        assert_eq!(knobs.accelerator, Accelerator::SingleTcg);
        assert!(read(&[("ICOUNT", "0"), ("ACCEL", "kvm")]).is_err());
    }

    #[test]
    fn a_chipset_is_a_machine() {
        assert_eq!(machine("q35").unwrap().name, "smp1");
        assert_eq!(machine("pc").unwrap().memory, Mebibytes(128));
        assert_eq!(machine("mem6g").unwrap().memory, Mebibytes(6144));
    }

    #[test]
    fn nonsense_is_refused_in_one_line() {
        assert!(refusal("MEM", "4M").contains("at least 16M"));
        for (name, value) in [
            ("MEM", "abc"),
            ("MEM", "-1"),
            ("MEM", "M"),
            ("MEM", "99999999999999999G"),
            ("SMP", "0"),
            ("SMP", "513"),
            ("SMP", "two"),
            ("SUITE", ","),
            ("SMP", "+2"),
            ("MEM", "+64M"),
            ("SEED", "+1"),
            ("SEED", "0x+1"),
            ("MACHINE", "vax"),
            ("ACCEL", "hvf"),
            ("SEED", "lucky"),
            ("SEED", "-1"),
            ("SEED", "0x"),
            ("SEED", "18446744073709551616"),
            ("ICOUNT", "11"),
            ("ICOUNT", "auto"),
            ("MINUTES", "0"),
            ("MINUTES", "10081"),
            ("TIMEOUT", "0"),
            ("TIMEOUT", "2419201"),
            ("TIMEOUT", "1.5"),
        ] {
            refusal(name, value);
        }
        assert!(refusal("ICOUNT", "11").ends_with("not an exponent; write 0 to 10"));
        assert!(refusal("MACHINE", "vax").contains("microvm"));
        assert!(read(&[("TEST", "a::b"), ("SUITE", "a")]).is_err());
    }

    #[test]
    fn names_are_checked_against_the_kernel() {
        let test = |name: &str, is_proof| KernelTest {
            name: name.into(),
            machines: vec![],
            is_proof,
        };
        let tests = [
            test("map::sorted", false),
            test("pages::a", false),
            test("proof::fails", true),
        ];
        let check = |knob, value| {
            read(&[(knob, value)])
                .unwrap()
                .check_names(&tests)
                .map_err(|why| why.to_string())
        };
        assert_eq!(check("SUITE", "pages,map"), Ok(()));
        assert_eq!(
            check("SUITE", "pages,nope"),
            Err("SUITE=nope: no such suite; there are map, pages".into())
        );
        assert!(check("SUITE", "proof").is_err());
        assert_eq!(check("TEST", "proof::fails"), Ok(()));
        assert!(check("TEST", "pages::b").is_err());
    }
}
