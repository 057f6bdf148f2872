//! Bounds of intervals, as functions of a box.

/// The least of a number and a line: one side of an interval, by the same side of a box. On the side of the largest all
/// numbers are negated, so that both sides have the same rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    number: Option<i64>,
    line: Option<Line>,
}

/// `step * x + offset`, where `x` is the bound of a box on an axis; the step is above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    axis: usize,
    step: i64,
    offset: i64,
}

/// The bounds of the smallest and of the largest index on an axis.
pub type Interval = [Bound; 2];

/// An interval of numbers, ends included.
pub fn whole(low: i64, high: i64) -> Interval {
    [low, -high].map(|number| Bound { number: Some(number), line: None })
}

/// The ends of an interval of numbers.
pub fn known([low, high]: &Interval) -> Option<(i64, i64)> {
    Some((low.fixed()?.number?, -high.fixed()?.number?))
}

/// The smallest interval that holds both; none where it takes two lines to say it.
pub fn joined([low, high]: Interval, other: Interval) -> Option<Interval> {
    Some([low.least(other[0])?, high.least(other[1])?])
}

impl Bound {
    /// The bound of a box on one of its axes.
    pub fn of_axis(axis: usize) -> Bound {
        Bound { number: None, line: Some(Line { axis, step: 1, offset: 0 }) }
    }

    /// Itself, if it is a number.
    pub fn fixed(self) -> Option<Bound> {
        self.line.is_none().then_some(self)
    }

    fn least(self, other: Bound) -> Option<Bound> {
        let line = match (self.line, other.line) {
            (Some(one), Some(other)) if (one.axis, one.step) == (other.axis, other.step) => {
                Some(if one.offset < other.offset { one } else { other })
            }
            (Some(_), Some(_)) => return None,
            (one, other) => one.or(other),
        };
        let number = self.number.into_iter().chain(other.number).min();
        Some(Bound { number, line })
    }

    /// The sum with another, of which one is a number.
    pub fn plus(self, other: Bound) -> Option<Bound> {
        let (fixed, bound) = if self.line.is_none() { (self, other) } else { (other, self) };
        let more = fixed.fixed()?.number?;
        let number = bound.number.map(|number| number.checked_add(more));
        let line = bound.line.map(|line| Some(Line { offset: line.offset.checked_add(more)?, ..line }));
        Some(Bound { number: all(number)?, line: all(line)? })
    }

    /// So many times as much, at least once.
    pub fn times(self, factor: i64) -> Option<Bound> {
        let line = self.line.map(|Line { axis, step, offset }| {
            Some(Line { axis, step: step.checked_mul(factor)?, offset: offset.checked_mul(factor)? })
        });
        let number = self.number.map(|number| number.checked_mul(factor));
        Some(Bound { number: all(number)?, line: all(line)? })
    }

    /// What it is where the bounds of its box are functions of another box.
    pub fn after(self, inner: impl Fn(usize) -> Bound) -> Option<Bound> {
        let number = Bound { line: None, ..self };
        let Some(Line { axis, step, offset }) = self.line else { return Some(number) };
        let offset = Bound { number: Some(offset), line: None };
        inner(axis).times(step)?.plus(offset)?.least(number)
    }
}

/// None where there is something that could not be computed.
fn all<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    value.map_or(Some(None), |value| value.map(Some))
}
