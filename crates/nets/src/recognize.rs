//! Which network a file holds: from the name it states or that was asked for, checked against names and shapes of
//! its tensors, or from these alone.

use crate::error::quoted;
use crate::mobilenet_v3::Size;
use crate::{Error, ModelFile, resnet, shufflenet_v2};

/// How a network is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Architecture {
    MobileNetV2,
    MobileNetV3(Size),
    ResNet,
    ShuffleNetV2,
}

/// Networks that can be named. `resnet` and `shufflenet_v2` stand for depths and widths without a name of their own.
pub const NETWORKS: [&str; 11] = [
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "resnet18",
    "resnet34",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
    "resnet",
    "shufflenet_v2",
];

/// Output channels of conv1, the stages and conv5 of torchvision's ShuffleNetV2.
const SHUFFLENET_WIDTHS: [(&str, [usize; 5]); 4] = [
    ("shufflenet_v2_x0_5", [24, 48, 96, 192, 1024]),
    ("shufflenet_v2_x1_0", [24, 116, 232, 464, 1024]),
    ("shufflenet_v2_x1_5", [24, 176, 352, 704, 1024]),
    ("shufflenet_v2_x2_0", [24, 244, 488, 976, 2048]),
];

/// A tensor that only networks of a family have.
const MARKERS: [(&str, &str); 4] = [
    ("mobilenet_v2", "features.1.conv.0.0.weight"),
    ("mobilenet_v3", "features.1.block.0.0.weight"),
    ("resnet", "layer1.0.conv1.weight"),
    ("shufflenet_v2", "stage2.0.branch1.0.weight"),
];

/// The network's name and architecture. `asked` is a name from outside the file.
///
/// # Errors
/// [`Error::Network`] where nothing fits, where several do, or where the name and the tensors disagree.
pub(crate) fn recognize(file: &ModelFile, asked: Option<&str>) -> Result<(String, Architecture), Error> {
    let stated = file.metadata().network.as_deref();
    if let (Some(asked), Some(stated)) = (asked, stated)
        && asked != stated
    {
        return Err(error(file, format!("network {asked} was asked for, but the file's metadata says {stated}"), &[]));
    }
    let family = family(file)?;
    let variants = variants(file, family);
    let name = match (asked.or(stated), variants.as_slice()) {
        (Some(name), _) => {
            check_name(file, family, &variants, name)?;
            name
        }
        (None, [one]) => one,
        (None, several) => {
            let why = "its tensors fit more than one network: name one with --network or the metadata key \"network\"";
            return Err(error(file, why.into(), several));
        }
    };
    let architecture = match family {
        "mobilenet_v2" => Architecture::MobileNetV2,
        "mobilenet_v3" if name == "mobilenet_v3_small" => Architecture::MobileNetV3(Size::Small),
        "mobilenet_v3" => Architecture::MobileNetV3(Size::Large),
        "resnet" => Architecture::ResNet,
        _ => Architecture::ShuffleNetV2,
    };
    Ok((name.into(), architecture))
}

/// The one family whose marker tensor the file has.
fn family(file: &ModelFile) -> Result<&'static str, Error> {
    let found: Vec<&str> = MARKERS.iter().filter(|(_, tensor)| file.has(tensor)).map(|(family, _)| *family).collect();
    if let [family] = found.as_slice() {
        if *family == "resnet" && file.has("layer1.0.conv3.weight") {
            let why =
                "it is a ResNet with bottleneck blocks (resnet50 and larger), which is not supported: supported are";
            return Err(error(file, why.into(), &NETWORKS));
        }
        return Ok(family);
    }
    if !found.is_empty() {
        let why = "its tensors belong to more than one network: save each state_dict to a file of its own";
        return Err(error(file, why.into(), &found));
    }
    for prefix in ["module.", "model.", "state_dict.", "_orig_mod."] {
        if MARKERS.iter().any(|(_, tensor)| file.has(&format!("{prefix}{tensor}"))) {
            let why =
                format!("all of its tensor names begin with {prefix:?}: save the state_dict of the network itself");
            return Err(error(file, why, &[]));
        }
    }
    Err(error(file, "its tensors are not those of a supported network: supported are".into(), &NETWORKS))
}

/// Names that fit the tensors, within a family; never empty.
fn variants(file: &ModelFile, family: &str) -> Vec<&'static str> {
    match family {
        "mobilenet_v2" => vec!["mobilenet_v2"],
        "mobilenet_v3" => match file.count(1, |i| format!("features.{i}.block.")) {
            n if n == Size::Large.blocks() => vec!["mobilenet_v3_large"],
            n if n == Size::Small.blocks() => vec!["mobilenet_v3_small"],
            _ => vec!["mobilenet_v3_large", "mobilenet_v3_small"],
        },
        "resnet" => match resnet::layers(file) {
            [2, 2, 2, 2] => vec!["resnet18"],
            [3, 4, 6, 3] => vec!["resnet34"],
            _ => vec!["resnet"],
        },
        _ => {
            let widths = shufflenet_widths(file);
            let named = SHUFFLENET_WIDTHS.iter().find(|(_, w)| widths == Some(*w));
            vec![named.map_or("shufflenet_v2", |(name, _)| name)]
        }
    }
}

/// Output channels as in [`SHUFFLENET_WIDTHS`], where the depths are torchvision's.
fn shufflenet_widths(file: &ModelFile) -> Option<[usize; 5]> {
    let out = |name: &str| file.shape(name).and_then(|s| s.first().copied());
    let stage = |i: usize| out(&format!("stage{i}.0.branch1.2.weight")).map(|c| c.saturating_mul(2));
    let widths = [out("conv1.0.weight")?, stage(2)?, stage(3)?, stage(4)?, out("conv5.0.weight")?];
    (shufflenet_v2::repeats(file) == [4, 8, 4]).then_some(widths)
}

/// A stated name must be of the family, and not another variant's than the tensors show.
fn check_name(file: &ModelFile, family: &str, variants: &[&str], name: &str) -> Result<(), Error> {
    if !NETWORKS.contains(&name) {
        return Err(error(file, format!("network {} is not supported: supported are", quoted(name)), &NETWORKS));
    }
    let exact = matches!(variants, [one] if *one != family || family == "mobilenet_v2");
    // A MobileNetV3 of a table's depth may still follow the other table's settings, where the arguments give them.
    let settings = file.metadata().arguments.contains_key("inverted_residual_setting");
    if !name.starts_with(family) || (exact && !settings && name != family && !variants.contains(&name)) {
        let why =
            format!("it is named {name}, but its tensors are those of {}: correct the name", variants.join(" or "));
        return Err(error(file, why, &[]));
    }
    Ok(())
}

fn error(file: &ModelFile, why: String, candidates: &[&str]) -> Error {
    Error::Network { file: file.label().into(), why, candidates: candidates.iter().map(|c| (*c).to_string()).collect() }
}
