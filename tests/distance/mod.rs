//! The largest of several distances, which no NaN among them gets past.

/// The largest distance; infinite where one is no number. (`f64::max` gives the other number there, so that a bound on
/// the result would accept anything.)
pub fn largest(distances: impl IntoIterator<Item = f64>) -> f64 {
    let or_infinite = |distance: f64| if distance.is_nan() { f64::INFINITY } else { distance };
    distances.into_iter().map(or_infinite).fold(0.0, f64::max)
}
