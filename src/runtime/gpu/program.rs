//! What is compiled of a program: a shader for each dispatch, and equal ones once.
//!
//! Which block of memory a buffer lies in is part of a shader, as each block is bound once. Where tensors that outlive
//! runs will lie is not known yet, so shaders are made for what is nearly always so, small ones in one slab and
//! large ones alone, and others when they are asked for.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use pollster::block_on;

use super::context::Context;
use super::spirv;
use crate::base::memory::{MemoryLimit, Room, Shortage};
use crate::base::parallel;
use crate::codegen::wgsl::{self, Condition, Dispatch, Part, Rounding, Shader};
use crate::plan::blocks::{Bound, bind, likely};
use crate::plan::{MemoryPlan, Placement};
use crate::runtime::device::{Call, Error, Fault, Parts, UpdateGuard};

/// A compiled program.
pub(super) struct Program {
    pub context: Arc<Context>,
    pub parts: Parts,
    block_bytes: u64,
    shaders: Mutex<HashMap<Key, Arc<Pipeline>>>,
}

/// What makes shaders differ.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    functions: Vec<usize>,
    /// The numbers of the blocks of all buffers.
    blocks: Vec<usize>,
    condition: Option<Condition>,
}

/// A shader as the device has it.
pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
    pub shader: Shader,
}

/// The launches of a dispatch, by where their buffers lie.
pub(super) struct Placed {
    key: Key,
    /// For each block the first of the places that lie in it: those of all buffers, then that of the condition.
    pub firsts: Vec<usize>,
}

impl Program {
    /// Compiles all dispatches.
    ///
    /// # Errors
    ///
    /// Where a tensor or a kernel is beyond what the adapter binds, or the driver refuses a shader.
    pub fn compile(context: &Arc<Context>, parts: Parts) -> Result<Program, Error> {
        let block_bytes = context.block_bytes();
        let shaders = Mutex::new(HashMap::new());
        let program = Program { context: context.clone(), parts, block_bytes, shaders };
        program.check_sizes()?;
        let units = program.plan().units.iter();
        let mut keys: Vec<(Key, usize)> = Vec::new();
        for unit in units {
            let placed = program
                .placed(unit.launches.clone(), &|place, bytes| likely(place, bytes, block_bytes as usize));
            if !keys.iter().any(|(key, _)| *key == placed.key) {
                keys.push((placed.key, placed.firsts.len()));
            }
        }
        keys.iter().try_for_each(|(key, blocks)| program.check_blocks(key, *blocks))?;
        let made = parallel::map(&keys, |(key, _)| program.make(key));
        for ((key, _), pipeline) in keys.into_iter().zip(made) {
            program.shaders.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::new(pipeline?));
        }
        Ok(program)
    }

    pub fn plan(&self) -> &MemoryPlan {
        &self.parts.plan
    }

    pub fn guard(&self) -> Option<UpdateGuard> {
        self.parts.guard
    }

    /// An error where a tensor is larger than a block of memory may be.
    fn check_sizes(&self) -> Result<(), Error> {
        let functions = self.parts.functions.iter();
        let buffers = functions.flat_map(|function| function.buffers.values());
        let bytes = buffers.map(|data| (data, (data.len * data.dtype.size()) as u64));
        match bytes.filter(|(_, bytes)| *bytes > self.block_bytes).max_by_key(|(_, bytes)| *bytes) {
            None => Ok(()),
            Some((data, needed)) => {
                let room = Some(Room { bytes: self.block_bytes, bound: MemoryLimit::Block });
                Err(Shortage { what: format!("`{}`", data.name), needed, room }.into())
            }
        }
    }

    /// An error where a kernel binds more blocks than the adapter can.
    fn check_blocks(&self, key: &Key, blocks: usize) -> Result<(), Error> {
        let Context { adapter, options, .. } = &*self.context;
        let most = options.blocks.unwrap_or(adapter.limits.max_storage_buffers_per_shader_stage as usize);
        if blocks <= most {
            return Ok(());
        }
        let (name, adapter) = (&self.parts.functions[key.functions[0]].name, &adapter.name);
        Err(Error::Unsupported(format!(
            "the kernel {name} reads and writes {blocks} blocks of memory, and {adapter} binds {most}"
        )))
    }

    /// The places of all buffers of some launches, with their bytes.
    pub fn places(&self, launches: Range<usize>) -> impl Iterator<Item = (Placement, u64)> + '_ {
        self.parts.calls[launches].iter().flat_map(|Call { function, places, .. }| {
            let buffers = self.parts.functions[*function].buffers.values();
            places.iter().zip(buffers).map(|(place, data)| (*place, (data.len * data.dtype.size()) as u64))
        })
    }

    /// The place of the verdict, where a unit of launches depends on it.
    pub fn verdict(&self, launches: &Range<usize>) -> Option<UpdateGuard> {
        let guarded = self.plan().units.get(self.guard()?.unit?)?;
        self.guard().filter(|_| launches.start >= guarded.launches.start)
    }

    /// What a dispatch of some launches is, where `block_of` says in which block of memory a place is.
    pub fn placed(&self, launches: Range<usize>, block_of: &dyn Fn(Placement, u64) -> u64) -> Placed {
        let verdict = self.verdict(&launches);
        let places = self.places(launches.clone());
        let Bound { blocks, verdict: block, firsts } =
            bind(places, verdict.map(|guard| guard.offset), block_of);
        let condition =
            verdict.zip(block).map(|(guard, block)| Condition { block, is_finite: guard.is_loss });
        let functions = self.parts.calls[launches].iter().map(|call| call.function).collect();
        Placed { key: Key { functions, blocks, condition }, firsts }
    }

    /// The shader of a dispatch.
    ///
    /// # Errors
    ///
    /// Where it has not been needed before, and the driver refuses it.
    pub fn pipeline(&self, placed: &Placed) -> Result<Arc<Pipeline>, Fault> {
        let known = self.shaders.lock().unwrap_or_else(PoisonError::into_inner).get(&placed.key).cloned();
        if let Some(pipeline) = known {
            return Ok(pipeline);
        }
        let refused = |error: Error| Fault(error.to_string());
        self.check_blocks(&placed.key, placed.firsts.len()).map_err(refused)?;
        let pipeline = Arc::new(self.make(&placed.key).map_err(refused)?);
        let mut shaders = self.shaders.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(shaders.entry(placed.key.clone()).or_insert(pipeline).clone())
    }

    fn make(&self, key: &Key) -> Result<Pipeline, Error> {
        let mut blocks = key.blocks.as_slice();
        let parts = key.functions.iter().map(|function| {
            let function = &self.parts.functions[*function];
            let (own, rest) = blocks.split_at(function.buffers.len());
            blocks = rest;
            Part { function, blocks: own.to_vec(), notes: Vec::new() }
        });
        let parts = parts.collect();
        let dispatch = Dispatch { parts, condition: key.condition, driver: self.context.arithmetic };
        let mut shader = wgsl::write(&dispatch)?;
        if self.context.options.refuses {
            shader.text += "what no driver takes";
        }
        let name = &self.parts.functions[key.functions[0]].name;
        build(&self.context, shader, name)
            .map_err(|fault| Error::Compile { name: name.clone(), reason: fault.to_string() })
    }
}

