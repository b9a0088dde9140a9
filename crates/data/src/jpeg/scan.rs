//! Decoding of scans: sequential blocks go straight through the inverse DCT, progressive ones collect coefficients
//! (ITU-T T.81, F.2 and G.1).

use super::bits::{Bits, Huffman};
use super::frame::{Frame, Plane, Tables, ZIGZAG};
use super::idct::idct_block;
use crate::Cause;

/// Which part of the coefficients a scan brings.
#[derive(Clone, Copy)]
struct Band {
    /// First and last coefficient, in zigzag order.
    start: usize,
    end: usize,
    /// Whether the coefficients had an earlier scan, of which this one gives the next bit.
    refine: bool,
    /// Low bits left for later scans.
    low: u32,
}

/// One component of a scan.
struct Part<'a> {
    index: usize,
    dc: Option<&'a Huffman>,
    ac: Option<&'a Huffman>,
    /// DC value of the block before.
    predictor: i32,
}

/// Decodes the scan whose header is `header` and whose data starts at `pos`; returns where its data ends.
///
/// # Errors
/// Headers and data that break the rules, data that ends early.
pub fn decode_scan(
    data: &[u8],
    pos: usize,
    header: &[u8],
    frame: &Frame,
    planes: &mut [Plane],
    tables: &Tables,
) -> Result<usize, Cause> {
    let (mut parts, band) = parse_header(header, frame, tables)?;
    for part in &parts {
        let plane = &mut planes[part.index];
        if plane.quant.is_none() {
            let table = tables.quant[frame.components[part.index].table];
            plane.quant = Some(table.ok_or_else(|| Cause::corrupt("a quantization table is missing"))?);
        }
        plane.missing_bits[band.start..=band.end].fill(band.low as i8);
    }
    let interleaved = parts.len() > 1;
    let (units_x, units_y) = match &parts[..] {
        [part] => {
            let component = &frame.components[part.index];
            (component.width.div_ceil(8), component.height.div_ceil(8))
        }
        _ => (frame.mcus_x, frame.mcus_y),
    };
    let mut bits = Bits::new(data, pos);
    let mut end_of_band_run = 0u32;
    let mut until_restart = tables.restart_interval;
    let mut restarts = 0u8;
    for unit in 0..units_x * units_y {
        if tables.restart_interval > 0 {
            if until_restart == 0 {
                bits.restart(restarts % 8)?;
                restarts = restarts.wrapping_add(1);
                parts.iter_mut().for_each(|p| p.predictor = 0);
                (end_of_band_run, until_restart) = (0, tables.restart_interval);
            }
            until_restart -= 1;
        }
        let (ux, uy) = (unit % units_x, unit / units_x);
        for part in &mut parts {
            let component = &frame.components[part.index];
            let (h, v) = if interleaved { (component.h, component.v) } else { (1, 1) };
            let plane = &mut planes[part.index];
            for (dy, dx) in (0..v).flat_map(|y| (0..h).map(move |x| (y, x))) {
                let (bx, by) = (ux * h + dx, uy * v + dy);
                if frame.progressive {
                    let block = (by * plane.blocks_x + bx) * 64;
                    let block = plane.coefficients[block..].first_chunk_mut::<64>();
                    let block = block.ok_or_else(|| Cause::corrupt("a block lies outside the picture"))?;
                    progressive_block(&mut bits, part, band, &mut end_of_band_run, block)?;
                } else {
                    let mut block = [0i16; 64];
                    sequential_block(&mut bits, part, &mut block)?;
                    let first = by * 8 * plane.stride + bx * 8;
                    idct_block(
                        &block,
                        plane.quant.as_ref().unwrap_or(&[0; 64]),
                        &mut plane.samples[first..],
                        plane.stride,
                    );
                }
            }
        }
        bits.ended()?;
    }
    Ok(bits.position())
}

/// Reads a scan header: the components with their tables, and the band of coefficients.
fn parse_header<'a>(header: &[u8], frame: &Frame, tables: &'a Tables) -> Result<(Vec<Part<'a>>, Band), Cause> {
    let bad = || Cause::corrupt("a scan header is wrong");
    let (&count, rest) = header.split_first().ok_or_else(bad)?;
    let count = usize::from(count);
    let (specs, tail) = rest.split_at_checked(count * 2).ok_or_else(bad)?;
    let &[start, end, bits] = tail.first_chunk::<3>().ok_or_else(bad)?;
    let band = if frame.progressive {
        Band { start: start.into(), end: end.into(), refine: bits >> 4 != 0, low: u32::from(bits & 15) }
    } else {
        Band { start: 0, end: 63, refine: false, low: 0 }
    };
    let (high, dc_scan) = (u32::from(bits >> 4), band.start == 0);
    let progressive_ok = band.start <= band.end
        && band.end < 64
        && (if dc_scan { band.end == 0 } else { count == 1 })
        && band.low <= 13
        && (high == 0 || high == band.low + 1);
    if !(1..=frame.components.len()).contains(&count) || (frame.progressive && !progressive_ok) {
        return Err(bad());
    }
    let mut parts: Vec<Part<'a>> = Vec::with_capacity(count);
    for spec in specs.chunks_exact(2) {
        let index = frame.components.iter().position(|c| c.id == spec[0]).ok_or_else(bad)?;
        if parts.iter().any(|p| p.index == index) {
            return Err(bad());
        }
        let dc = tables.dc.get(usize::from(spec[1] >> 4)).and_then(Option::as_ref);
        let ac = tables.ac.get(usize::from(spec[1] & 15)).and_then(Option::as_ref);
        let needs_dc = dc_scan && !band.refine;
        let needs_ac = !frame.progressive || !dc_scan;
        if (needs_dc && dc.is_none()) || (needs_ac && ac.is_none()) {
            return Err(Cause::corrupt("a Huffman table is missing"));
        }
        parts.push(Part { index, dc, ac, predictor: 0 });
    }
    // An MCU holds at most 10 blocks (T.81 B.2.3).
    if count > 1 && parts.iter().map(|p| frame.components[p.index].h * frame.components[p.index].v).sum::<usize>() > 10
    {
        return Err(bad());
    }
    Ok((parts, band))
}

