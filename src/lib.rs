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
//! | [`runtime`] | all of these | programs that run on a thread pool, and the tensors that outlive a step |
//! | [`data`] | files of pictures and labels | batches |
//! | [`train`] | a train section, data | epochs, weights, the files of a run |
//! | [`report`] | a run | tables, curves, progress |
//! | [`cli`] | the command line | an exit code |
//!
//! [`base`] is below all of them: source texts, diagnostics, random numbers, the target machine.
//!
//! The way from a text to a loss:
//!
//! ```
//! use cnnc::{base::*, elab::*, lower::Goal, runtime::*, train::programs};
//!
//! let text = "model Tiny(x: f32[N, 1, 4, 4]) -> f32[N, 2] { x |> conv(3, 3) |> relu |> flatten |> linear(2) }
//!             data Digits { source = digits(); }
//!             train Tiny on Digits { loss = cross_entropy; optim = sgd(0.1); batch = 8; }";
//! let module = Module::from_text(&mut source::SourceMap::default(), "tiny.cnn", text).unwrap();
//! let spec = module.train_spec(module.train_sections()[0], &config::Overrides::default()).unwrap();
//! let recipe = cnnc::train::recipe::Recipe::of(&module, &spec);
//! let (step, goal) = (recipe.step(8, &spec.phases[0]).unwrap(), Goal::of(target::Target::host()));
//! let (mut store, pool) = (Store::default(), Pool::new(1).unwrap());
//! programs::initialise(&step, spec.seed, &mut store).unwrap();
//! let mut program = programs::compile(&step, &goal, &mut programs::Phases::default()).unwrap();
//! program.set_data(&[0.5; 8 * 16]); // All labels are class 0, as new memory is.
//! program.run(&mut store, &pool, philox::RandomState { seed: spec.seed, step: 0 }).unwrap();
//! assert!(program.scalar(&cnnc::graph::Sink::Loss, &store).unwrap() > 0.0);
//! ```

// Sizes and offsets are of 64 bits, and so are those of memory: nothing is lost where one becomes the other.
#[cfg(not(target_pointer_width = "64"))]
compile_error!("cnnc needs addresses of 64 bits");

#[macro_use]
pub mod base;
pub mod cli;
pub mod codegen;
pub mod data;
pub mod elab;
pub mod graph;
pub mod kernels;
pub mod loops;
pub mod lower;
pub mod passes;
pub mod plan;
pub mod report;
pub mod runtime;
pub mod sched;
pub mod syntax;
pub mod te;
pub mod train;
