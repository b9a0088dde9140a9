//! Runs one step: finds its operands in the buffers and hands them to its kernel.

use quantlens_kernels as kernels;
use quantlens_kernels::{Element, Lut, Team};

use super::{FloatKernel, Int8Kernel, MAX_CONCAT, Step, StepKernel};
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
            StepKernel::Int8(kernel) => {
                let (others, out) = split(&mut buffers.bytes, output);
                let io = Operands { step: self, arena, others };
                kernel.run(&io, out, &mut buffers.scratch_bytes, team);
            }
            StepKernel::Float(kernel) => {
                let (others, out) = split(&mut buffers.floats, output);
                let io = Operands { step: self, arena, others };
                kernel.run(&io, out, &mut buffers.scratch_floats, team);
            }
        }
    }

    fn place(&self, arena: &ArenaLayout, i: usize) -> Place {
        arena.places[self.inputs[i].index()].unwrap_or(NOWHERE)
    }
}

impl Int8Kernel {
    fn run(&self, io: &Operands<'_, u8>, out: &mut [u8], scratch: &mut [u8], team: &Team) {
        let x = io.input(0);
        match self {
            Self::Conv(conv) => conv.run(x, out, scratch, team),
            Self::Linear(linear) => linear.run(x, out, scratch, team),
            Self::MaxPool(pool) => kernels::max_pool_u8(pool, x, out),
            &Self::AvgPool { numerics, x: q, channels } => {
                kernels::global_avg_pool_u8(numerics, q, x, channels, out);
            }
            &Self::Mean { numerics, x: q, channels } => kernels::mean_u8(numerics, q, x, channels, out),
            Self::Add(add) => add.run(x, io.input(1), out),
            Self::Mul { mul, channels, swap } => {
                let (a, b) = io.factors(*swap);
                mul.run(a, b, out, *channels);
            }
            Self::Concat { parts, pixels } => {
                let parts = parts.iter().map(|part| (part.channels, part.lut.as_deref()));
                io.concat(parts, out, *pixels);
            }
            &Self::Slice { channels, start, len } => kernels::slice_channels(x, channels, start, len, out),
            &Self::Shuffle { channels, groups } => kernels::channel_shuffle(x, channels, groups, out),
            Self::Lut { table, .. } => kernels::apply_lut(table, x, out),
        }
    }
}

impl FloatKernel {
    fn run(&self, io: &Operands<'_, f32>, out: &mut [f32], scratch: &mut [f32], team: &Team) {
        let x = io.input(0);
        match self {
            Self::Conv(conv) => conv.run(x, out, scratch, team),
            Self::Linear(linear) => linear.run(x, out, scratch, team),
            Self::MaxPool(pool) => kernels::max_pool_f32(pool, x, out),
            &Self::AvgPool { channels } => kernels::global_avg_pool_f32(x, channels, out),
            &Self::Mean { channels } => kernels::mean_f32(x, channels, out),
            &Self::Add { relu } => kernels::add_f32(x, io.input(1), relu, out),
            &Self::Mul { channels, swap } => {
                let (a, b) = io.factors(swap);
                kernels::mul_f32(a, b, out, channels);
            }
            Self::Concat { channels, pixels } => {
                io.concat(channels.iter().map(|&channels| (channels, None)), out, *pixels);
            }
            &Self::Slice { channels, start, len } => kernels::slice_channels(x, channels, start, len, out),
            &Self::Shuffle { channels, groups } => kernels::channel_shuffle(x, channels, groups, out),
            Self::Relu => kernels::relu_f32(x, out),
            Self::Relu6 => kernels::relu6_f32(x, out),
            Self::Hardswish => kernels::hardswish_f32(x, out),
            Self::Hardsigmoid => kernels::hardsigmoid_f32(x, out),
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
