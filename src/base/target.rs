//! What the machine that runs the code can do, as far as the compiler decides by it.

/// The vector level of a CPU. It changes which instructions are used and is part of a run's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// 128-bit vectors without fused multiply-add: every x86-64.
    Sse4,
    /// 128-bit vectors with fused multiply-add: x86-64 from 2013 on, every aarch64.
    Fma,
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
        let registers = if cfg!(target_arch = "aarch64") { 32 } else { 16 };
        Target { level, lanes: 4, registers }
    }

    /// The best level this machine runs.
    pub fn host() -> Target {
        Target::of(host_level())
    }

    /// Whether `a * b + c` is one instruction with one rounding.
    pub fn fma(&self) -> bool {
        self.level >= Level::Fma
    }
}

#[cfg(target_arch = "x86_64")]
fn host_level() -> Level {
    if std::arch::is_x86_feature_detected!("fma") && std::arch::is_x86_feature_detected!("avx2") {
        Level::Fma
    } else {
        Level::Sse4
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
        })
    }
}

impl std::str::FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Level, String> {
        match text {
            "sse4" => Ok(Level::Sse4),
            "fma" => Ok(Level::Fma),
            _ => Err(format!("unknown CPU level `{text}`; known are sse4 and fma")),
        }
    }
}
