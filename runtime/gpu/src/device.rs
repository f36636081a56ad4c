//! An open adapter: pipelines, and graphs as recorded work.
//!
//! A run records every node's dispatches, in few submissions, and reads the outputs back at the end. Work is cut between
//! submissions so that none is long: a system's watchdog ends what does not answer, and a host that stops is heard.
//! Whatever goes wrong here is a [`Fault`]: no result, no panic.

mod recording;
mod survey;

pub(crate) use recording::Recording;

use crate::{
    Options,
    adapter::{Adapter, OpenError, ready},
    gate::Choice,
    kernels::{Kind, Spec},
    lower::{self, Value},
    memory::{Kept, Pool, lock},
    spirv,
};
use samebit_tensor::{Failure, Fault, Graph, GraphError, Op, Plan, Tensor, TensorError, TensorType};
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// A device and what was made on it.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) limits: wgpu::Limits,
    /// Whether SPIR-V goes to the driver as we wrote it.
    pub(crate) passthrough: bool,
    device: wgpu::Device,
    queue: wgpu::Queue,
    options: Options,
    pool: Arc<Pool>,
    /// What the driver said that no call could answer.
    said: Arc<Mutex<Option<String>>>,
    /// Nothing more comes from it.
    gone: Arc<AtomicBool>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pipelines: HashMap<Spec, Pipeline>,
    kept: Kept,
    params: Vec<wgpu::Buffer>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("State").field("pipelines", &self.pipelines.len()).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

/// No index was outside.
const INSIDE: u32 = u32::MAX;

