//! Pickles, as far as `torch.save` writes them for tensors, numbers and texts in dictionaries, lists and tuples.
//!
//! Bytes go in, values come out that name each other by numbers. Nothing is called and nothing is imported: a pickle may
//! name the few functions and classes of [`Global`], whose results are values here, and is refused where it names any
//! other. What it takes in memory is bounded by its length and by [`MOST_NODES`]; nothing recurs.

use std::collections::HashMap;

use crate::base::visible;

/// Lists, dictionaries, tensors and the like; a tensor takes seven.
const MOST_NODES: usize = 1 << 20;
/// The last version of the format.
const LAST_PROTOCOL: u8 = 5;

/// A value; what is larger stands among the nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PickleValue<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    Global(Global),
    Node(usize),
}

/// What stands for itself alone.
#[derive(Clone, Debug, PartialEq)]
pub enum Node<'a> {
    Tuple(Vec<PickleValue<'a>>),
    List(Vec<PickleValue<'a>>),
    /// In the order in which they were set; a key may be there twice.
    Dict(Vec<(PickleValue<'a>, PickleValue<'a>)>),
    Storage(Storage<'a>),
    Tensor(View),
}

/// The functions and classes that a pickle may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Global {
    OrderedDict,
    /// `_rebuild_tensor_v2(storage, offset, size, stride, ...)`, or its predecessor.
    Tensor,
    /// `_rebuild_parameter(tensor, ...)`.
    Parameter,
    /// The class of a storage, by the type of its elements.
    Storage(&'static str),
}

/// The classes of storages, with the types of their elements as safetensors calls them.
const STORAGES: [(&str, &str); 11] = [
    ("FloatStorage", "F32"),
    ("DoubleStorage", "F64"),
    ("HalfStorage", "F16"),
    ("BFloat16Storage", "BF16"),
    ("LongStorage", "I64"),
    ("IntStorage", "I32"),
    ("ShortStorage", "I16"),
    ("CharStorage", "I8"),
    ("ByteStorage", "U8"),
    ("BoolStorage", "BOOL"),
    ("ComplexFloatStorage", "C64"),
];

/// Elements in a file of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage<'a> {
    pub kind: &'static str,
    /// The name of its file.
    pub key: &'a str,
    /// Its elements.
    pub len: u64,
}

/// A tensor: some elements of a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The node of its storage.
    pub storage: usize,
    pub offset: u64,
    pub shape: Vec<u64>,
    /// As many as there are extents.
    pub strides: Vec<u64>,
}

/// What a pickle holds.
#[derive(Debug)]
pub struct Pickle<'a> {
    pub nodes: Vec<Node<'a>>,
    /// The value of the whole.
    pub value: PickleValue<'a>,
}

/// Reads a pickle; what comes behind its end is left alone.
///
/// # Errors
///
/// One line for a pickle that is broken, too large, or holds something else than the above.
pub fn read(bytes: &[u8]) -> Result<Pickle<'_>, String> {
    let mut machine = Machine {
        bytes,
        at: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        nodes: Vec::new(),
    };
    loop {
        let start = machine.at;
        let opcode = machine.byte()?;
        if opcode == b'.' {
            let value = machine.pop()?;
            return Ok(Pickle { nodes: machine.nodes, value });
        }
        if !(machine.simple(opcode)? || machine.composed(opcode)? || machine.remembered(opcode)?) {
            return Err(format!(
                "its pickle has the opcode {opcode:#04x} at byte {start}, which no state dict needs"
            ));
        }
    }
}

/// The machine that a pickle is a program for.
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<PickleValue<'a>>,
    /// The heights of the stack that were marked.
    marks: Vec<usize>,
    memo: HashMap<u32, PickleValue<'a>>,
    nodes: Vec<Node<'a>>,
}

type Outcome<T> = Result<T, String>;

fn broken() -> String {
    "its pickle is broken or cut off".into()
}

impl<'a> Machine<'a> {
    /// Opcodes of numbers and texts, and those of the stack. Says whether it is one.
    fn simple(&mut self, opcode: u8) -> Outcome<bool> {
        let value = match opcode {
            0x80 => match self.byte()? {
                ..=LAST_PROTOCOL => return Ok(true),
                version => return Err(format!("its pickle is of version {version}")),
            },
            0x95 => return self.take(8).map(|_| true),
            b'(' => {
                self.marks.push(self.stack.len());
                return Ok(true);
            }
            b'0' => match self.marks.last() == Some(&self.stack.len()) {
                true => return Ok(self.marks.pop().is_some()),
                false => return self.pop().map(|_| true),
            },
            b'1' => return self.marked().map(|_| true),
            b'N' => PickleValue::None,
            0x88 => PickleValue::Bool(true),
            0x89 => PickleValue::Bool(false),
            b'K' => PickleValue::Int(i64::from(self.byte()?)),
            b'M' => PickleValue::Int(i64::from(u16::from_le_bytes(self.array()?))),
            b'J' => PickleValue::Int(i64::from(i32::from_le_bytes(self.array()?))),
            0x8a => self.long()?,
            b'G' => PickleValue::Float(f64::from_be_bytes(self.array()?)),
            0x8c => {
                let len = self.byte()?;
                self.text(u64::from(len))?
            }
            b'X' => {
                let len = u32::from_le_bytes(self.array()?);
                self.text(u64::from(len))?
            }
            0x8d => {
                let len = u64::from_le_bytes(self.array()?);
                self.text(len)?
            }
            _ => return Ok(false),
        };
        self.stack.push(value);
        Ok(true)
    }

