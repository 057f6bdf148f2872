//! Native code against the interpreter, bit for bit.

use super::cranelift::clif;
use super::{Module, needs_cranelift};
use crate::base::philox::RandomState;
use crate::base::target::{BackEnd, Level, Target};
use crate::loops::interpreter::{self, BufferMemory};
use crate::loops::math::{Arithmetic, Emitter};
use crate::loops::parser::parse;
use crate::loops::verifier::Verified;
use crate::loops::{Expr, Function};
use crate::testing::functions;
use crate::testing::samples::{Convolution, MAPPING_LANES, fill, mapping};

pub(super) const STATE: RandomState = RandomState { seed: 7, step: 3 };

/// The CPU levels that this machine can run.
pub(super) fn targets() -> Vec<Target> {
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

fn verified(function: &Function) -> Verified {
    Verified::new(function.clone()).unwrap_or_else(|invalid| panic!("{invalid}\n{function}"))
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
    let verified: Vec<Verified> = functions.iter().map(verified).collect();
    for target in targets() {
        let module = Module::compile(&verified, target).expect("compiles");
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
        let module =
            Module::compile(&[verified(&shape.function())], Target::of(Level::Fma)).expect("compiles");
        let text = module.assembly(0);
        let spills = text.lines().filter(|line| line.contains("xmm") && line.contains("[rsp"));
        assert_eq!(spills.count(), 0, "{shape:?}\n{text}");
        let multiply_adds = text.lines().filter(|line| line.contains("vfmadd"));
        assert_eq!(multiply_adds.count(), 8 * 9, "{shape:?}\n{text}");
    }
}

/// The scheduler asks the level which back end it will be: for tiles, that is the one.
#[test]
fn the_back_end_of_a_level_is_the_one_that_compiles() {
    for level in [Level::Sse4, Level::Fma, Level::Avx2, Level::Avx512] {
        let target = Target::of(level);
        let (lanes, fma) = ((target.lanes as u32).max(8), target.fma());
        let sizes = Convolution {
            groups: 2,
            inputs: 8,
            outputs: 8,
            side: 8,
            channels: 2,
            pixels: 4,
            lanes,
            kernel: 3,
            fma,
        };
        let through_cranelift = needs_cranelift(&verified(&sizes.function()), target).is_some();
        let is_wide = cfg!(target_arch = "x86_64") && level.back_end() == BackEnd::Assembler;
        assert_eq!(through_cranelift, !is_wide, "{level}");
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
    let written = [false, true].map(Arithmetic::as_written);
    for arithmetic in [written[0], written[1], Arithmetic::OF_GRID] {
        check(&functions.map(|emit| mapping(4096, arithmetic, &emit)));
    }
}

/// A fence is its operand, to the bit: in a register, in memory, as a scalar that goes into all lanes, and where two
/// instructions read it.
#[test]
fn a_fence_gives_its_operand() {
    let text = "fn f(x: read f32[32], y: write f32[96], z: write f32[4]) {
  parallel for n in 0..2 {
    y[16*n] = fence(x[16*n; 16])
    a: f32x16 = x[16*n; 16] * splat(fence(x[n]), 16)
    y[16*n + 32] = fence(fence(a) + a) - fence(a)
    y[16*n + 64] = splat(fence(x[16*n + 3]), 16)
    z[n] = fence(x[n + 4])
    s: f32 = fence(fold_sum(a)) - fence(1.5)
    z[n + 2] = fence(s)
  }
}
";
    let fenced = parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let plain = parse(&text.replace("fence", "")).unwrap_or_else(|error| panic!("{error}\n{text}"));
    check(std::slice::from_ref(&fenced));
    let mut x: Vec<f32> = (0..32).map(|at| at as f32 - 7.5).collect();
    x[..10].copy_from_slice(&[
        f32::NAN,
        -0.0,
        1e-45,
        -1e-40,
        f32::INFINITY,
        -0.0,
        1e-41,
        0.0,
        f32::MAX,
        -1.0,
    ]);
    let mut expected: Vec<BufferMemory> = vec![x.into(), vec![0.0_f32; 96].into(), vec![0.0_f32; 4].into()];
    let before = expected.clone();
    interpreter::run(&plain, &mut expected, STATE).expect("a valid function");
    let mut buffers = before.clone();
    interpreter::run(&fenced, &mut buffers, STATE).expect("a valid function");
    assert!(buffers.iter().zip(&expected).all(|(one, other)| one.same_bits(other)), "{buffers:?}");
    for target in targets() {
        let module = Module::compile(&[verified(&fenced)], target).expect("compiles");
        let mut buffers = before.clone();
        run_native(&module, 0, &mut buffers);
        let same = buffers.iter().zip(&expected).all(|(one, other)| one.same_bits(other));
        assert!(same, "{}: {buffers:?}", target.level);
    }
}

/// Threads share the outermost one of parallel loops; those within are like serial ones, also where they have one
/// iteration, or none.
#[test]
fn parallel_loops_within_each_other() {
    let function = |extent: i64| {
        let text = format!(
            "fn f(x: read f32[512], y: write f32[512]) {{
               parallel for a in 0..3 {{ parallel for b in 0..{extent} {{ parallel for c in 0..5 {{
                 s: f32x8 = splat(0.0, 8)
                 for i in 0..4 {{ s = fma(x[16*a + 8*b + c + i; 8], splat(x[b + i], 8), s) }}
                 y[160*a + 40*b + 8*c] = s * splat(to_float(int(100*a + 10*b + c)), 8)
               }} }} }}
             }}"
        );
        parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    };
    check(&[4, 2, 1, 0].map(function));
    assert_eq!(function(4).grid().len(), 3);
}

