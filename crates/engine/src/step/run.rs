//! Runs one step: finds its operands in the buffers and hands them to its kernel.

use quantlens_kernels as kernels;
use quantlens_kernels::{Element, Lut, Team};

use super::{MAX_CONCAT, Step, StepKernel};
use crate::buffers::{Buffers, Others, split};
use crate::plan::{ArenaLayout, Place};

/// Where nothing lies; stands in for a tensor without a place, which no step of a plan has.
const NOWHERE: Place = Place { bytes: true, index: 0, len: 0 };

impl Step {
    /// Computes the output from the inputs, all of them in `buffers`.
    pub(crate) fn run(&self, arena: &ArenaLayout, buffers: &mut Buffers, team: &Team) {
        let output = arena.places[self.output.index()].unwrap_or(NOWHERE);
        match &self.kernel {
            StepKernel::Quantize(q) => {
                let (input, out) = (&buffers.floats, &mut buffers.bytes);
                let place = self.place(arena, 0);
                kernels::quantize_u8(&input[place.index][..place.len], *q, &mut out[output.index][..output.len]);
            }
            StepKernel::Dequantize(q) => {
                let (input, out) = (&buffers.bytes, &mut buffers.floats);
                let place = self.place(arena, 0);
                kernels::dequantize_f32(&input[place.index][..place.len], *q, &mut out[output.index][..output.len]);
            }
            _ if output.bytes => {
                let (others, out) = split(&mut buffers.bytes, output);
                let io = Operands { step: self, arena, others };
                self.int8(&io, out, &mut buffers.scratch_bytes, team);
            }
            _ => {
                let (others, out) = split(&mut buffers.floats, output);
                let io = Operands { step: self, arena, others };
                self.float(&io, out, &mut buffers.scratch_floats, team);
            }
        }
    }

    fn place(&self, arena: &ArenaLayout, i: usize) -> Place {
        arena.places[self.inputs[i].index()].unwrap_or(NOWHERE)
    }

    fn int8(&self, io: &Operands<'_, u8>, out: &mut [u8], scratch: &mut [u8], team: &Team) {
        let x = io.input(0);
        match &self.kernel {
            StepKernel::ConvU8(conv) => conv.run(x, out, scratch, team),
            StepKernel::LinearU8(linear) => linear.run(x, out, scratch, team),
            StepKernel::MaxPoolU8(pool) => kernels::max_pool_u8(pool, x, out),
            &StepKernel::AvgPoolU8 { numerics, x: q, channels } => {
                kernels::global_avg_pool_u8(numerics, q, x, channels, out);
            }
            &StepKernel::MeanU8 { numerics, x: q, channels } => kernels::mean_u8(numerics, q, x, channels, out),
            StepKernel::AddU8(add) => add.run(x, io.input(1), out),
            StepKernel::MulU8 { mul, channels, swap } => {
                let (a, b) = io.factors(*swap);
                mul.run(a, b, out, *channels);
            }
            StepKernel::ConcatU8 { parts, pixels } => {
                let parts = parts.iter().map(|part| (part.channels, part.lut.as_deref()));
                io.concat(parts, out, *pixels);
            }
            &StepKernel::SliceU8 { channels, start, len } => kernels::slice_channels(x, channels, start, len, out),
            &StepKernel::ShuffleU8 { channels, groups } => kernels::channel_shuffle(x, channels, groups, out),
            StepKernel::Lut { table, .. } => kernels::apply_lut(table, x, out),
            _ => unreachable!("{} does not write u8", self.kernel.name()),
        }
    }

    fn float(&self, io: &Operands<'_, f32>, out: &mut [f32], scratch: &mut [f32], team: &Team) {
        let x = io.input(0);
        match &self.kernel {
            StepKernel::ConvF32(conv) => conv.run(x, out, scratch, team),
            StepKernel::LinearF32(linear) => linear.run(x, out, scratch, team),
            StepKernel::MaxPoolF32(pool) => kernels::max_pool_f32(pool, x, out),
            &StepKernel::AvgPoolF32 { channels } => kernels::global_avg_pool_f32(x, channels, out),
            &StepKernel::MeanF32 { channels } => kernels::mean_f32(x, channels, out),
            &StepKernel::AddF32 { relu } => kernels::add_f32(x, io.input(1), relu, out),
            &StepKernel::MulF32 { channels, swap } => {
                let (a, b) = io.factors(swap);
                kernels::mul_f32(a, b, out, channels);
            }
            StepKernel::ConcatF32 { channels, pixels } => {
                io.concat(channels.iter().map(|&channels| (channels, None)), out, *pixels);
            }
            &StepKernel::SliceF32 { channels, start, len } => kernels::slice_channels(x, channels, start, len, out),
            &StepKernel::ShuffleF32 { channels, groups } => kernels::channel_shuffle(x, channels, groups, out),
            StepKernel::ReluF32 => kernels::relu_f32(x, out),
            StepKernel::Relu6F32 => kernels::relu6_f32(x, out),
            StepKernel::HardswishF32 => kernels::hardswish_f32(x, out),
            StepKernel::HardsigmoidF32 => kernels::hardsigmoid_f32(x, out),
            _ => unreachable!("{} does not write f32", self.kernel.name()),
        }
    }
}

/// The inputs of a step whose inputs and output have one type.
struct Operands<'a, T: Element> {
    step: &'a Step,
    arena: &'a ArenaLayout,
    others: Others<'a, T>,
}

impl<'a, T: Element> Operands<'a, T> {
    fn input(&self, i: usize) -> &'a [T] {
        self.others.get(self.step.place(self.arena, i))
    }

    /// The two factors of a product, the one with a value a channel (if any) last.
    fn factors(&self, swap: bool) -> (&'a [T], &'a [T]) {
        let (a, b) = (self.input(0), self.input(1));
        if swap { (b, a) } else { (a, b) }
    }

    /// Concatenates inputs of so many channels each, mapped by a table where there is one.
    fn concat<'l>(&self, parts: impl Iterator<Item = (usize, Option<&'l Lut>)>, out: &mut [T], pixels: usize) {
        let mut inputs: [(&[T], usize, Option<&Lut>); MAX_CONCAT] = [(&[], 0, None); MAX_CONCAT];
        let mut used = 0;
        for (slot, (channels, lut)) in inputs.iter_mut().zip(parts) {
            *slot = (self.input(used), channels, lut);
            used += 1;
        }
        kernels::concat_channels(&inputs[..used], out, pixels);
    }
}
