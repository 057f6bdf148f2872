//! The loops that are written for a scheduled nest: kernels and the steps of their schedules as texts. The functions
//! run by the interpreter, and give the sums that plain loops over the same numbers give.

use super::emit::emit;
use super::nest::LoopNest;
use super::step::Step;
use super::*;
use crate::base::philox::RandomState;
use crate::base::target::Level;
use crate::kernels::parser::parse;
use crate::loops::interpreter::{BufferMemory, run};
use crate::te::{Axis, DType, Index};

/// The result at an element, by plain loops; `read("x", &[1, 2])` is an element of an input.
type Direct = fn(read: &dyn Fn(&str, &[usize]) -> f32, at: &[usize]) -> f32;

/// The latest axis of a name: a part of a loop is called as the whole was.
fn axis(sched: &LoopNest, name: &str) -> Axis {
    let found = sched.axes.iter().filter(|(_, data)| data.name == name).last();
    found.unwrap_or_else(|| panic!("no axis is called {name}")).0
}

/// Takes one step, in the words in which it is written down; `only n < 11` masks what is reduced.
fn step(sched: &mut LoopNest, text: &str) -> Result<(), Illegal> {
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{text} is no number"));
    let named = |name: &str| axis(sched, name);
    let words: Vec<&str> = text.split(' ').collect();
    let step = match words.as_slice() {
        ["tile", name, "by", factor] => Step::Tile { axis: named(name), factor: number(factor) },
        ["block", name, "by", factor] => Step::Block { axis: named(name), factor: number(factor) },
        ["unroll", name] => Step::Unroll { axis: named(name) },
        ["split", name, "by", factor] => Step::Split { axis: named(name), factor: number(factor) },
        ["vectorize", name] => Step::Vectorize { axis: named(name), reduced: false },
        ["vectorize", name, "summed"] => Step::Vectorize { axis: named(name), reduced: true },
        ["restrict", name, "to", range] => {
            let (start, end) = range.split_once("..").expect("a range");
            let (start, end) = (number(start), number(end));
            Step::Restrict { axis: named(name), start, count: end - start }
        }
        ["only", name, "<", extent] => {
            sched.mask = Some((Index::from(named(name)), number(extent)));
            return Ok(());
        }
        _ => panic!("{text} is no step"),
    };
    step.apply(sched)
}

/// A kernel of one nest, whose loops run in the parts that some schedules are for.
struct Example {
    kernels: Kernels,
    layouts: Layouts,
    launches: Vec<Launch>,
}

impl Example {
    /// `schedules` are steps, one after the other with commas between.
    fn new(text: &str, schedules: &[&str]) -> Example {
        let (kernels, layouts) = parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(crate::kernels::verifier::verify(&kernels, Some(&layouts)), Ok(()), "{text}");
        let machine = Machine::of(Target::of(Level::Avx2));
        let input =
            ScheduleInput { kernels: &kernels, layouts: &layouts, machine: &machine, accurate_sums: false };
        let [kernel] = kernels.kernels.as_slice() else { panic!("{text}: one kernel") };
        let [nest] = kernel.nests.as_slice() else { panic!("{text}: one nest") };
        let launch = |steps: &&str| {
            let mut sched = LoopNest::new(&kernels.program, nest);
            for text in steps.split(", ").filter(|text| !text.is_empty()) {
                step(&mut sched, text).unwrap_or_else(|error| panic!("{error}"));
            }
            emit(input, "f", nest, &sched)
        };
        let launches = schedules.iter().map(launch).collect();
        Example { kernels, layouts, launches }
    }

    /// All elements of a tensor.
    fn elements(&self, tensor: Tensor) -> Vec<Vec<usize>> {
        self.kernels.program.tensors[tensor].shape.iter().fold(vec![Vec::new()], |all, extent| {
            let more =
                |at: Vec<usize>| (0..*extent as usize).map(move |next| [at.as_slice(), &[next]].concat());
            all.into_iter().flat_map(more).collect()
        })
    }

