//! Memory that a device reads and writes by itself, by physical address.

use core::sync::atomic::{AtomicBool, Ordering};

use spin::mutex::SpinMutexGuard;
use twinframe::{PageRequest, Platform};

use crate::arch::{percpu, translate};
use crate::edu::{self, Completion, DEFAULT_MASK, Direction, Edu, Failed};
use crate::harness::{Outcome, kernel_tests};
use crate::memory::HEAP;
use crate::platform::Machine;
use crate::settings::random;
use crate::suites::free_pages;

const PAGE: usize = 4096;
const LOW: u64 = (1 << 32) - 1;

/// Bytes after those of a transfer that must stay as they are.
const BESIDE: usize = 4096;
/// What the device has not written.
const UNTOUCHED: u8 = 0xa5;

/// Pages of a block that covers all that 28 bits can address. Blocks are aligned to their size, and
/// frame 0 is in none, so such a block begins beyond.
const BEYOND: usize = 1 << (28 - 12);

/// Pages from the low zones, given back at the end.
struct Buffer {
    address: usize,
    pages: usize,
}

impl Buffer {
    /// Room for `bytes` bytes at physical addresses up to `last`.
    fn within(bytes: usize, last: u64) -> Option<Self> {
        let pages = bytes.div_ceil(PAGE);
        let request = PageRequest::new(pages).exact().max_phys(last);
        let address = HEAP.allocate(&request).ok()?;
        Some(Self { address, pages })
    }

    /// Room at physical addresses that need more than 28 bits, but no more than 32.
    fn beyond() -> Option<Self> {
        let address = HEAP.alloc_pages_lowmem(BEYOND, PAGE).ok()?;
        let pages = BEYOND;
        let buffer = Self { address, pages };
        assert!(buffer.phys(0) > DEFAULT_MASK && buffer.phys(pages * PAGE - 1) <= LOW);
        Some(buffer)
    }

    /// What shows most of what the device can do: room beyond 28 bits, if it drives more.
    fn new(bytes: usize, mask: u64) -> Option<Self> {
        if mask > DEFAULT_MASK {
            Self::beyond()
        } else {
            Self::within(bytes, mask)
        }
    }

    /// Physical address of a byte, the same by arithmetic and by the page tables.
    fn phys(&self, offset: usize) -> u64 {
        let virt = self.address + offset;
        let phys = Machine::virt_to_phys(virt);
        let walked = translate::walk(virt as u64).map(|mapping| mapping.phys);
        assert_eq!(walked, Some(phys), "{virt:#x}");
        phys
    }

    fn set(&mut self, offset: usize, value: u8) {
        assert!(offset < self.pages * PAGE);
        let at = (self.address + offset) as *mut u8;
        // SAFETY: inside the pages, which are ours. Volatile, as the device looks at them too.
        unsafe { at.write_volatile(value) };
    }

    fn get(&self, offset: usize) -> u8 {
        assert!(offset < self.pages * PAGE);
        let at = (self.address + offset) as *const u8;
        // SAFETY: as above.
        unsafe { at.read_volatile() }
    }

