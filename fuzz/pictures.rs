//! From a picture file to its pixels: what the fuzz target does with its bytes, and an ordinary test with the seeds.
//!
//! What is read has the size that its head says; what is not is told in one line.

use cnnc::data::picture;

/// Takes bytes as a file; gives how many pixels it has.
pub fn from_bytes(bytes: &[u8]) -> usize {
    let size = picture::size_of_bytes(bytes);
    match picture::of_bytes(bytes, picture::WHITE) {
        Ok(image) => {
            let picture = picture::from_image(&image.into_rgb8());
            assert_eq!(size, Ok([picture.shape[1], picture.shape[2]]));
            picture.plane()
        }
        Err(problem) => {
            assert_eq!(problem.lines().count(), 1, "{problem}");
            0
        }
    }
}
