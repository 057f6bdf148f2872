//! Batches of an epoch in turn, made ahead of the step that reads them where making them takes work.
//!
//! Pictures that lie in memory as the model reads them are looked up when a step asks. All others (decoded, resized,
//! changed) are made by threads of their own while the step before runs, at most two batches ahead. What a batch holds
//! depends on the images, the seed and the epoch alone.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use rayon::prelude::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator, ParallelSliceMut};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::augment::{Augment, Rectangle};
use super::picture::Picture;
use super::pixels::Pixels;
use super::prepare::Prepare;
use super::{DataError, Split, Targets, batches};

/// One batch as a step reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// `[N, C, H, W]`.
    pub pixels: Vec<f32>,
    /// Of `N` images.
    pub targets: Targets,
    /// What is mixed into the images, where that is asked for.
    pub partners: Option<Partners>,
}

/// The other halves of mixed images.
#[derive(Clone, Debug, PartialEq)]
pub struct Partners {
    /// Those of the images that were mixed in.
    pub targets: Targets,
    /// What is left of the images themselves, 0 to 1.
    pub share: f32,
}

/// What turns images into batches. Only training has an `augment`, with its epoch.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    pub split: Split,
    pub prepare: Prepare,
    pub augment: Option<(Arc<Augment>, u64)>,
}

/// The images of an epoch and how they are cut.
#[derive(Clone, Debug)]
pub struct EpochPlan {
    pub order: Vec<u32>,
    pub batch: usize,
    pub drop_last: bool,
}

impl BatchBuilder {
    fn is_plain(&self) -> bool {
        self.augment.is_none() && self.split.is_plain()
    }

    /// Writes one image, `[C, H, W]`.
    fn write(&self, index: u32, out: &mut [f32]) -> Result<(), DataError> {
        let pixels = self.split.pixels(index as usize)?;
        match &self.augment {
            None => self.prepare.write_pixels(&pixels, out),
            Some((augment, epoch)) => self.write_changed(augment, *epoch, index, pixels, out),
        }
        Ok(())
    }

    fn write_changed(&self, augment: &Augment, epoch: u64, index: u32, pixels: Pixels<'_>, out: &mut [f32]) {
        let shape = self.split.shape;
        let changed = match pixels {
            Pixels::Bytes(pixels) => {
                let picture = augment.apply(epoch, index, Picture::new(shape, pixels.into_owned()));
                Pixels::Bytes(picture.pixels.into())
            }
            Pixels::Numbers(numbers) => {
                Pixels::Numbers(augment.apply_to_numbers(epoch, index, shape, numbers.into_owned()).into())
            }
        };
        self.prepare.write_pixels(&changed, out);
        for rectangle in augment.erased(epoch, index, shape) {
            clear(out, shape, rectangle);
        }
    }

    fn size(&self, indices: &[u32], batch: &mut Batch) {
        batch.pixels.resize(indices.len() * self.split.image_len(), 0.0);
        self.split.targets.gather(indices, &mut batch.targets);
        if let Some((augment, epoch)) = &self.augment {
            for (at, index) in indices.iter().enumerate() {
                if let Some(places) =
                    augment.places(*epoch, *index, self.split.shape, self.split.targets.shape())
                {
                    batch.targets.shift(at, &places);
                }
            }
        }
    }

    /// Makes a batch on this thread.
    fn fill(&self, indices: &[u32], batch: &mut Batch) -> Result<(), DataError> {
        self.size(indices, batch);
        let mut images = indices.iter().zip(batch.pixels.chunks_exact_mut(self.split.image_len()));
        images.try_for_each(|(index, out)| self.write(*index, out))
    }

    /// Makes a batch on all threads of the pool that this one belongs to. Of several errors it gives the first.
    fn fill_in_parallel(&self, indices: &[u32], batch: &mut Batch) -> Result<(), DataError> {
        self.size(indices, batch);
        let images = indices.par_iter().zip(batch.pixels.par_chunks_exact_mut(self.split.image_len()));
        let results = images.map(|(index, out)| self.write(*index, out));
        results.find_first(Result::is_err).unwrap_or(Ok(()))?;
        if let Some((augment, epoch)) = &self.augment {
            augment.mix(*epoch, indices[0], self.split.shape, batch);
        }
        Ok(())
    }
}