impl Device {
    pub(crate) fn open(adapter: &Adapter, options: Options) -> Result<Self, OpenError> {
        let refused = |reason: String| OpenError::Refused { adapter: adapter.name(), reason };
        let features = adapter.inner.features() & wgpu::Features::PASSTHROUGH_SHADERS;
        let limits = adapter.inner.limits();
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("samebit"),
            required_features: features,
            required_limits: limits.clone(),
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) =
            ready(adapter.inner.request_device(&descriptor)).map_err(|error| refused(error.to_string()))?;
        let said: Arc<Mutex<Option<String>>> = Arc::default();
        let gone: Arc<AtomicBool> = Arc::default();
        let heard = Arc::clone(&said);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            lock(&heard).get_or_insert(match error {
                wgpu::Error::OutOfMemory { .. } => OUT_OF_MEMORY.to_owned(),
                other => other.to_string(),
            });
        }));
        let (heard, lost) = (Arc::clone(&said), Arc::clone(&gone));
        device.set_device_lost_callback(move |reason, message| {
            lost.store(true, Ordering::Release);
            lock(&heard).get_or_insert(format!("device lost ({reason:?}): {message}"));
        });
        let largest = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let most = (largest / 4).max(4).ilog2().min(28);
        let piece = options.piece_words.map_or(most, |words| words.max(4).ilog2().min(most));
        Ok(Self {
            name: adapter.name(),
            passthrough: features.contains(wgpu::Features::PASSTHROUGH_SHADERS) && adapter.is_vulkan(),
            pool: Pool::new(device.clone(), piece, options.kept_bytes / 4),
            limits,
            device,
            queue,
            options,
            said,
            gone,
            state: Mutex::default(),
        })
    }

    pub(crate) fn fault(&self, reason: impl Into<String>) -> Fault {
        Fault::Device { device: self.name.clone(), reason: reason.into() }
    }

    /// What the driver said since the last time; a device that is gone says so for ever.
    fn heard(&self) -> Result<(), Fault> {
        let said = lock(&self.said).take();
        match (said, self.gone.load(Ordering::Acquire)) {
            (Some(said), _) => Err(self.fault(said)),
            (None, true) => Err(self.fault(GONE)),
            (None, false) => Ok(()),
        }
    }

    /// Computes a graph. Memory that ran out is asked for once more when all that was kept is let go.
    pub(crate) fn run(
        &self,
        choice: &Choice,
        graph: &Graph,
        plan: &Plan,
        outside: &[Tensor],
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Tensor>, Failure> {
        let first = self.guarded(|| self.attempt(choice, graph, plan, outside, stop));
        match first {
            Err(Failure::Fault(Fault::Device { reason, .. })) if reason == OUT_OF_MEMORY => {
                lock(&self.state).kept.trim(0);
                self.pool.clear();
                self.guarded(|| self.attempt(choice, graph, plan, outside, stop))
            }
            other => other,
        }
    }

    /// A panic below becomes a fault, and the device is not used again.
    fn guarded<T>(&self, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            self.gone.store(true, Ordering::Release);
            let said = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
            Err(self.fault(format!("the driver's library broke: {}", said.unwrap_or_default())).into())
        })
    }

    fn attempt(
        &self,
        choice: &Choice,
        graph: &Graph,
        plan: &Plan,
        outside: &[Tensor],
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Tensor>, Failure> {
        // What an earlier run's end brought about is not this one's.
        lock(&self.said).take();
        self.heard()?;
        let mut state = self.turn(stop)?;
        state.kept.trim(self.options.kept_bytes);
        let mut run = Recording::new(self, &mut state, graph.nodes.len(), stop);
        let mut values: Vec<Option<Value>> = Vec::with_capacity(plan.types.len());
        for tensor in outside {
            values.push(Some(run.upload(tensor)));
        }
        self.heard()?;
        let mut last = vec![0; plan.types.len()];
        for (at, node) in graph.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|value| last[*value as usize] = at);
        }
        graph.outputs.iter().for_each(|value| last[*value as usize] = graph.nodes.len());
        let value = |values: &[Option<Value>], id: u32| -> Value {
            values[id as usize].clone().expect("planned: a value is there until its last reader")
        };
        for (at, node) in graph.nodes.iter().enumerate() {
            let inputs: Vec<Value> = node.inputs.iter().map(|id| value(&values, *id)).collect();
            let types = &plan.types[values.len()..values.len() + node.op.outputs()];
            let number = u32::try_from(at).expect("a graph is small");
            let made = lower::node(&mut run, choice, number, &node.op, &inputs, types)?;
            if matches!(node.op, Op::Gather { .. }) {
                run.indices.push((at, inputs[1].clone()));
            }
            drop(inputs);
            for made in made {
                let read = last[values.len()] > at;
                values.push(read.then_some(made));
            }
            for id in &node.inputs {
                if last[*id as usize] == at {
                    values[*id as usize] = None;
                }
            }
        }
        let outputs: Vec<Value> = graph.outputs.iter().map(|id| value(&values, *id)).collect();
        drop(values);
        let refused = run.refused.clone();
        let indices = std::mem::take(&mut run.indices);
        let mut reads: Vec<(&Value, u64)> = outputs.iter().map(|output| (output, output.of.bytes())).collect();
        let refusals = refused.map(|block| Value { of: words(graph.nodes.len()), block });
        if let Some(refusals) = &refusals {
            reads.push((refusals, refusals.of.bytes()));
        }
        let mut bytes = run.finish(&reads)?;
        if refusals.is_some() {
            let list = bytes.pop().expect("read last");
            let mut first = list.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).enumerate();
            if let Some((node, position)) = first.find(|(_, position)| *position != INSIDE) {
                drop(state);
                return Err(self.refusal(graph, plan, node, position, &indices, stop)?.into());
            }
        }
        let mut tensors = Vec::with_capacity(outputs.len());
        for ((output, bytes), id) in outputs.iter().zip(bytes).zip(&graph.outputs) {
            if let Some(tensor) = outside.get(*id as usize) {
                tensors.push(tensor.clone());
                continue;
            }
            let tensor = Tensor::from_bytes(output.of.clone(), &bytes).expect("as many bytes as the type says");
            state.kept.insert(&tensor, &output.block);
            tensors.push(tensor);
        }
        Ok(tensors)
    }

    /// Which index was outside its axis: read only when one was.
    fn refusal(
        &self,
        graph: &Graph,
        plan: &Plan,
        node: usize,
        position: u32,
        indices: &[(usize, Value)],
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<GraphError, Fault> {
        let (_, value) = indices.iter().find(|(at, _)| *at == node).expect("kept for this");
        let mut state = lock(&self.state);
        let run = Recording::new(self, &mut state, 0, stop);
        let bytes = run.finish(&[(value, value.of.bytes())])?.remove(0);
        let at = position as usize * 4;
        let index = i32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let (Op::Gather { axis }, [data, ..]) = (&graph.nodes[node].op, &*graph.nodes[node].inputs) else {
            unreachable!("only Gather is checked")
        };
        let len = plan.types[*data as usize].shape.dims()[usize::from(*axis)];
        let error = TensorError::Index { op: "Gather", index, position: position.into(), len };
        Ok(GraphError::Node { node, error })
    }

    /// Runs come one after the other; one that waits for its turn hears a stop too.
    fn turn(&self, stop: &(dyn Fn() -> bool + Sync)) -> Result<MutexGuard<'_, State>, Fault> {
        loop {
            match self.state.try_lock() {
                Ok(state) => return Ok(state),
                Err(TryLockError::Poisoned(state)) => return Ok(state.into_inner()),
                Err(TryLockError::WouldBlock) if stop() => return Err(Fault::Stopped),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Waits for recorded work, as long as the deadline lets it.
    fn wait(&self, index: &wgpu::SubmissionIndex, stop: &(dyn Fn() -> bool + Sync)) -> Result<(), Fault> {
        let begun = Instant::now();
        loop {
            let poll = wgpu::PollType::Wait {
                submission_index: Some(index.clone()),
                timeout: Some(Duration::from_millis(20)),
            };
            match self.device.poll(poll) {
                Ok(_) => return self.heard(),
                Err(wgpu::PollError::Timeout) => {}
                Err(error) => return Err(self.fault(error.to_string())),
            }
            self.heard()?;
            if stop() {
                return Err(Fault::Stopped);
            }
            if begun.elapsed() > self.options.deadline {
                self.gone.store(true, Ordering::Release);
                return Err(self.fault(format!("no answer within {} s", self.options.deadline.as_secs_f32())));
            }
        }
    }

    fn pipeline(&self, state: &mut State, spec: &Spec) -> Result<Pipeline, Fault> {
        if let Some(pipeline) = state.pipelines.get(spec) {
            return Ok(pipeline.clone());
        }
        let bindings = spec.bindings();
        let entries: Vec<wgpu::BindGroupLayoutEntry> = bindings
            .iter()
            .zip(0..)
            .map(|(written, binding)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Storage { read_only: !written },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let layout =
            self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries });
        let module = self.module(spec)?;
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..wgpu::PipelineCompilationOptions::default()
            },
            cache: None,
        });
        self.heard()?;
        let made = Pipeline { pipeline, layout };
        state.pipelines.insert(spec.clone(), made.clone());
        Ok(made)
    }

    #[expect(unsafe_code, reason = "kernels without checks of indices, and SPIR-V as we wrote it")]
    fn module(&self, spec: &Spec) -> Result<wgpu::ShaderModule, Fault> {
        let source = spec.source();
        let products = matches!(spec.kind, Kind::Product { .. } | Kind::Bytes { .. });
        if spec.needs_passthrough() {
            if !self.passthrough {
                return Err(self.fault("this adapter takes no SPIR-V as it is"));
            }
            let words = spirv::compile(&source).map_err(|error| self.fault(error))?;
            let words = spirv::without_contraction(&words);
            let descriptor = wgpu::ShaderModuleDescriptorPassthrough {
                spirv: Some(words.into()),
                ..wgpu::ShaderModuleDescriptorPassthrough::default()
            };
            // SAFETY: the module is what naga wrote from a kernel of ours, with decorations alone added, and `spirv-val` takes
            // every one of them (tests/contraction.rs); bindings match the layout, which is made from the same `Spec`. Indices
            // are below the lengths of the buffers: `lower` makes both from the same shapes.
            return Ok(unsafe { self.device.create_shader_module_passthrough(descriptor) });
        }
        let descriptor = wgpu::ShaderModuleDescriptor { label: None, source: wgpu::ShaderSource::Wgsl(source.into()) };
        if products {
            // SAFETY: every index of a product lies below the lengths of its buffers and of its shared arrays: rows, columns and
            // inner index are compared with their ends before anything is read or written, and loops count up to them.
            return Ok(unsafe {
                self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
            });
        }
        Ok(self.device.create_shader_module(descriptor))
    }

    /// The fastest of `rounds` runs of `work` on values of these types, in seconds, waiting included.
    pub(crate) fn time(
        &self,
        types: &[TensorType],
        rounds: u32,
        work: impl Fn(&mut Recording<'_>, &[Value]) -> Result<(), Fault>,
    ) -> Result<f64, Fault> {
        let timed = self.guarded(|| {
            let mut state = lock(&self.state);
            let mut best = f64::MAX;
            let mut values = Vec::new();
            for of in types {
                let zeros = Tensor::from_bytes(of.clone(), &vec![0; usize::try_from(of.bytes()).unwrap_or(0)])
                    .expect("as many bytes as the type says");
                let mut run = Recording::new(self, &mut state, 0, &|| false);
                values.push(run.upload(&zeros));
                run.finish(&[])?;
            }
            // Once to make the pipelines.
            for _ in 0..=rounds {
                let begun = Instant::now();
                let mut run = Recording::new(self, &mut state, 0, &|| false);
                work(&mut run, &values)?;
                run.finish(&[])?;
                best = best.min(begun.elapsed().as_secs_f64());
            }
            Ok(best)
        });
        timed.map_err(|failure| match failure {
            Failure::Fault(fault) => fault,
            Failure::Refused(error) => self.fault(error.to_string()),
        })
    }
}

