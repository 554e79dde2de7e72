//! Devices that are made up, among them such as nobody would build.
#![allow(clippy::cast_possible_truncation)] // small numbers throughout

use std::cell::RefCell;
use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;
use twinframe_boot::pci::{
    BadBar, BadList, Bar, ConfigRegionAccess, Functions, MultipleMessageSupport, PciAddress,
    TriggerMode, bars, msi,
};

/// A function's 64 registers, and which bits of them can be written.
#[derive(Debug, Clone)]
struct Function {
    registers: [u32; 64],
    writable: [u32; 64],
    /// Bits that are 0 after any write.
    dropped: [u32; 64],
}

impl Function {
    fn new(id: u32) -> Self {
        let mut registers = [0; 64];
        registers[0] = id;
        let mut writable = [0; 64];
        writable[1] = 0x407;
        Self {
            registers,
            writable,
            dropped: [0; 64],
        }
    }

    fn with(mut self, register: usize, value: u32, writable: u32) -> Self {
        self.registers[register] = value;
        self.writable[register] = writable;
        self
    }

    fn bridge(to: u8) -> Self {
        Self::new(0x1_1111)
            .with(3, 1 << 16, 0)
            .with(6, u32::from(to) << 8, 0)
    }

    fn multifunction(mut self) -> Self {
        self.registers[3] |= 1 << 23;
        self
    }
}

#[derive(Debug, Default)]
struct Machine(RefCell<HashMap<PciAddressKey, Function>>);

type PciAddressKey = (u8, u8, u8);

fn key(address: PciAddress) -> PciAddressKey {
    (address.bus(), address.device(), address.function())
}

impl Machine {
    fn new(functions: impl IntoIterator<Item = (PciAddressKey, Function)>) -> Self {
        Self(RefCell::new(functions.into_iter().collect()))
    }

    fn found(&self) -> Vec<PciAddressKey> {
        Functions::new(self).map(key).collect()
    }
}

impl ConfigRegionAccess for Machine {
    unsafe fn read(&self, address: PciAddress, offset: u16) -> u32 {
        assert!(offset < 0x100 && offset.is_multiple_of(4), "{offset:#x}");
        let functions = self.0.borrow();
        functions.get(&key(address)).map_or(u32::MAX, |function| {
            function.registers[usize::from(offset / 4)]
        })
    }

    unsafe fn write(&self, address: PciAddress, offset: u16, value: u32) {
        assert!(offset < 0x100 && offset.is_multiple_of(4), "{offset:#x}");
        let mut functions = self.0.borrow_mut();
        if let Some(function) = functions.get_mut(&key(address)) {
            let register = usize::from(offset / 4);
            let writable = function.writable[register];
            let old = function.registers[register];
            let dropped = function.dropped[register];
            function.registers[register] = (old & !writable | value & writable) & !dropped;
        }
    }
}

/// One function with these base address registers: value, writable bits.
fn sized(registers: &[(u32, u32)]) -> ([Option<Result<Bar, BadBar>>; 6], Function) {
    let mut function = Function::new(0x11e8_1234).with(1, 0x407, 0x407);
    for (slot, &(value, writable)) in registers.iter().enumerate() {
        function = function.with(4 + slot, value, writable);
    }
    let before = function.clone();
    let machine = Machine::new([((0, 3, 0), function)]);
    let found = bars(&machine, PciAddress::new(0, 0, 3, 0));
    let after = machine.0.borrow()[&(0, 3, 0)].clone();
    assert_eq!(after.registers, before.registers, "all is as it was before");
    (found, after)
}

fn memory(phys: u64, bytes: u64) -> Option<Result<Bar, BadBar>> {
    Some(Ok(Bar::Memory {
        phys,
        bytes,
        prefetchable: false,
    }))
}

#[test]
fn functions_behind_bridges_are_found() {
    let machine = Machine::new([
        ((0, 0, 0), Function::new(0x29c0_8086)),
        ((0, 2, 0), Function::bridge(7)),
        ((0, 31, 0), Function::new(0x2918_8086).multifunction()),
        ((0, 31, 2), Function::new(0x2922_8086)),
        ((0, 31, 7), Function::new(0x2930_8086)),
        ((0, 30, 0), Function::new(0x1234_8086)),
        ((0, 30, 1), Function::new(0x1234_8086)), // not announced
        ((7, 0, 0), Function::bridge(255)),
        ((255, 31, 0), Function::new(0x11e8_1234)),
        ((9, 0, 0), Function::new(0x11e8_1234)), // nothing leads there
    ]);
    assert_eq!(
        machine.found(),
        [
            (0, 0, 0),
            (0, 2, 0),
            (0, 30, 0),
            (0, 31, 0),
            (0, 31, 2),
            (0, 31, 7),
            (7, 0, 0),
            (255, 31, 0),
        ]
    );
}

