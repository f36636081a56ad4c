//! Which adapters this machine has.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

/// An adapter that could be opened.
#[derive(Clone, Debug)]
pub struct Adapter {
    pub(crate) inner: wgpu::Adapter,
    info: wgpu::AdapterInfo,
}

/// Why an adapter cannot be used at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The driver gave no device.
    #[error("{adapter}: {reason}")]
    Refused {
        /// Which adapter.
        adapter: String,
        /// What the driver said.
        reason: String,
    },
}

/// Every adapter of this machine, those with hardware behind them first. None is no error: the CPU backend serves.
#[must_use]
pub fn adapters() -> Vec<Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    // A release build asks no validation layer; a debug build would, and print what it finds missing.
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters: Vec<Adapter> = ready(instance.enumerate_adapters(wgpu::Backends::all()))
        .into_iter()
        .map(|inner| Adapter { info: inner.get_info(), inner })
        .collect();
    adapters.sort_by_key(Adapter::is_software);
    adapters
}

impl Adapter {
    /// Name and interface: `NVIDIA H200 (vulkan)`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} ({})", self.info.name, self.info.backend.to_str())
    }

    /// The driver and its version.
    #[must_use]
    pub fn driver(&self) -> String {
        format!("{} {}", self.info.driver, self.info.driver_info).trim().to_owned()
    }

    /// Whether a processor plays the GPU.
    #[must_use]
    pub fn is_software(&self) -> bool {
        self.info.device_type == wgpu::DeviceType::Cpu
    }

    /// Whether its memory is not the processor's.
    #[must_use]
    pub fn has_own_memory(&self) -> bool {
        self.info.device_type == wgpu::DeviceType::DiscreteGpu
    }

    pub(crate) fn is_vulkan(&self) -> bool {
        self.info.backend == wgpu::Backend::Vulkan
    }

    /// What decides which code the driver makes.
    pub(crate) fn identity(&self) -> String {
        let info = &self.info;
        format!(
            "{:?} {} {:x}:{:x} {} {}",
            info.backend, info.name, info.vendor, info.device, info.driver, info.driver_info
        )
    }
}

/// The result of a future that waits for nothing, as those of native backends.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
        std::thread::yield_now();
    }
}

/// The adapters that tests run on. None: said aloud, and a failure where one has to be.
#[cfg(test)]
pub(crate) fn present() -> Vec<Adapter> {
    let found = adapters();
    if found.is_empty() {
        let must = ["CI", "SAMEBIT_REQUIRE_GPU"].iter().any(|name| std::env::var_os(name).is_some());
        assert!(!must, "no adapter, and in CI there has to be one: `.ci/run` installs mesa-vulkan-drivers");
        println!("LEFT OUT: no adapter on this machine, so nothing ran on one (Debian: mesa-vulkan-drivers)");
    }
    found
}
