//! Sections and optimisers.

use super::*;
use crate::elab::config::{Amount, Augment, DataSpec, Metrics, Overrides, Prepare, Source, TrainSpec};
use crate::elab::optimiser::{self, OptimSpec};

const MODEL: &str = "model M(x: f32[N, 2], width: int = 3) { x |> linear(width) }\n";

fn parsed(text: &str, set: &[&str]) -> Result<(TrainSpec, DataSpec), String> {
    let mut sources = SourceMap::default();
    let result = (|| {
        let module = Module::from_text(&mut sources, "dir/model.cnn", &format!("{MODEL}{text}"))?;
        let set: Vec<String> = set.iter().map(|text| (*text).to_owned()).collect();
        let overrides = Overrides::parse(&mut sources, &set)?;
        let train = module.train_spec(module.train_sections()[0], &overrides)?;
        let data = module.data(&train.data).map_err(|error| vec![error])?;
        Ok((train, module.data_spec(data, &overrides)?))
    })();
    result.map_err(|errors: Vec<Diagnostic>| rendered(&sources, &errors))
}

const FULL: &str = r#"
data D {
  source = idx("mnist");  holdout = 500;  shuffle = false;  drop_last = true;
  prepare = normalize([0.1, 0.2], [1, 2]);  classes = ["a", "b"];
}
train M(width=4) on D as small {
  loss = cross_entropy;  optim = sgd(0.1, momentum=0.9, nesterov=true);  batch = 32;  epochs = 3;  seed = 7;
  init = [linear = xavier_uniform, bias = 0.01];  metrics = [accuracy];
}
"#;

