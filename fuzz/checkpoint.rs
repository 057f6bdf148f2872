//! Bytes as the files of a checkpoint: how they are cut, `progress.json`, and the tensors. What comes from the fuzzer is
//! sealed here if it wants that, since it will not find a hash.

use std::fs;

use cnnc::train::checkpoint::{Checkpoint, position, read_best};
use cnnc::train::sealed;

/// Loads what the bytes make; how many tensors there were.
pub fn from_bytes(bytes: &[u8]) -> usize {
    let [kind, low, high, rest @ ..] = bytes else { return 0 };
    let at = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
    let (progress, tensors) = rest.split_at(at);
    let folder = std::env::temp_dir().join(format!("cnnc-fuzz-{}", std::process::id()));
    let checkpoint = folder.join("checkpoint");
    fs::create_dir_all(&checkpoint).expect("a folder");
    let progress = match (kind % 2, std::str::from_utf8(progress)) {
        (0, Ok(text)) => {
            // The name of a hash stands for the hash.
            let hash = cnnc::base::files::hash_of(tensors);
            sealed::close(&text.replace("HASH", &hash))
        }
        _ => progress.to_vec(),
    };
    fs::write(checkpoint.join("progress.json"), progress).expect("a file");
    for name in ["state-1.safetensors", "best-1.safetensors"] {
        fs::write(checkpoint.join(name), tensors).expect("a file");
    }
    let found = Checkpoint::load(&folder);
    let stands = position(&folder);
    let count = match found {
        Ok(Some(found)) => {
            // By their texts: NaN is not equal to itself.
            assert_eq!(format!("{:?}", stands.ok().flatten()), format!("{:?}", Some(found.position)));
            let best = found.best.map(|best| read_best(&folder, &best));
            best.map_or(0, |best| best.map_or(0, |tensors| tensors.len())) + found.tensors.len()
        }
        Ok(None) => panic!("there is a file"),
        Err(error) => {
            let said = error.to_string();
            assert!(said.len() < 2000 && !said.chars().any(|c| c.is_control() && c != '\n'), "{said}");
            0
        }
    };
    fs::remove_dir_all(&folder).expect("it was made");
    count
}
