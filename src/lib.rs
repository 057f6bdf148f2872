//! A tensor-expression compiler and JIT for convolutional networks.
//!
//! A model is one small text file. It is parsed, its layers are opened into the equations that define them, gradients
//! are derived from those equations, the whole training step is fused, scheduled and compiled to native code, and
//! then it runs. This page is the tour; it has no code of its own. The modules, in the order of the data:
//!
//! | module | takes | gives |
//! | --- | --- | --- |
//! | [`syntax`] | the text of a `.cnn` file | a tree of items with places, and the formatter's text |
//! | [`elab`] | trees of the file and of the library (`src/std/*.cnn`) | a graph; typed data and train sections |
//! | [`graph`] | | nodes that call ops; an op is data, its equations |
//! | [`te`] | | equations: expressions, indices, derived adjoints, and the interpreter that is the oracle |
//! | [`passes`] | the forward graph | the graph of a whole training step; its equations, simplified |
//! | [`kernels`] | equations | what is computed together, and how tensors lie in memory |
//! | [`sched`] | kernels | loop functions: tiled, vectorised, parallel |
//! | [`loops`] | | the loop IR: printed, parsed, verified, interpreted |
//! | [`plan`] | loop functions | the place of every tensor in one arena |
//! | [`lower`] | a graph | the list of all of these, from passes to the plan |
//! | [`codegen`] | loop functions | machine code in memory |
//! | [`runtime`] | all of these | programs that run on a device, and the tensors that outlive a step |
//! | [`data`] | files of pictures and labels | batches |
//! | [`train`] | a train section, data | epochs, weights, the files of a run |
//! | [`report`] | a run | tables, curves, progress |
//! | [`cli`] | the command line | an exit code |
//!
//! [`base`] is below all of them: source texts, diagnostics, random numbers, the target machine.
//!
//! Other programs use [`Model`]:
//!
//! ```
//! use cnnc::{Model, Targets, devices};
//!
//! let model = Model::from_text("tiny.cnn", "
//!     model Tiny(x: f32[N, 1, 4, 4]) -> f32[N, 2] { x |> conv(3, 3) as c1 |> relu |> flatten |> linear(2) }
//!     data Digits { source = digits(); }
//!     train Tiny on Digits { loss = cross_entropy; optim = sgd(0.1); batch = 2; }")?;
//! let mut training = model.training(&devices::host(1)?)?;
//! let (pictures, labels) = ([[0.0; 16], [1.0; 16]].concat(), [0, 1]);
//! let first = training.step(2, &pictures, Targets::Classes(&labels))?;
//! let later = (0..20).try_fold(first, |_, _| training.step(2, &pictures, Targets::Classes(&labels)))?;
//! assert!(later < first);
//! assert_eq!(training.predict(1, &pictures[16..])?.shape, [1, 2]);
//! assert_eq!(training.probe("c1", 1, &pictures[16..])?.shape, [1, 3, 2, 2]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! All other modules are the compiler itself. They are public for the command and for the tests, and for whoever reads
//! along; they change from one version to the next.

// Sizes and offsets are of 64 bits, and so are those of memory: nothing is lost where one becomes the other.
#[cfg(not(target_pointer_width = "64"))]
compile_error!("cnnc needs addresses of 64 bits");

#[macro_use]
pub mod base;
#[cfg(feature = "cli")]
pub mod cli;
pub mod codegen;
pub mod data;
pub mod elab;
pub mod graph;
pub mod kernels;
pub mod loops;
pub mod lower;
pub mod model;
pub mod passes;
pub mod plan;
#[cfg(feature = "cli")]
pub mod report;
pub mod runtime;
pub mod sched;
pub mod syntax;
pub mod te;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod train;

pub use model::{Error, Model, Targets, Tensor, Training};
pub use runtime::{Device, Values, devices};
