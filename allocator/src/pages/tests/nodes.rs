//! Memory on several nodes.

use std::vec::Vec;

use super::shared::{Shared, assert_recovered, free, on, shared, take_all};
use super::{GIB, MIB, Memory, SECOND_NODE};
use crate::{MAX_NODES, PageRequest};

/// Two nodes, with 16 MiB each.
struct Machine {
    frames: Shared,
    _memory: [Memory; 2],
}

impl Machine {
    fn new() -> Self {
        let memory = [Memory::new(16 * MIB), Memory::new(16 * MIB)];
        let frames = shared(&memory[0], 8 * GIB);
        // SAFETY: the memory lives as long as the allocator.
        unsafe { frames.add_region_at(memory[1].whole(), SECOND_NODE) }.expect("a good region");
        Self {
            frames,
            _memory: memory,
        }
    }

    fn node_of(&self, addr: usize) -> usize {
        let sections = (0..self.frames.section_count()).filter_map(|i| self.frames.section(i));
        let mut holders = sections
            .filter(|section| (section.start..section.start + section.size).contains(&addr));
        holders.next().expect("a managed page").node
    }
}

#[test]
fn pages_come_from_the_nodes_of_their_cpus() {
    let machine = Machine::new();
    let frames = &machine.frames;
    assert_eq!(frames.node_count(), 2);
    for cpu in [0, 1, 3, 4] {
        on(cpu, || {
            let mut held = Vec::new();
            for count in [1, 2, 5, 8, 512, 1024] {
                let addr = frames.alloc_pages(count, 0).unwrap();
                assert_eq!(machine.node_of(addr), cpu % 3, "CPU {cpu}, {count} pages");
                held.push((addr, count));
                let exact = frames.allocate(&PageRequest::new(3).exact()).unwrap();
                assert_eq!(machine.node_of(exact), cpu % 3);
                held.push((exact, 3));
            }
            held.iter()
                .for_each(|(addr, count)| free(frames, *addr, *count));
        });
    }
    for node in 0..2 {
        let info = frames.node_info(node).unwrap();
        assert!(info.hits > 0, "{info:?}");
        assert_eq!(info.misses, 0, "{info:?}");
    }
    assert_recovered(frames);
}

#[test]
fn a_node_without_memory_left_takes_that_of_others() {
    let machine = Machine::new();
    let frames = &machine.frames;
    let all = on(1, || take_all(frames));
    assert_eq!(all.len(), frames.total_pages());
    let first_foreign = all.iter().position(|addr| machine.node_of(*addr) == 0);
    let own = all
        .iter()
        .filter(|addr| machine.node_of(**addr) == 1)
        .count();
    // The other node comes last, but for what is left of the own when its batch is taken.
    assert_eq!(first_foreign, Some(own));
    let info = frames.node_info(1).unwrap();
    assert!(info.misses > 0 && info.hits > 0, "{info:?}");
    assert_eq!(info.free_pages, 0);
    on(0, || all.iter().for_each(|addr| free(frames, *addr, 1)));
    assert_recovered(frames);
}

#[test]
fn pages_of_another_node_do_not_stay_in_a_cache() {
    let machine = Machine::new();
    let frames = &machine.frames;
    let theirs: Vec<usize> = on(1, || {
        (0..100)
            .filter_map(|_| frames.alloc_pages(1, 0).ok())
            .collect()
    });
    on(0, || {
        theirs.iter().for_each(|addr| free(frames, *addr, 1));
        for _ in 0..100 {
            let addr = frames.alloc_pages(1, 0).unwrap();
            assert_eq!(machine.node_of(addr), 0);
        }
    });
}

#[test]
fn cpus_of_a_node_without_memory_use_their_caches() {
    let machine = Machine::new();
    let frames = &machine.frames;
    on(2, || {
        let addr = frames.alloc_pages(1, 0).unwrap();
        let cached = frames.cached_pages();
        free(frames, addr, 1);
        assert_eq!(frames.cached_pages(), cached + 1);
        assert_eq!(frames.alloc_pages(1, 0), Ok(addr));
    });
    let info = frames.node_info(2).unwrap();
    assert_eq!((info.managed_pages, info.hits), (0, 0));
    assert!(info.misses > 0);
}

#[test]
fn what_nodes_have_adds_up() {
    let machine = Machine::new();
    let frames = &machine.frames;
    let infos = (0..MAX_NODES).map(|node| frames.node_info(node).unwrap());
    let managed: usize = infos.clone().map(|info| info.managed_pages).sum();
    let free: usize = infos.map(|info| info.free_pages).sum();
    assert_eq!(managed, frames.total_pages());
    assert_eq!(free, frames.free_pages());
    assert_eq!(frames.node_info(MAX_NODES), None);
    assert_eq!(frames.node_buddyinfo(MAX_NODES), None);
    let shown = std::format!("{}", frames.node_buddyinfo(1).unwrap());
    assert!(shown.starts_with("Node 1, zone   Normal"), "{shown}");
    let whole = frames.buddyinfo();
    let parts = [0, 1].map(|node| frames.node_buddyinfo(node).unwrap());
    for zone in whole.zones() {
        let sum: usize = parts
            .iter()
            .map(|part| part.zone(zone.zone).free_pages)
            .sum();
        assert_eq!(sum, zone.free_pages, "{}", zone.zone);
    }
}

#[test]
fn a_node_whose_memory_is_removed_is_none() {
    let machine = Machine::new();
    let frames = &machine.frames;
    let second = (0..frames.section_count())
        .filter_map(|i| frames.section(i))
        .find(|section| section.node == 1)
        .unwrap();
    frames.remove_section(second.start).unwrap();
    assert_eq!(frames.node_count(), 1);
    assert_eq!(frames.node_info(1).unwrap().managed_pages, 0);
    let addr = on(1, || frames.alloc_pages(1, 0)).unwrap();
    assert_eq!(machine.node_of(addr), 0);
}
