//! The texts of a compilation.
//!
//! Every stage names places by [`Span`]; only this table knows the texts behind them.

use cranelift_entity::PrimaryMap;

use super::span::{FileId, Span};

/// A file's name, as messages show it, and its text.
#[derive(Clone, Debug)]
pub struct SourceFile {
    pub name: String,
    pub text: String,
}

/// A place for people: both counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// All files of a compilation.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    files: PrimaryMap<FileId, SourceFile>,
}

impl SourceMap {
    /// Adds a file.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> FileId {
        self.files.push(SourceFile { name: name.into(), text: text.into() })
    }

    /// The file of a name, the first of several.
    pub fn find(&self, name: &str) -> Option<FileId> {
        self.files.iter().find(|(_, file)| file.name == name).map(|(id, _)| id)
    }

    /// A file that [`SourceMap::add`] has given out.
    pub fn file(&self, id: FileId) -> &SourceFile {
        &self.files[id]
    }

    /// A file's text.
    pub fn text(&self, id: FileId) -> &str {
        &self.files[id].text
    }

    /// The text under a span, as much of it as there is.
    pub fn slice(&self, span: Span) -> &str {
        let text = self.text(span.file);
        &text[floor_boundary(text, span.start)..floor_boundary(text, span.end)]
    }

    /// Where a span begins.
    pub fn position(&self, span: Span) -> Position {
        position(self.text(span.file), span.start)
    }

    /// A span's beginning as messages without a snippet show it: `model.cnn:3:7`.
    pub fn place(&self, span: Span) -> String {
        let Position { line, column } = self.position(span);
        format!("{}:{line}:{column}", self.file(span.file).name)
    }
}

/// The line and column of a byte of a text; one behind the text is the text's end.
pub fn position(text: &str, offset: u32) -> Position {
    let before = &text[..floor_boundary(text, offset)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Position { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
}

/// The last boundary between characters that is not behind `offset`.
pub fn floor_boundary(text: &str, offset: u32) -> usize {
    text.floor_char_boundary(offset as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions() {
        let text = "one\nzwölf x\n";
        let at = |offset| {
            let Position { line, column } = position(text, offset);
            (line, column)
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(3), (1, 4));
        assert_eq!(at(4), (2, 1));
        assert_eq!(at(7), (2, 3), "inside ö");
        assert_eq!(at(11), (2, 7));
        assert_eq!(at(1000), (3, 1));
    }
}
