//! From ops to steps: leaves out what no output needs, merges activations into the convolution or linear layer before them,
//! joins a concatenation and the shuffle after it, and finds pointwise convolutions that could be one step with the depthwise one
//! after them, and convolutions that could be one with the sum after them.

use quantlens_kernels::Activation;

use crate::graph::{Conv, Graph, Node, Op, TensorId};

/// A step to be: a node of the graph, with the activation that follows it where the two are one step.
#[derive(Debug)]
pub(super) struct Draft<'g> {
    pub(super) node: &'g Node,
    pub(super) activation: Activation,
    /// The node's output, or that of the activation or shuffle.
    pub(super) output: TensorId,
    /// The pointwise convolution that makes the input of this depthwise one and of nothing else, where the two may be one
    /// step.
    pub(super) expand: Option<Box<Draft<'g>>>,
    /// The slice of channels that is the first input (of the pointwise convolution, where there is one) and nothing else's, where the
    /// step may read them from the whole pixels instead.
    pub(super) slice: Option<&'g Node>,
    /// The sum of this convolution's output, which nothing else reads, and of a residual, where the two may be one step.
    pub(super) sum: Option<Sum<'g>>,
}

/// A sum that may be a convolution's epilogue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sum<'g> {
    pub(super) node: &'g Node,
    /// What is added to the convolution's output, made before it.
    pub(super) residual: TensorId,
}

impl<'g> Draft<'g> {
    /// A node as a step of its own.
    pub(super) fn alone(node: &'g Node) -> Self {
        Self { node, activation: Activation::None, output: node.output, expand: None, slice: None, sum: None }
    }
}

/// The steps that compute the tensors in `wanted` (taps and the output), in order. With `merge`, the output of a
/// float convolution or linear layer is fused away where an activation is its only reader and it is not in `kept` (wanted, or an
/// entry), and so are that of a convolution before a sum and that of a concatenation of two halves before a shuffle of two groups.
pub(super) fn steps<'g>(
    graph: &'g Graph,
    shapes: &[[usize; 3]],
    wanted: &[bool],
    kept: &[bool],
    merge: bool,
) -> Vec<Draft<'g>> {
    let nodes = graph.nodes();
    let needed = needed_nodes(graph, wanted);
    let mut readers = vec![Vec::new(); graph.tensors().len()];
    for (i, node) in nodes.iter().enumerate().filter(|(i, _)| needed[*i]) {
        node.inputs.iter().for_each(|id| readers[id.index()].push(i));
    }
    let mut merged = vec![false; nodes.len()];
    let mut made = vec![false; graph.tensors().len()];
    made[graph.input().index()] = true;
    let mut drafts = Vec::new();
    for (i, node) in nodes.iter().enumerate().filter(|(i, _)| needed[*i]) {
        if merged[i] {
            continue;
        }
        let mut draft = Draft::alone(node);
        let reader = match &readers[node.output.index()][..] {
            &[reader] if merge && !kept[node.output.index()] => Some(reader),
            _ => None,
        };
        if matches!(&node.op, Op::Conv(conv) if conv.relu) {
            draft.activation = Activation::Relu;
        } else if let Some(reader) = reader {
            let activation = activation_of(&nodes[reader].op).filter(|_| takes_activation(graph, node));
            if activation.is_some() || (is_of_halves(node, shapes) && is_shuffle_of_two(&nodes[reader])) {
                merged[reader] = true;
                draft.activation = activation.unwrap_or(Activation::None);
                draft.output = nodes[reader].output;
            }
            let residual = residual_of(&nodes[reader], node).filter(|id| made[id.index()]);
            if let Some(residual) = residual {
                merged[reader] = true;
                let sum = &nodes[reader];
                draft.activation = if sum.op == (Op::Add { relu: true }) { Activation::Relu } else { Activation::None };
                draft.output = sum.output;
                draft.sum = Some(Sum { node: sum, residual });
            }
        }
        if merge && is_depthwise(graph, node) && readers[node.inputs[0].index()].len() == 1 {
            let input = node.inputs[0];
            let makes = |draft: &Draft| draft.output == input && draft.sum.is_none() && is_pointwise(graph, draft.node);
            let expand = drafts.iter().position(makes).filter(|_| !kept[input.index()]);
            draft.expand = expand.map(|at| Box::new(drafts.remove(at)));
        }
        let shuffled = node.op == Op::Concat && draft.output != node.output;
        if let Some(viewer) = draft.expand.as_deref().or(shuffled.then_some(&draft)) {
            let input = viewer.node.inputs[0];
            let makes = |draft: &Draft| draft.output == input && is_float_slice(graph, draft.node);
            let alone = readers[input.index()].len() == 1 && !kept[input.index()];
            draft.slice = drafts.iter().position(makes).filter(|_| alone).map(|at| drafts.remove(at).node);
        }
        made[draft.output.index()] = true;
        drafts.push(draft);
    }
    drafts
}

/// What this sum adds to the output of a convolution of all channels.
fn residual_of(sum: &Node, conv: &Node) -> Option<TensorId> {
    let whole = matches!(&conv.op, Op::Conv(conv) if conv.groups == 1);
    match (&sum.op, &sum.inputs[..]) {
        (Op::Add { .. }, &[a, b]) if whole => Some(if a == conv.output { b } else { a }),
        _ => None,
    }
}

/// Whether this is a float convolution of each channel by itself.
fn is_depthwise(graph: &Graph, node: &Node) -> bool {
    let depthwise = |conv: &Conv| conv.groups > 1 && conv.groups == conv.in_channels;
    graph.tensor(node.output).quant.is_none() && matches!(&node.op, Op::Conv(conv) if depthwise(conv))
}

/// Whether this is a float convolution of each pixel by itself.
fn is_pointwise(graph: &Graph, node: &Node) -> bool {
    graph.tensor(node.output).quant.is_none() && matches!(&node.op, Op::Conv(conv) if conv.kernel == [1, 1])
}

/// Whether this takes some channels of a float tensor.
fn is_float_slice(graph: &Graph, node: &Node) -> bool {
    graph.tensor(node.output).quant.is_none() && matches!(node.op, Op::SliceChannels { .. })
}

/// Which nodes lead to a wanted tensor.
fn needed_nodes(graph: &Graph, wanted: &[bool]) -> Vec<bool> {
    let mut tensors = wanted.to_vec();
    let mut needed = vec![false; graph.nodes().len()];
    for (i, node) in graph.nodes().iter().enumerate().rev() {
        if tensors[node.output.index()] {
            needed[i] = true;
            node.inputs.iter().for_each(|id| tensors[id.index()] = true);
        }
    }
    needed
}

/// Whether this is a float op with an activation as its epilogue.
fn takes_activation(graph: &Graph, node: &Node) -> bool {
    matches!(node.op, Op::Conv(_) | Op::Linear(_)) && graph.tensor(node.output).quant.is_none()
}

/// Whether this concatenates two tensors of as many channels.
fn is_of_halves(node: &Node, shapes: &[[usize; 3]]) -> bool {
    let channels = |id: &TensorId| shapes[id.index()][2];
    node.op == Op::Concat && matches!(&node.inputs[..], [a, b] if channels(a) == channels(b))
}

fn is_shuffle_of_two(node: &Node) -> bool {
    node.op == Op::ChannelShuffle { groups: 2 }
}

fn activation_of(op: &Op) -> Option<Activation> {
    match op {
        Op::Relu => Some(Activation::Relu),
        Op::Relu6 => Some(Activation::Relu6),
        Op::Hardswish => Some(Activation::Hardswish),
        _ => None,
    }
}
