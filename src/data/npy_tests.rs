//! Arrays as NumPy writes them in every type and order, and broken ones.

use super::*;

fn check_round_trip(shape: &[usize]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    let elements: Vec<f32> = (0..shape.iter().product()).map(|element| element as f32 / 3.0).collect();
    write(&path, shape, &elements).unwrap();
    assert_eq!(read(&path).unwrap(), Array { shape: shape.to_vec(), elements });
}

#[test]
fn reads_what_it_writes() {
    check_round_trip(&[]);
    check_round_trip(&[5]);
    check_round_trip(&[2, 3]);
    check_round_trip(&[2, 0, 3]);
    check_round_trip(&[1, 2, 3, 4]);
}

/// What `numpy.save` writes for `numpy.zeros((2, 3), "float32")`.
#[test]
fn headers_are_those_of_numpy() {
    let header = header("<f4", &[2, 3]);
    assert_eq!(&header[..10], b"\x93NUMPY\x01\x00\x76\x00");
    let text = std::str::from_utf8(&header[10..]).unwrap();
    assert_eq!(text.trim_end(), "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }");
    assert_eq!((header.len(), text.ends_with('\n')), (128, true));
}

fn file(version: u8, dictionary: &str, data: &[u8]) -> Vec<u8> {
    let len = (dictionary.len() as u32).to_le_bytes();
    let len = if version == 1 { &len[..2] } else { &len[..] };
    [&b"\x93NUMPY"[..], &[version, 0], len, dictionary.as_bytes(), data].concat()
}

fn dictionary(descr: &str, order: &str, shape: &str) -> String {
    format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n")
}

/// Two elements of a type, 1 and -2 or what stands for it, in both orders of bytes. Today `f2` and every big-endian type
/// are refused.
#[test]
fn every_type_in_either_order_of_bytes() {
    let check = |name: &str, elements: [&[u8]; 2], second: f32| {
        for (order, reversed) in [("<", false), ("=", false), (">", true)] {
            let turned = elements.map(|bytes| {
                let mut bytes = bytes.to_vec();
                if reversed {
                    bytes.reverse();
                }
                bytes
            });
            let file = file(2, &dictionary(&format!("{order}{name}"), "False", "(2,)"), &turned.concat());
            let array = parse(&file).unwrap();
            assert_eq!(array, Array { shape: vec![2], elements: vec![1.0, second] }, "{order}{name}");
        }
    };
    check("f2", [&0x3c00_u16.to_le_bytes(), &0xc000_u16.to_le_bytes()], -2.0);
    check("f4", [&1_f32.to_le_bytes(), &(-2_f32).to_le_bytes()], -2.0);
    check("f8", [&1_f64.to_le_bytes(), &(-2_f64).to_le_bytes()], -2.0);
    check("b1", [&[1], &[0]], 0.0);
    check("i1", [&[1], &[254]], -2.0);
    check("i2", [&1_i16.to_le_bytes(), &(-2_i16).to_le_bytes()], -2.0);
    check("i4", [&1_i32.to_le_bytes(), &(-2_i32).to_le_bytes()], -2.0);
    check("i8", [&1_i64.to_le_bytes(), &(-2_i64).to_le_bytes()], -2.0);
    check("u1", [&[1], &[254]], 254.0);
    check("u2", [&1_u16.to_le_bytes(), &0xff00_u16.to_le_bytes()], 65280.0);
    check("u4", [&1_u32.to_le_bytes(), &0xff00_0000_u32.to_le_bytes()], 4_278_190_080.0);
    check("u8", [&1_u64.to_le_bytes(), &(1_u64 << 63).to_le_bytes()], 9.223_372e18);
}

/// Today such files are refused.
#[test]
fn fortran_order_is_turned_round() {
    // numpy.asfortranarray([[0, 1, 2], [3, 4, 5]])
    let array = parse(&file(1, &dictionary("|u1", "True", "(2, 3)"), &[0, 3, 1, 4, 2, 5])).unwrap();
    assert_eq!(array, Array { shape: vec![2, 3], elements: vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0] });
    let none = parse(&file(1, &dictionary("<f8", "True", "(0, 4294967296, 4294967296)"), &[])).unwrap();
    assert!(none.elements.is_empty());
}

/// All that NumPy writes or has written. Today version 3 is refused, and so are numbers of Python 2.
#[test]
fn headers_of_all_versions_and_spellings() {
    for version in 1..=3 {
        for text in [
            "{'descr': '<i2', 'fortran_order': False, 'shape': (2,), }   \n",
            "{'shape': (2L,), 'fortran_order': False, 'descr': '<i2'}",
            " { \"fortran_order\":False,\n\"shape\" : ( 2 , ) , \"descr\":'<i2' }\n",
        ] {
            let array = parse(&file(version, text, &[1, 0, 2, 0])).unwrap();
            assert_eq!(array, Array { shape: vec![2], elements: vec![1.0, 2.0] }, "{text}");
        }
    }
}

