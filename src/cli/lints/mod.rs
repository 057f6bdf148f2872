//! What is allowed but probably not meant.
//!
//! [`names`] looks at the text: names that nothing uses. [`layers`] looks at a model's graph: combinations of layers
//! that waste work or do not learn. A warning of `layers` has a name, and a comment `// allow(NAME)` on its line or on
//! the one above silences it.

pub mod layers;
pub mod names;
