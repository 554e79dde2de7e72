//! Firmware maps as real machines gave them, and exactly what must come out of each.

use std::{fs, path::PathBuf};

use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use twinframe_boot::memmap::{
    Class, DropReason, PAGE_SIZE, Reservation, Verdict, e820_entry, normalise,
};

struct Fixture {
    name: &'static str,
    /// Start and end of every usable region when only frame 0 is reserved.
    regions: &'static [(u64, u64)],
    /// Usable bytes in no region: frame 0 and the odd end of low memory.
    lost: u64,
}

const FIXTURES: &[Fixture] = &[
    Fixture {
        name: "bootinfo-bios-128m",
        regions: &[
            (0x1000, 0x9_f000),
            (0x10_0000, 0x100_0000),
            (0x101_2000, 0x101_3000),
            (0x144_1000, 0x7fe_0000),
        ],
        lost: 7_168,
    },
    Fixture {
        name: "bootinfo-bios-6g",
        regions: &[
            (0x1000, 0x9_f000),
            (0x10_0000, 0x100_0000),
            (0x101_2000, 0x101_3000),
            (0x144_1000, 0xbffe_0000),
            (0x1_0000_0000, 0x1_c000_0000),
        ],
        lost: 7_168,
    },
    Fixture {
        name: "bootinfo-uefi-128m",
        regions: &[
            (0x1000, 0xa_0000),
            (0x13_2000, 0x80_6000),
            (0x80_8000, 0x81_0000),
            (0x90_0000, 0x63a_7000),
            (0x63b_9000, 0x6aa_0000),
            (0x6ba_2000, 0x74e_c000),
            (0x77f_e000, 0x7ef_4000),
        ],
        lost: 4_096,
    },
    Fixture {
        name: "bootinfo-uefi-6g",
        regions: &[
            (0x1000, 0xa_0000),
            (0x13_6000, 0x80_6000),
            (0x80_8000, 0x81_0000),
            (0x90_0000, 0xbe3a_6000),
            (0xbe3b_8000, 0xbeaa_0000),
            (0xbeba_2000, 0xbf4e_c000),
            (0xbf7f_e000, 0xbfef_4000),
            (0x1_0000_0000, 0x1_c000_0000),
        ],
        lost: 4_096,
    },
    Fixture {
        name: "pvh-microvm-256m",
        regions: &[(0x1000, 0x9_f000), (0x10_0000, 0x1000_0000)],
        lost: 7_168,
    },
    Fixture {
        name: "pvh-pc-20m",
        regions: &[(0x1000, 0x9_f000), (0x10_0000, 0x13e_0000)],
        lost: 7_168,
    },
    Fixture {
        name: "pvh-pc-6g",
        regions: &[
            (0x1000, 0x9_f000),
            (0x10_0000, 0xbffe_0000),
            (0x1_0000_0000, 0x1_c000_0000),
        ],
        lost: 7_168,
    },
    Fixture {
        name: "pvh-q35-128m",
        regions: &[(0x1000, 0x9_f000), (0x10_0000, 0x7fd_f000)],
        lost: 7_168,
    },
    Fixture {
        name: "pvh-q35-4t",
        regions: &[
            (0x1000, 0x9_f000),
            (0x10_0000, 0x7ffd_c000),
            (0x100_0000_0000, 0x4ff_8000_0000),
        ],
        lost: 7_168,
    },
    Fixture {
        name: "pvh-q35-6g",
        regions: &[
            (0x1000, 0x9_f000),
            (0x10_0000, 0x7ffd_f000),
            (0x1_0000_0000, 0x2_0000_0000),
        ],
        lost: 7_168,
    },
    Fixture {
        name: "pvh-q35-amd-6g",
        regions: &[
            (0x1000, 0x9_f000),
            (0x10_0000, 0x7ffd_f000),
            (0x1_0000_0000, 0x2_0000_0000),
        ],
        lost: 7_168,
    },
    Fixture {
        name: "pvh-q35-hotplug",
        regions: &[(0x1000, 0x9_f000), (0x10_0000, 0xffd_f000)],
        lost: 7_168,
    },
    Fixture {
        name: "pvh-q35-low1g",
        regions: &[
            (0x1000, 0x9_f000),
            (0x10_0000, 0x3ffd_f000),
            (0x1_0000_0000, 0x2_4000_0000),
        ],
        lost: 7_168,
    },
];

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fixtures", "firmware-maps"]
        .iter()
        .collect()
}

fn load(name: &str) -> Vec<MemoryRegion> {
    let path = folder().join(name).with_extension("map");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| entry(line).unwrap_or_else(|| panic!("{name}: cannot read {line:?}")))
        .collect()
}

fn entry(line: &str) -> Option<MemoryRegion> {
    let hex = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
    let mut words = line.split(' ');
    let (start, end, kind) = (hex(words.next()?)?, hex(words.next()?)?, words.next()?);
    if let Ok(code) = kind.parse() {
        return Some(e820_entry(start, end - start, code));
    }
    let number = |name: &str| kind.strip_prefix(name)?.strip_suffix(')')?.parse().ok();
    let kind = match kind {
        "Usable" => MemoryRegionKind::Usable,
        "Bootloader" => MemoryRegionKind::Bootloader,
        _ => number("UnknownBios(")
            .map(MemoryRegionKind::UnknownBios)
            .or_else(|| number("UnknownUefi(").map(MemoryRegionKind::UnknownUefi))?,
    };
    Some(MemoryRegion { start, end, kind })
}

