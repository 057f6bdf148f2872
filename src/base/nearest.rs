//! "Did you mean": the known name that is nearest to an unknown one.

/// Longer names are not compared: nobody mistypes them, and the work is quadratic.
const LONGEST: usize = 64;

/// The candidate that a writer of `name` most likely meant, the first of equals, if any is near.
///
/// Near is at most one typing error in three letters, where an error is a letter too many, too few, wrong, or two
/// neighbours swapped; upper and lower case are the same.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = lower(name);
    let limit = (letters.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&letters, &lower(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn lower(name: &str) -> Vec<char> {
    name.chars().take(LONGEST + 1).flat_map(char::to_lowercase).collect()
}

/// The number of typing errors between two words (Damerau and Levenshtein's distance, each place edited once).
fn distance(a: &[char], b: &[char]) -> usize {
    if a.len() > LONGEST || b.len() > LONGEST {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
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

    #[test]
    fn a_swap_is_one_error() {
        let letters = |word: &str| word.chars().collect::<Vec<_>>();
        assert_eq!(distance(&letters("bacth"), &letters("batch")), 1);
        assert_eq!(distance(&letters("kitten"), &letters("sitting")), 3);
        assert_eq!(distance(&letters(""), &letters("abc")), 3);
    }

    #[test]
    fn long_names_are_cheap() {
        let long = "x".repeat(1 << 20);
        assert_eq!(nearest(&long, [long.as_str()]), None);
    }
}
