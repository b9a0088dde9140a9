//! Single int8 ops against PyTorch 2.5.1: every output byte equal, on every instruction set of this machine.
//! golden/ops.bin is made by tools/golden_ops.py, which says how it is laid out.

use std::collections::{BTreeMap, HashMap};

use quantlens_kernels as kernels;
use quantlens_kernels::{AddU8, AlignedBuf, Conv2d, ConvU8, Isa, MulU8, Numerics, Pool2d, QParams, Requantize, Team};

/// One op with its arrays, as bytes.
struct Case<'a> {
    line: &'a str,
    op: &'a str,
    keys: HashMap<&'a str, &'a str>,
    arrays: HashMap<&'a str, &'a [u8]>,
}

impl<'a> Case<'a> {
    /// Takes the first case off `data`.
    fn read(data: &mut &'a [u8]) -> Self {
        let end = data.iter().position(|&byte| byte == b'\n').expect("a line");
        let (line, mut rest) = data.split_at(end);
        let line = std::str::from_utf8(line).expect("text");
        rest = &rest[1..];
        let mut case = Self { line, op: "", keys: HashMap::new(), arrays: HashMap::new() };
        for word in line.split(' ') {
            if let Some((key, value)) = word.split_once('=') {
                case.keys.insert(key, value);
            } else if let [name, kind, count] = word.split(':').collect::<Vec<_>>()[..] {
                let count: usize = count.parse().expect("a count");
                let (array, after) = rest.split_at(if kind == "f32" { count * 4 } else { count });
                case.arrays.insert(name, array);
                rest = after;
            } else {
                case.op = word;
            }
        }
        *data = rest;
        case
    }

