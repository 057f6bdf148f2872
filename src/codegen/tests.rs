//! Native code against the interpreter, bit for bit.

use super::Module;
use super::cranelift::clif;
use crate::base::philox::RandomState;
use crate::base::target::{Level, Target};
use crate::loops::interpreter::{self, BufferMemory};
use crate::loops::math::Emitter;
use crate::loops::parser::parse;
use crate::loops::random;
use crate::loops::samples::{Convolution, MAPPING_LANES, fill, mapping};
use crate::loops::{Expr, Function};

const STATE: RandomState = RandomState { seed: 7, step: 3 };

/// The CPU levels that this machine can run.
fn targets() -> Vec<Target> {
    let known = [Level::Sse4, Level::Fma, Level::Avx2, Level::Avx512].into_iter();
    known.filter(|level| *level <= Target::host().level).map(Target::of).collect()
}

fn run_native(module: &Module, index: usize, buffers: &mut [BufferMemory]) {
    let kernel = module.kernel(index);
    let addresses: Vec<*mut u8> = buffers.iter_mut().map(BufferMemory::as_mut_ptr).collect();
    let extent = kernel.parallel_extent.unwrap_or(0);
    for range in [0..extent / 2, extent / 2..extent] {
        if kernel.parallel_extent.is_some() || range.start == 0 {
            // SAFETY: the addresses are those of buffers of the declared lengths, which live until the call returns.
            unsafe { kernel.call(&addresses, &STATE, range) };
        }
        if kernel.parallel_extent.is_none() {
            return;
        }
    }
}

/// Every function at every level gives the interpreter's bits.
fn check(functions: &[Function]) {
    let expected: Vec<Vec<BufferMemory>> = functions
        .iter()
        .map(|function| {
            let mut buffers = fill(function);
            interpreter::run(function, &mut buffers, STATE).expect("a valid function");
            buffers
        })
        .collect();
    for target in targets() {
        let module = Module::compile(functions, target).expect("compiles");
        for (index, (function, expected)) in functions.iter().zip(&expected).enumerate() {
            let mut buffers = fill(function);
            run_native(&module, index, &mut buffers);
            for ((buffer, data), (actual, expected)) in
                function.buffers.iter().zip(buffers.iter().zip(expected))
            {
                assert!(
                    actual.same_bits(expected),
                    "{} at {}: buffer {buffer} `{}`\n{function}\n{actual:?}\n{expected:?}",
                    function.name,
                    target.level,
                    data.name
                );
            }
        }
    }
}

#[test]
fn convolutions_agree_with_the_interpreter() {
    let shape = |channels, pixels, lanes, fma| Convolution {
        groups: 2,
        inputs: 2,
        outputs: 4,
        side: 4,
        channels,
        pixels,
        lanes,
        kernel: 3,
        fma,
    };
    let shapes = [(4, 1, 8, true), (2, 2, 16, false), (1, 4, 4, true), (4, 2, 16, true)];
    let functions: Vec<Function> =
        shapes.into_iter().map(|(c, p, l, fma)| shape(c, p, l, fma).function()).collect();
    check(&functions);
}

/// A tile of eight accumulators is one multiply-add an instruction and never leaves the registers.
#[test]
#[cfg(target_arch = "x86_64")]
fn tiles_stay_in_registers() {
    if !Target::host().fma() {
        return;
    }
    for (channels, pixels, lanes) in [(4, 1, 8), (2, 2, 8), (2, 1, 16), (1, 2, 16), (8, 1, 4), (2, 4, 4)] {
        let shape = Convolution {
            groups: 2,
            inputs: 8,
            outputs: 8,
            side: 8,
            channels,
            pixels,
            lanes,
            kernel: 3,
            fma: true,
        };
        let module = Module::compile(&[shape.function()], Target::of(Level::Fma)).expect("compiles");
        let text = module.assembly(0);
        let spills = text.lines().filter(|line| line.contains("xmm") && line.contains("[rsp"));
        assert_eq!(spills.count(), 0, "{shape:?}\n{text}");
        let multiply_adds = text.lines().filter(|line| line.contains("vfmadd"));
        assert_eq!(multiply_adds.count(), 8 * 9, "{shape:?}\n{text}");
    }
}

#[test]
fn elementary_functions_agree_with_the_interpreter() {
    type Emit = fn(&mut Emitter, Expr, Expr) -> Expr;
    let functions: [Emit; 11] = [
        |emitter, x, _| emitter.exp(x, MAPPING_LANES),
        |emitter, x, _| emitter.log(x, MAPPING_LANES),
        |emitter, x, _| emitter.tanh(x, MAPPING_LANES),
        |emitter, x, _| emitter.sigmoid(x, MAPPING_LANES),
        |emitter, x, _| emitter.erf(x, MAPPING_LANES),
        |emitter, x, _| emitter.rsqrt(x, MAPPING_LANES),
        |emitter, x, y| emitter.pow(x, y, MAPPING_LANES),
        |emitter, x, _| emitter.expm1(x, MAPPING_LANES),
        |emitter, x, _| emitter.log1p(x, MAPPING_LANES),
        |emitter, x, _| emitter.sin(x, MAPPING_LANES),
        |emitter, x, _| emitter.cos(x, MAPPING_LANES),
    ];
    for fma in [false, true] {
        check(&functions.map(|emit| mapping(4096, fma, &emit)));
    }
}

/// Functions of a range of seeds; every third one is read back from its text first.
fn random_functions(seeds: std::ops::Range<u64>) -> Vec<Function> {
    let function = |seed| match random::function(seed) {
        function if seed % 3 == 0 => parse(&function.to_string()).expect("parses"),
        function => function,
    };
    seeds.map(function).collect()
}

#[test]
fn random_functions_agree_with_the_interpreter() {
    check(&random_functions(0..600));
}

#[test]
#[ignore = "takes minutes"]
fn many_random_functions_agree_with_the_interpreter() {
    for block in 0..100 {
        check(&random_functions(block * 200..(block + 1) * 200));
    }
}

#[test]
#[ignore = "prints code for reading"]
fn show_convolution() {
    let shape = Convolution {
        groups: 2,
        inputs: 8,
        outputs: 8,
        side: 8,
        channels: 4,
        pixels: 1,
        lanes: 8,
        kernel: 3,
        fma: true,
    };
    let function = shape.function();
    println!("{function}");
    println!("{}", clif(&function, Target::host()).expect("lowers"));
    let module = Module::compile(&[function], Target::host()).expect("compiles");
    println!("{}", module.assembly(0));
}
