//! Files of weights: folders of runs, files of other tools, and files that are refused.

use cnnc::train::weights::{self, Tensor};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::place::Place;

fn fixture(place: &Place, name: &str) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/torch");
    let file = std::fs::read(format!("{folder}/{name}.pt")).expect("a fixture");
    place.write(&format!("{name}.pt"), file);
}

/// Writes tensors as they are, without a word on their model.
fn write(place: &Place, name: &str, tensors: &[(String, Tensor)]) {
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice(), tensor.elements.as_slice().into()))
        .collect();
    weights::save(&place.path(name), &tensors, None).expect("a file");
}

fn trained(place: &Place) -> Vec<(String, Tensor)> {
    weights::load(&place.path("run/model.safetensors")).expect("weights").tensors.into_iter().collect()
}

/// `--weights run` said that it is no regular file.
#[test]
fn the_folder_of_a_run_stands_for_its_weights() {
    let place = Place::trained();
    let figures = |weights: &str| place.good(&["eval", "tiny.cnn", "--json", "--weights", weights]);
    assert_eq!(figures("run"), figures("run/model.safetensors"));
    assert_eq!(figures("run/"), figures("run"));
    place.good(&["predict", "tiny.cnn", "test:0", "--weights", "run"]);
    place.good(&["run", "tiny.cnn", "--init", "run", "--out", "next", "--steps", "1"]);
    std::fs::create_dir(place.path("empty")).expect("a folder");
    let message = "error: empty has no model.safetensors, so it is no folder of a run";
    place.bad(&["eval", "tiny.cnn", "--weights", "empty"], 1, message);
    place.bad(&["predict", "tiny.cnn", "test:0", "--weights", "empty"], 1, message);
    place.bad(&["run", "tiny.cnn", "--init", "empty", "--out", "other"], 1, message);
}

/// They were unknown tensors, and those of the model were missing.
#[test]
fn prefixes_of_other_tools_come_off_with_a_note() {
    let place = Place::trained();
    let figures = place.good(&["eval", "tiny.cnn", "--json", "--weights", "run"]);
    for prefix in ["module.", "_orig_mod.", "model.", "_orig_mod.module."] {
        let tensors: Vec<_> =
            trained(&place).into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect();
        write(&place, "w.safetensors", &tensors);
        let said = place.run(&["eval", "tiny.cnn", "--json", "--weights", "w.safetensors"]);
        let note = format!(
            "note: the names of tensors in w.safetensors are taken without their prefix `{prefix}`\n"
        );
        assert_eq!(
            (said.code, said.out.as_str(), said.err.as_str()),
            (Some(0), figures.as_str(), note.as_str())
        );
        let said = place.run(&["predict", "tiny.cnn", "test:0", "--weights", "w.safetensors"]);
        assert_eq!((said.code, said.err.as_str()), (Some(0), note.as_str()));
    }
    for begin in [&["--init", "w.safetensors"][..], &["--set", "train.weights=load(\"w.safetensors\")"]] {
        let said = place.run(&[&["run", "tiny.cnn", "--steps", "1"], begin].concat());
        assert!(
            said.code == Some(0) && said.err.contains("without their prefix `_orig_mod.module.`"),
            "{}",
            said.err
        );
    }
    // Only some carry it.
    let some = |name: &str| if name.starts_with("fc.") { name.into() } else { format!("module.{name}") };
    let tensors: Vec<_> = trained(&place).into_iter().map(|(name, tensor)| (some(&name), tensor)).collect();
    write(&place, "w.safetensors", &tensors);
    let said = place.run(&["eval", "tiny.cnn", "--weights", "w.safetensors"]);
    assert_eq!(said.code, Some(1));
    let wanted = "`module.bn.running_mean` of the file is not in the model; is it `bn.running_mean`?";
    assert!(said.err.contains(wanted), "{}", said.err);
}

