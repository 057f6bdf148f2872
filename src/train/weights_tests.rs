//! Round trips, other precisions, broken files, and files of another model.

use tempfile::TempDir;

use super::*;

fn file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    (folder, path)
}

fn tensor(shape: &[i64], elements: &[f32]) -> Tensor {
    Tensor { shape: shape.to_vec(), elements: elements.to_vec() }
}

#[test]
fn reads_what_it_writes() {
    let (folder, path) = file();
    let values = [1.0, -0.0, f32::INFINITY, 1e-42, f32::MAX, 0.1];
    save(&path, &[("b.weight", &[2, 3], &values), ("a", &[], &[7.0]), ("none", &[0, 4], &[])]).unwrap();
    let tensors = load(&path).unwrap();
    assert_eq!(tensors["b.weight"], tensor(&[2, 3], &values));
    assert_eq!(tensors["a"], tensor(&[], &[7.0]));
    assert_eq!(tensors["none"], tensor(&[0, 4], &[]));
    save(&path, &[("a", &[1], &[8.0])]).unwrap();
    assert_eq!(load(&path).unwrap().len(), 1);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Writes one tensor of any type and loads the file.
fn load_as(name: &str, dtype: Dtype, bytes: &[u8]) -> Result<Tensors, WeightsError> {
    let (_folder, path) = file();
    let view = TensorView::new(dtype, vec![bytes.len() * 8 / dtype.bitsize()], bytes).unwrap();
    std::fs::write(&path, safetensors::serialize([(name, view)], None).unwrap()).unwrap();
    load(&path)
}

#[test]
fn other_precisions_are_converted() {
    let check = |dtype, bytes: &[u8], expect: &[f32]| {
        assert_eq!(load_as("x", dtype, bytes).unwrap()["x"].elements, expect);
    };
    check(Dtype::F64, &[0.5_f64.to_le_bytes(), (-3.0_f64).to_le_bytes()].concat(), &[0.5, -3.0]);
    check(Dtype::BF16, &[0x80, 0x3f, 0x20, 0xc1], &[1.0, -10.0]);
    let halves = [0x3c00_u16, 0xc000, 0x7bff, 0x0001, 0x0400, 0x7c00, 0xfc00, 0x3555];
    let values =
        [1.0, -2.0, 65504.0, 5.960_464_5e-8, 6.103_515_6e-5, f32::INFINITY, f32::NEG_INFINITY, 0.333_251_95];
    check(Dtype::F16, &halves.map(u16::to_le_bytes).concat(), &values);
    assert!(half(0x7e00).is_nan());
}

#[test]
fn counters_are_left_out_and_other_types_named() {
    assert!(load_as("bn.num_batches_tracked", Dtype::I64, &[0; 8]).unwrap().is_empty());
    let error = load_as("ids", Dtype::I64, &[0; 8]).unwrap_err().to_string();
    assert!(error.ends_with("the tensor `ids` is of type I64; F32, F64, F16 and BF16 are read"), "{error}");
}

#[test]
fn broken_files_are_errors() {
    let (_folder, path) = file();
    save(&path, &[("a", &[4], &[1.0; 4])]).unwrap();
    let good = std::fs::read(&path).unwrap();
    let check = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains("w.safetensors: not a usable safetensors file: "), "{error}");
    };
    for len in 0..good.len() {
        check(&good[..len]);
    }
    check(&[good.as_slice(), &[0]].concat());
    check(&[&u64::MAX.to_le_bytes(), &good[8..]].concat());
    check(b"PK\x03\x04 this is a pickle of PyTorch");
    let huge = good.iter().map(|byte| if *byte == b'4' { b'9' } else { *byte }).collect::<Vec<u8>>();
    check(&huge);
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(load(&path), Err(WeightsError::Io { .. })));
}

const EXPECTED: [(&str, &[i64]); 2] = [("conv.weight", &[1, 2]), ("head.weight", &[2])];

fn tensors(list: &[(&str, &[i64])]) -> Tensors {
    let filled = |shape: &[i64]| tensor(shape, &vec![1.0; shape.iter().product::<i64>() as usize]);
    list.iter().map(|(name, shape)| ((*name).to_owned(), filled(shape))).collect()
}

#[test]
fn tensors_come_in_the_order_of_the_model() {
    let found = [("head.weight", &[2][..]), ("conv.weight", &[1, 2]), ("aux1.fc.weight", &[3])];
    let matched = matching(&EXPECTED, tensors(&found), &|_| false).unwrap();
    let shapes: Vec<_> =
        matched.tensors.iter().map(|tensor| tensor.as_ref().unwrap().shape.clone()).collect();
    assert_eq!(shapes, [vec![1, 2], vec![2]]);
    assert_eq!(matched.skipped, ["aux1.fc.weight"]);
}

#[test]
fn a_mismatch_names_every_tensor() {
    let found = [("conv.weight", &[2, 1][..]), ("body.weight", &[2])];
    let error = matching(&EXPECTED, tensors(&found), &|_| false).unwrap_err().to_string();
    assert_eq!(
        error,
        "the weights do not fit the model\n  \
         `conv.weight` is [2, 1] in the file and [1, 2] in the model\n  \
         `head.weight` is not in the file\n  \
         `body.weight` of the file is not in the model"
    );
}

#[test]
fn an_unknown_tensor_may_be_a_missing_one() {
    let found = [("conv.weight", &[1, 2][..]), ("haed.weight", &[2])];
    let error = matching(&EXPECTED, tensors(&found), &|_| false).unwrap_err().to_string();
    assert!(
        error.ends_with("`haed.weight` of the file is not in the model; is it `head.weight`?"),
        "{error}"
    );
}

#[test]
fn long_lists_are_cut() {
    let names: Vec<String> = (0..100).map(|layer| format!("layer{layer}.weight")).collect();
    let found: Vec<(&str, &[i64])> = names.iter().map(|name| (name.as_str(), &[2][..])).collect();
    let error = matching(&EXPECTED, tensors(&found), &|_| false).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1 + 2 + MOST_NAMED + 1);
    assert!(error.ends_with("\n  and 88 more like it"), "{error}");
}

#[test]
fn excepted_tensors_may_be_missing_or_of_another_shape() {
    let except = |name: &str| name.starts_with("head.");
    let found = [("conv.weight", &[1, 2][..]), ("head.weight", &[1000]), ("head.bias", &[1000])];
    let matched = matching(&EXPECTED, tensors(&found), &except).unwrap();
    assert!(matched.tensors[0].is_some() && matched.tensors[1].is_none());
    assert!(matching(&EXPECTED, tensors(&found[..1]), &except).is_ok());
}
