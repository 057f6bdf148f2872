//! What `summary` counts, against counts by hand.

use serde_json::{Value, json};

use crate::place::Place;
use crate::reference::program::json as parsed;

/// Layers of one op and of several, a weight that two products share, and a batch normalisation, whose product with a
/// factor is no sum of products.
const TEXT: &str = "\
block separable(x: f32[N, C, H, W], out: int) { x |> conv(C, 3, pad=1, groups=C, bias=false) |> conv(out, 1) }
block twice(x: f32[N, C]) {
  param w: f32[C, C] = 0.5;
  param b: f32[C] = 0;
  add_features(matmul(matmul(x, w), w), b)
}
model M(x: f32[N, 2, 6, 8]) -> f32[N, 6] {
  x |> separable(6) as s |> batchnorm as bn |> relu |> maxpool(2) |> conv(6, 3, stride=2, pad=1, dilation=2) as d
    |> globalavgpool |> flatten |> twice as t
}
";

fn layer(name: &str, shape: &[i64], figures: [u64; 3], field: [i64; 2], jump: Value) -> Value {
    let [parameters, macs, activation_bytes] = figures;
    json!({
        "name": name, "shape": shape, "parameters": parameters, "macs": macs, "activation_bytes": activation_bytes,
        "receptive_field": field, "jump": jump,
    })
}

/// Names, shapes, parameters, multiply-adds, bytes of the output, receptive fields and steps of a batch of three.
#[test]
fn layers_are_counted_by_hand() {
    let place = Place::with("m.cnn", TEXT);
    let found = parsed(&place.good(&["summary", "m.cnn", "--batch", "3", "--json"]));
    let points = 3 * 6 * 8;
    let wanted = [
        // A channel reads itself alone.
        layer("s.conv1", &[3, 2, 6, 8], [2 * 9, 2 * 9 * points, 4 * 2 * points], [3, 3], json!([1, 1])),
        layer("s.conv2", &[3, 6, 6, 8], [6 * 2 + 6, 6 * 2 * points, 4 * 6 * points], [3, 3], json!([1, 1])),
        layer("bn", &[3, 6, 6, 8], [12, 0, 4 * 6 * points], [3, 3], json!([1, 1])),
        layer("relu", &[3, 6, 6, 8], [0, 0, 4 * 6 * points], [3, 3], json!([1, 1])),
        layer("maxpool1", &[3, 6, 3, 4], [0, 0, points * 6], [4, 4], json!([2, 2])),
        // Its taps are 4 rows and columns of the input apart, its outputs too; the field is cut to the picture.
        layer("d", &[3, 6, 1, 1], [6 * 54 + 6, 3 * 6 * 54, 4 * 18], [6, 8], Value::Null),
        layer("globalavgpool1", &[3, 6, 1, 1], [0, 0, 4 * 18], [6, 8], Value::Null),
        layer("flatten1", &[3, 6], [0, 0, 0], [6, 8], Value::Null),
        // Both products count, and the weight that they share once.
        layer("t", &[3, 6], [36 + 6, 2 * 36 * 3, 4 * 18], [6, 8], Value::Null),
    ];
    let layers = found["layers"].as_array().expect("layers");
    assert_eq!(layers.len(), wanted.len());
    for (layer, wanted) in layers.iter().zip(&wanted) {
        for (key, value) in wanted.as_object().expect("figures") {
            assert_eq!(layer[key], *value, "{key} of {}", wanted["name"]);
        }
    }
    let sum = |key: &str| wanted.iter().map(|layer| layer[key].as_u64().expect("a count")).sum::<u64>();
    for key in ["parameters", "macs", "activation_bytes"] {
        assert_eq!(found[key], sum(key), "{key}");
    }
    assert_eq!(found["batch"], 3);
    text(&place, [sum("parameters"), sum("macs") / 3]);
}

/// The same as text, for one input.
fn text(place: &Place, [parameters, macs]: [u64; 2]) {
    let text = place.good(&["summary", "m.cnn"]);
    let last = text.lines().find(|line| line.starts_with("M: ")).expect("the sums");
    let wanted = format!(
        "M: {parameters} parameters ({:.2} KiB); for one input {:.2} k multiply-adds and ",
        parameters as f64 * 4.0 / 1024.0,
        macs as f64 / 1e3
    );
    assert!(last.starts_with(&wanted), "{last}, not {wanted}");
    let cells = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).expect("a layer");
        line.split_whitespace().skip(1).map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(cells("s.conv2"), ["1×6×6×8", "18", "576", "3×3", "1×1", "1.12", "KiB"]);
    assert_eq!(cells("maxpool1"), ["1×6×3×4", "-", "-", "4×4", "2×2", "288", "B"]);
}
