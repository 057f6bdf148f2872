//! Lines of records, what is read of them, and what stays when a run goes on.

use std::fs;

use super::*;

fn epoch(epoch: u64) -> EpochRecord {
    EpochRecord {
        epoch,
        train_loss: 0.5,
        train_accuracy: 0.75,
        split: Evaluated::Validation,
        loss: Some(0.25),
        accuracy: None,
        seconds: 1.5,
        images_per_second: 1000.0,
        learning_rate: 0.001,
        phase: None,
        top: TopFigures::new(),
    }
}

fn step(epoch: u64, loss: f32) -> StepRecord<'static> {
    StepRecord { split: "train", epoch, step: 1, loss }
}

fn text(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn the_files_have_their_keys() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = Records::create(folder.path()).unwrap();
    records.epoch(&epoch(1)).unwrap();
    records.step(&step(1, 2.25)).unwrap();
    records.step(&step(1, f32::NAN)).unwrap();
    let top = TopFigures::new();
    records.finish(&FinalRecord { test_loss: 0.5, test_accuracy: 0.875, top, confusion: None }).unwrap();
    assert_eq!(
        text(folder.path(), "metrics.jsonl"),
        "{\"epoch\":1,\"train_loss\":0.5,\"train_accuracy\":0.75,\"val_loss\":0.25,\"val_accuracy\":null,\
         \"seconds\":1.5,\"images_per_second\":1000.0,\"learning_rate\":0.001,\"format\":1}\n"
    );
    assert_eq!(
        text(folder.path(), "steps.jsonl"),
        "{\"split\":\"train\",\"epoch\":1,\"step\":1,\"loss\":2.25,\"format\":1}\n\
         {\"split\":\"train\",\"epoch\":1,\"step\":1,\"loss\":null,\"format\":1}\n"
    );
    assert_eq!(
        text(folder.path(), "final.json"),
        "{\"test_loss\":0.5,\"test_accuracy\":0.875,\"format\":1}\n"
    );
    assert_eq!(read_epochs(folder.path()).unwrap(), [epoch(1)]);
}

#[test]
fn figures_that_are_not_finite_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = Records::create(folder.path()).unwrap();
    let top =
        TopFigures::from([("train_top3_accuracy".into(), Some(0.5)), ("val_top3_accuracy".into(), None)]);
    records.epoch(&EpochRecord { train_loss: f64::INFINITY, top, ..epoch(1) }).unwrap();
    let read = &read_epochs(folder.path()).unwrap()[0];
    assert!(read.train_loss.is_nan());
    assert_eq!((read.top("train"), read.top("val")), (Some(0.5), None));
}

/// Today a line of a later version is read as if it were one of this.
#[test]
fn formats_are_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    put("metrics.jsonl", &text_of_earlier(&epoch(1)));
    put(
        "steps.jsonl",
        "{\"split\":\"train\",\"epoch\":1,\"step\":3,\"loss\":2.5}\n{\"format\":1,\"split\":\"va",
    );
    put("final.json", "{\"test_loss\":0.5,\"test_accuracy\":0.875}\n");
    assert_eq!(read_epochs(folder.path()).unwrap(), [epoch(1)]);
    assert_eq!(read_steps(folder.path()).unwrap(), [(3, 2.5)]);
    assert!(read_final(folder.path()).unwrap().unwrap().top.is_empty());
    put(
        "metrics.jsonl",
        "{\"format\":2,\"epoch\":1,\"train_loss\":0.5,\"train_accuracy\":0.75,\"seconds\":1.5,\"images_per_second\":1000.0,\"learning_rate\":0.001}\n",
    );
    put("steps.jsonl", "{\"format\":2,\"split\":\"train\",\"step\":3,\"loss\":2.5}\n");
    put("final.json", "{\"format\":2,\"test_loss\":0.5,\"test_accuracy\":0.875}\n");
    let errors =
        [read_epochs(folder.path()).err(), read_steps(folder.path()).err(), read_final(folder.path()).err()];
    for error in errors {
        let error = error.expect("a later format").to_string();
        assert!(error.ends_with("it is of format 2; this version reads 1"), "{error}");
    }
}

/// A line as versions without formats wrote it.
fn text_of_earlier(record: &EpochRecord) -> String {
    serde_json::to_string(record).unwrap() + "\n"
}

/// A line without an end is not read to it, and a file that is refused stays as it is.
#[test]
fn lines_have_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let record = "{\"epoch\":1,\"step\":1,\"norms\":{\"a\":2.0}}";
    let put = |len: u64| {
        let rest = " ".repeat(len as usize - record.len() - 1);
        for name in ["metrics.jsonl", "steps.jsonl", GRADIENTS] {
            fs::write(folder.path().join(name), format!("\n{record}{rest}\n")).unwrap();
        }
    };
    put(LONGEST_LINE);
    assert_eq!(read_gradients(folder.path()).unwrap()[&1]["a"], 2.0);
    Records::resume_earlier(folder.path(), 1, 1).unwrap();
    assert_eq!(text(folder.path(), GRADIENTS).trim_end(), record);
    put(LONGEST_LINE + 1);
    let said = [
        read_epochs(folder.path()).unwrap_err(),
        read_gradients(folder.path()).unwrap_err(),
        Records::resume_earlier(folder.path(), 1, 1).unwrap_err(),
    ];
    for error in said {
        assert!(error.to_string().ends_with(".jsonl: line 2 has more than 16777216 bytes"), "{error}");
    }
    assert_eq!(fs::metadata(folder.path().join("metrics.jsonl")).unwrap().len(), LONGEST_LINE + 2);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn names_are_written_as_codes() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = Records::create(folder.path()).unwrap();
    let norms = IndexMap::from([("a\u{9b}2J\u{7f}".to_owned(), Some(1.0))]);
    records.gradients(&GradientRecord { epoch: 1, step: 1, norms }).unwrap();
    let text = text(folder.path(), GRADIENTS);
    assert!(text.contains("\"a\\u009b2J\\u007f\""), "{text}");
    assert_eq!(read_gradients(folder.path()).unwrap()[&1]["a\u{9b}2J\u{7f}"], 1.0);
}

