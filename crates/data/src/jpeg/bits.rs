//! Huffman tables and the bit reader of entropy-coded segments (ITU-T T.81, annexes C and F.2).

use crate::Cause;

/// Codes up to this long are decoded with one table look-up.
const FAST_BITS: u32 = 9;

/// A Huffman table, ready to decode.
#[derive(Clone)]
pub struct Huffman {
    /// `length << 8 | symbol` of the code that starts with these bits; 0 where the code is longer.
    fast: [u16; 1 << FAST_BITS],
    /// For each length, one more than the largest code, shifted left to 16 bits; 0 for a length without codes.
    end: [u32; 17],
    /// For each length, what to add to a code to get its symbol's index.
    offset: [i32; 17],
    symbols: Vec<u8>,
}

impl Huffman {
    /// A table with `counts[i]` codes of `i + 1` bits for `symbols`, in order (T.81 C.2).
    ///
    /// # Errors
    /// [`Cause::Corrupt`] where there are more codes than bits allow.
    pub fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Self, Cause> {
        let mut table = Self { fast: [0; 1 << FAST_BITS], end: [0; 17], offset: [0; 17], symbols: symbols.to_vec() };
        let (mut code, mut index) = (0u32, 0usize);
        for length in 1..=16u32 {
            let count = usize::from(counts[length as usize - 1]);
            table.offset[length as usize] = index as i32 - code as i32;
            for &symbol in symbols.get(index..index + count).unwrap_or(&[]) {
                if code >= 1 << length {
                    return Err(Cause::corrupt("a Huffman table has too many codes"));
                }
                if length <= FAST_BITS {
                    let shift = FAST_BITS - length;
                    let first = (code << shift) as usize;
                    table.fast[first..first + (1 << shift)].fill((length as u16) << 8 | u16::from(symbol));
                }
                code += 1;
            }
            index += count;
            if count > 0 {
                table.end[length as usize] = code << (16 - length);
            }
            code <<= 1;
        }
        Ok(table)
    }

    /// Largest symbol.
    pub fn max_symbol(&self) -> u8 {
        self.symbols.iter().copied().max().unwrap_or(0)
    }
}

/// Reads bits of one entropy-coded segment; stops at the first marker, after which it gives zeros and counts them.
pub struct Bits<'a> {
    data: &'a [u8],
    /// Next byte to read; at a marker's 0xFF once `at_marker`.
    pos: usize,
    /// The next bits, in the low `count` bits.
    buffer: u64,
    count: u32,
    /// How many of the bits in the buffer are made up because the data ended.
    padding: u32,
    at_marker: bool,
}

impl<'a> Bits<'a> {
    /// A reader of `data` from `pos`.
    pub fn new(data: &'a [u8], pos: usize) -> Self {
        Self { data, pos, buffer: 0, count: 0, padding: 0, at_marker: false }
    }

    /// Where the segment's marker is, once decoding is done.
    pub fn position(&self) -> usize {
        self.pos
    }

    /// Puts more than 48 bits in the buffer.
    #[inline(always)]
    fn fill(&mut self) {
        if !self.at_marker
            && let Some(next) = self.data.get(self.pos..).and_then(|d| d.first_chunk::<8>())
        {
            let word = u64::from_be_bytes(*next);
            // No byte is 0xFF: the test for a zero byte, on the complement.
            if (!word).wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080 == 0 {
                let bytes = (64 - self.count) / 8;
                let bits = bytes * 8;
                self.buffer = if bits == 64 { word } else { self.buffer << bits | word >> (64 - bits) };
                self.count += bits;
                self.pos += bytes as usize;
                return;
            }
        }
        self.fill_slowly();
    }

    #[cold]
    fn fill_slowly(&mut self) {
        while self.count <= 56 {
            let byte = if self.at_marker { None } else { self.next_byte() };
            self.padding += if byte.is_none() { 8 } else { 0 };
            self.buffer = self.buffer << 8 | u64::from(byte.unwrap_or(0));
            self.count += 8;
        }
    }

