//! Initialisers: how the elements of a parameter are drawn, with PyTorch's formulas (`torch.nn.init`).

use crate::graph::Init;

/// An initialiser before the shape of its tensor is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scheme {
    Constant(f64),
    Uniform {
        low: f64,
        high: f64,
    },
    Normal {
        mean: f64,
        std: f64,
    },
    /// Glorot and Bengio (2010).
    Xavier {
        normal: bool,
        gain: f64,
    },
    /// He et al. (2015), by fan-in; `slope` is the negative slope of the leaky ReLU that follows.
    Kaiming {
        normal: bool,
        slope: f64,
    },
}

impl Scheme {
    /// What it is given.
    pub fn numbers(self) -> Vec<f64> {
        match self {
            Scheme::Constant(value) => vec![value],
            Scheme::Uniform { low, high } => vec![low, high],
            Scheme::Normal { mean, std } => vec![mean, std],
            Scheme::Xavier { gain, .. } => vec![gain],
            Scheme::Kaiming { slope, .. } => vec![slope],
        }
    }

    /// Whether it depends on the fans, which need at least two axes.
    pub fn needs_fans(self) -> bool {
        match self {
            Scheme::Xavier { .. } | Scheme::Kaiming { .. } => true,
            Scheme::Constant(_) | Scheme::Uniform { .. } | Scheme::Normal { .. } => false,
        }
    }

    /// The initialiser of a tensor of this shape (`[out, in, kernel...]`).
    ///
    /// # Errors
    ///
    /// Where the scheme needs fans and the shape has fewer than two axes.
    pub fn init(self, shape: &[i64]) -> Result<Init, String> {
        if self.needs_fans() && shape.len() < 2 {
            return Err(format!("`{self}` needs a tensor with at least two axes, [out, in, ...]"));
        }
        let (fan_in, fan_out) = fans(shape);
        Ok(match self {
            Scheme::Constant(value) => Init::Constant(value),
            Scheme::Uniform { low, high } => Init::Uniform { low, high },
            Scheme::Normal { mean, std } => Init::Normal { mean, std },
            Scheme::Xavier { normal, gain } => draw(normal, gain * (2.0 / (fan_in + fan_out)).sqrt()),
            Scheme::Kaiming { normal, slope } => {
                draw(normal, (2.0 / (1.0 + slope * slope)).sqrt() / fan_in.sqrt())
            }
        })
    }
}

/// The normal or uniform distribution around 0 of this standard deviation.
fn draw(normal: bool, std: f64) -> Init {
    if normal {
        return Init::Normal { mean: 0.0, std };
    }
    let bound = 3.0_f64.sqrt() * std;
    Init::Uniform { low: -bound, high: bound }
}

/// How many inputs an output sums over, and how many outputs an input goes to.
fn fans(shape: &[i64]) -> (f64, f64) {
    let extent = |axis: usize| shape.get(axis).copied().unwrap_or(1) as f64;
    let field: f64 = shape.iter().skip(2).map(|extent| *extent as f64).product();
    (extent(1) * field, extent(0) * field)
}

impl std::fmt::Display for Scheme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scheme::Constant(value) => write!(f, "constant({value})"),
            Scheme::Uniform { low, high } => write!(f, "uniform({low}, {high})"),
            Scheme::Normal { mean, std } => write!(f, "normal({mean}, {std})"),
            Scheme::Xavier { normal: true, .. } => f.write_str("xavier_normal"),
            Scheme::Xavier { normal: false, .. } => f.write_str("xavier_uniform"),
            Scheme::Kaiming { normal: true, .. } => f.write_str("kaiming_normal"),
            Scheme::Kaiming { normal: false, .. } => f.write_str("kaiming_uniform"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pytorch_bounds() {
        let shape = [6, 4, 5, 5];
        let bound = |scheme: Scheme| match scheme.init(&shape) {
            Ok(Init::Uniform { high, .. }) => high,
            Ok(Init::Normal { std, .. }) => std,
            other => panic!("{other:?}"),
        };
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(bound(Scheme::Kaiming { normal: false, slope: 5.0_f64.sqrt() }), 0.1);
        close(bound(Scheme::Kaiming { normal: true, slope: 0.0 }), (2.0_f64 / 100.0).sqrt());
        close(bound(Scheme::Xavier { normal: false, gain: 1.0 }), (6.0_f64 / 250.0).sqrt());
        close(bound(Scheme::Xavier { normal: true, gain: 2.0 }), 2.0 * (2.0_f64 / 250.0).sqrt());
        assert!(Scheme::Xavier { normal: true, gain: 1.0 }.init(&[3]).is_err());
    }
}
