//! Tests that register themselves, and the loop that runs them.

use core::slice;
use core::str;
use core::sync::atomic::{AtomicUsize, Ordering};

use linkme::distributed_slice;
use spin::mutex::SpinMutex;

use crate::console::println;
use crate::events::{self, Event, State};
use crate::memory;
use crate::settings::Settings;

/// All tests of the kernel. The host lists them from this section of the ELF file.
#[distributed_slice]
pub(crate) static KERNEL_TESTS: [Test];

/// What a test has to say when it returns; failing is a panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Pass,
    /// This machine cannot run it, because of the reason given.
    Skip(&'static str),
}

/// Ordinary tests run unless told otherwise, the last ones behind the others; proofs fail on purpose, and only when asked for by
/// name, to show that each failure is reported as what it is. Early proofs run before the kernel
/// has said a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    Test = 0,
    Proof = 1,
    EarlyProof = 2,
    /// Runs behind all others.
    Last = 3,
}

/// One registered test. The host reads this structure from the file, so its layout is fixed.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Test {
    name: *const u8,
    name_length: usize,
    machines: *const u8,
    machines_length: usize,
    kind: Kind,
    run: fn() -> Outcome,
}

const _: () = assert!(size_of::<Test>() == 48 && core::mem::offset_of!(Test, run) == 40);

// SAFETY: constants; the pointers lead to string literals.
unsafe impl Sync for Test {}

impl Test {
    /// A test called `name` (`suite::test`), which the host runs on each of the `machines` (names
    /// separated by spaces).
    pub(crate) const fn new(
        name: &'static str,
        machines: &'static str,
        kind: Kind,
        run: fn() -> Outcome,
    ) -> Self {
        Self {
            name: name.as_ptr(),
            name_length: name.len(),
            machines: machines.as_ptr(),
            machines_length: machines.len(),
            kind,
            run,
        }
    }

    fn is_ordinary(&self) -> bool {
        matches!(self.kind, Kind::Test | Kind::Last)
    }

    fn name(&self) -> &'static str {
        // SAFETY: `new` took both from one string literal.
        let bytes = unsafe { slice::from_raw_parts(self.name, self.name_length) };
        str::from_utf8(bytes).unwrap_or("(not UTF-8)")
    }

    fn suite(&self) -> &'static str {
        self.name().split("::").next().unwrap_or_default()
    }
}

/// Defines and registers the tests of one suite: `fn name() on [machines] { body }`. A body may
/// `return Outcome::Skip(reason)`.
macro_rules! kernel_tests {
    ($suite:literal, $kind:ident:
        $($(#[$attribute:meta])* fn $name:ident() on [$($machine:ident),+] $body:block)+) => {$(
        $(#[$attribute])*
        fn $name() -> $crate::harness::Outcome {
            #[linkme::distributed_slice($crate::harness::KERNEL_TESTS)]
            static TEST: $crate::harness::Test = $crate::harness::Test::new(
                concat!($suite, "::", stringify!($name)),
                concat!($(stringify!($machine), " "),+),
                $crate::harness::Kind::$kind,
                $name,
            );
            $body
            #[allow(unreachable_code)]
            $crate::harness::Outcome::Pass
        }
    )+};
}
pub(crate) use kernel_tests;

/// Selected tests in the suite of the one that runs.
static SUITE_SIZE: AtomicUsize = AtomicUsize::new(1);
static RUNNING: SpinMutex<Option<&'static str>> = SpinMutex::new(None);
static PASSED: AtomicUsize = AtomicUsize::new(0);
static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// The test that runs now.
pub(crate) fn running() -> Option<&'static str> {
    RUNNING.try_lock().and_then(|name| *name)
}

/// How many tests of its suite were selected together with the test that runs.
pub(crate) fn suite_size() -> usize {
    SUITE_SIZE.load(Ordering::Relaxed)
}

/// Tests passed and skipped so far.
pub(crate) fn counts() -> (usize, usize) {
    (
        PASSED.load(Ordering::Relaxed),
        SKIPPED.load(Ordering::Relaxed),
    )
}

/// Number of tests that a plain run has.
pub(crate) fn total() -> usize {
    KERNEL_TESTS
        .iter()
        .filter(|test| test.is_ordinary())
        .count()
}

fn selected(settings: &Settings, test: &Test) -> bool {
    match (settings.line.test, settings.line.suites) {
        (Some(name), _) => test.name() == name,
        (None, Some(suites)) => test.is_ordinary() && suites.contains(test.suite()),
        (None, None) => test.is_ordinary(),
    }
}

/// Checks that the names on the command line exist; `complain` gets one line if not.
pub(crate) fn check(settings: &Settings, complain: impl FnOnce(core::fmt::Arguments<'_>)) -> bool {
    if let Some(name) = settings.line.test
        && !KERNEL_TESTS.iter().any(|test| test.name() == name)
    {
        complain(format_args!("command line: there is no test {name:?}"));
        return false;
    }
    let known = |suite: &str| {
        KERNEL_TESTS
            .iter()
            .any(|test| test.is_ordinary() && test.suite() == suite)
    };
    if let Some(unknown) = settings
        .line
        .suites
        .and_then(|suites| suites.iter().find(|suite| !known(suite)))
    {
        complain(format_args!("command line: there is no suite {unknown:?}"));
        return false;
    }
    true
}

/// Runs the early proof that the command line asks for, if it does.
pub(crate) fn run_early(command_line: &[u8]) {
    let wanted = command_line.strip_prefix(b"test=").unwrap_or_default();
    for test in KERNEL_TESTS {
        if test.kind == Kind::EarlyProof && test.name().as_bytes() == wanted {
            (test.run)();
        }
    }
}

/// Runs what the settings select. Returns when all of it passed or was skipped.
pub(crate) fn run(settings: &Settings) {
    let tests = || KERNEL_TESTS.iter().filter(|test| selected(settings, test));
    let is_last = |test: &&Test| test.kind == Kind::Last;
    let behind = tests().filter(is_last);
    for test in tests().filter(|test| !is_last(test)).chain(behind) {
        let like_it = tests().filter(|other| other.suite() == test.suite());
        SUITE_SIZE.store(like_it.count(), Ordering::Relaxed);
        run_one(test);
    }
    *RUNNING.lock() = None;
    memory::check();
}

fn run_one(test: &Test) {
    let name = test.name();
    *RUNNING.lock() = Some(name);
    let event = |state, reason| {
        events::emit(&Event::Test {
            name,
            state,
            reason,
        });
    };
    event(State::Start, None);
    log::debug!("test {name} begins");
    let before = memory::pages_out();
    match (test.run)() {
        Outcome::Pass => {
            memory::check_if_small();
            let after = memory::pages_out();
            assert_eq!(before, after, "pages out before and after {name}: a leak");
            PASSED.fetch_add(1, Ordering::Relaxed);
            event(State::Pass, None);
            println!("test {name} ... ok");
        }
        Outcome::Skip(reason) => {
            SKIPPED.fetch_add(1, Ordering::Relaxed);
            event(State::Skip, Some(reason));
            println!("test {name} ... skipped: {reason}");
        }
    }
}
