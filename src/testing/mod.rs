//! What tests need and a shipped library has not: random programs and functions, samples, gradients by differences.
//!
//! It is there in the crate's own tests, and for those beside it with the feature `testing`, which nothing but the
//! tests' dependency on the package asks for. Planted faults ([`fault`](crate::base::fault)) go by the same feature;
//! their list is in `base`, as every module asks for its own. Golden bits lie in `tests/golden`.

pub mod functions;
pub mod gradients;
pub mod programs;
pub mod samples;
