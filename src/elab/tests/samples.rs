//! Whether a model looks at each sample apart from the others.

use super::*;
use crate::graph::samples::are_apart;

fn check(text: &str, expect: bool) {
    for batch in [2, 5] {
        assert_eq!(are_apart(&graph(text, batch, false)), expect, "batch {batch}: {text}");
    }
}

fn check_op(equations: &str, expect: bool) {
    let op = format!("op own(x: f32[N, C]) -> y: f32[N, C] {{ {equations} }}");
    check(&format!("{op} model M(x: f32[N, 3]) {{ x |> linear(4) |> own |> relu }}"), expect);
}

#[test]
fn layers_of_the_library_keep_samples_apart() {
    let layers = "x |> conv(4, 3, pad=1) as a |> batchnorm |> relu |> maxpool(2) |> conv(4, 3, stride=2, groups=2)
        |> dropout(0.5) |> lrn(3) |> adaptiveavgpool(2) |> depthmaxpool(2) |> flatten |> linear(6) |> softmax";
    check(&format!("model M(x: f32[N, 2, 12, 12]) {{ {layers} }}"), true);
    check("model M(x: f32[N, 2, 3]) { ((x as f32[N, 6]) |> linear(4)) as f32[N, 2, 2] }", true);
    for family in ["resnet", "densenet", "inception", "efficientnet"] {
        let path =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/zoo/{family}.cnn"));
        let module = crate::elab::load(&mut SourceMap::default(), &path).expect("the file is right");
        let section = module.train_sections()[0];
        let spec =
            module.train_spec(section, &crate::elab::config::Overrides::default()).expect("it is right");
        let graph = module.graph(&spec.model, &Request::inference(2)).expect("it elaborates");
        assert!(are_apart(&graph), "{family}");
    }
}

#[test]
fn what_looks_at_other_samples_mixes_them() {
    check_op("y[n, c] = x[n, c] + 1;", true);
    check_op("m[n] = max[c < C] x[n, c]; y[n, c] = x[n, c] - m[n];", true);
    check_op("m[c] = mean[n < N] x[n, c]; y[n, c] = x[n, c] - m[c];", false);
    check_op("y[n, c] = x[N - 1 - n, c];", false);
    check_op("y[n, c] = x[n - 1, c] else 0;", false);
    check_op("y[n, c] = x[n, c] + real(n);", false);
    check_op("y[n, c] = x[n, c] * uniform();", false);
    check_op("y[n < 1, c] = x[n, c]; y[n + 1, c] = x[n + 1, c];", false);
    check_op("s[n, m < N] = sum[c < C] x[n, c] * x[m, c]; y[n, c] = sum[m < N] s[n, m] * x[m, c];", false);
    // A parameter at the sample's place is another one for each.
    let placed = "block own(x: f32[N, C]) { param p: f32[N, 1] = 1; x * p }";
    check(&format!("{placed} model M(x: f32[N, 3]) {{ x |> own }}"), false);
}
