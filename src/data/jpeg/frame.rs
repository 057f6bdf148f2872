//! The markers of a JPEG file: segments, the frame and its components, Huffman tables, and where scans begin.
//!
//! Names are those of the standard, ITU T.81; section and figure numbers are of it.

use image::metadata::Orientation;

use super::entropy::Table;

/// The file ends where more has to follow.
pub(super) const CUT: &str = "the JPEG file is cut off";
/// Segments before and between scans, so that nobody reads many empty ones.
const MOST_SEGMENTS: usize = 10_000;

const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
const DNL: u8 = 0xDC;
const DRI: u8 = 0xDD;
const DHT: u8 = 0xC4;
const APP0: u8 = 0xE0;
const APP1: u8 = 0xE1;
const APP14: u8 = 0xEE;

/// A component and how often it is sampled in a block of the picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Component {
    pub id: u8,
    pub across: usize,
    pub down: usize,
}

/// What is coded, and how.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub is_progressive: bool,
    pub width: usize,
    pub height: usize,
    /// 1, 3 or 4.
    pub components: Vec<Component>,
}

impl Frame {
    /// The largest factors of sampling.
    pub fn most(&self) -> [usize; 2] {
        let most = |of: fn(&Component) -> usize| self.components.iter().map(of).max().unwrap_or(1);
        [most(|component| component.across), most(|component| component.down)]
    }
}

/// The part of a component that a scan has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// Its place in the frame.
    pub component: usize,
    pub dc: usize,
    pub ac: usize,
}

/// The head of a scan.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    pub parts: Vec<Part>,
    /// The first and the last coefficient, in zigzag order.
    pub band: [usize; 2],
    /// The bits that are left out, before this scan and after it.
    pub bits: [u8; 2],
}

/// What the numbers of a pixel are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    Grey,
    Rgb,
    Ycc,
    Cmyk,
    Ycck,
}

/// Where in a file we are, and what was said so far.
pub(super) struct Reader<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
    pub dc: [Option<Table>; 4],
    pub ac: [Option<Table>; 4],
    /// Blocks between two restart markers; 0 for none.
    pub restart: usize,
    /// Whether the first scan has all components.
    pub is_interleaved: bool,
    exif: Option<&'a [u8]>,
    is_jfif: bool,
    /// The transform that an Adobe marker says.
    adobe: Option<u8>,
    segments: usize,
}

impl<'a> Reader<'a> {
    /// A file, of which the first two bytes are read.
    pub fn new(bytes: &'a [u8]) -> Result<Reader<'a>, String> {
        if !bytes.starts_with(&[0xFF, SOI]) {
            return Err("the file is no JPEG".into());
        }
        Ok(Reader {
            bytes,
            at: 2,
            dc: [const { None }; 4],
            ac: [const { None }; 4],
            restart: 0,
            is_interleaved: false,
            exif: None,
            is_jfif: false,
            adobe: None,
            segments: 0,
        })
    }

    /// Reads as far as the frame.
    pub fn frame(&mut self) -> Result<Frame, String> {
        loop {
            let marker = self.marker()?;
            match marker {
                0xC0..=0xCF if !matches!(marker, DHT | 0xC8 | 0xCC) => {
                    let segment = self.segment()?;
                    return frame(marker, segment);
                }
                SOS | EOI => return Err("the JPEG file has no picture before its end".into()),
                _ => self.other(marker)?,
            }
        }
    }

    /// Reads as far as the next scan; none at the end of the picture.
    pub fn scan(&mut self, frame: &Frame) -> Result<Option<Scan>, String> {
        loop {
            let marker = self.marker()?;
            match marker {
                EOI => return Ok(None),
                SOS => {
                    let segment = self.segment()?;
                    return scan(segment, frame).map(Some);
                }
                0xC0..=0xCF if marker != DHT && marker != 0xCC => {
                    return Err("the JPEG file has a second frame, which is not read".into());
                }
                _ => self.other(marker)?,
            }
        }
    }

    /// How the picture is to be turned.
    pub fn orientation(&self) -> Orientation {
        self.exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms)
    }

    /// The colours, by the rules of libjpeg.
    pub fn colours(&self, frame: &Frame) -> Colours {
        let ids: Vec<u8> = frame.components.iter().map(|component| component.id).collect();
        match (ids.len(), self.adobe) {
            (1, _) => Colours::Grey,
            (4, Some(2)) => Colours::Ycck,
            (4, _) => Colours::Cmyk,
            (_, _) if self.is_jfif => Colours::Ycc,
            (_, Some(0)) => Colours::Rgb,
            (_, None) if ids == *b"RGB" => Colours::Rgb,
            _ => Colours::Ycc,
        }
    }

    /// The code of the next marker.
    fn marker(&mut self) -> Result<u8, String> {
        self.segments += 1;
        if self.segments > MOST_SEGMENTS {
            return Err(format!("the JPEG file has more than {MOST_SEGMENTS} segments"));
        }
        let mut byte = || {
            let byte = self.bytes.get(self.at).copied();
            self.at += 1;
            byte.ok_or_else(|| format!("{CUT}: its end marker is missing"))
        };
        if byte()? != 0xFF {
            return Err("the JPEG data are damaged: a marker is missing".into());
        }
        loop {
            match byte()? {
                0xFF => {}
                0 => return Err("the JPEG data are damaged: a marker is missing".into()),
                code => return Ok(code),
            }
        }
    }

