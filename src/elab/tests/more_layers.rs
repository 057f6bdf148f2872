//! More layers against values computed by hand.

use super::*;
use crate::elab::{TOTAL, WEIGHT};

fn of(layer: &str, shape: &str, data: &[f64]) -> Vec<f64> {
    predict(&format!("model M(x: f32[N, {shape}]) {{ x |> {layer} }}"), 1, data, &[])
}

fn count(end: i32) -> Vec<f64> {
    (1..=end).map(f64::from).collect()
}

#[test]
fn poolings_over_space() {
    let nine = count(9);
    assert_close(&of("sumpool(2, stride=1)", "1, 3, 3", &nine), &[12., 16., 24., 28.]);
    assert_close(&of("minpool(2, stride=1, pad=1)", "1, 3, 3", &nine)[..4], &[1., 1., 2., 3.]);
    assert_close(&of("lppool(2, stride=1)", "1, 2, 2", &[3., -4., 0., 0.]), &[5.0]);
    let mean = (2.0_f64.exp() * 2.0 + 1.0_f64.exp()) / (2.0_f64.exp() + 1.0_f64.exp());
    assert_close(&of("softmaxpool([1, 2])", "1, 1, 2", &[1., 2.]), &[mean]);
    assert_close(&of("softmaxpool([1, 2], pad=[0, 1])", "1, 1, 2", &[1., 2.]), &[1., 2.]);
}

#[test]
fn poolings_over_channels() {
    let data = [1., 5., 2., 4., 7.];
    assert_close(&of("depthmaxpool(chunks=3)", "5, 1, 1", &data), &[5., 4., 7.]);
    assert_close(&of("depthavgpool(chunks=2)", "5, 1, 1", &data), &[8.0 / 3.0, 5.5]);
    assert_close(&of("depthavgpool(2)", "4, 1, 1", &data[..4]), &[3., 3.]);
}

#[test]
fn adaptive_windows() {
    // Of 5 rows in 3 windows: 0..2, 1..4, 3..5.
    let data = [1., 2., 4., 8., 16.];
    assert_close(&of("adaptiveavgpool([1, 3])", "1, 1, 5", &data), &[1.5, 14.0 / 3.0, 12.]);
    assert_close(&of("adaptivemaxpool([1, 3])", "1, 1, 5", &data), &[2., 8., 16.]);
    assert_close(&of("adaptiveavgpool(1)", "1, 1, 5", &data), &[6.2]);
    assert_close(&of("adaptiveavgpool([1, 7])", "1, 1, 5", &data), &[1., 1.5, 3., 4., 6., 12., 16.]);
}

#[test]
fn pictures() {
    let data = [1., 2., 3., 4.];
    assert_close(&of("upsample([1, 2])", "1, 2, 2", &data), &[1., 1., 2., 2., 3., 3., 4., 4.]);
    let bilinear = [1., 1.25, 1.75, 2., 1.5, 1.75, 2.25, 2.5, 2.5, 2.75, 3.25, 3.5, 3., 3.25, 3.75, 4.];
    assert_close(&of("upsample(2, mode=\"bilinear\")", "1, 2, 2", &data), &bilinear);
    assert_close(
        &of("pad([[1, 0], [0, 1]], value=9)", "1, 2, 2", &data),
        &[9., 9., 9., 1., 2., 9., 3., 4., 9.],
    );
    assert_close(&of("crop(1, corner=[1, 0])", "1, 2, 2", &data), &[3.]);
    assert_close(&of("crop([1, 2])", "1, 2, 2", &data), &[1., 2.]);
    let kernel = "[[1, 10], [100, 1000]]";
    assert_close(&of(&format!("filter2d({kernel}, pad=0)"), "1, 2, 2", &data), &[4321.]);
    assert_close(&of(&format!("filter2d({kernel}, pad=0, flip=true)"), "1, 2, 2", &data), &[1234.]);
}

#[test]
fn trained_slopes() {
    let text = "model M(x: f32[N, 2]) { x |> prelu(2) }";
    let given = [("prelu1.weight", vec![0.5, 2.0])];
    assert_close(&predict(text, 2, &[-1., -1., 3., -2.], &given), &[-0.5, -2., 3., -4.]);
}

#[test]
fn class_weights() {
    let text = "model M(x: f32[N, 2]) { x } train M on D { loss = cross_entropy(weight=[1, 3]); }";
    let graph = graph(text, 2, true);
    let values = run(&graph, &[1.0, 3.0, 2.0, 0.0], &[1.0, 1.0], &[]);
    let loss = |own: f64, other: f64| (own.exp() + other.exp()).ln() - own;
    assert_close(&numbers(&values, output(&graph, &Sink::Loss)), &[(loss(3., 1.) + loss(0., 2.)) / 2.0]);
}

/// The totals and the weights for both labels are added by their shares; the loss is that of both quotients.
#[test]
fn class_weights_of_mixed_pictures() {
    let text = "model M(x: f32[N, 2]) { x } train M on D { loss = cross_entropy(weight=[1, 3]); }";
    let graph = graph_for(text, Request { training: true, mixed: true, ..Request::inference(2) });
    let given = [("partner", vec![0.0, 1.0]), ("share", vec![0.25])];
    let values = run(&graph, &[1.0, 3.0, 2.0, 0.0], &[1.0, 1.0], &given);
    let loss = |own: f64, other: f64| (own.exp() + other.exp()).ln() - own;
    let (own, other) = (3.0 * (loss(3., 1.) + loss(0., 2.)), loss(1., 3.) + 3.0 * loss(0., 2.));
    let of = |sink: Sink| numbers(&values, output(&graph, &sink));
    assert_close(&of(Sink::Loss), &[0.25 * own / 6.0 + 0.75 * other / 4.0]);
    assert_close(&of(Sink::Metric(TOTAL.into())), &[0.25 * own + 0.75 * other]);
    assert_close(&of(Sink::Metric(WEIGHT.into())), &[0.25 * 6.0 + 0.75 * 4.0]);
}

