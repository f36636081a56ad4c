//! What a graph would need, without doing it: so that what an adapter cannot do is known before anything is computed.

use super::Device;
use crate::{
    gate::Choice,
    kernels::Kind,
    lower::{self, Dispatch, Sink, Value},
    memory::Block,
};
use samebit_tensor::{Graph, Plan, TensorType};
use std::sync::Arc;

/// Most steps of one group, as [`Dispatch::cost`] counts them: work is cut between groups, and a group that takes seconds by
/// itself is ended by a system's watchdog, with the device.
const GROUP_STEPS_MAX: u64 = 1 << 35;

impl Device {
    /// Why a planned graph is not for this device; none when it is.
    pub(crate) fn declines(&self, choice: &Choice, graph: &Graph, plan: &Plan) -> Option<String> {
        // A panic is not an answer: the run that follows ends in a fault.
        self.guarded(|| Ok(self.survey(choice, graph, plan).err())).unwrap_or_default()
    }

    fn survey(&self, choice: &Choice, graph: &Graph, plan: &Plan) -> Result<(), String> {
        let mut survey = Survey { device: self, nowhere: Arc::new(self.pool.nowhere()) };
        let outputs: usize = graph.nodes.iter().map(|node| node.op.outputs()).sum();
        let mut next = plan.types.len() - outputs;
        for (at, node) in graph.nodes.iter().enumerate() {
            let inputs = node.inputs.iter().map(|id| survey.value(plan.types[*id as usize].clone()));
            let inputs = inputs.collect::<Result<Vec<Value>, String>>()?;
            let types = &plan.types[next..next + node.op.outputs()];
            next += types.len();
            lower::node(&mut survey, choice, u32::try_from(at).expect("a graph is small"), &node.op, &inputs, types)
                .map_err(|why| format!("{}: {why}", node.op.name()))?;
        }
        Ok(())
    }

    /// Whether a kernel's operands can be bound, and its groups end in time.
    pub(super) fn fits(&self, dispatch: &Dispatch<'_>) -> Result<(), String> {
        let values = dispatch.inputs.iter().chain(&dispatch.outputs);
        let pieces: u64 = values.map(|value| self.pool.pieces(value.of.bytes())).sum();
        // The parameters, and what a check of indices writes.
        let buffers = 1 + pieces + u64::from(dispatch.kind == Kind::Check);
        let most = self.limits.max_storage_buffers_per_shader_stage;
        if buffers > u64::from(most) {
            return Err(format!("{buffers} buffers for one kernel, and the adapter binds {most}"));
        }
        if dispatch.cost > GROUP_STEPS_MAX {
            return Err(format!(
                "one piece of work of {} steps, and at most {GROUP_STEPS_MAX} are given",
                dispatch.cost
            ));
        }
        Ok(())
    }
}

/// Takes dispatches and runs none.
struct Survey<'a> {
    device: &'a Device,
    nowhere: Arc<Block>,
}

impl Sink for Survey<'_> {
    type Error = String;

    fn value(&mut self, of: TensorType) -> Result<Value, String> {
        Ok(Value { of, block: Arc::clone(&self.nowhere) })
    }

    fn dispatch(&mut self, dispatch: Dispatch<'_>) -> Result<(), String> {
        self.device.fits(&dispatch)
    }

    fn inner_max(&self) -> u32 {
        self.device.options.inner_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, adapter::present};
    use samebit_tensor::{Dtype, Op, Window};

    /// Keeps what was dispatched: members of a window from and to, and steps of a group.
    struct Listed<'a> {
        survey: Survey<'a>,
        list: Vec<(u32, u32, u64)>,
    }

    impl Sink for Listed<'_> {
        type Error = String;

        fn value(&mut self, of: TensorType) -> Result<Value, String> {
            self.survey.value(of)
        }

        fn dispatch(&mut self, dispatch: Dispatch<'_>) -> Result<(), String> {
            self.list.push((dispatch.params[0], dispatch.params[1], dispatch.cost));
            self.survey.dispatch(dispatch)
        }

        fn inner_max(&self) -> u32 {
            self.survey.inner_max()
        }
    }

    #[test]
    fn the_work_of_a_pool_grows_with_its_window_and_is_cut() {
        let of = |dims: &[u32]| TensorType::new(Dtype::F32, dims).expect("a shape");
        for adapter in present() {
            let device = Device::open(&adapter, Options::default()).expect("an adapter opens");
            let nowhere = Arc::new(device.pool.nowhere());
            let listed = |dims: &[u32], kernel: &[u32], out: &[u32]| {
                let ones = vec![1; kernel.len()];
                let zeros = vec![0; kernel.len()];
                let op = Op::MaxPool(Window {
                    kernel: kernel.to_vec(),
                    strides: ones.clone(),
                    dilations: ones,
                    before: zeros.clone(),
                    after: zeros,
                });
                let x = Value { of: of(dims), block: Arc::clone(&nowhere) };
                let survey = Survey { device: &device, nowhere: Arc::clone(&nowhere) };
                let mut sink = Listed { survey, list: Vec::new() };
                lower::node(&mut sink, &Choice::default(), 0, &op, &[x], &[of(out)]).expect("taken");
                sink.list
            };
            let small = listed(&[1, 1, 1 << 24], &[2], &[1, 1, (1 << 24) - 1]);
            assert_eq!(small.iter().map(|(first, end, _)| (*first, *end)).collect::<Vec<_>>(), [(0, 2)]);
            let huge = listed(&[1, 1, 1 << 11, 1 << 10], &[1 << 10, 1 << 10], &[1, 1, (1 << 10) + 1, 1]);
            // All of the window in order, none of it twice, and each part short.
            assert_eq!((huge[0].0, huge.last().expect("some").1), (0, 1 << 20));
            assert!(huge.windows(2).all(|pair| pair[0].1 == pair[1].0));
            assert!(huge.iter().all(|(_, _, cost)| *cost < Options::default().work_per_submission / 64), "{huge:?}");
            assert!(huge[0].2 > 1000 * small[0].2, "{} and {}", huge[0].2, small[0].2);
            let steps: u64 = huge.iter().map(|(_, _, cost)| cost).sum();
            assert!(steps > 64 << 20, "every thread meets 2^20 elements: {steps}");
        }
    }
}
