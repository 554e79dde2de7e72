//! A unikernel that brings the Twinframe allocator up on bare metal and tests it there.
//!
//! The story, in the order in which it happens: the loader (ours or another, see `twinframe_boot`)
//! enters [`start`] with a `BootInfo`; serial ports and descriptor tables come first, so that
//! whatever goes wrong is reported; the settings say what to run; the firmware's memory map becomes
//! regions of the allocator; then the registered tests run, and the machine ends with a status that
//! says how it went.
#![no_std]
#![no_main]

extern crate alloc;

mod arch;
mod backtrace;
mod console;
mod edu;
mod events;
mod failure;
mod firmware;
#[cfg(target_os = "linux")]
mod freestanding;
mod harness;
mod memory;
mod nodes;
mod pci;
mod platform;
mod recent;
mod serial;
mod settings;
mod suites;
mod whereabouts;

use bootloader_api::config::Mapping;
use bootloader_api::{BootInfo, BootloaderConfig, entry_point};
use twinframe_boot::pvh;

use crate::arch::cpu::{self, Exit};
use crate::arch::{clock, descriptors, percpu, smp, stack};
use crate::console::println;
use crate::events::{Event, Verdict};
use crate::settings::random;

/// What the kernel asks of whatever loads it.
static CONFIG: BootloaderConfig = {
    let mut config = BootloaderConfig::new_default();
    config.mappings.physical_memory = Some(Mapping::Dynamic);
    config.kernel_stack_size = 64 * 1024;
    config
};

entry_point!(start, config = &CONFIG);

const PROFILE: &str = if cfg!(debug_assertions) {
    "debug"
} else {
    "release"
};

fn start(info: &'static mut BootInfo) -> ! {
    stack::record(info, CONFIG.kernel_stack_size);
    // First of all: a report walks the page tables, and finds them through the direct map.
    memory::announce_direct_map(info);
    descriptors::load_early();
    percpu::init_boot_cpu();
    let (raw, source) = settings::raw();
    harness::run_early(raw);
    console::init();
    events::init();

    let loader = if pvh::facts().is_some() {
        "pvh"
    } else {
        "bootloader"
    };
    let settings = settings::parse(raw, refuse_command_line);
    let Some(settings) = settings.filter(|settings| harness::check(settings, refuse_command_line))
    else {
        cpu::exit(Exit::Failure)
    };
    let cmdline = str::from_utf8(raw).unwrap_or_default().trim();
    println!(
        "Twinframe {} ({PROFILE}), started by {loader}",
        env!("CARGO_PKG_VERSION")
    );
    println!(
        "command line: {cmdline:?} (from {}), seed {}",
        source.name(),
        settings.seed
    );
    events::emit(&Event::Boot {
        version: env!("CARGO_PKG_VERSION"),
        profile: PROFILE,
        loader,
        cmdline,
        cmdline_source: source.name(),
        seed: settings.seed,
        tests: harness::total(),
    });
    let acpi = info.rsdp_addr.into_option();
    memory::init(info);
    let heap_ready = clock::ticks();
    smp::init_boot_cpu();
    let cpus = firmware::read(acpi);
    memory::add_reclaimable();
    pci::init();
    edu::init();
    smp::start_all(cpus.into_iter(), smp::PATIENCE);
    println!("CPUs online: {}", percpu::online());
    // By a clock that begins when the machine is switched on, and can be read only now.
    let us = clock::to_us(heap_ready);
    println!("the heap was ready after {} ms", us / 1000);
    events::emit(&Event::Stat {
        name: "boot.heap_ready",
        value: us,
        unit: "us",
    });
    harness::run(&settings);
    memory::show_use();

    nodes::show();
    let (passed, skipped) = harness::counts();
    println!("result: pass, {passed} passed, {skipped} skipped");
    finish(Verdict::Pass, None);
    cpu::exit(Exit::Success)
}

fn refuse_command_line(why: core::fmt::Arguments<'_>) {
    println!("{why}");
    let line = failure::Short::<512>::new(why);
    finish(Verdict::BadCmdline, Some(line.as_str()));
}

/// The last event of a run that ends without a report.
fn finish(verdict: Verdict, message: Option<&str>) {
    let (passed, skipped) = harness::counts();
    events::emit(&Event::Result {
        verdict,
        passed,
        skipped,
        test: None,
        message,
        location: None,
        rip: None,
        cr2: None,
        backtrace: &[],
    });
}
