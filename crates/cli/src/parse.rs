//! How the values of arguments are read; each error says what is needed.

use std::path::PathBuf;

use quantlens::Isa;
use quantlens_data::BBox;
use quantlens_study::Shard;
use quantlens_xai::{Baseline, SignPolicy, Threshold};

use crate::args::OutFile;

/// The name of an instruction set.
pub fn parse_isa(text: &str) -> Result<Isa, String> {
    Isa::parse(text).map_err(|e| e.to_string())
}

/// 1 to 1024.
pub fn parse_threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ 1..=1024) => Ok(n),
        _ => Err("a number from 1 to 1024 is needed".into()),
    }
}

/// 1 or more.
pub fn parse_count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "a number of at least 1 is needed".into())
}

/// 0.001 to 86400.
pub fn parse_seconds(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|s| (0.001..=86400.0).contains(s)).ok_or_else(|| "0.001 to 86400 is needed".into())
}

/// A file whose name ends in .svg.
pub fn parse_svg(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let svg = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("svg"));
    if svg { Ok(path) } else { Err("the file name must end in .svg".into()) }
}

/// 1/4 is the first share, which the study counts from 0.
pub fn parse_shard(text: &str) -> Result<Shard, String> {
    let numbers = text.split_once('/').and_then(|(k, n)| Some((k.parse::<u64>().ok()?, n.parse::<u64>().ok()?)));
    match numbers {
        Some((k, count)) if k >= 1 && k <= count => Ok(Shard { index: k - 1, count }),
        _ => Err("K/N is needed, with K from 1 to N".into()),
    }
}

/// A side, or height and width, of 8 to 4096 pixels.
pub fn parse_size(text: &str) -> Result<[usize; 2], String> {
    let side = |s: &str| s.parse().ok().filter(|n| (8..=4096).contains(n));
    let size = match text.split_once(['x', 'X']) {
        None => side(text).map(|n| [n, n]),
        Some((h, w)) => side(h).zip(side(w)).map(|(h, w)| [h, w]),
    };
    size.ok_or_else(|| "a size from 8 to 4096, or HEIGHTxWIDTH, is needed".into())
}

/// A file whose name ends in .safetensors or .json.
pub fn parse_out(text: &str) -> Result<OutFile, String> {
    let path = PathBuf::from(text);
    match path.extension().and_then(|e| e.to_str()) {
        Some("json") => Ok(OutFile { path, json: true }),
        Some("safetensors") => Ok(OutFile { path, json: false }),
        _ => Err("the file name must end in .safetensors or .json".into()),
    }
}

/// The name of a baseline of deletion and insertion.
pub fn parse_baseline(text: &str) -> Result<Baseline, String> {
    text.parse().map_err(|e: quantlens_xai::Error| e.to_string())
}

/// `otsu`, or a share of the largest grey.
pub fn parse_threshold(text: &str) -> Result<Threshold, String> {
    text.parse().map_err(|e: quantlens_xai::Error| e.to_string())
}

/// The name of a sign policy.
pub fn parse_signs(text: &str) -> Result<SignPolicy, String> {
    text.parse().map_err(|e: quantlens_xai::Error| e.to_string())
}

/// The sign policies of a study.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StudySigns {
    /// One.
    One(SignPolicy),
    /// All of them, `lapack` first.
    All,
}

impl StudySigns {
    /// The policies, the one of the main tables first.
    pub fn policies(self) -> Vec<SignPolicy> {
        match self {
            Self::One(policy) => vec![policy],
            Self::All => vec![SignPolicy::Lapack, SignPolicy::Mean, SignPolicy::Peak, SignPolicy::Random(0)],
        }
    }
}

/// The name of a sign policy, or `all`.
pub fn parse_study_signs(text: &str) -> Result<StudySigns, String> {
    if text == "all" { Ok(StudySigns::All) } else { parse_signs(text).map(StudySigns::One) }
}

/// Left, top, right and bottom.
pub fn parse_bbox(text: &str) -> Result<BBox, String> {
    let numbers = text.split(',').map(|n| n.trim().parse::<f64>()).collect::<Result<Vec<_>, _>>();
    match numbers.as_deref() {
        Ok(&[x0, y0, x1, y1]) if [x0, y0, x1, y1].iter().all(|v| v.is_finite()) && x0 <= x1 && y0 <= y1 => {
            Ok(BBox { x0, y0, x1, y1 })
        }
        _ => Err("four numbers are needed: left, top, right and bottom, in pixels".into()),
    }
}
