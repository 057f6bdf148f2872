//! Which launches run at once. A launch is a text such as `t0 t1 -> t2`, with `*9` behind for nine statements more and
//! `!` for one that draws numbers.

use super::*;
use crate::loops::parser::parse;
use crate::loops::verifier::verify;

/// Elements of tensors whose number is below this one; the others are large enough for a block of their own.
const SMALL: u32 = 50;

fn tensor(name: &str) -> Tensor {
    let number = name.strip_prefix('t').and_then(|number| number.parse().ok());
    Tensor::from_u32(number.unwrap_or_else(|| panic!("`{name}` is no tensor")))
}

fn elements(name: &str) -> u64 {
    if tensor(name).as_u32() < SMALL { 4 } else { OWN_BYTES / 4 }
}

/// A launch that is called by its number.
fn launch(number: usize, text: &str) -> Launch {
    let (text, draws) = text.strip_suffix('!').map_or((text, false), |text| (text, true));
    let (text, more) =
        text.split_once('*').map_or((text, 0), |(text, more)| (text, more.parse().expect("a number")));
    let (reads, results) = text.split_once("->").expect("an arrow");
    let (reads, results): (Vec<&str>, Vec<&str>) =
        (reads.split_whitespace().collect(), results.split_whitespace().collect());
    let buffers = reads.iter().map(|name| (name, "read")).chain(results.iter().map(|name| (name, "write")));
    let buffers: Vec<String> =
        buffers.map(|(name, access)| format!("{name}: {access} f32[{}]", elements(name))).collect();
    let sum: String = reads.iter().map(|name| format!(" + {name}[0]")).collect();
    let drawn = if draws { " + uniform(0, 1)" } else { "" };
    let stores: String = results.iter().map(|name| format!("{name}[0] = 0.5{sum}{drawn}\n")).collect();
    let more: String = (0..more).map(|at| format!("r{at}: f32 = 1.0\n")).collect();
    let text = format!("fn l{number}({}) {{ {more}{stores} }}", buffers.join(", "));
    let function = parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    verify(&function).unwrap_or_else(|error| panic!("{error:?}: {text}"));
    let buffers = function.buffers.values().map(|buffer| tensor(&buffer.name)).collect();
    let (schedule, origins, tiles) = (String::new(), Vec::new(), Vec::new());
    Launch { function, buffers, schedule, group: None, origins, key: None, tiles }
}

fn launches(texts: &[&str]) -> Vec<Launch> {
    texts.iter().enumerate().map(|(number, text)| launch(number, text)).collect()
}

const GRID: Grid = Grid { fuses: true, block_bytes: 1 << 30, blocks: 8 };

#[derive(Clone, Copy, Default)]
struct Case<'a> {
    launches: &'a [&'a str],
    kept: &'a [(&'a str, Option<&'a str>)],
    verdict: Option<&'a str>,
}

impl Case<'_> {
    /// The groups as `0 2 | 1`, when it has been seen that each launch is there once.
    fn groups(self) -> String {
        let kept: Vec<Persistent> = self
            .kept
            .iter()
            .map(|(present, next)| Persistent { present: tensor(present), next: next.map(tensor) })
            .collect();
        let count = self.launches.len();
        let run = run(launches(self.launches), &kept, self.verdict.map(tensor), GRID);
        let mut names: Vec<&str> = run.iter().map(|launch| launch.function.name.as_str()).collect();
        let units = units(&run);
        let text = units.iter().map(|unit| {
            let groups: BTreeSet<Option<usize>> =
                run[unit.launches.clone()].iter().map(|launch| launch.group).collect();
            assert_eq!(groups.len(), 1, "a unit is a group");
            assert_eq!((unit.slices, unit.scratch.len()), (1, 0));
            names[unit.launches.clone()].iter().map(|name| &name[1..]).collect::<Vec<_>>().join(" ")
        });
        let text = text.collect::<Vec<_>>().join(" | ");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "each launch is there once: {text}");
        text
    }
}

fn check(launches: &[&str], wanted: &str) {
    assert_eq!(Case { launches, ..Case::default() }.groups(), wanted, "{launches:?}");
}

#[test]
fn launches_that_need_nothing_of_each_other_run_at_once() {
    check(&["t0 -> t1"], "0");
    check(&["t0 -> t1", "t0 -> t2", "t0 -> t3"], "0 1 2");
    check(&["t0 -> t1", "t1 -> t2", "t2 -> t3"], "0 | 1 | 2");
    // A diamond, and two chains that are told one after the other.
    check(&["t0 -> t1", "t1 -> t2", "t1 -> t3", "t2 t3 -> t4"], "0 | 1 2 | 3");
    check(&["t0 -> t1", "t1 -> t2", "t3 -> t4", "t4 -> t5"], "0 2 | 1 3");
    check(&[], "");
}

/// What reads comes before what stores there, whether or not anything is read of that.
#[test]
fn nothing_is_stored_that_is_still_to_be_read() {
    check(&["t0 -> t1", "t1 -> t2", "t3 -> t1"], "0 | 1 | 2");
    check(&["t0 -> t1", "t2 -> t0"], "0 | 1");
    check(&["t0 -> t1", "t2 -> t3", "t4 -> t0"], "0 1 | 2");
}