    /// The last values as a tuple of so many.
    fn last(&mut self, count: usize) -> Outcome<PickleValue<'a>> {
        let from = self.stack.len().checked_sub(count).ok_or_else(broken)?;
        if self.marks.last().is_some_and(|mark| from < *mark) {
            return Err(broken());
        }
        let parts = self.stack.split_off(from);
        self.node(Node::Tuple(parts))
    }

    /// Opcodes that make values of others. Says whether it is one.
    fn composed(&mut self, opcode: u8) -> Outcome<bool> {
        let value = match opcode {
            b')' => self.node(Node::Tuple(Vec::new()))?,
            0x85..=0x87 => self.last(usize::from(opcode - 0x84))?,
            b't' => {
                let parts = self.marked()?;
                self.node(Node::Tuple(parts))?
            }
            b']' => self.node(Node::List(Vec::new()))?,
            b'}' => self.node(Node::Dict(Vec::new()))?,
            b'a' => {
                let part = self.pop()?;
                return self.append(vec![part]).map(|()| true);
            }
            b'e' => {
                let parts = self.marked()?;
                return self.append(parts).map(|()| true);
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                return self.set(&[key, value]).map(|()| true);
            }
            b'u' => {
                let parts = self.marked()?;
                return self.set(&parts).map(|()| true);
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                global(module, name)?
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (PickleValue::Text(name), PickleValue::Text(module)) => global(module, name)?,
                _ => return Err(broken()),
            },
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.called(function, arguments)?
            }
            // A state dict has attributes, which nothing here needs.
            b'b' => match (self.pop()?, self.stack.last().copied()) {
                (_, Some(PickleValue::Node(at))) if matches!(self.nodes[at], Node::Dict(_)) => {
                    return Ok(true);
                }
                _ => return Err(broken()),
            },
            b'Q' => {
                let id = self.pop()?;
                self.storage(id)?
            }
            _ => return Ok(false),
        };
        self.stack.push(value);
        Ok(true)
    }

    /// Opcodes that keep a value and bring it back. Says whether it is one.
    fn remembered(&mut self, opcode: u8) -> Outcome<bool> {
        let number = match opcode {
            b'q' | b'h' => u32::from(self.byte()?),
            b'r' | b'j' => u32::from_le_bytes(self.array()?),
            0x94 => self.memo.len() as u32,
            _ => return Ok(false),
        };
        match opcode {
            b'h' | b'j' => self.stack.push(*self.memo.get(&number).ok_or_else(broken)?),
            _ => {
                self.memo.insert(number, *self.stack.last().ok_or_else(broken)?);
            }
        }
        Ok(true)
    }

    fn node(&mut self, node: Node<'a>) -> Outcome<PickleValue<'a>> {
        if self.nodes.len() >= MOST_NODES {
            return Err("its pickle has more parts than any network".into());
        }
        self.nodes.push(node);
        Ok(PickleValue::Node(self.nodes.len() - 1))
    }

    fn append(&mut self, parts: Vec<PickleValue<'a>>) -> Outcome<()> {
        match self.stack.last() {
            Some(PickleValue::Node(at)) if let Node::List(list) = &mut self.nodes[*at] => {
                list.extend(parts);
                Ok(())
            }
            _ => Err(broken()),
        }
    }

    /// Sets keys and values, which come by turns, in the dictionary on top of the stack.
    fn set(&mut self, parts: &[PickleValue<'a>]) -> Outcome<()> {
        match self.stack.last() {
            Some(PickleValue::Node(at)) if let Node::Dict(dict) = &mut self.nodes[*at] => {
                let (pairs, rest) = parts.as_chunks();
                dict.extend(pairs.iter().map(|[key, value]| (*key, *value)));
                if rest.is_empty() { Ok(()) } else { Err(broken()) }
            }
            _ => Err(broken()),
        }
    }

    /// What a call gives.
    fn called(&mut self, function: PickleValue<'a>, arguments: PickleValue<'a>) -> Outcome<PickleValue<'a>> {
        let arguments = self.tuple(arguments)?;
        match (function, arguments) {
            (PickleValue::Global(Global::OrderedDict), []) => self.node(Node::Dict(Vec::new())),
            (PickleValue::Global(Global::Parameter), [tensor, ..]) => Ok(*tensor),
            (
                PickleValue::Global(Global::Tensor),
                &[PickleValue::Node(storage), offset, size, stride, ..],
            ) if matches!(self.nodes[storage], Node::Storage(_)) => {
                let view = View {
                    storage,
                    offset: natural(offset)?,
                    shape: self.naturals(size)?,
                    strides: self.naturals(stride)?,
                };
                match view.shape.len() == view.strides.len() {
                    true => self.node(Node::Tensor(view)),
                    false => Err(broken()),
                }
            }
            _ => Err(broken()),
        }
    }

    /// The storage of a persistent id: `("storage", class, key, device, elements)`.
    fn storage(&mut self, id: PickleValue<'a>) -> Outcome<PickleValue<'a>> {
        match *self.tuple(id)? {
            [
                PickleValue::Text("storage"),
                PickleValue::Global(Global::Storage(kind)),
                PickleValue::Text(key),
                _,
                len,
                ..,
            ] => {
                let len = natural(len)?;
                self.node(Node::Storage(Storage { kind, key, len }))
            }
            _ => Err(broken()),
        }
    }

    fn tuple(&self, value: PickleValue<'a>) -> Outcome<&[PickleValue<'a>]> {
        match value {
            PickleValue::Node(at) if let Node::Tuple(parts) = &self.nodes[at] => Ok(parts),
            _ => Err(broken()),
        }
    }

    fn naturals(&self, value: PickleValue<'a>) -> Outcome<Vec<u64>> {
        self.tuple(value)?.iter().map(|part| natural(*part)).collect()
    }

    /// Takes the top of the stack, but nothing below the last mark.
    fn pop(&mut self) -> Outcome<PickleValue<'a>> {
        match self.marks.last().is_some_and(|mark| *mark >= self.stack.len()) {
            true => Err(broken()),
            false => self.stack.pop().ok_or_else(broken),
        }
    }

    /// Takes all above the last mark, and the mark.
    fn marked(&mut self) -> Outcome<Vec<PickleValue<'a>>> {
        let mark = self.marks.pop().ok_or_else(broken)?;
        Ok(self.stack.split_off(mark))
    }

    fn take(&mut self, len: u64) -> Outcome<&'a [u8]> {
        let len = usize::try_from(len).map_err(|_| broken())?;
        let taken = self.bytes[self.at..].get(..len).ok_or_else(broken)?;
        self.at += len;
        Ok(taken)
    }

    fn array<const LEN: usize>(&mut self) -> Outcome<[u8; LEN]> {
        self.take(LEN as u64)?.try_into().map_err(|_| broken())
    }

    fn byte(&mut self) -> Outcome<u8> {
        self.array().map(|[byte]| byte)
    }

    fn text(&mut self, len: u64) -> Outcome<PickleValue<'a>> {
        std::str::from_utf8(self.take(len)?).map(PickleValue::Text).map_err(|_| broken())
    }

    fn line(&mut self) -> Outcome<&'a str> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|byte| *byte == b'\n').ok_or_else(broken)?;
        self.at += len + 1;
        std::str::from_utf8(&rest[..len]).map_err(|_| broken())
    }

    /// An integer of any length, little-endian, in two's complement.
    fn long(&mut self) -> Outcome<PickleValue<'a>> {
        let len = self.byte()?;
        let bytes = self.take(u64::from(len))?;
        let negative = bytes.last().is_some_and(|last| *last >= 128);
        let mut whole = [if negative { 255 } else { 0 }; 8];
        whole
            .get_mut(..bytes.len())
            .ok_or("its pickle has an integer of more than 64 bits")?
            .copy_from_slice(bytes);
        Ok(PickleValue::Int(i64::from_le_bytes(whole)))
    }
}

fn natural(value: PickleValue<'_>) -> Outcome<u64> {
    match value {
        PickleValue::Int(number) => u64::try_from(number).map_err(|_| broken()),
        _ => Err(broken()),
    }
}

fn global<'a>(module: &str, name: &str) -> Outcome<PickleValue<'a>> {
    let storage = STORAGES.iter().find(|(class, _)| *class == name);
    Ok(PickleValue::Global(match (module, name, storage) {
        ("collections", "OrderedDict", _) => Global::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor", _) => Global::Tensor,
        ("torch._utils", "_rebuild_parameter", _) => Global::Parameter,
        ("torch", _, Some((_, kind))) => Global::Storage(kind),
        _ => {
            let called = visible::excerpt(&format!("{module}.{name}"));
            return Err(format!(
                "it needs code of its own (`{called}`), and only a state dict is read: \
                 torch.save(model.state_dict(), FILE)"
            ));
        }
    }))
}

#[cfg(test)]
#[path = "pickle_tests.rs"]
mod tests;
