//! The speed of compiled tiles, against the machine's 128-bit multiply-add peak.

use std::time::Instant;

use super::Module;
use crate::base::philox::RandomState;
use crate::base::target::Target;
use crate::loops::verifier::Verified;
use crate::testing::samples::Convolution;

/// Billions of floating-point operations a second of one thread, the best of several runs.
fn measure(shape: Convolution) -> (f64, usize) {
    let function = Verified::new(shape.function()).expect("it is valid");
    let module = Module::compile(std::slice::from_ref(&function), Target::host()).expect("compiles");
    let mut buffers: Vec<Vec<f32>> = function.buffers.values().map(|data| vec![0.5; data.len]).collect();
    let addresses: Vec<*mut u8> = buffers.iter_mut().map(|buffer| buffer.as_mut_ptr().cast()).collect();
    let mut best = f64::INFINITY;
    for _ in 0..30 {
        let start = Instant::now();
        // SAFETY: the addresses are those of buffers of the declared lengths, which live until the call returns.
        unsafe { module.kernel(0).call(&addresses, &RandomState::default(), 0..shape.groups) };
        best = best.min(start.elapsed().as_secs_f64());
    }
    let text = module.assembly(0);
    let spills = text.lines().filter(|line| line.contains("xmm") && line.contains("[rsp")).count();
    (2.0 * shape.multiply_adds() as f64 / best / 1e9, spills)
}

#[test]
#[ignore = "a benchmark: run it alone, with --ignored --nocapture"]
fn convolution_tiles() {
    let tiles = [
        (4, 1, 8),
        (2, 2, 8),
        (5, 1, 8),
        (2, 1, 16),
        (1, 2, 16),
        (8, 1, 4),
        (3, 3, 4),
        (2, 4, 4),
        (6, 1, 8),
        (2, 3, 8),
        (3, 1, 16),
        (4, 1, 16),
        (3, 1, 8),
        (2, 1, 8),
        (1, 1, 16),
    ];
    for kernel in [3, 1, 5] {
        for (channels, pixels, lanes) in tiles {
            let groups = 32 / i64::from(lanes);
            let outputs = 24 / channels * channels;
            let shape = Convolution {
                groups,
                inputs: if kernel == 1 { 96 } else { 13 },
                outputs,
                side: 12,
                channels,
                pixels,
                lanes,
                kernel,
                fma: true,
            };
            let (speed, spills) = measure(shape);
            println!(
                "{kernel}x{kernel}, tile {channels}x{pixels}x{lanes}: {speed:.1} GFLOP/s, {spills} spill instructions"
            );
        }
    }
}

/// Multiply-adds on registers only: what the machine can do with 128-bit vectors, in GFLOP/s.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "fma,avx")]
fn peak() -> f64 {
    use std::arch::x86_64::{_mm_fmadd_ps, _mm_set1_ps};
    const ROUNDS: usize = 2_000_000;
    let mut best = f64::INFINITY;
    for _ in 0..20 {
        let (factor, mut sums) = (std::hint::black_box(_mm_set1_ps(0.999)), [_mm_set1_ps(1.0); 12]);
        let start = Instant::now();
        for _ in 0..ROUNDS {
            sums.iter_mut().for_each(|sum| *sum = _mm_fmadd_ps(factor, *sum, factor));
        }
        std::hint::black_box(sums);
        best = best.min(start.elapsed().as_secs_f64());
    }
    (ROUNDS * 12 * 8) as f64 / best / 1e9
}

#[cfg(target_arch = "x86_64")]
#[test]
#[ignore = "a benchmark: run it alone, with --ignored --nocapture"]
fn machine_peak() {
    assert!(Target::host().fma());
    // SAFETY: the line above.
    println!("peak: {:.1} GFLOP/s", unsafe { peak() });
}

/// The time to compile a program of 60 kernels of several shapes.
#[test]
#[ignore = "a benchmark: run it alone, with --ignored --nocapture"]
fn compile_time() {
    let shape = |k: i64| Convolution {
        groups: 2,
        inputs: 3 + k % 5,
        outputs: 12,
        side: 12,
        channels: [4, 2, 1][k as usize % 3],
        pixels: [1, 2, 3][k as usize % 3],
        lanes: [8, 8, 8][k as usize % 3],
        kernel: 3,
        fma: true,
    };
    let functions: Vec<_> =
        (0..60).map(|k| Verified::new(shape(k).function()).expect("it is valid")).collect();
    for _ in 0..20 {
        let (start, start_cpu) = (Instant::now(), cpu_seconds());
        let module = Module::compile(&functions, Target::host()).expect("compiles");
        let cpu = (cpu_seconds() - start_cpu) * 1e3;
        let bytes: usize = module.bytes();
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        println!("{milliseconds:.1} ms, {cpu:.1} ms of all cores, {} functions, {bytes} bytes", module.len());
    }
}

/// The processor time of all threads of this process.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes, and the clock exists on every Unix.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
