//! What a JPEG file's headers say, and the planes that its scans fill.

use super::bits::Huffman;
use crate::Cause;

/// One component (Y, Cb, Cr, K, ...) of a frame.
#[derive(Debug, Clone)]
pub struct Component {
    /// Identifier that scans refer to.
    pub id: u8,
    /// Horizontal sampling factor, 1 to 4.
    pub h: usize,
    /// Vertical sampling factor, 1 to 4.
    pub v: usize,
    /// Which quantization table, 0 to 3.
    pub table: usize,
    /// Samples a row that belong to the picture.
    pub width: usize,
    /// Rows of samples that belong to the picture.
    pub height: usize,
}

/// A frame header (SOF0, SOF1 or SOF2).
#[derive(Debug, Clone)]
pub struct Frame {
    pub progressive: bool,
    /// Picture size in pixels.
    pub width: usize,
    pub height: usize,
    /// 1, 3 or 4 of them.
    pub components: Vec<Component>,
    /// Largest sampling factors.
    pub h_max: usize,
    pub v_max: usize,
    /// Minimum coded units (8 * h_max by 8 * v_max pixels) a row and a column.
    pub mcus_x: usize,
    pub mcus_y: usize,
}

impl Frame {
    /// Reads a frame header's contents.
    ///
    /// # Errors
    /// A header that breaks the rules, or asks for what is not implemented, or for more pixels than `max_pixels`.
    pub fn parse(segment: &[u8], progressive: bool, max_pixels: usize) -> Result<Self, Cause> {
        let (&[precision, h1, h0, w1, w0, count], rest) =
            segment.split_first_chunk::<6>().ok_or_else(|| Cause::corrupt("the frame header is too short"))?;
        let (width, height) = (usize::from(u16::from_be_bytes([w1, w0])), usize::from(u16::from_be_bytes([h1, h0])));
        if precision != 8 {
            return Err(Cause::Unsupported(format!("a JPEG with {precision} bits a sample is not supported")));
        }
        if width == 0 || height == 0 {
            return Err(Cause::corrupt(format!("the frame header says {width}x{height} pixels")));
        }
        if width.saturating_mul(height) > max_pixels {
            return Err(Cause::TooLarge { width, height, limit: max_pixels });
        }
        if !matches!(count, 1 | 3 | 4) {
            return Err(Cause::Unsupported(format!("a JPEG with {count} components is not supported")));
        }
        if rest.len() < usize::from(count) * 3 {
            return Err(Cause::corrupt("the frame header is too short"));
        }
        let specs = || rest.chunks_exact(3).take(count.into());
        let factors = |c: &[u8]| (usize::from(c[1] >> 4), usize::from(c[1] & 15));
        if specs().any(|c| !(1..=4).contains(&factors(c).0) || !(1..=4).contains(&factors(c).1) || c[2] > 3) {
            return Err(Cause::corrupt("the frame header's sampling factors or table numbers are out of range"));
        }
        let h_max = specs().map(|c| factors(c).0).max().unwrap_or(1);
        let v_max = specs().map(|c| factors(c).1).max().unwrap_or(1);
        let component = |c: &[u8]| {
            let (h, v) = factors(c);
            let (width, height) = ((width * h).div_ceil(h_max), (height * v).div_ceil(v_max));
            Component { id: c[0], h, v, table: c[2].into(), width, height }
        };
        let components: Vec<Component> = specs().map(component).collect();
        if components.iter().any(|c| h_max % c.h != 0 || v_max % c.v != 0) {
            return Err(Cause::Unsupported("a JPEG with fractional sampling ratios is not supported".into()));
        }
        let (mcus_x, mcus_y) = (width.div_ceil(8 * h_max), height.div_ceil(8 * v_max));
        Ok(Self { progressive, width, height, components, h_max, v_max, mcus_x, mcus_y })
    }

    /// Empty planes for the components.
    pub fn planes(&self) -> Vec<Plane> {
        let plane = |c: &Component| {
            let (blocks_x, blocks_y) = (self.mcus_x * c.h, self.mcus_y * c.v);
            Plane {
                blocks_x,
                blocks_y,
                stride: blocks_x * 8,
                samples: vec![0; blocks_x * blocks_y * 64],
                coefficients: if self.progressive { vec![0; blocks_x * blocks_y * 64] } else { Vec::new() },
                quant: None,
                missing_bits: [-1; 64],
            }
        };
        self.components.iter().map(plane).collect()
    }
}

/// One component's samples, padded to whole MCUs.
pub struct Plane {
    /// Blocks of 8 by 8 samples a row and a column, padding included.
    pub blocks_x: usize,
    pub blocks_y: usize,
    /// Samples a row.
    pub stride: usize,
    pub samples: Vec<u8>,
    /// Progressive files: 64 coefficients a block, in natural order, blocks row by row.
    pub coefficients: Vec<i16>,
    /// The quantization table as it was at the component's first scan (natural order).
    pub quant: Option<[u16; 64]>,
    /// Progressive files, in zigzag order: low bits of each coefficient that no scan has brought; -1 for all of them.
    pub missing_bits: [i8; 64],
}

/// Tables that apply to the scans to come.
#[derive(Default)]
pub struct Tables {
    /// Quantization tables, in natural order.
    pub quant: [Option<[u16; 64]>; 4],
    pub dc: [Option<Huffman>; 4],
    pub ac: [Option<Huffman>; 4],
    /// MCUs between restart markers; 0 for none.
    pub restart_interval: usize,
}

/// Where the zigzag order's entries lie in natural (row by row) order: T.81 figure A.6.
pub const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

impl Tables {
    /// Reads the contents of a DQT segment.
    ///
    /// # Errors
    /// [`Cause::Corrupt`]; likewise the method below.
    pub fn quantization(&mut self, mut segment: &[u8]) -> Result<(), Cause> {
        while let Some((&head, rest)) = segment.split_first() {
            let (wide, slot) = (head >> 4 != 0, usize::from(head & 15));
            let bytes = if wide { 128 } else { 64 };
            if slot > 3 || rest.len() < bytes {
                return Err(Cause::corrupt("a quantization table is out of range or too short"));
            }
            let mut table = [0u16; 64];
            for (k, &natural) in ZIGZAG.iter().enumerate() {
                table[usize::from(natural)] =
                    if wide { u16::from_be_bytes([rest[2 * k], rest[2 * k + 1]]) } else { rest[k].into() };
            }
            self.quant[slot] = Some(table);
            segment = &rest[bytes..];
        }
        Ok(())
    }

    /// Reads the contents of a DHT segment.
    pub fn huffman(&mut self, mut segment: &[u8]) -> Result<(), Cause> {
        let short = || Cause::corrupt("a Huffman table is out of range or too short");
        while let Some((&head, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or_else(short)?;
            let total: usize = counts.iter().map(|&c| usize::from(c)).sum();
            let symbols = rest.get(..total).filter(|_| total <= 256).ok_or_else(short)?;
            let table = Huffman::new(counts, symbols)?;
            let slot = usize::from(head & 15);
            match head >> 4 {
                // A DC symbol is a number of bits: of 8-bit samples at most 11, in any file at most 15.
                0 if slot < 4 && table.max_symbol() <= 15 => self.dc[slot] = Some(table),
                1 if slot < 4 => self.ac[slot] = Some(table),
                _ => return Err(short()),
            }
            segment = &rest[total..];
        }
        Ok(())
    }
}
