//! How to compute a graph: shapes, fused steps with packed weights, and where each tensor lies.

mod arena;
mod builder;
mod chain;
mod fuse;
mod names;
mod shapes;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use quantlens_kernels::{Frame, Isa, Ops};

pub(crate) use arena::{ArenaLayout, Place};
pub use builder::PlanBuilder;

use crate::graph::{Graph, TensorId, TensorInfo};
use crate::step::Step;
use crate::{Error, QParams, Session};

/// What a plan says about one step.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StepInfo {
    /// First name of the tensor that the step makes.
    pub name: String,
    /// The op, with a fused activation: `conv_relu6`; `conv_add` and `conv_add_relu` for a convolution and the sum after it,
    /// `expand_depthwise` for a pointwise convolution and the depthwise one
    /// after it in one step, `concat_shuffle` for a concatenation and the shuffle after it, `chain` for several convolutions and poolings.
    pub op: &'static str,
    /// The kernel that runs it, `<type>-<op>-<tile>-<isa>`; those of a chain with ` > ` between them.
    pub kernel: String,
    /// First names of the tensors it reads.
    pub inputs: Vec<String>,
    /// Height, width and channels of the first input.
    pub in_shape: [usize; 3],
    /// Height, width and channels of the output.
    pub out_shape: [usize; 3],
    /// Scale and zero point of the output; none for f32.
    pub quant: Option<QParams>,
    /// Multiply-adds of a convolution or linear layer; 0 for all other ops.
    pub macs: u64,
    /// Shape of the weights: OIHW of a convolution (of two in one step, the last), OI of a linear layer, empty for all
    /// other ops.
    pub weight_shape: Vec<usize>,
    /// Scales of int8 weights: one, or one an output channel; empty for all other steps.
    pub weight_scales: Vec<f32>,
    /// Number of weights and biases.
    pub parameters: usize,
    /// Bytes of the packed weights and biases.
    pub weight_bytes: usize,
    /// The steps that a chain runs a few rows at a time, from first to last; empty for all other ops.
    pub links: Vec<StepInfo>,
}

/// A graph made ready to run at one input size: immutable, cheap to clone, shared by its sessions.
#[derive(Clone)]
pub struct Plan {
    pub(crate) inner: Arc<PlanInner>,
}

/// What all clones and sessions of a plan share.
pub(crate) struct PlanInner {
    pub(crate) network: String,
    pub(crate) tensors: Vec<TensorInfo>,
    pub(crate) names: HashMap<String, TensorId>,
    pub(crate) shapes: Vec<[usize; 3]>,
    pub(crate) taps: Vec<bool>,
    pub(crate) entries: Vec<bool>,
    pub(crate) output: TensorId,
    /// The one u8 tensor that the input is quantized to, where nothing else reads the input.
    pub(crate) quantized_input: Option<TensorId>,
    /// The tensor that lies in memory with padding around it.
    pub(crate) framed: Option<Framed>,
    pub(crate) steps: Vec<Step>,
    pub(crate) infos: Vec<StepInfo>,
    pub(crate) arena: ArenaLayout,
    pub(crate) scratch_bytes: usize,
    pub(crate) scratch_floats: usize,
    pub(crate) threads: usize,
    pub(crate) isa: Isa,
    /// Everything but convolutions, for `isa`.
    pub(crate) ops: Ops,
}

impl PlanInner {
    pub(crate) fn find(&self, name: &str) -> Result<TensorId, Error> {
        find(&self.names, name)
    }

    pub(crate) fn name(&self, id: TensorId) -> &str {
        &self.tensors[id.index()].name
    }

    /// Whether a run computes this tensor for its reader: a tap, or the output.
    pub(crate) fn is_wanted(&self, id: TensorId) -> bool {
        self.taps[id.index()] || id == self.output
    }

    pub(crate) fn shape(&self, id: TensorId) -> [usize; 3] {
        self.shapes[id.index()]
    }

    /// How a tensor lies in memory.
    pub(crate) fn frame(&self, id: TensorId) -> Frame {
        Framed::frame(self.framed, id.index(), self.shape(id))
    }
}

/// An f32 input whose only reader is a convolution: it is written with the convolution's padding around it, which then needs no
/// padded copy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Framed {
    pub(crate) tensor: TensorId,
    pub(crate) padding: [usize; 2],
}

impl Framed {
    /// How the tensor of this index and shape lies in memory, be it the framed one, if any, or another.
    fn frame(framed: Option<Self>, index: usize, [height, width, channels]: [usize; 3]) -> Frame {
        let padding = framed.filter(|framed| framed.tensor.index() == index).map_or([0, 0], |framed| framed.padding);
        Frame { height, width, channels, padding }
    }
}

/// The tensor with this name or alias, or an error that lists near names.
fn find(names: &HashMap<String, TensorId>, name: &str) -> Result<TensorId, Error> {
    names.get(name).copied().ok_or_else(|| Error::UnknownTensor {
        name: name.into(),
        near: names::near(name, names.keys().map(String::as_str)),
    })
}

impl Plan {
    /// Starts a plan of `graph`: 224x224, nothing tapped, no entries, one thread, the best instruction set, fused.
    pub fn builder(graph: &Graph) -> PlanBuilder<'_> {
        PlanBuilder::new(graph)
    }

    /// A session with an arena of its own; sessions of one plan may run on several threads at once.
    pub fn session(&self) -> Session {
        Session::new(Arc::clone(&self.inner))
    }

    /// The network's name.
    pub fn network(&self) -> &str {
        &self.inner.network
    }

    /// The steps in the order they run.
    pub fn steps(&self) -> &[StepInfo] {
        &self.inner.infos
    }

    /// Multiply-adds of one run.
    pub fn macs(&self) -> u64 {
        self.inner.infos.iter().map(|s| s.macs).sum()
    }

    /// Height, width and channels of the tensor with this name or alias; none if there is no such tensor. Tensors
    /// that are fused away have a shape too.
    pub fn tensor_shape(&self, name: &str) -> Option<[usize; 3]> {
        self.inner.names.get(name).map(|&id| self.inner.shape(id))
    }

    /// Height and width of the input.
    pub fn input_size(&self) -> [usize; 2] {
        let [h, w, _] = self.inner.shapes[0];
        [h, w]
    }

    /// Bytes of weights and biases as the kernels keep them, shared by all sessions.
    pub fn weight_bytes(&self) -> usize {
        self.inner.infos.iter().map(|s| s.weight_bytes).sum()
    }

    /// Bytes of activations and scratch that each session takes.
    pub fn arena_bytes(&self) -> usize {
        self.inner.arena.size() + self.inner.scratch_bytes + self.inner.scratch_floats * size_of::<f32>()
    }

    /// Threads that a session of this plan runs a step on.
    pub fn threads(&self) -> usize {
        self.inner.threads
    }

    /// The instruction set the kernels were chosen for.
    pub fn isa(&self) -> Isa {
        self.inner.isa
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("network", &self.inner.network)
            .field("input_size", &self.input_size())
            .field("steps", &self.inner.infos.len())
            .field("threads", &self.inner.threads)
            .field("isa", &self.inner.isa)
            .finish_non_exhaustive()
    }
}
