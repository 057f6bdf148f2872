//! Pictures of a split that are set apart, for validation or as a test split.
//!
//! They are drawn class by class, so that every class is in both parts by the same share: of `count` pictures in all,
//! a class with `m` of `n` gives `count * m / n`, rounded so that they come to `count` together (by the largest
//! remainders, of equal ones those of the first classes), but never its last picture. Which of a class are drawn follows
//! from a seed, the class and the number of its pictures.

use std::collections::BTreeMap;

use super::DataError;
use super::draws::CounterRng;
use crate::base::philox;

/// How many pictures are set apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    Count(usize),
    /// Of all, above 0 and below 1; rounded to the nearest number of pictures.
    Share(f64),
}

impl Amount {
    /// The number of pictures of so many.
    pub fn of(self, images: usize) -> usize {
        match self {
            Amount::Count(count) => count,
            Amount::Share(share) => (share * images as f64).round() as usize,
        }
    }
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Amount::Count(count) => count.fmt(f),
            Amount::Share(share) => share.fmt(f),
        }
    }
}

/// The share of the pictures that is the test split of a source without one, where nothing is said of it.
const TEST: Amount = Amount::Share(0.2);

/// The test split that a data section asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TestSplit {
    /// For sources that have none of their own.
    pub amount: Option<Amount>,
    pub seed: u64,
}

impl TestSplit {
    /// Of pictures that have no test split.
    pub fn apart(&self) -> StratifiedSplit {
        StratifiedSplit { key: "test", amount: self.amount.unwrap_or(TEST), seed: self.seed }
    }

    /// Checks that none is asked for of a source that has one.
    ///
    /// # Errors
    ///
    /// Where one is. `source` names it.
    pub fn check_none(&self, source: &str) -> Result<(), DataError> {
        match self.amount {
            None => Ok(()),
            Some(amount) => Err(DataError::Option(format!(
                "{source} has a test split of its own; leave out `test = {amount}`"
            ))),
        }
    }
}

/// What is set apart, and how the draws are numbered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StratifiedSplit {
    /// The key that asks for it.
    pub key: &'static str,
    pub amount: Amount,
    pub seed: u64,
}

impl StratifiedSplit {
    /// The places of the pictures that are set apart, ascending; each picture has a label.
    ///
    /// # Errors
    ///
    /// Where that is none, or leaves a class without a picture, in words.
    pub fn draw(&self, labels: &[i32]) -> Result<Vec<u32>, String> {
        let mut members: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
        for (place, label) in labels.iter().enumerate() {
            members.entry(*label).or_default().push(place as u32);
        }
        let (images, count) = (labels.len(), self.amount.of(labels.len()));
        let asked = format!("`{} = {}`", self.key, self.amount);
        if count == 0 {
            return Err(format!("{asked} of {images} images is none"));
        }
        let most = images - members.len();
        if count > most {
            let left = if members.len() > 1 { "a class without an image" } else { "no image" };
            return Err(format!(
                "{asked} leaves {left} for training, of {images} in all; take at most {most}"
            ));
        }
        let mut drawn = Vec::with_capacity(count);
        let sizes: Vec<usize> = members.values().map(Vec::len).collect();
        for ((class, members), share) in members.iter_mut().zip(quotas(&sizes, count)) {
            self.shuffle(*class, share, members);
            drawn.extend_from_slice(&members[..share]);
        }
        drawn.sort_unstable();
        Ok(drawn)
    }

    /// Brings `count` of a class to its front, by the first steps of a Fisher–Yates shuffle.
    fn shuffle(&self, class: i32, count: usize, members: &mut [u32]) {
        let seed = if planted!("data.apart.seed") { 0 } else { self.seed };
        let mut draws = CounterRng::new(seed, 0, class as u32, philox::stream(self.key));
        for at in 0..count {
            let from = at + if planted!("data.apart.first") { 0 } else { draws.below(members.len() - at) };
            members.swap(at, from);
        }
    }
}

