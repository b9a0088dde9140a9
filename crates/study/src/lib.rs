//! The study of quantlens: pairs of a float network and its int8 twin over a data set.
//!
//! The scan writes records (one row an image, network and precision), and everything else is computed from records:
//! sign policies, map differences, the subset, the paper's tables. Only the timing stage runs networks again.

#![forbid(unsafe_code)]

mod curves;
mod data_hash;
mod error;
mod manifest;
mod methods;
mod parquet_file;
mod parts;
mod progress;
mod record;
mod report;
mod run;
mod scan;
pub mod statistics;
mod summary;
mod tables;
mod tensors;
mod timing;

pub use curves::{CurveOptions, CurveReport, CurveRow, CurveSettings, curves_folder, read_curves};
pub use error::Error;
pub use manifest::{DataSettings, MANIFEST, Manifest, NetworkSettings, PairSettings, Settings};
pub use methods::{METHODS, METHODS_FILE, MethodCost, Methods, PairMethods};
pub use parts::{PART_SIZE, Part, Records, Shard};
pub use progress::{Progress, Quiet};
pub use record::{Precision, Reading, Record, SCHEMA_VERSION};
pub use report::{FIGURES, REPORT, ReportFiles, ReportOptions, run_report};
pub use run::{PairSpec, StudyConfig, run_curves, run_mean_activations, run_methods, run_scan, run_timing, summarize};
pub use scan::{ScanReport, WALL_TIMES};
pub use summary::{
    Accuracy, Band, Bands, Best, Both, Comparison, Dice, Effect, Estimate, Group, Inference, PairSummary, PolicyRmse,
    Rmse, SMALL_GAP, SUBSET_PERCENT, Scope, Single, Statistics, Summary, SummaryOptions, Sweep, Test, Thresholds,
    subset_size,
};
pub use tables::{BYTES_A_MB, Column, Kind, Row, Table, TableFormat, render, tables, to_json};
pub use tensors::{MeanActivations, PairActivations};
pub use timing::{NetworkTimes, PairTimes, Spread, TIMINGS, TimingOptions, Timings};