impl Pipeline {
    /// Binds buffers in the order of their bindings.
    pub fn bind<'a>(
        &self,
        context: &Context,
        buffers: impl Iterator<Item = &'a wgpu::Buffer>,
    ) -> wgpu::BindGroup {
        let entry = |(binding, buffer): (usize, &'a wgpu::Buffer)| wgpu::BindGroupEntry {
            binding: binding as u32,
            resource: buffer.as_entire_binding(),
        };
        let entries: Vec<wgpu::BindGroupEntry<'_>> = buffers.enumerate().map(entry).collect();
        let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &self.layout, entries: &entries };
        context.device.create_bind_group(&descriptor)
    }

    /// Adds a run of it to a pass.
    pub fn record(&self, group: &wgpu::BindGroup, pass: &mut wgpu::ComputePass<'_>) {
        let [x, y] = self.shader.dimensions();
        if x > 0 {
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, group, &[]);
            pass.dispatch_workgroups(x, y, 1);
        }
    }
}

/// Makes a pipeline of a shader.
///
/// # Errors
///
/// Where the driver refuses it.
pub(super) fn build(context: &Context, shader: Shader, name: &str) -> Result<Pipeline, Fault> {
    let filters =
        [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation];
    let scopes = filters.map(|filter| context.device.push_error_scope(filter));
    let made = module(context, &shader.text, name).map(|module| of_module(context, shader, &module, name));
    // The last one first, whatever came of it: scopes are a stack.
    let errors: Vec<Option<wgpu::Error>> =
        scopes.into_iter().rev().map(|scope| block_on(scope.pop())).collect();
    match errors.into_iter().flatten().next() {
        Some(error) => Err(Fault(error.to_string())),
        None => made,
    }
}

fn of_module(context: &Context, shader: Shader, module: &wgpu::ShaderModule, name: &str) -> Pipeline {
    let device = &context.device;
    let storage = |written: &bool| wgpu::BufferBindingType::Storage { read_only: !written };
    let types = shader.written.iter().map(storage);
    let types = types.chain([wgpu::BufferBindingType::Uniform, wgpu::BufferBindingType::Uniform]);
    let entry = |(binding, ty): (usize, wgpu::BufferBindingType)| wgpu::BindGroupLayoutEntry {
        binding: binding as u32,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    };
    let entries: Vec<wgpu::BindGroupLayoutEntry> = types.enumerate().map(entry).collect();
    let layout = device
        .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(name), entries: &entries });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(name),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(name),
        layout: Some(&pipeline_layout),
        module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &[],
            zero_initialize_workgroup_memory: false,
        },
        cache: None,
    });
    Pipeline { pipeline, layout, shader }
}

fn module(context: &Context, text: &str, name: &str) -> Result<wgpu::ShaderModule, Fault> {
    match context.arithmetic.rounding {
        Rounding::Kept => {
            let words = spirv::compile(text, !context.options.unmarked)?;
            let descriptor = wgpu::ShaderModuleDescriptorPassthrough {
                label: Some(name),
                entry_points: vec![wgpu::PassthroughShaderEntryPoint {
                    name: "main".into(),
                    workgroup_size: (wgsl::WORKGROUP, 1, 1),
                }]
                .into(),
                spirv: Some(words.into()),
                ..Default::default()
            };
            // SAFETY: the shader is made of verified functions, whose accesses lie in their buffers, and these where the
            // table of places says (`plan::verifier`). Its bindings are those of the layout that goes with it.
            Ok(unsafe { context.device.create_shader_module_passthrough(descriptor) })
        }
        Rounding::Fenced => {
            let source = wgpu::ShaderSource::Wgsl(text.into());
            let descriptor = wgpu::ShaderModuleDescriptor { label: Some(name), source };
            // SAFETY: as above; loops have constant extents, so all of them end.
            Ok(unsafe {
                let checks = wgpu::ShaderRuntimeChecks::unchecked();
                context.device.create_shader_module_trusted(descriptor, checks)
            })
        }
    }
}
