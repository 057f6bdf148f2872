//! An executable with the memory that it runs in: what gives inputs, runs, and has outputs.
//!
//! An instance is bound to the tensors of a store once, by paths and shapes that are checked; it looks again only where
//! tensors were added to the store or dropped. What lies in memory only while it runs is leased from the device, so
//! that programs that run by turns need no more than the largest of them.

use std::sync::Arc;

use crate::base::memory::Shortage;
use crate::base::philox::RandomState;
use crate::graph::{Role, Sink};
use crate::loops::DType;
use crate::passes::accept;
use crate::plan::Placement;
use crate::te::Tensor;

use super::device::{Device, DeviceBuffer, Leased, RunMemory, RunRequest, Runner, UpdateGuard, elements};
use super::executable::{Change, Executable};
use super::layout_io;
use super::store::{Mismatch, Store};
use super::values::Values;

/// An executable, a device, and the tensors of a store.
pub struct Instance {
    executable: Arc<Executable>,
    device: Arc<dyn Device>,
    runner: Box<dyn Runner>,
    /// None while others have the memory.
    lease: Option<Box<dyn DeviceBuffer>>,
    /// The place in the store of each persistent tensor.
    persistent: Vec<usize>,
    /// What these places hold for: the store with the tensors that it had.
    bound_to: u64,
    /// The version of the store for which the launches that run once have run.
    prepared: Option<u64>,
}

impl Instance {
    /// Binds an executable, and leases the memory for its runs.
    ///
    /// # Errors
    ///
    /// Where the store does not hold the tensors that the program was compiled for, the three are not of one kind of
    /// device, or there is no memory.
    pub fn bind(
        executable: Arc<Executable>,
        device: &Arc<dyn Device>,
        store: &mut Store,
    ) -> Result<Instance, Mismatch> {
        if executable.kind != device.kind() {
            return Err(Mismatch::Kind { found: executable.kind, needed: device.kind() });
        }
        let runner = device.runner(&executable.code);
        let (device, persistent) = (device.clone(), Vec::new());
        let mut instance =
            Instance { executable, device, runner, lease: None, persistent, bound_to: 0, prepared: None };
        instance.look_up(store)?;
        instance.lease()?;
        Ok(instance)
    }

    /// Leases the memory for its runs, unless it has that. What has lain there is lost; inputs are 0 until they are
    /// given.
    ///
    /// # Errors
    ///
    /// Where there is not so much.
    pub fn lease(&mut self) -> Result<(), Shortage> {
        if self.lease.is_some() {
            return Ok(());
        }
        let Leased { block, is_zero } = self.device.lease(&self.executable.plan)?;
        if !planted!("runtime.instance.prepared") {
            self.prepared = None;
        }
        self.lease = Some(block);
        if !is_zero {
            self.clear_inputs();
        }
        self.fill_halos(is_zero);
        Ok(())
    }

    /// Gives the memory back, for other programs of the device.
    pub fn release(&mut self) {
        if let Some(block) = self.lease.take() {
            self.runner.unbind();
            self.device.give_back(block);
        }
    }

    /// What it runs.
    pub fn executable(&self) -> &Executable {
        &self.executable
    }

    /// Gives the batch of pictures, row-major. Lanes beyond the last picture repeat it.
    ///
    /// # Panics
    ///
    /// While it has no memory; so do all that give inputs.
    pub fn set_data(&mut self, pixels: &[f32]) {
        self.set_numbers(&Role::Data, pixels);
    }

    /// Gives targets of the prediction's shape, row-major, those of the batch or of what is mixed in.
    ///
    /// # Panics
    ///
    /// Where the program takes labels.
    pub fn set_targets(&mut self, role: &Role, targets: &[f32]) {
        self.set_numbers(role, targets);
    }

    /// Gives the labels, those of the batch or of what is mixed in.
    ///
    /// # Panics
    ///
    /// Where the program takes other targets.
    pub fn set_labels(&mut self, role: &Role, labels: &[i32]) {
        let Some((tensor, offset)) = self.executable.input(role) else { return };
        assert_eq!(self.executable.dtypes[&tensor], DType::I32, "labels are i32");
        self.pack(tensor, offset, labels);
    }

    /// Gives a number of the host by name; names the program does not read are ignored.
    pub fn set_scalar(&mut self, name: &str, value: f32) {
        self.set_numbers(&Role::Scalar(name.into()), &[value]);
    }

    fn set_numbers(&mut self, role: &Role, values: &[f32]) {
        let Some((tensor, offset)) = self.executable.input(role) else { return };
        assert_eq!(self.executable.dtypes[&tensor], DType::F32, "pictures and targets are f32");
        self.pack(tensor, offset, values);
    }

