//! Work that is being recorded: dispatches into few submissions, uploads before them, reads behind them.

use super::{Device, State};
use crate::{
    kernels::{Kind, Operand, Spec},
    lower::{Dispatch, Sink, Value},
    memory::Block,
};
use samebit_tensor::{Fault, Tensor, TensorType};
use std::sync::{Arc, mpsc};

/// Words of one buffer of parameters.
const PARAMS_WORDS: usize = 1 << 16;
/// Groups along the first axis of a grid.
const GRID: u64 = 1 << 15;

/// Work that is being recorded.
pub(crate) struct Recording<'a> {
    device: &'a Device,
    state: &'a mut State,
    stop: &'a (dyn Fn() -> bool + Sync),
    encoder: Option<wgpu::CommandEncoder>,
    /// Steps recorded since the last submission.
    cost: u64,
    /// Submissions that were not waited for.
    running: Vec<wgpu::SubmissionIndex>,
    /// Parameters, written before the submission that reads them.
    params: Vec<u32>,
    params_buffer: wgpu::Buffer,
    used: Vec<wgpu::Buffer>,
    nodes: usize,
    /// Where checks of indices write, once there is one.
    pub(super) refused: Option<Arc<Block>>,
    /// Indices of each Gather: an error names one.
    pub(super) indices: Vec<(usize, Value)>,
}

impl<'a> Recording<'a> {
    pub(super) fn new(
        device: &'a Device,
        state: &'a mut State,
        nodes: usize,
        stop: &'a (dyn Fn() -> bool + Sync),
    ) -> Self {
        let params_buffer = params_buffer(device, state);
        Self {
            device,
            state,
            stop,
            encoder: None,
            cost: 0,
            running: Vec::new(),
            params: Vec::new(),
            params_buffer,
            used: Vec::new(),
            nodes,
            refused: None,
            indices: Vec::new(),
        }
    }

    /// A tensor's elements on the device: kept there since an earlier run, or sent now.
    pub(super) fn upload(&mut self, tensor: &Tensor) -> Value {
        let of = tensor.of().clone();
        if let Some(block) = self.state.kept.find(tensor) {
            return Value { of, block };
        }
        let mut bytes = tensor.to_bytes();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let block = Arc::new(self.device.pool.block(bytes.len() as u64));
        let piece = usize::try_from(block.piece_bytes).expect("a buffer fits in memory");
        for (buffer, bytes) in block.pieces.iter().zip(bytes.chunks(piece)) {
            self.device.queue.write_buffer(buffer, 0, bytes);
        }
        self.state.kept.insert(tensor, &block);
        Value { of, block }
    }

    fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        let device = &self.device.device;
        self.encoder.get_or_insert_with(|| device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default()))
    }

    fn flush_params(&mut self) {
        if !self.params.is_empty() {
            self.device.queue.write_buffer(&self.params_buffer, 0, bytemuck::cast_slice(&self.params));
            self.params.clear();
            let next = params_buffer(self.device, self.state);
            self.used.push(std::mem::replace(&mut self.params_buffer, next));
        }
    }

    /// Sends what is recorded; waits for the submission before the last, so that few are on their way.
    fn submit(&mut self) -> Result<(), Fault> {
        self.flush_params();
        if let Some(encoder) = self.encoder.take() {
            self.running.push(self.device.queue.submit([encoder.finish()]));
            self.cost = 0;
        }
        self.device.heard()?;
        while self.running.len() > 2 {
            let index = self.running.remove(0);
            self.device.wait(&index, self.stop)?;
        }
        if (self.stop)() { Err(Fault::Stopped) } else { Ok(()) }
    }

    /// Sends the rest, waits for all, and reads these values.
    pub(super) fn finish(mut self, reads: &[(&Value, u64)]) -> Result<Vec<Vec<u8>>, Fault> {
        let device = self.device;
        let mut staged = Vec::new();
        for (value, bytes) in reads {
            let mut rest = bytes.next_multiple_of(4);
            for piece in &value.block.pieces {
                let len = rest.min(value.block.piece_bytes);
                rest -= len;
                if len == 0 {
                    continue;
                }
                let buffer = device.device.create_buffer(&wgpu::BufferDescriptor {
                    label: None,
                    size: len,
                    usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                });
                self.encoder().copy_buffer_to_buffer(piece, 0, &buffer, 0, len);
                staged.push(buffer);
            }
        }
        self.submit()?;
        let (tell, told) = mpsc::channel();
        for buffer in &staged {
            let tell = tell.clone();
            buffer.slice(..).map_async(wgpu::MapMode::Read, move |mapped| {
                let _ = tell.send(mapped.map_err(|error| error.to_string()));
            });
        }
        drop(tell);
        for index in std::mem::take(&mut self.running) {
            device.wait(&index, self.stop)?;
        }
        // A buffer is mapped once the last submission is done, and its callback is called by the next poll at the latest.
        for _ in &staged {
            loop {
                match told.try_recv() {
                    Ok(Ok(())) => break,
                    Ok(Err(error)) => return Err(device.fault(error)),
                    Err(mpsc::TryRecvError::Empty) => {
                        device.device.poll(wgpu::PollType::Poll).map_err(|error| device.fault(error.to_string()))?;
                        device.heard()?;
                    }
                    Err(mpsc::TryRecvError::Disconnected) => return Err(device.fault("a buffer was never mapped")),
                }
            }
        }
        // All is done: these are free for the next run.
        let last = self.params_buffer.clone();
        self.used.push(last);
        self.state.params.append(&mut self.used);
        let mut staged = staged.iter();
        let mut read = Vec::with_capacity(reads.len());
        for (_, bytes) in reads {
            let len = usize::try_from(*bytes).map_err(|_| device.fault("more bytes than this host can address"))?;
            let mut all = Vec::with_capacity(len.next_multiple_of(4));
            while all.len() < len {
                let buffer = staged.next().expect("as many as were staged");
                all.extend_from_slice(&buffer.slice(..).get_mapped_range());
            }
            all.truncate(len);
            read.push(all);
        }
        Ok(read)
    }
}

