//! Steps that become one: convolutions and poolings that follow each other through tensors too large to stay near.

use quantlens_kernels::{Chain, Link, MAX_LINKS, Ops};

use super::StepInfo;
use crate::graph::{TensorId, TensorInfo};
use crate::step::{FloatKernel, Int8Kernel, Step, StepKernel};

/// Bytes from which on a tensor is not made whole if it need not be, where one thread runs: twice a second-level cache and more.
/// Alone, a thread finds what it wrote in the third-level cache nearly as fast.
const LARGE: usize = 2 << 20;

/// The same where several threads run: they need not wait for each other between the kernels of a chain, nor read what
/// lies in another one's cache. Measured with the four networks (docs/performance.md).
const LARGE_SHARED: usize = 64 << 10;

/// What chains are made for.
pub(super) struct Chains<'a> {
    pub(super) tensors: &'a [TensorInfo],
    pub(super) shapes: &'a [[usize; 3]],
    /// Tensors that must be whole: taps, entries, the output.
    pub(super) kept: &'a [bool],
    pub(super) threads: usize,
    pub(super) ops: Ops,
}

impl Chains<'_> {
    /// The steps, with those that follow each other through a large tensor that nothing else reads as one.
    pub(super) fn merge(&self, steps: Vec<(Step, StepInfo)>) -> Vec<(Step, StepInfo)> {
        let mut readers = vec![0_usize; self.tensors.len()];
        steps.iter().flat_map(|(step, _)| &step.inputs).for_each(|id| readers[id.index()] += 1);
        let mut merged = Vec::with_capacity(steps.len());
        let mut run: Vec<(Step, StepInfo)> = Vec::new();
        for (step, info) in steps {
            let follows = run.last().is_some_and(|(before, _)| {
                let alone = step.inputs == [before.output] && readers[before.output.index()] == 1;
                alone && self.is_large(before.output) && run.len() < MAX_LINKS && is_link(&step.kernel)
            });
            if !follows {
                self.end(&mut run, &mut merged);
            }
            if follows || is_link(&step.kernel) {
                run.push((step, info));
            } else {
                merged.push((step, info));
            }
        }
        self.end(&mut run, &mut merged);
        merged
    }

    fn is_large(&self, id: TensorId) -> bool {
        let element = if self.tensors[id.index()].quant.is_some() { 1 } else { size_of::<f32>() };
        let large = if self.threads == 1 { LARGE } else { LARGE_SHARED };
        !self.kept[id.index()] && element * self.shapes[id.index()].iter().product::<usize>() >= large
    }

    /// Moves what is in `run` to `merged`: as a chain where there are several.
    fn end(&self, run: &mut Vec<(Step, StepInfo)>, merged: &mut Vec<(Step, StepInfo)>) {
        if run.len() < 2 {
            return merged.append(run);
        }
        let (steps, infos): (Vec<Step>, Vec<StepInfo>) = run.drain(..).unzip();
        let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return };
        let (inputs, output) = (first.inputs.clone(), last.output);
        let (mut floats, mut bytes) = (Vec::new(), Vec::new());
        for step in steps {
            match step.kernel {
                StepKernel::Float(FloatKernel::Conv(conv)) => floats.extend(Link::conv(conv).ok()),
                StepKernel::Float(FloatKernel::MaxPool(pool)) => floats.push(Link::max_pool(pool, self.ops)),
                StepKernel::Int8(Int8Kernel::Conv(conv)) => bytes.extend(Link::conv(conv).ok()),
                StepKernel::Int8(Int8Kernel::MaxPool(pool)) => bytes.push(Link::max_pool(pool, self.ops)),
                _ => {}
            }
        }
        let kernel = if bytes.is_empty() {
            StepKernel::Float(FloatKernel::Chain(Chain::new(floats, self.threads)))
        } else {
            StepKernel::Int8(Int8Kernel::Chain(Chain::new(bytes, self.threads)))
        };
        merged.extend(info(infos).map(|info| (Step { kernel, inputs, output }, info)));
    }
}

/// Whether a chain may have this kernel.
fn is_link(kernel: &StepKernel) -> bool {
    match kernel {
        StepKernel::Float(FloatKernel::Conv(conv)) => conv.makes_rows(),
        StepKernel::Int8(Int8Kernel::Conv(conv)) => conv.makes_rows(),
        StepKernel::Float(FloatKernel::MaxPool(_)) | StepKernel::Int8(Int8Kernel::MaxPool(_)) => true,
        _ => false,
    }
}

/// What a chain tells about itself: what can be counted is counted together, the input is the first link's, the rest the last one's.
fn info(infos: Vec<StepInfo>) -> Option<StepInfo> {
    let chain = infos.iter().cloned().reduce(|sum, info| StepInfo {
        op: "chain",
        kernel: format!("{} > {}", sum.kernel, info.kernel),
        inputs: sum.inputs,
        in_shape: sum.in_shape,
        macs: sum.macs + info.macs,
        parameters: sum.parameters + info.parameters,
        weight_bytes: sum.weight_bytes + info.weight_bytes,
        ..info
    });
    chain.map(|chain| StepInfo { links: infos, ..chain })
}
