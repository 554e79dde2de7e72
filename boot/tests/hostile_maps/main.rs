//! Maps that no honest firmware gives, against a model that paints one byte at a time.

mod rules;

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use proptest::{collection::vec, prelude::*, sample::select};
use rules::{PAGE, TOP, claim};
use twinframe_boot::memmap::{Class, PAGE_SIZE, Reservation, Verdict, normalise};

/// The stretch of the address space in which a map's interesting bounds lie. The model paints it
/// byte by byte; outside it a map of this kind has only what reaches across its edge.
#[derive(Debug, Clone, Copy)]
struct Window {
    first_page: u64,
    pages: u64,
}

impl Window {
    fn start(self) -> u128 {
        u128::from(self.first_page) * PAGE
    }

    fn end(self) -> u128 {
        u128::from(self.first_page + self.pages) * PAGE
    }
}

/// What the entries say of one byte.
#[derive(Clone, Copy, Default)]
struct Paint {
    usable: bool,
    reclaimable: bool,
    reserved: bool,
}

fn is_reclaimable(kind: MemoryRegionKind) -> bool {
    matches!(
        kind,
        MemoryRegionKind::UnknownBios(3) | MemoryRegionKind::UnknownUefi(9)
    )
}

/// Numbers of the pages in the window that `class` must give.
fn model(
    window: Window,
    firmware: &[MemoryRegion],
    reservations: &[Reservation],
    class: Class,
) -> Vec<u64> {
    let mut bytes = vec![Paint::default(); (window.end() - window.start()) as usize];
    let mut paint = |(start, end): (u128, u128), brush: fn(&mut Paint)| {
        let low = start.clamp(window.start(), window.end()) - window.start();
        let high = end.clamp(window.start(), window.end()) - window.start();
        bytes[low as usize..high as usize]
            .iter_mut()
            .for_each(brush);
    };
    for entry in firmware {
        let (start, end) = claim(entry.start, entry.end);
        let wraps = end > TOP;
        let (offered, brush): (bool, fn(&mut Paint)) = match entry.kind {
            MemoryRegionKind::Usable => (class == Class::Usable, |byte| byte.usable = true),
            kind if is_reclaimable(kind) => (class == Class::Reclaimable, |byte| {
                byte.reclaimable = true;
            }),
            _ => (false, |byte| byte.reserved = true),
        };
        if !(wraps && offered) {
            paint((start, end.min(TOP)), brush);
        }
    }
    for reservation in reservations {
        let (start, end) = claim(reservation.start, reservation.end);
        paint((start, end.min(TOP)), |byte| byte.reserved = true);
    }
    let is_free = |byte: &Paint| match class {
        Class::Usable => byte.usable && !byte.reclaimable && !byte.reserved,
        Class::Reclaimable => byte.reclaimable && !byte.usable && !byte.reserved,
        Class::Reserved => unreachable!("nobody asks for reserved memory"),
    };
    bytes
        .chunks(PAGE as usize)
        .zip(window.first_page..)
        .filter(|(page, _)| page.iter().all(is_free))
        .map(|(_, number)| number)
        .collect()
}

/// Compares with the model inside the window.
fn check(window: Window, firmware: &[MemoryRegion], reservations: &[Reservation], class: Class) {
    let expected = model(window, firmware, reservations, class);
    let (mut sorted, mut kept) = (firmware.to_vec(), reservations.to_vec());
    let map = normalise(&mut sorted, &mut kept);
    let found: Vec<u64> = map
        .regions(class)
        .flat_map(|region| {
            let end = region.first_page() + region.pages();
            region.first_page().max(window.first_page)..end.min(window.first_page + window.pages)
        })
        .collect();
    assert_eq!(
        found, expected,
        "{class:?} of {firmware:x?} without {reservations:x?}"
    );
    rules::check(firmware, reservations, class);
}

fn kind() -> impl Strategy<Value = MemoryRegionKind> {
    prop_oneof![
        8 => Just(MemoryRegionKind::Usable),
        1 => Just(MemoryRegionKind::Bootloader),
        2 => Just(MemoryRegionKind::UnknownBios(3)),
        1 => Just(MemoryRegionKind::UnknownUefi(9)),
        1 => any::<u32>().prop_map(MemoryRegionKind::UnknownBios),
        1 => any::<u32>().prop_map(MemoryRegionKind::UnknownUefi),
    ]
}

/// An address in or at the edge of the window: often a page boundary, or one byte off.
fn address(window: Window) -> impl Strategy<Value = u64> {
    let aligned = (0..=window.pages, 0..=2_u64)
        .prop_map(|(page, nudge)| (page * PAGE_SIZE + nudge).wrapping_sub(1));
    prop_oneof![3 => aligned, 1 => 0..=window.pages * PAGE_SIZE]
        // The end of a window at the top is address 0.
        .prop_map(move |offset| (window.first_page * PAGE_SIZE).wrapping_add(offset))
}

/// Start and end. Mostly in order; the rest are empty, wrap around, or reach far out.
fn bounds(window: Window) -> impl Strategy<Value = (u64, u64)> {
    let ordered = (address(window), address(window)).prop_map(|(a, b)| (a.min(b), a.max(b)));
    prop_oneof![
        20 => ordered,
        1 => address(window).prop_map(|at| (at, at)),
        1 => (address(window), address(window)),
        1 => (address(window), any::<u64>()),
        1 => (any::<u64>(), address(window)),
        1 => (any::<u64>(), any::<u64>()),
    ]
}

