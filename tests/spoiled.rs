//! Functions of a real step, each spoiled in one place: the only door to native code refuses them.

mod model;

use cnnc::base::target::{Level, Target};
use cnnc::loops::verifier::Verified;
use cnnc::loops::{Axis, Buffer, Expr, ForKind, Function, Index, Stmt};
use cnnc::lower::{CompileOptions, Lowered, lower};
use cnnc::plan::Placement;
use cnnc::runtime::{Executable, devices};
use cnnc::te::Tensor;
use model::Model;

const TEXT: &str = "
    model M(x: f32[N, 3, 12, 12]) -> f32[N, 5] {
      x |> conv(8, 3, pad=1) |> batchnorm |> relu |> maxpool(2) |> conv(8, 3, stride=2) |> dropout(0.5)
        |> flatten |> linear(5)
    }
    data D { source = digits(); }
    train M on D { loss = cross_entropy; optim = adam(0.01); }";

/// All functions of a step, at every level.
fn functions() -> Vec<Function> {
    let graph = Model::new(TEXT).step(24);
    let levels = [Level::Sse4, Level::Fma, Level::Avx2, Level::Avx512].into_iter();
    let launches = levels.flat_map(|level| {
        let lowered = lower(&graph, &CompileOptions::of(Target::of(level)));
        lowered.native_launches()
    });
    launches.map(|launch| launch.function).collect()
}

/// An access that no branch guards, to change.
struct Access<'a> {
    buffer: Buffer,
    index: &'a mut Index,
    stride: &'a mut i64,
    lanes: u32,
    stores: bool,
}

