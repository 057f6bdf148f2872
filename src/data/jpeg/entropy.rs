//! The entropy-coded bits of a JPEG file: whether they are all there.
//!
//! Codes are followed and counted, block by block; no coefficient is computed. A scan whose bits end before its last
//! block is cut off, with or without an end marker. Of the coefficients only this is kept: which are not 0 so far, as
//! the bits of later, finer scans depend on it.

use super::frame::{CUT, Component, Frame, Part, Reader, Scan};

/// Codes of up to so many bits are found at once.
const QUICK: u32 = 9;
/// Scans of a file: one is walked through in the time of its blocks, even where it has hardly a bit for them.
const MOST_SCANS: usize = 100;
/// Blocks that a restart or an interleaved unit may have (B.2.3).
const MOST_BLOCKS: usize = 10;

const DAMAGED: &str = "the JPEG data are damaged: a code has no meaning";
const SHORT: &str = "the JPEG file is cut off: its data end before the last block";

/// A Huffman table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Symbol and length by the next [`QUICK`] bits; length 0 where the code is longer.
    quick: Box<[(u8, u8); 1 << QUICK]>,
    /// For each length the code after the last one of it, with zeros to 16 bits, and what to add for its symbol.
    ends: [(u32, i32); 17],
    symbols: Vec<u8>,
}

impl Table {
    /// A table of a segment, and what comes after it.
    pub fn read(segment: &[u8]) -> Result<(Table, &[u8]), String> {
        let wrong = || "the JPEG data are damaged: a Huffman table is none".to_owned();
        let (counts, rest) = segment.split_first_chunk::<16>().ok_or_else(wrong)?;
        let count = counts.iter().map(|count| usize::from(*count)).sum();
        let (symbols, rest) = rest.split_at_checked(count).filter(|_| count <= 256).ok_or_else(wrong)?;
        let (mut quick, mut ends) = (Box::new([(0, 0); 1 << QUICK]), [(0, 0); 17]);
        let (mut code, mut place) = (0_u32, 0);
        for (length, count) in (1_u32..).zip(counts) {
            let first = place as i32 - code as i32;
            for _ in 0..*count {
                if code >> length != 0 {
                    return Err(wrong());
                }
                if length <= QUICK {
                    let free = QUICK - length;
                    let at = (code << free) as usize;
                    quick[at..at + (1 << free)].fill((symbols[place], length as u8));
                }
                (code, place) = (code + 1, place + 1);
            }
            ends[length as usize] = (code << (16 - length), first);
            code <<= 1;
        }
        Ok((Table { quick, ends, symbols: symbols.to_vec() }, rest))
    }
}

/// The bits between two markers.
struct Bits<'a> {
    bytes: &'a [u8],
    /// The next ones, from the highest bit on.
    buffer: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Bits<'a> {
        Bits { bytes, buffer: 0, count: 0 }
    }

    /// Takes bytes in, without the zeros after each `FF`, as long as there are any.
    fn fill(&mut self) {
        if let Some(chunk) = self.bytes.first_chunk::<4>()
            && self.count <= 32
            && !chunk.contains(&0xFF)
        {
            self.buffer |= u64::from(u32::from_be_bytes(*chunk)) << (32 - self.count);
            (self.count, self.bytes) = (self.count + 32, &self.bytes[4..]);
            return;
        }
        while self.count <= 56 {
            let [byte, rest @ ..] = self.bytes else { return };
            self.buffer |= u64::from(*byte) << (56 - self.count);
            (self.count, self.bytes) = (self.count + 8, rest);
            if *byte == 0xFF {
                // Nothing but zeros stands behind these: anything else would have been a marker.
                let after = rest.iter().position(|byte| *byte == 0).map_or(rest.len(), |at| at + 1);
                self.bytes = &rest[after..];
            }
        }
    }

    /// Leaves out at most 32 bits.
    fn skip(&mut self, bits: u32) -> Result<(), String> {
        if self.count < bits {
            self.fill();
        }
        self.count = self.count.checked_sub(bits).ok_or(SHORT)?;
        self.buffer <<= bits;
        Ok(())
    }

    /// Whether there is more than the rest of a byte.
    fn is_left(&self) -> bool {
        self.count >= 8 || !self.bytes.is_empty()
    }

    /// A number of at most 16 bits.
    fn number(&mut self, bits: u32) -> Result<u32, String> {
        if self.count < bits {
            self.fill();
        }
        let number = (self.buffer >> 48) as u32 >> (16 - bits);
        self.skip(bits).map(|()| number)
    }

    /// The next symbol. Missing bits read as 0, and then are too few.
    fn symbol(&mut self, table: &Table) -> Result<u8, String> {
        if self.count < 16 {
            self.fill();
        }
        let (symbol, length) = table.quick[(self.buffer >> (64 - QUICK)) as usize];
        if length > 0 {
            return self.skip(length.into()).map(|()| symbol);
        }
        let next = (self.buffer >> 48) as u32;
        let length = (QUICK + 1..17).find(|length| next < table.ends[*length as usize].0);
        let Some(length) = length else {
            return Err(if self.count < 16 { SHORT } else { DAMAGED }.into());
        };
        let at = (next >> (16 - length)) as i32 + table.ends[length as usize].1;
        self.skip(length)?;
        table.symbols.get(at as usize).copied().ok_or_else(|| DAMAGED.into())
    }
}