    /// The next byte of data, a stuffed zero removed; `None` at a marker or at the end.
    fn next_byte(&mut self) -> Option<u8> {
        let byte = self.data.get(self.pos).copied();
        if byte != Some(0xFF) {
            self.at_marker = byte.is_none();
            self.pos += usize::from(byte.is_some());
            return byte;
        }
        // Any number of 0xFF may come before the byte that says what they are (T.81 B.1.1.2).
        let after = self.data[self.pos..].iter().position(|&b| b != 0xFF);
        match after.map(|n| (n, self.data[self.pos + n])) {
            Some((n, 0)) => {
                self.pos += n + 1;
                Some(0xFF)
            }
            _ => {
                self.at_marker = true;
                None
            }
        }
    }

    /// Decodes one symbol. At least 32 further bits are in the buffer afterwards.
    ///
    /// # Errors
    /// [`Cause::Corrupt`] for bits that are no code of the table.
    #[inline(always)]
    pub fn symbol(&mut self, table: &Huffman) -> Result<u8, Cause> {
        if self.count < 48 {
            self.fill();
        }
        let next = (self.buffer >> (self.count - 16)) as u32 & 0xFFFF;
        let entry = table.fast[(next >> (16 - FAST_BITS)) as usize];
        if entry != 0 {
            self.count -= u32::from(entry >> 8);
            return Ok(entry as u8);
        }
        for length in FAST_BITS as usize + 1..=16 {
            if next < table.end[length] {
                let index = (next >> (16 - length)) as i32 + table.offset[length];
                let symbol = usize::try_from(index).ok().and_then(|i| table.symbols.get(i));
                self.count -= length as u32;
                return symbol.copied().ok_or_else(|| Cause::corrupt("invalid Huffman code"));
            }
        }
        Err(self.ended().err().unwrap_or_else(|| Cause::corrupt("invalid Huffman code")))
    }

    /// The next `n` bits (up to 16) as a number.
    #[inline(always)]
    pub fn take(&mut self, n: u32) -> i32 {
        if self.count < n {
            self.fill();
        }
        self.count -= n;
        (self.buffer >> self.count) as i32 & ((1 << n) - 1)
    }

    /// The next `n` bits (up to 16) as a signed number, as differences and coefficients are coded (T.81 F.2.2.1).
    #[inline(always)]
    pub fn signed(&mut self, n: u32) -> i32 {
        if n == 0 {
            return 0;
        }
        let value = self.take(n);
        if value < 1 << (n - 1) { value - (1 << n) + 1 } else { value }
    }

    /// Whether everything read so far was really there.
    ///
    /// # Errors
    /// [`Cause::Truncated`] where the file ended, [`Cause::Corrupt`] where a marker came early.
    #[inline(always)]
    pub fn ended(&self) -> Result<(), Cause> {
        if self.padding <= self.count { Ok(()) } else { Err(self.early_end()) }
    }

    #[cold]
    fn early_end(&self) -> Cause {
        match self.data.get(self.pos..).and_then(|d| d.iter().find(|&&b| b != 0xFF)) {
            Some(marker) => Cause::corrupt(format!("the picture's data ends early, at marker 0xFF{marker:02X}")),
            None => Cause::Truncated("the file ends inside the picture's data".into()),
        }
    }

    /// Goes on behind restart marker number `expected` (0 to 7).
    ///
    /// # Errors
    /// Where the next marker is another one, or the file ends.
    pub fn restart(&mut self, expected: u8) -> Result<(), Cause> {
        let mut pos = self.pos;
        let found = loop {
            match self.data.get(pos..).and_then(|d| d.first_chunk::<2>()) {
                Some([0xFF, 0 | 0xFF]) => pos += 1,
                Some([0xFF, marker]) => break *marker,
                Some(_) => pos += 1,
                None => return Err(Cause::Truncated("the file ends inside the picture's data".into())),
            }
        };
        if found != 0xD0 + expected {
            return Err(Cause::corrupt(format!("expected restart marker {expected}, found marker 0xFF{found:02X}")));
        }
        *self = Self::new(self.data, pos + 2);
        Ok(())
    }
}
