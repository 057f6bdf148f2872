//! What the machine that runs the code can do, as far as the compiler decides by it.

/// The vector level of a CPU. It changes which instructions are used and is part of a run's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// 128-bit vectors without fused multiply-add: every x86-64.
    Sse4,
    /// 128-bit vectors with fused multiply-add: x86-64 from 2013 on, every aarch64.
    Fma,
    /// 256-bit vectors with fused multiply-add: x86-64 from 2013 on.
    Avx2,
    /// 512-bit vectors with masks (F, VL, BW, DQ): x86-64 servers from 2017 on, AMD's from 2022 on.
    Avx512,
}

/// What makes code of vector functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackEnd {
    /// Cranelift, which has vectors of 128 bits.
    Cranelift,
    /// Our own assembler of whole functions, for wider ones.
    Assembler,
}

impl Level {
    /// What compiles for a level; what the assembler has no instructions for goes through Cranelift all the same.
    pub fn back_end(self) -> BackEnd {
        if self > Level::Fma { BackEnd::Assembler } else { BackEnd::Cranelift }
    }
}

/// A machine to compile for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The vector level.
    pub level: Level,
    /// Lanes (f32) of one vector register.
    pub lanes: usize,
    /// Vector registers.
    pub registers: usize,
}

impl Target {
    /// The target of a level.
    pub fn of(level: Level) -> Target {
        let (lanes, registers) = match level {
            Level::Fma if cfg!(target_arch = "aarch64") => (4, 32),
            Level::Sse4 | Level::Fma => (4, 16),
            Level::Avx2 => (8, 16),
            Level::Avx512 => (16, 32),
        };
        Target { level, lanes, registers }
    }

    /// The best level this machine runs.
    pub fn host() -> Target {
        Target::of(host_level())
    }

    /// The registers that the running sums of a register tile may take, beside what one summand reads: so many registers
    /// of the smaller factor and of the larger one, at so many points of a window.
    ///
    /// The assembler keeps the smaller side, and the elements of the other come one after the other; those of windows stay
    /// too, as the next tap needs most of them again, where the machine cannot read the other side in all lanes from
    /// memory (AVX2). Cranelift's allocator keeps to half of the registers, measured: with more of them it spills.
    pub fn accumulators(&self, smaller: i64, larger: i64, windows: i64) -> i64 {
        let registers = self.registers as i64;
        match self.level.back_end() {
            BackEnd::Cranelift => (registers / 2).min(16),
            BackEnd::Assembler if self.level == Level::Avx2 && windows > 1 => registers - smaller - larger,
            BackEnd::Assembler => registers - smaller - 1,
        }
    }

    /// Whether `a * b + c` is one instruction with one rounding.
    pub fn fma(&self) -> bool {
        self.level >= Level::Fma
    }
}

#[cfg(target_arch = "x86_64")]
fn host_level() -> Level {
    use std::arch::is_x86_feature_detected as has;
    let avx2 = has!("fma") && has!("avx2");
    let avx512 = has!("avx512f") && has!("avx512vl") && has!("avx512bw") && has!("avx512dq");
    match (avx2, avx512) {
        // Windows passes arguments in other registers than the wide back end expects.
        (true, _) if cfg!(windows) => Level::Fma,
        (true, true) => Level::Avx512,
        (true, false) => Level::Avx2,
        (false, _) => Level::Sse4,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn host_level() -> Level {
    Level::Fma
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Level::Sse4 => "sse4",
            Level::Fma => "fma",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
        })
    }
}

impl std::str::FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Level, String> {
        match text {
            "sse4" => Ok(Level::Sse4),
            "fma" => Ok(Level::Fma),
            "avx2" => Ok(Level::Avx2),
            "avx512" => Ok(Level::Avx512),
            _ => Err(format!("unknown CPU level `{text}`; known are sse4, fma, avx2 and avx512")),
        }
    }
}
