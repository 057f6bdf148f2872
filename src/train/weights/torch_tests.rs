//! Files that PyTorch wrote, and what may be wrong with such files.

use std::io::Write;
use std::path::Path;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/torch/{name}.pt"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn error(file: &[u8]) -> String {
    read(file).unwrap_err().to_string()
}

/// What a fixture is refused for.
fn refused(name: &str) -> String {
    let error = error(&fixture(name));
    let line = error.strip_prefix("not a usable file of PyTorch: ").expect("it says what it is");
    assert_eq!(line.lines().count(), 1);
    line.to_owned()
}

/// The elements at these places of a tensor whose element i is i / 8.
fn eighths(at: &[usize]) -> Vec<f32> {
    at.iter().map(|at| *at as f32 / 8.0).collect()
}

#[test]
fn every_kind_of_tensor_is_read() {
    for name in ["kinds", "protocol4"] {
        let contents = read(&fixture(name)).unwrap();
        let check = |name: &str, shape: &[i64], elements: &[f32]| {
            let Tensor { shape: found, elements: values } = &contents.tensors[name];
            assert_eq!((found.as_slice(), values.as_slice()), (shape, elements), "{name}");
        };
        check("plain", &[2, 3], &eighths(&[0, 1, 2, 3, 4, 5]));
        check("scalar", &[], &[2.5]);
        check("none", &[0, 4], &[]);
        check("half", &[3], &[0.5, -2.0, 65504.0]);
        check("brain", &[2], &[1.0, -10.0]);
        check("double", &[1], &[0.1]);
        check("parameter", &[2], &eighths(&[0, 1]));
        check("shared", &[4, 3], &eighths(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]));
        check("shared_row", &[3], &eighths(&[3, 4, 5]));
        check("shared_transposed", &[3, 4], &eighths(&[0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]));
        check("every_third", &[3], &eighths(&[1, 4, 7]));
        check("channels_last", &[1, 2, 2, 3], &eighths(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]));
        assert_eq!(contents.tensors.len(), 12);
        let others = contents.others.iter().map(|(name, kind)| (name.as_str(), kind.as_str()));
        assert_eq!(others.collect::<Vec<_>>(), [("mask", "BOOL"), ("steps", "I64")]);
        assert_eq!(contents.provenance, Default::default());
    }
}

#[test]
fn what_is_no_state_dict_is_refused() {
    assert_eq!(refused("old"), "it is in the format before PyTorch 1.6; load it there and save it again");
    assert_eq!(
        refused("checkpoint"),
        "it holds more than tensors (epoch, lr, model, best); \
         save its state dict alone: torch.save(checkpoint[\"model\"], FILE)"
    );
    assert_eq!(
        refused("whole"),
        "it needs code of its own (`torch.nn.modules.container.Sequential`), and only a state dict is read: \
         torch.save(model.state_dict(), FILE)"
    );
    assert_eq!(refused("script"), "it is a program of TorchScript; save its state_dict() with torch.save");
    assert_eq!(refused("expanded"), "`a` is no view of its storage");
    assert_eq!(
        refused("tensor"),
        "it holds no dictionary; only a state dict is read: torch.save(model.state_dict(), FILE)"
    );
}

/// Whatever a byte becomes and wherever the file ends, it is a tensor or one line.
#[test]
fn spoilt_files_are_refused() {
    let good = fixture("kinds");
    for len in 0..good.len() {
        let start = &good[..len];
        if is_one(start) {
            assert_eq!(error(start).lines().count(), 1);
        }
    }
    for at in 0..good.len() {
        for change in [0x01, 0x80] {
            let mut bad = good.clone();
            bad[at] ^= change;
            if let Err(problem) = read(&bad) {
                assert_eq!(problem.to_string().lines().count(), 1, "{at}");
            }
        }
    }
}

/// An archive of these entries.
fn archive(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A tensor of the storage `0`: its name, the length of the storage, its offset, extents and strides.
type Made<'a> = (&'a str, u32, u32, &'a [u32], &'a [u32]);

