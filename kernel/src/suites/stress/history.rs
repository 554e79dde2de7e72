//! What happened lately to each address.
//!
//! A table of small rings, one for all addresses of the same hash. It is written without locks, also in
//! interrupts; an entry that two CPUs write at once may be torn, so a report shows it as a hint.

use alloc::boxed::Box;
use core::fmt;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::ledger::{Ledger, Site};

const RINGS: usize = 1024;
/// Events that an address, or those with which it shares a ring, can look back on.
const DEPTH: usize = 8;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum What {
    Taken = 1,
    Freed = 2,
    Passed = 3,
    Resized = 4,
}

impl What {
    const fn name(code: u64) -> &'static str {
        match code {
            1 => "taken",
            2 => "freed",
            3 => "passed on",
            4 => "resized",
            _ => "torn",
        }
    }
}

struct Entry {
    address: AtomicU64,
    /// What, which CPU, which call, and when: 4, 12, 8 and 40 bits.
    event: AtomicU64,
}

struct Ring {
    next: AtomicUsize,
    entries: [Entry; DEPTH],
}

/// The table.
pub(super) struct History(Box<[Ring]>);

impl History {
    pub(super) fn new() -> Self {
        let ring = || Ring {
            next: AtomicUsize::new(0),
            entries: [const {
                Entry {
                    address: AtomicU64::new(0),
                    event: AtomicU64::new(0),
                }
            }; DEPTH],
        };
        Self((0..RINGS).map(|_| ring()).collect())
    }

    fn ring(&self, address: usize) -> &Ring {
        // The bits of Knuth's multiplicative hash that depend on all others.
        let hash = (address as u64 >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        &self.0[usize::try_from(hash).unwrap_or(0) % RINGS]
    }

    /// Remembers that `what` happened to the block at `address`, `us` microseconds from the beginning.
    pub(super) fn note(&self, address: usize, what: What, cpu: usize, site: Site, us: u64) {
        let ring = self.ring(address);
        let entry = &ring.entries[ring.next.fetch_add(1, Ordering::Relaxed) % DEPTH];
        let event = what as u64 | (cpu as u64 & 0xfff) << 4 | u64::from(site) << 16 | us << 24;
        entry.address.store(address as u64, Ordering::Relaxed);
        entry.event.store(event, Ordering::Relaxed);
    }

    /// What is remembered of `address`, as lines.
    pub(super) const fn of<'a>(&'a self, address: usize, ledger: &'a Ledger) -> Account<'a> {
        Account {
            history: self,
            ledger,
            address,
        }
    }
}

/// The history of one address, the oldest event first.
pub(super) struct Account<'a> {
    history: &'a History,
    ledger: &'a Ledger,
    address: usize,
}

impl fmt::Display for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ring = self.history.ring(self.address);
        let newest = ring.next.load(Ordering::Relaxed);
        for age in 0..DEPTH {
            let entry = &ring.entries[newest.wrapping_add(age) % DEPTH];
            let event = entry.event.load(Ordering::Relaxed);
            if event == 0 || entry.address.load(Ordering::Relaxed) != self.address as u64 {
                continue;
            }
            let (us, cpu) = (event >> 24, event >> 4 & 0xfff);
            write!(f, "\n  {us} us: {} by CPU {cpu}", What::name(event & 0xf))?;
            if let Some(call) = self.ledger.call((event >> 16).to_le_bytes()[0]) {
                write!(f, ", {}:{}", call.file(), call.line())?;
            }
        }
        Ok(())
    }
}
