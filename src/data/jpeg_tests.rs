//! JPEG files that are cut off anywhere, damaged, or of a kind that is not read.

use super::*;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/pictures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The place of a marker.
fn marker(bytes: &[u8], code: u8) -> usize {
    bytes.windows(2).position(|pair| pair == [0xFF, code]).unwrap()
}

fn error(bytes: &[u8]) -> String {
    decode(bytes).unwrap_err()
}

/// Today each of these is a picture that is grey from the cut on, in some kinds from anywhere behind the head on.
#[test]
fn files_that_are_cut_off_are_errors_wherever_it_is() {
    let names = [
        "444.jpg",
        "420.jpg",
        "restart.jpg",
        "progressive420.jpg",
        "scans420_restart.jpg",
        "grey.jpg",
        "cmyk.jpg",
        "thumbnail.jpg",
    ];
    for name in names {
        let whole = fixture(name);
        let (picture, _) = decode(&whole).unwrap();
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "{name} of {length} bytes");
            // An end marker makes it no better, unless what was cut off were bits without a meaning.
            let closed = [&whole[..length], &[0xFF, 0xD9]].concat();
            let differs = decode(&closed).is_ok_and(|(other, _)| other != picture);
            assert!(!differs, "{name} of {length} bytes and an end marker");
        }
    }
}

/// Today both are the picture, and so they should stay: this is what cameras and programs write.
#[test]
fn what_is_behind_the_picture_is_left_alone() {
    for name in ["444.jpg", "progressive420.jpg", "scans444.jpg"] {
        let whole = fixture(name);
        let (picture, _) = decode(&whole).unwrap();
        let (data, end) = whole.split_at(whole.len() - 2);
        let filled = [data, &[0, 0x12, 0x34, 0xFF], end, &fixture("grey.jpg")].concat();
        assert_eq!(decode(&filled).unwrap().0, picture, "{name}");
    }
}

/// Today arithmetic and lossless files are refused for having no components, and a file without tables has none.
#[test]
fn kinds_that_are_not_read_have_names() {
    let good = fixture("444.jpg");
    let frame = marker(&good, 0xC0);
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        error(&bytes)
    };
    assert_eq!(changed(frame + 1, 0xC3), "lossless JPEG files are not read");
    assert_eq!(changed(frame + 1, 0xC5), "hierarchical JPEG files are not read");
    assert_eq!(changed(frame + 1, 0xC9), "arithmetic JPEG files are not read");
    assert_eq!(changed(frame + 4, 12), "JPEG files with samples of 12 bits are not read");
    assert_eq!(changed(frame + 9, 2), "JPEG files with 2 components are not read");
    assert_eq!(changed(frame + 11, 0x51), "the JPEG data are damaged: components are sampled 1 to 4 times");
    let tables = marker(&good, 0xC4);
    assert_eq!(changed(tables + 1, 0xFE), "the JPEG data are damaged: a Huffman table is missing");
    assert_eq!(error(b"\xff\xd8\xff\xd9"), "the JPEG file has no picture before its end");
    assert_eq!(error(b"hello"), "the file is no JPEG");
}

/// Today the rows behind such a marker are shifted, or those of another interval.
#[test]
fn restart_markers_are_counted() {
    let good = fixture("restart.jpg");
    let first = marker(&good, 0xD0);
    let mut bytes = good.clone();
    bytes[first + 1] = 0xD3;
    let message = "the JPEG data are damaged: restart markers are not where they should be";
    assert_eq!(error(&bytes), message);
    let without = [&good[..first], &good[first + 2..]].concat();
    assert!(decode(&without).is_err());
}

/// Today the missing bits of the last scan are 0.
#[test]
fn scans_that_are_missing_are_missed() {
    let good = fixture("progressive444.jpg");
    let starts: Vec<usize> = (0..good.len()).filter(|at| good[*at..].starts_with(&[0xFF, 0xDA])).collect();
    assert!(starts.len() > 5);
    for start in &starts[1..] {
        let bytes = [&good[..*start], &[0xFF, 0xD9]].concat();
        assert_eq!(error(&bytes), "the JPEG file is cut off: scans are missing");
    }
    // The same scan a second time.
    let scan = &good[starts[0]..starts[1]];
    let twice = [&good[..starts[1]], scan, &good[starts[1]..]].concat();
    assert!(error(&twice).starts_with("the JPEG data are damaged"), "{}", error(&twice));
}
