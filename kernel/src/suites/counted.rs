//! Counting instructions by the clock.

use core::arch::asm;

use x86_64::instructions::interrupts::without_interrupts;

use crate::arch::clock;

/// A machine whose time stamp counter counts instructions (`-icount`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    /// An instruction takes `1 << shift` ticks.
    shift: u32,
}

impl Counted {
    /// Finds out, by a loop of known length: on any other machine it does not take exactly twice as
    /// long for twice the turns, several times in a row. Tries again, for another CPU may have had its turn meanwhile.
    pub(super) fn find() -> Option<Self> {
        (0..8).find_map(|_| Self::try_to_find())
    }

    fn try_to_find() -> Option<Self> {
        const TURNS: u64 = 1 << 10;
        let mut shift = None;
        for _ in 0..8 {
            let once = without_interrupts(|| time_loop(TURNS));
            let twice = without_interrupts(|| time_loop(2 * TURNS));
            let per_instruction = twice.checked_sub(once)? / (2 * TURNS);
            let found = per_instruction.checked_ilog2()?;
            if twice - once != (2 * TURNS) << found || *shift.get_or_insert(found) != found {
                return None;
            }
        }
        shift.map(|shift| Self { shift })
    }

    /// Instructions in so many ticks.
    pub(super) const fn instructions(self, ticks: u64) -> u64 {
        ticks >> self.shift
    }

    /// Ticks that so many instructions take.
    pub(super) const fn ticks(self, instructions: u64) -> u64 {
        instructions << self.shift
    }

    /// Instructions of a loop of two with so many turns, in excess of those of no turn.
    pub(super) fn count_loop(self, turns: u64) -> u64 {
        without_interrupts(|| {
            // From one turn on, for what is around the loop is the same then.
            let base = time_loop(1);
            self.instructions(time_loop(turns + 1) - base)
        })
    }
}

/// Ticks that `turns` turns of a loop of two instructions take, and what is around them.
#[inline(never)]
fn time_loop(turns: u64) -> u64 {
    let start = clock::ticks();
    // SAFETY: counts a register down.
    unsafe {
        asm!(
            "2:",
            "dec {turns}",
            "jnz 2b",
            turns = inout(reg) turns => _,
            options(nomem, nostack),
        );
    }
    clock::ticks() - start
}
