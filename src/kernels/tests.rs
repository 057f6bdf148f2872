//! Texts of kernels: round trips on random programs, a snapshot, and what the verifier finds.

use crate::lower;
use crate::te::{Binary, DType, Expr, Index, Program, Reduction, Tensor};
use crate::testing::programs::program;

use super::parser::parse;
use super::printer::print;
use super::verifier::verify;
use super::{Kernels, Layouts, fuse, layout};

/// A program as kernels with layouts for so many lanes.
fn lowered(mut program: Program, lanes: i64) -> (Kernels, Layouts) {
    crate::te::normalise::normalise(&mut program);
    lower::simplify(&mut program);
    let batched = |tensor: &&Tensor| !program.tensors[**tensor].name.starts_with('w');
    let batched = program.inputs.iter().filter(batched).map(|tensor| (*tensor, 0)).collect();
    let kernels = fuse::run(program, &layout::LaneDims::default(), 8);
    let layouts = layout::choose(&kernels, &batched, lanes);
    (kernels, layouts)
}

#[test]
fn random_kernels_are_well_formed_and_read_back() {
    for seed in 0..200 {
        let (program, used) = program(seed);
        let (kernels, layouts) = lowered(program, 8);
        let text = print(&kernels, &layouts);
        let what = format!("seed {seed} {used:?}:\n{text}");
        assert_eq!(verify(&kernels, Some(&layouts)), Ok(()), "{what}");
        let (read, read_layouts) = parse(&text).unwrap_or_else(|error| panic!("{error}\n{what}"));
        assert_eq!(print(&read, &read_layouts), text, "seed {seed}");
        assert_eq!(verify(&read, Some(&read_layouts)), Ok(()), "{what}");
    }
}

/// `y = relu(sum x * w)` on a padded picture.
fn convolution() -> Program {
    let mut p = Program::default();
    let x = p.input("x0", DType::F32, vec![4, 2, 6]);
    let w = p.input("w", DType::F32, vec![3, 2, 3]);
    let axes = [("n", 4), ("o", 3), ("i", 6), ("c", 2), ("u", 3)];
    let [n, o, i, c, u] = axes.map(|(name, extent)| p.axis(name, extent));
    let at = Index::from(i).add(&Index::from(u), &p.axes).offset(-1);
    let index = vec![n.into(), c.into(), at];
    let image = p.exprs.add(Expr::Read { tensor: x, index, fill: Some(0.0.into()) });
    let weight = p.exprs.read(w, vec![o.into(), c.into(), u.into()]);
    let product = p.exprs.binary(Binary::Mul, image, weight);
    let body = p.exprs.reduce(Reduction::Sum, vec![c, u], product);
    let z = p.tensor("conv", DType::F32, vec![4, 3, 6]);
    p.define(z, vec![n, o, i], body);
    let axes = [("n", 4), ("o", 3), ("i", 6)].map(|(name, extent)| p.axis(name, extent));
    let read = p.exprs.read(z, axes.iter().map(|axis| Index::from(*axis)).collect());
    let zero = p.exprs.constant(0.0);
    let above = p.exprs.binary(Binary::Gt, read, zero);
    let body = p.exprs.select(above, read, zero);
    let y = p.tensor("y", DType::F32, vec![4, 3, 6]);
    p.define(y, axes.to_vec(), body);
    p.outputs.push(y);
    p
}