/// What has been coded of a component.
struct Coded {
    /// How many bits each coefficient still lacks; none before its first scan.
    left: [Option<u8>; 64],
    /// Blocks of a row, filled up to whole units.
    row: usize,
    /// Of a progressive picture, one bit for each coefficient of a block that is not 0.
    blocks: Vec<u64>,
}

/// Follows all scans; gives the place after the end marker.
pub(super) fn check(reader: &mut Reader<'_>, frame: &Frame) -> Result<usize, String> {
    let [across, down] = units(frame);
    let coded = |component: &Component| {
        let row = across * component.across;
        let blocks = if frame.is_progressive { row * down * component.down } else { 0 };
        Coded { left: [None; 64], row, blocks: vec![0; blocks] }
    };
    let mut coded: Vec<Coded> = frame.components.iter().map(coded).collect();
    let mut scans = 0;
    while let Some(scan) = reader.scan(frame)? {
        scans += 1;
        if scans > MOST_SCANS {
            return Err(format!("the JPEG file has more than {MOST_SCANS} scans"));
        }
        if scans == 1 {
            reader.is_interleaved = scan.parts.len() == frame.components.len();
        }
        note(&scan, frame, &mut coded)?;
        reader.at = Walk::new(reader, frame, &scan)?.run(reader.bytes, reader.at, &mut coded)?;
    }
    match coded.iter().all(|coded| coded.left == [Some(0); 64]) {
        true => Ok(reader.at),
        false => Err(format!("{CUT}: scans are missing")),
    }
}

/// The units of interleaved blocks, across and down.
fn units(frame: &Frame) -> [usize; 2] {
    let [across, down] = frame.most();
    [frame.width.div_ceil(8 * across), frame.height.div_ceil(8 * down)]
}

/// Writes down what a scan brings, if it may come now (G.1.1).
fn note(scan: &Scan, frame: &Frame, coded: &mut [Coded]) -> Result<(), String> {
    let ([first, last], [before, after]) = (scan.band, scan.bits);
    let is_right = !frame.is_progressive
        || first <= last
            && last < 64
            && after < 14
            && (before == 0 || before == after + 1)
            && if first == 0 { last == 0 } else { scan.parts.len() == 1 };
    let wanted = if before == 0 { None } else { Some(before) };
    let (before, after) = if frame.is_progressive { (wanted, after) } else { (None, 0) };
    for part in &scan.parts {
        let left = coded[part.component].left.get_mut(first..=last).filter(|_| is_right);
        let left = left.ok_or("the JPEG data are damaged: a scan has no such coefficients")?;
        if left.iter().any(|left| *left != before) {
            return Err("the JPEG data are damaged: scans follow each other in no order".into());
        }
        left.fill(Some(after));
    }
    Ok(())
}

