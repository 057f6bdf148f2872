//! Prefetches: machines fetch ahead along growing addresses, but not beyond a page.
//!
//! A loop that walks from channel to channel reads a few elements of each, pages apart. Where such a loop stores what
//! it computes, so that the next iterations hardly overlap with it, it asks for the elements that it will read soon.

use std::collections::HashSet;

use super::super::code::{Inst, MemoryOperand, Node};
use crate::loops::pointers::{Pointer, PointerKind, PointerTable};

/// Steps of so many bytes are no stream for the machine.
const PAGE: i64 = 4096;

/// Bytes of a cache line.
const LINE: i32 = 64;

/// Iterations from the request to the use.
const AHEAD: i64 = 2;

/// The body of an innermost loop whose own pointers are `own`, with its prefetches.
pub(super) fn ahead(body: Vec<Node>, own: &[Pointer], pointers: &PointerTable<'_>) -> Vec<Node> {
    let is_store = |node: &Node| matches!(node, Node::Inst(Inst::Store { .. }));
    let is_plain = body.iter().all(|node| matches!(node, Node::Inst(_)));
    if !is_plain || !body.iter().any(is_store) {
        return body;
    }
    let mut seen: HashSet<(Pointer, i32)> = HashSet::new();
    let mut found = Vec::new();
    for node in body {
        if let Node::Inst(inst) = &node
            && let Some(memory) = inst.loaded()
            && let Some(step) = far_step(memory.pointer, own, pointers)
            && let Ok(offset) = i32::try_from(i64::from(memory.offset) + AHEAD * step)
            && seen.insert((memory.pointer, memory.offset.div_euclid(LINE)))
        {
            found
                .push(Node::Inst(Inst::Prefetch { from: MemoryOperand { pointer: memory.pointer, offset } }));
        }
        found.push(node);
    }
    found
}

/// The step of a pointer of the loop that moves by pages.
fn far_step(pointer: Pointer, own: &[Pointer], pointers: &PointerTable<'_>) -> Option<i64> {
    match pointers[pointer].kind {
        PointerKind::Running { step, .. } if own.contains(&pointer) && step.abs() >= PAGE => Some(step),
        _ => None,
    }
}
