//! What is known of an address: the line in a fault report that says whose memory it was.

use core::fmt;

use super::GlobalAllocator;
use crate::Platform;
use crate::objects::SizeClass;
use crate::pages::PageInfo;

/// What the allocator knows of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddressInfo {
    /// The page that it lies in.
    pub page: PageInfo,
    /// The object, if the page is in a slab.
    pub object: Option<ObjectInfo>,
}

/// The object that an address lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// The class of its slab.
    pub class: SizeClass,
    /// Its first byte.
    pub start: usize,
    /// Whether it was freed, and not allocated again.
    pub freed: bool,
}

impl fmt::Display for AddressInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(object) = &self.object {
            let freed = if object.freed { ", which is free," } else { "" };
            let (size, start) = (object.class.size(), object.start);
            write!(f, "the {size}-byte object at {start:#x}{freed} in ")?;
        }
        self.page.fmt(f)
    }
}

impl<P: Platform, const PAGE_SIZE: usize> GlobalAllocator<P, PAGE_SIZE> {
    /// What is known of an address: `None` where [`FrameAllocator::about`](crate::FrameAllocator::about)
    /// says that.
    ///
    /// Waits for nobody, so it may be called in a fault handler, whatever was interrupted. What other
    /// CPUs do at the same time may make the answer stale.
    #[must_use]
    pub fn about(&self, addr: usize) -> Option<AddressInfo> {
        let page = self.frames().about(addr)?;
        let object = self.objects.about(self.frames(), addr);
        let object = object.map(|(class, start, freed)| ObjectInfo {
            class,
            start,
            freed,
        });
        Some(AddressInfo { page, object })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use core::alloc::Layout;
    use std::format;

    use super::super::tests::Rig;
    use super::*;
    use crate::pages::PageUse;

    #[test]
    fn an_address_is_traced_to_its_object_or_block() {
        let rig = Rig::new(1 << 20);
        let layout = Layout::from_size_align(60, 4).unwrap();
        let ptr = rig.global.alloc(layout).unwrap();
        let object = ptr.addr().get();
        let told = rig.global.about(object + 59).unwrap();
        assert_eq!(told.page.used_for, PageUse::Slab);
        assert!(told.page.block.contains(&object));
        let expected = ObjectInfo {
            class: SizeClass::Bytes64,
            start: object,
            freed: false,
        };
        assert_eq!(told.object, Some(expected));
        assert_eq!(rig.free(ptr, layout), Ok(()));
        let told = rig.global.about(object).unwrap();
        assert!(told.object.unwrap().freed);
        assert!(format!("{told}").starts_with(&format!(
            "the 64-byte object at {object:#x}, which is free, in a slab 0x"
        )));

        let block = rig.global.alloc_pages(4, 0).unwrap();
        let told = rig.global.about(block + 3 * 4096 + 17).unwrap();
        assert_eq!(told.page.used_for, PageUse::Allocated);
        assert_eq!(told.page.block, block..block + 4 * 4096);
        assert_eq!(told.object, None);
        // SAFETY: allocated above, and not used.
        assert_eq!(unsafe { rig.global.dealloc_pages(block, 4) }, Ok(()));
        let told = rig.global.about(block + 3 * 4096 + 17).unwrap();
        assert!(matches!(
            told.page.used_for,
            PageUse::Free | PageUse::Cached
        ));
        assert_eq!(rig.global.about(0), None);
        rig.is_recovered();
    }
}
