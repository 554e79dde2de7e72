//! QEMU's `edu` device: a buffer of 4 KiB behind a DMA engine (QEMU, `docs/specs/edu.rst`).
//!
//! What makes it worth a driver is that it reads and writes memory by physical address, by itself. It
//! drives only so many address lines: 28, unless `dma_mask` says otherwise. An address beyond that
//! loses its upper bits on the way, silently, which is what a driver has to prevent.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use spin::Once;
use spin::mutex::SpinMutex;
use x86_64::instructions::interrupts;

use crate::arch::{apic, halt, percpu, timer, traps};
use crate::pci::{self, Function, Registers};

const VENDOR: u16 = 0x1234;
const DEVICE: u16 = 0x11e8;

/// Offsets of registers.
const IDENTIFICATION: u64 = 0x00;
const LIVENESS: u64 = 0x04;
const INTERRUPT_STATUS: u64 = 0x24;
const INTERRUPT_RAISE: u64 = 0x60;
const INTERRUPT_ACKNOWLEDGE: u64 = 0x64;
const DMA_SOURCE: u64 = 0x80;
const DMA_DESTINATION: u64 = 0x88;
const DMA_COUNT: u64 = 0x90;
const DMA_COMMAND: u64 = 0x98;
/// Bytes up to the end of the last of them.
const REGISTERS: u64 = 0xa0;

/// Identification: the low byte and a half; the rest is a version.
const IDENTITY: u32 = 0xed;

/// Bits of the command register.
const RUN: u64 = 1 << 0;
const TO_MEMORY: u64 = 1 << 1;
const INTERRUPT: u64 = 1 << 2;

/// Bit of the interrupt status: a transfer has ended.
const TRANSFERRED: u32 = 1 << 8;

/// Where the device's own buffer is in its address space.
const BUFFER: u64 = 0x4_0000;
/// The most bytes of one transfer. The buffer has one more, but QEMU 7.2 takes a transfer that ends with
/// the buffer for one that leaves it, and aborts.
pub(crate) const MOST: usize = 4095;

/// The address lines that every such device has.
pub(crate) const DEFAULT_MASK: u64 = (1 << 28) - 1;

/// The interrupt vector.
const VECTOR: u8 = 0x50;

/// Milliseconds until a transfer counts as hung. The device takes 100.
const DEADLINE: u32 = 10_000;

/// For the interrupt handler, which may run at any time.
static REGISTERS_OF_HANDLER: Once<Registers> = Once::new();
/// Interrupts taken, those that said that a transfer had ended, and the last CPU that took one.
static INTERRUPTS: AtomicU64 = AtomicU64::new(0);
static TRANSFERS: AtomicU64 = AtomicU64::new(0);
static LAST_CPU: AtomicU64 = AtomicU64::new(u64::MAX);

static EDU: Once<Result<SpinMutex<Edu>, NoEdu>> = Once::new();

/// The device.
#[derive(Debug)]
pub(crate) struct Edu {
    function: &'static Function,
    registers: Registers,
    mask: u64,
}

/// Why there is none.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NoEdu {
    /// No function has its numbers.
    Absent,
    /// Its registers cannot be used; the log says why.
    Registers,
    /// It does not answer as it should.
    Silent,
}

impl NoEdu {
    /// For the report of a test that cannot run.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Absent => "no edu device",
            Self::Registers => "the edu device's registers are out of reach",
            Self::Silent => "the edu device does not answer",
        }
    }
}

/// What a transfer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Completion {
    /// The command register, again and again.
    Polled,
    /// An interrupt.
    Interrupt,
}

/// Which way a transfer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From memory into the device.
    Out,
    /// From the device into memory.
    In,
}

/// Why a transfer did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The memory, or some of it, lies beyond the device's address lines.
    OutOfReach {
        /// Physical address of the first byte.
        phys: u64,
        /// The highest address that the device can drive.
        mask: u64,
    },
    /// It is longer than the buffer.
    TooLong(usize),
    /// The device was not done in time.
    Hung,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OutOfReach { phys, mask } => write!(
                f,
                "memory at {phys:#x} is out of reach for a device with addresses up to {mask:#x}"
            ),
            Self::TooLong(bytes) => write!(f, "{bytes} bytes are more than the buffer holds"),
            Self::Hung => write!(f, "not done after {DEADLINE} ms"),
        }
    }
}

/// Looks for the device, and enables it. Called before other CPUs run (see [`Function::enable`]).
pub(crate) fn init() {
    assert_eq!(
        percpu::online(),
        1,
        "CPUs that the device is enabled beside"
    );
    EDU.call_once(|| Edu::open().map(SpinMutex::new));
}

/// The machine's device; none before [`init`].
pub(crate) fn get() -> Result<&'static SpinMutex<Edu>, NoEdu> {
    match EDU.get() {
        Some(found) => found.as_ref().map_err(|why| *why),
        None => Err(NoEdu::Absent),
    }
}

impl Edu {
    fn open() -> Result<Self, NoEdu> {
        let function = pci::functions()
            .iter()
            .find(|function| function.id() == (VENDOR, DEVICE))
            .ok_or(NoEdu::Absent)?;
        let registers = function.registers(0, REGISTERS).map_err(|why| {
            log::warn!("edu device at {}: {why}", function.address());
            NoEdu::Registers
        })?;
        function.enable();
        let identity = registers.read32(IDENTIFICATION);
        registers.write32(LIVENESS, 0x5a5a_0ff0);
        let inverse = registers.read32(LIVENESS);
        if identity & 0xff != IDENTITY || inverse != !0x5a5a_0ff0 {
            log::warn!("edu device: identification {identity:#x}, liveness {inverse:#x}");
            return Err(NoEdu::Silent);
        }
        REGISTERS_OF_HANDLER.call_once(|| registers);
        Ok(Self {
            function,
            registers,
            mask: DEFAULT_MASK,
        })
    }

