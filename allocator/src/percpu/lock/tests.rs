use core::mem::MaybeUninit;

use super::*;

#[test]
fn a_handler_is_turned_away_and_a_claim_keeps_the_owner_out() {
    let parts = [1, 2, 0];
    type Lock = BiasedLock<u8, u8, [u8; 3], 2>;
    let mut memory = MaybeUninit::<Lock>::uninit();
    let place = NonNull::from(&mut memory).cast();
    let all = |beside: *const [u8; 3]| {
        // SAFETY: the lock is there.
        assert_eq!(unsafe { *beside }, [7; 3]);
        let [first, second, closed] = parts.each_ref().map(core::ptr::from_ref);
        ([first, second], closed)
    };
    // SAFETY: there is room, and the parts are there.
    unsafe { Lock::create(place, 1, [7; 3], all) };
    // SAFETY: it was just made.
    let lock = unsafe { memory.assume_init_ref() };
    let gates = || {
        // SAFETY: this thread is the owner, here and below.
        let visit = unsafe { BiasedLock::visit(lock) }?;
        // SAFETY: there are two gates.
        Some([0, 1].map(|index| *unsafe { visit.gate(index) }))
    };
    assert_eq!(gates(), Some([1, 2]));
    // SAFETY: as above.
    let guard = unsafe { lock.enter() };
    // SAFETY: as above.
    assert!(matches!(unsafe { lock.enter() }, Err(Refused::Nested)));
    assert_eq!(gates(), None);
    let mut claim = lock.claim().unwrap();
    assert!(lock.claim().is_none());
    // SAFETY: on one thread the program order is the barrier.
    assert_eq!(unsafe { claim.access(|value| *value) }, None);
    drop(guard);
    // SAFETY: as above.
    let replaced = unsafe { claim.access(|value| core::mem::replace(value, 7)) };
    assert_eq!(replaced, Some(1));
    // SAFETY: as above.
    assert!(matches!(unsafe { lock.enter() }, Err(Refused::Claimed)));
    assert_eq!(gates(), Some([0, 0]));
    drop(claim);
    assert_eq!(gates(), Some([1, 2]));
    // SAFETY: as above.
    assert_eq!(*unsafe { lock.enter() }.ok().unwrap(), 7);
    assert!(!lock.is_active());
}