/// One such tensor, needed or not, was an error: "the tensor `ids` is of type I64".
#[test]
fn tensors_of_other_types_are_left_out_with_a_note() {
    let place = Place::trained();
    let file = place.read("run/model.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&file).expect("weights");
    let write = |name: &str, dtype: Dtype, shape: &[usize], bytes: &[u8]| {
        let mut all = tensors.tensors();
        all.retain(|(known, _)| known != name);
        all.push((name.into(), TensorView::new(dtype, shape.to_vec(), bytes).expect("a tensor")));
        place.write("w.safetensors", safetensors::serialize(all, None).expect("a file"));
    };
    write("ids\n", Dtype::I64, &[2], &[0; 16]);
    let said = place.run(&["eval", "tiny.cnn", "--weights", "w.safetensors"]);
    let note = "note: what is no floating-point number in w.safetensors is not used (1 tensor: ids\\n)\n";
    assert_eq!((said.code, said.err.as_str()), (Some(0), note));
    write("fc.bias", Dtype::I64, &[10], &[0; 80]);
    place.bad(
        &["eval", "tiny.cnn", "--weights", "w.safetensors"],
        1,
        "error: w.safetensors: the tensor `fc.bias` is of type I64; F32, F64, F16 and BF16 are read",
    );
}

/// Such a file was no usable one of safetensors.
#[test]
fn state_dicts_of_pytorch_are_read() {
    let place = Place::trained();
    // As `tests/fixtures/state_dict.py` says.
    let eighths = |tensor: &Tensor| Tensor {
        shape: tensor.shape.clone(),
        elements: (0..tensor.elements.len()).map(|at| at as f32 / 8.0 + 0.5).collect(),
    };
    let tensors: Vec<_> =
        trained(&place).iter().map(|(name, tensor)| (name.clone(), eighths(tensor))).collect();
    write(&place, "w.safetensors", &tensors);
    ["tiny", "wrapped"].iter().for_each(|name| fixture(&place, name));
    let figures = place.good(&["eval", "tiny.cnn", "--json", "--weights", "w.safetensors"]);
    let said = place.run(&["eval", "tiny.cnn", "--json", "--weights", "tiny.pt"]);
    assert_eq!((said.out.as_str(), said.err.as_str()), (figures.as_str(), ""));
    let said = place.run(&["eval", "tiny.cnn", "--json", "--weights", "wrapped.pt"]);
    let note =
        "note: the names of tensors in wrapped.pt are taken without their prefix `_orig_mod.module.`\n";
    assert_eq!((said.out.as_str(), said.err.as_str()), (figures.as_str(), note));
    place.good(&["predict", "tiny.cnn", "test:0", "--weights", "tiny.pt"]);
    place.good(&["run", "tiny.cnn", "--steps", "1", "--init", "tiny.pt"]);
}

#[test]
fn other_files_of_pytorch_are_refused_in_one_line() {
    let place = Place::tiny();
    for (name, why) in [
        ("old", "it is in the format before PyTorch 1.6; load it there and save it again"),
        (
            "checkpoint",
            "it holds more than tensors (epoch, lr, model, best); \
             save its state dict alone: torch.save(checkpoint[\"model\"], FILE)",
        ),
        (
            "whole",
            "it needs code of its own (`torch.nn.modules.container.Sequential`), and only a state dict is read: \
             torch.save(model.state_dict(), FILE)",
        ),
        ("script", "it is a program of TorchScript; save its state_dict() with torch.save"),
        ("expanded", "`a` is no view of its storage"),
    ] {
        fixture(&place, name);
        let file = format!("{name}.pt");
        let message = format!("error: {file}: not a usable file of PyTorch: {why}");
        place.bad(&["eval", "tiny.cnn", "--weights", &file], 1, &message);
    }
}

/// Of two tensors of one name, the last one was taken.
#[test]
fn a_name_that_is_there_twice_is_refused() {
    let place = Place::tiny();
    let tensor = r#""fc.bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    let header = format!("{{{tensor},{tensor}}}");
    place.write("w.safetensors", [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 4]].concat());
    let said = place.run(&["eval", "tiny.cnn", "--weights", "w.safetensors"]);
    assert_eq!((said.code, said.err.lines().count()), (Some(1), 1));
    let start = "error: w.safetensors: not a usable safetensors file: `fc.bias` is there twice";
    assert!(said.err.starts_with(start), "{}", said.err);
}

#[test]
fn metadata_that_cannot_be_read_are_refused() {
    let place = Place::tiny();
    let header = r#"{"__metadata__":{"cnnc":"{\"classes\":[\"a\",7]}"}}"#;
    place.write("w.safetensors", [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat());
    place.bad(
        &["eval", "tiny.cnn", "--weights", "w.safetensors"],
        1,
        "error: w.safetensors: not a usable safetensors file: its metadata `cnnc`: invalid type: integer `7`, \
         expected a string at line 1 column 17",
    );
}
