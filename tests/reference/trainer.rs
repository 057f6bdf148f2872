//! A training in doubles: what a train section promises, step by step. Nothing here looks at names or sections: a case
//! lists the tensors of each group, and gives its schedule as a formula.

use std::collections::BTreeMap;

use crate::reference::network::{Sample, Sums, Tensors, evaluate, norm, zeros};

/// The steps of an optimiser, as PyTorch's documentation has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Sgd {
        momentum: f64,
    },
    /// `decoupled` is AdamW.
    Adam {
        decoupled: bool,
        betas: [f64; 2],
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optim {
    pub kind: Kind,
    pub rate: f64,
    pub decay: f64,
}

const BETAS: [f64; 2] = [0.9, 0.999];

pub const fn sgd(rate: f64, momentum: f64, decay: f64) -> Optim {
    Optim { kind: Kind::Sgd { momentum }, rate, decay }
}

pub const fn adam(rate: f64, decay: f64) -> Optim {
    Optim { kind: Kind::Adam { decoupled: false, betas: BETAS }, rate, decay }
}

pub const fn adamw(rate: f64, decay: f64) -> Optim {
    Optim { kind: Kind::Adam { decoupled: true, betas: BETAS }, rate, decay }
}

#[derive(Clone, Copy, Debug)]
pub enum Clip {
    Norm(f64),
    Value(f64),
}

/// A figure of an epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Watch {
    ValLoss,
    ValAccuracy,
    TrainLoss,
    TrainAccuracy,
}

impl Watch {
    fn of(self, epoch: &Epoch) -> f64 {
        match self {
            Watch::ValLoss => epoch.val.mean_loss(),
            Watch::ValAccuracy => epoch.val.correct / epoch.val.samples,
            Watch::TrainLoss => epoch.train.mean_loss(),
            Watch::TrainAccuracy => epoch.train.correct / epoch.train.samples,
        }
    }

    fn improves(self, figure: f64, best: f64, least: f64) -> bool {
        match self {
            Watch::ValLoss | Watch::TrainLoss => best - figure > least,
            Watch::ValAccuracy | Watch::TrainAccuracy => figure - best > least,
        }
    }
}

/// What the rate is multiplied with in a step of a phase, both counted from 0, by the steps of the phase and of an epoch.
pub type Factor = fn(step: usize, steps: usize, epoch_steps: usize) -> f64;

pub struct Phase {
    pub epochs: usize,
    pub batch: usize,
    pub optim: Optim,
    /// The tensors of each group.
    pub groups: Vec<(Vec<&'static str>, Optim)>,
    pub frozen: Vec<&'static str>,
    pub spared_of_decay: Vec<&'static str>,
    pub factor: Factor,
    pub clip: Option<Clip>,
    /// What is watched, the patience, and what counts as better.
    pub stop: Option<(Watch, usize, f64)>,
}

impl Phase {
    pub fn new(epochs: usize, batch: usize, optim: Optim) -> Phase {
        let (groups, frozen, spared_of_decay) = (Vec::new(), Vec::new(), Vec::new());
        Phase {
            epochs,
            batch,
            optim,
            groups,
            frozen,
            spared_of_decay,
            factor: |_, _, _| 1.0,
            clip: None,
            stop: None,
        }
    }

    fn optim_of(&self, name: &str) -> Optim {
        let group = self.groups.iter().find(|(names, _)| names.contains(&name));
        let optim = group.map_or(self.optim, |(_, optim)| *optim);
        if self.spared_of_decay.contains(&name) { Optim { decay: 0.0, ..optim } } else { optim }
    }
}

pub struct Training {
    pub start: Tensors,
    /// In the order of every epoch.
    pub train: Vec<Sample>,
    pub val: Vec<Sample>,
    pub test: Vec<Sample>,
    pub drop_last: bool,
    pub phases: Vec<Phase>,
    pub save: Option<Watch>,
}

pub struct Epoch {
    /// Counted from 1; a phase that ends early leaves out the numbers of its other epochs.
    pub number: usize,
    pub steps: usize,
    /// Pictures of a whole batch.
    pub batch: usize,
    pub train: Sums,
    pub val: Sums,
    /// Of the last step.
    pub rate: f64,
}

/// All that a training leaves behind.
pub struct Trained {
    /// The mean loss of every step.
    pub losses: Vec<f64>,
    /// The norms of the gradients in every step, before they are clipped.
    pub norms: Vec<BTreeMap<&'static str, f64>>,
    /// How many steps were clipped.
    pub clipped: usize,
    pub epochs: Vec<Epoch>,
    /// The epochs that each phase had.
    pub lasted: Vec<usize>,
    /// The epoch of the weights, counted from 1.
    pub best: usize,
    pub tensors: Tensors,
    pub test: Sums,
}

/// The states of an optimiser.
struct States {
    first: Tensors,
    second: Tensors,
    steps: i32,
}

impl Training {
    pub fn run(&self) -> Trained {
        let mut tensors = self.start.clone();
        let mut trained = Trained {
            losses: Vec::new(),
            norms: Vec::new(),
            clipped: 0,
            epochs: Vec::new(),
            lasted: Vec::new(),
            best: 0,
            tensors: Tensors::new(),
            test: Sums::default(),
        };
        let mut best: Option<f64> = None;
        let mut number = 0;
        for phase in &self.phases {
            let first = number + 1;
            number += phase.epochs;
            let mut states = States { first: zeros(), second: zeros(), steps: 0 };
            let (mut stop_best, mut since, mut lasted): (Option<f64>, usize, usize) = (None, 0, 0);
            for number in first..=number {
                let epoch = self.epoch(number, phase, &mut states, &mut tensors, &mut trained);
                lasted += 1;
                let is_best = self
                    .save
                    .is_none_or(|watch| best.is_none_or(|best| watch.improves(watch.of(&epoch), best, 0.0)));
                if is_best {
                    best = self.save.map(|watch| watch.of(&epoch));
                    (trained.tensors, trained.best) = (tensors.clone(), number);
                }
                let Some((watch, patience, least)) = phase.stop else {
                    trained.epochs.push(epoch);
                    continue;
                };
                let figure = watch.of(&epoch);
                trained.epochs.push(epoch);
                if stop_best.is_none_or(|best| watch.improves(figure, best, least)) {
                    (stop_best, since) = (Some(figure), 0);
                } else {
                    since += 1;
                }
                if since == patience {
                    break;
                }
            }
            trained.lasted.push(lasted);
        }
        trained.test = evaluate(&trained.tensors, &self.test).0;
        trained
    }

