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
        Library { files: files.map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec() }
    }
}