    fn bytes(&self, name: &str) -> &'a [u8] {
        self.arrays[name]
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let quads = self.arrays[name].chunks_exact(4);
        quads.map(|quad| f32::from_le_bytes(quad.try_into().expect("4 bytes"))).collect()
    }

    fn number(&self, key: &str) -> usize {
        self.keys[key].parse().expect("a number")
    }

    fn shape(&self) -> Vec<usize> {
        self.keys["shape"].split(',').map(|word| word.parse().expect("a number")).collect()
    }

    /// Scale `s{letter}` and zero point `z{letter}`.
    fn quant(&self, letter: &str) -> QParams {
        let bits = u32::from_str_radix(self.keys[format!("s{letter}").as_str()], 16).expect("bits of a scale");
        let zero_point = self.number(&format!("z{letter}"));
        QParams { scale: f32::from_bits(bits), zero_point: zero_point as u8 }
    }

    fn numerics(&self) -> Numerics {
        if self.keys["engine"] == "fbgemm" { Numerics::Fbgemm } else { Numerics::Qnnpack }
    }

    /// Compares with the array `name`.
    fn check(&self, name: &str, found: &[u8]) {
        let expected = self.bytes(name);
        assert_eq!(found.len(), expected.len(), "{}", self.line);
        let differ: Vec<usize> = (0..found.len()).filter(|&index| found[index] != expected[index]).collect();
        if let Some(&first) = differ.first() {
            let (count, of, e, f) = (differ.len(), found.len(), expected[first], found[first]);
            panic!("{}\n{name}: {count} of {of} differ, first at {first}: expected {e}, found {f}", self.line);
        }
    }

    fn run(&self) {
        let mut out = vec![0; self.arrays.get("y").map_or(0, |y| y.len())];
        match self.op {
            "conv" => return self.run_conv(),
            "average" => return self.run_average(),
            "quantize" => return self.run_quantize(),
            "maxpool" | "avgpool" => self.run_pool(&mut out),
            "add" => {
                let relu = self.number("relu") == 1;
                let add = AddU8::new(self.numerics(), self.quant("a"), self.quant("b"), self.quant("o"), relu);
                add.expect("valid scales").run(self.bytes("a"), self.bytes("b"), &mut out);
            }
            "mul" => {
                let mul = MulU8::new(self.quant("a"), self.quant("b"), self.quant("o"));
                let channels = self.number("channels");
                mul.expect("valid scales").run(self.bytes("a"), self.bytes("b"), &mut out, channels);
            }
            "cat" => {
                let lut = |letter| kernels::lut_requantize(self.quant(letter), self.quant("o"));
                let (a, b) = (lut("a"), lut("b"));
                let inputs =
                    [(self.bytes("a"), self.number("ca"), Some(&a)), (self.bytes("b"), self.number("cb"), Some(&b))];
                kernels::concat_channels(&inputs, &mut out, self.number("pixels"));
            }
            "hardswish" => {
                let lut = kernels::lut_hardswish(self.numerics(), self.quant("x"), self.quant("o"));
                kernels::apply_lut(&lut, self.bytes("x"), &mut out);
            }
            "hardsigmoid" => {
                let lut = kernels::lut_hardsigmoid(self.numerics(), self.quant("x"));
                kernels::apply_lut(&lut, self.bytes("x"), &mut out);
            }
            other => panic!("unknown op {other}"),
        }
        self.check("y", &out);
    }

    fn run_conv(&self) {
        let [in_c, out_c, k, stride, padding, groups, in_h, in_w] = self.shape()[..] else { panic!("{}", self.line) };
        let (kernel, stride, padding) = ([k, k], [stride, stride], [padding, padding]);
        let conv = Conv2d { in_h, in_w, in_c, out_c, kernel, stride, padding, groups };
        let weights: Vec<i8> = self.bytes("w").iter().map(|&w| w as i8).collect();
        let (scales, bias, sums) = (self.floats("sw"), self.floats("bias"), conv.weight_sums(&weights));
        let (x, relu) = (self.quant("x"), self.number("relu") == 1);
        let requantize = Requantize::new(self.numerics(), x, &scales, &bias, &sums, self.quant("o"), relu);
        let requantize = requantize.expect("valid scales");
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            let packed = ConvU8::new(isa, &conv, &weights, x.zero_point, requantize.clone()).expect("a valid case");
            let mut scratch = AlignedBuf::<u8>::new(packed.scratch_bytes());
            let mut out = vec![0; conv.out_len()];
            packed.run(self.bytes("x"), &mut out, &mut scratch, &Team::new(1));
            self.check("y", &out);
        }
    }

    fn run_pool(&self, out: &mut [u8]) {
        let [in_h, in_w, channels, k, stride, padding] = self.shape()[..] else { panic!("{}", self.line) };
        let (kernel, stride, padding) = ([k, k], [stride, stride], [padding, padding]);
        let pool = Pool2d { in_h, in_w, channels, kernel, stride, padding };
        pool.check().expect("a valid geometry");
        if self.op == "maxpool" {
            kernels::max_pool_u8(&pool, self.bytes("x"), out);
        } else {
            kernels::avg_pool_u8(self.numerics(), &pool, self.quant("x"), self.bytes("x"), out);
        }
    }

    fn run_average(&self) {
        let (numerics, x, channels) = (self.numerics(), self.quant("x"), self.number("channels"));
        let mut out = vec![0; channels];
        kernels::mean_u8(numerics, x, self.bytes("x"), channels, &mut out);
        self.check("mean", &out);
        kernels::global_avg_pool_u8(numerics, x, self.bytes("x"), channels, &mut out);
        self.check("global", &out);
    }

    fn run_quantize(&self) {
        let (x, q) = (self.floats("x"), self.quant("x"));
        let mut out = vec![0; x.len()];
        kernels::quantize_u8(&x, q, &mut out);
        self.check("y", &out);
        let mut back = vec![0.0; x.len()];
        kernels::dequantize_f32(&out, q, &mut back);
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(&self.floats("d")), "{}", self.line);
    }
}

#[test]
fn ops_equal_pytorch() {
    let mut data = include_bytes!("golden/ops.bin").as_slice();
    let mut counts = BTreeMap::new();
    let mut failures = Vec::new();
    while !data.is_empty() {
        let case = Case::read(&mut data);
        *counts.entry(case.op).or_insert(0) += 1;
        // Every case is run, so that one failure does not hide which others there are.
        if let Err(failure) = std::panic::catch_unwind(|| case.run()) {
            failures.push(failure.downcast_ref::<String>().cloned().unwrap_or_else(|| case.line.into()));
        }
    }
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
    let ops = ["add", "average", "avgpool", "cat", "conv", "hardsigmoid", "hardswish", "maxpool", "mul", "quantize"];
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), ops);
    assert!(counts.values().sum::<usize>() >= 190, "{counts:?}");
}
