//! Small programs for the machine, and programs that break it.

use super::*;

/// The value of a program without nodes.
fn value(bytes: &[u8]) -> Result<PickleValue<'_>, String> {
    read(bytes).map(|pickle| pickle.value)
}

fn error(bytes: &[u8]) -> String {
    read(bytes).map(|pickle| pickle.value).unwrap_err()
}

#[test]
fn numbers_and_texts() {
    let check = |bytes: &[u8], expect| assert_eq!(value(bytes), Ok(expect), "{bytes:?}");
    check(b"\x80\x02N.", PickleValue::None);
    check(b"\x80\x04\x95\x02\0\0\0\0\0\0\0\x88.", PickleValue::Bool(true));
    check(b"\x89.", PickleValue::Bool(false));
    check(b"K\xff.", PickleValue::Int(255));
    check(b"M\xff\x01.", PickleValue::Int(511));
    check(b"J\xff\xff\xff\xff.", PickleValue::Int(-1));
    check(b"\x8a\x00.", PickleValue::Int(0));
    check(b"\x8a\x01\xff.", PickleValue::Int(-1));
    check(b"\x8a\x05\0\0\0\0\x01.", PickleValue::Int(1 << 32));
    check(b"G\x3f\xf8\0\0\0\0\0\0.", PickleValue::Float(1.5));
    check(b"X\x03\0\0\0a\xc3\xa9.", PickleValue::Text("aé"));
    check(b"\x8c\x01a.", PickleValue::Text("a"));
    check(b"\x8d\x01\0\0\0\0\0\0\0a.", PickleValue::Text("a"));
    // What is dropped, marked and remembered.
    check(b"K\x01K\x020.", PickleValue::Int(1));
    check(b"K\x01(0.", PickleValue::Int(1));
    check(b"K\x01(K\x02K\x031.", PickleValue::Int(1));
    check(b"K\x07q\x05K\x01h\x05.", PickleValue::Int(7));
    check(b"K\x07r\x05\0\0\0K\x01j\x05\0\0\0.", PickleValue::Int(7));
    check(b"K\x07\x94K\x08\x94h\0.", PickleValue::Int(7));
}

#[test]
fn lists_and_dictionaries() {
    let pickle = read(b"}q\0(X\x01\0\0\0a](K\x01K\x02eX\x01\0\0\0bK\x03\x85u.").unwrap();
    let PickleValue::Node(dict) = pickle.value else { panic!("{pickle:?}") };
    let Node::Dict(entries) = &pickle.nodes[dict] else { panic!("{pickle:?}") };
    assert_eq!(entries.len(), 2);
    assert_eq!((entries[0].0, entries[1].0), (PickleValue::Text("a"), PickleValue::Text("b")));
    let part = |at: usize| match entries[at].1 {
        PickleValue::Node(node) => &pickle.nodes[node],
        value => panic!("{value:?}"),
    };
    assert_eq!(*part(0), Node::List(vec![PickleValue::Int(1), PickleValue::Int(2)]));
    assert_eq!(*part(1), Node::Tuple(vec![PickleValue::Int(3)]));
}

#[test]
fn code_is_named_and_not_run() {
    let needs = |called: &str| {
        format!(
            "it needs code of its own (`{called}`), and only a state dict is read: \
             torch.save(model.state_dict(), FILE)"
        )
    };
    assert_eq!(error(b"cos\nsystem\n(X\x02\0\0\0idtR."), needs("os.system"));
    assert_eq!(error(b"X\x02\0\0\0osX\x06\0\0\0system\x93."), needs("os.system"));
    assert_eq!(error(b"c__main__\nNet\n)\x81."), needs("__main__.Net"));
    assert_eq!(error(b"ca\x1b[31m\nb\n."), needs("a\\u{1b}[31m.b"));
    assert_eq!(error(b"ctorch\nfloat32\n."), needs("torch.float32"));
    assert_eq!(error(b"cos\nFloatStorage\n."), needs("os.FloatStorage"));
}

#[test]
fn broken_programs_are_refused() {
    for bytes in [
        &b""[..],
        b"K",
        b"N",
        b".",
        b"(.",
        b"K\x01(.",
        b"t.",
        b"K\x01\x86.",
        b"K\x01(K\x02\x86.",
        b"h\0.",
        b"q\0.",
        b"K\x01K\x02a.",
        b"K\x01K\x02s.",
        b"}(K\x01u.",
        b"]K\x01K\x02s.",
        b"NR.",
        b"NNR.",
        b"N)R.",
        b"NQ.",
        b")Q.",
        b"NNb.",
        b"X\xff\xff\xff\xffa.",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffa.",
        b"X\x01\0\0\0\xff.",
        b"cos\nsys",
        b"ccollections\nOrderedDict\nK\x01\x85R.",
        b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(NK\0))tR.",
    ] {
        assert_eq!(error(bytes), broken(), "{:?}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(error(b"\x80\x06N."), "its pickle is of version 6");
    assert_eq!(error(b"\x8a\x09\0\0\0\0\0\0\0\0\x01."), "its pickle has an integer of more than 64 bits");
    assert_eq!(error(b"N\x81."), "its pickle has the opcode 0x81 at byte 1, which no state dict needs");
}

/// A tuple of twice the one before, fifty times: two to the fiftieth if anybody looked at all.
#[test]
fn shared_parts_are_there_once() {
    let doubling = b"q\0h\0\x86".repeat(50);
    let pickle = [&b")"[..], &doubling, b"."].concat();
    assert_eq!(read(&pickle).unwrap().nodes.len(), 51);
    // As deep as it is long, and given back without recursion.
    let deep = [&b")"[..], &b"\x85".repeat(1 << 19), b"."].concat();
    assert_eq!(read(&deep).unwrap().nodes.len(), (1 << 19) + 1);
    // A list that holds itself.
    assert_eq!(read(b"]q\0h\0a.").unwrap().nodes, [Node::List(vec![PickleValue::Node(0)])]);
    let many = [&b")0".repeat(MOST_NODES + 1)[..], b"N."].concat();
    assert_eq!(error(&many), "its pickle has more parts than any network");
}