    fn offset(&self, tensor: Tensor, at: &[usize]) -> usize {
        let at: Vec<i64> = at.iter().map(|index| *index as i64).collect();
        self.layouts[&tensor].offset(&at)
    }

    /// The memory of a tensor: small integers in an input, of which sums are exact in any order. What is beside
    /// elements and their halos is no number.
    fn memory(&self, tensor: Tensor) -> Vec<f32> {
        let layout = &self.layouts[&tensor];
        let beside = layout.fill.map_or(f32::NAN, |fill| fill.get() as f32);
        let mut memory = vec![beside; layout.len()];
        if self.kernels.program.inputs.contains(&tensor) {
            for (number, at) in self.elements(tensor).iter().enumerate() {
                memory[self.offset(tensor, at)] = ((number * 7 + 3) % 11) as f32 - 5.0;
            }
        }
        memory
    }

    /// Runs all functions and compares each result with what plain loops give.
    fn check_values(&self, results: &[(&str, Direct)]) {
        let tensors = &self.kernels.program.tensors;
        let mut memory: Vec<Vec<f32>> = tensors.keys().map(|_| Vec::new()).collect();
        for tensor in &self.kernels.stored {
            memory[tensor.as_u32() as usize] = self.memory(*tensor);
        }
        for launch in &self.launches {
            let numbers: Vec<usize> = launch.buffers.iter().map(|tensor| tensor.as_u32() as usize).collect();
            let mut buffers: Vec<BufferMemory> = (launch.function.buffers.values().zip(&numbers))
                .map(|(data, number)| held(data.dtype, &memory[*number]))
                .collect();
            let state = RandomState { seed: 0, step: 0 };
            assert_eq!(run(&launch.function, &mut buffers, state), Ok(()), "{}", launch.function);
            for (number, buffer) in numbers.iter().zip(&buffers) {
                memory[*number] = numbers_of(buffer);
            }
        }
        let named = |name: &str| tensors.iter().find(|(_, data)| data.name == name).expect(name).0;
        let read = |name: &str, at: &[usize]| {
            let tensor = named(name);
            memory[tensor.as_u32() as usize][self.offset(tensor, at)]
        };
        for (name, direct) in results {
            for at in self.elements(named(name)) {
                assert_eq!(read(name, &at), direct(&read, &at), "{name}{at:?}\n{}", self.text());
            }
        }
    }

    fn text(&self) -> String {
        self.launches.iter().map(|launch| launch.function.to_string()).collect()
    }
}

/// Numbers as the memory of a buffer, and back.
fn held(dtype: DType, numbers: &[f32]) -> BufferMemory {
    match dtype {
        DType::I32 => numbers.iter().map(|number| *number as i32).collect::<Vec<i32>>().into(),
        _ => numbers.to_vec().into(),
    }
}

fn numbers_of(memory: &BufferMemory) -> Vec<f32> {
    match memory {
        BufferMemory::F32(numbers) => numbers.clone(),
        BufferMemory::I32(numbers) => numbers.iter().map(|number| *number as f32).collect(),
        BufferMemory::U8(numbers) => numbers.iter().map(|number| f32::from(*number)).collect(),
    }
}

/// A product of matrices, of which `x` may have another layout.
fn product(n: i64, layout: &str) -> String {
    format!(
        "kernels(x: f32[{n}, 6], w: f32[6, 4]) -> (y: f32[{n}, 4]) {{
  stored x {layout};
  stored w rows;
  stored y {layout};
  kernel \"y\" {{ nest [n < {n}, o < 4] reduce [k < 6] {{ y[n, o] = sum[k < 6] x[n, k] * w[k, o]; }} }}
}}"
    )
}

const PRODUCT: Direct = |read, at| (0..6).map(|k| read("x", &[at[0], k]) * read("w", &[k, at[1]])).sum();

