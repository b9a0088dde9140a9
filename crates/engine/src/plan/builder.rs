//! Settings of a plan, and the making of it.

use quantlens_kernels::{Activation, Isa, Ops};

use super::arena::{ArenaLayout, Request};
use super::chain::Chains;
use super::fuse::{self, Draft};
use super::{Framed, Plan, PlanInner, StepInfo, find, shapes};
use crate::Error;
use crate::graph::{ConvWeights, Graph, Op, TensorId};
use crate::step::{Context, Step};

/// Most threads that a plan accepts: far beyond what a small map can be split into.
const MAX_THREADS: usize = 1024;

/// Settings of a plan; see [`Plan::builder`] for the defaults.
#[derive(Debug, Clone)]
pub struct PlanBuilder<'g> {
    graph: &'g Graph,
    size: [usize; 2],
    taps: Vec<String>,
    tap_all: bool,
    entries: Vec<String>,
    threads: usize,
    isa: Option<Isa>,
    fuse: bool,
}

impl<'g> PlanBuilder<'g> {
    pub(super) fn new(graph: &'g Graph) -> Self {
        let (taps, entries) = (Vec::new(), Vec::new());
        Self { graph, size: [224, 224], taps, tap_all: false, entries, threads: 1, isa: None, fuse: true }
    }

    /// Height and width of the input.
    pub fn input_size(mut self, height: usize, width: usize) -> Self {
        self.size = [height, width];
        self
    }

    /// Keeps this tensor (name or alias) for [`Session::tap`](crate::Session::tap) after a run.
    pub fn tap(mut self, name: &str) -> Self {
        self.taps.push(name.into());
        self
    }

    /// Keeps every tensor. Nothing is fused and no memory is shared then.
    pub fn tap_all(mut self) -> Self {
        self.tap_all = true;
        self
    }

    /// Lets [`Session::run_from`](crate::Session::run_from) set this tensor (name or alias).
    pub fn entry(mut self, name: &str) -> Self {
        self.entries.push(name.into());
        self
    }

    /// Threads that share the work of each step; results do not depend on it.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// The instruction set to choose kernels for, instead of [`Isa::best`].
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// Whether activations and sums may be merged into the layer before them, concatenations with the shuffle after them, and pointwise
    /// convolutions with the depthwise one after them; results do not depend on it.
    pub fn fuse(mut self, fuse: bool) -> Self {
        self.fuse = fuse;
        self
    }

    /// Infers shapes, packs weights and places tensors.
    ///
    /// # Errors
    /// [`Error::UnknownTensor`] for a tap or entry, [`Error::Shape`] where the input is too small or channels do not
    /// fit, [`Error::Op`] for an op that cannot be planned, [`Error::Setting`] for an input size or a number of
    /// threads out of range or an instruction set that this machine lacks, [`Error::Kernel`] from packing.
    pub fn build(self) -> Result<Plan, Error> {
        let graph = self.graph;
        let (isa, ops) = self.check_settings()?;
        let taps = self.marks(&self.taps, self.tap_all)?;
        let entries = self.marks(&self.entries, false)?;
        let output = graph.output();
        if graph.tensor(output).quant.is_some() {
            let why = "the graph's output must be f32: end with Dequantize".to_string();
            return Err(Error::Shape { tensor: graph.tensor(output).name.clone(), why });
        }
        let shapes = shapes::infer(graph, self.size[0], self.size[1])?;
        let mut wanted = taps.clone();
        wanted[output.index()] = true;
        let kept: Vec<bool> = wanted.iter().zip(&entries).map(|(w, e)| *w || *e).collect();
        let drafts = fuse::steps(graph, &shapes, &wanted, &kept, self.fuse);
        let quantized_input = quantized_input(graph);
        let framed = framed(graph, &kept).filter(|_| self.fuse);
        let context = Context { graph, shapes: &shapes, isa, framed };
        let mut steps = Vec::with_capacity(drafts.len());
        for mut draft in drafts {
            if let Some(step) = joined(&context, &draft)? {
                let info = info(&context, &draft, &step);
                steps.push((step, info));
                continue;
            }
            let slice = draft.slice.take().map(Draft::alone);
            let expand = draft.expand.take().map(|expand| *expand);
            let sum = draft.sum.take().map(|sum| Draft::alone(sum.node));
            if sum.is_some() {
                draft = Draft::alone(draft.node);
            }
            for draft in slice.into_iter().chain(expand).chain([draft]).chain(sum) {
                let step = Step::new(&context, draft.node, draft.activation, draft.output)?;
                let info = info(&context, &draft, &step);
                steps.push((step, info));
            }
        }
        if self.fuse {
            let chains = Chains { tensors: graph.tensors(), shapes: &shapes, kept: &kept, threads: self.threads, ops };
            steps = chains.merge(steps);
        }
        let (steps, infos): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
        let arena = place(graph, &shapes, &steps, &taps, &entries, quantized_input, framed);
        let inner = PlanInner {
            network: graph.network().into(),
            tensors: graph.tensors().to_vec(),
            names: graph.names().clone(),
            taps,
            entries,
            output,
            quantized_input,
            framed,
            scratch_bytes: steps.iter().map(|s| s.kernel.scratch_bytes()).max().unwrap_or(0),
            scratch_floats: steps.iter().map(|s| s.kernel.scratch_floats()).max().unwrap_or(0),
            shapes,
            steps,
            infos,
            arena,
            threads: self.threads,
            isa,
            ops,
        };
        Ok(Plan { inner: inner.into() })
    }

