//! The crate's error.

use std::fmt;

use quantlens_kernels as kernels;

/// What can be wrong with a graph, a plan or a run. Tensors are called by their first name, not by an alias.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No tensor has this name.
    UnknownTensor {
        /// The name that was asked for.
        name: String,
        /// Names that look like it, nearest first.
        near: Vec<String>,
    },
    /// A tensor was asked for that was not declared with `tap`.
    NotTapped {
        /// The tensor.
        tensor: String,
    },
    /// A tensor was given to `run_from` that was not declared with `entry`.
    NotAnEntry {
        /// The tensor.
        tensor: String,
    },
    /// The last run did not compute this tap (or there was no run yet).
    NotComputed {
        /// The tensor.
        tensor: String,
    },
    /// `run_from` needs a tensor that comes before every entry it was given.
    Unreachable {
        /// The tensor that is needed and not given.
        needed: String,
        /// The output that needs it.
        output: String,
    },
    /// A tensor given to a run has the wrong shape.
    InputShape {
        /// The tensor it was given for.
        tensor: String,
        /// Height, width and channels that the plan was made for.
        expected: [usize; 3],
        /// What was given.
        found: String,
    },
    /// A tensor given to a run has the wrong type or quantization.
    InputType {
        /// The tensor it was given for.
        tensor: String,
        /// What the plan needs.
        expected: String,
        /// What was given.
        found: String,
    },
    /// The graph and the input size do not fit together: wrong channels, a map smaller than a window, and the like.
    Shape {
        /// The tensor that cannot be made.
        tensor: String,
        /// Why, with what was expected and what was found.
        why: String,
    },
    /// An op cannot be planned: quantization missing or superfluous, wrong number of inputs, unsupported in int8.
    Op {
        /// The op's output.
        tensor: String,
        /// The op, as [`crate::Op::name`] calls it.
        op: &'static str,
        /// Why, with what was expected and what was found.
        why: String,
    },
    /// A setting of the plan is out of range.
    Setting(String),
    /// A kernel refused the op's parameters.
    Kernel {
        /// The op's output.
        tensor: String,
        /// What the kernel says.
        source: kernels::Error,
    },
    /// The tensor type refused an activation.
    Tensor {
        /// The activation.
        tensor: String,
        /// What the tensor type says.
        source: quantlens_tensor::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownTensor { name, near } if near.is_empty() => {
                write!(f, "no tensor is named '{name}' (`quantlens inspect` lists the names)")
            }
            Self::UnknownTensor { name, near } => {
                write!(f, "no tensor is named '{name}'; near names: {}", near.join(", "))
            }
            Self::NotTapped { tensor } => {
                write!(f, "tensor {tensor} is not kept by this plan: declare it with tap(\"{tensor}\") when planning")
            }
            Self::NotAnEntry { tensor } => {
                write!(
                    f,
                    "tensor {tensor} cannot be set in this plan: declare it with entry(\"{tensor}\") when planning"
                )
            }
            Self::NotComputed { tensor } => write!(f, "tensor {tensor} was not computed by the last run"),
            Self::Unreachable { needed, output } => write!(
                f,
                "output {output} needs tensor {needed}, which comes before every given entry: \
                 give {needed} or tensors after it"
            ),
            Self::InputShape { tensor, expected: [h, w, c], found } => write!(
                f,
                "tensor {tensor}: expected one image of {c} channels, height {h} and width {w} \
                 ([1, {c}, {h}, {w}] NCHW or [1, {h}, {w}, {c}] NHWC), found {found}"
            ),
            Self::InputType { tensor, expected, found } => {
                write!(f, "tensor {tensor}: expected {expected}, found {found}")
            }
            Self::Shape { tensor, why } => write!(f, "tensor {tensor}: {why}"),
            Self::Op { tensor, op, why } => write!(f, "tensor {tensor} ({op}): {why}"),
            Self::Setting(why) => f.write_str(why),
            Self::Kernel { tensor, source } => write!(f, "tensor {tensor}: {source}"),
            Self::Tensor { tensor, source } => write!(f, "tensor {tensor}: {source}"),
        }
    }
}

impl std::error::Error for Error {}
