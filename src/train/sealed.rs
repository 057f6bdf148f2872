//! JSON files that notice every changed byte: the last key, `sum`, is the hash of all that comes before it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::{files, visible};

/// What stands between the text that is hashed and its hash, and behind the hash.
const SEAM: &str = ",\"sum\":\"";
const END: &str = "\"}\n";

/// The file of a value, which becomes an object.
pub fn seal(value: &impl Serialize) -> Vec<u8> {
    let text = serde_json::to_string(value).expect("numbers, texts, lists and objects of them");
    let text = visible::json(&text);
    close(text.strip_suffix('}').expect("an object"))
}

/// A text with its sum and the end of an object.
pub fn close(body: &str) -> Vec<u8> {
    let sum = files::hash_of(body.as_bytes());
    format!("{body}{SEAM}{sum}{END}").into_bytes()
}

/// The value of a file, or what is wrong with it.
pub fn unseal<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let (body, sum) = split(text).ok_or("the file is damaged: it does not end with its sum")?;
    if files::hash_of(body.as_bytes()) != sum && !planted!("train.sealed.sum") {
        return Err("the file is damaged: its sum is that of another text".into());
    }
    serde_json::from_str(&format!("{body}}}")).map_err(|error| visible::excerpt(&error.to_string()))
}

fn split(text: &str) -> Option<(&str, &str)> {
    text.strip_suffix(END)?.rsplit_once(SEAM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_bit_is_noticed() {
        let value = serde_json::json!({ "a": [1, 2], "b": "x\u{9b}" });
        let sealed = seal(&value);
        assert_eq!(unseal::<serde_json::Value>(std::str::from_utf8(&sealed).unwrap()), Ok(value));
        for bit in 0..8 * sealed.len() {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let noticed = std::str::from_utf8(&changed).map(unseal::<serde_json::Value>);
            assert!(noticed.is_err() || noticed.is_ok_and(|value| value.is_err()), "bit {bit}");
        }
        for len in 0..sealed.len() {
            let part = std::str::from_utf8(&sealed[..len]).unwrap();
            assert!(unseal::<serde_json::Value>(part).is_err(), "{part}");
        }
    }
}
