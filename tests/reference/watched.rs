//! Rules that watch a figure: what is kept as the best, and when a phase ends.

use crate::reference::program::{check, tensors, with};
use crate::reference::trainer::{Phase, Trained, Training, Watch, sgd};

/// The best epoch is neither the first nor the last one, and another one by another figure.
#[test]
fn the_best_epoch_is_kept() {
    let calm = "optim = sgd(0.35, momentum=0.5);  epochs = 8;";
    // In the end, steps are so large that the loss grows.
    let wild = "optim = sgd(0.15);  epochs = 6;  schedule = milestones([4], factor=60);";
    let rules = [
        ("val.loss", Watch::ValLoss, calm),
        ("val.accuracy", Watch::ValAccuracy, calm),
        ("training.accuracy", Watch::TrainAccuracy, calm),
        ("training.loss", Watch::TrainLoss, wild),
    ];
    let best = rules.map(|(figure, watch, settings)| {
        let factor =
            |step: usize, _: usize, epoch_steps: usize| if step / epoch_steps < 4 { 1.0 } else { 60.0 };
        let phase = match settings == calm {
            true => Phase::new(8, 5, sgd(0.35, 0.5, 0.0)),
            false => Phase { factor, ..Phase::new(6, 5, sgd(0.15, 0.0, 0.0)) },
        };
        let training = Training { save: Some(watch), ..with(vec![phase]) };
        let settings = format!("batch = 5;  {settings}  save = best({figure});");
        let (place, trained) = check("holdout = 6;", &settings, &training);
        assert_eq!(tensors(&place, "run/best.safetensors"), tensors(&place, "run/model.safetensors"));
        assert!(trained.best > 1 && trained.best < trained.epochs.len(), "{figure}: {}", trained.best);
        trained.best
    });
    assert!(best[0] != best[1] && best[1] != best[2] && best[0] != best[2], "{best:?}");
}

fn stopped(rule: &str, phases: [Phase; 2], epochs: [usize; 2]) -> Trained {
    let settings = format!(
        "batch = 5;  optim = sgd(0.1);  stop = early({rule});
         phase one {{ epochs = {}; }} phase two {{ epochs = {};  optim = sgd(0); }}",
        epochs[0], epochs[1]
    );
    check("holdout = 6;", &settings, &with(phases.into())).1
}

/// Smaller gains than `min_delta` count for nothing, and so many epochs without a gain end a phase. The next phase begins
/// to watch anew: at a rate of 0 its first epoch is its best, and only those after it count.
#[test]
fn phases_stop_when_they_no_longer_improve() {
    for (rule, watch, least) in [
        ("training.loss, patience=2, min_delta=0.02", Watch::TrainLoss, 0.02),
        ("val.loss, patience=3, min_delta=0.01", Watch::ValLoss, 0.01),
    ] {
        let patience = if least == 0.02 { 2 } else { 3 };
        let phases = |least: f64| {
            let first =
                Phase { stop: Some((watch, patience, least)), ..Phase::new(30, 5, sgd(0.1, 0.0, 0.0)) };
            let second =
                Phase { stop: Some((watch, patience, least)), ..Phase::new(9, 5, sgd(0.0, 0.0, 0.0)) };
            [first, second]
        };
        let trained = stopped(rule, phases(least), [30, 9]);
        assert!((4..30).contains(&trained.lasted[0]), "{rule}: {:?}", trained.lasted);
        assert_eq!(trained.lasted[1], 1 + patience, "{rule}");
        let others = with(phases(0.0).into()).run();
        assert_ne!(others.lasted[0], trained.lasted[0], "{rule}: min_delta decides");
    }
}
