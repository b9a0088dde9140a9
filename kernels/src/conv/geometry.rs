//! Sizes of a convolution.

use crate::Error;

/// Products that fit a sum: with K of them, `K * 255 * 128` is at most `i32::MAX`.
const MAX_TERMS: usize = 65_793;

/// Largest size, stride or count: small enough that sums of a few never overflow.
pub(crate) const MAX_NUMBER: usize = 1 << 24;

/// Most elements of a tensor.
pub(crate) const MAX_ELEMENTS: usize = 1 << 31;

/// Geometry of a 2-d convolution of one image, NHWC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Input height.
    pub in_h: usize,
    /// Input width.
    pub in_w: usize,
    /// Input channels, of all groups together.
    pub in_c: usize,
    /// Output channels, of all groups together.
    pub out_c: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Strides, vertical and horizontal.
    pub stride: [usize; 2],
    /// Padding on each side, vertical and horizontal; real zeros (the input's zero point in int8).
    pub padding: [usize; 2],
    /// Groups; equal to both channel counts for depthwise.
    pub groups: usize,
}

impl Conv2d {
    /// A fully connected layer, as the 1x1 convolution of a 1x1 map.
    pub fn linear(in_features: usize, out_features: usize) -> Self {
        Self {
            in_h: 1,
            in_w: 1,
            in_c: in_features,
            out_c: out_features,
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0, 0],
            groups: 1,
        }
    }

    /// Output height. Valid after [`Conv2d::check`].
    pub fn out_h(&self) -> usize {
        (self.in_h + 2 * self.padding[0] - self.kernel[0]) / self.stride[0] + 1
    }

    /// Output width. Valid after [`Conv2d::check`].
    pub fn out_w(&self) -> usize {
        (self.in_w + 2 * self.padding[1] - self.kernel[1]) / self.stride[1] + 1
    }

    /// Elements of the input.
    pub fn in_len(&self) -> usize {
        self.in_h * self.in_w * self.in_c
    }

    /// Elements of the output.
    pub fn out_len(&self) -> usize {
        self.out_h() * self.out_w() * self.out_c
    }

    /// Input channels of one group.
    pub fn group_in(&self) -> usize {
        self.in_c / self.groups
    }

    /// Output channels of one group.
    pub fn group_out(&self) -> usize {
        self.out_c / self.groups
    }

    /// Products in one output: `in_c / groups * kernel_h * kernel_w`.
    pub fn terms(&self) -> usize {
        self.group_in() * self.kernel[0] * self.kernel[1]
    }

    /// Elements of the weights, OIHW.
    pub fn weight_len(&self) -> usize {
        self.out_c * self.terms()
    }

    /// Multiply-adds, padded taps included.
    pub fn macs(&self) -> u64 {
        (self.out_h() * self.out_w()) as u64 * self.weight_len() as u64
    }

    /// Whether each output channel reads one input channel of its own.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.in_c && self.groups == self.out_c
    }

    /// Sum of each output channel's weights (OIHW); they fit i32 after [`Conv2d::check`].
    pub fn weight_sums(&self, weights_oihw: &[i8]) -> Vec<i32> {
        weights_oihw.chunks(self.terms().max(1)).map(|w| w.iter().map(|&w| i32::from(w)).sum()).collect()
    }

    /// Checks that the numbers fit together and that no exact int8 sum can leave i32.
    ///
    /// # Errors
    /// [`Error::Geometry`], with the numbers.
    pub fn check(&self) -> Result<(), Error> {
        let Self { in_h, in_w, in_c, out_c, kernel, stride, padding, groups } = *self;
        let fail = |why: &str| {
            Err(Error::Geometry(format!(
                "convolution of {in_h}x{in_w}x{in_c} to {out_c} channels, kernel {kernel:?}, stride {stride:?}, \
                 padding {padding:?}, {groups} groups: {why}"
            )))
        };
        let numbers = [in_h, in_w, in_c, out_c, kernel[0], kernel[1], stride[0], stride[1], groups];
        if numbers.contains(&0) {
            return fail("only padding may be 0");
        }
        if numbers.iter().chain(&padding).any(|&number| number > MAX_NUMBER) {
            return fail("a number is above 2^24");
        }
        if in_c % groups != 0 || out_c % groups != 0 {
            return fail("groups must divide both channel counts");
        }
        if kernel[0] > in_h + 2 * padding[0] || kernel[1] > in_w + 2 * padding[1] {
            return fail("the kernel is larger than the padded input");
        }
        if padding[0] >= kernel[0] || padding[1] >= kernel[1] {
            return fail("padding must be smaller than the kernel");
        }
        let product = |factors: &[usize]| {
            let product = factors.iter().try_fold(1_usize, |product, &factor| product.checked_mul(factor));
            product.filter(|&product| product <= MAX_ELEMENTS)
        };
        let input = product(&[in_h + 2 * padding[0], in_w + 2 * padding[1], in_c]);
        let terms = product(&[in_c / groups, kernel[0], kernel[1]]);
        let (Some(_), Some(terms)) = (input, terms) else { return fail("it does not fit memory") };
        if terms > MAX_TERMS {
            return fail(&format!("{terms} products in a sum could leave i32 in int8; the most is {MAX_TERMS}"));
        }
        match (product(&[self.out_h(), self.out_w(), out_c]), product(&[terms, out_c])) {
            (Some(_), Some(_)) => Ok(()),
            _ => fail("it does not fit memory"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conv() -> Conv2d {
        Conv2d { kernel: [3, 3], stride: [2, 2], padding: [1, 1], in_h: 7, in_w: 8, ..Conv2d::linear(4, 6) }
    }

    #[test]
    fn sizes() {
        let conv = conv();
        assert_eq!((conv.out_h(), conv.out_w(), conv.weight_len()), (4, 4, 216));
        assert_eq!(conv.macs(), 4 * 4 * 216);
        assert!(conv.check().is_ok());
        assert_eq!(Conv2d::linear(2, 2).weight_sums(&[1, -2, 127, 127]), [-1, 254]);
    }

    #[test]
    fn what_cannot_be_computed_is_refused() {
        let cases = [
            Conv2d { groups: 4, ..conv() },
            Conv2d { groups: 0, ..conv() },
            Conv2d { stride: [0, 1], ..conv() },
            Conv2d { kernel: [10, 3], ..conv() },
            Conv2d { padding: [3, 1], ..conv() },
            Conv2d { padding: [usize::MAX, 1], ..conv() },
            Conv2d { in_h: usize::MAX, ..conv() },
            Conv2d { in_h: 1 << 30, in_w: 1 << 30, ..conv() },
            Conv2d { kernel: [usize::MAX, 3], ..conv() },
            Conv2d::linear(65_794, 1),
        ];
        for case in cases {
            assert!(case.check().is_err(), "{case:?}");
        }
        assert!(Conv2d::linear(65_793, 1).check().is_ok());
    }
}
