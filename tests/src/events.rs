//! What the kernel says on COM2: one JSON object per line.
//!
//! Only the kinds that decide about a run are read here. Others may come and go without this program noticing; a
//! line that is no event at all is kept and shown, because something is broken then.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::{Context, Result};

/// The version of the format.
const VERSION: u64 = 1;

/// All events of a run.
#[derive(Debug, Default)]
pub struct Events {
    /// The `boot` event.
    pub boot: Option<Boot>,
    /// The `test` events, in order.
    pub tests: Vec<TestEvent>,
    /// The `stat` events, in order.
    pub stats: Vec<Stat>,
    /// The `bench` events, in order.
    pub benches: Vec<Bench>,
    /// The `result` event.
    pub result: Option<KernelResult>,
    /// Lines that could not be read: the number of the line and what is wrong with it.
    pub malformed: Vec<(usize, String)>,
}

/// What booted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Boot {
    /// `release` or `debug`.
    pub profile: String,
    /// The command line, as it reached the kernel.
    pub cmdline: String,
    /// Who brought it: `loader`, `fw_cfg`, or `default` if nobody did.
    pub cmdline_source: String,
    /// The seed of the randomised tests.
    pub seed: u64,
}

/// A test began or ended. One that fails has no end: the result names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TestEvent {
    /// `suite::test`.
    pub name: String,
    /// What happened.
    pub state: TestState,
    /// Why it was skipped.
    pub reason: Option<String>,
}

/// A measured number.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Stat {
    /// What was measured.
    pub name: String,
    /// How much.
    pub value: u64,
    /// Of what.
    pub unit: String,
}

/// What a subject took for a case.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Bench {
    /// The case.
    pub case: String,
    /// The subject.
    pub subject: String,
    /// How many CPUs worked.
    pub cpus: u64,
    /// How often they did it, all together.
    pub operations: u64,
    /// Instructions for all of it, where they are counted.
    pub instructions: Option<u64>,
}

/// The states of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TestState {
    /// It runs.
    Start,
    /// It ended well.
    Pass,
    /// It found that this machine is not for it.
    Skip,
}

/// The kernel's own verdict on the whole run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct KernelResult {
    /// The verdict.
    pub verdict: KernelVerdict,
    /// How many tests passed.
    pub passed: u64,
    /// How many skipped themselves.
    pub skipped: u64,
    /// The test that was running.
    pub test: Option<String>,
    /// What went wrong, in words.
    pub message: Option<String>,
    /// `file:line:column` of a panic.
    pub location: Option<String>,
    /// The program counter of a fault.
    pub rip: Option<Address>,
    /// The address that a page fault was about.
    pub cr2: Option<Address>,
    /// Return addresses, innermost first.
    pub backtrace: Vec<Address>,
}

/// The verdicts a kernel can come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelVerdict {
    /// Everything passed.
    Pass,
    /// A panic; a failing assertion is one.
    Panic,
    /// A CPU exception.
    Fault,
    /// The guard page below the stack was hit.
    StackOverflow,
    /// The command line could not be understood.
    BadCmdline,
    /// A verdict that this program does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

/// An address; `"0x..."` on the wire, since JSON's numbers end at 2^53.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Address(pub u64);

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text
            .strip_prefix("0x")
            .ok_or_else(|| format!("{text:?} is no address"))?;
        let address =
            u64::from_str_radix(digits, 16).map_err(|_| format!("{text:?} is no address"))?;
        Ok(Self(address))
    }
}

/// Just enough of a line to know how to read it.
#[derive(Deserialize)]
struct Head {
    v: u64,
    ev: String,
}

impl Events {
    /// Reads the file that COM2 went to.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).context(format_args!("cannot read {}", path.display()))?;
        Ok(Self::parse(&String::from_utf8_lossy(&text)))
    }

    /// Reads the lines.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut events = Self::default();
        for (line, number) in text.lines().zip(1..) {
            if line.trim().is_empty() {
                continue;
            }
            if let Err(why) = events.take(line) {
                events.malformed.push((number, why));
            }
        }
        events
    }

    /// Whether the kernel said nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.boot.is_none()
            && self.tests.is_empty()
            && self.result.is_none()
            && self.malformed.is_empty()
    }

    /// The test that was running when the events ended.
    #[must_use]
    pub fn running(&self) -> Option<&str> {
        match self.tests.last() {
            Some(test) if test.state == TestState::Start => Some(&test.name),
            _ => None,
        }
    }

    fn take(&mut self, line: &str) -> Result<(), String> {
        let head: Head = read(line)?;
        if head.v != VERSION {
            return Err(format!("version {}, where {VERSION} was expected", head.v));
        }
        match head.ev.as_str() {
            "boot" => self.boot = Some(read(line)?),
            "test" => self.tests.push(read(line)?),
            "stat" => self.stats.push(read(line)?),
            "bench" => self.benches.push(read(line)?),
            "result" if self.result.is_some() => return Err("a second result".into()),
            "result" => self.result = Some(read(line)?),
            _ => {}
        }
        Ok(())
    }
}

