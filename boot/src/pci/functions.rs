//! Which functions there are.

use pci_types::{ConfigRegionAccess, HeaderType, PciAddress, PciHeader, PciPciBridgeHeader};

/// Functions of a bus: 32 devices of 8.
const SLOTS: u16 = 256;

/// All functions that answer, on bus 0 and on the buses behind bridges, each bus once.
#[derive(Debug)]
pub struct Functions<A> {
    access: A,
    bus: u8,
    /// The next device and function on it.
    slot: u16,
    /// Buses that a bridge led to and that have not been looked at.
    found: Buses,
    seen: Buses,
}

/// A set of buses.
#[derive(Debug, Clone, Copy, Default)]
struct Buses([u64; 4]);

impl Buses {
    fn place(bus: u8) -> (usize, u64) {
        (usize::from(bus / 64), 1 << (bus % 64))
    }

    fn insert(&mut self, bus: u8) {
        let (word, bit) = Self::place(bus);
        self.0[word] |= bit;
    }

    fn contains(&self, bus: u8) -> bool {
        let (word, bit) = Self::place(bus);
        self.0[word] & bit != 0
    }

    fn take(&mut self) -> Option<u8> {
        let bus = (0..=u8::MAX).find(|&bus| self.contains(bus))?;
        let (word, bit) = Self::place(bus);
        self.0[word] &= !bit;
        Some(bus)
    }
}

impl<A: ConfigRegionAccess> Functions<A> {
    /// Starts at bus 0 of segment 0.
    pub fn new(access: A) -> Self {
        let mut seen = Buses::default();
        seen.insert(0);
        Self {
            access,
            bus: 0,
            slot: 0,
            found: Buses::default(),
            seen,
        }
    }

    /// The function at the current place if it answers; moves to the next place.
    fn step(&mut self) -> Option<PciAddress> {
        let [slot, _] = self.slot.to_le_bytes();
        let (device, function) = (slot / 8, slot % 8);
        let address = PciAddress::new(0, self.bus, device, function);
        let header = PciHeader::new(address);
        let (vendor, _) = header.id(&self.access);
        // Nothing there reads as ones; some bridges answer with zeros.
        let present = vendor != u16::MAX && vendor != 0;
        let alone = function == 0 && !(present && header.has_multiple_functions(&self.access));
        self.slot += if alone { 8 } else { 1 };
        if !present {
            return None;
        }
        if header.header_type(&self.access) == HeaderType::PciPciBridge
            && let Some(bridge) = PciPciBridgeHeader::from_header(header, &self.access)
        {
            let behind = bridge.secondary_bus_number(&self.access);
            if !self.seen.contains(behind) {
                self.seen.insert(behind);
                self.found.insert(behind);
            }
        }
        Some(address)
    }
}

impl<A: ConfigRegionAccess> Iterator for Functions<A> {
    type Item = PciAddress;

    fn next(&mut self) -> Option<PciAddress> {
        loop {
            while self.slot < SLOTS {
                if let Some(address) = self.step() {
                    return Some(address);
                }
            }
            self.bus = self.found.take()?;
            self.slot = 0;
        }
    }
}
