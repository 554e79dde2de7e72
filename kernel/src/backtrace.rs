//! The chain of stack frames.
//!
//! Our code keeps frame pointers: each frame starts with the caller's frame pointer, and above it
//! the return address. The chain may be broken (that can be why there is a backtrace), so every
//! step is checked against the page tables before it is followed.

use crate::arch::translate;
use crate::events::Hex;

/// Most frames that are shown.
pub(crate) const DEPTH: usize = 32;

/// Return addresses, innermost first, starting from a frame pointer.
pub(crate) fn collect(mut frame: u64, into: &mut [Hex; DEPTH]) -> usize {
    let mut count = 0;
    while count < DEPTH {
        let (Some(next), Some(address)) = (read(frame), read(frame.wrapping_add(8))) else {
            break;
        };
        if address == 0 {
            break;
        }
        into[count] = Hex(address);
        count += 1;
        // Stacks grow down: callers lie higher. Anything else is the end, or a loop.
        if next <= frame {
            break;
        }
        frame = next;
    }
    count
}

fn read(address: u64) -> Option<u64> {
    if address == 0 || !address.is_multiple_of(8) {
        return None;
    }
    translate::walk(address)?;
    // SAFETY: mapped and aligned; any eight bytes are a number.
    Some(unsafe { (address as *const u64).read_volatile() })
}
