//! The exact text of syntax errors.

use insta::assert_snapshot as check;

/// What is wrong with a text.
fn errors(text: &str) -> String {
    super::parse_text(text).1
}

#[test]
fn missing_semicolon_after_a_setting() {
    check!(errors("data D {\n  source = digits()\n  holdout = 100;\n}"), @r"
    error: expected `;` after this setting
     --> model.cnn:2:20
      |
    2 |   source = digits()
      |                    ^ `;` is missing here
    ");
}

#[test]
fn missing_semicolon_before_a_brace() {
    check!(errors("train M on D {\n  loss = cross_entropy\n}"), @r"
    error: expected `;` after this setting
     --> model.cnn:2:23
      |
    2 |   loss = cross_entropy
      |                       ^ `;` is missing here
    ");
}

#[test]
fn missing_semicolon_after_a_statement() {
    check!(errors("model M(x: f32[N]) {\n  let y = x |> f\n  let z = y;\n  z\n}"), @r"
    error: expected `;` after this statement
     --> model.cnn:2:17
      |
    2 |   let y = x |> f
      |                 ^ `;` is missing here
    ");
}

#[test]
fn missing_semicolon_after_an_equation() {
    check!(errors("op f(x: f32[N]) -> y: f32[N] {\n  y[n] = x[n]\n}"), @r"
    error: expected `;` after this equation
     --> model.cnn:2:14
      |
    2 |   y[n] = x[n]
      |              ^ `;` is missing here
    ");
}

#[test]
fn missing_semicolon_after_a_path() {
    check!(errors("use \"a.cnn\"\nmodel M(x: f32) { x }"), @r#"
    error: expected `;` after this path
     --> model.cnn:1:12
      |
    1 | use "a.cnn"
      |            ^ `;` is missing here
    "#);
}

#[test]
fn missing_comma_between_arguments() {
    check!(errors("model M(x: f32[N]) {\n  x |> conv(6, 5 pad=2)\n}"), @r"
    error: expected `,` before the name `pad`
     --> model.cnn:2:17
      |
    2 |   x |> conv(6, 5 pad=2)
      |                 ^ `,` is missing here
    ");
}

#[test]
fn missing_comma_between_parameters() {
    check!(errors("model M(x: f32[N] classes: int) { x }"), @r"
    error: expected `,` before the name `classes`
     --> model.cnn:1:18
      |
    1 | model M(x: f32[N] classes: int) { x }
      |                  ^ `,` is missing here
    ");
}

#[test]
fn missing_comma_in_a_list() {
    check!(errors("data D {\n  classes = [\"cat\" \"dog\"];\n}"), @r#"
    error: expected `,` before a string
     --> model.cnn:2:19
      |
    2 |   classes = ["cat" "dog"];
      |                   ^ `,` is missing here
    "#);
}

#[test]
fn unclosed_brace_of_the_item() {
    check!(errors("model M(x: f32[N]) {\n  x |> relu\n\ndata D {\n  source = digits();\n}"), @r"
    error: this `{` is not closed
     --> model.cnn:1:20
      |
    1 | model M(x: f32[N]) {
      |                    ^ lacks its `}`
    ...
    4 | data D {
      | ---- the next item begins here
    ");
}

#[test]
fn unclosed_brace_inside() {
    check!(errors("train M on D {\n  phase warm {\n    epochs = 3;\n  phase tune {\n    epochs = 4;\n  }\n}"), @r"
    error: this `{` is not closed
     --> model.cnn:2:14
      |
    1 | train M on D {
      |              - so that this one stays open
    2 |   phase warm {
      |              ^ lacks its `}`
    ...
    7 | }
      | - closes it, but is indented as if for another
    ");
}

#[test]
fn unclosed_parenthesis() {
    check!(errors("model M(x: f32[N]) {\n  let y = f(x, (1 + 2;\n  y\n}"), @r"
    error: this `(` is not closed
     --> model.cnn:2:16
      |
    2 |   let y = f(x, (1 + 2;
      |                ^     - the statement ends here
      |                |
      |                lacks its `)`
    ");
}

#[test]
fn unclosed_parenthesis_in_the_value() {
    check!(errors("model M(x: f32[N]) {\n  x |> conv(6, 5 |> relu\n}"), @r"
    error: this `(` is not closed
     --> model.cnn:2:12
      |
    2 |   x |> conv(6, 5 |> relu
      |            ^ lacks its `)`
    3 | }
      | - the block ends here
    ");
}

#[test]
fn wrong_bracket() {
    check!(errors("model M(x: f32[N, 3)) { x }"), @r"
    error: `[` is closed by `)`
     --> model.cnn:1:20
      |
    1 | model M(x: f32[N, 3)) { x }
      |               -    ^ expected `]`
      |               |
      |               opened here
    ");
}

#[test]
fn extra_brace() {
    check!(errors("model M(x: f32[N]) { x }\n}\n"), @r"
    error: this `}` closes nothing
     --> model.cnn:2:1
      |
    2 | }
      | ^ no `{` is open here
      |
      = help: the item before it is already closed
    ");
}

#[test]
fn extra_parenthesis() {
    check!(errors("model M(x: f32[N]) {\n  x |> relu)\n}"), @r"
    error: this `)` closes nothing
     --> model.cnn:2:12
      |
    2 |   x |> relu)
      |            ^ no `(` is open here
    ");
}

#[test]
fn reserved_word_as_name() {
    check!(errors("model M(x: f32[N]) {\n  let data = x;\n  data\n}"), @r"
    error: `data` is a reserved word
     --> model.cnn:2:7
      |
    2 |   let data = x;
      |       ^^^^ cannot be a name
      |
      = help: use another name, such as `data_`

    error: `data` is a reserved word
     --> model.cnn:3:3
      |
    3 |   data
      |   ^^^^ cannot be a name
      |
      = help: use another name, such as `data_`
    ");
}

#[test]
fn reserved_word_as_item_name() {
    check!(errors("data train { }"), @r"
    error: `train` is a reserved word
     --> model.cnn:1:6
      |
    1 | data train { }
      |      ^^^^^ cannot be a name
      |
      = help: use another name, such as `train_`
    ");
}

#[test]
fn reserved_word_as_parameter() {
    check!(errors("block b(x: f32[N], state: int) { x }"), @r"
    error: `state` is a reserved word
     --> model.cnn:1:20
      |
    1 | block b(x: f32[N], state: int) { x }
      |                    ^^^^^ cannot be a name
      |
      = help: use another name, such as `state_`
    ");
}

#[test]
fn reserved_word_as_argument() {
    check!(errors("model M(x: f32[N]) { x |> f(on=3) }"), @r"
    error: `on` is a reserved word
     --> model.cnn:1:29
      |
    1 | model M(x: f32[N]) { x |> f(on=3) }
      |                             ^^ cannot be a name
      |
      = help: use another name, such as `on_`
    ");
}

#[test]
fn unterminated_string() {
    check!(errors("use \"other.cnn;\nmodel M(x: f32) { x }"), @r#"
    error: this string has no end
     --> model.cnn:1:5
      |
    1 | use "other.cnn;
      |     ^^^^^^^^^^^ begins here
      |
      = help: a string ends with `"` on the line where it begins
    "#);
}

#[test]
fn unknown_escape() {
    check!(errors(r#"use "a\dir\b.cnn";"#), @r#"
    error: a string has no escape `\d`
     --> model.cnn:1:7
      |
    1 | use "a\dir\b.cnn";
      |       ^^
      |
      = help: known are `\"`, `\\`, `\n`, `\r` and `\t`; paths are written with `/`
    "#);
}

#[test]
fn unknown_character() {
    check!(errors("model M(x: f32) {\n  x @ x\n}"), @r"
    error: `@` is not part of the language
     --> model.cnn:2:5
      |
    2 |   x @ x
      |     ^ unknown character
      |
      = help: a matrix product is an equation, or the block `linear`
    ");
}

#[test]
fn hash_comment() {
    check!(errors("# a comment\nmodel M(x: f32) { x }"), @r"
    error: `#` is not part of the language
     --> model.cnn:1:1
      |
    1 | # a comment
      | ^ unknown character
      |
      = help: a comment begins with `//`
    ");
}

#[test]
fn single_quotes() {
    check!(errors("use 'other.cnn';"), @r#"
    error: `'` is not part of the language
     --> model.cnn:1:5
      |
    1 | use 'other.cnn';
      |     ^ unknown character
      |
      = help: strings stand between double quotes, `"`
    "#);
}

#[test]
fn unicode_name() {
    check!(errors("model Größe(x: f32) { x }"), @r"
    error: `ö` is not part of the language
     --> model.cnn:1:9
      |
    1 | model Größe(x: f32) { x }
      |         ^ unknown character
      |
      = help: names are made of the letters a to z, digits and `_`
    ");
}

#[test]
fn number_too_large() {
    check!(errors("data D { holdout = 99999999999999999999; }"), @r"
    error: this whole number is too large
     --> model.cnn:1:20
      |
    1 | data D { holdout = 99999999999999999999; }
      |                    ^^^^^^^^^^^^^^^^^^^^
      |
      = note: whole numbers go up to 9007199254740992
      = help: with a point, as in `1e20`, it is a real number
    ");
}

#[test]
fn real_too_large() {
    check!(errors("train M on D { optim = sgd(1e999); }"), @r"
    error: this number is too large
     --> model.cnn:1:28
      |
    1 | train M on D { optim = sgd(1e999); }
      |                            ^^^^^
      |
      = help: infinity is written `inf`
    ");
}

#[test]
fn number_with_letters() {
    check!(errors("op f(x: f32[N]) -> y: f32[N] { y[n] = 2x[n]; }"), @r"
    error: `2x` is not a number
     --> model.cnn:1:39
      |
    1 | op f(x: f32[N]) -> y: f32[N] { y[n] = 2x[n]; }
      |                                       ^^
      |
      = help: a name cannot begin with a digit; a product is written with `*`, as in `2*x`
    ");
}

#[test]
fn number_without_exponent() {
    check!(errors("train M on D { optim = sgd(1e); }"), @r"
    error: `1e` is not a number
     --> model.cnn:1:28
      |
    1 | train M on D { optim = sgd(1e); }
      |                            ^^
      |
      = help: an exponent needs digits, as in `1e-3`
    ");
}

#[test]
fn point_first() {
    check!(errors("train M on D { optim = sgd(.5); }"), @r"
    error: a number needs a digit before its point
     --> model.cnn:1:28
      |
    1 | train M on D { optim = sgd(.5); }
      |                            ^^
      |
      = help: write `0.5`
    ");
}

#[test]
fn point_last() {
    check!(errors("train M on D { optim = sgd(5.); }"), @r"
    error: a number needs a digit behind its point
     --> model.cnn:1:28
      |
    1 | train M on D { optim = sgd(5.); }
      |                            ^^
      |
      = help: write `5.0`
    ");
}

#[test]
fn not_an_item() {
    check!(errors("x = 3;\nmodel M(x: f32) { x }"), @r"
    error: expected an item, found the name `x`
     --> model.cnn:1:1
      |
    1 | x = 3;
      | ^ not the beginning of an item
      |
      = help: items begin with `model`, `block`, `op`, `data`, `train` or `use`
    ");
}

#[test]
fn misspelt_item() {
    check!(errors("modle M(x: f32) { x }"), @r"
    error: expected an item, found the name `modle`
     --> model.cnn:1:1
      |
    1 | modle M(x: f32) { x }
      | ^^^^^ not the beginning of an item
      |
      = help: did you mean `model`?
    ");
}

#[test]
fn function_of_another_language() {
    check!(errors("def f(x) { x }"), @r"
    error: expected an item, found the name `def`
     --> model.cnn:1:1
      |
    1 | def f(x) { x }
      | ^^^ not the beginning of an item
      |
      = help: a part of a network is a `block`, a function given by equations an `op`
    ");
}

#[test]
fn import() {
    check!(errors("import \"other.cnn\";"), @r#"
    error: expected an item, found the name `import`
     --> model.cnn:1:1
      |
    1 | import "other.cnn";
      | ^^^^^^ not the beginning of an item
      |
      = help: did you mean `use`?
    "#);
}

#[test]
fn equals_for_comparison() {
    check!(errors("block b(x: f32, k: int) {\n  if k = 1 { x } else { -x }\n}"), @r"
    error: expected an operator, found `=`
     --> model.cnn:2:8
      |
    2 |   if k = 1 { x } else { -x }
      |        ^ this assigns
      |
      = help: equality is written `==`
    ");
}

#[test]
fn chained_comparison() {
    check!(errors("block b(x: f32, k: int) {\n  assert 0 < k < 3, \"small\";\n  x\n}"), @r#"
    error: comparisons cannot be chained
     --> model.cnn:2:16
      |
    2 |   assert 0 < k < 3, "small";
      |                ^ a second comparison
      |
      = help: join two by `&&`, as in `a < b && b < c`
    "#);
}

#[test]
fn word_for_and() {
    check!(errors("block b(x: f32, k: int) {\n  if k > 1 and k < 3 { x } else { -x }\n}"), @r"
    error: there is no `and`
     --> model.cnn:2:12
      |
    2 |   if k > 1 and k < 3 { x } else { -x }
      |            ^^^
      |
      = help: write `&&`
    ");
}

#[test]
fn power() {
    check!(errors("op f(x: f32[N]) -> y: f32[N] { y[n] = x[n]**2; }"), @r"
    error: there is no `**`
     --> model.cnn:1:43
      |
    1 | op f(x: f32[N]) -> y: f32[N] { y[n] = x[n]**2; }
      |                                           ^^
      |
      = help: a power is written `pow(a, b)`
    ");
}

#[test]
fn compound_assignment() {
    check!(errors("block b(x: f32) {\n  let y = x;\n  y += 1;\n  y\n}"), @r"
    error: there is no `+=`
     --> model.cnn:3:5
      |
    3 |   y += 1;
      |     ^^
      |
      = help: write `y = y + ...;`
    ");
}

#[test]
fn typed_let() {
    check!(errors("block b(x: f32) {\n  let y: f32 = x;\n  y\n}"), @r"
    error: `let` takes no type
     --> model.cnn:2:8
      |
    2 |   let y: f32 = x;
      |        ^ a type follows
      |
      = help: the type follows from the value; to reshape, write `value as f32[...]`
    ");
}

#[test]
fn colon_in_a_setting() {
    check!(errors("data D {\n  source: digits();\n}"), @r"
    error: a setting is written with `=`
     --> model.cnn:2:9
      |
    2 |   source: digits();
      |         ^ expected `=`
      |
      = help: write `source = ...`
    ");
}

#[test]
fn colon_in_an_argument() {
    check!(errors("model M(x: f32) {\n  x |> conv(8, k: 3)\n}"), @r"
    error: an argument by name is written with `=`
     --> model.cnn:2:17
      |
    2 |   x |> conv(8, k: 3)
      |                 ^ expected `=`
      |
      = help: write `k = ...`
    ");
}

#[test]
fn reduction_without_body() {
    check!(errors("op f(x: f32[N, C]) -> y: f32[C] {\n  mean[c] = mean[n] x[n, c];\n  y[c] = mean[c];\n}"), @r"
    error: this `mean[...]` reduces nothing
     --> model.cnn:3:17
      |
    3 |   y[c] = mean[c];
      |          ----   ^ expected an expression
      |          |
      |          a reduction, since `[` follows
      |
      = help: to read a tensor, call it by another name than `mean`
    ");
}

#[test]
fn value_with_semicolon() {
    check!(errors("model M(x: f32) {\n  x |> relu;\n}"), @r"
    error: the value of a block stands without `;`
     --> model.cnn:2:12
      |
    2 |   x |> relu;
      |            ^ remove this
      |
      = help: the last expression of a block is its value
    ");
}

#[test]
fn value_not_used() {
    check!(errors("model M(x: f32) {\n  x |> relu;\n  x |> flatten\n}"), @r"
    error: this value is not used
     --> model.cnn:2:3
      |
    2 |   x |> relu;
      |   ^^^^^^^^^^
      |
      = help: name it by `let name = ...;`, or make it the input of what follows with `|>`
    ");
}

#[test]
fn value_not_last() {
    check!(errors("model M(x: f32) {\n  x |> relu\n  x |> flatten\n}"), @r"
    error: a value that is not named must come last in its block
     --> model.cnn:2:3
      |
    2 |   x |> relu
      |   ^^^^^^^^^ this would be the value of the block
    3 |   x |> flatten
      |   - but more follows
      |
      = help: name it by `let name = ...;`, or go on with `|>`
    ");
}

#[test]
fn stray_semicolon() {
    check!(errors("model M(x: f32) {\n  for i in 0..3 { x = f(x); };\n  x\n}"), @r"
    error: this `;` ends nothing
     --> model.cnn:2:30
      |
    2 |   for i in 0..3 { x = f(x); };
      |                              ^ not needed
    ");
}

#[test]
fn return_statement() {
    check!(errors("model M(x: f32) {\n  return x;\n}"), @r"
    error: there is no `return`
     --> model.cnn:2:3
      |
    2 |   return x;
      |   ^^^^^^
      |
      = help: the last expression of a block is its value
    ");
}

#[test]
fn while_loop() {
    check!(errors("model M(x: f32) {\n  while x { }\n}"), @r"
    error: there is no `while`
     --> model.cnn:2:3
      |
    2 |   while x { }
      |   ^^^^^
      |
      = help: loops are `for i in 0..n { ... }`, with bounds known at compile time
    ");
}

#[test]
fn elif() {
    check!(errors("block b(x: f32, k: int) {\n  if k == 0 { x } elif k == 1 { -x } else { x }\n}"), @r"
    error: there is no `elif`
     --> model.cnn:2:19
      |
    2 |   if k == 0 { x } elif k == 1 { -x } else { x }
      |                   ^^^^
      |
      = help: write `else if`
    ");
}

#[test]
fn branch_without_braces() {
    check!(errors("block b(x: f32, k: int) {\n  let y = if k == 0 x else -x;\n  y\n}"), @r"
    error: expected `{`, found the name `x`
     --> model.cnn:2:21
      |
    2 |   let y = if k == 0 x else -x;
      |                     ^ a branch begins here
      |
      = help: branches stand in braces, as in `if c { a } else { b }`
    ");
}

#[test]
fn op_without_results() {
    check!(errors("op f(x: f32[N]) {\n  y[n] = x[n];\n}"), @r"
    error: expected `->`, found `{`
     --> model.cnn:1:17
      |
    1 | op f(x: f32[N]) {
      |                 ^ an op names its results first
      |
      = help: as in `op double(x: f32[N]) -> y: f32[N] { y[n] = 2 * x[n]; }`
    ");
}

#[test]
fn op_with_parameter() {
    check!(errors("op f(x: f32[N]) -> y: f32[N] {\n  param w: f32[N] = ones;\n  y[n] = x[n] * w[n];\n}"), @r"
    error: an op has no `param`
     --> model.cnn:2:3
      |
    2 |   param w: f32[N] = ones;
      |   ^^^^^ not among equations
      |
      = help: declare it in a block, and give it to the op as an argument
    ");
}

#[test]
fn op_without_equations() {
    check!(errors("op f(x: f32[N]) -> y: f32[N] { }"), @r"
    error: the op `f` has no equations
     --> model.cnn:1:4
      |
    1 | op f(x: f32[N]) -> y: f32[N] { }
      |    ^
      |
      = help: an equation says every element of `y`, as in `y[n] = 2 * x[n];`
    ");
}

#[test]
fn instance_name_after_a_value() {
    check!(errors("model M(x: f32) { x as input |> relu }"), @r"
    error: an instance name may follow only a call
     --> model.cnn:1:24
      |
    1 | model M(x: f32) { x as input |> relu }
      |                   -    ^^^^^ this names nothing
      |                   |
      |                   not a call of a block
      |
      = help: to name a value, write `let name = value;`
    ");
}

#[test]
fn else_after_a_value() {
    check!(errors("op f(x: f32[N]) -> y: f32[N] { y[n] = x else 0; }"), @r"
    error: `else` says what lies outside a read
     --> model.cnn:1:39
      |
    1 | op f(x: f32[N]) -> y: f32[N] { y[n] = x else 0; }
      |                                       ^ this is not a read such as `x[n, c, i, j]`
      |
      = help: a choice is written `if condition { a } else { b }`
    ");
}

#[test]
fn positional_after_named() {
    check!(errors("model M(x: f32) { x |> conv(k=3, 8) }"), @r"
    error: an argument without a name follows one with a name
     --> model.cnn:1:34
      |
    1 | model M(x: f32) { x |> conv(k=3, 8) }
      |                             -    ^ this needs a name, or must come earlier
      |                             |
      |                             the first with a name
    ");
}

#[test]
fn missing_expression() {
    check!(errors("data D {\n  holdout = ;\n}"), @r"
    error: expected an expression, found `;`
     --> model.cnn:2:13
      |
    2 |   holdout = ;
      |             ^ expected an expression
    ");
}

#[test]
fn missing_expression_at_the_end() {
    check!(errors("model M(x: f32) {\n  x |>\n}"), @r"
    error: expected a call after `|>`, found `}`
     --> model.cnn:2:5
      |
    2 |   x |>
      |     ^^ leads nowhere
      |
      = help: as in `x |> relu` or `x |> conv(16, 3)`
    ");
}

#[test]
fn missing_name() {
    check!(errors("model (x: f32) { x }"), @r"
    error: expected a name, found `(`
     --> model.cnn:1:7
      |
    1 | model (x: f32) { x }
      |       ^ expected a name
    ");
}

#[test]
fn missing_type() {
    check!(errors("model M(x) { x }"), @r"
    error: the parameter `x` has no type
     --> model.cnn:1:9
      |
    1 | model M(x) { x }
      |         ^
      |
      = help: write `x: f32[N, C, H, W]` for pictures, `x: int` for a number
    ");
}

#[test]
fn missing_parameters() {
    check!(errors("model M { x }"), @r"
    error: expected `(`, found `{`
     --> model.cnn:1:9
      |
    1 | model M { x }
      |         ^ parameters come first
      |
      = help: write `model M(x: f32[N, C, H, W])`, where `x` is the input
    ");
}

#[test]
fn missing_body() {
    check!(errors("model M(x: f32)\ndata D { }"), @r"
    error: expected `{` or `->`, found the end of the item
     --> model.cnn:1:16
      |
    1 | model M(x: f32)
      |                ^ expected `{` or `->`
    ");
}

#[test]
fn train_without_data() {
    check!(errors("train M {\n  epochs = 3;\n}"), @r"
    error: expected `on`, found `{`
     --> model.cnn:1:9
      |
    1 | train M {
      |         ^ on which data?
      |
      = help: as in `train M on Digits { ... }`
    ");
}

#[test]
fn for_without_range() {
    check!(errors("block b(x: f32) {\n  for i in 4 { x = f(x); }\n  x\n}"), @r"
    error: expected `..`, found `{`
     --> model.cnn:2:14
      |
    2 |   for i in 4 { x = f(x); }
      |              ^ the range has no end
      |
      = help: a loop runs over a range, as in `for i in 0..4 { ... }`
    ");
}

#[test]
fn statement_in_settings() {
    check!(errors("data D {\n  let n = 3;\n  holdout = n;\n}"), @r"
    error: expected a setting, found `let`
     --> model.cnn:2:3
      |
    2 |   let n = 3;
      |   ^^^ not a setting
      |
      = help: a section has settings only, `name = value;`
    ");
}

#[test]
fn bare_value_in_settings() {
    check!(errors("data D {\n  digits();\n}"), @r"
    error: expected `=`, found `(`
     --> model.cnn:2:9
      |
    2 |   digits();
      |         ^ expected `=`
    ");
}

#[test]
fn empty_dims() {
    check!(errors("model M(x: f32[]) { x }"), @r"
    error: these brackets are empty
     --> model.cnn:1:15
      |
    1 | model M(x: f32[]) { x }
      |               ^^
      |
      = help: a scalar has no brackets: write `f32`
    ");
}

#[test]
fn call_of_an_index() {
    check!(errors("block b(x: f32) { x[0](3) }"), @r"
    error: only a name can be called
     --> model.cnn:1:23
      |
    1 | block b(x: f32) { x[0](3) }
      |                       ^ a call of what is before it
      |
      = help: a product is written with `*`
    ");
}

#[test]
fn several_errors() {
    check!(errors("data D {\n  source = digits()\n  holdout = 5 5;\n  shuffle == false;\n}\n\nmodel M(x: f32) {\n  x |> conv(3 4)\n}\n\ntrain M on D {\n  loss = ;\n  epochs = 3;\n  seed 7;\n}"), @r"
    error: expected `;` after this setting
     --> model.cnn:2:20
      |
    2 |   source = digits()
      |                    ^ `;` is missing here

    error: expected an operator or `;`, found the number `5`
     --> model.cnn:3:15
      |
    3 |   holdout = 5 5;
      |               ^ expected an operator or `;`

    error: a setting is written with `=`
     --> model.cnn:4:11
      |
    4 |   shuffle == false;
      |           ^^ expected `=`
      |
      = help: write `shuffle = ...`

    error: expected `,` before the number `4`
     --> model.cnn:8:14
      |
    8 |   x |> conv(3 4)
      |              ^ `,` is missing here

    error: expected an expression, found `;`
      --> model.cnn:12:10
       |
    12 |   loss = ;
       |          ^ expected an expression

    error: expected `=`, found the number `7`
      --> model.cnn:14:8
       |
    14 |   seed 7;
       |        ^ expected `=`
    ");
}

#[test]
fn too_deep() {
    let text = "data D {\n  a =\n".to_owned() + &"(\n".repeat(600) + "1" + &")".repeat(600) + "; }";
    check!(errors(&text), @r"
    error: this is nested too deeply
       --> model.cnn:502:1
        |
    502 | (
        | ^ more than 500 operators and brackets around this
        |
        = help: name parts of it with `let`, or make blocks of them
    ");
}

#[test]
fn update_for_comparison() {
    check!(errors("block b(x: f32, k: int) {\n  assert k<-1, \"m\";\n  x\n}"), @r#"
    error: expected an operator, found `<-`
     --> model.cnn:2:11
      |
    2 |   assert k<-1, "m";
      |           ^^ this updates a state
      |
      = help: a comparison with a negative value is written `< -`
    "#);
}

#[test]
fn block_comment() {
    check!(errors("/* all about it */\nmodel M(x: f32) { x }"), @r"
    error: there is no `/*`
     --> model.cnn:1:1
      |
    1 | /* all about it */
      | ^
      |
      = help: a comment begins with `//` and runs to the end of its line
    ");
}

#[test]
fn block_comment_inside() {
    check!(errors("model M(x: f32) {\n  x /* the input */ |> relu\n}"), @r"
    error: there is no `/*`
     --> model.cnn:2:5
      |
    2 |   x /* the input */ |> relu
      |     ^^
      |
      = help: a comment begins with `//` and runs to the end of its line
    ");
}

#[test]
fn doubled_equals() {
    check!(errors("data D {\n  shuffle == false;\n}"), @r"
    error: a setting is written with `=`
     --> model.cnn:2:11
      |
    2 |   shuffle == false;
      |           ^^ expected `=`
      |
      = help: write `shuffle = ...`
    ");
}

#[test]
fn let_without_equals() {
    check!(errors("block b(x: f32) {\n  let y x;\n  y\n}"), @r"
    error: expected `=`, found the name `x`
     --> model.cnn:2:9
      |
    2 |   let y x;
      |         ^ expected `=`
    ");
}

#[test]
fn type_of_brackets() {
    check!(errors("model M(x: f32<N, 3>) { x }"), @r"
    error: expected `)`, `[`, `,` or `=`, found `<`
     --> model.cnn:1:15
      |
    1 | model M(x: f32<N, 3>) { x }
      |               ^ expected `)`, `[`, `,` or `=`
    ");
}

#[test]
fn unknown_type_with_dims() {
    check!(errors("model M(x: f64[N]) { x }"), @r"
    error: there are no tensors of `f64`
     --> model.cnn:1:12
      |
    1 | model M(x: f64[N]) { x }
      |            ^^^ not an element type
      |
      = help: elements are `f32`, `i32`, `u8` or `bool`
    ");
}

#[test]
fn lambda() {
    check!(errors("block b(x: f32) { f(x => x) }"), @r"
    error: expected an expression, found `>`
     --> model.cnn:1:24
      |
    1 | block b(x: f32) { f(x => x) }
      |                        ^ expected an expression
    ");
}

#[test]
fn two_items_on_a_line() {
    check!(errors("model M(x: f32) { x } model N(x: f32) { x y }"), @r"
    error: expected an operator or `}`, found the name `y`
     --> model.cnn:1:43
      |
    1 | model M(x: f32) { x } model N(x: f32) { x y }
      |                                           ^ expected an operator or `}`
    ");
}

#[test]
fn empty_binders() {
    check!(errors("op f(x: f32[N]) -> y: f32 { y[] = sum[n] x[n]; }"), @r"
    error: these brackets are empty
     --> model.cnn:1:30
      |
    1 | op f(x: f32[N]) -> y: f32 { y[] = sum[n] x[n]; }
      |                              ^^
      |
      = help: a scalar has no brackets: write `y`
    ");
}

#[test]
fn reduction_in_arithmetic() {
    check!(errors("op f(x: f32[N]) -> y: f32 { y = 2 * sum[n] x[n]; }"), @r"
    error: a reduction inside arithmetic needs parentheses
     --> model.cnn:1:37
      |
    1 | op f(x: f32[N]) -> y: f32 { y = 2 * sum[n] x[n]; }
      |                                     ^^^
      |
      = help: write `(sum[...] ...)`
    ");
}

#[test]
fn if_in_arithmetic() {
    check!(errors("block b(x: f32, k: int) { x + if k > 0 { 1 } else { 2 } }"), @r"
    error: a choice inside arithmetic needs parentheses
     --> model.cnn:1:31
      |
    1 | block b(x: f32, k: int) { x + if k > 0 { 1 } else { 2 } }
      |                               ^^
      |
      = help: write `(if c { a } else { b })`
    ");
}

#[test]
fn assert_without_message() {
    check!(errors("block b(x: f32, k: int) {\n  assert k > 0;\n  x\n}"), @r#"
    error: expected `,` and a message, found `;`
     --> model.cnn:2:15
      |
    2 |   assert k > 0;
      |               ^ what is wrong otherwise?
      |
      = help: as in `assert k > 0, "the kernel is empty";`
    "#);
}

#[test]
fn unclosed_bracket_at_the_end() {
    check!(errors("data D { classes = [\"a\", \"b\"; }"), @r#"
    error: this `[` is not closed
     --> model.cnn:1:20
      |
    1 | data D { classes = ["a", "b"; }
      |                    ^        - the statement ends here
      |                    |
      |                    lacks its `]`
    "#);
}

#[test]
fn nested_item() {
    check!(errors("model M(x: f32) {\n  block b(y: f32) { y }\n  x |> b\n}"), @r"
    error: this `{` is not closed
     --> model.cnn:1:17
      |
    1 | model M(x: f32) {
      |                 ^ lacks its `}`
    2 |   block b(y: f32) { y }
      |   ----- the next item begins here
    ");
}
