//! The state byte of a page, which its owner changes without a lock.
//!
//! Whoever has a block allocated, or in a cache, is the only one who gives it another state, so a load and a store will do,
//! which cost less than an atomic read-modify-write. But for one change: the holder of the tree's lock may [call
//! back](super::call_back) a block of others. That is a compare-exchange, so it undoes nothing that the owner has done
//! meanwhile; and that the owner's store may undo it, who frees the block just then, is of no consequence. (That the block goes
//! from there to the tree, and comes back as something else, takes the lock, too.)

use core::sync::atomic::{AtomicU8, Ordering};

use super::frame::Order;
use super::state::{Kind, PageState};

/// A byte that several CPUs use at once, in no order with anything else.
pub(super) trait Byte {
    fn get(&self) -> u8;
    fn set(&self, value: u8);
    /// Stores `to` if the byte is `from`.
    fn replace(&self, from: u8, to: u8);
}

impl Byte for AtomicU8 {
    #[inline]
    fn get(&self) -> u8 {
        self.load(Ordering::Relaxed)
    }

    #[inline]
    fn set(&self, value: u8) {
        self.store(value, Ordering::Relaxed);
    }

    #[inline]
    fn replace(&self, from: u8, to: u8) {
        // If it is another by now, it is to stay that.
        let _ = self.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Gives a block whose state is right another one; says whether it was. For the owner of the block.
#[inline]
pub(super) fn exchange_if(
    byte: &impl Byte,
    is_right: impl FnOnce(PageState) -> bool,
    to: PageState,
) -> bool {
    let is_right = is_right(PageState::from_byte(byte.get()));
    if is_right {
        byte.set(to.to_byte());
    }
    is_right
}

/// Calls a block of `order` back, if it is allocated. For the holder of the tree's lock.
#[inline]
pub(super) fn call_back(byte: &impl Byte, order: Order) {
    let allocated = PageState::new(Kind::Block, order).to_byte();
    // Most are not: no need to have the line alone.
    if byte.get() == allocated {
        byte.replace(allocated, PageState::called_back(order).to_byte());
    }
}

#[cfg(all(test, loom))]
mod models {
    use loom::sync::{Arc, Mutex};
    use loom::thread;

    use super::*;
    use crate::pages::entry::{allocated, cached};

    /// Loom's atomics allow more than there is: a store between the load and the store of a read-modify-write. But atomic
    /// accesses of one location are as if one came after the other, whatever their ordering: C++20, [intro.races] (coherence)
    /// and [atomics.order] (read-modify-writes). And so are these.
    impl Byte for Mutex<u8> {
        fn get(&self) -> u8 {
            *self.lock().unwrap()
        }

        fn set(&self, value: u8) {
            *self.lock().unwrap() = value;
        }

        fn replace(&self, from: u8, to: u8) {
            let mut byte = self.lock().unwrap();
            if *byte == from {
                *byte = to;
            }
        }
    }

    const ORDER: Order = Order::ZERO;

    fn free(byte: &impl Byte) -> bool {
        exchange_if(byte, |state| state == allocated(ORDER), cached(ORDER))
    }

    fn allocate(byte: &impl Byte) -> bool {
        exchange_if(byte, |state| state == cached(ORDER), allocated(ORDER))
    }

    /// What came of `own`, which the owner does while another CPU calls the block back, and the state after both.
    fn race(own: fn(&Mutex<u8>) -> bool, check: fn(bool, PageState)) {
        loom::model(move || {
            let byte = Arc::new(Mutex::new(allocated(ORDER).to_byte()));
            let other = {
                let byte = Arc::clone(&byte);
                thread::spawn(move || call_back(&*byte, ORDER))
            };
            let is_done = own(&byte);
            other.join().unwrap();
            check(is_done, PageState::from_byte(byte.get()));
        });
    }

    #[test]
    fn a_block_is_in_the_cache_or_called_back() {
        race(free, |is_freed, state| {
            let expected = if is_freed {
                cached(ORDER)
            } else {
                PageState::called_back(ORDER)
            };
            assert_eq!(state, expected);
        });
    }

    #[test]
    fn a_block_that_is_handed_out_again_is_allocated() {
        let own = |byte: &Mutex<u8>| !free(byte) || allocate(byte);
        race(own, |is_right, state| {
            assert!(is_right);
            assert_eq!((state.kind(), state.order()), (Kind::Block, ORDER));
        });
    }
}
