//! Inputs lie in memory as their layout says, whichever threads have packed them.

use super::super::devices;
use super::*;
use crate::base::target::Target;
use crate::graph::Graph;
use crate::graph::parser::parse;
use crate::lower::{CompileOptions, lower};

/// Sums over windows of pictures of `size` rows and columns, whose layout has a halo.
fn graph(batch: usize, size: usize) -> Graph {
    let (pictures, rows) = (format!("f32[{batch}, 3, {size}, {size}]"), format!("f32[{batch}, {size}]"));
    let text = format!(
        "op sums(x: {pictures}) -> (y: {rows}) {{
           y[n < {batch}, i < {size}] = sum[c < 3, u < 3, j < {size}] (x[n, c, i + u - 1, j] else 0);
         }}
         graph {{
           input v0 x: {pictures} data;
           v1 y: {rows} = sums@sums(v0);
           output v1 prediction;
         }}"
    );
    parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The memory of the pictures when they are given, and what it is to be.
fn packed(device: &Arc<dyn Device>, batch: usize, size: usize) -> [Vec<f32>; 2] {
    let graph = graph(batch, size);
    let options = CompileOptions { machine: device.machine(), over: None, fast_math: true };
    let executable = Executable::compile(&graph, lower(&graph, &options), &**device).expect("it compiles");
    let mut store = Store::on(device);
    let mut program = Instance::bind(Arc::new(executable), device, &mut store).expect("memory");
    let pictures: Vec<f32> = (1..=batch * 3 * size * size).map(|pixel| pixel as f32).collect();
    program.set_data(&pictures);
    let (tensor, offset) = program.executable.input(&Role::Data).expect("it is read");
    let layout = &program.executable.layouts[&tensor];
    let mut wanted = vec![0.0; layout.len()];
    layout_io::pack(layout, &pictures, 0, &mut wanted);
    let lease = program.lease.as_deref().expect("memory");
    [elements(lease.read(offset..offset + layout.len() * size_of::<f32>())).into_owned(), wanted]
}

#[test]
fn threads_share_inputs() {
    for threads in [1, 2, 3] {
        let device = devices::cpu_sharing_all(Target::host(), threads).expect("threads");
        for batch in [1, 5, 16, 37] {
            let [found, wanted] = packed(&device, batch, 6);
            assert_eq!(found, wanted, "{batch} pictures, {threads} threads");
        }
        // So large that all share it.
        let [found, wanted] = packed(&devices::host(threads).expect("threads"), 40, 80);
        assert!(found == wanted, "{threads} threads");
    }
    let [found, wanted] = packed(&devices::interpreter(), 37, 6);
    assert_eq!(found, wanted);
}

#[test]
#[should_panic(expected = "out of range")]
fn too_few_elements_are_refused() {
    let device = devices::cpu_sharing_all(Target::host(), 2).expect("threads");
    let graph = graph(16, 6);
    let lowered = lower(&graph, &CompileOptions::of(Target::host()));
    let executable = Executable::compile(&graph, lowered, &*device).expect("it compiles");
    let mut program = Instance::bind(Arc::new(executable), &device, &mut Store::on(&device)).expect("memory");
    program.set_data(&[0.0; 16]);
}