#[test]
fn a_plain_sum() {
    let example = Example::new(&product(3, "rows"), &[""]);
    insta::assert_snapshot!(example.text(), @r"
    fn f(x: read f32[18], w: read f32[24], y: write f32[12]) {
      parallel for n in 0..3 {
        for o in 0..4 {
          total: f32 = 0.0
          for k in 0..6 {
            x_1: f32 = x[6*n + k]
            x_2: f32 = w[4*k + o]
            total = fma(x_1, x_2, total)
          }
          y[4*n + o] = total
        }
      }
    }
    ");
    example.check_values(&[("y", PRODUCT)]);
}

/// The loads of a tile are shared by its points.
#[test]
fn a_register_tile() {
    let example = Example::new(&product(4, "rows"), &["tile n by 2, tile o by 2"]);
    insta::assert_snapshot!(example.text(), @r"
    fn f(x: read f32[24], w: read f32[24], y: write f32[16]) {
      parallel for nb in 0..2 {
        for ob in 0..2 {
          total: f32 = 0.0
          total_1: f32 = 0.0
          total_2: f32 = 0.0
          total_3: f32 = 0.0
          for k in 0..6 {
            x_1: f32 = x[k + 12*nb]
            x_2: f32 = w[4*k + 2*ob]
            total = fma(x_1, x_2, total)
            x_3: f32 = x[k + 12*nb + 6]
            total_2 = fma(x_3, x_2, total_2)
            x_4: f32 = w[4*k + 2*ob + 1]
            total_1 = fma(x_1, x_4, total_1)
            total_3 = fma(x_3, x_4, total_3)
          }
          y[8*nb + 2*ob] = total
          y[8*nb + 2*ob + 1] = total_1
          y[8*nb + 2*ob + 4] = total_2
          y[8*nb + 2*ob + 5] = total_3
        }
      }
    }
    ");
    example.check_values(&[("y", PRODUCT)]);
}

#[test]
fn pictures_in_lanes() {
    let example = Example::new(&product(16, "lanes(0, 8)"), &["split n by 8, vectorize nl, tile o by 2"]);
    insta::assert_snapshot!(example.text(), @r"
    fn f(x: read f32[96], w: read f32[24], y: write f32[64]) {
      parallel for nb in 0..2 {
        for ob in 0..2 {
          total: f32x8 = splat(0.0, 8)
          total_1: f32x8 = splat(0.0, 8)
          for k in 0..6 {
            x_1: f32x8 = x[8*k + 48*nb; 8]
            x_2: f32 = w[4*k + 2*ob]
            s: f32x8 = splat(x_2, 8)
            total = fma(x_1, s, total)
            x_3: f32 = w[4*k + 2*ob + 1]
            s_1: f32x8 = splat(x_3, 8)
            total_1 = fma(x_1, s_1, total_1)
          }
          y[32*nb + 16*ob] = total
          y[32*nb + 16*ob + 8] = total_1
        }
      }
    }
    ");
    example.check_values(&[("y", PRODUCT)]);
}

/// Whatever the steps, the numbers are the same.
#[test]
fn any_steps_give_the_same_sums() {
    let cases: [(i64, &str, &[&str]); 12] = [
        (6, "rows", &["tile n by 3, tile o by 4"]),
        (6, "rows", &["block k by 3"]),
        (6, "rows", &["block k by 2, unroll kl"]),
        (6, "rows", &["unroll k"]),
        (6, "rows", &["tile o by 2, block k by 3, unroll kl"]),
        (6, "rows", &["restrict n to 0..4, tile n by 2", "restrict n to 4..6"]),
        (6, "rows", &["restrict o to 0..1", "restrict o to 1..4, tile o by 3"]),
        (6, "rows", &["split o by 4, vectorize ol"]),
        (6, "rows", &["tile n by 2, split o by 4, vectorize ol, unroll k"]),
        (11, "lanes(0, 8)", &["split n by 8, vectorize nl"]),
        (11, "lanes(0, 4)", &["split n by 4, vectorize nl, tile o by 4, block k by 2"]),
        (1, "lanes(0, 8)", &[""]),
    ];
    for (n, layout, schedules) in cases {
        Example::new(&product(n, layout), schedules).check_values(&[("y", PRODUCT)]);
    }
}

/// A single sum begins again in each block; a tile has no registers for that, where blocks are as short as here.
#[test]
fn a_sum_of_blocks_is_one_of_sums() {
    for (steps, begins_again) in [
        ("block k by 3", true),
        ("block k by 3, unroll kl", true),
        ("unroll k", false),
        ("tile n by 3, block k by 3", false),
    ] {
        let example = Example::new(&product(6, "rows"), &[steps]);
        assert_eq!(example.text().contains("part: f32 = 0.0"), begins_again, "{steps}\n{}", example.text());
        example.check_values(&[("y", PRODUCT)]);
    }
}

/// What does not fill a vector is left to loops of its own.
#[test]
fn vectors_and_a_remainder() {
    let text = "kernels(x: f32[3, 11], v: f32[3, 11]) -> (y: f32[11]) {
  stored x rows;
  stored v rows;
  stored y rows;
  kernel \"y\" { nest [i < 11] reduce [k < 3] { y[i] = sum[k < 3] x[k, i] - v[k, i]; } }
}";
    let example =
        Example::new(text, &["restrict i to 0..8, split i by 4, vectorize il", "restrict i to 8..11"]);
    insta::assert_snapshot!(example.text(), @r"
    fn f(x: read f32[33], v: read f32[33], y: write f32[11]) {
      parallel for ib in 0..2 {
        total: f32x4 = splat(0.0, 4)
        for k in 0..3 {
          x_1: f32x4 = x[11*k + 4*ib; 4]
          x_2: f32x4 = v[11*k + 4*ib; 4]
          x_3: f32x4 = x_1 - x_2
          total = total + x_3
        }
        y[4*ib] = total
      }
    }
    fn f(x: read f32[33], v: read f32[33], y: write f32[11]) {
      parallel for i in 0..3 {
        total: f32 = 0.0
        for k in 0..3 {
          x_1: f32 = x[11*k + i + 8]
          x_2: f32 = v[11*k + i + 8]
          x_3: f32 = x_1 - x_2
          total = total + x_3
        }
        y[i + 8] = total
      }
    }
    ");
    let direct: Direct = |read, at| (0..3).map(|k| read("x", &[k, at[0]]) - read("v", &[k, at[0]])).sum();
    example.check_values(&[("y", direct)]);
}

/// Lanes behind the last picture hold no numbers, and count nothing.
#[test]
fn a_sum_over_lanes_that_are_not_full() {
    let text = "kernels(x: f32[11, 3]) -> (y: f32[3], most: f32[3]) {
  stored x lanes(0, 8);
  stored y rows;
  stored most rows;
  kernel \"y+most\" {
    nest [c < 3] reduce [n < 11] { y[c] = sum[n < 11] x[n, c]; most[c] = max[n < 11] x[n, c]; }
  }
}";
    let example = Example::new(text, &["split n by 8, only n < 11, vectorize nl summed"]);
    insta::assert_snapshot!(example.text(), @r"
    fn f(x: read f32[48], y: write f32[3], most: write f32[3]) {
      parallel for c in 0..3 {
        total: f32x8 = splat(0.0, 8)
        total_1: f32x8 = splat(-inf, 8)
        for nb in 0..2 {
          x_1: f32x8 = x[8*c + 24*nb; 8]
          exists: boolx8 = int(8*nb; 8 by 1) < splat(11, 8)
          total = total + select(exists, x_1, splat(0.0, 8))
          exists_1: boolx8 = int(8*nb; 8 by 1) < splat(11, 8)
          total_1 = max(total_1, select(exists_1, x_1, splat(-inf, 8)))
        }
        folded: f32 = fold_sum(total)
        y[c] = folded
        folded_1: f32 = fold_max(total_1)
        most[c] = folded_1
      }
    }
    ");
    let sum: Direct = |read, at| (0..11).map(|n| read("x", &[n, at[0]])).sum();
    let most: Direct = |read, at| (0..11).map(|n| read("x", &[n, at[0]])).fold(f32::NEG_INFINITY, f32::max);
    example.check_values(&[("y", sum), ("most", most)]);
}

/// The same of a sum of products, which has no mask in a multiplication and an addition at once.
#[test]
fn a_sum_of_products_over_lanes_that_are_not_full() {
    let text = "kernels(x: f32[11, 3], v: f32[11, 3]) -> (y: f32[3]) {
  stored x lanes(0, 8);
  stored v lanes(0, 8);
  stored y rows;
  kernel \"y\" { nest [c < 3] reduce [n < 11] { y[c] = sum[n < 11] x[n, c] * v[n, c]; } }
}";
    let direct: Direct = |read, at| (0..11).map(|n| read("x", &[n, at[0]]) * read("v", &[n, at[0]])).sum();
    for steps in ["", "split n by 8, only n < 11, vectorize nl summed", "tile c by 3"] {
        Example::new(text, &[steps]).check_values(&[("y", direct)]);
    }
}

/// The first of the best; or the first that is no number, as a quotient of zeros is.
#[test]
fn the_position_of_the_best() {
    let text = "kernels(x: f32[6, 6]) -> (high: i32[6], odd: i32[6]) {
  stored x rows;
  stored high rows;
  stored odd rows;
  kernel \"high+odd\" {
    nest [n < 6] reduce [k < 6] {
      high[n] = argmax[k < 6] abs(x[n, k]);
      odd[n] = argmax[k < 6] x[n, k] / x[n, k];
    }
  }
}";
    let high: Direct = |read, at| {
        let size = |k: usize| read("x", &[at[0], k]).abs();
        (1..6).fold(0, |best, k| if size(k) > size(best) { k } else { best }) as f32
    };
    let odd: Direct = |read, at| (0..6).find(|k| read("x", &[at[0], *k]) == 0.0).unwrap_or(0) as f32;
    for steps in ["", "unroll k", "tile n by 2", "block k by 2, unroll kl"] {
        Example::new(text, &[steps]).check_values(&[("high", high), ("odd", odd)]);
    }
}

