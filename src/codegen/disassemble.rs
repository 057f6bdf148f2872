//! Machine code as text, for `cnnc emit --stage asm` and for tests that count instructions.

/// The instructions of x86-64 code, one a line with their offsets; other machines' code as hexadecimal words.
pub fn disassemble(code: &[u8]) -> String {
    match cfg!(target_arch = "x86_64") {
        true => x86(code),
        false => code.chunks(4).map(|word| format!("{word:02x?}\n")).collect(),
    }
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
