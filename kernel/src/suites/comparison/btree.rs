//! A B-tree, in a subject's memory, with nodes as those of the standard library's `BTreeMap`: which takes its
//! memory from the global allocator only.

use core::alloc::Layout;

use super::subjects::Subject;

/// Half of the children that a node can have.
const HALF: usize = 6;
/// Keys that a node can have.
const KEYS: usize = 2 * HALF - 1;

#[repr(C)]
struct Leaf {
    length: usize,
    keys: [u64; KEYS],
    values: [u64; KEYS],
}

#[repr(C)]
struct Inner {
    leaf: Leaf,
    children: [*mut Leaf; KEYS + 1],
}

const _: () = assert!(size_of::<Leaf>() == 184 && size_of::<Inner>() == 280);

/// The tree. A key may be in it more than once.
pub(super) struct Tree<'a, S: Subject> {
    subject: &'a S,
    root: *mut Leaf,
    /// Levels below the root.
    height: usize,
}

/// Memory ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

const fn layout(height: usize) -> Layout {
    if height == 0 {
        Layout::new::<Leaf>()
    } else {
        Layout::new::<Inner>()
    }
}

/// The children of a node that has some.
///
/// # Safety
///
/// The node has a height above 0, and nobody else refers to it.
unsafe fn children<'n>(node: *mut Leaf) -> &'n mut [*mut Leaf; KEYS + 1] {
    // SAFETY: as the caller promises.
    &mut unsafe { &mut *node.cast::<Inner>() }.children
}

impl<'a, S: Subject> Tree<'a, S> {
    pub(super) fn new(subject: &'a S) -> Result<Self, Full> {
        let mut tree = Self {
            subject,
            root: core::ptr::null_mut(),
            height: 0,
        };
        tree.root = tree.node(0)?;
        Ok(tree)
    }

    /// A node without keys.
    fn node(&self, height: usize) -> Result<*mut Leaf, Full> {
        let node = self.subject.alloc(layout(height)).cast::<Leaf>();
        if node.is_null() {
            return Err(Full);
        }
        // SAFETY: freshly allocated; all of it is plain numbers.
        unsafe { node.cast::<u8>().write_bytes(0, layout(height).size()) };
        Ok(node)
    }

    /// Puts a key in.
    pub(super) fn insert(&mut self, key: u64, value: u64) -> Result<(), Full> {
        // SAFETY: the root is a node of this tree.
        if unsafe { &*self.root }.length == KEYS {
            let root = self.node(self.height + 1)?;
            // SAFETY: it has a height above 0.
            let edges = unsafe { children(root) };
            edges[0] = self.root;
            self.root = root;
            self.height += 1;
            self.split(root, 0, self.height)?;
        }
        let (mut node, mut height) = (self.root, self.height);
        loop {
            // SAFETY: a node of this tree, which has one owner.
            let leaf = unsafe { &mut *node };
            let mut index = leaf.keys[..leaf.length].partition_point(|other| *other < key);
            if height == 0 {
                leaf.keys.copy_within(index..leaf.length, index + 1);
                leaf.values.copy_within(index..leaf.length, index + 1);
                leaf.keys[index] = key;
                leaf.values[index] = value;
                leaf.length += 1;
                return Ok(());
            }
            // SAFETY: its height is above 0; `leaf` is not used while this is.
            let child = unsafe { children(node) }[index];
            // SAFETY: a node of this tree.
            if unsafe { &*child }.length == KEYS {
                self.split(node, index, height)?;
                // SAFETY: as above.
                index += usize::from(unsafe { &*node }.keys[index] < key);
            }
            // SAFETY: as above.
            node = unsafe { children(node) }[index];
            height -= 1;
        }
    }

    /// Splits a full child of a node that is not full itself.
    fn split(&self, node: *mut Leaf, index: usize, height: usize) -> Result<(), Full> {
        let new = self.node(height - 1)?;
        // SAFETY: `node` is above the leaves, and this tree has one owner.
        let full = unsafe { children(node) }[index];
        if height > 1 {
            // SAFETY: both are above the leaves.
            let from = unsafe { children(full) };
            // SAFETY: the same; they are two nodes.
            let to = unsafe { children(new) };
            to[..HALF].copy_from_slice(&from[HALF..]);
        }
        // SAFETY: three nodes of this tree, each referred to once.
        let left = unsafe { &mut *full };
        // SAFETY: as above.
        let right = unsafe { &mut *new };
        // SAFETY: as above.
        let parent = unsafe { &mut *node };
        right.keys[..HALF - 1].copy_from_slice(&left.keys[HALF..]);
        right.values[..HALF - 1].copy_from_slice(&left.values[HALF..]);
        right.length = HALF - 1;
        left.length = HALF - 1;
        let length = parent.length;
        parent.keys.copy_within(index..length, index + 1);
        parent.values.copy_within(index..length, index + 1);
        parent.keys[index] = left.keys[HALF - 1];
        parent.values[index] = left.values[HALF - 1];
        parent.length = length + 1;
        // SAFETY: `node` is above the leaves; `parent` is not used any more.
        let edges = unsafe { children(node) };
        edges.copy_within(index + 1..=length, index + 2);
        edges[index + 1] = new;
        Ok(())
    }

    fn free(&self, node: *mut Leaf, height: usize) {
        if height > 0 {
            // SAFETY: a node of this tree.
            let length = unsafe { &*node }.length;
            for index in 0..=length {
                // SAFETY: it is above the leaves.
                let child = unsafe { children(node) }[index];
                self.free(child, height - 1);
            }
        }
        // SAFETY: allocated for this layout, and nobody refers to it any more.
        unsafe { self.subject.free(node.cast(), layout(height)) };
    }
}

impl<S: Subject> Drop for Tree<'_, S> {
    fn drop(&mut self) {
        self.free(self.root, self.height);
    }
}
