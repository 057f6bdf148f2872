//! Metrics: the figures of a training beside its loss.

use super::phase::{Phase, Watch};
use super::settings::{as_call, call_values};
use crate::base::diagnostic::Diagnostic;
use crate::base::span::Span;
use crate::elab::evaluate::at;
use crate::elab::foreign;
use crate::elab::{Outcome, arguments};
use crate::syntax::ast::{Call, Expr, ExprKind};

const KNOWN: [&str; 3] = ["accuracy", "top", "confusion"];

/// A confusion matrix has the square of so many counts at most.
const MOST_CONFUSED: i64 = 1024;

/// What is counted of predictions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// The share of right predictions.
    pub accuracy: bool,
    /// The share of labels among the best scores.
    pub top: Option<Top>,
    /// The confusion matrix of the test split, by the place where it is asked for.
    pub confusion: Option<Span>,
}

/// `top(k)`: how many of the best scores are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Top {
    pub k: usize,
    pub span: Span,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics { accuracy: true, top: None, confusion: None }
    }
}

impl Metrics {
    /// The k of `top(k)`.
    pub fn top_k(&self) -> Option<usize> {
        self.top.map(|top| top.k)
    }

    /// `[accuracy, top(5), confusion]`
    pub(super) fn parse(expr: &Expr) -> Outcome<Metrics> {
        let ExprKind::List(items) = &expr.kind else {
            return Err(at("`metrics` is a list", expr.span).help("such as `[accuracy, top(5)]`"));
        };
        let mut metrics = Metrics { accuracy: false, top: None, confusion: None };
        for item in items {
            if let Some(name) = &item.name {
                return Err(at("a metric has no key", name.span));
            }
            metrics.add(&as_call(&item.value, "a metric such as accuracy")?)?;
        }
        Ok(metrics)
    }

    fn add(&mut self, call: &Call) -> Outcome<()> {
        let (name, span) = (call.callee.text.as_str(), call.callee.span);
        let parameters: &[&str] = if name == "top" { &["k"] } else { &[] };
        let is_new = match name {
            "accuracy" => !std::mem::replace(&mut self.accuracy, true),
            "top" => self.top.is_none(),
            "confusion" => self.confusion.replace(span).is_none(),
            _ => {
                let error = at(format!("unknown metric `{name}`"), span)
                    .note("the metrics are accuracy, top(k), confusion");
                return Err(foreign::suggest(error, foreign::METRICS, name, KNOWN));
            }
        };
        if !is_new {
            return Err(at(format!("`{name}` is given twice"), span));
        }
        let values = call_values(call, parameters)?;
        if name == "top" {
            let Some(argument) = &values[0] else { return Err(arguments::missing(&call.callee, "k")) };
            let k = argument.value.as_int().and_then(|k| usize::try_from(k).ok()).filter(|k| *k > 0);
            let Some(k) = k else {
                let message = format!("`k` of `top` is a whole number above 0, not {}", argument.value);
                return Err(at(message, argument.span.unwrap_or(span)));
            };
            self.top = Some(Top { k, span });
        }
        Ok(())
    }

    /// Whether predictions with one score for each of so many classes have these figures; none stands for any other
    /// prediction and for losses that compare with other things than labels.
    ///
    /// # Errors
    ///
    /// Where there are no classes, or too few for `top`, or too many for `confusion`.
    pub fn check(&self, classes: Option<i64>) -> Outcome<()> {
        let asked = [self.top.map(|top| ("top", top.span)), self.confusion.map(|span| ("confusion", span))];
        let Some(classes) = classes else {
            let first = asked.into_iter().flatten().next();
            return first.map_or(Ok(()), |(name, span)| {
                let message =
                    format!("`{name}` needs a prediction of one score a class, and a loss for labels");
                Err(at(message, span))
            });
        };
        if let Some(Top { k, span }) = self.top.filter(|top| top.k as i64 > classes) {
            return Err(at(format!("`top({k})` is of more classes than the model's {classes}"), span));
        }
        match self.confusion {
            Some(span) if classes > MOST_CONFUSED => {
                let message = format!("`confusion` is for {MOST_CONFUSED} classes at most, not {classes}");
                Err(at(message, span))
            }
            _ => Ok(()),
        }
    }

    /// Errors where a rule watches the accuracy, but it is not among the metrics.
    pub(super) fn check_watched(&self, save: Option<Watch>, phases: &[Phase]) -> Vec<Diagnostic> {
        let mut spans: Vec<Span> = watched(save, phases).filter(|_| !self.accuracy).collect();
        // A rule of the section is that of several phases.
        spans.dedup();
        let error = |span| {
            at("the accuracy is watched here, but it is not among the metrics", span)
                .help("add `accuracy` to `metrics`, or watch a loss")
        };
        spans.into_iter().map(error).collect()
    }
}

/// The places of the rules that watch the accuracy.
pub(super) fn watched(save: Option<Watch>, phases: &[Phase]) -> impl Iterator<Item = Span> {
    let stops = phases.iter().filter_map(|phase| phase.stop).map(|stop| stop.watch);
    save.into_iter().chain(stops).filter(|watch| watch.accuracy).map(|watch| watch.span)
}
