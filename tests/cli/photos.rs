//! The page about a folder of photos: its commands are run, and what they print is what stands there but for figures.

use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use safetensors::tensor::{Dtype, TensorView};

use crate::place::Place;

fn page() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/photos.md")
}

/// A picture of a shape, in colours of its own.
fn drawn(class: usize, number: u32) -> RgbImage {
    let (width, height) = (40 + number % 5 * 9, 36 + number % 7 * 6);
    let ground = Rgb([40 + (number * 29 % 60) as u8, 90, 60 + (number * 17 % 80) as u8]);
    let ink = Rgb([230, 200 - (number * 13 % 90) as u8, 40]);
    RgbImage::from_fn(width, height, |x, y| {
        let [x, y] =
            [(x, width), (y, height)].map(|(at, side)| (f64::from(at) / f64::from(side) - 0.5) * 2.6);
        let is_inside = match class {
            0 => x * x + y * y < 1.0,
            1 => x.abs().max(y.abs()) < 0.85,
            _ => x.abs().sqrt() + y.abs().sqrt() < 1.05,
        };
        if is_inside { ink } else { ground }
    })
}

const CLASSES: [&str; 3] = ["circles", "squares", "stars"];
const ENDINGS: [&str; 5] = ["jpg", "png", "bmp", "gif", "webp"];

fn photos(place: &Place, folder: &str, count: u32, first: u32) {
    for (class, name) in CLASSES.into_iter().enumerate() {
        for number in 0..count {
            let inside = if number % 6 == 5 { "/more" } else { "" };
            let ending = ENDINGS[(number as usize + class) % ENDINGS.len()];
            let path = place.path(&format!("{folder}/{name}{inside}/{number:02}.{ending}"));
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            drawn(class, first + number).save(path).expect("a picture");
        }
    }
}

/// Weights under torchvision's names, as they are drawn before a training.
fn weights(place: &Place) {
    let text = "use \"resnet.cnn\";
        data D { source = synthetic(classes=2, size=[3, 32, 32], images=2, test=1); }
        train resnet18(size=32) on D { loss = cross_entropy; optim = sgd(0.0); batch = 2; epochs = 1; }";
    place.write("weights.cnn", text);
    place.good(&["run", "weights.cnn", "--out", "drawn", "--steps", "1"]);
    let bytes = place.read("drawn/model.safetensors");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("weights");
    let tensors = file.tensors();
    let views = tensors.iter().map(|(name, view)| {
        assert_eq!(view.dtype(), Dtype::F32, "{name}");
        let view = TensorView::new(Dtype::F32, view.shape().to_vec(), view.data()).expect("as many bytes");
        (name.as_str(), view)
    });
    place.write("resnet18.safetensors", safetensors::serialize(views, None).expect("weights"));
    std::fs::remove_dir_all(place.path("drawn")).expect("it was made");
}

fn place() -> Place {
    let resnet = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/zoo/resnet.cnn");
    let place = Place::with("resnet.cnn", &std::fs::read_to_string(resnet).expect("the zoo"));
    weights(&place);
    photos(&place, "photos", 24, 0);
    photos(&place, "others", 5, 100);
    let cut = place.read("photos/circles/00.jpg");
    place.write("photos/squares/00.jpg", &cut[..cut.len() * 2 / 3]);
    std::fs::copy(place.path("photos/circles/01.png"), place.path("photos/stars/copy.png")).expect("a copy");
    place.write("photos/stars/notes.txt", "stars are rare");
    place
}

/// What a block's command prints, and whether it succeeds as the block says.
fn printed(place: &Place, command: &str, fails: bool) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words[0] {
        "rm" => {
            words[1..].iter().for_each(|file| std::fs::remove_file(place.path(file)).expect("it is there"));
            String::new()
        }
        "cat" => place.text(words[1]),
        "cnnc" => {
            let said = place
                .run(&[&words[1..], &["--threads", "2"][..if words[1] == "check" { 0 } else { 2 }]].concat());
            assert_eq!(said.code, Some(i32::from(fails)), "{command}: {}{}", said.out, said.err);
            // A run that goes on knows where its pictures were.
            (said.err + &said.out).replace(&*place.path("").to_string_lossy(), "")
        }
        other => panic!("`{other}` is no command of the page"),
    }
}

/// A text without figures: what a machine, a vector level or a moment decides.
fn without_figures(text: &str) -> String {
    let number = |word: &str| word.trim_matches(['(', ')', ',', ';']).replace(',', "").parse::<f64>();
    let is_figure = |word: &str| word.contains('.') && number(word).is_ok();
    let is_whole = |word: &str| !word.contains('.') && number(word).is_ok();
    let machine = ["avx512,", "avx2,", "fma,", "sse4,", "ms", "s", "KiB", "MiB", "GiB", "k"];
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().filter(|word| !machine.contains(word)).collect();
        match words.as_slice() {
            // An epoch, a class, the best epoch, a row of the table of predictions.
            [epoch, _, _, "%", ..] if is_whole(epoch) => format!("{epoch} ..."),
            [class, rest @ ..] if CLASSES.contains(class) => format!("{class} {}", rest.len()),
            ["the", "weights", "are", ..] => "the weights are".into(),
            [row] if row.contains(",,") => row.split_once(",,").map_or("", |(picture, _)| picture).into(),
            _ => words
                .iter()
                .map(|word| if is_figure(word) { "#" } else { word })
                .collect::<Vec<_>>()
                .join(" "),
        }
    };
    let line =
        |text: &str| line(text).replace("trained for # (# in all)", "trained").replace(", # of memory", "");
    text.lines().map(line).filter(|line| !line.starts_with('─')).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_page_says_what_happens() {
    let text = std::fs::read_to_string(page()).expect("the page");
    let place = place();
    let (mut blessed, mut rest, mut commands) = (String::new(), text.as_str(), 0);
    while let Some((before, block)) = rest.split_once("\n```") {
        let (info, block) = block.split_once('\n').expect("a block");
        let (body, after) = block.split_once("```").expect("its end");
        let mut body = body.to_owned();
        if let Some(file) = info.strip_prefix("cnn file=") {
            place.write(file, &body);
        } else if let Some(fails) = info.strip_prefix("console") {
            let (first, expected) = body.split_once('\n').expect("a command");
            let command = first.strip_prefix("$ ").expect("a command").to_owned();
            let found = printed(&place, &command, fails == " fails");
            let lines: Vec<&str> = found.lines().map(str::trim_end).collect();
            let found = lines.join("\n").trim_end().to_owned();
            if std::env::var_os("BLESS").is_none() {
                assert_eq!(without_figures(&found), without_figures(expected.trim_end()), "{command}");
            }
            let end = if found.is_empty() { "" } else { "\n" };
            body = format!("$ {command}\n{found}{end}");
            commands += 1;
        }
        blessed += &format!("{before}\n```{info}\n{body}```");
        rest = after;
    }
    assert_eq!(commands, 8);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(page(), blessed + rest).expect("the page is written");
    }
}
