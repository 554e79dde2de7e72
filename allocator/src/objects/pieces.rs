//! The parts of a slab that can become pages again before all of it does.
//!
//! A slab with one live object is held by it. Where page metadata has an entry for each part of a slab, the
//! parts in which no live object lies can go: their free objects are not handed out any more, and the others
//! stay what they are.

use super::bits::{WORD_BITS, Word};
use super::size_class::SizeClass;
use crate::pages::SLAB_GRAIN;

/// Bytes of a piece.
pub(crate) const PIECE: usize = SLAB_GRAIN;

/// The most pieces that a slab has.
const MOST: usize = 4;

/// Some pieces of a slab: a bit for each, the lowest for the one with the lowest address.
pub(crate) type Pieces = usize;

/// All pieces of the longest slab.
pub(crate) const ALL: Pieces = (1 << MOST) - 1;

/// For each piece, the objects that lie in it, if only in part; nothing where slabs stay whole.
///
/// Those of smaller classes do: they have so many objects that hardly a piece is without a live one.
static OBJECTS: [[Word; MOST]; SizeClass::COUNT] = {
    let mut all = [[0; MOST]; SizeClass::COUNT];
    let mut class = 0;
    while class < SizeClass::COUNT {
        all[class] = objects_of(SizeClass::ALL[class]);
        class += 1;
    }
    all
};

const fn objects_of(class: SizeClass) -> [Word; MOST] {
    let mut masks = [0; MOST];
    let bytes = class.slab_pages(1);
    let objects = class.objects_in(bytes);
    if objects > WORD_BITS || bytes == PIECE {
        return masks;
    }
    let mut index = 0;
    while index < objects {
        let mut piece = index * class.size() / PIECE;
        while piece * PIECE < (index + 1) * class.size() {
            masks[piece] |= 1 << index;
            piece += 1;
        }
        index += 1;
    }
    masks
}

/// Whether slabs of `class` can go in pieces, with pages of that size.
pub(crate) fn has_some<const PAGE_SIZE: usize>(class: SizeClass) -> bool {
    PAGE_SIZE <= PIECE && OBJECTS[class.index()][0] != 0
}

/// The pieces in which there are none but these objects.
pub(crate) fn within(class: SizeClass, objects: Word) -> Pieces {
    let masks = OBJECTS[class.index()].iter().enumerate();
    masks
        .filter(|(_, mask)| **mask != 0 && **mask & !objects == 0)
        .fold(0, |pieces, (piece, _)| pieces | 1 << piece)
}

/// The objects that lie in these pieces, if only in part.
pub(crate) fn objects(class: SizeClass, pieces: Pieces) -> Word {
    let masks = OBJECTS[class.index()].iter().enumerate();
    masks
        .filter(|(piece, _)| pieces >> piece & 1 != 0)
        .fold(0, |objects, (_, mask)| objects | mask)
}

/// Where these pieces of a slab of `bytes` bytes begin, counted from its first byte.
pub(crate) fn offsets(pieces: Pieces, bytes: usize) -> impl Iterator<Item = usize> {
    let all = (0..bytes.div_ceil(PIECE)).filter(move |piece| pieces >> piece & 1 != 0);
    all.map(|piece| piece * PIECE)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_in_the_pieces_that_its_bytes_are_in() {
        for class in SizeClass::ALL {
            let bytes = class.slab_pages(4096) * 4096;
            let objects_of_slab = class.objects_in(bytes);
            assert!(bytes <= MOST * PIECE);
            if !has_some::<4096>(class) {
                assert!(objects_of_slab > WORD_BITS || bytes == PIECE);
                assert_eq!(within(class, Word::MAX), 0);
                continue;
            }
            for piece in 0..bytes / PIECE {
                let touches = |index: &usize| {
                    let begin = index * class.size();
                    begin < (piece + 1) * PIECE && begin + class.size() > piece * PIECE
                };
                let expected = (0..objects_of_slab).filter(touches);
                let expected = expected.fold(0, |mask, index| mask | 1 << index);
                assert_eq!(objects(class, 1 << piece), expected, "{class:?} {piece}");
                assert_ne!(within(class, expected) & 1 << piece, 0);
                assert_eq!(within(class, expected & (expected - 1)) & 1 << piece, 0);
            }
            let all = within(class, Word::MAX);
            assert_eq!(offsets(all, bytes).count(), bytes / PIECE);
        }
        assert!(has_some::<4096>(SizeClass::Bytes2048) && has_some::<4096>(SizeClass::Bytes1280));
        assert!(!has_some::<4096>(SizeClass::Bytes64) && !has_some::<0x4000>(SizeClass::Bytes2048));
    }
}