#[test]
fn resuming_drops_later_and_torn_lines() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = Records::create(folder.path()).unwrap();
    for number in 1..=3 {
        records.epoch(&epoch(number)).unwrap();
        records.step(&step(number, 1.0)).unwrap();
    }
    records.steps.0.append(b"{\"split\":\"train\",\"epoch\":1,\"st").unwrap();
    records.steps.0.append(b"\n").unwrap();
    records.step(&StepRecord { step: 4, ..step(3, 1.0) }).unwrap();
    records.step(&StepRecord { split: "val", ..step(3, 1.0) }).unwrap();
    let mut resumed = Records::resume_earlier(folder.path(), 2, 3).unwrap();
    resumed.step(&step(3, 9.0)).unwrap();
    assert_eq!(read_epochs(folder.path()).unwrap(), [epoch(1), epoch(2)]);
    let steps = text(folder.path(), "steps.jsonl");
    assert_eq!(steps.lines().count(), 4, "{steps}");
    assert!(!steps.contains("val") && !steps.contains("\"step\":4"), "{steps}");
    assert!(steps.ends_with("\"loss\":9.0,\"format\":1}\n"));
}

#[test]
fn gradients_are_averaged_over_an_epoch() {
    let folder = tempfile::tempdir().unwrap();
    assert!(read_gradients(folder.path()).unwrap().is_empty());
    let mut records = Records::create(folder.path()).unwrap();
    let add = |records: &mut Records, epoch, step, first: f32, second: f32| {
        let norms = [("b", first), ("a", second)]
            .map(|(name, norm)| (name.to_owned(), norm.is_finite().then_some(norm)));
        records.gradients(&GradientRecord { epoch, step, norms: IndexMap::from(norms) }).unwrap();
    };
    add(&mut records, 1, 1, 1.0, 2.0);
    add(&mut records, 1, 2, 3.0, f32::NAN);
    add(&mut records, 2, 3, 5.0, 6.0);
    add(&mut records, 2, 4, 9.0, 9.0);
    let found = read_gradients(Records::resume_earlier(folder.path(), 1, 3).unwrap().folder()).unwrap();
    let epochs: Vec<Vec<(&str, f64)>> = found
        .values()
        .map(|norms| norms.iter().map(|(name, norm)| (name.as_str(), *norm)).collect())
        .collect();
    assert_eq!(epochs, [[("b", 2.0), ("a", 2.0)], [("b", 5.0), ("a", 6.0)]]);
}

/// A checkpoint says how long the files were: what came later goes, whole or torn, and nothing else.
#[test]
fn records_go_on_where_a_checkpoint_saw_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = Records::create(folder.path()).unwrap();
    let norms = || GradientRecord { epoch: 1, step: 1, norms: IndexMap::from([("a".to_owned(), Some(1.0))]) };
    records.step(&step(1, 1.0)).unwrap();
    let without_gradients = records.lengths();
    records.gradients(&norms()).unwrap();
    records.epoch(&epoch(1)).unwrap();
    records.step(&StepRecord { split: "val", ..step(1, 1.0) }).unwrap();
    records.sync().unwrap();
    let lengths = records.lengths();
    let names = ["metrics.jsonl", "steps.jsonl", GRADIENTS];
    let before = names.map(|name| text(folder.path(), name));
    // As a run that is done, and as one that is killed in the middle of a line.
    let top = TopFigures::new();
    records.step(&StepRecord { split: "test", ..step(1, 1.0) }).unwrap();
    records.gradients(&norms()).unwrap();
    records.finish(&FinalRecord { test_loss: 0.5, test_accuracy: 0.875, top, confusion: None }).unwrap();
    records.metrics.0.append(b"{\"epoch\":2,\"tr").unwrap();
    drop(records);
    let records = Records::resume(folder.path(), lengths).unwrap();
    assert_eq!((names.map(|name| text(folder.path(), name)), records.lengths()), (before, lengths));
    assert!(!folder.path().join("final.json").exists());
    // Back to where nothing of a file was there.
    Records::resume(folder.path(), without_gradients).unwrap();
    assert!(!folder.path().join(GRADIENTS).exists());
    // Files that lost something are no records of this checkpoint.
    let error = Records::resume(folder.path(), lengths).unwrap_err().to_string();
    assert!(error.contains("it has 0 bytes, and there were "), "{error}");
}

/// The figures of the test split were called those of a validation.
#[test]
fn what_was_evaluated_gives_the_keys() {
    let line = |split, accuracy| {
        String::from_utf8(line_of(&EpochRecord { split, accuracy, ..epoch(1) })).expect("text")
    };
    let test = line(Evaluated::Test, Some(0.5));
    assert!(test.contains("\"test_loss\":0.25,\"test_accuracy\":0.5,") && !test.contains("val"), "{test}");
    let val = line(Evaluated::Validation, None);
    assert!(val.contains("\"val_loss\":0.25,\"val_accuracy\":null,") && !val.contains("test"), "{val}");
    for text in [test, val] {
        let read: Versioned<EpochRecord> = serde_json::from_str(&text).unwrap();
        assert_eq!(line_of(&read.open().unwrap()), text.as_bytes());
    }
}