/// Shows `change` the accesses of statements one after the other.
fn for_each_access(function: &mut Function, change: &mut dyn FnMut(&Function, Access<'_>)) {
    let whole = function.clone();
    statements(&whole, &mut function.body, change);
}

fn statements(function: &Function, body: &mut [Stmt], change: &mut dyn FnMut(&Function, Access<'_>)) {
    for statement in body {
        match statement {
            Stmt::For { body, .. } => statements(function, body, change),
            Stmt::Set { value, .. } => loads(function, value, change),
            Stmt::Store { buffer, index, stride, value } => {
                loads(function, value, change);
                let lanes = function.type_of(value).expect("it is well typed").lanes;
                change(function, Access { buffer: *buffer, index, stride, lanes, stores: true });
            }
            Stmt::If { condition, .. } => loads(function, condition, change),
        }
    }
}

fn loads(function: &Function, expr: &mut Expr, change: &mut dyn FnMut(&Function, Access<'_>)) {
    match expr {
        Expr::Load { buffer, index, stride, lanes } => {
            change(function, Access { buffer: *buffer, index, stride, lanes: *lanes, stores: false });
        }
        Expr::Splat(x, _) | Expr::Unary(_, x) | Expr::Fold(_, x) | Expr::Uniform { element: x, .. } => {
            loads(function, x, change);
        }
        Expr::Binary(_, x, y) => [x, y].into_iter().for_each(|x| loads(function, x, change)),
        Expr::Fma(x, y, z) | Expr::Select(x, y, z) => {
            [x, y, z].into_iter().for_each(|x| loads(function, x, change));
        }
        Expr::Float(_) | Expr::Int(_) | Expr::Bool(_) | Expr::Local(_) | Expr::Number { .. } => {}
    }
}

/// The first and the last element that an access reaches.
fn reach(function: &Function, access: &Access<'_>) -> (i64, i64) {
    let (low, high) = access.index.range(&function.axes);
    let spread = *access.stride * i64::from(access.lanes - 1);
    (low + spread.min(0), high + spread.max(0))
}

fn parallel(function: &Function) -> Option<Axis> {
    match function.body.as_slice() {
        [Stmt::For { axis, kind: ForKind::Parallel, .. }] if function.axes[*axis].extent > 1 => Some(*axis),
        _ => None,
    }
}

/// Changes an access so that it is wrong by as little as can be, if it lends itself to that.
type Spoil = fn(&Function, &mut Access<'_>) -> bool;

const SPOILS: [(&str, Spoil); 5] = [
    ("one element too far", |function, access| {
        let is_last = reach(function, access).1 == function.buffers[access.buffer].len as i64 - 1;
        *access.index = access.index.offset(i64::from(is_last));
        is_last
    }),
    ("one element too early", |function, access| {
        let is_first = reach(function, access).0 == 0;
        *access.index = access.index.offset(-i64::from(is_first));
        is_first
    }),
    ("lanes further apart", |function, access| {
        let len = function.buffers[access.buffer].len as i64;
        let is_vector = access.lanes > 1 && *access.stride == 1;
        if is_vector {
            let left = len - 1 - access.index.range(&function.axes).1;
            *access.stride = left / i64::from(access.lanes - 1) + 1;
        }
        is_vector
    }),
    ("a loop that walks further", |function, access| {
        let walks = access.index.is_affine()
            && reach(function, access).1 == function.buffers[access.buffer].len as i64 - 1;
        let mut axes = Vec::new();
        access.index.for_each_axis(&mut |axis| axes.push(axis));
        let axis = axes
            .into_iter()
            .find(|axis| access.index.coefficient(*axis) > 0 && function.axes[*axis].extent > 1);
        let Some(axis) = axis.filter(|_| walks) else { return false };
        *access.index = access.index.add_scaled(&Index::from(axis), 1, &function.axes);
        true
    }),
    ("a race", |function, access| {
        let Some(axis) = parallel(function).filter(|_| access.stores) else { return false };
        let coefficient = access.index.coefficient(axis);
        *access.index = access.index.add_scaled(&Index::from(axis), -coefficient, &function.axes);
        coefficient != 0 && access.index.is_affine()
    }),
];

#[test]
fn spoiled_functions_are_refused() {
    let functions = functions();
    for (what, spoil) in SPOILS {
        let mut spoiled = 0;
        for function in &functions {
            Verified::new(function.clone()).unwrap_or_else(|invalid| panic!("{invalid}\n{function}"));
            // Of each function the first and the last access that can be spoiled so.
            let mut places = Vec::new();
            let mut at = 0;
            for_each_access(&mut function.clone(), &mut |function, mut access| {
                if spoil(function, &mut access) {
                    places.push(at);
                }
                at += 1;
            });
            for place in [places.first(), places.last()].into_iter().flatten() {
                let (mut wrong, mut at) = (function.clone(), 0);
                for_each_access(&mut wrong, &mut |function, mut access| {
                    if at == *place {
                        spoil(function, &mut access);
                    }
                    at += 1;
                });
                assert!(
                    Verified::new(wrong.clone()).is_err(),
                    "{what}, access {place}:\n{wrong}\nof\n{function}"
                );
                spoiled += 1;
            }
        }
        assert!(spoiled >= 12, "{what}: only {spoiled} places");
    }
}

/// Neither a buffer that is an element short, nor a loop that runs once more.
#[test]
fn other_declarations_are_refused() {
    let (mut shorter, mut longer) = (0, 0);
    for function in functions() {
        let mut ends = Vec::new();
        for_each_access(&mut function.clone(), &mut |function, access| {
            if reach(function, &access).1 == function.buffers[access.buffer].len as i64 - 1 {
                ends.push((access.buffer, access.index.clone()));
            }
        });
        for (buffer, index) in ends.iter().take(2) {
            let mut wrong = function.clone();
            wrong.buffers[*buffer].len -= 1;
            assert!(Verified::new(wrong).is_err(), "a shorter {buffer} in\n{function}");
            shorter += 1;
            let mut axes = Vec::new();
            index.for_each_axis(&mut |axis| axes.push(axis));
            for axis in axes.into_iter().filter(|axis| index.is_affine() && index.coefficient(*axis) > 0) {
                let mut wrong = function.clone();
                wrong.axes[axis].extent += 1;
                assert!(Verified::new(wrong).is_err(), "a longer {axis} in\n{function}");
                longer += 1;
            }
        }
    }
    assert!(shorter >= 30 && longer >= 30, "{shorter} shorter buffers, {longer} longer loops");
}

/// A change of a lowered step.
type Change = fn(&mut Lowered);

/// The tensor that lies last in the arena.
fn last_in_arena(lowered: &Lowered) -> Tensor {
    let offset = |place: &Placement| if let Placement::Arena(offset) = place { Some(*offset) } else { None };
    let places = lowered.plan.places.iter().filter_map(|(tensor, place)| Some((offset(place)?, *tensor)));
    places.max().expect("something lies there").1
}

/// A tensor that lies in scratch, its slice, and where that begins.
fn in_scratch(lowered: &Lowered) -> (Tensor, usize, usize) {
    let mut places = lowered.plan.places.iter();
    let found = places.find_map(|(tensor, place)| match *place {
        Placement::Scratch { offset, slice } => Some((*tensor, offset, slice)),
        _ => None,
    });
    found.expect("something is computed slice by slice")
}

/// A step of which a part runs slice by slice.
const SLICED: &str = "
    model M(x: f32[N, 16, 16, 16]) -> f32[N, 5] {
      x |> conv(32, 3, pad=1) |> relu |> conv(32, 3, pad=1) |> relu |> globalavgpool |> flatten |> linear(5)
    }
    data D { source = digits(); }
    train M on D { loss = cross_entropy; optim = sgd(0.01); }";

const CHANGES: [(&str, Change); 12] = [
    ("an arena that ends earlier", |lowered| lowered.plan.arena_bytes -= 64),
    ("a tensor behind the arena", |lowered| {
        let (last, end) = (last_in_arena(lowered), lowered.plan.arena_bytes);
        lowered.plan.places.insert(last, Placement::Arena(end));
    }),
    ("a tensor beyond all numbers", |lowered| {
        lowered.plan.places.insert(last_in_arena(lowered), Placement::Arena(usize::MAX - 63));
    }),
    ("a tensor between two elements", |lowered| {
        lowered.plan.places.insert(last_in_arena(lowered), Placement::Arena(2));
    }),
    ("a tensor in a parameter of another shape", |lowered| {
        lowered.plan.places.insert(last_in_arena(lowered), Placement::Present(0));
    }),
    ("a tensor in a parameter that is not there", |lowered| {
        lowered.plan.places.insert(last_in_arena(lowered), Placement::Next(1000));
    }),
    ("scratch that ends earlier", |lowered| lowered.plan.scratch_bytes -= 64),
    ("a slice behind the scratch", |lowered| {
        let ((tensor, _, slice), offset) = (in_scratch(lowered), lowered.plan.scratch_bytes);
        lowered.plan.places.insert(tensor, Placement::Scratch { offset, slice });
    }),
    ("a slice that is too short", |lowered| {
        let (tensor, offset, slice) = in_scratch(lowered);
        lowered.plan.places.insert(tensor, Placement::Scratch { offset, slice: slice / 2 });
    }),
    ("a slice of a tensor that is needed whole", |lowered| {
        lowered.plan.places.insert(last_in_arena(lowered), Placement::Scratch { offset: 0, slice: 4 });
    }),
    ("a buffer with more elements than its tensor", |lowered| {
        lowered.launches[0].function.buffers[Buffer::from_u32(0)].len += 1;
    }),
    ("a launch without one of its tensors", |lowered| _ = lowered.launches[0].buffers.pop()),
];

#[test]
fn spoiled_plans_are_refused() {
    let graph = Model::new(SLICED).step(64);
    let options = CompileOptions::of(Target::host());
    let lowered = lower(&graph, &options);
    let device = devices::interpreter();
    assert!(Executable::compile(&graph, lowered.clone(), &*device).is_ok());
    for (what, change) in CHANGES {
        let mut wrong = lowered.clone();
        change(&mut wrong);
        let error =
            Executable::compile(&graph, wrong, &*device).err().unwrap_or_else(|| panic!("{what} is taken"));
        assert!(error.to_string().starts_with("the memory plan is not valid"), "{what}: {error}");
    }
}
