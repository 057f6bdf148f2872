//! "Did you mean": the known name that is nearest to an unknown one.

/// Longer names are not compared: nobody mistypes them, and the work is quadratic.
const LONGEST: usize = 64;

/// The candidate that a writer of `name` most likely meant, the first of equals, if any is near.
///
/// Near is at most one typing error in three letters, where an error is a letter too many, too few, wrong, or two
/// neighbours swapped; upper and lower case are the same.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = lower(name)?;
    let limit = (letters.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter_map(|candidate| Some((strsim::osa_distance(&letters, &lower(candidate)?), candidate)))
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A name in lower case, unless it is too long.
fn lower(name: &str) -> Option<String> {
    (name.chars().take(LONGEST + 1).count() <= LONGEST).then(|| name.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 6] = ["optim", "epochs", "batch", "loss", "seed", "lr"];

    #[test]
    fn finds_what_was_meant() {
        for (written, meant) in [
            ("optm", Some("optim")),
            ("epoch", Some("epochs")),
            ("bacth", Some("batch")),
            ("Loss", Some("loss")),
            ("LOS", Some("loss")),
            ("weights", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, KEYS), meant, "{written}");
        }
    }

    /// Two errors are too many in a word of five letters.
    #[test]
    fn a_swap_is_one_error() {
        assert_eq!(nearest("bacth", ["batch"]), Some("batch"));
        assert_eq!(nearest("bcath", ["bacht"]), None);
    }

    #[test]
    fn long_names_are_cheap() {
        let long = "x".repeat(1 << 20);
        assert_eq!(nearest(&long, [long.as_str()]), None);
    }
}