#[test]
fn no_bus_at_all() {
    assert_eq!(Machine::default().found(), []);
    let zeros = Function {
        registers: [0; 64],
        writable: [0; 64],
        dropped: [0; 64],
    };
    let everywhere = (0..32).map(|device| ((0, device, 0), zeros.clone()));
    assert_eq!(Machine::new(everywhere).found(), []);
}

#[test]
fn bridges_that_lead_back_are_followed_once() {
    let machine = Machine::new([
        ((0, 1, 0), Function::bridge(0)),
        ((0, 2, 0), Function::bridge(1)),
        ((0, 3, 0), Function::bridge(1)),
        ((1, 0, 0), Function::bridge(1)),
        ((1, 1, 0), Function::bridge(0)),
    ]);
    assert_eq!(machine.found().len(), 5);
}

#[test]
fn ranges_of_every_kind() {
    let (found, _) = sized(&[
        (0xfeb0_0000, 0xfff0_0000),
        (0x0000_c001, 0x0000_ffe0),
        (0x0000_000c, 0xc000_0000),
        (0x0000_0080, 0xffff_ffff),
        (0, 0),
        (0x000c_0002, 0xffff_0000),
    ]);
    assert_eq!(
        found,
        [
            memory(0xfeb0_0000, 1 << 20),
            Some(Ok(Bar::Ports {
                first: 0xc000,
                count: 32
            })),
            Some(Ok(Bar::Memory {
                phys: 0x80_0000_0000,
                bytes: 1 << 30,
                prefetchable: true
            })),
            None,
            None,
            memory(0xc_0000, 1 << 16),
        ]
    );
}

#[test]
fn a_range_may_be_larger_than_half_the_address_space() {
    let (found, _) = sized(&[(0x0000_0004, 0), (0x8000_0000, 0x8000_0000)]);
    assert_eq!(found[0], memory(1 << 63, 1 << 63));
    let (found, _) = sized(&[(0x8000_0000, 0x8000_0000)]);
    assert_eq!(found[0], memory(1 << 31, 1 << 31));
}

#[test]
fn impossible_ranges_are_refused() {
    let refused = |registers: &[(u32, u32)]| match sized(registers).0[0] {
        Some(Err(bad)) => {
            assert!(!bad.to_string().is_empty());
            bad
        }
        other => panic!("{registers:x?}: {other:?}"),
    };
    // No bit can be written, though something is there.
    assert_eq!(refused(&[(0xfeb0_0000, 0)]), BadBar::Holes(0xfeb0_0000));
    assert_eq!(refused(&[(0x0000_0008, 0)]), BadBar::NoSize);
    assert_eq!(refused(&[(0x0000_0004, 0), (0, 0)]), BadBar::NoSize);
    assert_eq!(refused(&[(0x0000_0001, 0)]), BadBar::NoSize);
    assert_eq!(
        refused(&[(0xfef0_0000, 0xf0f0_0000)]),
        BadBar::Holes(0xfef0_0000)
    );
    assert_eq!(refused(&[(0x6, 0xffff_fff0), (0, 0)]), BadBar::Kind);
    assert_eq!(refused(&[(0, 0xffff_0000)]), BadBar::NoAddress(0x1_0000));
    assert_eq!(
        refused(&[(0xfeb0_1000, 0xfff0_0000)]),
        BadBar::Holes(0xfff0_1000)
    );
    let (found, _) = sized(&[(0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0x4, 0xfff0_0000)]);
    assert_eq!(found[5], Some(Err(BadBar::HalfMissing)));
}

#[test]
fn a_range_that_its_size_does_not_divide_is_refused() {
    let mut function = Function::new(0x11e8_1234).with(4, 0xfeb0_1000, u32::MAX);
    function.dropped[4] = 0x000f_ffff;
    let machine = Machine::new([(PLACE, function)]);
    assert_eq!(
        bars(&machine, address())[0],
        Some(Err(BadBar::Misaligned {
            address: 0xfeb0_1000,
            bytes: 1 << 20
        }))
    );
}

#[test]
fn bridges_have_no_such_ranges() {
    let bridge = Function::bridge(1).with(4, 0xfeb0_0000, 0xfff0_0000);
    let machine = Machine::new([((0, 1, 0), bridge)]);
    assert_eq!(bars(&machine, PciAddress::new(0, 0, 1, 0)), [None; 6]);
}