#[test]
fn the_text_of_a_convolution() {
    let (kernels, layouts) = lowered(convolution(), 4);
    insta::assert_snapshot!(print(&kernels, &layouts), @r##"
    kernels(x0: f32[4, 2, 6], w: f32[3, 2, 3]) -> (y: f32[4, 3, 6]) {
      conv: f32[4, 3, 6];
      stored x0 lanes(0, 4) halo(0, 0, 0, 0, 1, 1) fill(0);
      stored w rows;
      stored y lanes(0, 4);
      kernel "conv+y" {
        nest [n < 4, o < 3, i < 6] reduce [c < 2, u < 3] {
          conv[n, o, i] = sum[c < 2, u < 3] (x0[n, c, i + u - 1] else 0) * w[o, c, u];
          y[n, o, i] = if conv[n, o, i] > 0 { conv[n, o, i] } else { 0 };
        }
      }
    }
    "##);
}

/// `pooled = max of windows of y`, for a convolution `y`.
fn pooled(window: i64) -> Program {
    let mut p = convolution();
    let y = p.outputs.remove(0);
    let axes = [("n", 4), ("o", 3), ("i", 6 / window), ("u", window)];
    let [n, o, i, u] = axes.map(|(name, extent)| p.axis(name, extent));
    let at = Index::from(i).scale(window).add(&Index::from(u), &p.axes);
    let read = p.exprs.read(y, vec![n.into(), o.into(), at]);
    let body = p.exprs.reduce(Reduction::Max, vec![u], read);
    let pooled = p.tensor("pooled", DType::F32, vec![4, 3, 6 / window]);
    p.define(pooled, vec![n, o, i], body);
    p.outputs.push(pooled);
    p
}

#[test]
fn pooling_joins_the_convolution_before_it() {
    let (kernels, layouts) = lowered(pooled(2), 4);
    let text = print(&kernels, &layouts);
    insta::assert_snapshot!(text, @r##"
    kernels(x0: f32[4, 2, 6], w: f32[3, 2, 3]) -> (pooled: f32[4, 3, 3]) {
      conv: f32[4, 3, 6];
      y: f32[4, 3, 6];
      stored x0 lanes(0, 4) halo(0, 0, 0, 0, 1, 1) fill(0);
      stored w rows;
      stored pooled lanes(0, 4);
      kernel "conv+y+pooled" {
        nest [n < 4, o < 3, i < 3] reduce [c < 2, u < 3] windows [c#1 < 2] {
          conv[n, o, 2*i + c#1] = sum[c < 2, u < 3] (x0[n, c, 2*i + u + c#1 - 1] else 0) * w[o, c, u];
          y[n, o, 2*i + c#1] = if conv[n, o, 2*i + c#1] > 0 { conv[n, o, 2*i + c#1] } else { 0 };
          pooled[n, o, i] = max[c#1 < 2] y[n, o, 2*i + c#1];
        }
      }
    }
    "##);
    let (read, read_layouts) = parse(&text).expect("the text is well formed");
    assert_eq!(print(&read, &read_layouts), text);
    let (mut kernels, layouts) = lowered(pooled(2), 4);
    kernels.kernels[0].nests[0].statements[2].at[2] = Index::from(0);
    let findings = verify(&kernels, Some(&layouts)).expect_err("the pooled element is another one");
    assert_eq!(
        findings,
        ["kernel conv+y+pooled: pooled (t4): piece 0: its axis i is not part of the element"]
    );
}

#[test]
fn pooling_over_more_than_the_registers_hold_stays_apart() {
    assert_eq!(lowered(pooled(2), 4).0.kernels.len(), 1);
    assert_eq!(lowered(pooled(6), 4).0.kernels.len(), 2);
}

#[test]
fn what_the_verifier_finds() {
    let check = |change: &dyn Fn(&mut Kernels, &mut Layouts), expected: &str| {
        let (mut kernels, mut layouts) = lowered(convolution(), 4);
        change(&mut kernels, &mut layouts);
        let findings = verify(&kernels, Some(&layouts)).expect_err(expected);
        assert!(findings.iter().any(|finding| finding == expected), "{findings:?}");
    };
    check(&|k, _| k.kernels.clear(), "y (t3): it is an output that no kernel defines");
    check(&|_, l| l.clear(), "x0 (t0): it is stored but has no layout");
    check(&|k, _| k.stored.clear(), "y (t3): it is given or asked for, but not stored");
    check(&|k, _| k.kernels[0].nests[0].statements.reverse(), {
        "kernel conv+y: conv (t2): a reduction stands behind statements that finish"
    });
    check(&|k, _| k.kernels[0].nests[0].reduce.truncate(1), {
        "kernel conv+y: conv (t2): it reduces over other axes than its nest"
    });
    check(&|k, _| k.kernels.push(k.kernels[0].clone()), "kernel conv+y: conv (t2): it is defined already");
    check(
        &|k, _| {
            let at = &mut k.kernels[0].nests[0].statements[0].at[2];
            *at = at.offset(1);
        },
        "kernel conv+y: y (t3): it reads another element of conv",
    );
    check(&|_, l| l.values_mut().for_each(|layout| layout.fill = None), "x0 (t0): its halo holds no value");
}
