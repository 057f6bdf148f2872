//! Faults that a compiler could have, planted between its stages.
//!
//! None is a switch of the product: each spoils what a stage has made before the next one takes it. A fault says
//! whether the program has a place for it.

use cnnc::graph::Graph;
use cnnc::kernels::Kernels;
use cnnc::loops::{Binary, Expr, Fold, Index, Stmt};
use cnnc::lower::Lowered;
use cnnc::plan::Placement;
use cnnc::te::{self, Program};

/// Where a fault is planted.
pub enum Site {
    /// After differentiation.
    Graph(fn(&mut Graph) -> bool),
    /// Before fusion.
    Equations(fn(&mut Program) -> bool),
    /// After fusion.
    Kernels(fn(&mut Kernels) -> bool),
    /// After scheduling and planning.
    Lowered(fn(&mut Lowered) -> bool),
    /// The same, but the interpreter gets the loops as they were: a fault of the code generator.
    Native(fn(&mut Lowered) -> bool),
}

/// A fault.
pub struct Fault {
    pub name: &'static str,
    pub site: Site,
}

/// All faults.
pub const FAULTS: [Fault; 14] = [
    Fault { name: "a wrong stride in an adjoint", site: Site::Graph(wrong_stride) },
    Fault { name: "a wrong offset in an adjoint", site: Site::Graph(wrong_offset) },
    Fault { name: "one of two contributions lost", site: Site::Graph(lost_contribution) },
    Fault { name: "other random numbers in the backward pass", site: Site::Graph(other_random_numbers) },
    Fault { name: "unlike expressions shared", site: Site::Equations(shared_unlike) },
    Fault { name: "a fusion across a needed value", site: Site::Kernels(fused_across) },
    Fault { name: "the last piece dropped", site: Site::Kernels(dropped_piece) },
    Fault { name: "the mask of a ragged batch dropped", site: Site::Lowered(dropped_mask) },
    Fault { name: "the last of equal elements wins", site: Site::Lowered(last_wins) },
    Fault { name: "points of a tile stored the wrong way round", site: Site::Lowered(swapped_tile) },
    Fault { name: "lanes folded by another function", site: Site::Lowered(wrong_fold) },
    Fault { name: "a halo with another fill", site: Site::Lowered(wrong_halo) },
    Fault { name: "memory of a live tensor given away", site: Site::Lowered(shared_memory) },
    Fault { name: "a fused multiplication rounded twice", site: Site::Native(rounded_twice) },
];

/// Changes the first read of a derived op for which `change` gives another index.
fn change_read(graph: &mut Graph, change: &dyn Fn(&te::Index, &te::Axes) -> Option<te::Index>) -> bool {
    let mut changed = false;
    for op in graph.ops.values_mut().filter(|op| op.name.contains(".wrt_")) {
        for at in 0..op.program.equations.len() {
            for piece in 0..op.program.equations[at].pieces.len() {
                let body = op.program.equations[at].pieces[piece].body;
                let body = op.program.rewrite(body, &mut |program, expr| match expr {
                    te::Expr::Read { tensor, mut index, fill } if !changed => {
                        let axes = &program.axes;
                        let found = index.iter().enumerate().find_map(|(k, at)| Some((k, change(at, axes)?)));
                        if let Some((k, other)) = found {
                            index[k] = other;
                            changed = true;
                            let fill = fill.or(Some(0.0.into()));
                            return program.exprs.add(te::Expr::Read { tensor, index, fill });
                        }
                        program.exprs.add(te::Expr::Read { tensor, index, fill })
                    }
                    expr => program.exprs.add(expr),
                });
                op.program.equations[at].pieces[piece].body = body;
            }
        }
    }
    changed
}

fn wrong_stride(graph: &mut Graph) -> bool {
    change_read(graph, &|index, axes| {
        let steep = index.terms().iter().find(|(_, coefficient)| coefficient.abs() > 1);
        steep.and_then(|(atom, _)| match atom {
            te::Atom::Axis(axis) if axes[*axis].extent > 1 => {
                Some(index.add_scaled(&te::Index::from(*axis), -1, axes))
            }
            _ => None,
        })
    })
}

fn wrong_offset(graph: &mut Graph) -> bool {
    change_read(graph, &|index, _| {
        (index.constant() != 0 && !index.terms().is_empty()).then(|| index.offset(-1))
    })
}

