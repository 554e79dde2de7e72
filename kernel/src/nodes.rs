//! The NUMA nodes of this machine.

use spin::Once;
use spin::mutex::{SpinMutex, SpinMutexGuard};
use twinframe_boot::acpi::Srat;
use twinframe_boot::memmap::Region;
use twinframe_boot::nodes::NodeMap;

use crate::console::println;
use crate::events::{self, Event};
use crate::memory::HEAP;

static MAP: SpinMutex<NodeMap> = SpinMutex::new(NodeMap::ONE_NODE);
static NODES: Once<&'static NodeMap> = Once::new();

const PAGE_SIZE: u64 = twinframe_boot::PAGE_SIZE;

/// Takes what the firmware says, before any memory is added. Without it there is one node.
pub(crate) fn init(srat: &Srat<'_>) {
    NODES.call_once(|| {
        let map = SpinMutexGuard::leak(MAP.lock());
        map.read(srat);
        if map.left_out() != 0 {
            log::warn!(
                "{} CPUs or stretches of memory count as node 0: too many",
                map.left_out()
            );
        }
        map
    });
}

/// The node of the CPU with this APIC id.
pub(crate) fn of_cpu(apic_id: u32) -> usize {
    NODES.get().map_or(0, |nodes| nodes.of_cpu(apic_id))
}

/// The node of a physical address.
pub(crate) fn of_address(phys: u64) -> usize {
    NODES.get().map_or(0, |nodes| nodes.of_address(phys))
}

/// Number of nodes that the firmware lists, at least one.
pub(crate) fn count() -> usize {
    NODES.get().map_or(1, |nodes| nodes.count())
}

/// Passes the parts of a region that lie on one node each, in order.
pub(crate) fn split(region: Region, mut visit: impl FnMut(Region, usize)) {
    match NODES.get() {
        Some(nodes) => nodes
            .split(region)
            .for_each(|(part, node)| visit(part, node)),
        None => visit(region, 0),
    }
}

/// What every node has, and where its CPUs took theirs; nothing on a machine with one node.
pub(crate) fn show() {
    if HEAP.node_count() < 2 {
        return;
    }
    for node in 0..HEAP.node_count() {
        let Some(info) = HEAP.node_info(node) else {
            break;
        };
        println!(
            "node {node}: {} pages, {} free; its CPUs took blocks {} times from it, {} times from others",
            info.managed_pages, info.free_pages, info.hits, info.misses
        );
        events::emit(&Event::Node {
            node,
            managed: info.managed_pages as u64 * PAGE_SIZE,
            free: info.free_pages as u64 * PAGE_SIZE,
            hits: info.hits,
            misses: info.misses,
        });
    }
}