/// A convolution with a halo, its windows, and what finishes them.
const WINDOWS: &str = "kernels(x: f32[4, 6], w: f32[3]) -> (most: f32[4, 3], twice: f32[4, 3]) {
  conv: f32[4, 6];
  stored x rows halo(0, 0, 1, 1) fill(0);
  stored w rows;
  stored most rows;
  stored twice rows;
  kernel \"conv+most+twice\" {
    nest [n < 4, i < 3] reduce [u < 3] windows [v < 2] {
      conv[n, 2*i + v] = sum[u < 3] (x[n, 2*i + u + v - 1] else 0) * w[u];
      most[n, i] = max[v < 2] conv[n, 2*i + v];
      twice[n, i] = most[n, i] * 2;
    }
  }
}";

const MOST: Direct = |read, at| {
    let conv = |i: usize| -> f32 {
        let taps = (0..3).filter(|u| (1..7).contains(&(i + u)));
        taps.map(|u| read("x", &[at[0], i + u - 1]) * read("w", &[u])).sum()
    };
    conv(2 * at[1]).max(conv(2 * at[1] + 1))
};

#[test]
fn windows_of_a_convolution() {
    let example = Example::new(WINDOWS, &[""]);
    insta::assert_snapshot!(example.text(), @r"
    fn f(x: read f32[32], w: read f32[3], most: write f32[12], twice: write f32[12]) {
      parallel for n in 0..4 {
        for i in 0..3 {
          total: f32 = 0.0
          total_1: f32 = 0.0
          for u in 0..3 {
            x_1: f32 = x[8*n + 2*i + u]
            x_2: f32 = w[u]
            total = fma(x_1, x_2, total)
            x_3: f32 = x[8*n + 2*i + u + 1]
            total_1 = fma(x_3, x_2, total_1)
          }
          total_2: f32 = -inf
          total_2 = max(total_2, total)
          total_2 = max(total_2, total_1)
          most[3*n + i] = total_2
          x_4: f32 = total_2 * 2.0
          twice[3*n + i] = x_4
        }
      }
    }
    ");
    for steps in ["", "tile n by 2", "unroll u", "tile i by 3, unroll u"] {
        let example = Example::new(WINDOWS, &[steps]);
        example.check_values(&[("most", MOST), ("twice", |read, at| 2.0 * MOST(read, at))]);
    }
}
