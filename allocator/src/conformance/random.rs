//! Many blocks at once, come and gone in random order.

use super::Subject;
use crate::{AllocError, FrameAllocator, PageRequest, Platform};

/// Marsaglia's xorshift64*: enough to choose with, and the same everywhere.
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap_or(0) % bound
    }
}

/// Most blocks at once; they are on the stack, which in a kernel is small.
const LIVE: usize = 128;

#[derive(Clone, Copy)]
struct Block {
    addr: usize,
    count: usize,
    mark: u8,
}

/// Blocks of random sizes and kinds never overlap, keep their contents, and all come back. `steps` says
/// how long.
pub fn random_blocks<P: Platform, const PAGE_SIZE: usize>(
    frames: &FrameAllocator<P, PAGE_SIZE>,
    seed: u64,
    steps: usize,
) {
    let subject = Subject::new(frames);
    let mut random = Random::new(seed);
    let mut blocks = [const { None::<Block> }; LIVE];
    for step in 0..steps {
        let slot = &mut blocks[random.below(LIVE)];
        if let Some(Block { addr, count, mark }) = slot.take() {
            assert!(subject.holds(addr, count, mark), "step {step}, seed {seed}");
            assert_eq!(
                subject.free(addr, count),
                Ok(()),
                "step {step}, seed {seed}"
            );
            continue;
        }
        let bound = 1 << random.below(6);
        let count = 1 + random.below(bound);
        let request = match random.below(4) {
            0 => PageRequest::new(count).exact(),
            1 => PageRequest::new(count).align(PAGE_SIZE << random.below(6)),
            2 => PageRequest::new(count).exact().lowmem(),
            _ => PageRequest::new(count.next_power_of_two()),
        };
        let count = match request {
            exact if exact.exact => count,
            _ => count.next_power_of_two(),
        };
        match frames.allocate(&request) {
            Ok(addr) => {
                let mark = u8::try_from(step % 251).unwrap_or(0);
                subject.fill(addr, count, mark);
                *slot = Some(Block { addr, count, mark });
            }
            Err(AllocError::NoMemory) => {}
            Err(error) => panic!("step {step}, seed {seed}: {error}"),
        }
    }
    for &Block { addr, count, mark } in blocks.iter().flatten() {
        assert!(subject.holds(addr, count, mark));
        assert_eq!(subject.free(addr, count), Ok(()));
    }
    subject.finish();
}