    fn pack<T: bytemuck::Pod + Sync>(&mut self, tensor: Tensor, offset: usize, values: &[T]) {
        let layout = &self.executable.layouts[&tensor];
        let lease = self.lease.as_deref_mut().expect("inputs are given while there is memory");
        let range = offset..offset + layout.len() * size_of::<T>();
        let vector = layout.lanes as usize * size_of::<T>();
        self.device.write_parts(lease, range, vector, &|start, bytes| {
            layout_io::pack(layout, values, start / size_of::<T>(), bytemuck::cast_slice_mut(bytes));
        });
    }

    /// Runs all units. Parameters and states are read from the store's present values. Updates go to its next ones,
    /// or, once the step is known to be accepted, over the present ones; [`commit`](Instance::commit) makes them those
    /// that count. Where it is not accepted, the store stays as it was.
    ///
    /// # Errors
    ///
    /// Where the store does not hold the tensors that the program was compiled for, or the instance has no memory:
    /// nothing has run then. And where the device fails.
    pub fn run(&mut self, store: &mut Store, random: RandomState) -> Result<(), Mismatch> {
        let request = self.whole(store, random);
        let (runner, memory) = self.bound(store)?;
        runner.run(memory, &request)?;
        if !self.has_stopped() {
            self.prepared = Some(store.version());
        }
        Ok(())
    }

    /// Runs like [`run`](Instance::run) and gives the seconds of each unit: 0 where it does not run,
    /// and everywhere if the step is not accepted.
    ///
    /// # Errors
    ///
    /// Those of [`run`](Instance::run).
    pub fn run_timed(&mut self, store: &mut Store, random: RandomState) -> Result<Vec<f64>, Mismatch> {
        let request = self.whole(store, random);
        let (runner, memory) = self.bound(store)?;
        let seconds = runner.run_timed(memory, &request)?;
        if self.has_stopped() {
            return Ok(vec![0.0; seconds.len()]);
        }
        self.prepared = Some(store.version());
        Ok(seconds)
    }

    /// All that has to run for the values that the store has.
    fn whole(&self, store: &Store, random: RandomState) -> RunRequest {
        let with_run_once = self.prepared != Some(store.version());
        RunRequest { units: 0..self.executable.plan.units.len(), with_run_once, random }
    }

    /// Runs one unit, whatever has run before.
    pub(super) fn run_unit(
        &mut self,
        unit: usize,
        store: &mut Store,
        random: RandomState,
    ) -> Result<(), Mismatch> {
        self.prepared = None;
        let (runner, memory) = self.bound(store)?;
        runner.run(memory, &RunRequest { units: unit..unit + 1, with_run_once: true, random })?;
        Ok(())
    }

    /// Finds the persistent tensors in a store, and gets room there for those that are stored beside.
    fn look_up(&mut self, store: &mut Store) -> Result<(), Mismatch> {
        let (found, needed) = (store.device().kind(), self.device.kind());
        if found != needed {
            return Err(Mismatch::Kind { found, needed });
        }
        let places = self
            .executable
            .persistent
            .iter()
            .map(|persistent| store.find(&persistent.path, &persistent.shape));
        let places: Vec<usize> = places.collect::<Result<_, _>>()?;
        store.prepare(self.beside(&places))?;
        (self.persistent, self.bound_to) = (places, store.structure());
        Ok(())
    }