#[test]
fn sections_are_typed() {
    let (train, data) = parsed(FULL, &[]).expect("it is right");
    assert_eq!(data.source, Source::Idx("dir/mnist".into()));
    assert_eq!((data.holdout, data.shuffle, data.drop_last), (Some(Amount::Count(500)), false, true));
    assert_eq!((data.test, data.seed), (None, 0));
    assert_eq!(data.prepare, [Prepare::Normalize { mean: vec![0.1, 0.2], std: vec![1.0, 2.0] }]);
    assert_eq!(data.classes, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!((train.name.as_str(), train.seed, train.init.len()), ("small", 7, 2));
    let phase = &train.phases[0];
    assert_eq!((phase.batch, phase.epochs), (32, 3));
    assert_eq!(phase.optim.op, "sgd_momentum");
    assert_eq!(phase.optim.scalars(0, 1.0), [("lr".to_owned(), 0.1), ("first".to_owned(), 1.0)]);
    assert_eq!(phase.optim.scalars(1, 1.0)[1].1, 0.0);
}

#[test]
fn overrides_replace() {
    let set = ["train.batch=8", "data.holdout=0", "args.width=5", "train.optim=adam(0.5)"];
    let (train, data) = parsed(FULL, &set).expect("it is right");
    assert_eq!((train.phases[0].batch, data.holdout), (8, None));
    assert_eq!(train.phases[0].optim.op, "adam");
    assert_eq!(train.model.args.len(), 1);
}

/// Settings as they are shown, without where they stand.
fn shown(settings: &impl std::fmt::Debug) -> String {
    let text = format!("{settings:?}");
    let mut parts = text.split("Span {");
    let first = parts.next().unwrap_or_default().to_owned();
    first + &parts.filter_map(|part| part.split_once('}')).map(|(_, rest)| rest).collect::<String>()
}

/// What a run writes down of settings that nobody gave is what held.
#[test]
fn described_settings_are_those_that_hold() {
    let text = "data D { source = digits(); }
        train M on D { loss = cross_entropy; optim = sgd(0.1); }";
    let mut sources = SourceMap::default();
    let module =
        Module::from_text(&mut sources, "model.cnn", &format!("{MODEL}{text}")).expect("it is right");
    let (train, data) = (module.train_sections()[0], module.data_sections()[0]);
    let described = module.described(train, data, &Overrides::default());
    let given = ["train.loss", "train.optim", "data.source"];
    let defaults: Vec<String> = described
        .iter()
        .filter(|(key, _)| !given.contains(&key.as_str()))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    assert_eq!(defaults.len(), 12, "{defaults:?}");
    let set: Vec<&str> = defaults.iter().map(String::as_str).collect();
    let (silent, told) = (parsed(text, &[]).expect("it is right"), parsed(text, &set).expect("it is right"));
    assert_eq!(shown(&silent), shown(&told));
    let other = parsed(text, &["train.decay=weights"]).expect("it is right");
    assert_ne!(shown(&silent), shown(&other));
}

#[test]
fn metrics_are_those_of_the_list() {
    let of = |set: &[&str]| {
        let Metrics { accuracy, top, confusion } = parsed(FULL, set).expect("it is right").0.metrics;
        (accuracy, top.map(|top| top.k), confusion.is_some())
    };
    assert_eq!(of(&[]), (true, None, false));
    assert_eq!(of(&["train.metrics=[]"]), (false, None, false));
    assert_eq!(of(&["train.metrics=[confusion, top(k=3)]"]), (false, Some(3), true));
    let watched = ["train.metrics=[top(1), accuracy]", "train.save=best(val.accuracy)"];
    assert_eq!(of(&watched), (true, Some(1), false));
    let text = "data D { source = digits(); } train M on D { loss = mse; optim = adam; }";
    assert_eq!(parsed(text, &[]).expect("it is right").0.metrics, Metrics::default());
}

#[test]
fn phases_have_settings_of_their_own() {
    let text = "data D { source = digits(); }
        train M on D { loss = mse; optim = adam; batch = 16;
          phase warm { epochs = 1; } phase tune { optim = sgd(0.1); batch = 4; epochs = 2; } }";
    let (train, _) = parsed(text, &[]).expect("it is right");
    let shown: Vec<(Option<&str>, &str, i64, u32)> = train
        .phases
        .iter()
        .map(|phase| (phase.name.as_deref(), phase.optim.op.as_str(), phase.batch, phase.epochs))
        .collect();
    assert_eq!(shown, [(Some("warm"), "adam", 16, 1), (Some("tune"), "sgd", 4, 2)]);
}

/// The values of a parameter with one element over steps whose gradient is the parameter itself.
fn descend(optim: &str, steps: u64) -> Vec<f64> {
    let text = format!("data D {{ source = digits(); }} train M on D {{ loss = mse; optim = {optim}; }}");
    let mut sources = SourceMap::default();
    let module = Module::from_text(&mut sources, "model.cnn", &format!("{MODEL}{text}")).expect("it loads");
    let spec: TrainSpec = module
        .train_spec(module.train_sections()[0], &Overrides::default())
        .unwrap_or_else(|errors| panic!("{}", rendered(&sources, &errors)));
    let optim: &OptimSpec = &spec.phases[0].optim;
    let mut graph = Graph::default();
    let role = Role::Param { path: "w".into(), init: Init::Constant(0.0) };
    let w = graph.input("w", crate::te::DType::F32, vec![1, 1], role);
    optimiser::apply(&mut graph, &module, optim, &[(w, w)]).expect("it applies");
    let mut state: Vec<(Value, f64)> = vec![(w, 1.0)];
    let mut seen = Vec::new();
    for step in 0..steps {
        let mut given: Vec<(String, Vec<f64>)> =
            optim.scalars(step, 1.0).into_iter().map(|(name, value)| (name, vec![value])).collect();
        for (value, role) in &graph.inputs {
            if let Role::Param { path, .. } | Role::State { path, .. } = role {
                let now = state.iter().find(|(known, _)| known == value).map_or(0.0, |(_, now)| *now);
                given.push((path.clone(), vec![now]));
            }
        }
        let given: Vec<(&str, Vec<f64>)> = given.iter().map(|(name, x)| (name.as_str(), x.clone())).collect();
        let values = run(&graph, &[], &[], &given);
        state = graph
            .outputs
            .iter()
            .map(|(value, sink)| match sink {
                Sink::Update(target) => (*target, numbers(&values, *value)[0]),
                other => panic!("{other:?}"),
            })
            .collect();
        seen.push(state.iter().find(|(value, _)| *value == w).expect("the parameter").1);
    }
    seen
}

#[test]
fn stochastic_gradient_descent() {
    assert_close(&descend("sgd(0.5)", 2), &[0.5, 0.25]);
    assert_close(&descend("sgd(0.5, weight_decay=0.5)", 1), &[0.25]);
    // Buffers 1, 0.5 + 0.5, 0 + 0.5.
    assert_close(&descend("sgd(0.5, momentum=0.5)", 3), &[0.5, 0.0, -0.25]);
    assert_close(&descend("sgd(0.5, momentum=0.5, nesterov=true)", 1), &[0.25]);
}

#[test]
fn adam_moves_by_the_rate_at_first() {
    let after = descend("adam(0.1)", 2);
    assert!((after[0] - 0.9).abs() < 1e-8);
    let (m, v) = (0.9 * 0.1 + 0.1 * after[0], 0.999 * 0.001 + 0.001 * after[0] * after[0]);
    let step = 0.1 / (1.0 - 0.81) * m / (v.sqrt() / (1.0_f64 - 0.999 * 0.999).sqrt() + 1e-8);
    assert_close(&after[1..], &[after[0] - step]);
    assert!((descend("adamw(0.1, weight_decay=0.5)", 1)[0] - 0.85).abs() < 1e-8);
    assert!((descend("rmsprop(0.1)", 1)[0]).abs() < 1e-6);
}

#[test]
fn a_user_writes_an_optimiser() {
    let text = "op signs(p: f32, g: f32, lr: f32) -> q: f32 { q = if g > 0 { p - lr } else { p + lr }; }
        data D { source = digits(); } train M on D { loss = mse; optim = signs(0.25); }";
    let (train, _) = parsed(text, &[]).expect("it is right");
    assert_eq!((train.phases[0].optim.op.as_str(), train.phases[0].optim.learning_rate), ("signs", 0.25));
}

/// What `f32` does not hold is refused at its place, wherever a train section has numbers; what it just holds is taken.
#[test]
fn numbers_of_a_train_section_are_of_f32() {
    const OPTIM: &str = "optim = sgd(0.1);";
    let mine = "op mine(p: f32, g: f32, lr: f32, k: float = LARGE) -> q: f32 { q = p - lr * k * g; }";
    for (settings, what) in [
        ("optim = sgd(LARGE);", "`lr` of `sgd` is"),
        ("optim = sgd(0.1, momentum=LARGE);", "`momentum` of `sgd` is"),
        ("optim = adam(0.1, eps=LARGE);", "`eps` of `adam` is"),
        ("optim = adamw(0.1, weight_decay=LARGE);", "`weight_decay` of `adamw` is"),
        ("optim = mine(0.1);", "`k` of `mine` is"),
        ("optim = mine(0.1, k=LARGE);", "`k` of `mine` is"),
        ("groups = [bias = rmsprop(LARGE)];", "`lr` of `rmsprop` is"),
        ("phase one { optim = sgd(LARGE); }", "`lr` of `sgd` is"),
        ("schedule = exponential(LARGE);", "`factor` of `exponential` is"),
        ("schedule = step(1, factor=LARGE);", "`factor` of `step` is"),
        ("schedule = milestones([1, 2], factor=LARGE);", "`factor` of `milestones` is"),
        ("schedule = warmup(3) |> cosine(to=LARGE);", "`to` of `cosine` is"),
        ("schedule = linear(to=LARGE);", "`to` of `linear` is"),
        ("schedule = onecycle(div=LARGE);", "`div` of `onecycle` is"),
        ("schedule = onecycle(final_div=LARGE);", "`final_div` of `onecycle` is"),
        ("clip = norm(LARGE);", "`most` of `norm` is"),
        ("clip = value(LARGE);", "`most` of `value` is"),
        ("stop = early(val.loss, min_delta=LARGE);", "`min_delta` of `early` is"),
        ("init = [linear = LARGE];", "`linear` of `init` is"),
        ("init = [linear = normal(0, LARGE)];", "`linear` of `init` has"),
        ("loss = cross_entropy(label_smoothing=LARGE);", "`label_smoothing` of `cross_entropy` is"),
        ("loss = cross_entropy(weight=[1, LARGE, 1]);", "`weight` of `cross_entropy` has"),
    ] {
        let loss = if settings.contains("loss =") { "" } else { "loss = mse;" };
        let optim = if settings.contains("optim =") { "" } else { OPTIM };
        let text =
            format!("{mine} data D {{ source = digits(); }} train M on D {{ {loss} {optim} {settings} }}");
        for large in ["1e39", "1e300", "(1e200 * 1e100)"] {
            let said = parsed(&text.replace("LARGE", large), &[]).map(|_| ()).expect_err(settings);
            let number = large.replace("(1e200 * 1e100)", "1e300");
            let wanted = format!("error: {what} {number}, which is beyond the range of f32\n");
            assert!(said.starts_with(&wanted), "{settings} {large}: {said}");
        }
        let said = parsed(&text.replace("LARGE", "3.4e38"), &[]).map(|_| ());
        assert!(said.is_ok() || !said.as_ref().unwrap_err().contains("range"), "{settings}: {said:?}");
    }
}

#[test]
fn train_sections_choose_initialisers() {
    let (train, _) = parsed(FULL, &[]).expect("it is right");
    let mut sources = SourceMap::default();
    let module = Module::from_text(&mut sources, "model.cnn", MODEL).expect("it loads");
    let request = Request { init: &train.init, ..Request::inference(1) };
    let graph = module.graph(&train.model, &request).expect("a graph");
    let inits: Vec<Init> = graph
        .inputs
        .iter()
        .filter_map(|(_, role)| match role {
            Role::Param { init, .. } => Some(*init),
            _ => None,
        })
        .collect();
    let bound = 3.0_f64.sqrt() * (2.0_f64 / 6.0).sqrt();
    assert_eq!(inits, [Init::Uniform { low: -bound, high: bound }, Init::Constant(0.01)]);
}

fn data(settings: &str) -> DataSpec {
    let text = format!("data D {{ {settings} }} train M on D {{ loss = mse; optim = adam; }}");
    parsed(&text, &[]).expect("it is right").1
}

/// Today there is no such key.
#[test]
fn backgrounds_are_colours() {
    assert_eq!(data("source = digits();").background, [255, 255, 255]);
    assert_eq!(data("source = digits(); background = \"#0aFf10\";").background, [10, 255, 16]);
    for wrong in ["\"0aff10\"", "\"#0aff1\"", "\"#0aff1g\"", "\"#+1+1+1\"", "\"#ééé\"", "\"white\"", "7"] {
        let text = format!(
            "data D {{ source = digits(); background = {wrong}; }} train M on D {{ loss = mse; optim = adam; }}"
        );
        let errors = parsed(&text, &[]).expect_err("it is no colour");
        assert!(errors.contains("`background` is a colour such as"), "{wrong}: {errors}");
    }
}

#[test]
fn sources_are_typed() {
    let source = |text: &str| data(&format!("source = {text};")).source;
    assert_eq!(source("cifar10(\"c\")"), Source::Cifar10("dir/c".into()));
    assert_eq!(source("cifar100(dir=\"c\")"), Source::Cifar100("dir/c".into()));
    assert_eq!(source("folder(\"/f\")"), Source::Folder("/f".into()));
    assert_eq!(source("npz(\"f.npz\")"), Source::Npz("dir/f.npz".into()));
    let synthetic = |classes, size, train| Source::Synthetic { classes, size, train, test: 200, seed: 0 };
    assert_eq!(source("synthetic()"), synthetic(10, [3, 32, 32], 1000));
    assert_eq!(source("synthetic(3, [1, 8, 9], images=20)"), synthetic(3, [1, 8, 9], 20));
}

#[test]
fn steps_are_typed_and_in_order() {
    let steps = "resize(9, 8) |> centercrop(6, 7) |> grayscale |> scale(2) |> normalize(0.5, 1)";
    let expect = [
        Prepare::Resize { height: 9, width: 8 },
        Prepare::CenterCrop { height: 6, width: 7 },
        Prepare::Grayscale,
        Prepare::Scale(2.0),
        Prepare::Normalize { mean: vec![0.5], std: vec![1.0] },
    ];
    assert_eq!(data(&format!("source = digits(); prepare = {steps};")).prepare, expect);
    let steps = "crop([9, 8], 2) |> hflip |> vflip(0.1) |> rotate(10) |> affine([-5, 9], 0.1, [0.8, 1.2], 3) |> \
                 colorjitter(0.25, saturation=[0, 3], contrast=2) |> erase(p=0.3)";
    let expect = [
        Augment::Crop { size: [9, 8], pad: [2, 2] },
        Augment::FlipHorizontally { p: 0.5 },
        Augment::FlipVertically { p: 0.1 },
        Augment::Rotate { degrees: [-10.0, 10.0] },
        Augment::Affine {
            degrees: [-5.0, 9.0],
            translate: [0.1, 0.1],
            scale: [0.8, 1.2],
            shear: [-3.0, 3.0],
        },
        Augment::ColorJitter {
            brightness: Some([0.75, 1.25]),
            contrast: Some([0.0, 3.0]),
            saturation: Some([0.0, 3.0]),
        },
        Augment::Erase { p: 0.3 },
    ];
    assert_eq!(data(&format!("source = digits(); augment = {steps};")).augment, expect);
}
