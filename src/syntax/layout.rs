//! Documents that choose their own line breaks.
//!
//! A group is written on one line if it fits, else all its own line breaks break. Comments may stand anywhere: they
//! run to the end of their line, so whatever follows one begins a new line. White space is held back until the next
//! text, so that a comment behind the last token of a line comes before the break.

/// The width that lines keep to where they can, comments behind code apart.
const WIDTH: usize = 100;
/// Spaces of one level.
const INDENT: usize = 2;
/// Neighbouring lines whose widths differ by more do not align their comments.
const RAGGED: usize = 40;

/// A document.
#[derive(Clone, Debug)]
pub enum Doc {
    Text(String),
    /// In a group on one line these spaces, else a line break.
    Line(&'static str),
    /// A line break.
    Break,
    /// A document behind two spaces if it fits there, else on a new line.
    Fill(Box<Doc>),
    /// Puts an empty line into the line break that came last, if no text has followed it.
    Blank,
    Comment(Comment),
    /// One level deeper.
    Nest(Box<Doc>),
    Group(Box<Doc>),
    Concat(Vec<Doc>),
    Pipe(Box<Doc>, Vec<PipeStep>),
}

/// `// text`
#[derive(Clone, Debug)]
pub struct Comment {
    pub text: String,
    /// Whether nothing stands before it on its line.
    pub alone: bool,
    /// Whether an empty line is before it.
    pub blank: bool,
}

/// `|> step` in a pipe.
#[derive(Clone, Debug)]
pub struct PipeStep {
    /// The comments before it; `None` if there are none.
    pub comments: Option<Doc>,
    pub step: Doc,
    /// Whether it began a line in the text that it comes from.
    pub begins_line: bool,
}

/// A document of a text.
pub fn text(text: impl Into<String>) -> Doc {
    Doc::Text(text.into())
}

/// A document that is written on one line if it fits.
pub fn group(parts: Vec<Doc>) -> Doc {
    Doc::Group(Box::new(Doc::Concat(parts)))
}

/// Documents one level deeper.
pub fn nest(parts: Vec<Doc>) -> Doc {
    Doc::Nest(Box::new(Doc::Concat(parts)))
}

/// The text of a document, with a line break at its end unless it is empty.
pub fn render(doc: &Doc) -> String {
    let mut writer = Writer { lines: vec![Written::default()], space: Space::Spaces("") };
    let mut stack = vec![PendingDoc { doc, indent: 0, flat: false }];
    while let Some(step) = stack.pop() {
        writer.step(step, &mut stack);
    }
    writer.finish()
}

/// A document still to be written.
#[derive(Clone, Copy)]
struct PendingDoc<'a> {
    doc: &'a Doc,
    indent: usize,
    /// Whether an enclosing group is written on one line.
    flat: bool,
}

/// White space that is held back.
#[derive(Clone, Copy)]
enum Space {
    Spaces(&'static str),
    Break { indent: usize, blank: bool },
}

/// A written line: code, and the comment behind it. Where that stands alone, the code is its indentation.
#[derive(Default)]
struct Written {
    code: String,
    comment: Option<String>,
}

impl Written {
    fn width(&self) -> usize {
        self.code.chars().count()
    }

    fn is_code_with_comment(&self) -> bool {
        self.comment.is_some() && !self.code.trim_start().is_empty()
    }
}

struct Writer {
    /// At least one.
    lines: Vec<Written>,
    space: Space,
}

static SPACE: Doc = Doc::Line(" ");

impl Writer {
    fn step<'a>(&mut self, step: PendingDoc<'a>, stack: &mut Vec<PendingDoc<'a>>) {
        let PendingDoc { doc, indent, flat } = step;
        match doc {
            Doc::Text(text) => self.text(text),
            Doc::Line(spaces) if flat => self.spaces(spaces),
            Doc::Line(_) | Doc::Break => self.line_break(indent),
            Doc::Fill(inner) => self.fill(PendingDoc { doc: inner, indent, flat }, stack),
            Doc::Blank => self.blank(),
            Doc::Comment(comment) => self.comment(comment, indent),
            Doc::Nest(inner) => stack.push(PendingDoc { doc: inner, indent: indent + INDENT, flat }),
            Doc::Group(inner) => {
                let flat = flat || self.fits(PendingDoc { doc: inner, indent, flat: true }, stack);
                stack.push(PendingDoc { doc: inner, indent, flat });
            }
            Doc::Concat(parts) => {
                stack.extend(parts.iter().rev().map(|doc| PendingDoc { doc, indent, flat }))
            }
            Doc::Pipe(value, steps) => self.pipe(value, steps, step, stack),
        }
    }