/// Sets a rectangle of every channel to 0.
fn clear(out: &mut [f32], [_, height, width]: [usize; 3], part: Rectangle) {
    for plane in out.chunks_exact_mut(height * width) {
        for row in plane.chunks_exact_mut(width).skip(part.top).take(part.height) {
            row[part.left..part.left + part.width].fill(0.0);
        }
    }
}

/// The batches of a cut.
pub struct DataLoader(Kind);

enum Kind {
    Here { maker: BatchBuilder, cut: EpochPlan, done: usize, space: Batch },
    Ahead(Ahead),
}

/// Batches that another thread makes.
struct Ahead {
    ready: Receiver<Result<Batch, DataError>>,
    /// Batches whose memory may be used again.
    used: Sender<Batch>,
    current: Option<Batch>,
    thread: Option<JoinHandle<()>>,
}

impl DataLoader {
    /// The batches of a cut, with so many threads where they take work.
    ///
    /// # Errors
    ///
    /// Where the threads cannot be started.
    pub fn new(maker: BatchBuilder, cut: EpochPlan, threads: usize) -> Result<DataLoader, DataError> {
        if maker.is_plain() {
            return Ok(DataLoader(Kind::Here { maker, cut, done: 0, space: Batch::default() }));
        }
        let pool = ThreadPoolBuilder::new().num_threads(threads.max(1)).build();
        let pool = pool.map_err(|error| DataError::Threads(error.to_string()))?;
        // One batch waits in the channel while the thread makes the next.
        let (give, ready) = sync_channel(1);
        let (used, reuse) = channel();
        let work = move || make_all(&maker, &cut, &pool, &give, &reuse);
        let thread = std::thread::Builder::new().name("data".into()).spawn(work);
        let thread = Some(thread.map_err(|error| DataError::Threads(error.to_string()))?);
        Ok(DataLoader(Kind::Ahead(Ahead { ready, used, current: None, thread })))
    }

    /// The next batch; none after the last.
    ///
    /// # Errors
    ///
    /// An image that cannot be read.
    pub fn next_batch(&mut self) -> Result<Option<&Batch>, DataError> {
        match &mut self.0 {
            Kind::Here { maker, cut, done, space } => {
                let mut batches = batches::batches(&cut.order, cut.batch, cut.drop_last);
                let Some(indices) = batches.nth(*done) else { return Ok(None) };
                *done += 1;
                maker.fill(indices, space)?;
                Ok(Some(space))
            }
            Kind::Ahead(ahead) => ahead.next_batch(),
        }
    }
}

impl Ahead {
    fn next_batch(&mut self) -> Result<Option<&Batch>, DataError> {
        if let Some(batch) = self.current.take() {
            // The thread may be done and no longer want it.
            let _ = self.used.send(batch);
        }
        match self.ready.recv() {
            Ok(batch) => self.current = Some(batch?),
            Err(_) => {
                if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
                    resume_unwind(panic);
                }
            }
        }
        Ok(self.current.as_ref())
    }
}

