//! Deletion and insertion (RISE, Petsiuk et al. 2018): how the probability of a class falls while the pixels that a map
//! calls important are taken away, and how it rises while they are put onto a baseline.
//!
//! A [`Walk`] changes the input in place, from one image to another, only the pixels of the step; [`Perturbation`]
//! scores both walks of a map.
//!
//! ```
//! use quantlens_tensor::{Layout, Tensor};
//! use quantlens_xai::{Baseline, Known, Normalization, Perturbation, pixel_order};
//!
//! let image = Tensor::new((0..48).map(|i| i as f32).collect::<Vec<_>>(), [1, 3, 4, 4], Layout::Nchw)?;
//! let normalization = Normalization { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
//! let delete_to = Baseline::DatasetMean.image(&image, &normalization, "cat.jpg")?;
//! let insert_on = Baseline::Blur.image(&image, &normalization, "cat.jpg")?;
//! let order = pixel_order(&[0.5; 16]);
//! let perturbation = Perturbation::new(&image, &delete_to, &insert_on, &order)?;
//! // A network's softmax probability stands here; this "network" is the share of brightness left.
//! let sum = |t: &Tensor| Ok::<_, quantlens_xai::Error>(t.as_f32()?.iter().sum::<f32>() / 1128.0);
//! let found = perturbation.curves(Known::default(), sum)?;
//! assert_eq!((found.forwards, found.deletion.scores[0], found.deletion.scores[100]), (201, 1.0, 0.0));
//! # Ok::<(), quantlens_xai::Error>(())
//! ```

mod baseline;
mod curve;

pub use baseline::{Baseline, Normalization, gaussian_blur};
pub use curve::{Curve, CurveBand};

use std::ops::RangeInclusive;
use std::sync::Arc;

use quantlens_kernels::{Blend, Element};
use quantlens_tensor::{DType, Layout, Tensor};

use crate::Error;

/// Steps of a walk: 1 % of the pixels each, as in the paper.
pub const STEPS: usize = 100;
const _: () = assert!(STEPS <= u8::MAX as usize, "a pixel's step is a byte");

/// Steps at once from which on vectors over the whole image are faster than the pixels one by one (224x224, Zen 4).
const AT_ONCE_U8: usize = 5;
const AT_ONCE_F32: usize = 10;

/// Pixels (row-major indices) by falling value of the map; equal values in row-major order, NaN last.
///
/// Give it the f32 map, not the grey one: 256 grey values leave most of the order to the sort.
pub fn pixel_order(map: &[f32]) -> Vec<u32> {
    // One integer a pixel: the value, turned so that larger floats are smaller integers, then the index.
    let key = |(i, &x): (usize, &f32)| {
        // + 0 makes the negative zero equal to the other.
        let bits = (x + 0.0).to_bits();
        let rising = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
        let falling = if x.is_nan() { u32::MAX } else { !rising };
        u64::from(falling) << 32 | i as u64
    };
    let mut keys: Vec<u64> = map.iter().enumerate().map(key).collect();
    keys.sort_unstable();
    keys.into_iter().map(|k| k as u32).collect()
}

/// Pixels of `pixels` that differ from the first image after `step` of [`STEPS`] steps: round(step * pixels / 100),
/// halves to the even number as Python's `round` (no 224x224 step is a half).
pub fn changed_pixels(step: usize, pixels: usize) -> usize {
    let (whole, rest) = (step * pixels / STEPS, step * pixels % STEPS);
    match (2 * rest).cmp(&STEPS) {
        std::cmp::Ordering::Less => whole,
        std::cmp::Ordering::Greater => whole + 1,
        std::cmp::Ordering::Equal => whole + whole % 2,
    }
}

/// An input on its way from one image to another: step k shows the first [`changed_pixels`] pixels of the order as they
/// are in the second. One copy is made at the start; each step touches the pixels that change, and many steps at once are one pass
/// over the image.
///
/// Inputs are f32 or u8 activations of one image, NCHW or NHWC. For an int8 network quantize both images
/// ([`Tensor::quantize`]) and walk between those: quantization is by element, so the input is the same as if a float one were blended first.
#[derive(Debug, Clone)]
pub struct Walk<'a> {
    from: &'a Tensor,
    to: &'a Tensor,
    order: &'a [u32],
    /// The step that shows each pixel as it is in the second image.
    steps: Arc<[u8]>,
    current: Tensor,
    step: usize,
}