    /// The highest address that it can drive.
    pub(crate) fn mask(&self) -> u64 {
        self.mask
    }

    /// Declares that it can drive addresses up to `mask`; [`fetch`](Self::fetch) finds out.
    pub(crate) fn set_mask(&mut self, mask: u64) {
        self.mask = mask;
    }

    /// Has its interrupts go to this CPU. False if it cannot.
    pub(crate) fn interrupt_to(&mut self, apic_id: u32) -> bool {
        static REGISTERED: Once<bool> = Once::new();
        apic::present()
            && *REGISTERED.call_once(|| traps::register(VECTOR, handle))
            && self.function.interrupt(apic_id, VECTOR)
    }

    /// Makes it interrupt, and waits for that. Returns the CPU that took it.
    pub(crate) fn raise(&mut self) -> Option<u64> {
        LAST_CPU.store(u64::MAX, Ordering::Relaxed);
        let before = INTERRUPTS.load(Ordering::Acquire);
        self.registers.write32(INTERRUPT_RAISE, 1);
        timer::wait_ms(DEADLINE, || INTERRUPTS.load(Ordering::Acquire) != before)
            .then(|| LAST_CPU.load(Ordering::Relaxed))
    }

    /// Moves `bytes` bytes between memory at the physical address `phys` and the start of the
    /// device's buffer.
    pub(crate) fn transfer(
        &mut self,
        direction: Direction,
        phys: u64,
        bytes: usize,
        completion: Completion,
    ) -> Result<(), Failed> {
        let last = phys.checked_add(bytes.saturating_sub(1) as u64);
        if last.is_none_or(|last| last > self.mask) {
            let mask = self.mask;
            return Err(Failed::OutOfReach { phys, mask });
        }
        if bytes > MOST {
            return Err(Failed::TooLong(bytes));
        }
        self.run(direction, phys, bytes, completion)
    }

    /// Has the device read `bytes` bytes at the physical address `from`, which may be beyond its mask,
    /// and write them to `to`, which must not be. If it has not the address lines that `from` takes,
    /// it reads something else; so a comparison tells whether it has them, and nothing is harmed.
    pub(crate) fn fetch(&mut self, from: u64, to: u64, bytes: usize) -> Result<(), Failed> {
        if bytes > MOST {
            return Err(Failed::TooLong(bytes));
        }
        self.run(Direction::Out, from, bytes, Completion::Polled)?;
        self.transfer(Direction::In, to, bytes, Completion::Polled)
    }

    fn run(
        &mut self,
        direction: Direction,
        phys: u64,
        bytes: usize,
        completion: Completion,
    ) -> Result<(), Failed> {
        let (source, destination, way) = match direction {
            Direction::Out => (phys, BUFFER, 0),
            Direction::In => (BUFFER, phys, TO_MEMORY),
        };
        let announce = match completion {
            Completion::Polled => 0,
            Completion::Interrupt => INTERRUPT,
        };
        let before = TRANSFERS.load(Ordering::Acquire);
        self.registers.write64(DMA_SOURCE, source);
        self.registers.write64(DMA_DESTINATION, destination);
        self.registers.write64(DMA_COUNT, bytes as u64);
        // What was written to memory is there before the device starts, and what it writes is not
        // read before it is done. The CPU keeps that order by itself, the compiler does by this.
        fence(Ordering::SeqCst);
        self.registers.write64(DMA_COMMAND, RUN | way | announce);
        let done = match completion {
            Completion::Polled => timer::wait_ms(DEADLINE, || self.idle()),
            Completion::Interrupt => sleep_until(|| TRANSFERS.load(Ordering::Acquire) != before),
        };
        fence(Ordering::SeqCst);
        if done { Ok(()) } else { Err(Failed::Hung) }
    }

    /// No transfer runs.
    pub(crate) fn idle(&self) -> bool {
        self.registers.read64(DMA_COMMAND) & RUN == 0
    }
}

/// Halts between interrupts until `done`, at most for [`DEADLINE`]. False if it is not done then.
fn sleep_until(done: impl Fn() -> bool) -> bool {
    let own = percpu::current();
    let ticks = || own.ticks.load(Ordering::Relaxed);
    let last = ticks() + u64::from(DEADLINE) * u64::from(timer::DEFAULT_RATE) / 1000;
    loop {
        interrupts::disable();
        if done() {
            interrupts::enable();
            return true;
        }
        if ticks() > last {
            interrupts::enable();
            return false;
        }
        halt::until_interrupt();
    }
}

/// The device's interrupt.
fn handle() {
    let Some(registers) = REGISTERS_OF_HANDLER.get() else {
        return;
    };
    let status = registers.read32(INTERRUPT_STATUS);
    registers.write32(INTERRUPT_ACKNOWLEDGE, status);
    LAST_CPU.store(percpu::id() as u64, Ordering::Relaxed);
    if status & TRANSFERRED != 0 {
        TRANSFERS.fetch_add(1, Ordering::Release);
    }
    INTERRUPTS.fetch_add(1, Ordering::Release);
}