/// The pickle of tensors.
fn pickled(tensors: &[Made<'_>]) -> Vec<u8> {
    let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let number = |number: &u32| [&b"J"[..], &number.to_le_bytes()].concat();
    let tuple =
        |parts: &[u32]| [&b"("[..], &parts.iter().flat_map(number).collect::<Vec<_>>(), b"t"].concat();
    let mut bytes = b"\x80\x02}(".to_vec();
    for (name, len, offset, shape, strides) in tensors {
        bytes.extend(text(name));
        bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        bytes.extend(
            [text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text("0"), text("cpu"), number(len)]
                .concat(),
        );
        bytes.extend(
            [b"tQ".to_vec(), number(offset), tuple(shape), tuple(strides), b"\x89}tR".to_vec()].concat(),
        );
    }
    bytes.extend(b"u.");
    bytes
}

/// What is said of tensors over a storage of so many bytes.
fn said(tensors: &[Made<'_>], bytes: usize) -> String {
    let (pickle, data) = (pickled(tensors), vec![0; bytes]);
    let file = archive(&[("m/data.pkl", &pickle), ("m/data/0", &data)], CompressionMethod::Stored);
    match read(&file) {
        Ok(contents) => format!("{} tensors", contents.tensors.len()),
        Err(problem) => problem.to_string().replace("not a usable file of PyTorch: ", ""),
    }
}

#[test]
fn views_stay_inside_their_storages() {
    assert_eq!(said(&[("a", 4, 0, &[4], &[1])], 16), "1 tensors");
    assert_eq!(said(&[("a", 4, 1, &[3], &[1]), ("b", 4, 0, &[2], &[2])], 16), "2 tensors");
    let no_view = "`a` is no view of its storage";
    for (offset, shape, strides) in [
        (1, &[4][..], &[1][..]),
        (0, &[5], &[1]),
        (0, &[2, 2], &[3, 1]),
        (0, &[2], &[0x7fff_ffff]),
        (0, &[0x7fff_ffff; 4], &[0x7fff_ffff; 4]),
        (0, &[0x7fff_ffff], &[0]),
        (4, &[1], &[1]),
        (4, &[], &[]),
        (0x7fff_ffff, &[1], &[1]),
    ] {
        assert_eq!(said(&[("a", 4, offset, shape, strides)], 16), no_view, "{offset} {shape:?} {strides:?}");
    }
    // Of no elements, none is outside; one element has any stride.
    assert_eq!(
        said(&[("a", 4, 9, &[0, 7], &[7, 1]), ("b", 4, 3, &[1, 1], &[0x7fff_ffff, 9])], 16),
        "2 tensors"
    );
    assert_eq!(said(&[("a", 4, 0, &[4], &[1])], 12), "the storage `0` has 12 bytes for 4 elements");
    assert_eq!(
        said(&[("a", 4, 0, &[4], &[1]), ("b", 3, 0, &[3], &[1])], 16),
        "the storage `0` is described in two ways"
    );
    assert_eq!(said(&[("a", 4, 0, &[4], &[1]), ("a", 4, 0, &[4], &[1])], 16), "`a` is there twice");
    assert!(said(&[("a", 4, 0, &[2], &[1, 1])], 16).contains("broken"));
}

/// Names are cheap, so many tensors could show one storage.
#[test]
fn many_views_are_no_more_than_the_file_can_hold() {
    let names: Vec<String> = (0..200).map(|at| at.to_string()).collect();
    let of = |count: usize| {
        let tensors: Vec<Made<'_>> = names
            .iter()
            .take(count)
            .map(|name| (name.as_str(), 1 << 16, 0, &[1 << 16][..], &[1][..]))
            .collect();
        said(&tensors, 4 << 16)
    };
    assert_eq!(of(4), "4 tensors");
    assert_eq!(of(200), "its tensors have more elements than it can hold");
    let file = archive(
        &[("m/data.pkl", &pickled(&[("a", 1 << 30, 0, &[1 << 30], &[1])]))],
        CompressionMethod::Stored,
    );
    assert!(error(&file).ends_with("its tensors have more elements than it can hold"), "{}", error(&file));
}

/// Which of two a reader takes is its own choice.
#[test]
fn parts_are_there_once() {
    let pickle = pickled(&[("a", 1, 0, &[1], &[1])]);
    let entries: [(&str, &[u8]); 3] =
        [("m/data.pkl", &pickle), ("m/data/0", &[0; 4]), ("m/data/1", &[63; 4])];
    let mut file = archive(&entries, CompressionMethod::Stored);
    assert_eq!(read(&file).unwrap().tensors["a"].elements, [0.0]);
    while let Some(at) = file.windows(8).position(|name| name == b"m/data/1") {
        file[at + 7] = b'0';
    }
    assert_eq!(error(&file), "not a usable file of PyTorch: it has two parts of one name");
}

#[test]
fn other_archives_are_refused() {
    let pickle = pickled(&[("a", 1, 0, &[1], &[1])]);
    let stored = |entries: &[(&str, &[u8])]| error(&archive(entries, CompressionMethod::Stored));
    let none = "not a usable file of PyTorch: a zip archive, but none that torch.save wrote";
    assert_eq!(stored(&[("x_train.npy", b"")]), none);
    assert_eq!(stored(&[("a/data.pkl", b""), ("b/data.pkl", b"")]), none);
    assert!(stored(&[("m/data.pkl", &pickle)]).contains("`m/data/0` is missing or damaged"));
    assert!(stored(&[("m/data.pkl", &pickle), ("m/byteorder", b"big")]).contains("highest byte"));
    let deflated = error(&archive(&[("m/data.pkl", &pickle)], CompressionMethod::Deflated));
    assert!(deflated.ends_with("`m/data.pkl` is compressed, which torch.save does not do"), "{deflated}");
    assert!(error(b"PK\x03\x04 hello").contains("no whole zip archive"));
    assert!(error(b"\x80\x02N.").contains("no whole zip archive"));
}
