//! Steps that become one: convolutions and poolings that follow each other through tensors too large to stay near, or too quickly for
//! several threads to wait for each other between them.

use quantlens_kernels::{Chain, Link, MAX_LINKS, MapRows, Ops};

use super::StepInfo;
use crate::graph::{TensorId, TensorInfo};
use crate::step::{FloatKernel, Int8Kernel, Step, StepKernel};

/// Bytes from which on a tensor is not made whole if it need not be, where one thread runs: twice a second-level cache and more.
/// Alone, a thread finds what it wrote in the third-level cache nearly as fast.
const LARGE: usize = 2 << 20;

/// The same where several threads run: they need not wait for each other between the kernels of a chain, nor read what
/// lies in another one's cache. Measured with the four networks (docs/performance.md).
const LARGE_SHARED: usize = 64 << 10;

/// Multiply-adds up to which several threads take a chain however small its tensors are: alone, its layers are so short that waiting for
/// each other takes threads a good part of them.
const SHORT: u64 = 4_000_000;

/// Rows made twice, at the seams between threads, may add one in so many of a chain's multiply-adds at most.
const SEAMS: u64 = 9;

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
    /// The steps, with those that follow each other through a large tensor, or shortly, that nothing else reads as one.
    pub(super) fn merge(&self, steps: Vec<(Step, StepInfo)>) -> Vec<(Step, StepInfo)> {
        let mut readers = vec![0_usize; self.tensors.len()];
        steps.iter().flat_map(|(step, _)| &step.inputs).for_each(|id| readers[id.index()] += 1);
        let mut merged = Vec::with_capacity(steps.len());
        let mut run: Vec<(Step, StepInfo)> = Vec::new();
        for next in steps {
            let step = &next.0;
            let follows = run.last().is_some_and(|(before, _)| {
                let alone = step.inputs[0] == before.output && readers[before.output.index()] == 1;
                // A residual is added to whole rows of the chain's output alone.
                let alone = alone && before.inputs.len() == 1;
                let links = run.iter().chain([&next]);
                let pays = self.is_large(before.output) || self.is_short(links.clone());
                alone && !self.kept[before.output.index()] && pays && run.len() < MAX_LINKS && self.shares_well(links)
            });
            if !follows {
                self.end(&mut run, &mut merged);
            }
            if rows_of(&step.kernel).is_some() { run.push(next) } else { merged.push(next) }
        }
        self.end(&mut run, &mut merged);
        merged
    }

    fn is_large(&self, id: TensorId) -> bool {
        let element = if self.tensors[id.index()].quant.is_some() { 1 } else { size_of::<f32>() };
        let large = if self.threads == 1 { LARGE } else { LARGE_SHARED };
        element * self.shapes[id.index()].iter().product::<usize>() >= large
    }

    /// Whether several threads run these steps, which take little time.
    fn is_short<'s>(&self, links: impl Iterator<Item = &'s (Step, StepInfo)>) -> bool {
        self.threads > 1 && links.map(|(_, info)| info.macs).sum::<u64>() <= SHORT
    }

    /// Whether these steps could be links, and threads that share out rows of the last map would make few rows of the others twice.
    fn shares_well<'s>(&self, links: impl Iterator<Item = &'s (Step, StepInfo)>) -> bool {
        let links: Option<Vec<_>> = links.map(|(step, info)| Some((rows_of(&step.kernel)?, info))).collect();
        let Some((last, links)) = links.as_ref().and_then(|links| Some((links.last()?.1.out_shape[0], links))) else {
            return false;
        };
        let whole: u64 = links.iter().map(|(_, info)| info.macs).sum();
        let parts = self.threads.min(last);
        let macs = |part: usize| {
            let mut rows = part * last / parts..(part + 1) * last / parts;
            let link = |(map, info): &(MapRows, &StepInfo)| {
                let macs = info.macs * rows.len() as u64 / info.out_shape[0] as u64;
                rows = map.inputs(&rows);
                macs
            };
            links.iter().rev().map(link).sum::<u64>()
        };
        let shared: u64 = (0..parts).map(macs).sum();
        shared <= whole + whole / SEAMS
    }

    /// Moves what is in `run` to `merged`: as a chain where there are several.
    fn end(&self, run: &mut Vec<(Step, StepInfo)>, merged: &mut Vec<(Step, StepInfo)>) {
        if run.len() < 2 {
            return merged.append(run);
        }
        let (steps, infos): (Vec<Step>, Vec<StepInfo>) = run.drain(..).unzip();
        let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return };
        let inputs = first.inputs.iter().chain(&last.inputs[1..]).copied().collect();
        let output = last.output;
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

/// How rows follow from rows, of a kernel that a chain may have.
fn rows_of(kernel: &StepKernel) -> Option<MapRows> {
    match kernel {
        StepKernel::Float(FloatKernel::Conv(conv)) => conv.makes_rows().then(|| MapRows::of_conv(conv.geometry())),
        StepKernel::Int8(Int8Kernel::Conv(conv)) => conv.makes_rows().then(|| MapRows::of_conv(conv.geometry())),
        StepKernel::Float(FloatKernel::MaxPool(pool)) | StepKernel::Int8(Int8Kernel::MaxPool(pool)) => {
            Some(MapRows::of_pool(pool))
        }
        _ => None,
    }
}

/// What a chain tells about itself: what can be counted is counted together, the input is the first link's, the rest the last one's.
fn info(infos: Vec<StepInfo>) -> Option<StepInfo> {
    let chain = infos.iter().cloned().reduce(|sum, info| StepInfo {
        op: "chain",
        kernel: format!("{} > {}", sum.kernel, info.kernel),
        inputs: sum.inputs.iter().chain(&info.inputs[1..]).cloned().collect(),
        in_shape: sum.in_shape,
        macs: sum.macs + info.macs,
        parameters: sum.parameters + info.parameters,
        weight_bytes: sum.weight_bytes + info.weight_bytes,
        ..info
    });
    chain.map(|chain| StepInfo { links: infos, ..chain })
}
