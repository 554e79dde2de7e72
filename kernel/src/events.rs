//! COM2: what happened, one JSON object a line, for programs.
//!
//! The schema is documented in the book's chapter on events. A line is written whole or not at all.

use core::fmt;

use serde::{Serialize, Serializer};

use crate::serial::Port;

static COM2: Port = Port::new(0x2f8);

/// Longest line. A result with a full backtrace and message stays below it.
const LINE: usize = 4096;

/// Goes up when a field changes its meaning or disappears.
const SCHEMA: &str = r#"{"v":1,"#;

/// An address, written as a hexadecimal string: JSON numbers lose bits above 2^53.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hex(pub(crate) u64);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

/// Text made on the spot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<'a>(pub(crate) fmt::Arguments<'a>);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    Pass,
    Panic,
    Fault,
    StackOverflow,
    BadCmdline,
}

/// How far a test is.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    Start,
    Pass,
    Skip,
}

/// What a stress is doing, with how far it is.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Load {
    /// Operations per second, since the last such event.
    pub(crate) rate: u64,
    /// Bytes in live blocks.
    pub(crate) live: u64,
    /// Share of free memory in blocks below 2 MiB, in thousandths.
    pub(crate) fragmentation: i32,
    /// Interrupts so far in which a handler allocated.
    pub(crate) interrupts: u64,
}

/// One line of the stream.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(tag = "ev", rename_all = "kebab-case")]
pub(crate) enum Event<'a> {
    /// First line: what runs, and why.
    Boot {
        version: &'a str,
        profile: &'a str,
        loader: &'a str,
        cmdline: &'a str,
        cmdline_source: &'a str,
        seed: u64,
        tests: usize,
    },
    /// One entry of the firmware's memory map and what became of it.
    Region {
        start: Hex,
        end: Hex,
        #[serde(rename = "type")]
        kind: Text<'a>,
        verdict: &'a str,
        managed: u64,
        lost: u64,
    },
    /// One zone after bring-up, in bytes.
    Zone {
        zone: &'a str,
        managed: u64,
        free: u64,
    },
    /// One NUMA node at the end of a run on a machine with several.
    Node {
        node: usize,
        managed: u64,
        free: u64,
        hits: usize,
        misses: usize,
    },
    /// A CPU that runs kernel code.
    Cpu {
        id: usize,
        apic: u32,
        state: &'a str,
    },
    /// A test begins, passes or is skipped. One that fails ends the run: see the result.
    Test {
        name: &'a str,
        state: State,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    },
    /// How far a long test is.
    Progress {
        name: &'a str,
        done: u64,
        total: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        load: Option<Load>,
    },
    /// A measured number.
    Stat {
        name: &'a str,
        value: u64,
        unit: &'a str,
    },
    /// What a subject of the comparison took for a case: nanoseconds, or instructions where they are
    /// counted.
    Bench {
        case: &'a str,
        subject: &'a str,
        cpus: usize,
        operations: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        ns: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        instructions: Option<u64>,
        cut: bool,
        touched: u64,
    },
    /// Last line.
    Result {
        verdict: Verdict,
        passed: usize,
        skipped: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        test: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        location: Option<Text<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        rip: Option<Hex>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cr2: Option<Hex>,
        #[serde(skip_serializing_if = "<[Hex]>::is_empty")]
        backtrace: &'a [Hex],
    },
}

/// Brings COM2 up.
pub(crate) fn init() {
    COM2.init();
}

/// Writes one event.
pub(crate) fn emit(event: &Event<'_>) {
    let mut line = [0; LINE];
    // The object's opening brace gives way to the schema version: `{"v":1,` and then the rest.
    let skip = SCHEMA.len() - 1;
    match serde_json_core::to_slice(event, &mut line[skip..LINE - 1]) {
        Ok(written) => {
            line[..SCHEMA.len()].copy_from_slice(SCHEMA.as_bytes());
            line[skip + written] = b'\n';
            COM2.send(&line[..=skip + written]);
        }
        // Loud, because a reader would miss it: an event that outgrew `LINE`.
        Err(error) => log::error!("event lost: {error}: {event:?}"),
    }
}