/// The largest whole numbers that are read, and the smallest that `f32` would change.
#[test]
fn whole_numbers_are_read_exactly() {
    let read = |value: i32| parse(&file(1, &dictionary("<i4", "False", "(1,)"), &value.to_le_bytes()));
    for value in [1 << 24, -(1 << 24), i32::MIN, (1 << 24) + 2] {
        assert_eq!(read(value).unwrap().elements, [value as f32]);
    }
    for value in [(1 << 24) + 1, -(1 << 24) - 1, i32::MAX] {
        let error = read(value).unwrap_err();
        assert!(
            error.contains(&format!("an element is {value}, which f32 does not hold exactly")),
            "{error}"
        );
    }
}

/// The header and the bytes of every type that is written.
#[test]
fn elements_keep_their_type() {
    fn check<T: Element>(elements: &[T], name: &str, data: &[u8]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        write(&path, &[elements.len()], elements).unwrap();
        let bytes = std::fs::read(path).unwrap();
        let raw = raw(&bytes).unwrap();
        assert_eq!((raw.element, raw.data), (Type::of(name).unwrap(), data));
    }
    check(&[1.0_f32], "<f4", &1.0_f32.to_le_bytes());
    check(&[i32::MIN, 7], "<i4", &[0, 0, 0, 0x80, 7, 0, 0, 0]);
    check(&[7_u8, 255], "|u1", &[7, 255]);
    check(&[true, false], "|b1", &[1, 0]);
}

fn check_error(bytes: &[u8], expect: &str) {
    let error = parse(bytes).unwrap_err();
    assert!(error.contains(expect) && error.lines().count() == 1 && error.len() < 2000, "{error}");
}

#[test]
fn broken_files_are_errors() {
    let good = file(1, &dictionary("<f4", "False", "(2,)"), &[0; 8]);
    check_error(b"PK\x03\x04", "not a .npy file");
    check_error(&good[..7], "cut off within its header");
    check_error(&good[..9], "cut off within its header");
    check_error(&good[..30], "cut off within its header");
    check_error(&good[..good.len() - 1], "the shape [2], but 7 bytes of elements follow");
    check_error(&file(4, "", b""), "version 4.0; 1.0, 2.0 and 3.0 are read");
    check_error(
        &file(1, &dictionary("<f8", "False", "(1,)"), &1e39_f64.to_le_bytes()),
        "is 1e39, which is beyond",
    );
    let huge = "(4294967296, 4294967296, 16)";
    check_error(&file(1, &dictionary("<f4", "False", huge), &[]), "bytes of elements follow");
    let many = "(4611686018427387904,)";
    check_error(&file(1, &dictionary("<f4", "False", many), &[]), "bytes of elements follow");
}

/// Today a key is looked for anywhere in the text, so `'x': 'shape'` has a shape.
#[test]
fn headers_that_numpy_never_writes() {
    let check = |text: &str, expect: &str| check_error(&file(3, text, &[0; 8]), expect);
    check("{}", "the header has no `descr`");
    check("{'descr': '<f4', 'fortran_order': False}", "the header has no `shape`");
    check("{'descr': '<f4', 'shape': (2,)}", "the header has no `fortran_order`");
    check("{'x': 'shape', ", "the header has a key `x`");
    check("{'shape': (2,), 'shape': (2,)}", "the key `shape` twice");
    check("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)", "ends where `}` should be");
    check("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x", "`x` follows");
    check("{'descr' '<f4'}", "has `'<f4'}` where `:` should be");
    check("{'descr", "has no end");
    check("{'descr': '\\x3cf4'}", "escaped");
    check("{'descr': True}", "not the name of a type");
    check("{'descr': [('a', '<f4'), ('b', '<f4')], ", "several fields; save one of them, x[\"name\"]");
    check("{'fortran_order': 1}", "`fortran_order` is `1`");
    check("{'fortran_order': 'no'}", "neither True nor False");
    for shape in ["2", "(2)", "'2'", "True", "-2"] {
        check(&format!("{{'shape': {shape}}}"), "the `shape` in the header is not a tuple");
    }
    for extent in ["-2", "2.0", "2LL", "+2", "", "L", "99999999999999999999999", "2 2", "(2"] {
        check(&format!("{{'shape': ({extent},)}}"), "in the header's `shape` is no extent");
    }
    check(&format!("{{'shape': ({})}}", "1,".repeat(65)), "more than 64 axes");
    let long = "\u{1b}".repeat(1 << 20);
    for text in [dictionary("<f4", "False", &format!("({long},)")), dictionary(&long, "False", "(1,)")] {
        check(&text, "\\u{1b}");
    }
}

/// Each is named with what to save instead.
#[test]
fn types_that_are_not_read() {
    for (name, expect) in [
        ("<c8", "`<c8`, complex numbers; save x.real and x.imag"),
        ("<U5", "`<U5`, texts; save numbers"),
        ("|O", "`|O`, objects of Python; save x.astype(\"float32\")"),
        ("<M8[ns]", "times; save x.astype(\"int64\")"),
        ("|V2", "bytes without a type; save"),
        ("<f16", "elements of type `<f16`; save x.astype(\"float32\")"),
        ("<i3", "elements of type `<i3`"),
        ("f4", "elements of type `f4`"),
        ("", "elements of type ``"),
        ("é4", "elements of type `é4`"),
    ] {
        check_error(&file(3, &dictionary(name, "False", "(2,)"), &[0; 8]), expect);
    }
}
