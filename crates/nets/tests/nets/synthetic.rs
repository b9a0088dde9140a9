//! Model files with made-up weights: torchvision's names and shapes, written down from the papers' tables.

use std::collections::{BTreeMap, HashMap};

use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// A model file under construction; tensors can be changed before it is written.
#[derive(Clone, Default)]
pub struct Synthetic {
    pub int8: bool,
    pub tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    pub metadata: HashMap<String, String>,
}

/// torchvision's rounding of widths to multiples of 8.
fn divisible(width: f64) -> usize {
    let rounded = ((width + 4.0) as usize / 8 * 8).max(8);
    if (rounded as f64) < 0.9 * width { rounded + 8 } else { rounded }
}

impl Synthetic {
    pub fn new(int8: bool, numerics: &str) -> Self {
        let mut file = Self { int8, ..Self::default() };
        if int8 {
            file.metadata.insert("format_version".into(), "1".into());
            file.metadata.insert("numerics".into(), numerics.into());
            file.quant("quant");
        }
        file
    }

    pub fn f32(&mut self, name: &str, shape: &[usize], value: f32) {
        let count = shape.iter().product();
        let bytes = std::iter::repeat_n(value.to_le_bytes(), count).flatten().collect();
        self.tensors.insert(name.into(), (Dtype::F32, shape.to_vec(), bytes));
    }

    pub fn i32(&mut self, name: &str, shape: &[usize], value: i32) {
        let count = shape.iter().product();
        let bytes = std::iter::repeat_n(value.to_le_bytes(), count).flatten().collect();
        self.tensors.insert(name.into(), (Dtype::I32, shape.to_vec(), bytes));
    }

    pub fn i8(&mut self, name: &str, shape: &[usize]) {
        self.tensors.insert(name.into(), (Dtype::I8, shape.to_vec(), vec![1; shape.iter().product()]));
    }

    pub fn remove(&mut self, name: &str) {
        assert!(self.tensors.remove(name).is_some(), "{name}");
    }

    pub fn bytes(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(n, (d, s, b))| (n.as_str(), TensorView::new(*d, s.clone(), b).unwrap()));
        safetensors::serialize(views, Some(self.metadata.clone())).unwrap()
    }

    /// Scale and zero point of an int8 activation.
    pub fn quant(&mut self, path: &str) {
        if self.int8 {
            self.f32(&format!("{path}.scale"), &[1], 0.05);
            self.i32(&format!("{path}.zero_point"), &[1], 3);
        }
    }

    pub fn conv(&mut self, conv: &str, norm: &str, shape: [usize; 4]) {
        self.layer(conv, &shape, !self.int8 && !norm.is_empty());
        if !self.int8 && !norm.is_empty() {
            for (name, value) in [("weight", 2.0), ("bias", 0.5), ("running_mean", 0.25), ("running_var", 4.0)] {
                self.f32(&format!("{norm}.{name}"), &shape[..1], value);
            }
            let batches = (Dtype::I64, Vec::new(), vec![0; 8]);
            self.tensors.insert(format!("{norm}.num_batches_tracked"), batches);
        }
    }

    pub fn linear(&mut self, path: &str, outputs: usize, inputs: usize) {
        self.layer(path, &[outputs, inputs], false);
    }

    fn layer(&mut self, path: &str, shape: &[usize], norm_follows: bool) {
        if self.int8 {
            self.i8(&format!("{path}.weight"), shape);
            self.f32(&format!("{path}.weight_scale"), &[1], 0.01);
            self.quant(path);
        } else {
            self.f32(&format!("{path}.weight"), shape, 0.125);
        }
        if !norm_follows {
            self.f32(&format!("{path}.bias"), &shape[..1], 0.5);
        }
    }
}

/// Rows [t, c, n, s] of the MobileNetV2 paper's table 2.
pub const MOBILENET_V2: [[usize; 4]; 7] =
    [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]];

pub fn mobilenet_v2(int8: bool, width: f64, rows: &[[usize; 4]], classes: usize) -> Synthetic {
    let mut file = Synthetic::new(int8, "qnnpack");
    let mut inputs = divisible(32.0 * width);
    file.conv("features.0.0", "features.0.1", [inputs, 3, 3, 3]);
    let mut i = 0;
    for &[t, c, n, s] in rows {
        for block in 0..n {
            i += 1;
            let (path, hidden, outputs) = (format!("features.{i}.conv"), t * inputs, divisible(c as f64 * width));
            let mut next = 0;
            if t != 1 {
                file.conv(&format!("{path}.0.0"), &format!("{path}.0.1"), [hidden, inputs, 1, 1]);
                next = 1;
            }
            file.conv(&format!("{path}.{next}.0"), &format!("{path}.{next}.1"), [hidden, 1, 3, 3]);
            let projection = [outputs, hidden, 1, 1];
            file.conv(&format!("{path}.{}", next + 1), &format!("{path}.{}", next + 2), projection);
            if inputs == outputs && (s == 1 || block > 0) {
                file.quant(&format!("features.{i}.skip_add"));
            }
            inputs = outputs;
        }
    }
    let last = divisible(1280.0 * width.max(1.0));
    file.conv(&format!("features.{}.0", i + 1), &format!("features.{}.1", i + 1), [last, inputs, 1, 1]);
    file.linear("classifier.1", classes, last);
    file
}

/// A row of the MobileNetV3 paper's tables: kernel, expanded, output, squeeze-and-excitation, hardswish, stride.
type V3Row = (usize, usize, usize, bool, bool, usize);

