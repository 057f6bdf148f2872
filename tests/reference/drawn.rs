//! Which pictures are held out: the draws of the reference of the language, computed once more.

use crate::reference::network::{CLASSES, evaluate, start};
use crate::reference::program::{
    HELD_OUT, IN_FILES, TRAIN, all_close, close, json, label, losses, place, run, sample,
};

/// Ten rounds of Philox 4×32 (Salmon et al., 2011).
fn philox(seed: u64, mut words: [u64; 4]) -> [u64; 4] {
    const LOW: u64 = 0xFFFF_FFFF;
    let (mut key, weyl) = ([seed & LOW, seed >> 32], [0x9E37_79B9, 0xBB67_AE85]);
    for _ in 0..10 {
        let (a, b) = (0xD251_1F53 * words[0], 0xCD9E_8D57 * words[2]);
        words = [(b >> 32) ^ words[1] ^ key[0], b & LOW, (a >> 32) ^ words[3] ^ key[1], a & LOW];
        key = [(key[0] + weyl[0]) & LOW, (key[1] + weyl[1]) & LOW];
    }
    words
}

/// The 64-bit FNV-1a hash of a name, its halves combined.
fn stream(name: &str) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    }
    (hash >> 32) ^ (hash & 0xFFFF_FFFF)
}

/// How many of each class are held out.
fn quotas(sizes: &[usize], count: usize) -> Vec<usize> {
    let all: usize = sizes.iter().sum();
    let mut quotas: Vec<usize> = sizes.iter().map(|size| size * count / all).collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|class| all - sizes[*class] * count % all);
    while quotas.iter().sum::<usize>() < count {
        let next =
            order.iter().position(|class| quotas[*class] + 1 < sizes[*class]).expect("enough pictures");
        quotas[order.remove(next)] += 1;
    }
    quotas
}

/// The places of `count` pictures with these labels that a seed holds out, ascending.
pub fn held_out(labels: &[usize], classes: usize, count: usize, seed: u64) -> Vec<usize> {
    let members = |class| (0..labels.len()).filter(|at| labels[*at] == class).collect::<Vec<_>>();
    let mut members: Vec<Vec<usize>> = (0..classes).map(members).collect();
    let sizes: Vec<usize> = members.iter().map(Vec::len).collect();
    let mut held = Vec::new();
    for (class, quota) in quotas(&sizes, count).into_iter().enumerate() {
        for draw in 0..quota {
            let words = philox(seed, [draw as u64 / 4, stream("holdout"), class as u64, 0]);
            let left = members[class].len() - draw;
            let at = draw + ((words[draw % 4] * left as u64) >> 32) as usize;
            members[class].swap(draw, at);
            held.push(members[class][draw]);
        }
    }
    held.sort_unstable();
    held
}

/// The numbers of the pictures that cases hold out are the last ones.
#[test]
fn the_pictures_of_the_cases() {
    let labels = IN_FILES.map(label);
    let held = held_out(&labels, CLASSES, HELD_OUT, 4).into_iter().map(|at| IN_FILES[at]);
    assert_eq!(held.collect::<Vec<_>>(), (TRAIN - HELD_OUT..TRAIN).collect::<Vec<_>>());
}

/// Before, those held out were the last ones of the source: of a sorted folder, the last classes.
#[test]
fn what_is_held_out() {
    let labels = IN_FILES.map(label);
    let loss = |at: &usize| evaluate(&start(), &[sample(IN_FILES[*at])]).0.loss;
    for (amount, count, seed) in [("1", 1, 0), ("6", 6, 5), ("0.3", 7, 0), ("0.3", 7, 1 << 40), ("20", 20, 9)]
    {
        let what = format!("holdout = {amount}, seed = {seed}");
        let place = place(
            &format!("holdout = {amount};  shuffle = false;"),
            "optim = sgd(0);  batch = 1;  epochs = 1;",
        );
        let set = ["--set", &format!("data.seed={seed}")];
        run(&place, "run", &[&set[..], &["--seed", "8"]].concat());
        let held = held_out(&labels, CLASSES, count, seed);
        let wanted: Vec<f64> = held.iter().map(loss).collect();
        all_close(&what, &losses(&place, "run", "val"), &wanted);
        let left: Vec<f64> = (0..TRAIN).filter(|at| !held.contains(at)).map(|at| loss(&at)).collect();
        all_close(&what, &losses(&place, "run", "train"), &left);
        let eval = ["eval", "net.cnn", "--weights", "run", "--split", "val", "--json"];
        let mean = wanted.iter().sum::<f64>() / count as f64;
        let said = json(&place.good(&[&eval[..], &set].concat()));
        close(&what, said["val_loss"].as_f64().expect("a loss"), mean);
    }
}
