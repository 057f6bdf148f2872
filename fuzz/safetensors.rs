//! From a safetensors file to the tensors of a model: what the fuzz target does with its bytes, and an ordinary test
//! with the seeds.
//!
//! What is read has the shape that it says, and fits a model of these tensors, with a prefix as without; what is not is
//! told in one line.

use cnnc::train::weights::{self, Contents, matching};

/// Takes bytes as a file; gives how many tensors were read.
pub fn from_bytes(bytes: &[u8]) -> usize {
    let contents = match weights::read(bytes) {
        Ok(contents) => contents,
        Err(problem) => {
            assert_eq!(problem.to_string().lines().count(), 1, "{problem}");
            return 0;
        }
    };
    for (name, tensor) in &contents.tensors {
        let count: i64 = if tensor.shape.contains(&0) { 0 } else { tensor.shape.iter().product() };
        assert_eq!(count, tensor.elements.len() as i64, "{name}");
        assert!(!contents.others.contains_key(name), "{name}");
    }
    let expected: Vec<(&str, &[i64])> =
        contents.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice())).collect();
    let all = expected.len();
    let matched = matching(&expected, contents.clone(), &|_| false).expect("it is what the file has");
    assert!(matched.prefix.is_none() && matched.tensors.iter().flatten().count() == all);
    let stripped: Vec<(&str, &[i64])> =
        expected.iter().map(|(name, shape)| (name.strip_prefix("module.").unwrap_or(name), *shape)).collect();
    // Where two names become one, or some have no prefix, the model is another one.
    let of_others = Contents { others: Default::default(), ..contents.clone() };
    if let Ok(matched) = matching(&stripped, of_others, &|_| false) {
        assert_eq!(matched.tensors.iter().flatten().count() + matched.skipped.len(), all);
    }
    all
}
