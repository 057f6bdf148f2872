//! Registers for virtual registers: a linear scan over intervals.
//!
//! The interval of a register runs from where it is first set to where it is last read; one that is alive when a loop
//! begins and is used in it lives until the loop ends. Where registers run out, the one that is used least lives in
//! memory for good.

use super::code::{Code, Node, Reg};

/// Where a virtual register lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    Register(u8),
    /// A slot of the frame.
    Slot(usize),
}

/// Where every virtual register lives, and how many slots that takes.
pub struct Assignment {
    pub locations: Vec<Location>,
    pub slots: usize,
}

#[derive(Clone, Copy, Debug)]
struct Interval {
    reg: Reg,
    start: usize,
    end: usize,
    /// How often it is used, by the depth of the loops.
    weight: f64,
}

/// Gives out registers `0..count`.
pub fn assign(code: &Code, count: u8) -> Assignment {
    let mut intervals = Walker::intervals(code);
    intervals.sort_by_key(|interval| interval.start);
    let mut assignment = Assignment { locations: vec![Location::Register(0); code.widths.len()], slots: 0 };
    let mut active: Vec<(Interval, u8)> = Vec::new();
    let mut free: Vec<u8> = (0..count).rev().collect();
    for interval in intervals {
        active.retain(|(other, register)| {
            let alive = other.end >= interval.start;
            if !alive {
                free.push(*register);
            }
            alive
        });
        if free.is_empty() {
            let least = (0..active.len()).min_by(|a, b| active[*a].0.weight.total_cmp(&active[*b].0.weight));
            let least = least.expect("there are registers");
            if active[least].0.weight >= interval.weight {
                assignment.spill(interval.reg);
                continue;
            }
            let (spilled, register) = active.swap_remove(least);
            assignment.spill(spilled.reg);
            free.push(register);
        }
        let register = free.pop().expect("one is free");
        assignment.locations[interval.reg] = Location::Register(register);
        active.push((interval, register));
    }
    assignment
}

impl Assignment {
    fn spill(&mut self, reg: Reg) {
        self.locations[reg] = Location::Slot(self.slots);
        self.slots += 1;
    }
}

/// Uses inside a loop count so many times.
const LOOP_WEIGHT: f64 = 8.0;

struct Walker {
    intervals: Vec<Option<Interval>>,
    position: usize,
    weight: f64,
    /// The registers used since the innermost loop began.
    touched: Vec<Reg>,
}

impl Walker {
    fn intervals(code: &Code) -> Vec<Interval> {
        let intervals = vec![None; code.widths.len()];
        let mut walker = Walker { intervals, position: 0, weight: 1.0, touched: Vec::new() };
        walker.walk(&code.body);
        walker.intervals.into_iter().flatten().collect()
    }

    fn walk(&mut self, nodes: &[Node]) {
        for node in nodes {
            match node {
                Node::Inst(inst) => {
                    // What is read here is free for what is set here.
                    inst.for_each_read(&mut |reg| self.touch(reg));
                    self.position += 1;
                    if let Some(reg) = inst.target() {
                        self.touch(reg);
                    }
                    self.position += 1;
                }
                Node::Loop(inner) => {
                    let (start, outside) = (self.position, std::mem::take(&mut self.touched));
                    self.weight *= LOOP_WEIGHT;
                    self.walk(&inner.body);
                    self.weight /= LOOP_WEIGHT;
                    self.position += 1;
                    let mut inside = std::mem::replace(&mut self.touched, outside);
                    inside.sort_unstable();
                    inside.dedup();
                    for reg in &inside {
                        let interval = self.intervals[*reg].as_mut().expect("it was touched");
                        if interval.start < start {
                            interval.end = self.position;
                        }
                    }
                    self.touched.extend(inside);
                }
                Node::If { condition, then, otherwise } => {
                    self.touch(*condition);
                    self.position += 1;
                    self.walk(then);
                    self.walk(otherwise);
                }
            }
        }
    }

    fn touch(&mut self, reg: Reg) {
        let (position, weight) = (self.position, self.weight);
        let new = Interval { reg, start: position, end: position, weight: 0.0 };
        let interval = self.intervals[reg].get_or_insert(new);
        interval.end = position;
        interval.weight += weight;
        self.touched.push(reg);
    }
}