/// Functions of a range of seeds; every third one is read back from its text first.
fn random_functions(seeds: std::ops::Range<u64>) -> Vec<Function> {
    let function = |seed| match functions::function(seed) {
        function if seed % 3 == 0 => parse(&function.to_string()).expect("parses"),
        function => function,
    };
    seeds.map(function).collect()
}

#[test]
fn random_functions_agree_with_the_interpreter() {
    check(&random_functions(0..600));
}

/// What is proved of a loop need not be seen in its iterations: that quotients of one number go together, and that
/// digits of one number tell iterations apart.
#[test]
fn loops_are_unrolled_whose_indices_are_digits() {
    let functions = [
        "fn bounds(x: read f32[160], w: read f32[64], y: write f32[160]) {
           for k in 0..160 { y[k] = x[k] * w[3*(k / 128) + (((k / 2)) % 64)] }
         }",
        "fn races(x: read f32[2460160], y: write f32[2460160]) {
           parallel for c in 0..40 { for h in 0..31 { for w in 0..31 { for n in 0..64 {
             a: f32 = x[7688*c + 248*h + 8*w + 307520*(n / 16) + (((n / 2)) % 8)]
             y[7688*c + 248*h + 8*w + 307520*(n / 8) + (n % 8)] = a * a
           } } } }
         }",
    ];
    check(&functions.map(|text| parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))));
}

/// A load may wait for the instruction that needs it, but not for longer than its element stays.
#[test]
fn loads_come_before_what_is_stored_over_them() {
    let function = |body: &str| {
        let text = format!("fn f(x: readwrite f32[64], y: readwrite f32[64]) {{\n{body}}}\n");
        parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    };
    let functions = [
        "  a: f32 = x[3]\n  x[3] = 1.5\n  y[0] = a\n",
        "  a: f32 = x[3]\n  x[3] = 1.5\n  b: f32 = x[3]\n  y[0] = a + b\n",
        "  a: f32 = x[3]\n  y[3] = 1.5\n  x[3] = 2.5\n  y[0] = a * a\n",
        "  a: f32x4 = x[0; 4]\n  x[2] = 1.5\n  y[0] = a\n",
        "  a: f32x16 = x[0; 16]\n  x[15] = 1.5\n  y[0] = a + splat(1.0, 16)\n",
        "  a: f32x16 = x[8; 16]\n  x[0] = splat(1.5, 16)\n  y[16] = a\n",
        "  a: f32x16 = x[8; 16]\n  b: f32x16 = y[8; 16]\n  x[8] = a * b\n  y[8] = a + b\n",
        "  a: f32 = x[5]\n  s: f32x16 = splat(a, 16)\n  x[5] = 1.5\n  y[16] = s * s\n",
        "  s: f32x16 = splat(x[5], 16)\n  x[5] = 1.5\n  y[16] = y[0; 16] + s\n",
        "  for i in 0..3 {\n    a: f32x16 = x[16*i; 16]\n    x[16*i + 16] = splat(1.5, 16)\n    y[16*i] = a\n  }\n",
    ];
    check(&functions.map(function));
}

/// An element beyond 31 bits of bytes is not the one that the lower bits say. What is never touched takes no memory.
#[test]
#[cfg(target_pointer_width = "64")]
fn far_elements_are_reached() {
    const FAR: usize = (1 << 30) + 16;
    let text = format!(
        "fn f(x: readwrite f32[{0}], y: write f32[16]) {{\n  y[0] = x[{FAR}; 16]\n  x[{FAR}] = splat(3.0, 16)\n}}\n",
        FAR + 16
    );
    let function = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    for target in targets() {
        let module = Module::compile(&[verified(&function)], target).expect("compiles");
        let (mut x, mut y) = (vec![0.0_f32; FAR + 16], vec![0.0_f32; 16]);
        x[FAR..].fill(2.0);
        x[16..32].fill(1.0);
        let addresses = [x.as_mut_ptr().cast::<u8>(), y.as_mut_ptr().cast()];
        // SAFETY: the buffers have the declared lengths, and live until the call returns.
        unsafe { module.kernel(0).call(&addresses, &STATE, 0..0) };
        assert_eq!(y, [2.0; 16], "{}", target.level);
        assert_eq!((x[16], x[FAR]), (1.0, 3.0), "{}", target.level);
    }
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
    let function = verified(&function);
    println!("{}", clif(&function, Target::host()).expect("lowers"));
    let module = Module::compile(&[function], Target::host()).expect("compiles");
    println!("{}", module.assembly(0));
}
