//! What makes a checkpoint none, and what killed runs leave beside one.

use crate::train::records::Records;

use super::*;

/// What loading says of a `progress.json`.
fn said(progress: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(CHECKPOINT)).unwrap();
    std::fs::write(folder.path().join("checkpoint/progress.json"), progress).unwrap();
    let error = Checkpoint::load(folder.path()).err().expect("it is refused").to_string();
    error
        .strip_prefix(&format!("{}/", folder.path().join(CHECKPOINT).display()))
        .expect("it names a file")
        .to_owned()
}

/// A `progress.json` of this version.
fn progress(epochs: u64, steps: u64, images: u64, tensors: &str) -> Vec<u8> {
    progress_with(epochs, steps, images, tensors, serde_json::Value::Null, FORMAT)
}

fn progress_with(
    epochs: u64,
    steps: u64,
    images: u64,
    tensors: &str,
    best: serde_json::Value,
    format: u32,
) -> Vec<u8> {
    let begun = serde_json::json!({ "images": images, "loss": 0.0, "correct": 0.0 });
    let position = serde_json::json!({
        "epochs": epochs, "steps": steps, "phase_steps": steps, "begun": begun, "best": null, "stopping": [null, 0]
    });
    let records = serde_json::json!({ "metrics": 0, "steps": 0, "gradients": 0 });
    sealed::seal(&serde_json::json!({
        "format": format, "position": position, "tensors": { "file": tensors, "hash": "" }, "best": best,
        "records": records
    }))
}

/// One of versions before checkpoints had sums.
fn earlier_progress(epochs: u64, tensors: &str) -> String {
    let begun = r#"{"images":0,"loss":0.0,"correct":0.0}"#;
    format!(r#"{{"epochs":{epochs},"steps":2,"phase_steps":2,"begun":{begun},"tensors":"{tensors}"}}"#)
}

/// The error of the JSON reader repeats the whole text that stands in place of a number.
#[test]
fn little_of_a_wrong_file_is_repeated() {
    let text = sealed::seal(&serde_json::json!({ "format": "no\n".repeat(1 << 20) }));
    let said = said(&text);
    assert!(said.contains("invalid type: string") && said.len() < 1000 && !said.contains('\n'), "{said}");
}

#[test]
fn other_files_are_not_read() {
    for name in
        ["../../x", "/etc/passwd", "state-1.safetensors/../x", "state-.safetensors", "x.safetensors", ""]
    {
        let wrong = "progress.json: `tensors` is no name of a file beside it";
        assert_eq!(said(&progress(1, 2, 0, name)), wrong, "{name}");
        assert_eq!(said(earlier_progress(1, name).as_bytes()), wrong, "{name}");
        let best = serde_json::json!({ "file": name, "hash": "" });
        let text = progress_with(1, 2, 0, "state-2.safetensors", best, FORMAT);
        assert_eq!(said(&text), "progress.json: `best` is no name of a file beside it", "{name}");
    }
    assert!(said(&progress(1, 2, 0, "state-2.safetensors")).starts_with("state-2.safetensors: "));
    assert!(said(earlier_progress(1, "state-2.safetensors").as_bytes()).starts_with("state-2.safetensors: "));
}

#[test]
fn positions_that_no_training_reaches_are_refused() {
    let name = "state-2.safetensors";
    for text in
        [progress(u64::MAX, 0, 0, name), progress(0, u64::MAX, 0, name), progress(0, 0, 1 << 54, name)]
    {
        assert_eq!(said(&text), "progress.json: the position is no place in a training");
    }
}

#[test]
fn other_formats_are_told_from_damage() {
    let later = progress_with(1, 2, 0, "state-2.safetensors", serde_json::Value::Null, 3);
    assert_eq!(said(&later), "progress.json: it is of format 3; this version reads 2");
    assert!(said(b"{\"format\":2}\n").ends_with("the file is damaged: it does not end with its sum"));
    assert!(said(b"").ends_with("the file is damaged: it does not end with its sum"));
}

/// A crash before the old files were removed leaves them, and the next checkpoint finds them under no name it knows.
#[test]
fn what_no_longer_counts_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::on(&crate::runtime::devices::interpreter());
    let names = || {
        let entries = std::fs::read_dir(folder.path().join(CHECKPOINT)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert!(Checkpoint::load(folder.path()).unwrap().is_none());
    clean(folder.path()).unwrap();
    let lengths = Records::create(folder.path()).unwrap().lengths();
    let best = save_best(folder.path(), 3, &[]).unwrap();
    clean(folder.path()).unwrap();
    assert!(names().is_empty(), "no checkpoint knows the best epoch yet");
    let again = save_best(folder.path(), 3, &[]).unwrap();
    assert_eq!(best, again);
    let position = Position { steps: 3, ..Position::default() };
    Checkpoint::save(folder.path(), &store, position, Some(&best), lengths).unwrap();
    for left in ["state-2.safetensors", "best-2.safetensors", "best-4.safetensors"] {
        std::fs::write(folder.path().join(CHECKPOINT).join(left), "").unwrap();
    }
    std::fs::write(folder.path().join(CHECKPOINT).join("mine.txt"), "").unwrap();
    clean(folder.path()).unwrap();
    assert_eq!(names(), ["best-3.safetensors", "mine.txt", "progress.json", "state-3.safetensors"]);
    let loaded = Checkpoint::load(folder.path()).unwrap().unwrap();
    assert_eq!((loaded.position, loaded.best, loaded.records), (position, Some(best), Some(lengths)));
}
