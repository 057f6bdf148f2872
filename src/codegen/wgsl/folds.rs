//! Lanes joined through workgroup memory.
//!
//! Folds that follow each other are done together: every lane leaves its values, all meet, one lane for each fold joins
//! the lanes by halves, and all meet again to read what came out.

use super::statement::Writer;
use super::{Error, WORKGROUP};
use crate::loops::{Expr, Fold, Local, Stmt};

/// Folds that are done together, at most: the memory for their lanes.
const MOST_TOGETHER: usize = 32;

/// Folds of some statements.
pub(super) struct Run<'f> {
    /// How many statements they belong to.
    pub statements: usize,
    pub op: Fold,
    pub folds: Vec<&'f Expr>,
}

/// The folds of the first statements, as many as can be done before the first of them: their operands are registers
/// that none of these sets. None where the first statement has none.
pub(super) fn next_run<'f>(body: &'f [Stmt], lanes: u32) -> Option<Run<'f>> {
    let most = MOST_TOGETHER.min(lanes as usize);
    let mut run: Option<Run<'f>> = None;
    let mut set: Vec<Local> = Vec::new();
    let mut waiting = 0;
    for stmt in body {
        let value = match stmt {
            Stmt::Set { value, .. } | Stmt::Store { value, .. } => value,
            Stmt::If { condition, .. } if run.is_none() => condition,
            Stmt::For { .. } | Stmt::If { .. } => break,
        };
        let folds = folds_of(value);
        if folds.is_empty() && run.is_none() {
            break;
        }
        let op = |fold: &&Expr| if let Expr::Fold(op, _) = fold { Some(*op) } else { None };
        let is_early = |fold: &&Expr| match fold {
            Expr::Fold(_, x) => matches!(&**x, Expr::Local(local) if !set.contains(local)),
            _ => false,
        };
        match &mut run {
            None => {
                let op = op(&folds[0])?;
                run = Some(Run { statements: 1, op, folds });
            }
            Some(run) => {
                let fits = run.folds.len() + folds.len() <= most
                    && folds.iter().all(|fold| op(fold) == Some(run.op) && is_early(fold));
                if !fits {
                    break;
                }
                waiting += 1;
                if !folds.is_empty() {
                    run.statements += waiting;
                    waiting = 0;
                    run.folds.extend(folds);
                }
            }
        }
        match stmt {
            Stmt::Set { local, .. } => set.push(*local),
            Stmt::If { .. } => break,
            _ => {}
        }
    }
    run
}

/// The folds of an expression.
fn folds_of(expr: &Expr) -> Vec<&Expr> {
    let mut found = Vec::new();
    collect(expr, &mut found);
    found
}

fn collect<'f>(expr: &'f Expr, found: &mut Vec<&'f Expr>) {
    expr.for_each_operand(&mut |operand| collect(operand, found));
    if let Expr::Fold(..) = expr {
        found.push(expr);
    }
}

impl<'f> Writer<'_, 'f> {
    /// Writes the folds of a run; what they give has names then.
    pub(super) fn fold_all(&mut self, run: &Run<'f>) -> Result<(), Error> {
        self.folded.clear();
        let of_op = |fold: &&&Expr| matches!(fold, Expr::Fold(op, _) if *op == run.op);
        let same = run.folds.iter().take_while(of_op).count();
        for folds in [&run.folds[..same], &run.folds[same..]] {
            for folds in folds.chunks(MOST_TOGETHER.min(self.shape.lanes as usize)) {
                // Folds of one statement in several ways are rare: each for itself.
                match folds.iter().all(|fold| of_op(&fold)) {
                    true => self.fold_together(folds)?,
                    false => folds.chunks(1).try_for_each(|fold| self.fold_together(fold))?,
                }
            }
        }
        Ok(())
    }

    fn fold_together(&mut self, folds: &[&'f Expr]) -> Result<(), Error> {
        let (lanes, rows) = (self.shape.lanes, WORKGROUP / self.shape.lanes);
        // One word more than there are lanes, so that lanes which join find theirs in different banks.
        let row = lanes + 1;
        let words = folds.len() as u32 * rows * row;
        let mut name = String::new();
        for (slot, fold) in folds.iter().enumerate() {
            let Expr::Fold(op, x) = fold else { continue };
            name = self.prelude.need_fold(*op, lanes, words);
            let value = self.value(x)?;
            let at = slot as u32 * rows * row;
            self.line(&format!("folded[row * {row}u + {at}u + u32(lane)] = {value};"));
        }
        self.barrier(false);
        if folds.len() > 1 {
            let (count, all) = (folds.len(), rows * row);
            self.line(&format!("if lane < {count}i {{"));
            self.line(&format!("  let at = row * {row}u + u32(lane) * {all}u;"));
            self.line(&format!("  folded[at] = {name}(at);"));
            self.line("}");
            self.barrier(false);
        }
        for (slot, fold) in folds.iter().enumerate() {
            // All names with a number behind are those of the loops.
            let variable = format!("fold{}_value", self.next_fold);
            self.next_fold += 1;
            let at = format!("row * {row}u + {}u", slot as u32 * rows * row);
            let value = if folds.len() > 1 { format!("folded[{at}]") } else { format!("{name}({at})") };
            self.line(&format!("let {variable} = {value};"));
            self.folded.insert(std::ptr::from_ref(*fold), variable);
        }
        self.barrier(false);
        Ok(())
    }
}