    /// The contents of a segment, whose marker has been read.
    fn segment(&mut self) -> Result<&'a [u8], String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let [high, low, ..] = *rest else { return Err(CUT.into()) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let segment = rest.get(..length).ok_or(CUT)?;
        self.at += length;
        segment.get(2..).ok_or_else(|| "the JPEG data are damaged: a segment has no length".into())
    }

    /// What may stand before a frame and before a scan.
    fn other(&mut self, marker: u8) -> Result<(), String> {
        if matches!(marker, 0x01..=0xBF | 0xD0..=0xD8) {
            return Err(format!(
                "the JPEG data are damaged: the marker {marker:02X} stands between segments"
            ));
        }
        let segment = self.segment()?;
        match marker {
            DNL => return Err("the height of the JPEG picture comes after it, which is not read".into()),
            0xCC => return Err("arithmetic JPEG files are not read".into()),
            DRI => match *segment {
                [high, low] => self.restart = usize::from(u16::from_be_bytes([high, low])),
                _ => return Err("the JPEG data are damaged: a restart interval has two bytes".into()),
            },
            DHT => self.tables(segment)?,
            APP0 if segment.starts_with(b"JFIF\0") => self.is_jfif = true,
            APP1 if self.exif.is_none() => self.exif = segment.strip_prefix(b"Exif\0\0"),
            APP14 if segment.starts_with(b"Adobe") => self.adobe = segment.get(11).copied().or(self.adobe),
            _ => {}
        }
        Ok(())
    }

    /// Huffman tables.
    fn tables(&mut self, mut segment: &[u8]) -> Result<(), String> {
        while let [kind, rest @ ..] = segment {
            let (table, after) = Table::read(rest)?;
            let tables = if kind >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            let place = tables.get_mut(usize::from(kind & 15)).filter(|_| kind >> 4 < 2);
            *place.ok_or("the JPEG data are damaged: a Huffman table has no place")? = Some(table);
            segment = after;
        }
        Ok(())
    }
}

/// The frame of a segment; kinds that are not read have names.
fn frame(marker: u8, segment: &[u8]) -> Result<Frame, String> {
    let kind = match marker {
        0xC0..=0xC2 => None,
        0xC3 => Some("lossless"),
        0xC5..=0xC7 => Some("hierarchical"),
        _ => Some("arithmetic"),
    };
    if let Some(kind) = kind {
        return Err(format!("{kind} JPEG files are not read"));
    }
    let [precision, height @ .., count] = *segment.first_chunk::<6>().ok_or(CUT)?;
    let [high, low, wide_high, wide_low] = height;
    let (height, width) =
        (u16::from_be_bytes([high, low]).into(), u16::from_be_bytes([wide_high, wide_low]).into());
    if precision != 8 {
        return Err(format!("JPEG files with samples of {precision} bits are not read"));
    }
    if !matches!(count, 1 | 3 | 4) {
        return Err(format!("JPEG files with {count} components are not read"));
    }
    let lines = &segment[6..];
    if lines.len() != 3 * usize::from(count) {
        return Err("the JPEG data are damaged: the frame has another length".into());
    }
    let component = |line: &[u8]| {
        let (across, down) = (usize::from(line[1] >> 4), usize::from(line[1] & 15));
        Component { id: line[0], across, down }
    };
    let components: Vec<Component> = lines.chunks_exact(3).map(component).collect();
    let is_right = |factor: usize| (1..=4).contains(&factor);
    if !components.iter().all(|component| is_right(component.across) && is_right(component.down)) {
        return Err("the JPEG data are damaged: components are sampled 1 to 4 times".into());
    }
    Ok(Frame { is_progressive: marker == 0xC2, width, height, components })
}

fn scan(segment: &[u8], frame: &Frame) -> Result<Scan, String> {
    let wrong = |what: &str| format!("the JPEG data are damaged: the head of a scan has {what}");
    let (count, rest) = segment.split_first().ok_or_else(|| wrong("no length"))?;
    let count = usize::from(*count);
    if !(1..=frame.components.len()).contains(&count) || rest.len() != 2 * count + 3 {
        return Err(wrong("another length"));
    }
    let mut parts = Vec::new();
    for line in rest[..2 * count].chunks_exact(2) {
        let component = frame.components.iter().position(|component| component.id == line[0]);
        let component = component.ok_or_else(|| wrong("an unknown component"))?;
        let (dc, ac) = (usize::from(line[1] >> 4), usize::from(line[1] & 15));
        if parts.iter().any(|part: &Part| part.component >= component) || dc > 3 || ac > 3 {
            return Err(wrong("components out of order, or tables that are not there"));
        }
        parts.push(Part { component, dc, ac });
    }
    let [first, last, bits] = *rest[2 * count..].first_chunk::<3>().expect("it has this length");
    let band = match frame.is_progressive {
        true => [usize::from(first), usize::from(last)],
        false => [0, 63],
    };
    Ok(Scan { parts, band, bits: [bits >> 4, bits & 15] })
}