/// How the bits of a block of a part are read.
#[derive(Clone, Copy)]
enum Coding<'t> {
    /// All coefficients, the first by one table and the others by another.
    Whole(&'t Table, &'t Table),
    /// The first coefficient, or one more bit of it.
    DcFirst(&'t Table),
    DcFiner,
    /// Others of a band, or one more bit of them.
    AcFirst(&'t Table),
    AcFiner(&'t Table),
}

impl<'t> Coding<'t> {
    fn new(reader: &'t Reader<'_>, frame: &Frame, scan: &Scan, part: Part) -> Result<Coding<'t>, String> {
        let missing = || "the JPEG data are damaged: a Huffman table is missing".to_owned();
        let dc = || reader.dc[part.dc].as_ref().ok_or_else(missing);
        let ac = || reader.ac[part.ac].as_ref().ok_or_else(missing);
        Ok(match (frame.is_progressive, scan.band[0], scan.bits[0]) {
            (false, _, _) => Coding::Whole(dc()?, ac()?),
            (true, 0, 0) => Coding::DcFirst(dc()?),
            (true, 0, _) => Coding::DcFiner,
            (true, _, 0) => Coding::AcFirst(ac()?),
            (true, _, _) => Coding::AcFiner(ac()?),
        })
    }
}

/// A way through the blocks of a scan.
struct Walk<'t> {
    codings: Vec<(Part, Coding<'t>)>,
    band: [usize; 2],
    /// Units of the scan, across and down.
    units: [usize; 2],
    /// Blocks of each part in a unit, across and down.
    sizes: Vec<[usize; 2]>,
    /// Units between two restart markers; 0 for none.
    restart: usize,
    /// So many blocks to come bring nothing new (`EOBRUN`).
    ended: u32,
}

impl<'t> Walk<'t> {
    fn new(reader: &'t Reader<'_>, frame: &Frame, scan: &Scan) -> Result<Walk<'t>, String> {
        let coding = |part: &Part| Ok((*part, Coding::new(reader, frame, scan, *part)?));
        let codings = scan.parts.iter().map(coding).collect::<Result<_, String>>()?;
        let (units, sizes) = match *scan.parts {
            [part] => {
                let ([across, down], component) = (frame.most(), frame.components[part.component]);
                let columns = (frame.width * component.across).div_ceil(8 * across);
                let rows = (frame.height * component.down).div_ceil(8 * down);
                ([columns, rows], vec![[1, 1]])
            }
            _ => {
                let size = |part: &Part| frame.components[part.component];
                let sizes = scan.parts.iter().map(size).map(|size| [size.across, size.down]);
                (units(frame), sizes.collect())
            }
        };
        if sizes.iter().map(|[across, down]| across * down).sum::<usize>() > MOST_BLOCKS {
            return Err("the JPEG data are damaged: a unit has more than 10 blocks".into());
        }
        Ok(Walk { codings, band: scan.band, units, sizes, restart: reader.restart, ended: 0 })
    }

    /// Goes through the data from `at` on; gives the place of the marker behind them.
    fn run(mut self, bytes: &[u8], mut at: usize, coded: &mut [Coded]) -> Result<usize, String> {
        let all = self.units[0] * self.units[1];
        let (mut next, mut restarts) = (0, 0);
        loop {
            let end = end_of_data(bytes, at)?;
            let mut bits = Bits::new(&bytes[at..end]);
            let until = if self.restart == 0 { all } else { all.min(next + self.restart) };
            while next < until {
                self.unit(next, &mut bits, coded)?;
                next += 1;
            }
            if next == all {
                return Ok(end);
            }
            let code = end + bytes[end..].iter().take_while(|byte| **byte == 0xFF).count();
            if bits.is_left() || bytes.get(code) != Some(&(0xD0 + restarts % 8)) {
                return Err("the JPEG data are damaged: restart markers are not where they should be".into());
            }
            (at, restarts, self.ended) = (code + 1, (restarts + 1) % 8, 0);
        }
    }

    fn unit(&mut self, index: usize, bits: &mut Bits<'_>, coded: &mut [Coded]) -> Result<(), String> {
        let (x, y) = (index % self.units[0], index / self.units[0]);
        for at in 0..self.codings.len() {
            let ((part, coding), [across, down]) = (self.codings[at], self.sizes[at]);
            if let Coding::Whole(dc, ac) = coding {
                (0..across * down).try_for_each(|_| whole(bits, dc, ac))?;
                continue;
            }
            let coded = &mut coded[part.component];
            for place in 0..across * down {
                let (column, row) = (x * across + place % across, y * down + place / across);
                self.block(bits, coding, &mut coded.blocks[row * coded.row + column])?;
            }
        }
        Ok(())
    }

    /// A block of a progressive picture (G.1.2, G.2).
    fn block(&mut self, bits: &mut Bits<'_>, coding: Coding<'_>, block: &mut u64) -> Result<(), String> {
        match coding {
            Coding::Whole(dc, ac) => whole(bits, dc, ac),
            Coding::DcFirst(table) => {
                let size = bits.symbol(table)?;
                bits.skip(size_of(size)?)
            }
            Coding::DcFiner => bits.skip(1),
            Coding::AcFirst(table) => self.first(bits, table, block),
            Coding::AcFiner(table) => self.finer(bits, table, block),
        }
    }

    fn first(&mut self, bits: &mut Bits<'_>, table: &Table, block: &mut u64) -> Result<(), String> {
        let [mut at, last] = self.band;
        while self.ended == 0 && at <= last {
            let symbol = bits.symbol(table)?;
            let (run, size) = (usize::from(symbol >> 4), symbol & 15);
            match (run, size) {
                (15, 0) => at += 16,
                (_, 0) => self.ended = (1 << run) + bits.number(run as u32)?,
                _ => {
                    at += run + 1;
                    if at > last + 1 {
                        return Err(DAMAGED.into());
                    }
                    *block |= 1 << (at - 1);
                    bits.skip(size.into())?;
                }
            }
        }
        self.ended = self.ended.saturating_sub(1);
        Ok(())
    }

    /// One more bit of each coefficient that is not 0 yet, and new ones that differ from 0 in this bit alone.
    fn finer(&mut self, bits: &mut Bits<'_>, table: &Table, block: &mut u64) -> Result<(), String> {
        let [mut at, last] = self.band;
        while self.ended == 0 && at <= last {
            let symbol = bits.symbol(table)?;
            let (run, size) = (usize::from(symbol >> 4), symbol & 15);
            match (run, size) {
                (0..15, 0) => self.ended = (1 << run) + bits.number(run as u32)?,
                (15, 0) | (_, 1) => {
                    bits.skip(size.into())?;
                    let place = pass(bits, *block, at, last, run)?;
                    if size == 1 {
                        let place = place.ok_or(DAMAGED)?;
                        *block |= 1 << place;
                    }
                    at = place.map_or(last, |place| place) + 1;
                }
                _ => return Err(DAMAGED.into()),
            }
        }
        if self.ended > 0 {
            pass(bits, *block, at, last, 64)?;
            self.ended -= 1;
        }
        Ok(())
    }
}

