//! Explanations of quantlens: EigenCAM and its signs, ScoreCAM, AblationCAM, the map at input size, the difference of a pair of maps, the boxes
//! that maps predict, deletion and insertion, and statistics of activations.
//!
//! Pure functions over tensors and slices: where a network must run, the caller gives a closure that runs it. Every formula names its source; the order of
//! every sum is fixed, so that results do not depend on threads.

#![forbid(unsafe_code)]

mod ablationcam;
mod channelcam;
mod colormap;
mod eigencam;
mod error;
mod histogram;
mod localization;
mod map;
mod pair;
mod perturbation;
mod random;
mod scorecam;
mod sign;
mod spread;
mod stats;
mod workspace;

pub use ablationcam::{AblatedActivation, AblationCam};
pub use channelcam::ChannelCam;
pub use colormap::{jet, overlay};
pub use eigencam::EigenCam;
pub use error::Error;
pub use histogram::{BINS, dice, dice_counts, entropy_of_counts, mean_activation_histogram};
pub use localization::{
    BoxAccuracy, BoxEdge, BoxOptions, BoxRule, IouCurve, LocalizationTally, Localizer, PixelBox, SweepBest, Threshold,
    best_iou, iou, otsu, threshold_level, threshold_sweep,
};
pub use map::{cam_map, grey, rmse};
pub use pair::PairDifference;
pub use perturbation::{
    Baseline, Curve, CurveBand, DeletionInsertion, Known, Normalization, Perturbation, STEPS, Walk, changed_pixels,
    gaussian_blur, pixel_order,
};
pub use scorecam::{MaskedInput, ScoreCam};
pub use sign::{SignPolicy, covariance};
pub use stats::ActivationStats;
pub use workspace::CamWorkspace;
