//! The Huffman code of header strings (RFC 7541, section 5.2 and appendix B), read byte by byte, as the bytes come.
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, and each length begins where
//! the one before ended. So its lengths are all there is to it, and the tables are made from them at compile time.
//! Absent: encoding.

/// Bits of the code of each symbol.
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];

/// The bytes, and EOS.
const SYMBOLS: usize = 257;
const EOS: u16 = 256;
const LONGEST: usize = 30;
const SHORTEST: u8 = 5;

/// The codes of one length.
#[derive(Clone, Copy)]
struct Row {
    /// The first code behind them, with the bits behind it as zeros in 32; 0: there are none of this length.
    end: u64,
    /// The first of them.
    first: u32,
    /// Where the symbol of `first` is in `Tables::symbols`.
    at: u16,
}

struct Tables {
    rows: [Row; LONGEST + 1],
    /// By code.
    symbols: [u16; SYMBOLS],
    /// The symbol (low byte) and length (high byte) of what begins with these eight bits; 0: a longer code.
    short: [u16; 256],
}

static TABLES: Tables = tables();

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "evaluated at compile time")]
const fn tables() -> Tables {
    let mut tables =
        Tables { rows: [Row { end: 0, first: 0, at: 0 }; LONGEST + 1], symbols: [0; SYMBOLS], short: [0; 256] };
    let (mut length, mut code, mut at) = (1, 0_u32, 0_usize);
    while length <= LONGEST {
        code <<= 1;
        tables.rows[length].first = code;
        tables.rows[length].at = at as u16;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                tables.symbols[at] = symbol as u16;
                let mut tail = 0;
                while length <= 8 && tail < 1 << (8 - length) {
                    tables.short[((code as usize) << (8 - length)) + tail] = (length as u16) << 8 | symbol as u16;
                    tail += 1;
                }
                code += 1;
                at += 1;
            }
            symbol += 1;
        }
        if code > tables.rows[length].first {
            tables.rows[length].end = (code as u64) << (32 - length);
        }
        length += 1;
    }
    assert!(code == 1 << LONGEST, "the code is complete");
    tables
}

/// Not a string in this code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Invalid;

/// Bits of a string that are no symbol yet.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Decoder {
    bits: u64,
    len: u8,
}

impl Decoder {
    /// Decodes what `bytes` complete, and hands each symbol over.
    pub(super) fn bytes(&mut self, bytes: &[u8], mut symbol: impl FnMut(u8)) -> Result<(), Invalid> {
        for &byte in bytes {
            self.bits = self.bits << 8 | u64::from(byte);
            self.len += 8;
            while self.len >= SHORTEST
                && let Some((found, len)) = next(self.bits, self.len)
            {
                if found == EOS {
                    return Err(Invalid);
                }
                symbol(found.to_le_bytes()[0]);
                self.len -= len;
            }
        }
        Ok(())
    }

    /// The string has ended: what is left is padding, less than a byte of ones.
    pub(super) fn end(self) -> Result<(), Invalid> {
        let ones = (1_u64 << self.len.min(8)) - 1;
        if self.len < 8 && self.bits & ones == ones { Ok(()) } else { Err(Invalid) }
    }
}

/// The symbol that the last `len` of `bits` begin with, and its length. `None`: it has more bits.
fn next(bits: u64, len: u8) -> Option<(u16, u8)> {
    let window = bits.checked_shl(64 - u32::from(len))? >> 32;
    let short = usize::try_from(window >> 24).ok().and_then(|at| TABLES.short.get(at)).copied().unwrap_or(0);
    let [symbol, short_len] = short.to_le_bytes();
    if short_len > 0 {
        return (short_len <= len).then_some((u16::from(symbol), short_len));
    }
    let rows = TABLES.rows.iter().zip(0_u8..).skip(9);
    let (row, length) = rows.take_while(|(_, length)| *length <= len).find(|(row, _)| window < row.end)?;
    let code = u32::try_from(window >> (32 - u32::from(length))).ok()?;
    let at = usize::from(row.at) + usize::try_from(code.checked_sub(row.first)?).ok()?;
    Some((*TABLES.symbols.get(at)?, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Vec<u8>, Invalid> {
        let mut out = Vec::new();
        let mut decoder = Decoder::default();
        for byte in bytes {
            decoder.bytes(&[*byte], |symbol| out.push(symbol))?;
        }
        decoder.end()?;
        Ok(out)
    }

    /// By the lengths alone, the other way.
    fn encode(text: &[u8]) -> Vec<u8> {
        let (mut bits, mut out) = (String::new(), Vec::new());
        for byte in text {
            let len = LENGTHS[usize::from(*byte)];
            let at = TABLES.symbols.iter().position(|symbol| *symbol == u16::from(*byte)).unwrap();
            let row = TABLES.rows[usize::from(len)];
            let code = row.first + (at - usize::from(row.at)) as u32;
            bits += &format!("{code:0width$b}", width = usize::from(len));
        }
        while bits.len() % 8 != 0 {
            bits.push('1');
        }
        for byte in bits.as_bytes().chunks(8) {
            out.push(u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap());
        }
        out
    }

    #[test]
    fn reads_the_examples_of_the_specification() {
        // Appendix C.4.1 and C.6.1.
        let host = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decode(&host).unwrap(), b"www.example.com");
        assert_eq!(decode(&[0x64, 0x02]).unwrap(), b"302");
    }

    #[test]
    fn reads_every_byte_alone_and_together() {
        for byte in 0..=255 {
            assert_eq!(decode(&encode(&[byte])), Ok(vec![byte]), "{byte}");
        }
        let all: Vec<u8> = (0..=255).rev().collect();
        assert_eq!(decode(&encode(&all)), Ok(all));
    }

    #[test]
    fn refuses_eos_and_padding_that_is_none() {
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff]), Err(Invalid), "EOS");
        assert_eq!(decode(&[0x64, 0x02, 0xff]), Err(Invalid), "eight bits of padding");
        assert_eq!(decode(&[0x00, 0x00]), Err(Invalid), "padding of zeros");
    }
}