fn read<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, String> {
    serde_json::from_str(line).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_run() {
        let events = Events::parse(concat!(
            r#"{"v":1,"ev":"boot","version":"0.1.0","profile":"debug","loader":"pvh","cmdline":"","#,
            r#""cmdline_source":"default","seed":18446744073709551615,"tests":2}"#,
            "\r\n",
            r#"{"v":1,"ev":"region","start":"0x1000","end":"0x9f000","type":"usable","verdict":"added"}"#,
            "\n\n",
            r#"{"v":1,"ev":"test","name":"pages::a","state":"start"}"#,
            "\n",
            r#"{"v":1,"ev":"test","name":"pages::a","state":"pass"}"#,
            "\n",
            r#"{"v":1,"ev":"test","name":"pages::b","state":"skip","reason":"no memory above 4 GiB"}"#,
            "\n",
            r#"{"v":1,"ev":"result","verdict":"pass","passed":1,"skipped":1}"#,
            "\n",
        ));
        assert_eq!(events.malformed, []);
        let boot = events.boot.as_ref().unwrap();
        assert_eq!((boot.profile.as_str(), boot.seed), ("debug", u64::MAX));
        assert_eq!(events.tests.len(), 3);
        assert_eq!(
            events.tests[2].reason.as_deref(),
            Some("no memory above 4 GiB")
        );
        assert_eq!(events.running(), None);
        let result = events.result.unwrap();
        assert_eq!(
            (result.verdict, result.passed, result.skipped),
            (KernelVerdict::Pass, 1, 1)
        );
    }

    #[test]
    fn a_panic_in_a_test() {
        let events = Events::parse(concat!(
            r#"{"v":1,"ev":"test","name":"slab::a","state":"start"}"#,
            "\n",
            r#"{"v":1,"ev":"result","verdict":"stack-overflow","test":"slab::a","message":"m","#,
            r#""location":"kernel/src/main.rs:1:2","cr2":"0xffff800000001ff8","backtrace":["0xffffffff80000010"]}"#,
        ));
        assert_eq!(events.running(), Some("slab::a"));
        let result = events.result.unwrap();
        assert_eq!(result.verdict, KernelVerdict::StackOverflow);
        assert_eq!(result.cr2, Some(Address(0xffff_8000_0000_1ff8)));
        assert_eq!(
            (result.rip, result.backtrace),
            (None, vec![Address(0xffff_ffff_8000_0010)])
        );
    }

    #[test]
    fn unknown_kinds_pass_and_broken_lines_are_kept() {
        let events = Events::parse(concat!(
            "{\"v\":1,\"ev\":\"weather\",\"rain\":true}\n",
            "{\"v\":1,\"ev\":\"result\",\"verdict\":\"boredom\"}\n",
            "{\"v\":2,\"ev\":\"boot\"}\n",
            "{\"v\":1,\"ev\":\"test\",\"name\":\"a::b\"}\n",
            "{\"v\":1,\"ev\":\"result\",\"verdict\":\"pass\"}\n",
            "{\"v\":1,\"ev\":\"res",
        ));
        assert_eq!(events.result.unwrap().verdict, KernelVerdict::Unknown);
        let lines: Vec<_> = events.malformed.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [3, 4, 5, 6]);
        assert!(events.malformed[0].1.contains("version 2"));
    }

    #[test]
    fn addresses_are_strings() {
        assert_eq!(Address::try_from("0xff".to_owned()), Ok(Address(255)));
        for text in ["255", "0x", "0xg", "", "0x1_0"] {
            assert!(Address::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_is_nothing() {
        assert!(Events::parse("").is_empty());
        assert!(Events::parse("\r\n").is_empty());
        assert!(!Events::parse("garbage").is_empty());
    }
}
