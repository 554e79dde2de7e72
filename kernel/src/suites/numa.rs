//! Memory on several nodes: every CPU's comes from its own first.

use alloc::vec::Vec;
use core::alloc::Layout;

use twinframe::{ManagedSection, Platform};
use twinframe_boot::acpi::{PhysicalMemory, Tables};

use crate::arch::{percpu, work};
use crate::firmware;
use crate::harness::{Outcome, kernel_tests};
use crate::memory::HEAP;
use crate::nodes;
use crate::platform::Machine;
use crate::suites::chain::Chain;
use crate::suites::free_pages;

fn sections() -> impl Iterator<Item = ManagedSection> {
    (0..HEAP.managed_section_count()).filter_map(|index| HEAP.managed_section(index))
}

/// The node of the memory at a virtual address.
fn node_of(address: usize) -> usize {
    nodes::of_address(Machine::virt_to_phys(address))
}

/// The domain of an address, as the table itself says.
fn domain_of<M: PhysicalMemory>(tables: &Tables<'_, M>, phys: u64) -> Option<u32> {
    tables.srat().ok()?.node_of_address(phys)
}

/// Takes all memory that this CPU gets from its own node, and returns a block that came from
/// another one.
fn take_own_node(taken: &mut Chain, own: usize) -> usize {
    for order in (0..=9).rev() {
        while let Ok(address) = HEAP.alloc_pages(1 << order, 4096) {
            if node_of(address) != own {
                if order == 0 {
                    return address;
                }
                free_pages(address, 1 << order).expect("allocated above");
                break;
            }
            // SAFETY: freshly allocated.
            unsafe { taken.push(address as *mut u8, 4096 << order) };
        }
    }
    panic!("all memory is gone, and none of it was another node's");
}

/// How many pages a CPU can be sure to get from its own node in one piece, while the node's other CPUs
/// take as much.
fn own_pages(id: usize) -> usize {
    let node = percpu::node_of(id);
    let sharing = percpu::all()
        .filter(|cpu| percpu::node_of(cpu.id()) == node)
        .count();
    let free = HEAP.node_info(node).map_or(0, |info| info.free_pages);
    // Free pages are not all in one piece, and some go into the state of CPUs and into caches.
    free / (3 * sharing)
}

kernel_tests! { "numa", Test:
    /// Every section lies on one node, to its last byte, and every CPU and every node is the one that
    /// the firmware's table says.
    fn nodes_are_those_of_the_firmware() on [numa, numa4] {
        let Some((_, tables)) = firmware::tables() else {
            return Outcome::Skip("no ACPI tables");
        };
        if nodes::count() < 2 {
            return Outcome::Skip("one node");
        }
        let mut domains: Vec<Option<u32>> = alloc::vec![None; HEAP.node_count()];
        for section in sections() {
            let last = section.phys + section.size as u64 - 1;
            let domain = domain_of(&tables, section.phys);
            assert!(domain.is_some(), "{section:?} is nobody's");
            assert_eq!(domain, domain_of(&tables, last), "{section:?}");
            let known = domains[section.node].get_or_insert_with(|| domain.unwrap_or(0));
            assert_eq!(Some(*known), domain, "{section:?}");
        }
        domains.sort_unstable();
        domains.dedup();
        assert_eq!(domains.len(), HEAP.node_count(), "one domain is one node");
        let srat = tables.srat().expect("it was there");
        for cpu in percpu::all() {
            let domain = srat.node_of_cpu(cpu.apic_id());
            let known = domains[percpu::node_of(cpu.id())];
            assert_eq!(domain, known, "CPU {}", cpu.id());
        }
    }

    /// Pages, cached or not, and objects come from the node of the CPU that asks.
    fn memory_comes_from_the_own_node() on [numa, numa4] {
        if HEAP.node_count() < 2 {
            return Outcome::Skip("one node");
        }
        HEAP.drain();
        let least = percpu::all().map(|cpu| own_pages(cpu.id())).min().unwrap_or(0);
        if least < 64 {
            return Outcome::Skip("a node has too little memory for its CPUs");
        }
        let infos = || (0..HEAP.node_count()).filter_map(|node| HEAP.node_info(node));
        let before: Vec<_> = infos().collect();
        work::on_all(&|id| {
            let own = percpu::node_of(id);
            for count in [1, 2, 5, 8, 64, 512, 2048] {
                if count > least {
                    break;
                }
                let address = HEAP.alloc_pages(count, 4096).expect("memory");
                assert_eq!(node_of(address), own, "{count} pages for CPU {id}");
                free_pages(address, count).expect("allocated above");
            }
        });
        let layout = Layout::new::<[u64; 150]>();
        work::on_all(&|id| {
            let objects: [_; 50] =
                core::array::from_fn(|_| HEAP.alloc(layout).expect("memory"));
            for object in &objects {
                assert_eq!(node_of(object.addr().get()), percpu::node_of(id), "for CPU {id}");
            }
            for object in objects {
                // SAFETY: allocated above.
                unsafe { HEAP.dealloc(object, layout) }.expect("allocated above");
            }
        });
        for (node, (after, before)) in infos().zip(before).enumerate() {
            if percpu::all().any(|cpu| percpu::node_of(cpu.id()) == node) {
                let (hits, misses) = (after.hits - before.hits, after.misses - before.misses);
                assert!(hits > misses, "{node}: {hits} {misses}");
            }
        }
    }

    /// A node that has nothing left takes from others, and what goes back is there again.
    fn an_empty_node_takes_from_others() on [numa, numa4] {
        if HEAP.node_count() < 2 {
            return Outcome::Skip("one node");
        }
        let own = percpu::node_of(percpu::id());
        HEAP.drain();
        let misses = HEAP.node_info(own).expect("a node").misses;
        let mut taken = Chain::new();
        let foreign = take_own_node(&mut taken, own);
        assert!(HEAP.node_info(own).expect("a node").misses > misses);
        taken.give_back();
        free_pages(foreign, 1).expect("allocated above");
        HEAP.drain();
        let address = HEAP.alloc_pages(1, 4096).expect("memory");
        assert_eq!(node_of(address), own);
        free_pages(address, 1).expect("allocated above");
    }

    /// What is freed on another node's CPU goes home, not into that CPU's cache.
    fn pages_freed_far_away_go_home() on [numa, numa4] {
        let far = percpu::all().find(|cpu| percpu::node_of(cpu.id()) != percpu::node_of(percpu::id()));
        let Some(far) = far else {
            return Outcome::Skip("all CPUs are on one node");
        };
        let pages: Vec<usize> = (0..64).filter_map(|_| HEAP.alloc_pages(1, 4096).ok()).collect();
        assert_eq!(pages.len(), 64);
        work::on_all(&|id| {
            if id != far.id() {
                return;
            }
            for page in &pages {
                free_pages(*page, 1).expect("allocated above");
            }
            for _ in 0..64 {
                let page = HEAP.alloc_pages(1, 4096).expect("memory");
                assert_eq!(node_of(page), percpu::node_of(id));
                free_pages(page, 1).expect("allocated just now");
            }
        });
    }
}