fn params_buffer(device: &Device, state: &mut State) -> wgpu::Buffer {
    state.params.pop().unwrap_or_else(|| {
        device.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: PARAMS_WORDS as u64 * 4,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    })
}

impl Sink for Recording<'_> {
    type Error = Fault;

    fn value(&mut self, of: TensorType) -> Result<Value, Fault> {
        let bytes = of.bytes().next_multiple_of(4);
        Ok(Value { of, block: Arc::new(self.device.pool.block(bytes)) })
    }

    fn inner_max(&self) -> u32 {
        self.device.options.inner_max
    }

    fn dispatch(&mut self, dispatch: Dispatch<'_>) -> Result<(), Fault> {
        if dispatch.groups == 0 {
            return Ok(());
        }
        let device = self.device;
        device.fits(&dispatch).map_err(|why| device.fault(why))?;
        let operand = |value: &&Value| Operand {
            dtype: value.of.dtype,
            pieces: u32::try_from(value.block.pieces.len()).expect("a few"),
        };
        let spec = Spec {
            inputs: dispatch.inputs.iter().map(operand).collect(),
            outputs: dispatch.outputs.iter().map(operand).collect(),
            kind: dispatch.kind,
            piece: device.pool.piece,
        };
        let pipeline = device.pipeline(self.state, &spec)?;
        if spec.kind == Kind::Check && self.refused.is_none() {
            let block = Arc::new(device.pool.block(self.nodes as u64 * 4));
            // The pool's buffers may still be read by work that is recorded: what is written now comes before all of it.
            self.submit()?;
            device.queue.write_buffer(&block.pieces[0], 0, &vec![0xff; self.nodes * 4]);
            self.refused = Some(block);
        }
        let budget = device.options.work_per_submission;
        let at_once = (budget / dispatch.cost.max(1)).max(1);
        // Whole rows of the grid: a group is never in two dispatches, as it may go on from what it finds.
        let at_once = if at_once > GRID { at_once / GRID * GRID } else { at_once };
        let mut base = 0;
        while base < dispatch.groups {
            let groups = at_once.min(dispatch.groups - base);
            let width = groups.min(GRID);
            let height = groups.div_ceil(width);
            let header = [0, 1 << 31, base, width].map(|word| u32::try_from(word).expect("checked as below 2^31"));
            let start = self.params.len().next_multiple_of(64);
            if start + header.len() + 1 + dispatch.params.len() > PARAMS_WORDS {
                self.submit()?;
            }
            let start = self.params.len().next_multiple_of(64);
            self.params.resize(start, 0);
            self.params.extend(header);
            self.params.push(dispatch.count);
            self.params.extend(&dispatch.params);
            let size = std::num::NonZeroU64::new((self.params.len() - start) as u64 * 4);
            let mut entries = vec![wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &self.params_buffer,
                    offset: start as u64 * 4,
                    size,
                }),
            }];
            let refused = if spec.kind == Kind::Check { self.refused.as_ref() } else { None };
            let blocks = dispatch.inputs.iter().chain(&dispatch.outputs).map(|value| &value.block).chain(refused);
            for buffer in blocks.flat_map(|block| &block.pieces) {
                entries.push(wgpu::BindGroupEntry {
                    binding: u32::try_from(entries.len()).expect("a few"),
                    resource: buffer.as_entire_binding(),
                });
            }
            let group = device.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &pipeline.layout,
                entries: &entries,
            });
            let mut pass = self.encoder().begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline.pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(
                u32::try_from(width).expect("at most a grid"),
                u32::try_from(height).expect("fewer groups than elements"),
                1,
            );
            drop(pass);
            base += groups;
            self.cost = self.cost.saturating_add(groups.saturating_mul(dispatch.cost));
            if self.cost >= budget {
                self.submit()?;
            }
        }
        Ok(())
    }
}