    fn check_settings(&self) -> Result<(Isa, Ops), Error> {
        if !(1..=MAX_THREADS).contains(&self.threads) {
            return Err(Error::Setting(format!("threads: expected 1 to {MAX_THREADS}, found {}", self.threads)));
        }
        let isa = self.isa.unwrap_or_else(Isa::best);
        let Ok(ops) = Ops::new(isa) else {
            return Err(Error::Setting(format!(
                "instruction set {} is not available on this machine; available: {}",
                isa.name(),
                Isa::ALL.iter().filter(|i| i.available()).map(|i| i.name()).collect::<Vec<_>>().join(", ")
            )));
        };
        Ok((isa, ops))
    }

    /// Which tensors the names stand for.
    fn marks(&self, names: &[String], all: bool) -> Result<Vec<bool>, Error> {
        let mut marks = vec![all; self.graph.tensors().len()];
        for name in names {
            marks[find(self.graph.names(), name)?.index()] = true;
        }
        Ok(marks)
    }
}

/// The step of a depthwise convolution with the pointwise one before it, where there are two and a kernel serves both; of a convolution
/// and a sum; or of a concatenation that reads a slice where it is.
fn joined(context: &Context<'_>, draft: &Draft<'_>) -> Result<Option<Step>, Error> {
    if let Some(sum) = &draft.sum {
        return Step::conv_add(context, (draft.node, draft.activation), (sum.node, sum.residual));
    }
    let nodes =
        (draft.expand.as_deref().map(|expand| (expand.node, expand.activation)), (draft.node, draft.activation));
    match nodes {
        (Some(expand), depthwise) => Step::expand_depthwise(context, draft.slice, [expand, depthwise], draft.output),
        (None, (node, _)) => {
            Ok(draft.slice.and_then(|slice| Step::concat_shuffle_view(context, slice, node, draft.output)))
        }
    }
}

/// What a step tells about itself.
fn info(context: &Context<'_>, draft: &Draft<'_>, step: &Step) -> StepInfo {
    if let Some(expand) = &draft.expand {
        // One step of two: what can be counted is counted together, the rest is the depthwise one's.
        let (first, second) = (info(context, expand, step), info(context, &Draft { expand: None, ..*draft }, step));
        return StepInfo {
            op: "expand_depthwise",
            macs: first.macs + second.macs,
            parameters: first.parameters + second.parameters,
            ..second
        };
    }
    let (graph, node) = (context.graph, draft.node);
    let out_shape = context.shape(draft.output);
    let (weight_shape, weights) = match &node.op {
        Op::Conv(c) => (vec![c.out_channels, c.in_channels / c.groups, c.kernel[0], c.kernel[1]], Some(&c.weights)),
        Op::Linear(l) => (vec![l.out_features, l.in_features], Some(&l.weights)),
        _ => (Vec::new(), None),
    };
    let (weight_len, bias_len, weight_scales) = match weights {
        Some(ConvWeights::F32 { weight, bias }) => (weight.len(), bias.len(), Vec::new()),
        Some(ConvWeights::Int8 { weight, bias, scale }) => (weight.len(), bias.len(), scale.to_vec()),
        None => (0, 0, Vec::new()),
    };
    StepInfo {
        name: graph.tensor(draft.output).name.clone(),
        op: op_name(draft),
        kernel: step.kernel.name().to_string(),
        inputs: step.inputs.iter().map(|&id| graph.tensor(id).name.clone()).collect(),
        in_shape: context.shape(step.inputs[0]),
        out_shape,
        quant: graph.tensor(draft.output).quant,
        // Each weight is used once at each position of the output.
        macs: (out_shape[0] * out_shape[1]) as u64 * weight_len as u64,
        weight_shape,
        weight_scales,
        parameters: weight_len + bias_len,
        weight_bytes: step.kernel.weight_bytes(),
        links: Vec::new(),
    }
}

