//! What is live, by the call that allocated it: what is left at the end is a leak, with a name.

use core::fmt;
use core::panic::Location;
use core::sync::atomic::{AtomicIsize, AtomicPtr, Ordering};

/// Calls that can be told apart. There are about as many as the suite has lines that allocate.
const SITES: usize = 64;

/// The number of a call.
pub(super) type Site = u8;

struct Account {
    call: AtomicPtr<Location<'static>>,
    blocks: AtomicIsize,
    bytes: AtomicIsize,
}

/// The table.
pub(super) struct Ledger([Account; SITES]);

impl Ledger {
    pub(super) const fn new() -> Self {
        Self(
            [const {
                Account {
                    call: AtomicPtr::new(core::ptr::null_mut()),
                    blocks: AtomicIsize::new(0),
                    bytes: AtomicIsize::new(0),
                }
            }; SITES],
        )
    }

    /// Counts a block that was allocated by the call at `location`.
    pub(super) fn enter(&self, location: &'static Location<'static>, bytes: usize) -> Site {
        let own = core::ptr::from_ref(location).cast_mut();
        for (account, site) in self.0.iter().zip(0..) {
            let mut call = account.call.load(Ordering::Relaxed);
            if call.is_null() {
                call = account
                    .call
                    .compare_exchange(call, own, Ordering::Relaxed, Ordering::Relaxed)
                    .map_or_else(|other| other, |_| own);
            }
            if call == own {
                account.blocks.fetch_add(1, Ordering::Relaxed);
                account.bytes.fetch_add(signed(bytes), Ordering::Relaxed);
                return site;
            }
        }
        panic!("more than {SITES} calls allocate: make the ledger larger");
    }

    /// Takes a block out of the count again.
    pub(super) fn leave(&self, site: Site, bytes: usize) {
        let account = &self.0[usize::from(site)];
        account.blocks.fetch_sub(1, Ordering::Relaxed);
        account.bytes.fetch_sub(signed(bytes), Ordering::Relaxed);
    }

    /// Bytes in all live blocks.
    pub(super) fn live_bytes(&self) -> u64 {
        let bytes: isize = self
            .0
            .iter()
            .map(|account| account.bytes.load(Ordering::Relaxed))
            .sum();
        u64::try_from(bytes).unwrap_or(0)
    }

    /// Whether nothing is live.
    pub(super) fn is_empty(&self) -> bool {
        self.0
            .iter()
            .all(|account| account.blocks.load(Ordering::Relaxed) == 0)
    }

    /// Where the call of that number is.
    pub(super) fn call(&self, site: Site) -> Option<&'static Location<'static>> {
        // SAFETY: null, or from a reference that lives as long as the kernel.
        unsafe {
            self.0[usize::from(site)]
                .call
                .load(Ordering::Relaxed)
                .as_ref()
        }
    }
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

/// The calls with live blocks, a line each.
impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (account, site) in self.0.iter().zip(0..) {
            let blocks = account.blocks.load(Ordering::Relaxed);
            if blocks != 0
                && let Some(call) = self.call(site)
            {
                let bytes = account.bytes.load(Ordering::Relaxed);
                write!(f, "\n  {blocks} blocks, {bytes} bytes: {call}")?;
            }
        }
        Ok(())
    }
}
