//! Work on many things at once, for a moment: threads that end with it, as many as the machine has cores.
//!
//! Where no thread can be started the work is done all the same, by the one that asked for it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// What `work` makes of each item, in their order. Each thread has a state of its own, which `state` makes.
///
/// # Panics
///
/// Where `work` does.
pub fn map_with<T: Sync, S, R: Send>(
    items: &[T],
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize, &T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let work_off = || {
        let mut own = Vec::new();
        let mut state = state();
        while let (at, Some(item)) = take(&next, items) {
            own.push((at, work(&mut state, at, item)));
        }
        done.lock().unwrap_or_else(PoisonError::into_inner).append(&mut own);
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 1..cores.min(items.len()) {
            // A machine that gives no thread leaves the work to those there are.
            let _ = thread::Builder::new().spawn_scoped(scope, work_off);
        }
        work_off();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// What `work` makes of each item, in their order.
///
/// # Panics
///
/// Where `work` does.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    map_with(items, || (), |(), _, item| work(item))
}

/// The next item that nobody has taken.
fn take<'a, T>(next: &AtomicUsize, items: &'a [T]) -> (usize, Option<&'a T>) {
    let at = next.fetch_add(1, Ordering::Relaxed);
    (at, items.get(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_the_order_of_the_items() {
        for count in [0, 1, 2, 1000] {
            let items: Vec<usize> = (0..count).collect();
            assert_eq!(map(&items, |item| item * 2), items.iter().map(|item| item * 2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_state_belongs_to_one_thread() {
        let seen = map_with(&[(); 100], Vec::new, |state, at, ()| {
            state.push(at);
            state.is_sorted()
        });
        assert_eq!(seen, vec![true; 100]);
    }
}
