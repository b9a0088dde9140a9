//! Runs one step: finds its operands in the buffers and hands them to its kernel.

use quantlens_kernels::{Element, Lut, Ops, Team};

use super::{FloatKernel, Int8Kernel, MAX_CONCAT, Step, StepKernel};
use crate::buffers::{Buffers, Others, split};
use crate::plan::{Place, PlanInner};

/// Where nothing lies; stands in for a tensor without a place, which no step of a plan has.
const NOWHERE: Place = Place { bytes: true, index: 0, len: 0 };

impl Step {
    /// Computes the output from the inputs, all of them in `buffers`.
    pub(crate) fn run(&self, plan: &PlanInner, buffers: &mut Buffers, team: &Team) {
        let output = plan.arena.places[self.output.index()].unwrap_or(NOWHERE);
        let runner = Runner { ops: plan.ops, team };
        match &self.kernel {
            StepKernel::Quantize(q) => {
                let (input, out) = (&buffers.floats, &mut buffers.bytes);
                let place = self.place(plan, 0);
                let (input, out) = (&input[place.index][..place.len], &mut out[output.index][..output.len]);
                plan.ops.quantize_u8(input, *q, out, team);
            }
            StepKernel::Dequantize(q) => {
                let (input, out) = (&buffers.bytes, &mut buffers.floats);
                let place = self.place(plan, 0);
                let (input, out) = (&input[place.index][..place.len], &mut out[output.index][..output.len]);
                plan.ops.dequantize_f32(input, *q, out, team);
            }
            StepKernel::Int8(kernel) => {
                let (others, out) = split(&mut buffers.bytes, output);
                let io = Operands { step: self, plan, others };
                kernel.run(&io, out, &mut buffers.scratch_bytes, runner);
            }
            StepKernel::Float(kernel) => {
                let (others, out) = split(&mut buffers.floats, output);
                let io = Operands { step: self, plan, others };
                kernel.run(&io, out, &mut buffers.scratch_floats, runner);
            }
        }
    }

    fn place(&self, plan: &PlanInner, i: usize) -> Place {
        plan.arena.places[self.inputs[i].index()].unwrap_or(NOWHERE)
    }
}

/// What runs a kernel.
#[derive(Clone, Copy)]
struct Runner<'a> {
    ops: Ops,
    team: &'a Team,
}

impl Int8Kernel {
    fn run(&self, io: &Operands<'_, u8>, out: &mut [u8], scratch: &mut [u8], runner: Runner<'_>) {
        let (x, Runner { ops, team }) = (io.input(0), runner);
        match self {
            Self::Conv(conv) if conv.has_residual() => conv.run_residual(x, io.input(1), out, scratch, team),
            Self::Conv(conv) => conv.run(x, out, scratch, team),
            Self::Chain(chain) => {
                let residual = chain.has_residual().then(|| io.input(1));
                chain.run(x, residual, out, scratch, team);
            }
            Self::Linear(linear) => linear.run(x, out, scratch, team),
            Self::MaxPool(pool) => ops.max_pool_u8(pool, x, out, team),
            &Self::AvgPool { numerics, x: q, channels } => {
                ops.global_avg_pool_u8(numerics, q, x, channels, out, team);
            }
            &Self::Mean { numerics, x: q, channels } => ops.mean_u8(numerics, q, x, channels, out, team),
            Self::Add(add) => ops.add_u8(add, x, io.input(1), out, team),
            Self::Mul { mul, channels, swap } => {
                let (a, b) = io.factors(*swap);
                ops.mul_u8(mul, a, b, out, *channels, team);
            }
            Self::Concat { parts, pixels } => {
                let parts = parts.iter().map(|part| (part.channels, part.lut.as_deref()));
                io.concat(parts, out, *pixels, runner);
            }
            Self::ConcatShuffle { parts } => {
                let inputs = [(x, parts[0].lut.as_deref()), (io.input(1), parts[1].lut.as_deref())];
                ops.concat_shuffle(inputs, parts[0].channels, out, team);
            }
            &Self::Slice { channels, start, len } => ops.slice(x, channels, start, len, out, team),
            &Self::Shuffle { channels, groups } => ops.shuffle(x, channels, groups, out, team),
            Self::Lut { table, .. } => ops.lut(table, x, out, team),
        }
    }
}

impl FloatKernel {
    fn run(&self, io: &Operands<'_, f32>, out: &mut [f32], scratch: &mut [f32], runner: Runner<'_>) {
        let (x, Runner { ops, team }) = (io.input(0), runner);
        match self {
            Self::Conv(conv) if conv.has_residual() => conv.run_residual(x, io.input(1), out, scratch, team),
            Self::Conv(conv) => conv.run(x, out, scratch, team),
            Self::Chain(chain) => {
                let residual = chain.has_residual().then(|| io.input(1));
                chain.run(x, residual, out, scratch, team);
            }
            Self::ExpandDepthwise(pair) => pair.run(x, out, scratch, team),
            Self::Linear(linear) => linear.run(x, out, scratch, team),
            Self::MaxPool(pool) => ops.max_pool_f32(pool, x, out, team),
            &Self::AvgPool { channels } | &Self::Mean { channels } => ops.mean_f32(x, channels, out, team),
            &Self::Add { relu } => ops.add_f32(x, io.input(1), relu, out, team),
            &Self::Mul { channels, swap } => {
                let (a, b) = io.factors(swap);
                ops.mul_f32(a, b, out, channels, team);
            }
            Self::Concat { channels, pixels } => {
                io.concat(channels.iter().map(|&channels| (channels, None)), out, *pixels, runner);
            }
            &Self::ConcatShuffle { view, channels } => {
                ops.concat_shuffle_view((x, view), io.input(1), channels, out, team);
            }
            &Self::Slice { channels, start, len } => ops.slice(x, channels, start, len, out, team),
            &Self::Shuffle { channels, groups } => ops.shuffle(x, channels, groups, out, team),
            Self::Relu => ops.relu_f32(x, out, team),
            Self::Relu6 => ops.relu6_f32(x, out, team),
            Self::Hardswish => ops.hardswish_f32(x, out, team),
            Self::Hardsigmoid => ops.hardsigmoid_f32(x, out, team),
        }
    }
}

/// The inputs of a step whose inputs and output have one type.
struct Operands<'a, T: Element> {
    step: &'a Step,
    plan: &'a PlanInner,
    others: Others<'a, T>,
}

impl<'a, T: Element> Operands<'a, T> {
    fn input(&self, i: usize) -> &'a [T] {
        self.others.get(self.step.place(self.plan, i))
    }

    /// The two factors of a product, the one with a value a channel (if any) last.
    fn factors(&self, swap: bool) -> (&'a [T], &'a [T]) {
        let (a, b) = (self.input(0), self.input(1));
        if swap { (b, a) } else { (a, b) }
    }

    /// Concatenates inputs of so many channels each, mapped by a table where there is one.
    fn concat<'l>(
        &self,
        parts: impl Iterator<Item = (usize, Option<&'l Lut>)>,
        out: &mut [T],
        pixels: usize,
        runner: Runner<'_>,
    ) {
        let mut inputs: [(&[T], usize, Option<&Lut>); MAX_CONCAT] = [(&[], 0, None); MAX_CONCAT];
        let mut used = 0;
        for (slot, (channels, lut)) in inputs.iter_mut().zip(parts) {
            *slot = (self.input(used), channels, lut);
            used += 1;
        }
        runner.ops.concat(&inputs[..used], out, pixels, runner.team);
    }
}