/// Makes batches until all are made, one fails, or nobody reads them.
fn make_all(
    maker: &BatchBuilder,
    cut: &EpochPlan,
    pool: &ThreadPool,
    give: &SyncSender<Result<Batch, DataError>>,
    reuse: &Receiver<Batch>,
) {
    for indices in batches::batches(&cut.order, cut.batch, cut.drop_last) {
        let mut batch = reuse.try_recv().unwrap_or_default();
        let made = pool.install(|| maker.fill_in_parallel(indices, &mut batch));
        let is_made = made.is_ok();
        if give.send(made.map(|()| batch)).is_err() || !is_made {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::augment::Transform;
    use crate::data::bytes::Bytes;
    use crate::data::mix::Mix;

    /// Five images of two channels of 1×2 pixels; pixel `p` of channel `c` of image `i` is `50 i + 10 c + p`.
    fn maker(augment: Option<Augment>) -> BatchBuilder {
        let pixels = (0..5).flat_map(|i| [0, 1, 10, 11].map(|offset| 50 * i + offset)).collect::<Vec<u8>>();
        let split = Split::new(Bytes::from(pixels), vec![5, 6, 7, 8, 9], [2, 1, 2]).unwrap();
        let prepare = Prepare::new(2, 1.0, &[]).unwrap();
        BatchBuilder { split, prepare, augment: augment.map(|augment| (Arc::new(augment), 1)) }
    }

    fn all(maker: BatchBuilder, order: &[u32], batch: usize, threads: usize) -> Vec<Batch> {
        let cut = EpochPlan { order: order.to_vec(), batch, drop_last: false };
        let mut feed = DataLoader::new(maker, cut, threads).unwrap();
        let mut found = Vec::new();
        while let Some(batch) = feed.next_batch().unwrap() {
            found.push(batch.clone());
        }
        assert!(feed.next_batch().unwrap().is_none());
        found
    }

    #[test]
    fn images_follow_each_other() {
        let found = all(maker(None), &[2, 0, 4], 2, 1);
        let first = vec![100.0, 101.0, 110.0, 111.0, 0.0, 1.0, 10.0, 11.0];
        assert_eq!(found[0], Batch { pixels: first, targets: vec![7, 5].into(), partners: None });
        assert_eq!((&found[1].targets, found[1].pixels[0]), (&vec![9].into(), 200.0));
        assert_eq!(found.len(), 2);
    }

    /// A step that never changes anything takes the other way and gives the same.
    #[test]
    fn batches_made_ahead_are_the_same() {
        let idle = || Augment::new(vec![Transform::FlipVertically { p: 1.0 }], [2, 1, 2], 255.0, 0).unwrap();
        for batch in 1..6 {
            let order = [4, 1, 1, 0, 3, 2];
            assert_eq!(all(maker(Some(idle())), &order, batch, 3), all(maker(None), &order, batch, 1));
        }
    }

    #[test]
    fn threads_do_not_change_what_is_drawn() {
        let steps =
            vec![Transform::FlipHorizontally { p: 0.5 }, Transform::Crop { size: [1, 2], pad: [0, 1] }];
        let augment = || Augment::new(steps.clone(), [2, 1, 2], 255.0, 3).unwrap();
        let order: Vec<u32> = (0..50).map(|at| at % 5).collect();
        let one = all(maker(Some(augment())), &order, 7, 1);
        assert_eq!(all(maker(Some(augment())), &order, 7, 4), one);
        let images: Vec<f32> = one.into_iter().flat_map(|batch| batch.pixels).collect();
        // The size of the batches does not matter either.
        let others: Vec<f32> =
            all(maker(Some(augment())), &order, 3, 2).into_iter().flat_map(|batch| batch.pixels).collect();
        assert_eq!(images, others);
    }

    /// What is mixed follows from the images and the epoch, also where an epoch is begun in its middle.
    #[test]
    fn batches_are_mixed() {
        let mixing = || {
            let augment = Augment::new(vec![], [2, 1, 2], 255.0, 3).unwrap();
            maker(Some(augment.with_mix(Mix::Blend { alpha: 1.0 })))
        };
        let order = [2, 0, 4, 1, 3];
        let whole = all(mixing(), &order, 2, 3);
        assert_eq!(whole[..], [all(mixing(), &order[..2], 2, 1), all(mixing(), &order[2..], 2, 1)].concat());
        let partners = whole[0].partners.as_ref().unwrap();
        assert_eq!((&whole[0].targets, &partners.targets), (&vec![7, 5].into(), &vec![5, 7].into()));
        assert_eq!(whole[0].pixels[0], partners.share * 100.0);
        assert_ne!(partners.share, whole[1].partners.as_ref().unwrap().share);
    }

    #[test]
    fn a_feed_may_be_left_early() {
        let idle = Augment::new(vec![Transform::FlipVertically { p: 0.5 }], [2, 1, 2], 255.0, 0).unwrap();
        let cut = EpochPlan { order: vec![0; 1000], batch: 1, drop_last: false };
        let mut feed = DataLoader::new(maker(Some(idle)), cut, 2).unwrap();
        assert!(feed.next_batch().unwrap().is_some());
    }

    #[test]
    fn erased_parts_are_zero_for_the_model() {
        let steps = vec![Transform::Erase { p: 1.0 }];
        let shape = [1, 16, 16];
        let split = Split::new(Bytes::from(vec![100; 256]), vec![0], shape).unwrap();
        let prepare = Prepare::new(1, 255.0, &[]).unwrap();
        let augment = Arc::new(Augment::new(steps, shape, 255.0, 1).unwrap());
        let found = all(BatchBuilder { split, prepare, augment: Some((augment, 0)) }, &[0], 1, 1);
        let zeros = found[0].pixels.iter().filter(|value| **value == 0.0).count();
        assert!((5..=85).contains(&zeros), "{zeros}");
    }
}
