//! Round trips, other precisions, broken files, and files of another model.

use ::safetensors::tensor::TensorView;
use tempfile::TempDir;

use super::*;
use crate::base::half;

fn file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    (folder, path)
}

fn of(elements: &[f32]) -> Cow<'_, [f32]> {
    elements.into()
}

fn tensor(shape: &[i64], elements: &[f32]) -> Tensor {
    Tensor { shape: shape.to_vec(), elements: elements.to_vec() }
}

#[test]
fn reads_what_it_writes() {
    let (folder, path) = file();
    let values = [1.0, -0.0, f32::INFINITY, 1e-42, f32::MAX, 0.1];
    save(
        &path,
        &[("b.weight", &[2, 3], of(&values)), ("a", &[], of(&[7.0])), ("none", &[0, 4], of(&[]))],
        None,
    )
    .unwrap();
    let tensors = load(&path).unwrap().tensors;
    assert_eq!(tensors["b.weight"], tensor(&[2, 3], &values));
    assert_eq!(tensors["a"], tensor(&[], &[7.0]));
    assert_eq!(tensors["none"], tensor(&[0, 4], &[]));
    save(&path, &[("a", &[1], of(&[8.0]))], None).unwrap();
    assert_eq!(load(&path).unwrap().tensors.len(), 1);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Writes one tensor of any type and loads the file.
fn load_as(name: &str, dtype: Dtype, bytes: &[u8]) -> Result<Contents, WeightsError> {
    let (_folder, path) = file();
    let view = TensorView::new(dtype, vec![bytes.len() * 8 / dtype.bitsize()], bytes).unwrap();
    std::fs::write(&path, ::safetensors::serialize([(name, view)], None).unwrap()).unwrap();
    load(&path)
}

#[test]
fn other_precisions_are_converted() {
    let check = |dtype, bytes: &[u8], expect: &[f32]| {
        assert_eq!(load_as("x", dtype, bytes).unwrap().tensors["x"].elements, expect);
    };
    check(Dtype::F64, &[0.5_f64.to_le_bytes(), (-3.0_f64).to_le_bytes()].concat(), &[0.5, -3.0]);
    check(Dtype::BF16, &[0x80, 0x3f, 0x20, 0xc1], &[1.0, -10.0]);
    let halves = [0x3c00_u16, 0xc000, 0x7bff, 0x0001, 0x0400, 0x7c00, 0xfc00, 0x3555];
    let values =
        [1.0, -2.0, 65504.0, 5.960_464_5e-8, 6.103_515_6e-5, f32::INFINITY, f32::NEG_INFINITY, 0.333_251_95];
    check(Dtype::F16, &halves.map(u16::to_le_bytes).concat(), &values);
    assert!(half::to_f32(0x7e00).is_nan());
}

#[test]
fn counters_are_left_out_and_other_types_kept_apart() {
    assert_eq!(load_as("bn.num_batches_tracked", Dtype::I64, &[0; 8]).unwrap(), Contents::default());
    let contents = load_as("ids", Dtype::I64, &[0; 8]).unwrap();
    assert!(contents.tensors.is_empty());
    let matched = matching(&[], contents.clone(), &|_| false).unwrap();
    assert_eq!(
        matched.notes(Path::new("F")),
        ["note: what is no floating-point number in F is not used (1 tensor: ids)"]
    );
    // One that the model needs is an error.
    let error = matching(&[("ids", &[1])], contents, &|_| false).unwrap_err().to_string();
    assert_eq!(error, "the tensor `ids` is of type I64; F32, F64, F16 and BF16 are read");
}

/// A file with this header and so many bytes of zeros behind it.
fn with_header(header: &str, bytes: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; bytes]].concat()
}

