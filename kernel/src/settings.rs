//! What to run: from the command line, wherever it comes from.

use core::str;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use fastrand::Rng;
use qemu_fw_cfg::FwCfg;
use spin::Once;
use spin::mutex::{SpinMutex, SpinMutexGuard};
use twinframe_boot::cmdline::CommandLine;
use twinframe_boot::pvh;

/// Longest command line that is taken: that of Linux on this architecture (its `COMMAND_LINE_SIZE`). One event holds it
/// whole.
const LONGEST: usize = 2048;

/// So much of a longer one is kept that it is known to be too long.
const KEPT: usize = LONGEST + 1;

/// The `fw_cfg` file that stands in for a command line.
const FW_CFG_FILE: &str = "opt/twinframe/cmdline";

/// Seed of every random choice, unless the command line names another.
const DEFAULT_SEED: u64 = 1;

static SEED: AtomicU64 = AtomicU64::new(DEFAULT_SEED);
/// 0 while nobody has said how many.
static MINUTES: AtomicU32 = AtomicU32::new(0);

static TEXT: SpinMutex<[u8; KEPT]> = SpinMutex::new([0; KEPT]);
static FW_CFG: Once<&[u8]> = Once::new();

/// Where the command line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The boot protocol.
    Loader,
    /// QEMU's `fw_cfg` device.
    FwCfg,
    /// Nowhere: run everything.
    Default,
}

impl Source {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Loader => "loader",
            Self::FwCfg => "fw_cfg",
            Self::Default => "default",
        }
    }
}

/// The raw command line and its source.
pub(crate) fn raw() -> (&'static [u8], Source) {
    if let Some(facts) = pvh::facts()
        && !facts.cmdline.trim_ascii().is_empty()
    {
        return (facts.cmdline, Source::Loader);
    }
    match *FW_CFG.call_once(from_fw_cfg) {
        [] => (&[], Source::Default),
        text => (text, Source::FwCfg),
    }
}

fn from_fw_cfg() -> &'static [u8] {
    // SAFETY: reads two ports; a machine that is not QEMU lacks the signature and is left alone.
    // This is the only place that talks to the device, and it runs once.
    let Ok(mut device) = (unsafe { FwCfg::new_for_x86() }) else {
        return &[];
    };
    let Some(file) = device.find_file(FW_CFG_FILE) else {
        return &[];
    };
    let text = SpinMutexGuard::leak(TEXT.lock());
    device.read_file_to_buffer(&file, text);
    match text.get(..file.size()) {
        Some(whole) => whole.trim_ascii_end(),
        // Not trimmed: what is cut off may be more than the end of a line.
        None => text,
    }
}

/// The run's seed.
pub(crate) fn seed() -> u64 {
    SEED.load(Ordering::Relaxed)
}

/// How long the stress suite may take in all, if the command line says it.
pub(crate) fn minutes() -> Option<u32> {
    match MINUTES.load(Ordering::Relaxed) {
        0 => None,
        minutes => Some(minutes),
    }
}

/// A generator of random numbers that starts from the run's seed.
pub(crate) fn random() -> Rng {
    Rng::with_seed(seed())
}

/// The settings of this run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) line: CommandLine<'static>,
    pub(crate) seed: u64,
}

/// Reads the command line; `complain` gets one line about what is wrong with it.
pub(crate) fn parse(
    raw: &'static [u8],
    complain: impl FnOnce(core::fmt::Arguments<'_>),
) -> Option<Settings> {
    if raw.len() > LONGEST {
        complain(format_args!(
            "command line: longer than {LONGEST} bytes, so it may have been cut off"
        ));
        return None;
    }
    let text = match str::from_utf8(raw) {
        Ok(text) => text,
        Err(error) => {
            complain(format_args!("the command line is not UTF-8: {error}"));
            return None;
        }
    };
    match CommandLine::parse(text) {
        Ok(line) => {
            let seed = line.seed.unwrap_or(DEFAULT_SEED);
            SEED.store(seed, Ordering::Relaxed);
            MINUTES.store(line.minutes.unwrap_or(0), Ordering::Relaxed);
            Some(Settings { line, seed })
        }
        Err(error) => {
            complain(format_args!("command line: {error}"));
            None
        }
    }
}