fn missing() -> Cause {
    Cause::corrupt("a Huffman table is missing")
}

/// A block of a sequential scan.
#[inline(always)]
fn sequential_block(bits: &mut Bits<'_>, part: &mut Part<'_>, block: &mut [i16; 64]) -> Result<(), Cause> {
    let (dc, ac) = part.dc.zip(part.ac).ok_or_else(missing)?;
    let size = bits.symbol(dc)?;
    part.predictor = part.predictor.wrapping_add(bits.signed(size.into()));
    block[0] = part.predictor as i16;
    let mut k = 1;
    while k < 64 {
        let symbol = bits.symbol(ac)?;
        let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 {
            if run != 15 {
                break;
            }
            k += 16;
            continue;
        }
        k += run;
        let value = bits.signed(size);
        let natural = ZIGZAG.get(k).ok_or_else(|| Cause::corrupt("a run of coefficients leaves its block"))?;
        block[usize::from(*natural)] = value as i16;
        k += 1;
    }
    Ok(())
}

/// A block of a progressive scan; `run` counts the blocks still covered by an end-of-band code.
fn progressive_block(
    bits: &mut Bits<'_>,
    part: &mut Part<'_>,
    band: Band,
    run: &mut u32,
    block: &mut [i16; 64],
) -> Result<(), Cause> {
    match (band.start, band.refine) {
        (0, false) => {
            let size = bits.symbol(part.dc.ok_or_else(missing)?)?;
            part.predictor = part.predictor.wrapping_add(bits.signed(size.into()));
            block[0] = part.predictor.wrapping_shl(band.low) as i16;
            Ok(())
        }
        (0, true) => {
            block[0] |= (bits.take(1) << band.low) as i16;
            Ok(())
        }
        (_, false) => first_ac(bits, part.ac.ok_or_else(missing)?, band, run, block),
        (_, true) => refine_ac(bits, part.ac.ok_or_else(missing)?, band, run, block),
    }
}

/// First scan of a band (T.81 G.1.2.2).
fn first_ac(bits: &mut Bits<'_>, ac: &Huffman, band: Band, eob: &mut u32, block: &mut [i16; 64]) -> Result<(), Cause> {
    if *eob > 0 {
        *eob -= 1;
        return Ok(());
    }
    let mut k = band.start;
    while k <= band.end {
        let symbol = bits.symbol(ac)?;
        let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 {
            if run < 15 {
                *eob = (1 << run) - 1 + bits.take(run) as u32;
                break;
            }
            k += 16;
            continue;
        }
        k += run as usize;
        let value = bits.signed(size).wrapping_shl(band.low);
        let natural = ZIGZAG.get(k).ok_or_else(|| Cause::corrupt("a run of coefficients leaves its block"))?;
        block[usize::from(*natural)] = value as i16;
        k += 1;
    }
    Ok(())
}

/// A later scan of a band: one more bit of the coefficients known so far, and new ones of this size (T.81 G.1.2.3).
fn refine_ac(bits: &mut Bits<'_>, ac: &Huffman, band: Band, eob: &mut u32, block: &mut [i16; 64]) -> Result<(), Cause> {
    let bit = 1i16 << band.low;
    // A correction bit moves a coefficient away from zero, unless it has been applied already.
    let correct = |bits: &mut Bits<'_>, c: &mut i16| {
        if bits.take(1) != 0 && *c & bit == 0 {
            *c = c.wrapping_add(if *c > 0 { bit } else { -bit });
        }
    };
    let mut k = band.start;
    if *eob == 0 {
        while k <= band.end {
            let symbol = bits.symbol(ac)?;
            let (mut run, size) = (u32::from(symbol >> 4), symbol & 15);
            let mut new = 0;
            match size {
                0 if run < 15 => {
                    *eob = (1 << run) + bits.take(run) as u32;
                    break;
                }
                0 => {}
                1 => new = if bits.take(1) != 0 { bit } else { -bit },
                _ => return Err(Cause::corrupt("a refined coefficient has more than one bit")),
            }
            while k <= band.end {
                let c = &mut block[usize::from(ZIGZAG[k])];
                if *c != 0 {
                    correct(bits, c);
                } else if run == 0 {
                    *c = new;
                    break;
                } else {
                    run -= 1;
                }
                k += 1;
            }
            k += 1;
        }
    }
    if *eob > 0 {
        for &natural in &ZIGZAG[k.min(band.end + 1)..=band.end] {
            let c = &mut block[usize::from(natural)];
            if *c != 0 {
                correct(bits, c);
            }
        }
        *eob -= 1;
    }
    Ok(())
}