/// Two results are a total and a weight, and so are the arguments of `ratio`, numbers among them; a loss that goes on
/// from a quotient says nothing.
#[test]
fn losses_that_say_what_they_divide_by() {
    let parts = |body: &str| {
        let text = format!(
            "op sums(p: f32[N, C], t: f32[N, C]) -> (total: f32, weight: f32) {{
               total = sum[n < N, c < C] p[n, c] * t[n, c];
               weight = sum[n < N, c < C] t[n, c];
             }}
             block own(p: f32[N, C], t: f32[N, C]) {{ {body} }}
             model M(x: f32[N, 2]) {{ x }} train M on D {{ loss = own; }}"
        );
        let graph = graph(&text, 1, true);
        let values = run(&graph, &[3.0, 5.0], &[1.0, 2.0], &[]);
        let of = |sink: Sink| {
            let found = graph.outputs.iter().find(|(_, known)| *known == sink)?;
            Some(numbers(&values, found.0)[0])
        };
        let parts = of(Sink::Metric(TOTAL.into())).zip(of(Sink::Metric(WEIGHT.into())));
        (of(Sink::Loss).expect("a loss"), parts)
    };
    let sums = "let (total, weight) = sums(p, t);";
    assert_eq!(parts("sums(p, t)"), (13.0 / 3.0, Some((13.0, 3.0))));
    assert_eq!(parts(&format!("{sums} ratio(2 * total, weight)")), (26.0 / 3.0, Some((26.0, 3.0))));
    assert_eq!(parts(&format!("{sums} ratio(total, 4)")), (13.0 / 4.0, Some((13.0, 4.0))));
    assert_eq!(parts(&format!("{sums} 2 * ratio(total, weight)")), (26.0 / 3.0, None));
    assert_eq!(parts(&format!("{sums} total / weight")), (13.0 / 3.0, None));
}

#[test]
fn models_may_leave_the_picture_open() {
    let mut sources = SourceMap::default();
    let module = Module::from_text(&mut sources, "m.cnn", "model M(x: f32[N, 1, H, W]) { x |> maxpool(2) }");
    let module = module.expect("it loads");
    let request = Request { sample: Some(&[1, 4, 6]), ..Request::inference(1) };
    let graph = module.graph(&ModelCall::new(module.models()[0]), &request).expect("a graph");
    assert_eq!(graph.values[output(&graph, &Sink::Prediction)].shape, [1, 1, 2, 3]);
}

#[test]
fn files_use_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("written");
    std::fs::create_dir(directory.path().join("parts")).expect("a directory");
    write("parts/a.cnn", "use \"b.cnn\"; block a(x: any) { x |> b }");
    write("parts/b.cnn", "block b(x: any) { -x }");
    write("model.cnn", "use \"parts/a.cnn\"; use \"parts/b.cnn\"; model M(x: f32[N, 1]) { x |> a }");
    write("round.cnn", "use \"trip.cnn\"; model M(x: f32[N, 1]) { x }");
    write("trip.cnn", "use \"round.cnn\";");
    let load = |name: &str| {
        let mut sources = SourceMap::default();
        let module = crate::elab::load(&mut sources, &directory.path().join(name));
        module.map(|module| module.main_models().len()).map_err(|errors| errors[0].message.clone())
    };
    assert_eq!(load("model.cnn"), Ok(1));
    assert_eq!(load("round.cnn"), Err("`round.cnn` uses itself".into()));
}

#[test]
fn comments_document() {
    let mut sources = SourceMap::default();
    let text =
        "// Twice.\n// And more.\nblock twice(x: any) { x + x }\n\n// Apart.\n\nblock bare(x: any) { x }";
    let module = Module::from_text(&mut sources, "m.cnn", text).expect("it loads");
    let doc = |name: &str| {
        let found = module.documented().into_iter().find(|(item, _)| item.name().text == name);
        found.expect("an item").1.to_owned()
    };
    assert_eq!(doc("twice"), "Twice.\nAnd more.");
    assert_eq!(doc("bare"), "");
    let undocumented = module.documented();
    let library = undocumented.iter().filter(|(item, _)| module.in_library(item.span().file));
    assert!(library.clone().count() > 80);
}

#[test]
fn flatten_takes_elements_of_any_type() {
    for (ty, body) in
        [("i32", "c + 1"), ("u8", "c + 1"), ("bool", "x[n, c, 0, 0] > 1"), ("f32", "x[n, c, 0, 0]")]
    {
        let text = format!(
            "op f(x: f32[N, C, H, W]) -> y: {ty}[N, C, 2] {{ y[n, c, h] = {body}; }}
             model M(x: f32[N, 2, 1, 1]) {{ x |> f |> flatten }}"
        );
        let expected = if ty == "bool" { [0.0, 0.0, 1.0, 1.0] } else { [1.0, 1.0, 2.0, 2.0] };
        assert_close(&predict(&text, 1, &[1.0, 2.0], &[]), &expected);
    }
}
