//! The files in `corpus/`, one after another, without a fuzzer: what a stable compiler can do.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use arbitrary::{Arbitrary, Unstructured};
use twinframe_fuzz::{
    Hardened, Host, check_map, check_tables, play_objects, play_shared, play_single, play_tree,
};

/// All allocators under test manage the same memory, so one target plays at a time.
static MEMORY: Mutex<()> = Mutex::new(());

fn replay(target: &str, play: fn(&[u8])) {
    let _alone = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("a corpus")
        .map(|file| file.expect("a file").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        println!("{}", file.display());
        play(&std::fs::read(file).expect("readable"));
    }
}

/// What the fuzzer would make of the bytes.
fn of<'b, T: Arbitrary<'b>>(bytes: &'b [u8]) -> T {
    T::arbitrary_take_rest(Unstructured::new(bytes)).expect("enough bytes")
}

#[test]
fn acpi() {
    replay("acpi", check_tables);
}

#[test]
fn bittree() {
    replay("bittree", |bytes| play_tree(of(bytes)));
}

#[test]
fn frames() {
    replay("frames", |bytes| play_shared(of(bytes)));
}

#[test]
fn hardened() {
    replay("hardened", |bytes| play_objects::<Hardened>(of(bytes)));
}

#[test]
fn memmap() {
    replay("memmap", check_map);
}

#[test]
fn objects() {
    replay("objects", |bytes| play_objects::<Host>(of(bytes)));
}

#[test]
fn pages() {
    replay("pages", |bytes| play_single(of(bytes)));
}
