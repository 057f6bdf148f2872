//! The samples of LANGUAGE.md, and a file that uses every part of the grammar.

use super::parse_text;

/// Every sample, with the number of its items.
pub const SAMPLES: &[(&str, usize)] =
    &[(LENET, 3), (OPS, 2), (TRANSFER, 1), (BATCHNORM, 2), (RESIDUAL, 3), (EVERYTHING, 9)];

const LENET: &str = r#"// LeNet-5, as in the course notes
model LeNet(x: f32[N, 1, 28, 28]) -> f32[N, 10] {
  x |> conv(6, 5, pad=2) as c1 |> sigmoid |> avgpool(2)
    |> conv(16, 5)       as c2 |> sigmoid |> avgpool(2)
    |> flatten |> linear(120) |> sigmoid |> linear(84) |> sigmoid |> linear(10) as head
}

data Fashion {
  source  = idx("data/fashion-mnist");
  holdout = 5000;                                // validation images, taken from the training set
  prepare = normalize(0.286, 0.353);             // every split; pixels arrive as 0..1
  augment = crop(28, pad=2) |> hflip(0.5);       // training images only, by construction
}

train LeNet on Fashion {
  loss = cross_entropy;  optim = adam(1e-3);  batch = 256;  epochs = 10;  seed = 7;
}
"#;

const OPS: &str = r#"
op softmaxpool(x: f32[N, C, H, W], k: int, s: int) -> y: f32[N, C, (H-k)/s+1, (W-k)/s+1] {
  m[n, c, i, j] = max[u < k, v < k] x[n, c, s*i+u, s*j+v];
  e[n, c, i, j, u < k, v < k] = exp(x[n, c, s*i+u, s*j+v] - m[n, c, i, j]);
  y[n, c, i, j] = (sum[u < k, v < k] e[n, c, i, j, u, v] * x[n, c, s*i+u, s*j+v])
                / (sum[u < k, v < k] e[n, c, i, j, u, v]);
}
op depthmaxpool(x: f32[N, C, H, W], g: int) -> y: f32[N, C/g, H, W] {
  y[n, c, i, j] = max[d < g] x[n, c*g+d, i, j];
}
"#;

const TRANSFER: &str = r#"
train ResNet18(classes=102) on Flowers {
  weights = load("resnet18.safetensors", except=head);  batch = 64;
  phase warm { freeze = !head;             epochs = 3;  optim = adam(1e-3); }
  phase tune { freeze = [stem, bn.stats];  epochs = 10; optim = sgd(1e-4, momentum=0.9); }
}
"#;

const BATCHNORM: &str = r#"
block batchnorm(x: f32[N, C, H, W], momentum: f32 = 0.1, eps: f32 = 1e-5, affine: bool = true) {
  param weight: f32[C] = ones;
  param bias: f32[C] = zeros;
  state running_mean: f32[C] = 0;
  state running_var: f32[C] = 1;
  if training {
    let (y, mean, var) = batchnorm_train(x, weight, bias, eps);
    let count = real(N * H * W);
    running_mean <- (1 - momentum) * running_mean + momentum * mean;
    running_var <- (1 - momentum) * running_var + momentum * var * count / (count - 1);
    y
  } else {
    batchnorm_infer(x, weight, bias, running_mean, running_var, eps)
  }
}

op batchnorm_train(x: f32[N, C, H, W], weight: f32[C], bias: f32[C], eps: f32)
    -> (y: f32[N, C, H, W], mean: f32[C], var: f32[C]) {
  mean[c] = mean[n < N, h < H, w < W] x[n, c, h, w];
  let count = real(N * H * W);
  assert N * H * W > 1, "batchnorm needs more than one value per channel";
  scale = 1;
  total[c] = sum[n, h, w] x[n, c, h, w] else -inf;
  y[n, c, 2*h+1, w] = if x[n, c, h, w] > 0 { x[n, c, h, w] } else { 0 };
}
"#;

const RESIDUAL: &str = r#"
use "blocks/basic.cnn";

inline block stage(x: f32[N, C, H, W], out: int, count: int, stride: any = [1, 1]) -> f32[N, O, P, Q] {
  let y = x;
  for i in 0..count {
    let s = if i == 0 { stride } else if i < 3 { pair(1) } else { 1 };
    y = y |> basic(out, s) as "layer{i}.{i + 1}" |> relu;
  }
  assert C % 2 == 0 && !training || out >= 4, "an odd \"number\" of channels";
  y as f32[N, out, H * W]
}

model Net(x: f32[N, 3, 32, 32], classes: int = 10,) {
  concat(x, -x * 2 - (1 - 3), axis=1) as joined |> linear(classes) |> softmax() as f32[N, 10]
}
"#;

const EVERYTHING: &str = r#"
use "a.cnn";
model A(x: f32) { }
block B(x: int, bias: bool = false) -> any { if bias { x } }
block C(x: u8[N], mean: f32) { x[0, 1].field.more as u8[N, 2] }
op f(x: f32[N]) -> sum: f32 { sum = sum[n] x[n]; assert N > 0, "m"; }
op g(x: f32[N, M]) -> (y: f32[N], z: i32[M]) { y[n] = max(x[n, 0], inf); z[m] = min[n < N] -x[n, m] else -1; }
data D { }
train A on D as trained { }
train A(1, k=[conv = xavier_uniform, bias = 0.01]) on D { phase p { phase q { a = b; } } init = !(1 - -2); }
"#;

#[test]
fn every_sample_parses() {
    for (text, items) in SAMPLES {
        let (file, errors) = parse_text(text);
        assert_eq!(errors, "", "{text}");
        assert_eq!(file.items.len(), *items, "{text}");
    }
}