fn entry(window: Window) -> impl Strategy<Value = MemoryRegion> {
    (bounds(window), kind()).prop_map(|((start, end), kind)| MemoryRegion { start, end, kind })
}

fn reservation(window: Window) -> impl Strategy<Value = Reservation> {
    bounds(window).prop_map(|(start, end)| Reservation {
        start,
        end,
        owner: "test",
    })
}

fn window(pages: u64) -> impl Strategy<Value = Window> {
    // The bottom, 4 GiB in the middle, 1 TiB at the end, the top.
    let first_pages = [
        0,
        (1 << 20) - pages / 2,
        (1 << 28) - pages,
        (1 << 52) - pages,
    ];
    select(first_pages.to_vec()).prop_map(move |first_page| Window { first_page, pages })
}

fn hostile(
    pages: u64,
    entries: usize,
) -> impl Strategy<Value = (Window, Vec<MemoryRegion>, Vec<Reservation>)> {
    window(pages).prop_flat_map(move |window| {
        (
            Just(window),
            vec(entry(window), 0..=entries),
            vec(reservation(window), 0..=3),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_few_entries_over_a_few_pages((window, firmware, reservations) in hostile(6, 8)) {
        check(window, &firmware, &reservations, Class::Usable);
        check(window, &firmware, &reservations, Class::Reclaimable);
    }
}

/// Entries too small to hide each other, so that thousands of them leave something to find.
fn small_entry(window: Window) -> impl Strategy<Value = MemoryRegion> {
    let kind = prop_oneof![30 => Just(MemoryRegionKind::Usable), 1 => kind()];
    (address(window), 0..3 * PAGE_SIZE, kind).prop_map(|(start, len, kind)| MemoryRegion {
        start,
        end: start.wrapping_add(len),
        kind,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn thousands_of_entries(
        (window, firmware) in window(512)
            .prop_flat_map(|window| (Just(window), vec(small_entry(window), 1000..4000)))
    ) {
        check(window, &firmware, &[], Class::Usable);
        check(window, &firmware, &[], Class::Reclaimable);
    }
}

#[test]
fn a_million_entries_take_one_sort_and_one_sweep() {
    // Alternating half-page claims and a long reservation: quadratic work would take hours.
    let mut firmware: Vec<_> = (0..1_000_000_u64)
        .rev()
        .map(|i| MemoryRegion {
            start: i * 0x800,
            end: (i + 1) * 0x800,
            kind: MemoryRegionKind::Usable,
        })
        .collect();
    let mut reservations = [Reservation {
        start: 0,
        end: 500_000 * 0x800,
        owner: "test",
    }];
    let map = normalise(&mut firmware, &mut reservations);
    let regions: Vec<_> = map.regions(Class::Usable).collect();
    assert_eq!(regions.len(), 1);
    assert_eq!(regions[0].start(), 500_000 * 0x800);
    assert_eq!(regions[0].pages(), 250_000);
    assert_eq!(map.report(Class::Usable).totals().lost, 500_000 * 0x800);
}

#[test]
fn the_whole_address_space_is_one_region() {
    let usable = |start, end| MemoryRegion {
        start,
        end,
        kind: MemoryRegionKind::Usable,
    };
    let mut firmware = [usable(1 << 63, 0), usable(0, 1 << 63)];
    let map = normalise(&mut firmware, &mut []);
    let regions: Vec<_> = map.regions(Class::Usable).collect();
    assert_eq!(regions.len(), 1);
    assert_eq!(regions[0].pages(), 1 << 52);
    assert_eq!(map.report(Class::Usable).totals().managed, u64::MAX);
}

#[test]
fn a_wrapping_reservation_keeps_everything_above_and_nothing_below() {
    let mut firmware = [
        MemoryRegion {
            start: 0,
            end: 0x10_0000,
            kind: MemoryRegionKind::Usable,
        },
        MemoryRegion {
            start: 0x8000,
            end: 0x4000,
            kind: MemoryRegionKind::UnknownBios(2),
        },
    ];
    let map = normalise(&mut firmware, &mut []);
    let regions: Vec<_> = map.regions(Class::Usable).collect();
    assert_eq!(regions.len(), 1);
    assert_eq!((regions[0].start(), regions[0].end()), (0, Some(0x8000)));
    let verdicts: Vec<_> = map
        .report(Class::Usable)
        .rows()
        .map(|row| row.verdict)
        .collect();
    assert_eq!(
        verdicts,
        [Verdict::Added, Verdict::KeptToTop(Class::Reserved)]
    );
}

#[test]
fn a_page_is_offered_unless_the_firmware_keeps_part_of_it() {
    let entry = |start, end, kind| MemoryRegion { start, end, kind };
    let mut firmware = [
        entry(0, 0x1_0000, MemoryRegionKind::Usable),
        entry(0x3800, 0x4800, MemoryRegionKind::UnknownBios(2)),
    ];
    let mut reservations = [Reservation {
        start: 0x1000,
        end: 0x2000,
        owner: "test",
    }];
    let map = normalise(&mut firmware, &mut reservations);
    let offered =
        [0, 0x1000, 0x3000, 0x4000, 0x5000, 0xf000, 0x1_0000].map(|page| map.offers(page));
    assert_eq!(offered, [true, true, false, false, true, true, false]);
}
