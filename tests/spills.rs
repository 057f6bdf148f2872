//! Register tiles fit: the innermost loop of no contraction of the example networks touches the stack.

use std::path::Path;

use cnnc::base::source::SourceMap;
use cnnc::base::target::{Level, Target};
use cnnc::codegen::Module as Code;
use cnnc::elab;
use cnnc::elab::config::Overrides;
use cnnc::loops::verifier::Verified;
use cnnc::lower::{CompileOptions, lower};
use cnnc::train::recipe::Recipe;

/// An instruction: its address, and its text.
type Instruction<'a> = (u64, &'a str);

fn instructions(assembly: &str) -> Vec<Instruction<'_>> {
    let parse = |line: &'_ str| -> Option<(u64, usize)> {
        let trimmed = line.trim_start();
        let (address, _) = trimmed.split_once(' ')?;
        Some((u64::from_str_radix(address, 16).ok()?, line.len() - trimmed.len() + address.len()))
    };
    assembly
        .lines()
        .filter_map(|line| parse(line).map(|(address, end)| (address, line[end..].trim())))
        .collect()
}

/// The bodies of the loops that have no other loop inside: from the target of a jump backwards to the jump.
fn innermost_loops<'a>(code: &'a [Instruction<'a>]) -> Vec<&'a [Instruction<'a>]> {
    let jump = |(at, (_, text)): (usize, &Instruction<'_>)| {
        let target = text.strip_prefix('j')?.rsplit(' ').next()?;
        let target = u64::from_str_radix(target.trim_end_matches('h'), 16).ok()?;
        let start = code.iter().position(|(address, _)| *address == target)?;
        (start <= at).then_some((start, at))
    };
    let loops: Vec<(usize, usize)> = code.iter().enumerate().filter_map(jump).collect();
    let has_inner = |outer: &&(usize, usize)| {
        loops.iter().any(|inner| inner != *outer && inner.0 >= outer.0 && inner.1 <= outer.1)
    };
    let innermost = loops.iter().filter(|found| !has_inner(found));
    innermost.map(|(start, end)| &code[*start..=*end]).collect()
}

fn touches_stack(text: &str) -> bool {
    text.contains("[rsp") || text.contains("[rbp")
}

/// The loops of contractions with multiply-adds that were seen, and those of them that spill.
fn check(file: &str, level: Level) -> (usize, Vec<String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(file);
    let module = elab::load(&mut SourceMap::default(), &path).expect("the example parses");
    let spec = module.train_spec(module.train_sections()[0], &Overrides::default()).expect("it is right");
    let phase = &spec.phases[0];
    let graph = Recipe::of(&module, &spec).step(phase.batch, phase).expect("it elaborates");
    let options = CompileOptions::of(Target::of(level));
    let lowered = lower(&graph, &options);
    let (mut seen, mut spilt) = (0, Vec::new());
    let native = lowered.native_launches();
    for launch in native.iter().filter(|launch| !launch.tiles.is_empty()) {
        let verified = Verified::new(launch.function.clone()).expect("it is valid");
        let code = Code::compile(&[verified], options.machine.target).expect("it compiles");
        let text = code.assembly(0);
        let code = instructions(&text);
        for body in innermost_loops(&code)
            .into_iter()
            .filter(|body| body.iter().any(|(_, text)| text.starts_with("vfmadd")))
        {
            seen += 1;
            let stack = body.iter().filter(|(_, text)| touches_stack(text)).count();
            if stack > 0 {
                let of = format!("{stack} of {} instructions", body.len());
                spilt.push(format!("{file} at {level}: {}: {of}", launch.function.name));
            }
        }
    }
    (seen, spilt)
}

#[test]
fn the_innermost_loops_of_contractions_stay_in_registers() {
    let mut all = 0;
    for level in [Level::Avx2, Level::Avx512] {
        for file in ["digits.cnn", "lenet.cnn", "mnist_cnn.cnn", "convnet_gap.cnn"] {
            let (seen, spilt) = check(file, level);
            assert!(spilt.is_empty(), "{}", spilt.join("\n"));
            assert!(seen >= 4, "{file} at {level}: {seen} loops");
            all += seen;
        }
    }
    assert!(all >= 60, "{all} loops");
}

#[test]
fn loops_are_found_in_assembly() {
    let text = "f:
    0  push rbp
    1  mov rcx, 2
    8  vmovups ymm0, [rsp+40h]
    e  vfmadd231ps ymm0, ymm1, ymm2
   13  dec r15
   16  jne short 0Eh
   18  add [rbp-50h], rcx
   1c  dec rcx
   1f  jne 8
   25  ret
";
    let code = instructions(text);
    assert_eq!(code.len(), 10);
    let loops = innermost_loops(&code);
    assert_eq!(loops.len(), 1);
    assert_eq!(loops[0].len(), 3);
    assert!(touches_stack(code[2].1) && touches_stack(code[6].1) && !touches_stack(code[3].1));
}
