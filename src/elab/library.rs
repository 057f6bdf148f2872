//! The standard library as texts: embedded, or others in its place.

/// The files of a library: names, as messages show them, and texts.
#[derive(Clone, Debug)]
pub struct Library {
    pub files: Vec<(String, String)>,
}

impl Library {
    /// The library that the binary carries.
    pub fn embedded() -> Library {
        let files = [
            ("std/ops.cnn", include_str!("../std/ops.cnn")),
            ("std/layers.cnn", include_str!("../std/layers.cnn")),
            ("std/losses.cnn", include_str!("../std/losses.cnn")),
            ("std/optimisers.cnn", include_str!("../std/optimisers.cnn")),
        ];
        let mut library =
            Library { files: files.map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec() };
        library.spoil();
        library
    }

    /// Plants the faults of the library's texts.
    fn spoil(&mut self) {
        if planted!("elab.library.ceil_mode") {
            self.exchange("if (h - 1) * s[0] >= H + p[0] {", "if (h - 1) * s[0] >= H + 2 * p[0] {");
        }
    }

    fn exchange(&mut self, words: &str, others: &str) {
        let file = self.files.iter_mut().find(|(_, text)| text.contains(words));
        let (_, text) = file.expect("the words stand in the library");
        *text = text.replace(words, others);
    }
}
