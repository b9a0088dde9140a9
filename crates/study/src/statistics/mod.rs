//! Statistics of paired results: bootstrap intervals, exact and permutation tests, correction for many tests, effect
//! sizes. Everything random comes from one counter-based generator, so that a seed gives the same bits on every
//! machine and for any number of threads; nothing here calls the system's logarithm or exponential.

mod bootstrap;
mod effect;
mod holm;
mod mcnemar;
mod philox;
mod sign_flip;

pub use bootstrap::{Bootstrap, Column, Interval, Selection};
pub use effect::{cohens_dz, mean};
pub use holm::holm;
pub use mcnemar::{McNemar, mcnemar};
pub use philox::Philox;
pub use sign_flip::{SignFlip, sign_flip};