/// What each class gives of `count` pictures, which leave at least one of each.
fn quotas(sizes: &[usize], count: usize) -> Vec<usize> {
    let images: usize = sizes.iter().sum();
    let exact = |size: usize| size as u128 * count as u128;
    let mut quotas: Vec<usize> = sizes.iter().map(|size| (exact(*size) / images as u128) as usize).collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(exact(sizes[*at]) % images as u128));
    let mut rest = count - quotas.iter().sum::<usize>();
    // One each; and where some had none to give, more from those that have.
    for most in [1, usize::MAX] {
        for at in &order {
            let more = rest.min(most).min(sizes[*at] - 1 - quotas[*at]);
            quotas[*at] += more;
            rest -= more;
        }
    }
    quotas
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apart(amount: Amount) -> StratifiedSplit {
        StratifiedSplit { key: "holdout", amount, seed: 0 }
    }

    fn check_quotas(sizes: &[usize], count: usize, expect: &[usize]) {
        assert_eq!(quotas(sizes, count), expect, "{count} of {sizes:?}");
    }

    #[test]
    fn classes_give_by_their_share() {
        check_quotas(&[10, 10, 10], 6, &[2, 2, 2]);
        check_quotas(&[10, 10, 10], 7, &[3, 2, 2]);
        check_quotas(&[1, 9, 90], 10, &[0, 1, 9]);
        check_quotas(&[5, 3, 2], 5, &[3, 1, 1]);
        // The largest remainders are those of classes that have one picture.
        check_quotas(&[1, 1, 8], 7, &[0, 0, 7]);
        check_quotas(&[2, 2, 2], 3, &[1, 1, 1]);
        check_quotas(&[2], 1, &[1]);
        check_quotas(&[1, 1, 1, 1, 9], 8, &[0, 0, 0, 0, 8]);
        for count in 1..=97 {
            let found = quotas(&[50, 30, 20], count);
            assert_eq!(found.iter().sum::<usize>(), count);
        }
    }

    /// Before, the last ones of a sorted list: all of the last class, and none of the others.
    #[test]
    fn every_class_stays_in_both_parts() {
        let labels: Vec<i32> = [0; 40].into_iter().chain([1; 40]).chain([2; 20]).collect();
        let drawn = apart(Amount::Share(0.2)).draw(&labels).unwrap();
        let of = |class: i32| drawn.iter().filter(|at| labels[**at as usize] == class).count();
        assert_eq!([of(0), of(1), of(2)], [8, 8, 4]);
        assert!(drawn.is_sorted() && drawn.windows(2).all(|pair| pair[0] < pair[1]));
        assert_ne!(drawn[..8], [0, 1, 2, 3, 4, 5, 6, 7], "they are drawn");
        let again = apart(Amount::Count(20)).draw(&labels).unwrap();
        assert_eq!(again, drawn, "a count and a share that come to it draw the same");
        let other = StratifiedSplit { seed: 1, ..apart(Amount::Count(20)) }.draw(&labels).unwrap();
        assert_ne!(other, drawn);
        let other = StratifiedSplit { key: "test", ..apart(Amount::Count(20)) }.draw(&labels).unwrap();
        assert_ne!(other, drawn, "what is drawn for a test is not what is held out");
    }

    /// Every picture of a class is drawn about as often as any other.
    #[test]
    fn draws_are_fair() {
        let labels = [7; 12];
        let mut times = [0; 12];
        for seed in 0..1200 {
            let drawn = StratifiedSplit { seed, ..apart(Amount::Count(3)) }.draw(&labels).unwrap();
            drawn.iter().for_each(|at| times[*at as usize] += 1);
        }
        assert!(times.iter().all(|times| (240..360).contains(times)), "{times:?}");
    }

    fn check_error(amount: Amount, labels: &[i32], expect: &str) {
        assert_eq!(apart(amount).draw(labels).unwrap_err(), expect);
    }

    #[test]
    fn what_cannot_be_set_apart() {
        check_error(Amount::Share(0.1), &[0, 1, 0], "`holdout = 0.1` of 3 images is none");
        let left = "`holdout = 3` leaves a class without an image for training, of 4 in all; take at most 2";
        check_error(Amount::Count(3), &[0, 1, 0, 1], left);
        let left = "`holdout = 9` leaves no image for training, of 4 in all; take at most 3";
        check_error(Amount::Count(9), &[0; 4], left);
    }
}