impl<'a> Walk<'a> {
    /// Begins at `from`, step 0.
    ///
    /// # Errors
    /// [`Error::Shape`] for other than one image, [`Error::Pair`] where the two differ in type, shape, layout or
    /// quantization, [`Error::Length`] or [`Error::Order`] where `order` is not one of the image's pixels.
    pub fn new(from: &'a Tensor, to: &'a Tensor, order: &'a [u32]) -> Result<Self, Error> {
        check_pair(from, to)?;
        let steps = pixel_steps(from, order)?;
        Ok(Self::begin(from, to, order, steps))
    }

    /// Of a pair and an order that are checked.
    fn begin(from: &'a Tensor, to: &'a Tensor, order: &'a [u32], steps: Arc<[u8]>) -> Self {
        Self { from, to, order, steps, current: from.clone(), step: 0 }
    }

    /// The input after [`Walk::seek`].
    pub fn input(&self) -> &Tensor {
        &self.current
    }

    /// The step that the input is at.
    pub fn step(&self) -> usize {
        self.step
    }

    /// The input at a step (0 to [`STEPS`]; a larger one counts as the last), reached from the present one by changing
    /// the pixels between the two, forwards or back.
    pub fn seek(&mut self, step: usize) -> &Tensor {
        let step = step.min(STEPS);
        let (source, [low, high]) =
            if step >= self.step { (self.to, [self.step, step]) } else { (self.from, [step, self.step]) };
        let at_once = if source.dtype() == DType::F32 { AT_ONCE_F32 } else { AT_ONCE_U8 };
        if high - low >= at_once && Blend::default().has_vectors(run_of(source)) {
            copy_steps(source, &mut self.current, &self.steps, [low, high]);
        } else {
            let [now, then] = [low, high].map(|step| changed_pixels(step, self.order.len()));
            copy_pixels(source, &mut self.current, &self.order[now..then]);
        }
        self.step = step;
        &self.current
    }
}

/// Scores that are known already, so that they need no forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Known {
    /// The score of the image itself, the deletion's start and the insertion's end.
    pub image: Option<f32>,
    /// The deletion's end: the score of its baseline. Where [`Baseline::is_constant`] it is the same for every image of
    /// a network (and class).
    pub delete_to: Option<f32>,
    /// The insertion's start: the score of its baseline.
    pub insert_on: Option<f32>,
}

/// Both curves of a map.
#[derive(Debug, Clone, PartialEq)]
pub struct DeletionInsertion {
    /// From the image to the deletion's baseline: the lower its area, the better the map found what matters.
    pub deletion: Curve,
    /// From the insertion's baseline to the image: the higher its area, the better.
    pub insertion: Curve,
    /// Forward passes that were made.
    pub forwards: usize,
}

/// A map's deletion and insertion on one image.
#[derive(Debug, Clone)]
pub struct Perturbation<'a> {
    image: &'a Tensor,
    delete_to: &'a Tensor,
    insert_on: &'a Tensor,
    order: &'a [u32],
    steps: Arc<[u8]>,
}

impl<'a> Perturbation<'a> {
    /// For an image, the two baselines (pass the same tensor twice where they are one) and the pixels by importance.
    ///
    /// # Errors
    /// As [`Walk::new`].
    pub fn new(
        image: &'a Tensor,
        delete_to: &'a Tensor,
        insert_on: &'a Tensor,
        order: &'a [u32],
    ) -> Result<Self, Error> {
        check_pair(image, delete_to)?;
        check_pair(image, insert_on)?;
        let steps = pixel_steps(image, order)?;
        Ok(Self { image, delete_to, insert_on, order, steps })
    }