pub const MOBILENET_V3_LARGE: [V3Row; 15] = [
    (3, 16, 16, false, false, 1),
    (3, 64, 24, false, false, 2),
    (3, 72, 24, false, false, 1),
    (5, 72, 40, true, false, 2),
    (5, 120, 40, true, false, 1),
    (5, 120, 40, true, false, 1),
    (3, 240, 80, false, true, 2),
    (3, 200, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 480, 112, true, true, 1),
    (3, 672, 112, true, true, 1),
    (5, 672, 160, true, true, 2),
    (5, 960, 160, true, true, 1),
    (5, 960, 160, true, true, 1),
];

pub const MOBILENET_V3_SMALL: [V3Row; 11] = [
    (3, 16, 16, true, false, 2),
    (3, 72, 24, false, false, 2),
    (3, 88, 24, false, false, 1),
    (5, 96, 40, true, true, 2),
    (5, 240, 40, true, true, 1),
    (5, 240, 40, true, true, 1),
    (5, 120, 48, true, true, 1),
    (5, 144, 48, true, true, 1),
    (5, 288, 96, true, true, 2),
    (5, 576, 96, true, true, 1),
    (5, 576, 96, true, true, 1),
];

pub fn mobilenet_v3(int8: bool, rows: &[V3Row], last: usize, classes: usize) -> Synthetic {
    let mut file = Synthetic::new(int8, "qnnpack");
    let mut inputs = 16;
    let norm = |file: &mut Synthetic, path: &str, shape: [usize; 4]| {
        file.conv(&format!("{path}.0"), &format!("{path}.1"), shape);
    };
    norm(&mut file, "features.0", [inputs, 3, 3, 3]);
    file.quant("features.0.2");
    for (i, &(kernel, expanded, outputs, se, hardswish, stride)) in (1..).zip(rows) {
        let path = format!("features.{i}.block");
        let mut next = 0;
        if expanded != inputs {
            norm(&mut file, &format!("{path}.0"), [expanded, inputs, 1, 1]);
            next = 1;
        }
        norm(&mut file, &format!("{path}.{next}"), [expanded, 1, kernel, kernel]);
        if hardswish {
            (0..=next).for_each(|n| file.quant(&format!("{path}.{n}.2")));
        }
        if se {
            next += 1;
            let (module, squeeze) = (format!("{path}.{next}"), divisible((expanded / 4) as f64));
            file.conv(&format!("{module}.fc1"), "", [squeeze, expanded, 1, 1]);
            file.conv(&format!("{module}.fc2"), "", [expanded, squeeze, 1, 1]);
            file.quant(&format!("{module}.skip_mul"));
        }
        norm(&mut file, &format!("{path}.{}", next + 1), [outputs, expanded, 1, 1]);
        if stride == 1 && inputs == outputs {
            file.quant(&format!("features.{i}.skip_add"));
        }
        inputs = outputs;
    }
    let end = rows.len() + 1;
    norm(&mut file, &format!("features.{end}"), [6 * inputs, inputs, 1, 1]);
    file.quant(&format!("features.{end}.2"));
    file.linear("classifier.0", last, 6 * inputs);
    file.quant("classifier.1");
    file.linear("classifier.3", classes, last);
    file
}

pub fn resnet(int8: bool, width: usize, layers: [usize; 4], classes: usize) -> Synthetic {
    let mut file = Synthetic::new(int8, "fbgemm");
    file.conv("conv1", "bn1", [width, 3, 7, 7]);
    let mut inputs = width;
    for (layer, blocks) in (1..).zip(layers) {
        let outputs = width << (layer - 1);
        for block in 0..blocks {
            let path = format!("layer{layer}.{block}");
            file.conv(&format!("{path}.conv1"), &format!("{path}.bn1"), [outputs, inputs, 3, 3]);
            file.conv(&format!("{path}.conv2"), &format!("{path}.bn2"), [outputs, outputs, 3, 3]);
            if inputs != outputs {
                let down = format!("{path}.downsample");
                file.conv(&format!("{down}.0"), &format!("{down}.1"), [outputs, inputs, 1, 1]);
            }
            file.quant(&format!("{path}.add_relu"));
            inputs = outputs;
        }
    }
    file.linear("fc", classes, inputs);
    file
}

pub fn shufflenet_v2(int8: bool, widths: [usize; 5], repeats: [usize; 3], classes: usize) -> Synthetic {
    let mut file = Synthetic::new(int8, "fbgemm");
    let mut inputs = widths[0];
    file.conv("conv1.0", "conv1.1", [inputs, 3, 3, 3]);
    for (stage, (blocks, &outputs)) in (2..).zip(repeats.into_iter().zip(&widths[1..])) {
        let half = outputs / 2;
        for block in 0..blocks {
            let path = format!("stage{stage}.{block}");
            let mut conv = |branch: usize, i: usize, shape: [usize; 4]| {
                let branch = format!("{path}.branch{branch}");
                file.conv(&format!("{branch}.{i}"), &format!("{branch}.{}", i + 1), shape);
            };
            if block == 0 {
                conv(1, 0, [inputs, 1, 3, 3]);
                conv(1, 2, [half, inputs, 1, 1]);
            }
            conv(2, 0, [half, if block == 0 { inputs } else { half }, 1, 1]);
            conv(2, 3, [half, 1, 3, 3]);
            conv(2, 5, [half, half, 1, 1]);
            file.quant(&format!("{path}.cat"));
        }
        inputs = outputs;
    }
    file.conv("conv5.0", "conv5.1", [widths[4], inputs, 1, 1]);
    file.linear("fc", classes, widths[4]);
    file
}
