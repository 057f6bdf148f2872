//! Loads and stores: elements of buffers as words of blocks of memory.

use super::Error;
use super::index;
use super::prelude::Helper;
use super::shape::folds;
use super::statement::Writer;
use crate::loops::{Buffer, DType, Expr, Index, Scalar};

impl Writer<'_, '_> {
    /// An index of so many lanes in the one at hand, of type `i32`. A scalar is the same in all, whatever its stride.
    pub(super) fn position(&mut self, index: &Index, stride: i64, lanes: u32) -> String {
        let first = index::text(index, &self.shape.function.axes, self.prelude);
        match stride {
            _ if lanes == 1 => first,
            0 => first,
            1 => format!("({first} + lane)"),
            _ => format!("({first} + {stride}i * lane)"),
        }
    }

    pub(super) fn load(&mut self, buffer: Buffer, index: &Index, stride: i64, lanes: u32) -> String {
        let at = self.position(index, stride, lanes);
        let (block, start) = (self.part.blocks[buffer.as_u32() as usize], self.start(buffer));
        match self.shape.function.buffers[buffer].dtype {
            DType::F32 => {
                format!("bitcast<f32>({})", self.prelude.word(block, &format!("{start} + u32({at})")))
            }
            DType::I32 => {
                format!("bitcast<i32>({})", self.prelude.word(block, &format!("{start} + u32({at})")))
            }
            DType::U8 | DType::Bool => {
                let word = self.prelude.word(block, &format!("{start} + (u32({at}) >> 2u)"));
                format!("i32(({word} >> ((u32({at}) & 3u) * 8u)) & 255u)")
            }
        }
    }

    /// The variable that holds the word at which a buffer begins.
    pub(super) fn start(&self, buffer: Buffer) -> String {
        format!("{}_at{}", index::identifier(&self.shape.function.buffers[buffer].name), buffer.as_u32())
    }

    pub(super) fn store(
        &mut self,
        buffer: Buffer,
        index: &Index,
        stride: i64,
        value: &Expr,
    ) -> Result<(), Error> {
        debug_assert!(!folds(value) || !self.folded.is_empty(), "folds come first");
        let ty = self.shape.function.type_of(value).map_err(Error::Unsupported)?;
        let (scalar, is_vector) = (ty.scalar, ty.lanes > 1);
        let value = self.value(value)?;
        let is_shared = self.shape.shared.contains(buffer) && self.shape.lanes > 1;
        let value = if is_shared {
            // What is stored is read before any lane stores.
            let name = format!("stored{}_value", self.next_fold);
            self.next_fold += 1;
            self.line(&format!("let {name} = {value};"));
            name
        } else {
            value
        };
        if is_shared {
            self.barrier(true);
        }
        let at = self.position(index, stride, ty.lanes);
        let word = match (scalar, self.shape.function.buffers[buffer].dtype) {
            (Scalar::F32, _) => format!("bitcast<u32>({value})"),
            (Scalar::I32, DType::I32) => format!("bitcast<u32>({value})"),
            (Scalar::I32, _) => format!("(bitcast<u32>({value}) & 255u)"),
            (Scalar::Bool, _) => format!("select(0u, 1u, {value})"),
        };
        match self.shape.function.buffers[buffer].dtype.size() {
            1 if is_vector && !self.shape.in_single_bytes.contains(buffer) => {
                self.store_four(buffer, &at, &word);
            }
            1 => self.store_byte(buffer, (&at, &word), is_vector),
            _ => {
                let target = format!("{} + u32({at})", self.start(buffer));
                self.where_it_counts(is_vector, &[self.assigned(buffer, &target, &word)]);
            }
        }
        if is_shared {
            self.barrier(true);
        }
        Ok(())
    }

    /// The assignment of a word.
    fn assigned(&self, buffer: Buffer, target: &str, word: &str) -> String {
        let block = self.part.blocks[buffer.as_u32() as usize];
        match self.prelude.atomic.contains(&block) {
            true => format!("atomicStore(&m{block}[{target}], {word});"),
            false => format!("m{block}[{target}] = {word};"),
        }
    }

    /// Stores a byte of each invocation, while others may store those beside it.
    fn store_byte(&mut self, buffer: Buffer, (at, byte): (&str, &str), is_vector: bool) {
        let block = self.part.blocks[buffer.as_u32() as usize];
        let word = format!("&m{block}[{} + (u32({at}) >> 2u)]", self.start(buffer));
        let shift = format!("((u32({at}) & 3u) * 8u)");
        let lines = [
            format!("atomicAnd({word}, ~(255u << {shift}));"),
            format!("atomicOr({word}, {byte} << {shift});"),
        ];
        self.where_it_counts(is_vector, &lines);
    }

    /// Stores the bytes of four lanes by the first of them.
    fn store_four(&mut self, buffer: Buffer, at: &str, byte: &str) {
        self.prelude.need(Helper::Bytes);
        self.line(&format!("bytes[invocation] = {byte};"));
        self.barrier(false);
        let target = format!("{} + (u32({at}) >> 2u)", self.start(buffer));
        let word = "bytes[invocation] | (bytes[invocation + 1u] << 8u) | (bytes[invocation + 2u] << 16u) | \
                    (bytes[invocation + 3u] << 24u)";
        let assigned = self.assigned(buffer, &target, word);
        self.line("if (lane & 3i) == 0i {");
        self.indent += 1;
        self.where_it_counts(true, &[assigned]);
        self.indent -= 1;
        self.line("}");
        self.barrier(false);
    }

    /// Lines that only those invocations run whose point is one of the grid's and, of a scalar, only one of each point.
    fn where_it_counts(&mut self, is_vector: bool, lines: &[String]) {
        let is_single = !is_vector && self.shape.lanes > 1;
        let condition = match (self.shape.meets, is_single) {
            (true, true) => Some("counts & (lane == 0i)"),
            (true, false) => Some("counts"),
            (false, true) => Some("lane == 0i"),
            (false, false) => None,
        };
        if let Some(condition) = condition {
            self.line(&format!("if {condition} {{"));
            self.indent += 1;
        }
        lines.iter().for_each(|line| self.line(line));
        if condition.is_some() {
            self.indent -= 1;
            self.line("}");
        }
    }

    /// Makes the invocations of the workgroup meet.
    pub(super) fn barrier(&mut self, of_memory: bool) {
        if of_memory {
            self.line("storageBarrier();");
        }
        self.line("workgroupBarrier();");
    }
}
