//! Mixing of the training images of a batch, and of their labels in the same proportion.
//!
//! Every image is mixed with the one before it in the batch, the first with the last, as torchvision does; the
//! proportion is one of the whole batch. Images are mixed as the model reads them, after `prepare`.

use super::draws::CounterRng;
use super::feed::{Batch, Partners};
use crate::base::philox;

/// How images are mixed. The share of the image itself is drawn from a beta distribution with both parameters `alpha`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mix {
    /// The sum of both by their shares: mixup (Zhang et al., 2018).
    Blend { alpha: f64 },
    /// A rectangle of the other image: CutMix (Yun et al., 2019).
    Paste { alpha: f64 },
}

impl Mix {
    /// The name of a way that moves pixels.
    pub fn mover(self) -> Option<&'static str> {
        match self {
            Mix::Blend { .. } => None,
            Mix::Paste { .. } => Some("cutmix"),
        }
    }

    /// Mixes the images `[C, H, W]` of a batch, whose first one is numbered `first`.
    pub fn apply(self, seed: u64, epoch: u64, first: u32, [_, height, width]: [usize; 3], batch: &mut Batch) {
        let mut draws = CounterRng::new(seed, epoch, first, philox::stream("mix"));
        let images = batch.targets.len();
        let share = match self {
            Mix::Blend { alpha } => {
                let share = draws.beta(alpha) as f32;
                with_partners(&mut batch.pixels, images, |image, partner| {
                    let pixels = image.iter_mut().zip(partner);
                    pixels.for_each(|(pixel, other)| *pixel = share * *pixel + (1.0 - share) * other);
                });
                share
            }
            Mix::Paste { alpha } => {
                let cut = (1.0 - draws.beta(alpha)).sqrt();
                let rows = segment(&mut draws, height, cut);
                let columns = segment(&mut draws, width, cut);
                with_partners(&mut batch.pixels, images, |image, partner| {
                    let planes = image.chunks_exact_mut(height * width);
                    for (plane, other) in planes.zip(partner.chunks_exact(height * width)) {
                        for row in rows.clone() {
                            let part = row * width + columns.start..row * width + columns.end;
                            plane[part.clone()].copy_from_slice(&other[part]);
                        }
                    }
                });
                let (all, pasted) = (height * width, rows.len() * columns.len());
                (all - pasted) as f32 / all as f32
            }
        };
        let share = if planted!("data.mix.share") { 1.0 - share } else { share };
        let targets =
            if planted!("data.mix.partner") { batch.targets.clone() } else { batch.targets.rotated() };
        batch.partners = Some(Partners { targets, share });
    }
}

/// Calls `mix` with each image and the unmixed one before it, the first with the last.
fn with_partners(pixels: &mut [f32], images: usize, mix: impl Fn(&mut [f32], &[f32])) {
    let len = pixels.len() / images;
    let last = pixels[pixels.len() - len..].to_vec();
    for image in (1..images).rev() {
        let (before, rest) = pixels.split_at_mut(image * len);
        mix(&mut rest[..len], &before[(image - 1) * len..]);
    }
    mix(&mut pixels[..len], &last);
}

/// The part of a side that a rectangle covers: its middle is drawn from the whole side, its length is the share `cut`
/// of the side, less what falls outside.
fn segment(draws: &mut CounterRng, extent: usize, cut: f64) -> std::ops::Range<usize> {
    let (middle, half) = (draws.below(extent), (cut * extent as f64 / 2.0) as usize);
    middle.saturating_sub(half)..(middle + half).min(extent)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 3] = [2, 4, 6];
    const LEN: usize = 2 * 4 * 6;

    /// Image `i` is all `i`.
    fn batch(images: usize) -> Batch {
        let pixels = (0..images).flat_map(|image| [image as f32; LEN]).collect();
        Batch { pixels, targets: (10..).take(images).collect::<Vec<_>>().into(), partners: None }
    }

    fn mixed(mix: Mix, epoch: u64, images: usize) -> (Batch, f32) {
        let mut batch = batch(images);
        mix.apply(7, epoch, 3, SHAPE, &mut batch);
        let share = batch.partners.as_ref().unwrap().share;
        (batch, share)
    }

    #[test]
    fn images_and_labels_are_mixed_with_those_before() {
        let (batch, share) = mixed(Mix::Blend { alpha: 1.0 }, 1, 3);
        assert_eq!(batch.targets, vec![10, 11, 12].into());
        assert_eq!(batch.partners.unwrap().targets, vec![12, 10, 11].into());
        for (image, partner) in [(0_usize, 2.0), (1, 0.0), (2, 1.0)] {
            let expected = share * image as f32 + (1.0 - share) * partner;
            assert!(batch.pixels[image * LEN..][..LEN].iter().all(|pixel| *pixel == expected));
        }
    }

    #[test]
    fn the_share_is_that_of_the_pixels_left() {
        let mut shares = Vec::new();
        for epoch in 0..50 {
            let (batch, share) = mixed(Mix::Paste { alpha: 1.0 }, epoch, 2);
            let own = batch.pixels[..LEN].iter().filter(|pixel| **pixel == 0.0).count();
            assert!(batch.pixels[..LEN].iter().all(|pixel| [0.0, 1.0].contains(pixel)));
            assert_eq!(share, own as f32 / LEN as f32);
            shares.push(share);
        }
        shares.sort_by(f32::total_cmp);
        shares.dedup();
        assert!(shares.len() > 5 && shares[0] < 0.7 && shares[shares.len() - 1] == 1.0, "{shares:?}");
    }

    #[test]
    fn one_image_is_mixed_with_itself() {
        let (batch, _) = mixed(Mix::Blend { alpha: 0.2 }, 1, 1);
        assert_eq!(batch.pixels, [0.0; LEN]);
        assert_eq!(batch.partners.unwrap().targets, vec![10].into());
    }
}