    fn fill(&mut self, bytes: usize, value: impl Fn(usize) -> u8) {
        for offset in 0..bytes {
            self.set(offset, value(offset));
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        free_pages(self.address, self.pages).expect("allocated above");
    }
}

/// A byte for each place, another for each `seed`.
fn pattern(seed: u64) -> impl Fn(usize) -> u8 {
    move |offset| {
        let mixed = (offset as u64 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed.to_le_bytes()[7]
    }
}

/// The device, knowing how many address lines it has.
fn device() -> Result<SpinMutexGuard<'static, Edu>, Outcome> {
    static PROBED: AtomicBool = AtomicBool::new(false);
    let mut edu = edu::get()
        .map_err(|why| Outcome::Skip(why.reason()))?
        .lock();
    if !PROBED.swap(true, Ordering::Relaxed)
        && let Some(beyond) = Buffer::beyond()
        && drives(&mut edu, beyond)
    {
        edu.set_mask(LOW);
    }
    Ok(edu)
}

/// Whether the device reads what is beyond its default mask when it is told to.
fn drives(edu: &mut Edu, mut beyond: Buffer) -> bool {
    const BYTES: usize = 64;
    let seed = random().u64(..);
    let mut scratch = Buffer::within(BYTES, DEFAULT_MASK).expect("memory within 28 bits");
    beyond.fill(BYTES, pattern(seed));
    scratch.fill(BYTES, |_| UNTOUCHED);
    edu.fetch(beyond.phys(0), scratch.phys(0), BYTES)
        .expect("a transfer");
    (0..BYTES).all(|offset| scratch.get(offset) == pattern(seed)(offset))
}

/// Sends `bytes` bytes through the device, a chunk at a time, from one buffer to another. No two
/// calls have the same `seed`: what the device still holds from before must not pass.
fn round_trip(edu: &mut Edu, bytes: usize, completion: Completion, seed: u64) {
    let mask = edu.mask();
    let mut source = Buffer::new(bytes, mask).expect("low memory");
    let mut destination = Buffer::new(bytes + BESIDE, mask).expect("low memory");
    source.fill(bytes, pattern(seed));
    destination.fill(bytes + BESIDE, |_| UNTOUCHED);
    for start in (0..bytes).step_by(edu::MOST) {
        let chunk = (bytes - start).min(edu::MOST);
        for (direction, phys) in [
            (Direction::Out, source.phys(start)),
            (Direction::In, destination.phys(start)),
        ] {
            if let Err(why) = edu.transfer(direction, phys, chunk, completion) {
                panic!("{direction:?} at {start} of {bytes} bytes: {why}");
            }
            assert!(edu.idle());
        }
    }
    for offset in 0..bytes {
        let expected = pattern(seed)(offset);
        assert_eq!(source.get(offset), expected, "source, byte {offset}");
        assert_eq!(
            destination.get(offset),
            expected,
            "byte {offset} of {bytes}"
        );
    }
    for offset in bytes..bytes + BESIDE {
        assert_eq!(
            destination.get(offset),
            UNTOUCHED,
            "byte {offset} after {bytes}"
        );
    }
}

kernel_tests! { "dma", Test:
    /// A pattern goes out and comes back, and nothing beside it changes.
    fn there_and_back() on [smp1, edu28, edu32] {
        let mut edu = match device() {
            Ok(edu) => edu,
            Err(skip) => return skip,
        };
        let mut random = random();
        for bytes in [1, 3, edu::MOST] {
            round_trip(&mut edu, bytes, Completion::Polled, random.u64(..));
        }
    }

    /// The same, announced by message-signalled interrupts, up to 64 KiB.
    fn there_and_back_by_interrupt() on [smp1, edu28, edu32] {
        let mut edu = match device() {
            Ok(edu) => edu,
            Err(skip) => return skip,
        };
        if !edu.interrupt_to(percpu::current().apic_id()) {
            return Outcome::Skip("no message-signalled interrupts");
        }
        let mut random = random();
        for bytes in [1, 2, 8, 63, 512, PAGE, PAGE + 1, 64 << 10] {
            round_trip(&mut edu, bytes, Completion::Interrupt, random.u64(..));
        }
    }

    /// The device interrupts whichever CPU it is told to.
    fn interrupts_reach_every_cpu() on [smp1, edu28, edu32] {
        let mut edu = match device() {
            Ok(edu) => edu,
            Err(skip) => return skip,
        };
        for cpu in percpu::all() {
            if !edu.interrupt_to(cpu.apic_id()) {
                return Outcome::Skip("no message-signalled interrupts");
            }
            for _ in 0..10 {
                assert_eq!(edu.raise(), Some(cpu.id() as u64));
            }
        }
    }

    /// The driver asks for no memory that the device would miss, and the device would.
    fn memory_out_of_reach_is_refused() on [edu28] {
        let mut edu = match device() {
            Ok(edu) => edu,
            Err(skip) => return skip,
        };
        let mask = edu.mask();
        let Some(beyond) = Buffer::beyond().filter(|_| mask == DEFAULT_MASK) else {
            return Outcome::Skip("the device reaches all low memory");
        };
        let phys = beyond.phys(0);
        for direction in [Direction::Out, Direction::In] {
            for start in [phys, mask - 10] {
                assert_eq!(
                    edu.transfer(direction, start, 64, Completion::Polled),
                    Err(Failed::OutOfReach { phys: start, mask })
                );
            }
        }
        assert!(edu.transfer(Direction::Out, 0, edu::MOST + 1, Completion::Polled).is_err());
    }

    /// More address lines are found where there are more.
    fn more_address_lines_are_used() on [edu32] {
        let edu = match device() {
            Ok(edu) => edu,
            Err(skip) => return skip,
        };
        if edu.mask() == DEFAULT_MASK {
            return Outcome::Skip("the device has the 28 address lines of any such device");
        }
        assert_eq!(edu.mask(), LOW);
    }
}