    fn last(&mut self) -> &mut Written {
        let last = self.lines.len() - 1;
        &mut self.lines[last]
    }

    /// The column at which the next text begins, from 0.
    fn column(&self) -> usize {
        match self.space {
            Space::Spaces(spaces) => self.lines[self.lines.len() - 1].width() + spaces.len(),
            Space::Break { indent, .. } => indent,
        }
    }

    /// Whether a document, and what follows it up to the next possible break, fits on the line.
    fn fits(&self, step: PendingDoc, rest: &[PendingDoc]) -> bool {
        let room = WIDTH.checked_sub(self.column());
        room.and_then(|room| room_behind(room, step)).is_some_and(|room| fits_to_break(room, rest))
    }

    fn text(&mut self, text: &str) {
        self.write_space();
        self.last().code.push_str(text);
    }

    fn write_space(&mut self) {
        match std::mem::replace(&mut self.space, Space::Spaces("")) {
            Space::Spaces(spaces) => self.last().code.push_str(spaces),
            Space::Break { indent, blank } => self.begin_line(indent, blank),
        }
    }

    fn begin_line(&mut self, indent: usize, blank: bool) {
        let begins_text =
            self.lines.len() == 1 && self.lines[0].code.is_empty() && self.lines[0].comment.is_none();
        let begins_block = self.last().code.ends_with(['{', '(', '[']);
        if blank && !begins_text && !begins_block {
            self.lines.push(Written::default());
        }
        if !begins_text {
            self.lines.push(Written::default());
        }
        self.last().code = " ".repeat(indent);
    }

    fn spaces(&mut self, more: &'static str) {
        if let Space::Spaces(spaces) = &mut self.space {
            *spaces = more;
        }
    }

    fn line_break(&mut self, indent: usize) {
        let blank = matches!(self.space, Space::Break { blank: true, .. });
        self.space = Space::Break { indent, blank };
    }

    fn blank(&mut self) {
        if let Space::Break { blank, .. } = &mut self.space {
            *blank = true;
        }
    }

    fn fill<'a>(&mut self, inner: PendingDoc<'a>, stack: &mut Vec<PendingDoc<'a>>) {
        self.spaces("  ");
        let after_comment = matches!(self.space, Space::Break { .. });
        if after_comment || !self.fits(PendingDoc { flat: true, ..inner }, stack) {
            self.line_break(inner.indent);
        }
        stack.push(inner);
    }

    fn comment(&mut self, comment: &Comment, indent: usize) {
        let indent = match self.space {
            Space::Break { indent, .. } => indent,
            Space::Spaces(_) => indent,
        };
        if comment.alone || self.last().comment.is_some() || self.last().code.is_empty() {
            self.line_break(indent);
            if comment.blank {
                self.blank();
            }
            self.write_space();
        }
        let line = self.last();
        if !line.code.trim_start().is_empty() {
            line.code.truncate(line.code.trim_end().len());
        }
        line.comment = Some(comment.text.clone());
        self.space = Space::Break { indent, blank: false };
    }

    /// On one line if it fits; else over the lines of the text it comes from, if each fits; else one step a line.
    fn pipe<'a>(
        &mut self,
        value: &'a Doc,
        steps: &'a [PipeStep],
        at: PendingDoc<'a>,
        stack: &mut Vec<PendingDoc<'a>>,
    ) {
        let indent = at.indent;
        let flat = at.flat || self.fits(PendingDoc { flat: true, ..at }, stack);
        let by_lines = !flat && self.fits_by_lines(value, steps, indent, stack);
        let inner = indent + INDENT;
        let on_one_line = flat || by_lines;
        for step in steps.iter().rev() {
            let breaks = !flat && (step.begins_line || !by_lines);
            stack.push(PendingDoc { doc: &step.step, indent: inner, flat: on_one_line });
            stack.push(PendingDoc { doc: &SPACE, indent: inner, flat: !breaks });
            stack.extend(step.comments.iter().map(|doc| PendingDoc { doc, indent: inner, flat: false }));
        }
        stack.push(PendingDoc { doc: value, indent, flat: on_one_line });
    }

    fn fits_by_lines(&self, value: &Doc, steps: &[PipeStep], indent: usize, rest: &[PendingDoc]) -> bool {
        let behind = |room, doc| room_behind(room, PendingDoc { doc, indent, flat: true });
        let mut room = WIDTH.checked_sub(self.column()).and_then(|room| behind(room, value));
        for PipeStep { step, begins_line, .. } in steps {
            let before = match begins_line {
                true => room.and(WIDTH.checked_sub(indent + INDENT)),
                false => room.and_then(|room| room.checked_sub(1)),
            };
            room = before.and_then(|room| behind(room, step));
        }
        let has_lines = steps.iter().any(|step| step.begins_line);
        has_lines && room.is_some_and(|room| fits_to_break(room, rest))
    }

    fn finish(mut self) -> String {
        align_comments(&mut self.lines);
        let lines = self.lines.iter().map(|line| match &line.comment {
            Some(comment) => format!("{}{comment}", line.code),
            None => line.code.trim_end().to_owned(),
        });
        let text = lines.collect::<Vec<_>>().join("\n");
        if text.is_empty() { text } else { text + "\n" }
    }
}