    /// The walk that deletes.
    pub fn deletion(&self) -> Walk<'a> {
        Walk::begin(self.image, self.delete_to, self.order, self.steps.clone())
    }

    /// The walk that inserts.
    pub fn insertion(&self) -> Walk<'a> {
        Walk::begin(self.insert_on, self.image, self.order, self.steps.clone())
    }

    /// Scores every step of both walks, and each distinct end point once: at most 201 forward passes, 198 where all
    /// ends are known. `score` is the softmax probability, 0 to 1, of the class in question.
    ///
    /// # Errors
    /// What `score` returns.
    pub fn curves<E>(
        &self,
        known: Known,
        mut score: impl FnMut(&Tensor) -> Result<f32, E>,
    ) -> Result<DeletionInsertion, E> {
        let mut forwards = 0;
        let mut score = |input: &Tensor| {
            forwards += 1;
            score(input)
        };
        let image = known.image.map_or_else(|| score(self.image), Ok)?;
        let one_baseline = std::ptr::eq(self.delete_to, self.insert_on);
        let shared = |other: Option<f32>| other.filter(|_| one_baseline);
        let blank = known.delete_to.or(shared(known.insert_on)).map_or_else(|| score(self.delete_to), Ok)?;
        let base = known.insert_on.or(shared(Some(blank))).map_or_else(|| score(self.insert_on), Ok)?;
        let deletion = between(self.deletion(), [image, blank], &mut score)?;
        let insertion = between(self.insertion(), [base, image], &mut score)?;
        Ok(DeletionInsertion { deletion, insertion, forwards })
    }
}

/// The curve of a walk whose ends are known.
fn between<E>(
    mut walk: Walk,
    [first, last]: [f32; 2],
    score: &mut impl FnMut(&Tensor) -> Result<f32, E>,
) -> Result<Curve, E> {
    let mut scores = Vec::with_capacity(STEPS + 1);
    scores.push(first);
    for step in 1..STEPS {
        scores.push(score(walk.seek(step))?);
    }
    scores.push(last);
    Ok(Curve { scores })
}

/// That both are one image of equal make.
fn check_pair(a: &Tensor, b: &Tensor) -> Result<(), Error> {
    a.chw()?;
    if a.shape().dims()[0] != 1 || a.shape().elements() == 0 {
        return Err(Error::Shape { found: a.shape().to_string() });
    }
    if !matches!(a.dtype(), DType::F32 | DType::U8) {
        return Err(quantlens_tensor::Error::DType { expected: DType::F32, found: a.dtype() }.into());
    }
    let same = a.dtype() == b.dtype() && a.shape() == b.shape() && a.layout() == b.layout() && a.quant() == b.quant();
    let make = |t: &Tensor| format!("{} {} {}", t.dtype(), t.shape(), t.layout());
    if same { Ok(()) } else { Err(Error::Pair { expected: make(a), found: make(b) }) }
}

/// The step that changes each pixel, 1 to [`STEPS`], of an order that has every pixel of the image once.
fn pixel_steps(image: &Tensor, order: &[u32]) -> Result<Arc<[u8]>, Error> {
    let [_, h, w] = image.chw()?;
    let pixels = h * w;
    if order.len() != pixels {
        return Err(Error::Length { what: "order of pixels", expected: pixels, found: order.len() });
    }
    let mut steps = vec![0; pixels];
    for step in 1..=STEPS {
        for &pixel in &order[changed_pixels(step - 1, pixels)..changed_pixels(step, pixels)] {
            match steps.get_mut(pixel as usize) {
                Some(seen) if *seen == 0 => *seen = step as u8,
                _ => return Err(Error::Order { pixel, pixels }),
            }
        }
    }
    Ok(steps.into())
}

/// Elements of a pixel side by side: its channels, or one of each plane.
fn run_of(image: &Tensor) -> usize {
    if image.layout() == Layout::Nhwc { image.chw().map_or(1, |[channels, ..]| channels) } else { 1 }
}

/// Copies the pixels that change between two steps, by passes over the image or its planes. Both tensors are of equal make (`check_pair`).
fn copy_steps(source: &Tensor, target: &mut Tensor, steps: &[u8], [low, high]: [usize; 2]) {
    fn copy<T: Element>(source: &[T], target: &mut [T], steps: &[u8], range: RangeInclusive<u8>, run: usize) {
        let part = steps.len() * run;
        for (source, target) in source.chunks_exact(part).zip(target.chunks_exact_mut(part)) {
            Blend::default().copy_steps(steps, range.clone(), run, source, target);
        }
    }
    let (range, run) = (low as u8 + 1..=high as u8, run_of(source));
    if let (Ok(from), Ok(to)) = (source.as_f32(), target.as_f32_mut()) {
        copy(from, to, steps, range, run);
    } else if let (Ok(from), Ok(to)) = (source.as_u8(), target.as_u8_mut()) {
        copy(from, to, steps, range, run);
    }
}