/// A function with a list of capabilities that starts at `first`; each is (offset, register).
fn capable(first: u8, list: &[(u8, u32)]) -> Machine {
    let mut function = Function::new(0x11e8_1234)
        .with(1, 1 << 20, 0)
        .with(13, first.into(), 0);
    for &(at, register) in list {
        function = function.with(usize::from(at / 4), register, 0x0071_0000);
        for above in usize::from(at / 4) + 1..(usize::from(at / 4) + 4).min(64) {
            function.writable[above] = u32::MAX;
        }
    }
    Machine::new([((0, 3, 0), function)])
}

const PLACE: (u8, u8, u8) = (0, 3, 0);

fn address() -> PciAddress {
    PciAddress::new(0, PLACE.0, PLACE.1, PLACE.2)
}

#[test]
fn message_signalled_interrupts_are_set_up() {
    let machine = capable(0x40, &[(0x40, 0x0000_5001), (0x50, 0x0080_0005)]);
    let found = msi(&machine, address()).unwrap().unwrap();
    assert!(found.is_64bit());
    found.set_message_info_lapic(0xfee0_3000, 0x50, TriggerMode::Edge, &machine);
    found.set_multiple_message_enable(MultipleMessageSupport::Int1, &machine);
    found.set_enabled(true, &machine);
    let functions = machine.0.borrow();
    let registers = &functions[&PLACE].registers[0x50 / 4..];
    assert_eq!(registers[..4], [0x0081_0005, 0xfee0_3000, 0, 0x50]);
}

#[test]
fn broken_lists_are_refused() {
    let refused = |first, list: &[(u8, u32)]| msi(&capable(first, list), address()).unwrap_err();
    assert_eq!(refused(0x10, &[]), BadList::Pointer(0x10));
    assert_eq!(refused(0x42, &[]), BadList::Pointer(0x42));
    assert_eq!(refused(0x40, &[(0x40, 0x4001)]), BadList::Circle(0x40));
    assert_eq!(
        refused(0x40, &[(0x40, 0x5000), (0x50, 0x4000)]),
        BadList::Circle(0x40)
    );
    assert_eq!(
        refused(0xf8, &[(0xf8, 0x0000_0005)]),
        BadList::Outside(0xf8)
    );
    assert_eq!(
        refused(0xf4, &[(0xf4, 0x0080_0005)]),
        BadList::Outside(0xf4)
    );
    assert!(msi(&capable(0xf4, &[(0xf4, 0x0000_0005)]), address()).is_ok());
    assert!(msi(&capable(0, &[]), address()).unwrap().is_none());
    // A function without the list: the pointer means nothing.
    let machine = Machine::new([(PLACE, Function::new(0x11e8_1234).with(13, 0x41, 0))]);
    assert!(msi(&machine, address()).unwrap().is_none());
}

fn random_function() -> impl Strategy<Value = Function> {
    (vec(any::<u32>(), 64), vec(any::<u32>(), 64), 0u8..4).prop_map(|(values, writable, kind)| {
        let mut function = Function {
            registers: values.try_into().unwrap(),
            writable: writable.try_into().unwrap(),
            dropped: [0; 64],
        };
        function.writable[0] = 0;
        function.writable[3] = 0;
        // Mostly the types that are looked into.
        function.registers[3] = function.registers[3] & !0x7f_0000 | u32::from(kind & 1) << 16;
        function
    })
}

proptest! {
    /// Random registers: everything ends, and what is accepted makes sense.
    #[test]
    fn random_devices(
        devices in vec(((0u8..4, 0u8..32, 0u8..8), random_function()), 0..12),
    ) {
        let machine = Machine::new(devices);
        let found = machine.found();
        let mut unique = found.clone();
        unique.sort_unstable();
        unique.dedup();
        prop_assert_eq!(unique.len(), found.len());
        for (bus, device, function) in found {
            let address = PciAddress::new(0, bus, device, function);
            for bar in bars(&machine, address).into_iter().flatten().flatten() {
                let (start, size) = match bar {
                    Bar::Ports { first, count } => (first.into(), count),
                    Bar::Memory { phys, bytes, .. } => (phys, bytes),
                };
                prop_assert!(size.is_power_of_two() && start.is_multiple_of(size) && start != 0);
            }
            let _ = msi(&machine, address);
        }
    }

    /// Honest ranges of any size are sized.
    #[test]
    fn honest_ranges(order in 4u32..63, number in 1u64.., wide in any::<bool>()) {
        let bits = if wide { 64 } else { 32 };
        let order = order.min(bits - 1);
        let count = (1u64 << (bits - order)) - 1;
        let phys = (number % count + 1) << order;
        let mask = u64::MAX << order;
        let kind = if wide { 4 } else { 0 };
        let (found, _) = sized(&[
            (phys as u32 | kind, mask as u32),
            if wide { ((phys >> 32) as u32, (mask >> 32) as u32) } else { (0, 0) },
        ]);
        prop_assert_eq!(found[0], memory(phys, 1 << order));
    }
}
