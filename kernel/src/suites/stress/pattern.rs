//! What is written into a block, so that whoever else writes there is seen.

use core::fmt;

/// Blocks beyond this are marked at both ends only: the point is to find who shares memory, not to
/// measure how fast it can be filled.
const WHOLE: usize = 4096;
/// How much of each end is marked then.
const END: usize = 64;

/// Far from every small number, and odd: no two words of a block are alike.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The pattern of one block: its first word says whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pattern(u64);

/// A place that does not hold what was written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) offset: usize,
    pub(super) expected: u64,
    pub(super) found: u64,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            offset,
            expected,
            found,
        } = self;
        write!(
            f,
            "at +{offset:#x} is {found:#018x}, where {expected:#018x} was written"
        )
    }
}

impl Pattern {
    /// That of a CPU's block number `serial`.
    pub(super) const fn new(cpu: usize, serial: u64) -> Self {
        Self((cpu as u64 + 1) << 48 | serial & 0xffff_ffff_ffff)
    }

    const fn word(self, index: usize) -> u64 {
        self.0.wrapping_add((index as u64).wrapping_mul(STEP))
    }

    /// Writes the pattern into `bytes` bytes.
    ///
    /// # Safety
    ///
    /// `start` is so much memory that is the caller's alone, aligned to 8 bytes if there are as many.
    pub(super) unsafe fn fill(self, start: *mut u8, bytes: usize) {
        for index in marked(bytes) {
            // SAFETY: inside of the block.
            let place = unsafe { start.cast::<u64>().add(index) };
            // SAFETY: as the caller promises.
            unsafe { place.write_volatile(self.word(index)) };
        }
        for offset in bytes / 8 * 8..bytes {
            // SAFETY: inside of the block.
            let place = unsafe { start.add(offset) };
            // SAFETY: as the caller promises.
            unsafe { place.write_volatile(self.byte(offset)) };
        }
    }

    /// Compares what is there, as far as `bytes` bytes, with what a block of `filled` bytes was given.
    ///
    /// # Safety
    ///
    /// As for [`fill`](Self::fill).
    pub(super) unsafe fn check(
        self,
        start: *const u8,
        bytes: usize,
        filled: usize,
    ) -> Result<(), Damage> {
        for index in marked(filled).take_while(|index| (index + 1) * 8 <= bytes) {
            // SAFETY: inside of the block.
            let place = unsafe { start.cast::<u64>().add(index) };
            // SAFETY: as the caller promises.
            let found = unsafe { place.read_volatile() };
            compare(index * 8, self.word(index), found)?;
        }
        for offset in filled / 8 * 8..filled.min(bytes) {
            // SAFETY: inside of the block.
            let place = unsafe { start.add(offset) };
            // SAFETY: as the caller promises.
            let found = unsafe { place.read_volatile() };
            compare(offset, u64::from(self.byte(offset)), u64::from(found))?;
        }
        Ok(())
    }

    /// The byte at an offset behind the last whole word.
    fn byte(self, offset: usize) -> u8 {
        self.word(offset / 8).to_le_bytes()[offset % 8]
    }
}

fn compare(offset: usize, expected: u64, found: u64) -> Result<(), Damage> {
    if expected == found {
        return Ok(());
    }
    Err(Damage {
        offset,
        expected,
        found,
    })
}

/// The numbers of the words that are marked in a block of so many bytes.
fn marked(bytes: usize) -> impl Iterator<Item = usize> {
    let words = bytes / 8;
    let (first, last) = if bytes <= WHOLE {
        (words, words)
    } else {
        (END / 8, words - END / 8)
    };
    (0..first).chain(last..words)
}
