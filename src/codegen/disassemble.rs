//! Machine code as text, for `cnnc emit --stage asm` and for tests that count instructions.

/// Bytes of a cache line.
const LINE: usize = 64;

/// The instructions of x86-64 code, one a line with their offsets, and the constants behind them; other machines' code as
/// hexadecimal words.
pub fn disassemble(instructions: &[u8], constants: &[u8]) -> String {
    let text = match cfg!(target_arch = "x86_64") {
        true => x86(instructions),
        false => instructions.chunks(4).map(|word| format!("{word:02x?}\n")).collect(),
    };
    text + &words(constants, instructions.len())
}

/// Constants, a line for equal words side by side: bits, how many, and what they are as a float. Zeros between the code
/// and the cache line where constants begin are none.
fn words(constants: &[u8], start: usize) -> String {
    let mut text = String::new();
    let gap = (start.next_multiple_of(LINE) - start).min(constants.len());
    let words: Vec<u32> = constants[gap..]
        .chunks_exact(4)
        .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        .collect();
    let mut at = start + gap;
    for equal in words.chunk_by(|one, other| one == other) {
        let word = equal[0];
        text.push_str(&format!(
            "{at:5x}  .word {word:08x}h × {:<3} ; {:?}\n",
            equal.len(),
            f32::from_bits(word)
        ));
        at += 4 * equal.len();
    }
    text
}

fn x86(code: &[u8]) -> String {
    use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
    let mut formatter = IntelFormatter::new();
    formatter.options_mut().set_branch_leading_zeros(false);
    formatter.options_mut().set_space_after_operand_separator(true);
    let mut text = String::new();
    for instruction in &mut Decoder::new(64, code, DecoderOptions::NONE) {
        text.push_str(&format!("{:5x}  ", instruction.ip()));
        formatter.format(&instruction, &mut text);
        text.push('\n');
    }
    text
}
