//! Which adapters there are, and what they can do.

use pollster::block_on;

use crate::runtime::device::Fault;

/// A way to a graphics card, or to software that stands for one.
#[derive(Clone, Debug)]
pub(super) struct Adapter {
    pub handle: wgpu::Adapter,
    pub name: String,
    /// The driver with its version.
    pub driver: String,
    pub limits: wgpu::Limits,
    kind: wgpu::DeviceType,
    backend: wgpu::Backend,
}

/// The ways to reach them.
const BACKENDS: wgpu::Backends =
    wgpu::Backends::VULKAN.union(wgpu::Backends::METAL).union(wgpu::Backends::DX12);

/// All adapters, the ones that are most likely wanted first.
pub(super) fn all() -> Vec<Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = BACKENDS;
    let instance = wgpu::Instance::new(descriptor);
    let adapters = block_on(instance.enumerate_adapters(BACKENDS)).into_iter().map(Adapter::of);
    let mut adapters: Vec<Adapter> = adapters.collect();
    adapters.sort_by_key(|adapter| adapter.rank());
    adapters
}

/// The adapter that a name is a part of, or the best one; one of software by its name only.
///
/// # Errors
///
/// Where there is none, with those that there are.
pub(super) fn find(wanted: Option<&str>) -> Result<Adapter, Fault> {
    let adapters = all();
    let fits = |adapter: &&Adapter| match wanted {
        Some(wanted) => adapter.name.to_lowercase().contains(&wanted.to_lowercase()),
        None => !adapter.is_software(),
    };
    if let Some(adapter) = adapters.iter().find(fits) {
        return Ok(adapter.clone());
    }
    let names: Vec<String> = adapters.iter().map(|adapter| format!("`{}`", adapter.name)).collect();
    Err(Fault(match (wanted, names.is_empty()) {
        (_, true) => {
            "no graphics adapter was found: is a driver for Vulkan, Metal or Direct3D 12 installed?".into()
        }
        (Some(wanted), false) => {
            format!("no graphics adapter has `{wanted}` in its name; there are {}", names.join(", "))
        }
        (None, false) => format!(
            "no graphics card was found; software takes its place only where --device gpu:NAME names it, and there are {}",
            names.join(", ")
        ),
    }))
}

impl Adapter {
    fn of(handle: wgpu::Adapter) -> Adapter {
        let info = handle.get_info();
        let driver = [info.driver, info.driver_info].into_iter().filter(|part| !part.is_empty());
        let driver = driver.collect::<Vec<_>>().join(" ");
        let limits = handle.limits();
        Adapter { name: info.name, driver, limits, kind: info.device_type, backend: info.backend, handle }
    }

    pub fn is_software(&self) -> bool {
        self.kind == wgpu::DeviceType::Cpu
    }

    pub fn is_vulkan(&self) -> bool {
        self.backend == wgpu::Backend::Vulkan
    }

    /// The most bytes that a shader reaches in one block of memory.
    pub fn block_bytes(&self) -> u64 {
        // Words of a block are counted with 32 bits, its bytes too.
        let most = 1 << 31;
        let limits = &self.limits;
        most.min(limits.max_storage_buffer_binding_size).min(limits.max_buffer_size) / 256 * 256
    }

    fn rank(&self) -> (usize, String) {
        let kinds = [
            wgpu::DeviceType::DiscreteGpu,
            wgpu::DeviceType::IntegratedGpu,
            wgpu::DeviceType::VirtualGpu,
            wgpu::DeviceType::Other,
        ];
        (kinds.iter().position(|kind| *kind == self.kind).unwrap_or(kinds.len()), self.name.clone())
    }

    /// What kind it is, in a word or two.
    fn kind_name(&self) -> &'static str {
        match self.kind {
            wgpu::DeviceType::DiscreteGpu => "a card",
            wgpu::DeviceType::IntegratedGpu => "part of the processor",
            wgpu::DeviceType::VirtualGpu => "virtual",
            wgpu::DeviceType::Cpu => "software",
            wgpu::DeviceType::Other => "of unknown kind",
        }
    }

    /// What it is and what it can do, a line each.
    pub fn described(&self) -> Vec<String> {
        let limits = &self.limits;
        let mib = |bytes: u64| bytes >> 20;
        let features = self.handle.features();
        let missing = [
            (
                wgpu::Features::PASSTHROUGH_SHADERS,
                "code as it is (results are within bounds, and not the same bits)",
            ),
            (wgpu::Features::TIMESTAMP_QUERY, "times of kernels (no profile)"),
        ];
        let missing: Vec<&str> = missing
            .iter()
            .filter(|(feature, _)| !features.contains(*feature))
            .map(|(_, text)| *text)
            .collect();
        let mut lines = vec![
            format!("{} ({}, {:?})", self.name, self.kind_name(), self.backend),
            format!("  driver {}", self.driver),
            format!(
                "  {} MiB a block of memory, {} blocks a kernel, {} KiB of workgroup memory, {} invocations a workgroup",
                mib(self.block_bytes()),
                limits.max_storage_buffers_per_shader_stage,
                limits.max_compute_workgroup_storage_size >> 10,
                limits.max_compute_invocations_per_workgroup,
            ),
        ];
        if !missing.is_empty() {
            lines.push(format!("  missing: {}", missing.join("; ")));
        }
        lines
    }
}