/// The op's name with what is fused to it.
fn op_name(draft: &Draft<'_>) -> &'static str {
    match (&draft.node.op, draft.activation) {
        (Op::Concat, _) if draft.output != draft.node.output => "concat_shuffle",
        (Op::Conv(_), Activation::Relu) if draft.sum.is_some() => "conv_add_relu",
        (Op::Conv(_), _) if draft.sum.is_some() => "conv_add",
        (Op::Conv(_), Activation::Relu) => "conv_relu",
        (Op::Conv(_), Activation::Relu6) => "conv_relu6",
        (Op::Conv(_), Activation::Hardswish) => "conv_hardswish",
        (Op::Linear(_), Activation::Relu) => "linear_relu",
        (Op::Linear(_), Activation::Relu6) => "linear_relu6",
        (Op::Linear(_), Activation::Hardswish) => "linear_hardswish",
        (op, _) => op.name(),
    }
}

/// The tensor that the input is quantized to, if that is all the input is for.
fn quantized_input(graph: &Graph) -> Option<TensorId> {
    let mut readers = graph.nodes().iter().filter(|n| n.inputs.contains(&graph.input()));
    match (readers.next(), readers.next()) {
        (Some(node), None) if node.op == Op::Quantize => Some(node.output),
        _ => None,
    }
}

/// The input, where it is f32, and just a convolution with padding reads it and nobody else sees it.
fn framed(graph: &Graph, kept: &[bool]) -> Option<Framed> {
    let tensor = graph.input();
    let is_f32 = graph.tensor(tensor).quant.is_none();
    let mut readers = graph.nodes().iter().filter(|n| n.inputs.contains(&tensor));
    match (readers.next().map(|node| &node.op), readers.next()) {
        (Some(Op::Conv(conv)), None) if conv.padding != [0, 0] && !kept[tensor.index()] && is_f32 => {
            Some(Framed { tensor, padding: conv.padding })
        }
        _ => None,
    }
}

/// Lifetimes of all tensors that are made, and the buffers they share. Time 0 is before the first step.
fn place(
    graph: &Graph,
    shapes: &[[usize; 3]],
    steps: &[Step],
    taps: &[bool],
    entries: &[bool],
    quantized_input: Option<TensorId>,
    framed: Option<Framed>,
) -> ArenaLayout {
    let end = steps.len() + 1;
    let count = graph.tensors().len();
    let mut alive: Vec<Option<[usize; 2]>> = vec![None; count];
    alive[graph.input().index()] = Some([0, 0]);
    for (i, step) in steps.iter().enumerate() {
        alive[step.output.index()] = Some([i + 1, i + 1]);
        for id in &step.inputs {
            if let Some([_, last]) = &mut alive[id.index()] {
                *last = i + 1;
            }
        }
    }
    for (i, alive) in alive.iter_mut().enumerate() {
        // An entry is written before any step runs, so it holds its place from the start.
        if entries[i] || quantized_input.is_some_and(|id| id.index() == i) {
            *alive = Some([0, alive.map_or(0, |a| a[1])]);
        }
        if taps[i] || graph.output().index() == i {
            *alive = alive.map(|[first, _]| [first, end]);
        }
    }
    let requests = alive.iter().enumerate().filter_map(|(tensor, alive)| {
        let len = Framed::frame(framed, tensor, shapes[tensor]).padded_len();
        let bytes = graph.tensors()[tensor].quant.is_some();
        alive.map(|alive| Request { tensor, len, bytes, alive })
    });
    ArenaLayout::new(count, requests.collect())
}