/// They store different elements of it; whoever reads any waits for all before.
#[test]
fn parts_of_one_tensor_are_stored_at_once() {
    check(&["t0 -> t1", "t2 -> t1", "t1 -> t3"], "0 1 | 2");
    check(&["t0 -> t1", "t1 -> t3", "t2 -> t1", "t1 -> t4"], "0 | 1 | 2 | 3");
}

/// The first that is left begins a group, and the others of it come in their order.
#[test]
fn the_order_is_kept_where_nothing_speaks_against_it() {
    check(&["t0 -> t1", "t1 -> t2", "t0 -> t3", "t0 -> t4", "t2 -> t5", "t3 -> t6"], "0 2 3 | 1 5 | 4");
}

/// All or none of a group wait for the verdict.
#[test]
fn the_verdict_parts_groups() {
    let launches: &[&str] = &["t0 -> t1", "t0 -> t2", "t0 -> t3"];
    let groups = |verdict| Case { launches, verdict, ..Case::default() }.groups();
    assert_eq!(groups(None), "0 1 2");
    assert_eq!(groups(Some("t1")), "0 | 1 2");
    assert_eq!(groups(Some("t2")), "0 1 | 2");
    assert_eq!(groups(Some("t3")), "0 1 2");
}

/// What follows from parameters alone does not run again with what does not.
#[test]
fn what_runs_once_stays_apart() {
    let launches: &[&str] = &["t0 -> t1", "t2 -> t3", "t0 -> t4", "t2 -> t5"];
    let groups = |kept| Case { launches, kept, verdict: None }.groups();
    assert_eq!(groups(&[]), "0 1 2 3");
    assert_eq!(groups(&[("t0", None)]), "0 2 | 1 3");
    // A parameter that is updated changes with each step.
    assert_eq!(groups(&[("t0", Some("t9"))]), "0 1 2 3");
    let drawn: &[&str] = &["t0 -> t1", "t0 -> t2!"];
    assert_eq!(Case { launches: drawn, kept: &[("t0", None)], verdict: None }.groups(), "0 | 1");
}

/// What is started early is kept for long.
#[test]
fn a_launch_is_not_started_much_earlier() {
    // Each needs the one before but for the last, which needs nothing.
    let chain = |before: usize| {
        let chain = (0..before).map(|at| format!("t{at} -> t{}", at + 1));
        let texts: Vec<String> = chain.chain(["t40 -> t41".into()]).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        Case { launches: &texts, ..Case::default() }.groups()
    };
    assert!(chain(FARTHEST).starts_with(&format!("0 {FARTHEST} | 1 | 2")), "{}", chain(FARTHEST));
    let one_more = FARTHEST + 1;
    assert!(chain(one_more).starts_with(&format!("0 | 1 {one_more} | 2")), "{}", chain(one_more));
}

#[test]
fn a_kernel_has_not_too_many_statements() {
    let sizes = |first: usize, second: usize| {
        // A launch has one more: its store.
        let texts = [format!("t0 -> t1*{}", first - 1), format!("t0 -> t2*{}", second - 1)];
        Case { launches: &[&texts[0], &texts[1]], ..Case::default() }.groups()
    };
    assert_eq!(sizes(MOST_STATEMENTS / 2, MOST_STATEMENTS / 2), "0 1");
    assert_eq!(sizes(MOST_STATEMENTS / 2, MOST_STATEMENTS / 2 + 1), "0 | 1");
    // A launch that is too large alone runs alone.
    assert_eq!(sizes(MOST_STATEMENTS + 1, 1), "0 | 1");
    // A smaller one behind it still finds its place.
    let large = format!("t0 -> t2*{MOST_STATEMENTS}");
    check(&["t0 -> t1", &large, "t0 -> t3"], "0 2 | 1");
}

#[test]
fn statements_within_others_count() {
    let text = "fn f(x: read f32[4], y: write f32[4]) { for n in 0..4 { a: f32 = x[n] if a < 1.0 { y[n] = a } \
                else { a = 2.0 y[n] = a } } }";
    assert_eq!(statements(&parse(text).expect("parses").body), 6);
}

/// Large tensors that outlive runs have blocks of their own, of which a kernel binds a few.
#[test]
fn a_kernel_binds_not_too_many_blocks() {
    let groups = |first: u32, kept: &[(&str, Option<&str>)]| {
        let texts: Vec<String> = (0..6).map(|at| format!("t{} -> t{}", first + at, at)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        Case { launches: &texts, kept, verdict: None }.groups()
    };
    // The arena is one block for all, and so are small tensors.
    assert_eq!(groups(SMALL, &[]), "0 1 2 3 4 5");
    let kept = ["t50", "t51", "t52", "t53", "t54", "t55"].map(|name| (name, Some("t99")));
    assert_eq!(
        groups(SMALL, &kept),
        "0 1 2 3 | 4 5",
        "{} blocks of {}",
        GRID.blocks - ARENA_BLOCKS,
        GRID.blocks
    );
    let small = ["t30", "t31", "t32", "t33", "t34", "t35"].map(|name| (name, Some("t99")));
    assert_eq!(groups(30, &small), "0 1 2 3 4 5");
    // One that several read counts once, and next values count too.
    let texts: &[&str] = &["t50 -> t1", "t50 -> t60", "t51 -> t61", "t52 -> t62"];
    let kept: &[(&str, Option<&str>)] = &[("t50", Some("t60")), ("t51", Some("t61")), ("t52", Some("t62"))];
    assert_eq!(Case { launches: texts, kept, verdict: None }.groups(), "0 1 2 | 3");
}