    /// The runner, and the memory that it runs in: that of a store which has just been looked at, if it is another one.
    fn bound<'a>(
        &'a mut self,
        store: &'a mut Store,
    ) -> Result<(&'a mut dyn Runner, RunMemory<'a>), Mismatch> {
        if self.bound_to != store.structure() {
            self.look_up(store)?;
        }
        let lease = self.lease.as_deref_mut().ok_or(Mismatch::NoMemory)?;
        Ok((&mut *self.runner, RunMemory { lease, persistent: store.blocks(&self.persistent) }))
    }

    /// Whether the updates of the last run take place: always, if nothing in the program says otherwise.
    pub fn is_accepted(&self) -> bool {
        let holds = |guard: UpdateGuard| self.lease.as_deref().is_some_and(|lease| guard.holds(lease));
        self.executable.guard.is_none_or(holds)
    }

    /// Whether the last run ended in front of the updates.
    fn has_stopped(&self) -> bool {
        self.executable.guard.is_some_and(|guard| guard.unit.is_some()) && !self.is_accepted()
    }

    /// Makes the updates of the last run the present values; not where it is not accepted, or its memory was given
    /// back.
    ///
    /// # Panics
    ///
    /// Where the last run was on another store.
    pub fn commit(&self, store: &mut Store) {
        if !planted!("runtime.instance.commit") && !self.is_accepted() {
            return;
        }
        assert_eq!(self.bound_to, store.structure(), "what has run is committed where it has run");
        let next: Vec<usize> = self.beside(&self.persistent).collect();
        let in_place = self.executable.persistent.iter().any(|tensor| tensor.change == Change::InPlace);
        store.commit(&next, in_place);
    }

    /// Those of the places of all persistent tensors where a next value is stored beside the present one.
    fn beside(&self, places: &[usize]) -> impl Iterator<Item = usize> {
        let tensors = self.executable.persistent.iter().zip(places);
        tensors.filter(|(tensor, _)| tensor.change == Change::Next).map(|(_, at)| *at)
    }

    /// Sets all inputs to 0.
    fn clear_inputs(&mut self) {
        let Executable { layouts, plan, dtypes, inputs, .. } = &*self.executable;
        let Some(lease) = &mut self.lease else { return };
        for (_, tensor) in inputs {
            if let Some(Placement::Arena(offset)) = plan.places.get(tensor) {
                let bytes = layouts[tensor].len() * dtypes[tensor].size();
                lease.write(*offset..*offset + bytes, &mut |bytes| bytes.fill(0));
            }
        }
    }

    /// Fills all halos; new memory is zero.
    fn fill_halos(&mut self, is_zero: bool) {
        let Executable { layouts, plan, dtypes, .. } = &*self.executable;
        let Some(lease) = &mut self.lease else { return };
        for (tensor, layout) in layouts {
            let (Some(fill), Some(Placement::Arena(offset))) = (layout.fill, plan.places.get(tensor)) else {
                continue;
            };
            let bits = match dtypes[tensor] {
                DType::F32 => (fill.get() as f32).to_ne_bytes().to_vec(),
                DType::I32 => (fill.get() as i32).to_ne_bytes().to_vec(),
                DType::U8 | DType::Bool => vec![fill.get() as u8],
            };
            if (is_zero || planted!("runtime.instance.halo")) && bits.iter().all(|byte| *byte == 0) {
                continue;
            }
            lease.write(*offset..*offset + layout.len() * bits.len(), &mut |bytes| {
                bytes.chunks_exact_mut(bits.len()).for_each(|element| element.copy_from_slice(&bits));
            });
        }
    }

    /// The norms of the gradients in the last run, by the parameters' paths in the order of the model.
    pub fn gradient_norms(&self, store: &Store) -> Vec<(String, f32)> {
        let norm = |(path, sink): &(String, Sink)| Some((path.clone(), self.scalar(sink, store)? as f32));
        self.executable.norms.iter().filter_map(norm).collect()
    }

    /// An output of the last run, row-major and in its own type; none where the program has no such output.
    pub fn output(&self, wanted: &Sink, store: &Store) -> Option<Values> {
        self.values(self.executable.output(|sink| sink == wanted)?, store)
    }

    /// An output of the last run that is one number, whatever its type.
    pub fn scalar(&self, wanted: &Sink, store: &Store) -> Option<f64> {
        self.output(wanted, store)?.first()
    }

    /// The parameters of which the last run says that they are not sound, with their health, in the order of the model.
    pub fn unsound(&self, store: &Store) -> Vec<(String, f32)> {
        let health = self.executable.output(|sink| matches!(sink, Sink::Health(_)));
        let Some(Values::F32(health)) = health.and_then(|tensor| self.values(tensor, store)) else {
            return Vec::new();
        };
        let of_paths = self.executable.judged.iter().cloned().zip(health);
        of_paths.filter(|(_, health)| *health != accept::SOUND).collect()
    }

    /// The elements of a tensor as the last run has left them; none of one that lies in scratch.
    pub(super) fn values(&self, tensor: Tensor, store: &Store) -> Option<Values> {
        let (block, offset) = match self.executable.plan.places[&tensor] {
            Placement::Arena(offset) => (self.lease.as_deref()?, offset),
            Placement::Present(at) | Placement::Next(at) if self.bound_to == store.structure() => {
                (store.present(self.persistent[at]), 0)
            }
            Placement::Present(_) | Placement::Next(_) => return None, // Of another store.
            Placement::Scratch { .. } => return None,
        };
        let layout = &self.executable.layouts[&tensor];
        let dtype = self.executable.dtypes[&tensor];
        let bytes = block.read(offset..offset + layout.len() * dtype.size());
        Some(match dtype {
            DType::F32 => Values::F32(layout_io::unpack(layout, &elements(bytes))),
            DType::I32 => Values::I32(layout_io::unpack(layout, &elements(bytes))),
            DType::U8 => Values::U8(layout_io::unpack(layout, &bytes)),
            DType::Bool => {
                Values::Bool(layout_io::unpack(layout, &bytes).into_iter().map(|bit: u8| bit != 0).collect())
            }
        })
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
#[path = "instance_tests.rs"]
mod tests;