/// The room left on a line behind a document; `None` if it needs more, or lines of its own.
fn room_behind(mut room: usize, step: PendingDoc) -> Option<usize> {
    let mut stack = vec![step];
    while let Some(PendingDoc { doc, indent, flat }) = stack.pop() {
        match doc {
            Doc::Text(text) => room = room.checked_sub(text.chars().count())?,
            Doc::Line(spaces) => room = room.checked_sub(spaces.len())?,
            Doc::Break | Doc::Comment(_) | Doc::Fill(_) => return None,
            Doc::Blank => {}
            Doc::Nest(inner) | Doc::Group(inner) => stack.push(PendingDoc { doc: inner, indent, flat }),
            Doc::Concat(parts) => {
                stack.extend(parts.iter().rev().map(|doc| PendingDoc { doc, indent, flat }))
            }
            Doc::Pipe(value, steps) => {
                if steps.iter().any(|step| step.comments.is_some()) {
                    return None;
                }
                for step in steps.iter().rev() {
                    stack.push(PendingDoc { doc: &step.step, indent, flat });
                    stack.push(PendingDoc { doc: &SPACE, indent, flat });
                }
                stack.push(PendingDoc { doc: value, indent, flat });
            }
        }
    }
    Some(room)
}

/// Whether documents fit up to the first place where their line may end.
fn fits_to_break(mut room: usize, rest: &[PendingDoc]) -> bool {
    let mut rest = rest.iter().rev();
    let mut stack: Vec<PendingDoc> = Vec::new();
    while let Some(PendingDoc { doc, indent, flat }) = stack.pop().or_else(|| rest.next().copied()) {
        let needed = match doc {
            Doc::Text(text) => text.chars().count(),
            Doc::Line(spaces) if flat => spaces.len(),
            Doc::Line(_) | Doc::Break | Doc::Comment(_) | Doc::Fill(_) => return true,
            Doc::Blank => 0,
            Doc::Nest(inner) | Doc::Group(inner) | Doc::Pipe(inner, _) => {
                stack.push(PendingDoc { doc: inner, indent, flat });
                0
            }
            Doc::Concat(parts) => {
                stack.extend(parts.iter().rev().map(|doc| PendingDoc { doc, indent, flat }));
                0
            }
        };
        match room.checked_sub(needed) {
            Some(left) => room = left,
            None => return false,
        }
    }
    true
}

/// Puts the comments behind neighbouring lines into one column.
fn align_comments(lines: &mut [Written]) {
    let together = |a: &Written, b: &Written| {
        a.is_code_with_comment() && b.is_code_with_comment() && a.width().abs_diff(b.width()) <= RAGGED
    };
    for run in lines.chunk_by_mut(together) {
        let column = run.iter().map(Written::width).max().unwrap_or(0) + 2;
        for line in run.iter_mut().filter(|line| line.is_code_with_comment()) {
            let width = line.width();
            line.code.push_str(&" ".repeat(column - width));
        }
    }
}
