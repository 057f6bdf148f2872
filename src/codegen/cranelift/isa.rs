//! Cranelift's description of the machine, for a [`Target`].

use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};

#[cfg(target_arch = "x86_64")]
use crate::base::target::Level;
use crate::base::target::Target;
use crate::codegen::module::Error;

/// The instruction set of this machine, restricted to the target's level.
pub fn build(target: Target) -> Result<OwnedTargetIsa, Error> {
    if target.level > Target::host().level {
        return Err(Error::Unsupported(format!("this machine has no CPU level `{}`", target.level)));
    }
    let mut builder = cranelift_native::builder_with_options(cfg!(not(target_arch = "x86_64")))
        .map_err(|reason| Error::Unsupported(reason.into()))?;
    enable_features(&mut builder, target)?;
    Ok(builder.finish(flags()?)?)
}

fn flags() -> Result<settings::Flags, Error> {
    let mut flags = settings::builder();
    let verify = if cfg!(debug_assertions) { "true" } else { "false" };
    let values = [
        ("opt_level", "none"),
        ("enable_verifier", verify),
        // A frame of more than a page touches each of them, as the one below the stack guards it.
        ("enable_probestack", "true"),
        ("probestack_strategy", "inline"),
        ("use_colocated_libcalls", "false"),
        ("is_pic", "false"),
        ("unwind_info", "false"),
    ];
    for (name, value) in values {
        flags.set(name, value)?;
    }
    Ok(settings::Flags::new(flags))
}

#[cfg(target_arch = "x86_64")]
fn enable_features(builder: &mut impl Configurable, target: Target) -> Result<(), Error> {
    use std::arch::is_x86_feature_detected as detected;
    let sse = [
        ("has_sse3", detected!("sse3")),
        ("has_ssse3", detected!("ssse3")),
        ("has_sse41", detected!("sse4.1")),
        ("has_sse42", detected!("sse4.2")),
        ("has_popcnt", detected!("popcnt")),
    ];
    let avx = [
        ("has_avx", detected!("avx")),
        ("has_avx2", detected!("avx2")),
        ("has_fma", detected!("fma")),
        ("has_bmi1", detected!("bmi1")),
        ("has_bmi2", detected!("bmi2")),
        ("has_lzcnt", detected!("lzcnt")),
    ];
    let avx = avx.into_iter().filter(|_| target.level >= Level::Fma);
    for (name, present) in sse.into_iter().chain(avx) {
        if present {
            builder.enable(name)?;
        }
    }
    Ok(())
}

#[cfg(not(target_arch = "x86_64"))]
fn enable_features(_: &mut impl Configurable, _: Target) -> Result<(), Error> {
    Ok(())
}
