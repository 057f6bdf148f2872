//! Live progress of a run: one line at the bottom of the terminal.
//!
//! The bar goes to standard error and is silent where that is no terminal, so logs and pipes hold the printed lines
//! only.

use std::cell::OnceCell;
use std::fmt::Write;
use std::io;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::base::{numbers, visible};

use super::output;

const TEMPLATE: &str = "{prefix} {bar:30} {percent:>3} %  {rate}  {msg}  {eta} left";

/// The bar of a run. Its length is the images of all epochs, so that the time left is that of the run.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    /// Why a line was lost.
    lost: OnceCell<io::Error>,
}

impl Progress {
    /// A bar for so many images.
    pub fn new(images: u64) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(images), ProgressDrawTarget::stderr());
        bar.set_style(style());
        Progress { bar, lost: OnceCell::new() }
    }

    /// A bar that never shows, for output that programs read.
    pub fn hidden() -> Progress {
        Progress { bar: ProgressBar::hidden(), lost: OnceCell::new() }
    }

    /// Says which epoch it is, counted from 1.
    pub fn begin_epoch(&self, epoch: u64, epochs: u64) {
        self.bar.set_prefix(format!("epoch {epoch}/{epochs}"));
    }

    /// A batch of `images` is done; loss and accuracy (0 to 1, where it is shown) are those of the epoch so far.
    pub fn advance(&self, images: u64, loss: f64, accuracy: Option<f64>) {
        if !self.bar.is_hidden() {
            let accuracy =
                accuracy.map_or(String::new(), |share| format!("  accuracy {}", numbers::percent(share)));
            self.bar.set_message(format!("loss {}{accuracy}", numbers::loss(loss)));
        }
        self.bar.inc(if planted!("report.progress.images") { 1 } else { images });
    }

    /// Prints a line to standard output, above the bar. A training goes on where it cannot be written; [`Progress::lost`]
    /// says so in the end.
    pub fn print(&self, line: &str) {
        if let Err(error) = self.bar.suspend(|| output::print(&(visible::lines(line) + "\n"))) {
            self.lost.get_or_init(|| error);
        }
    }

    /// Why the first line that was lost could not be written.
    pub fn lost(&self) -> Option<&io::Error> {
        self.lost.get()
    }

    /// Prints a line to standard error, above the bar.
    pub fn note(&self, line: &str) {
        self.bar.suspend(|| output::tell(&(visible::lines(line) + "\n")));
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// The bar of pictures that are counted, by several threads.
#[derive(Debug)]
pub struct Counting(ProgressBar);

impl Counting {
    /// A bar for so many images of a data set.
    pub fn new(name: &str, images: u64) -> Counting {
        let bar = ProgressBar::with_draw_target(Some(images), ProgressDrawTarget::stderr());
        bar.set_style(style());
        bar.set_prefix(visible::excerpt(name));
        Counting(bar)
    }

    /// One more is done.
    pub fn advance(&self) {
        self.0.inc(1);
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

fn style() -> ProgressStyle {
    let style = ProgressStyle::with_template(TEMPLATE).expect("the template is well formed");
    style
        .progress_chars("━╸─")
        .with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
            // Writing to indicatif's string cannot fail, and there is nobody to tell.
            let _ = write!(out, "{} images/s", numbers::short(state.per_sec()));
        })
        .with_key("eta", |state: &ProgressState, out: &mut dyn Write| {
            let _ = out.write_str(&numbers::duration(state.eta().as_secs_f64().round()));
        })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    /// A terminal that keeps all that was written to it.
    #[derive(Clone, Debug, Default)]
    struct Recorder(Arc<Mutex<String>>);

    impl Recorder {
        fn contents(&self) -> String {
            self.0.lock().unwrap().clone()
        }
    }

    impl TermLike for Recorder {
        fn width(&self) -> u16 {
            120
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn shows_speed_loss_and_accuracy() {
        let terminal = Recorder::default();
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let bar = ProgressBar::with_draw_target(Some(200), target);
        bar.set_style(style());
        let progress = Progress { bar, lost: OnceCell::new() };
        progress.begin_epoch(2, 15);
        progress.advance(50, 0.25, Some(0.9875));
        progress.bar.force_draw();
        let shown = terminal.contents();
        let parts = ["epoch 2/15 ━━━━━━━╸", " 25 %", " images/s", "loss 0.2500  accuracy 98.75 %", " left"];
        for part in parts {
            assert!(shown.contains(part), "{shown}");
        }
    }

    #[test]
    fn hidden_means_hidden() {
        assert!(Progress::hidden().bar.is_hidden());
    }
}