fn regions(
    firmware: &mut [MemoryRegion],
    reservations: &mut [Reservation],
    class: Class,
) -> Vec<(u64, u64)> {
    normalise(firmware, reservations)
        .regions(class)
        .map(|region| (region.start(), region.end().unwrap()))
        .collect()
}

#[test]
fn every_map_gives_exactly_its_usable_pages() {
    for fixture in FIXTURES {
        let mut firmware = load(fixture.name);
        let found = regions(&mut firmware, &mut [Reservation::FRAME_ZERO], Class::Usable);
        assert_eq!(found, fixture.regions, "{}", fixture.name);
    }
}

#[test]
fn the_order_of_entries_does_not_matter() {
    for fixture in FIXTURES {
        let mut firmware = load(fixture.name);
        firmware.reverse();
        let found = regions(&mut firmware, &mut [Reservation::FRAME_ZERO], Class::Usable);
        assert_eq!(found, fixture.regions, "{}", fixture.name);
    }
}

#[test]
fn every_byte_is_accounted_for() {
    for fixture in FIXTURES {
        let mut firmware = load(fixture.name);
        let usable: u64 = firmware
            .iter()
            .filter(|entry| entry.kind == MemoryRegionKind::Usable)
            .map(|entry| entry.end - entry.start)
            .sum();
        let mut reservations = [Reservation::FRAME_ZERO];
        let map = normalise(&mut firmware, &mut reservations);
        let totals = map.report(Class::Usable).totals();
        let expected: u64 = fixture.regions.iter().map(|(start, end)| end - start).sum();
        assert_eq!(totals.entries, map.firmware().len(), "{}", fixture.name);
        assert_eq!(totals.regions, fixture.regions.len(), "{}", fixture.name);
        assert_eq!(totals.managed, expected, "{}", fixture.name);
        assert_eq!(totals.lost, fixture.lost, "{}", fixture.name);
        assert_eq!(totals.managed + totals.lost, usable, "{}", fixture.name);
    }
}

#[test]
fn a_kernel_in_the_middle_costs_only_the_pages_it_touches() {
    for fixture in FIXTURES {
        let mut reservations = [
            Reservation {
                start: 0x20_0123,
                end: 0x2f_f456,
                owner: "kernel",
            },
            Reservation::FRAME_ZERO,
        ];
        let found = regions(&mut load(fixture.name), &mut reservations, Class::Usable);
        let expected: Vec<_> = fixture
            .regions
            .iter()
            .flat_map(|&(start, end)| {
                // No fixture has an edge inside the kernel's pages.
                if start < 0x20_0000 && 0x30_0000 <= end {
                    vec![(start, 0x20_0000), (0x30_0000, end)]
                } else {
                    vec![(start, end)]
                }
            })
            .collect();
        assert_eq!(found.len(), fixture.regions.len() + 1, "{}", fixture.name);
        assert_eq!(found, expected, "{}", fixture.name);
    }
}

#[test]
fn acpi_tables_can_be_had_later() {
    for (name, tables) in [
        ("bootinfo-uefi-128m", (0x776_c000, 0x777_e000)),
        ("bootinfo-uefi-6g", (0xbf76_c000, 0xbf77_e000)),
    ] {
        let mut firmware = load(name);
        let found = regions(&mut firmware, &mut [], Class::Reclaimable);
        assert_eq!(found, [tables], "{name}");
    }
    let bios = regions(&mut load("bootinfo-bios-6g"), &mut [], Class::Reclaimable);
    assert_eq!(bios, []);
}

#[test]
fn the_zero_entry_of_microvm_is_named_as_such() {
    let mut firmware = load("pvh-microvm-256m");
    let map = normalise(&mut firmware, &mut []);
    let dropped: Vec<_> = map
        .report(Class::Usable)
        .rows()
        .filter(|row| matches!(row.verdict, Verdict::Dropped(_)))
        .collect();
    assert_eq!(dropped.len(), 1);
    assert_eq!(dropped[0].verdict, Verdict::Dropped(DropReason::Empty));
    assert_eq!(dropped[0].entry.kind, MemoryRegionKind::UnknownBios(0));
}

#[test]
fn a_loader_region_of_one_page_is_not_lost() {
    let mut firmware = load("bootinfo-bios-128m");
    let map = normalise(&mut firmware, &mut []);
    let row = map
        .report(Class::Usable)
        .rows()
        .find(|row| row.entry.start == 0x101_2000)
        .unwrap();
    assert_eq!((row.managed, row.lost), (PAGE_SIZE, 0));
    assert_eq!(row.verdict, Verdict::Added);
}

#[test]
fn no_file_is_left_out() {
    let mut files: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|file| PathBuf::from(file.unwrap().file_name()))
        .map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    let tested: Vec<_> = FIXTURES.iter().map(|fixture| fixture.name).collect();
    assert_eq!(files, tested);
}
