//! From the root pointer to every table.

use super::fields::{u32_at, u64_at};
use super::table::HEADER;
use super::{Error, Fadt, Madt, Mcfg, PhysicalMemory, PowerOff, Rsdp, Signature, Srat, Table};

/// The most tables looked at. Firmware gives a few dozen; each may be a MiB long and is read whole.
pub const MOST_TABLES: usize = 256;

/// All tables of a machine.
#[derive(Debug)]
pub struct Tables<'m, M: ?Sized> {
    memory: &'m M,
    rsdp: Rsdp,
    root: Table<'m>,
    refused: Option<Error>,
}

// By hand: a derived one would ask the same of the memory.
impl<M: ?Sized> Clone for Tables<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: ?Sized> Copy for Tables<'_, M> {}

impl<'m, M: PhysicalMemory + ?Sized> Tables<'m, M> {
    const RSDT: Signature = Signature(*b"RSDT");
    const XSDT: Signature = Signature(*b"XSDT");

    /// Follows the root pointer at the physical address `rsdp` to the root table: the one of 64-bit
    /// addresses, or if that is absent or corrupt, the one of 32-bit addresses.
    ///
    /// # Errors
    ///
    /// What is wrong with the root pointer, or with the root table that was tried first.
    pub fn find(memory: &'m M, rsdp: u64) -> Result<Self, Error> {
        let rsdp = Rsdp::read(memory, rsdp)?;
        let root =
            |phys, name| Table::read(memory, phys).and_then(|table| table.expect(name, HEADER));
        let found = |root, refused| Self {
            memory,
            rsdp,
            root,
            refused,
        };
        let mut refused = None;
        if rsdp.xsdt != 0 {
            match root(rsdp.xsdt, Self::XSDT) {
                Ok(table) => return Ok(found(table, None)),
                Err(error) => refused = Some(error),
            }
        }
        match (rsdp.rsdt, refused) {
            (0, Some(error)) => Err(error),
            (0, None) => Err(Error::Missing(Self::RSDT)),
            (phys, refused) => root(phys.into(), Self::RSDT)
                .map(|table| found(table, refused))
                .map_err(|error| refused.unwrap_or(error)),
        }
    }

    /// The root pointer.
    #[must_use]
    pub fn rsdp(&self) -> Rsdp {
        self.rsdp
    }

    /// The root table.
    #[must_use]
    pub fn root(&self) -> Table<'m> {
        self.root
    }

    /// What was wrong with the table of 64-bit addresses, if the other one had to do.
    #[must_use]
    pub fn refused(&self) -> Option<Error> {
        self.refused
    }

    /// Physical addresses of all tables, as the root table has them. Zeros are left out.
    fn addresses(&self) -> impl Iterator<Item = u64> + use<'m, M> {
        let list = self.root.bytes().get(HEADER..).unwrap_or_default();
        let wide = self.root.signature() == Self::XSDT;
        let step = if wide { 8 } else { 4 };
        list.chunks_exact(step)
            .filter_map(move |entry| {
                if wide {
                    u64_at(entry, 0)
                } else {
                    u32_at(entry, 0).map(u64::from)
                }
            })
            .filter(|&phys| phys != 0)
    }

    /// All tables in the root table's order; for each that is refused, the reason. If there are more
    /// than [`MOST_TABLES`], the last item says so.
    pub fn iter(&self) -> impl Iterator<Item = Result<Table<'m>, Error>> + use<'m, M> {
        let memory = self.memory;
        let table = self.root.signature();
        self.addresses()
            .take(MOST_TABLES + 1)
            .enumerate()
            .map(move |(index, phys)| {
                if index == MOST_TABLES {
                    return Err(Error::TooMany {
                        table,
                        limit: MOST_TABLES,
                    });
                }
                Table::read(memory, phys)
            })
    }

    /// The first intact table with this name.
    ///
    /// # Errors
    ///
    /// What is wrong with the first one, if none is intact; or that there is none.
    pub fn table(&self, name: Signature) -> Result<Table<'m>, Error> {
        let mut refused = Error::Missing(name);
        for phys in self.addresses().take(MOST_TABLES) {
            if Table::peek(self.memory, phys) != Ok(name) {
                continue;
            }
            match Table::read(self.memory, phys) {
                Ok(table) => return Ok(table),
                Err(error) if refused == Error::Missing(name) => refused = error,
                Err(_) => {}
            }
        }
        Err(refused)
    }

    /// The interrupt controllers, one per CPU among them.
    ///
    /// # Errors
    ///
    /// As [`table`](Self::table); or it is too short.
    pub fn madt(&self) -> Result<Madt<'m>, Error> {
        Madt::new(self.table(Madt::NAME)?)
    }

    /// Which CPU and which memory belongs to which node.
    ///
    /// # Errors
    ///
    /// As [`table`](Self::table); or it is too short.
    pub fn srat(&self) -> Result<Srat<'m>, Error> {
        Srat::new(self.table(Srat::NAME)?)
    }

    /// The fixed hardware.
    ///
    /// # Errors
    ///
    /// As [`table`](Self::table); or it is too short.
    pub fn fadt(&self) -> Result<Fadt, Error> {
        Fadt::new(self.table(Fadt::NAME)?)
    }

    /// Where PCI configuration space is in memory.
    ///
    /// # Errors
    ///
    /// As [`table`](Self::table); or it is too short.
    pub fn mcfg(&self) -> Result<Mcfg<'m>, Error> {
        Mcfg::new(self.table(Mcfg::NAME)?)
    }

    /// The machine's main definition block, which the FADT points to.
    ///
    /// # Errors
    ///
    /// What is wrong with it or with the FADT.
    pub fn dsdt(&self) -> Result<Table<'m>, Error> {
        const NAME: Signature = Signature(*b"DSDT");
        match self.fadt()?.dsdt {
            0 => Err(Error::Missing(NAME)),
            phys => Table::read(self.memory, phys)?.expect(NAME, HEADER),
        }
    }

    /// What to write where to switch the machine off.
    ///
    /// # Errors
    ///
    /// What is wrong with the tables that should say so; [`Error::NoPowerOff`] if they do not.
    pub fn power_off(&self) -> Result<PowerOff, Error> {
        let fadt = self.fadt()?;
        PowerOff::new(&fadt, self.dsdt()?).ok_or(Error::NoPowerOff)
    }
}