/// A table would take the last of several, in silence.
#[test]
fn names_are_there_once() {
    let tensor = |name: &str| format!(r#""{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#);
    let said = |header: &str| read(&with_header(header, 4)).unwrap_err().to_string();
    let twice = format!("{{{},{}}}", tensor("a"), tensor("a"));
    assert!(
        said(&twice).starts_with("not a usable safetensors file: `a` is there twice"),
        "{}",
        said(&twice)
    );
    // The same name, written otherwise.
    let twice = format!("{{{},{}}}", tensor("a"), tensor("\\u0061"));
    assert!(said(&twice).contains("`a` is there twice"), "{}", said(&twice));
    let metadata = format!(r#"{{"__metadata__":{{"x":"1","x":"2"}},{}}}"#, tensor("a"));
    assert!(said(&metadata).contains("`x` is there twice"), "{}", said(&metadata));
    let twice = format!(r#"{{"__metadata__":{{}},{},"__metadata__":{{}}}}"#, tensor("a"));
    assert!(said(&twice).starts_with("not a usable safetensors file: "), "{}", said(&twice));
    assert!(read(&with_header(&format!("{{{}}}", tensor("a")), 4)).is_ok());
}

/// The lengths of these headers begin like a pickle and like an archive.
#[test]
fn headers_of_any_length_are_read() {
    for len in [0x280, 0x0403_4b50] {
        let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let header = header.to_owned() + &" ".repeat(len - header.len());
        assert_eq!(read(&with_header(&header, 4)).unwrap().tensors.len(), 1);
    }
}

#[test]
fn weights_know_their_model() {
    let (_folder, path) = file();
    let provenance = Provenance {
        format: Some(1),
        version: Some("1.2.3".into()),
        model: Some("Net".into()),
        classes: Some(vec!["größer".into(), "two\nlines\u{1b}".into(), "größer".into()]),
        input: Some([1, 8, 8]),
        prepare: Some("scale(0.5)".into()),
    };
    save(&path, &[("a", &[1], of(&[8.0]))], Some(&provenance)).unwrap();
    let (contents, bytes) = (load(&path).unwrap(), std::fs::read(&path).unwrap());
    assert_eq!((contents.provenance, contents.tensors.len()), (provenance.clone(), 1));
    // The same weights are the same file.
    save(&path, &[("a", &[1], of(&[8.0]))], Some(&provenance)).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(load_as("x", Dtype::F32, &[0; 4]).unwrap().provenance, Provenance::default());
}

#[test]
fn broken_metadata_are_an_error_and_strange_ones_are_not() {
    let of = |metadata: &str| read(&with_header(&format!(r#"{{"__metadata__":{metadata}}}"#), 0));
    for text in [
        "[",
        "7",
        r#"{\"classes\":\"a\"}"#,
        r#"{\"classes\":[1]}"#,
        r#"{\"input\":[1]}"#,
        r#"{\"input\":[-1,2,3]}"#,
        // Today these keys have no format, and those of a later one are read as if they had this.
        r#"{\"format\":2,\"model\":\"M\"}"#,
    ] {
        let error = of(&format!(r#"{{"cnnc":"{text}"}}"#)).unwrap_err().to_string();
        let start = "not a usable safetensors file: its metadata `cnnc`: ";
        assert!(error.starts_with(start) && error.lines().count() == 1, "{text}: {error}");
    }
    assert_eq!(of(r#"{"format":"pt"}"#).unwrap(), Contents::default());
    let later = of(r#"{"cnnc":"{\"model\":\"M\",\"later\":[1]}"}"#).unwrap().provenance;
    assert_eq!(later, Provenance { model: Some("M".into()), ..Provenance::default() });
}

#[test]
fn broken_files_are_errors() {
    let (_folder, path) = file();
    save(&path, &[("a", &[4], of(&[1.0; 4]))], None).unwrap();
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
    let huge = good.iter().map(|byte| if *byte == b'4' { b'9' } else { *byte }).collect::<Vec<u8>>();
    check(&huge);
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(load(&path), Err(WeightsError::Io { .. })));
}

const EXPECTED: [(&str, &[i64]); 2] = [("conv.weight", &[1, 2]), ("head.weight", &[2])];

fn tensors(list: &[(&str, &[i64])]) -> Contents {
    let filled = |shape: &[i64]| tensor(shape, &vec![1.0; shape.iter().product::<i64>() as usize]);
    let tensors = list.iter().map(|(name, shape)| ((*name).to_owned(), filled(shape))).collect();
    Contents { tensors, ..Contents::default() }
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

/// Which prefix comes off the names of a file, for a model of these names.
fn prefix(model: &[&str], file: &[&str]) -> Result<Option<String>, String> {
    let expected: Vec<(&str, &[i64])> = model.iter().map(|name| (*name, &[2][..])).collect();
    let found: Vec<(&str, &[i64])> = file.iter().map(|name| (*name, &[2][..])).collect();
    let matched = matching(&expected, tensors(&found), &|_| false);
    matched.map(|matched| matched.prefix).map_err(|error| error.to_string())
}

#[test]
fn prefixes_of_other_tools_come_off() {
    let off = |model: &[&str], file: &[&str], expect: &str| {
        assert_eq!(prefix(model, file).as_ref().map(Option::as_deref), Ok(Some(expect)), "{file:?}");
    };
    off(&["a.w", "b.w"], &["module.a.w", "module.b.w"], "module.");
    off(&["a.w"], &["model.a.w"], "model.");
    off(&["a.w"], &["_orig_mod.module.a.w"], "_orig_mod.module.");
    off(&["a.w"], &["module._orig_mod.a.w"], "module._orig_mod.");
    // A model that has a part of that name itself.
    off(&["model.a.w"], &["module.model.a.w"], "module.");
    off(&["model.a.w"], &["model.model.a.w"], "model.");
    off(&["a.w", "model.a.w"], &["model.a.w", "model.model.a.w"], "model.");
    for names in [&["model.a.w"][..], &["a.w", "model.a.w"], &["module.a.w", "b.w"]] {
        assert_eq!(prefix(names, names), Ok(None));
    }
}

#[test]
fn prefixes_stay_where_not_all_that_fit_carry_them() {
    for file in [
        &["module.a.w", "b.w"][..],
        &["module.a.w", "module.b.w", "c.w"],
        &["module.a.w", "model.b.w", "module.c.w"],
        // Without it, two would be called the same.
        &["module.a.w", "module.b.w", "module.c.w", "module.d.w", "d.w"],
        &["modul.a.w", "modul.b.w", "modul.c.w"],
    ] {
        let error = prefix(&["a.w", "b.w", "c.w"], file).unwrap_err();
        assert!(error.starts_with("the weights do not fit the model\n"), "{file:?}: {error}");
        assert!(
            error.contains(&format!("`{}` of the file is not in the model", file[0])),
            "{file:?}: {error}"
        );
    }
    // What else is wrong is said of the names without it.
    let error = prefix(&["a.w", "b.w"], &["module.a.w", "module.c.w"]).unwrap_err();
    assert!(
        error.contains("`b.w` is not in the file") && error.contains("`c.w` of the file is not"),
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
    // Prefixes come off as well.
    let found = [("module.conv.weight", &[1, 2][..]), ("module.head.weight", &[1000])];
    let matched = matching(&EXPECTED, tensors(&found), &except).unwrap();
    assert_eq!(matched.prefix.as_deref(), Some("module."));
}