    fn epoch(
        &self,
        number: usize,
        phase: &Phase,
        states: &mut States,
        tensors: &mut Tensors,
        trained: &mut Trained,
    ) -> Epoch {
        let batches: Vec<&[Sample]> = match self.drop_last {
            true => self.train.chunks_exact(phase.batch).collect(),
            false => self.train.chunks(phase.batch).collect(),
        };
        let (mut sums, mut rate) = (Sums::default(), 0.0);
        let steps = batches.len() * phase.epochs;
        for batch in &batches {
            let (found, mut gradient) = evaluate(tensors, batch);
            gradient.retain(|name, _| !phase.frozen.contains(name));
            trained.losses.push(found.mean_loss());
            trained.norms.push(gradient.iter().map(|(name, values)| (*name, norm(values))).collect());
            sums.add(&found);
            if let Some(clip) = phase.clip {
                trained.clipped += usize::from(clipped(clip, &mut gradient));
            }
            let factor = (phase.factor)(states.steps as usize, steps, batches.len());
            rate = phase.optim.rate * factor;
            states.steps += 1;
            for (name, gradient) in gradient {
                states.update(
                    phase.optim_of(name),
                    factor,
                    tensors.get_mut(name).expect("a parameter"),
                    name,
                    &gradient,
                );
            }
        }
        Epoch {
            number,
            steps: batches.len(),
            batch: phase.batch,
            train: sums,
            val: evaluate(tensors, &self.val).0,
            rate,
        }
    }
}

/// Whether gradients are clipped, and clips them.
fn clipped(clip: Clip, gradient: &mut Tensors) -> bool {
    let all: Vec<f64> = gradient.values().flatten().copied().collect();
    match clip {
        Clip::Norm(most) => {
            let factor = most / (norm(&all) + 1e-6);
            if factor < 1.0 {
                gradient.values_mut().flatten().for_each(|value| *value *= factor);
            }
            factor < 1.0
        }
        Clip::Value(most) => {
            gradient.values_mut().flatten().for_each(|value| *value = value.clamp(-most, most));
            all.iter().any(|value| value.abs() > most)
        }
    }
}

impl States {
    fn update(&mut self, optim: Optim, factor: f64, values: &mut [f64], name: &str, gradient: &[f64]) {
        let (rate, t) = (optim.rate * factor, self.steps);
        let first = self.first.get_mut(name).expect("a parameter");
        let second = self.second.get_mut(name).expect("a parameter");
        for (at, value) in values.iter_mut().enumerate() {
            let (m, v) = (&mut first[at], &mut second[at]);
            match optim.kind {
                Kind::Sgd { momentum } => {
                    let slope = gradient[at] + optim.decay * *value;
                    *m = if t == 1 { slope } else { momentum * *m + slope };
                    *value -= rate * *m;
                }
                Kind::Adam { decoupled, betas } => {
                    let slope = gradient[at] + if decoupled { 0.0 } else { optim.decay * *value };
                    *value -= if decoupled { rate * optim.decay * *value } else { 0.0 };
                    *m = betas[0] * *m + (1.0 - betas[0]) * slope;
                    *v = betas[1] * *v + (1.0 - betas[1]) * slope * slope;
                    let (mean, square) = (*m / (1.0 - betas[0].powi(t)), *v / (1.0 - betas[1].powi(t)));
                    *value -= rate * mean / (square.sqrt() + 1e-8);
                }
            }
        }
    }
}