/// Work of a run that was stopped may still be on its way. It is given a moment; a device that does not answer is left as it
/// is, for its driver may still write to what would be freed.
impl Drop for Device {
    fn drop(&mut self) {
        let poll = wgpu::PollType::Wait { submission_index: None, timeout: Some(LAST_WORK) };
        if self.guarded(|| Ok(self.device.poll(poll).is_ok())) != Ok(true) {
            std::mem::forget((self.device.clone(), self.queue.clone()));
        }
    }
}

/// How long a device has to end what was sent to it, when it is let go.
const LAST_WORK: Duration = Duration::from_secs(10);

const OUT_OF_MEMORY: &str = "out of device memory";
const GONE: &str = "the device was lost before";

/// A value of so many words.
fn words(count: usize) -> TensorType {
    let len = u32::try_from(count).expect("a graph is small");
    TensorType::new(samebit_tensor::Dtype::I32, &[len]).expect("a small shape")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{adapter::present, kernels::Mac};
    use samebit_tensor::Node;

    fn graph() -> (Graph, Plan, [Tensor; 1]) {
        let outside = [Tensor::f32(&[3], &[1.0, 2.0, 3.0]).expect("small")];
        let graph = Graph { nodes: vec![Node { op: Op::Exp, inputs: vec![0] }], outputs: vec![1] };
        let plan = graph.plan(&[outside[0].of().clone()], u64::MAX).expect("a graph that goes together");
        (graph, plan, outside)
    }

    #[test]
    fn a_device_that_is_lost_is_a_fault_for_ever_and_no_panic() {
        let (graph, plan, outside) = graph();
        let choice = Choice { f32: Some(Mac::Barrier), ..Choice::default() };
        for adapter in present() {
            let device = Device::open(&adapter, Options::default()).expect("an adapter opens");
            device.run(&choice, &graph, &plan, &outside, &|| false).expect("computed");
            device.device.destroy();
            for _ in 0..3 {
                let lost = device.run(&choice, &graph, &plan, &outside, &|| false);
                let Err(Failure::Fault(Fault::Device { device, .. })) = lost else { panic!("{lost:?}") };
                assert_eq!(device, adapter.name());
            }
        }
    }

    /// The driver's word for it cannot be had without filling the memory of the machine: it is put into its mouth.
    #[test]
    fn memory_that_ran_out_is_asked_for_once_more_with_nothing_kept() {
        let (graph, plan, outside) = graph();
        let choice = Choice { f32: Some(Mac::Barrier), ..Choice::default() };
        for adapter in present() {
            let device = Device::open(&adapter, Options::default()).expect("an adapter opens");
            let asked = std::sync::atomic::AtomicU32::new(0);
            let once = || {
                if asked.fetch_add(1, Ordering::Relaxed) == 0 {
                    lock(&device.said).get_or_insert(OUT_OF_MEMORY.to_owned());
                }
                false
            };
            let made = device.run(&choice, &graph, &plan, &outside, &once).expect("computed the second time");
            assert_eq!(made, device.run(&choice, &graph, &plan, &outside, &|| false).expect("computed"));
            let always = || {
                lock(&device.said).get_or_insert(OUT_OF_MEMORY.to_owned());
                false
            };
            let full = device.run(&choice, &graph, &plan, &outside, &always);
            assert_eq!(full, Err(device.fault(OUT_OF_MEMORY).into()));
            assert!(device.run(&choice, &graph, &plan, &outside, &|| false).is_ok(), "and it serves on");
        }
    }

    #[test]
    fn a_run_that_waits_for_its_turn_hears_a_stop() {
        let (graph, plan, outside) = graph();
        for adapter in present() {
            let device = Device::open(&adapter, Options::default()).expect("an adapter opens");
            let other = lock(&device.state);
            let stopped = device.run(&Choice::default(), &graph, &plan, &outside, &|| true);
            assert_eq!(stopped, Err(Fault::Stopped.into()));
            drop(other);
        }
    }
}