/// The sum of what reaches a value from two readers keeps the first.
fn lost_contribution(graph: &mut Graph) -> bool {
    let Some(op) = graph.nodes.iter().find(|node| node.path == "sum").map(|node| node.op) else {
        return false;
    };
    let program = &mut graph.ops[op].program;
    let body = program.equations[0].pieces[0].body;
    let te::Expr::Binary(te::Binary::Add, first, _) = program.exprs[body] else { return false };
    program.equations[0].pieces[0].body = first;
    true
}

fn other_random_numbers(graph: &mut Graph) -> bool {
    let mut changed = false;
    for op in graph.ops.values_mut().filter(|op| op.name.contains(".wrt_")) {
        for equation in 0..op.program.equations.len() {
            for piece in 0..op.program.equations[equation].pieces.len() {
                let body = op.program.equations[equation].pieces[piece].body;
                let body = op.program.rewrite(body, &mut |program, expr| match expr {
                    te::Expr::Uniform { stream, element } => {
                        changed = true;
                        program.exprs.add(te::Expr::Uniform { stream: stream ^ 1, element })
                    }
                    expr => program.exprs.add(expr),
                });
                op.program.equations[equation].pieces[piece].body = body;
            }
        }
    }
    changed
}

/// A reader of one tensor reads another of the same type that was defined before.
fn shared_unlike(program: &mut Program) -> bool {
    let defined: Vec<te::Tensor> = program.equations.iter().map(|equation| equation.result).collect();
    for at in 1..defined.len() {
        let this = defined[at];
        let like = |other: &&te::Tensor| {
            program.tensors[**other].shape == program.tensors[this].shape
                && program.tensors[**other].dtype == program.tensors[this].dtype
                && program.tensors[this].len() > 1
        };
        let Some(other) = defined[..at].iter().find(like).copied() else { continue };
        let mut changed = false;
        for reader in at + 1..program.equations.len() {
            for piece in 0..program.equations[reader].pieces.len() {
                let body = program.equations[reader].pieces[piece].body;
                let body = program.rewrite(body, &mut |program, expr| match expr {
                    te::Expr::Read { tensor, index, fill } if tensor == this => {
                        changed = true;
                        program.exprs.add(te::Expr::Read { tensor: other, index, fill })
                    }
                    expr => program.exprs.add(expr),
                });
                program.equations[reader].pieces[piece].body = body;
            }
        }
        if changed {
            return true;
        }
    }
    false
}

/// A kernel runs before another one whose result it reads.
fn fused_across(kernels: &mut Kernels) -> bool {
    for at in 1..kernels.kernels.len() {
        let (before, after) = (&kernels.kernels[at - 1], &kernels.kernels[at]);
        if !before.results().is_disjoint(&after.reads(&kernels.program)) {
            kernels.kernels.swap(at - 1, at);
            return true;
        }
    }
    false
}

fn dropped_piece(kernels: &mut Kernels) -> bool {
    let several = kernels.kernels.iter_mut().find(|kernel| kernel.nests.len() > 1);
    several.is_some_and(|kernel| kernel.nests.pop().is_some())
}

/// Visits all statements of a function body.
fn for_each_statement(statements: &mut [Stmt], visit: &mut dyn FnMut(&mut Stmt)) {
    for statement in statements {
        visit(statement);
        match statement {
            Stmt::For { body, .. } => for_each_statement(body, visit),
            Stmt::If { then, otherwise, .. } => {
                for_each_statement(then, visit);
                for_each_statement(otherwise, visit);
            }
            Stmt::Set { .. } | Stmt::Store { .. } => {}
        }
    }
}

/// Changes the values that registers are set to.
fn change_sets(lowered: &mut Lowered, change: &mut dyn FnMut(&str, &mut Expr) -> bool) -> bool {
    let mut changed = false;
    for launch in &mut lowered.launches {
        let locals = launch.function.locals.clone();
        for_each_statement(&mut launch.function.body, &mut |statement| {
            if let Stmt::Set { local, value } = statement {
                changed |= change(&locals[*local].name, value);
            }
        });
    }
    changed
}

/// The lanes beyond the last picture count in sums over the batch: they exist.
fn dropped_mask(lowered: &mut Lowered) -> bool {
    change_sets(lowered, &mut |name, value| match value {
        Expr::Binary(op @ Binary::Lt, ..) if name == "exists" => {
            *op = Binary::Ne;
            true
        }
        _ => false,
    })
}