/// Passes coefficients from `at` on: each that is not 0 has a bit, of the others `run` are passed by. Gives the place
/// of the one after these, if there is one.
fn pass(
    bits: &mut Bits<'_>,
    block: u64,
    at: usize,
    last: usize,
    mut run: usize,
) -> Result<Option<usize>, String> {
    for place in at..=last {
        match (block >> place & 1, run) {
            (1, _) => bits.skip(1)?,
            (_, 0) => return Ok(Some(place)),
            _ => run -= 1,
        }
    }
    Ok(None)
}

/// A block of all coefficients (F.1.2).
fn whole(bits: &mut Bits<'_>, dc: &Table, ac: &Table) -> Result<(), String> {
    let size = bits.symbol(dc)?;
    bits.skip(size_of(size)?)?;
    let mut at = 1;
    while at < 64 {
        let symbol = bits.symbol(ac)?;
        match (symbol >> 4, symbol & 15) {
            (15, 0) => at += 16,
            (_, 0) => return Ok(()),
            (run, size) => {
                at += usize::from(run) + 1;
                bits.skip(size.into())?;
            }
        }
    }
    if at > 64 { Err(DAMAGED.into()) } else { Ok(()) }
}

/// The size of a difference of first coefficients, in bits.
fn size_of(symbol: u8) -> Result<u32, String> {
    if symbol < 16 { Ok(symbol.into()) } else { Err(DAMAGED.into()) }
}

/// Where the marker behind the data from `at` on is.
fn end_of_data(bytes: &[u8], mut at: usize) -> Result<usize, String> {
    loop {
        let rest = &bytes[at..];
        let start = at + rest.iter().position(|byte| *byte == 0xFF).ok_or(CUT)?;
        let code = start + bytes[start..].iter().take_while(|byte| **byte == 0xFF).count();
        if *bytes.get(code).ok_or(CUT)? != 0 {
            return Ok(start);
        }
        at = code + 1;
    }
}