/// Copies these pixels, all channels of each. Both tensors are of equal make (`check_pair`).
fn copy_pixels(source: &Tensor, target: &mut Tensor, pixels: &[u32]) {
    let Ok([channels, h, w]) = source.chw() else { return };
    let nhwc = source.layout() == Layout::Nhwc;
    if let (Ok(from), Ok(to)) = (source.as_f32(), target.as_f32_mut()) {
        copy(from, to, pixels, channels, h * w, nhwc);
    } else if let (Ok(from), Ok(to)) = (source.as_u8(), target.as_u8_mut()) {
        copy(from, to, pixels, channels, h * w, nhwc);
    }
}

fn copy<T: Copy>(from: &[T], to: &mut [T], pixels: &[u32], channels: usize, positions: usize, nhwc: bool) {
    if nhwc && channels == 3 {
        // Of a known length, so three moves and no call.
        let (from, to) = (from.as_chunks::<3>().0, to.as_chunks_mut::<3>().0);
        pixels.iter().for_each(|&pixel| to[pixel as usize] = from[pixel as usize]);
        return;
    }
    if nhwc {
        for &pixel in pixels {
            let at = pixel as usize * channels;
            to[at..at + channels].copy_from_slice(&from[at..at + channels]);
        }
        return;
    }
    for (from, to) in from.chunks_exact(positions).zip(to.chunks_exact_mut(positions)) {
        for &pixel in pixels {
            to[pixel as usize] = from[pixel as usize];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(values: impl IntoIterator<Item = u8>, layout: Layout) -> Tensor {
        let values: Vec<u8> = values.into_iter().collect();
        let shape = if layout == Layout::Nchw { [1, 3, 5, 4] } else { [1, 5, 4, 3] };
        Tensor::new(values, shape, layout).unwrap()
    }

    #[test]
    fn order_is_falling_and_stable() {
        assert_eq!(pixel_order(&[0.5, 1.0, -0.0, 1.0, f32::NAN, 0.0, -2.0, 0.5]), [1, 3, 0, 7, 2, 5, 6, 4]);
        assert_eq!(pixel_order(&[0.25; 5]), [0, 1, 2, 3, 4]);
        assert_eq!(pixel_order(&[f32::NEG_INFINITY, -1e-40, f32::INFINITY, 1e-40]), [2, 3, 1, 0]);
    }

    #[test]
    fn steps_change_rounded_shares() {
        assert_eq!([0, 1, 50, 99, 100].map(|k| changed_pixels(k, 224 * 224)), [0, 502, 25088, 49674, 50176]);
        // Halves: 0.5, 1.5, 2.5 of 50 pixels go to 0, 2, 2.
        assert_eq!([1, 3, 5].map(|k| changed_pixels(k, 50)), [0, 2, 2]);
        assert!((0..100).all(|k| changed_pixels(k, 7) <= changed_pixels(k + 1, 7)));
    }

    #[test]
    fn walks_go_both_ways_in_every_layout() {
        let map: Vec<f32> = (0..20u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 16) as f32).collect();
        let order = pixel_order(&map);
        for layout in [Layout::Nchw, Layout::Nhwc] {
            let (a, b) = (image(0..60, layout), image(100..160, layout));
            let mut walk = Walk::new(&a, &b, &order).unwrap();
            for step in [0, 33, 7, 100, 250, 50, 0] {
                let now = walk.seek(step).to_layout(Layout::Nhwc).unwrap();
                let changed = &order[..changed_pixels(step.min(100), 20)];
                let (from, to) = (a.to_layout(Layout::Nhwc).unwrap(), b.to_layout(Layout::Nhwc).unwrap());
                for pixel in 0..20 {
                    let source = if changed.contains(&(pixel as u32)) { &to } else { &from };
                    let at = 3 * pixel..3 * pixel + 3;
                    assert_eq!(now.as_u8().unwrap()[at.clone()], source.as_u8().unwrap()[at], "{layout} {step}");
                }
            }
        }
    }

    #[test]
    fn many_steps_at_once_are_as_one_by_one() {
        let map: Vec<f32> = (0..37 * 41u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32).collect();
        let order = pixel_order(&map);
        for (shape, layout) in
            [([1, 3, 37, 41], Layout::Nchw), ([1, 37, 41, 3], Layout::Nhwc), ([1, 37, 41, 2], Layout::Nhwc)]
        {
            let len = shape.iter().product::<usize>();
            let bytes = |seed: usize| (0..len).map(|i| (i * 7 + seed) as u8).collect::<Vec<_>>();
            let float = |seed| bytes(seed).into_iter().map(f32::from).collect::<Vec<_>>();
            let images = [
                [1, 100].map(|seed| Tensor::new(bytes(seed), shape, layout).unwrap()),
                [1, 100].map(|seed| Tensor::new(float(seed), shape, layout).unwrap()),
            ];
            for [a, b] in &images {
                let mut slow = Walk::new(a, b, &order).unwrap();
                let all: Vec<_> = (0..=STEPS).map(|step| slow.seek(step).clone()).collect();
                let mut fast = slow.clone();
                for step in [0, 100, 95, 4, 14, 15, 60, 49, 0] {
                    assert_eq!(fast.seek(step), &all[step], "{} {layout} step {step}", a.dtype());
                }
            }
        }
    }

    #[test]
    fn other_numbers_of_channels_are_copied_whole() {
        let make = |from: u8| Tensor::new((from..from + 40).collect::<Vec<u8>>(), [1, 5, 4, 2], Layout::Nhwc).unwrap();
        let (a, b, order) = (make(0), make(100), pixel_order(&[0.0; 20]));
        let mut walk = Walk::new(&a, &b, &order).unwrap();
        let expected: Vec<u8> = (100..120).chain(20..40).collect();
        assert_eq!(walk.seek(50).as_u8().unwrap(), expected);
    }

    #[test]
    fn ends_are_scored_once() {
        let (a, b, c) = (image(0..60, Layout::Nhwc), image(100..160, Layout::Nhwc), image(50..110, Layout::Nhwc));
        let order = pixel_order(&[0.0; 20]);
        let score = |t: &Tensor| Ok::<_, Error>(t.as_u8()?.iter().map(|&x| f32::from(x)).sum::<f32>());
        let forwards = |insert_on, known| {
            let p = Perturbation::new(&a, &b, insert_on, &order).unwrap();
            let found = p.curves(known, score).unwrap();
            assert_eq!((found.deletion.scores.len(), found.insertion.scores.len()), (101, 101));
            assert_eq!(found.deletion.scores[0], found.insertion.scores[100]);
            assert_eq!(found.deletion.scores[0], score(&a).unwrap());
            found.forwards
        };
        assert_eq!(forwards(&c, Known::default()), 201);
        assert_eq!(forwards(&b, Known::default()), 200);
        let sum = score(&a).unwrap();
        assert_eq!(forwards(&c, Known { image: Some(sum), delete_to: Some(0.0), insert_on: Some(1.0) }), 198);
        assert_eq!(forwards(&b, Known { image: Some(sum), insert_on: Some(1.0), delete_to: None }), 198);
        let failing = Perturbation::new(&a, &b, &c, &order).unwrap().curves(Known::default(), |_| Err("no"));
        assert_eq!(failing, Err("no"));
    }

    #[test]
    fn unequal_images_and_bad_orders_are_refused() {
        let (a, b) = (image(0..60, Layout::Nhwc), image(100..160, Layout::Nchw));
        let order = pixel_order(&[0.0; 20]);
        assert!(matches!(Walk::new(&a, &b, &order), Err(Error::Pair { .. })));
        assert!(matches!(Walk::new(&a, &a, &order[1..]), Err(Error::Length { .. })));
        assert_eq!(Walk::new(&a, &a, &[3; 20]).unwrap_err(), Error::Order { pixel: 3, pixels: 20 });
        assert_eq!(Walk::new(&a, &a, &[20; 20]).unwrap_err(), Error::Order { pixel: 20, pixels: 20 });
        let vector = Tensor::new(vec![0f32; 3], [3], Layout::RowMajor).unwrap();
        assert!(matches!(Walk::new(&vector, &vector, &[]), Err(Error::Tensor(_))));
    }
}
