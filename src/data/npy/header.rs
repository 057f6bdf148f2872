//! The header of a `.npy` file: a Python dictionary of three keys, whose text is all that is looked at.
//!
//! It is parsed as the literal that it is, as far as NumPy writes one: keys in any order, in either quotes, a comma at
//! the end, numbers of Python 2 (`1L`). Nothing is read beyond the length that the file says.

use crate::base::visible;

const MAGIC: &[u8] = b"\x93NUMPY";
/// NumPy's own limit.
const MOST_AXES: usize = 64;

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// NumPy's name of the element type, such as `<f4`.
    pub element: String,
    /// Whether the first index varies fastest.
    pub is_fortran: bool,
    pub shape: Vec<usize>,
}

/// The header of a file, and the bytes behind it.
///
/// # Errors
///
/// What is wrong with the header, in words.
pub fn split(bytes: &[u8]) -> Result<(Header, &[u8]), String> {
    let cut = || "the file is cut off within its header".to_owned();
    let rest = bytes.strip_prefix(MAGIC).ok_or("not a .npy file")?;
    let (version, rest) = rest.split_at_checked(2).ok_or_else(cut)?;
    let (len, rest) = match version {
        [1, 0] => rest
            .split_at_checked(2)
            .map(|(len, rest)| (u32::from(u16::from_le_bytes([len[0], len[1]])), rest)),
        [2 | 3, 0] => rest
            .split_at_checked(4)
            .map(|(len, rest)| (u32::from_le_bytes([len[0], len[1], len[2], len[3]]), rest)),
        other => {
            return Err(format!(
                "a .npy file of version {}.{}; 1.0, 2.0 and 3.0 are read",
                other[0], other[1]
            ));
        }
    }
    .ok_or_else(cut)?;
    let (text, data) = rest.split_at_checked(len as usize).ok_or_else(cut)?;
    let text = std::str::from_utf8(text).map_err(|_| "the header is not text (UTF-8)")?;
    Ok((parse(text)?, data))
}

/// A value of the dictionary.
enum Literal {
    Text(String),
    Truth(bool),
    Tuple(Vec<usize>),
    /// A list of fields, of which only that it is one is said.
    Fields,
}

fn parse(text: &str) -> Result<Header, String> {
    let mut rest = Rest(text);
    let (mut element, mut order, mut shape) = (None, None, None);
    rest.expect('{')?;
    while !rest.takes('}') {
        let key = rest.string()?;
        rest.expect(':')?;
        let is_first = match (key, rest.value(key)?) {
            ("descr", Literal::Fields) => return Err(structured()),
            ("descr", Literal::Text(name)) => element.replace(name).is_none(),
            ("fortran_order", Literal::Truth(is_fortran)) => order.replace(is_fortran).is_none(),
            ("shape", Literal::Tuple(extents)) => shape.replace(extents).is_none(),
            ("shape", _) => return Err("the `shape` in the header is not a tuple".into()),
            ("descr", _) => return Err("the `descr` in the header is not the name of a type".into()),
            ("fortran_order", _) => {
                return Err("the `fortran_order` in the header is neither True nor False".into());
            }
            (other, _) => return Err(format!("the header has a key `{}`", visible::excerpt(other))),
        };
        if !is_first {
            return Err(format!("the header has the key `{key}` twice"));
        }
        if !rest.takes(',') {
            rest.expect('}')?;
            break;
        }
    }
    if !rest.trimmed().is_empty() {
        return Err(format!("`{}` follows the header's dictionary", visible::excerpt(rest.0)));
    }
    let lacks = |key: &str| format!("the header has no `{key}`");
    Ok(Header {
        element: element.ok_or_else(|| lacks("descr"))?,
        is_fortran: order.ok_or_else(|| lacks("fortran_order"))?,
        shape: shape.ok_or_else(|| lacks("shape"))?,
    })
}

fn structured() -> String {
    "elements of several fields; save one of them, x[\"name\"]".to_owned()
}

/// What of the header is not parsed yet.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn trimmed(&mut self) -> &'a str {
        self.0 = self.0.trim_ascii_start();
        self.0
    }

    /// Whether this sign is next; it is passed.
    fn takes(&mut self, sign: char) -> bool {
        let rest = self.trimmed().strip_prefix(sign);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, sign: char) -> Result<(), String> {
        match self.takes(sign) {
            true => Ok(()),
            false if self.0.is_empty() => Err(format!("the header ends where `{sign}` should be")),
            false => Err(format!("the header has `{}` where `{sign}` should be", visible::excerpt(self.0))),
        }
    }

    /// A string in either quotes. NumPy's keys and names of types have nothing that Python escapes.
    fn string(&mut self) -> Result<&'a str, String> {
        let quote = if self.trimmed().starts_with('"') { '"' } else { '\'' };
        self.expect(quote)?;
        let (string, rest) = self.0.split_once(quote).ok_or("a string in the header has no end")?;
        if string.contains('\\') {
            return Err(format!("the header has the escaped string `{}`", visible::excerpt(string)));
        }
        self.0 = rest;
        Ok(string)
    }

    fn value(&mut self, key: &str) -> Result<Literal, String> {
        match self.trimmed().chars().next() {
            Some('\'' | '"') => Ok(Literal::Text(self.string()?.to_owned())),
            Some('(') => self.tuple().map(Literal::Tuple),
            Some('[') => Ok(Literal::Fields),
            _ => {
                for (word, truth) in [("True", true), ("False", false)] {
                    if let Some(rest) = self.0.strip_prefix(word) {
                        self.0 = rest;
                        return Ok(Literal::Truth(truth));
                    }
                }
                let found = visible::excerpt(self.0.split([',', '}']).next().unwrap_or_default().trim());
                match key {
                    "shape" => Err("the `shape` in the header is not a tuple".into()),
                    _ => Err(format!("the header's `{}` is `{found}`", visible::excerpt(key))),
                }
            }
        }
    }

    /// Extents, with a comma behind the only one.
    fn tuple(&mut self) -> Result<Vec<usize>, String> {
        self.expect('(')?;
        let mut extents = Vec::new();
        while !self.takes(')') {
            extents.push(self.extent()?);
            if extents.len() > MOST_AXES {
                return Err(format!("the header's `shape` has more than {MOST_AXES} axes"));
            }
            let is_last = !self.takes(',');
            if is_last && extents.len() == 1 {
                return Err("the `shape` in the header is not a tuple".into());
            }
            if is_last {
                self.expect(')')?;
                break;
            }
        }
        Ok(extents)
    }

    fn extent(&mut self) -> Result<usize, String> {
        let text = self.trimmed();
        let end = text.find([',', ')']).unwrap_or(text.len());
        let word = text[..end].trim_ascii_end();
        let digits = word.strip_suffix('L').unwrap_or(word);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        self.0 = &text[end..];
        digits
            .parse()
            .ok()
            .filter(|_| is_number)
            .ok_or_else(|| format!("`{}` in the header's `shape` is no extent", visible::excerpt(word)))
    }
}