/// An element that equals the best so far takes its place.
fn last_wins(lowered: &mut Lowered) -> bool {
    change_sets(lowered, &mut |name, value| match value {
        Expr::Binary(Binary::Or, no_better, _) if name == "loses" => match &mut **no_better {
            Expr::Binary(op @ Binary::Le, ..) => {
                *op = Binary::Lt;
                true
            }
            Expr::Binary(op @ Binary::Ge, ..) => {
                *op = Binary::Gt;
                true
            }
            _ => false,
        },
        _ => false,
    })
}

fn wrong_fold(lowered: &mut Lowered) -> bool {
    change_sets(lowered, &mut |_, value| match value {
        Expr::Fold(fold @ Fold::Sum, _) => {
            *fold = Fold::Max;
            true
        }
        _ => false,
    })
}

/// Two stores of one block to one buffer exchange their places.
fn swapped_tile(lowered: &mut Lowered) -> bool {
    for launch in &mut lowered.launches {
        if swap_stores(&mut launch.function.body) {
            return true;
        }
    }
    false
}

fn swap_stores(statements: &mut [Stmt]) -> bool {
    let stores: Vec<(usize, Index)> = statements
        .iter()
        .enumerate()
        .filter_map(|(at, statement)| match statement {
            Stmt::Store { buffer, index, .. } => Some((at, *buffer, index.clone())),
            Stmt::For { .. } | Stmt::Set { .. } | Stmt::If { .. } => None,
        })
        .fold(Vec::new(), |mut found: Vec<(usize, cnnc::loops::Buffer, Index)>, store| {
            if found.is_empty() || (found.len() == 1 && found[0].1 == store.1) {
                found.push(store);
            }
            found
        })
        .into_iter()
        .map(|(at, _, index)| (at, index))
        .collect();
    if let [(one, first), (other, second)] = &stores[..] {
        for (at, place) in [(*one, second), (*other, first)] {
            if let Stmt::Store { index, .. } = &mut statements[at] {
                index.clone_from(place);
            }
        }
        return true;
    }
    statements.iter_mut().any(|statement| match statement {
        Stmt::For { body, .. } => swap_stores(body),
        Stmt::If { then, .. } => swap_stores(then),
        Stmt::Set { .. } | Stmt::Store { .. } => false,
    })
}

/// A halo holds 1 where it should hold something else.
fn wrong_halo(lowered: &mut Lowered) -> bool {
    let mut changed = false;
    for layout in lowered.layouts.values_mut().filter(|layout| layout.fill.is_some()) {
        layout.fill = Some(1.25.into());
        changed = true;
    }
    changed
}

/// A result is stored where an operand of the same launch lies.
fn shared_memory(lowered: &mut Lowered) -> bool {
    for at in 0..lowered.launches.len() {
        let buffers = lowered.launches[at].buffers.clone();
        let size = |tensor: &te::Tensor| {
            lowered.layouts[tensor].len() * lowered.kernels.program.tensors[*tensor].dtype.size()
        };
        let place = |tensor: &te::Tensor| match lowered.plan.places[tensor] {
            Placement::Arena(offset) => Some(offset),
            Placement::Present(_) | Placement::Next(_) | Placement::Scratch { .. } => None,
        };
        let read_later = |tensor: &te::Tensor| {
            lowered.launches[at + 1..].iter().any(|launch| launch.buffers.contains(tensor))
        };
        let Some(result) = buffers.last().copied() else { continue };
        let victim = buffers[..buffers.len() - 1].iter().copied().find(|tensor| {
            place(tensor).is_some()
                && place(&result).is_some()
                && size(tensor) >= size(&result)
                && read_later(tensor)
        });
        if let Some(victim) = victim {
            let offset = lowered.plan.places[&victim];
            lowered.plan.places.insert(result, offset);
            return true;
        }
    }
    false
}

fn rounded_twice(lowered: &mut Lowered) -> bool {
    change_sets(lowered, &mut |_, value| match value {
        Expr::Fma(x, y, z) => {
            let product = Expr::Binary(Binary::Mul, x.clone(), y.clone());
            *value = Expr::Binary(Binary::Add, Box::new(product), z.clone());
            true
        }
        _ => false,
    })
}
