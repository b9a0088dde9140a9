//! The memory of a session: the arena's buffers and scratch, and safe views of a step's operands in them.

use quantlens_kernels::{AlignedBuf, Element};

use crate::plan::{ArenaLayout, Place};

/// Activations and scratch of one session.
pub(crate) struct Buffers {
    pub(crate) bytes: Vec<AlignedBuf<u8>>,
    pub(crate) floats: Vec<AlignedBuf<f32>>,
    pub(crate) scratch_bytes: AlignedBuf<u8>,
    pub(crate) scratch_floats: AlignedBuf<f32>,
}

impl Buffers {
    pub(crate) fn new(layout: &ArenaLayout, scratch_bytes: usize, scratch_floats: usize) -> Self {
        Self {
            bytes: layout.bytes.iter().map(|&len| AlignedBuf::new(len)).collect(),
            floats: layout.floats.iter().map(|&len| AlignedBuf::new(len)).collect(),
            scratch_bytes: AlignedBuf::new(scratch_bytes),
            scratch_floats: AlignedBuf::new(scratch_floats),
        }
    }

    pub(crate) fn u8(&self, place: Place) -> &[u8] {
        &self.bytes[place.index][..place.len]
    }

    pub(crate) fn f32(&self, place: Place) -> &[f32] {
        &self.floats[place.index][..place.len]
    }

    pub(crate) fn u8_mut(&mut self, place: Place) -> &mut [u8] {
        &mut self.bytes[place.index][..place.len]
    }

    pub(crate) fn f32_mut(&mut self, place: Place) -> &mut [f32] {
        &mut self.floats[place.index][..place.len]
    }
}

/// All buffers but the one a step writes.
#[derive(Clone, Copy)]
pub(crate) struct Others<'a, T: Element> {
    before: &'a [AlignedBuf<T>],
    after: &'a [AlignedBuf<T>],
}

impl<'a, T: Element> Others<'a, T> {
    /// A tensor in one of these buffers; an input never lies in the output's buffer, as both are alive at the step.
    pub(crate) fn get(self, place: Place) -> &'a [T] {
        let (index, own) = (place.index, self.before.len());
        let buffer = if index < own { &self.before[index] } else { &self.after[index - own - 1] };
        &buffer[..place.len]
    }
}

/// The output of a step, and the buffers its inputs lie in.
pub(crate) fn split<T: Element>(buffers: &mut [AlignedBuf<T>], output: Place) -> (Others<'_, T>, &mut [T]) {
    let (before, rest) = buffers.split_at_mut(output.index);
    let (own, after) = rest.split_at_mut(1);
    (Others { before, after }, &mut own[0][..output.len])
}
