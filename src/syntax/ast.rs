//! The abstract syntax tree of a `.cnn` file.
//!
//! It says what was written and where, and nothing about what it means: names are not resolved, sizes not known.
//! Parentheses and comments are not kept; the formatter finds comments beside the tokens. Everything that a
//! diagnostic may point at has a span.

use crate::base::span::Span;
use crate::te::DType;

/// A name and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub text: String,
    pub span: Span,
}

/// A string literal: its value, without the quotes and with escapes resolved. The span holds the quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    pub value: String,
    pub span: Span,
}

/// A whole file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct File {
    pub items: Vec<Item>,
}

/// What stands at the top level of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Use(Use),
    Fn(FnItem),
    Op(OpItem),
    Data(Data),
    Train(Train),
}

impl Item {
    /// The item from its first word to its last brace or semicolon.
    pub fn span(&self) -> Span {
        match self {
            Item::Use(item) => item.span,
            Item::Fn(item) => item.span,
            Item::Op(item) => item.span,
            Item::Data(item) => item.span,
            Item::Train(item) => item.span,
        }
    }
}

/// `use "other.cnn";`
#[derive(Clone, Debug, PartialEq)]
pub struct Use {
    pub path: Text,
    pub span: Span,
}

/// Whether a function is a network or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FnKind {
    Model,
    Block,
}

/// `model NAME(params) -> result { ... }` or `inline? block NAME(params) -> result { ... }`.
#[derive(Clone, Debug, PartialEq)]
pub struct FnItem {
    pub kind: FnKind,
    /// Written `inline block`: adds no component to the paths of its parameters.
    pub inline: bool,
    pub name: Name,
    pub params: Vec<Param>,
    pub result: Option<TypeExpr>,
    pub body: Block,
    pub span: Span,
}

/// A formal parameter: `name: type = default`.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    pub name: Name,
    pub ty: TypeExpr,
    pub default: Option<Expr>,
}

/// A type and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeExpr {
    pub kind: TypeKind,
    pub span: Span,
}

/// What a type says.
#[derive(Clone, Debug, PartialEq)]
pub enum TypeKind {
    /// `int`, `any`, ...
    Named(String),
    /// `f32[N, C]`; no dims is a scalar such as `bool`.
    Tensor { dtype: DType, dims: Option<Vec<Expr>> },
}

/// `{ statements value }`.
///
/// An `if` in last place is always the tail, also where it only has effects and no value.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    pub stmts: Vec<Stmt>,
    pub tail: Option<Box<Expr>>,
    pub span: Span,
}

/// A statement, with its semicolon or closing brace.
#[derive(Clone, Debug, PartialEq)]
pub struct Stmt {
    pub kind: StmtKind,
    pub span: Span,
}

/// Whether a declared tensor is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclareKind {
    Param,
    State,
}

/// What a statement does.
#[derive(Clone, Debug, PartialEq)]
pub enum StmtKind {
    /// `let y = e;` has one target, `let (y, mean) = e;` several.
    Let { targets: Vec<Name>, value: Expr },
    /// `param weight: f32[O, C] = init;`, `state running_mean: f32[C] = 0;`
    Declare { kind: DeclareKind, name: Name, ty: TypeExpr, init: Expr },
    /// `y = e;`
    Assign { name: Name, value: Expr },
    /// `running_mean <- e;`
    Update { name: Name, value: Expr },
    /// `for i in lo..hi { ... }`
    For { var: Name, lo: Expr, hi: Expr, body: Vec<Stmt> },
    /// `assert condition, "message";`
    Assert(Assert),
    /// An `if` that is not in last place.
    If(IfExpr),
}

/// `assert condition, "message";`
#[derive(Clone, Debug, PartialEq)]
pub struct Assert {
    pub condition: Expr,
    pub message: Text,
}

/// `if condition { ... } else ...`
#[derive(Clone, Debug, PartialEq)]
pub struct IfExpr {
    pub condition: Box<Expr>,
    pub then: Block,
    pub otherwise: Option<Else>,
    pub span: Span,
}

/// What follows `else`.
#[derive(Clone, Debug, PartialEq)]
pub enum Else {
    If(Box<IfExpr>),
    Block(Block),
}

/// `op NAME(params) -> results { equations }`.
#[derive(Clone, Debug, PartialEq)]
pub struct OpItem {
    pub name: Name,
    pub params: Vec<Param>,
    /// At least one; types of results may use names that the types of parameters bind.
    pub results: Vec<(Name, TypeExpr)>,
    pub body: Vec<OpStmt>,
    pub span: Span,
}

/// A statement of an op, with its semicolon.
#[derive(Clone, Debug, PartialEq)]
pub struct OpStmt {
    pub kind: OpStmtKind,
    pub span: Span,
}

/// What a statement of an op says.
#[derive(Clone, Debug, PartialEq)]
pub enum OpStmtKind {
    /// `y[n, c, u < k] = body;`; a scalar has no binders.
    Equation {
        name: Name,
        binders: Vec<Binder>,
        body: Expr,
    },
    /// `let name = value;`
    Let {
        name: Name,
        value: Expr,
    },
    Assert(Assert),
}

/// `index` or `index < bound`, between the brackets of a left side or of a reduction.
#[derive(Clone, Debug, PartialEq)]
pub struct Binder {
    /// A plain name binds an axis; on a left side an affine expression such as `2*h + 1` says a piece.
    pub index: Expr,
    pub bound: Option<Expr>,
}

/// `data NAME { settings }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    pub name: Name,
    pub settings: Vec<Setting>,
    pub span: Span,
}

/// `train MODEL(args) on DATA as NAME { settings }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    pub model: Name,
    pub args: Vec<Arg>,
    pub data: Name,
    pub alias: Option<Name>,
    pub settings: Vec<Setting>,
    pub span: Span,
}

/// A setting of a section and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub kind: SettingKind,
    pub span: Span,
}

/// What a setting says.
#[derive(Clone, Debug, PartialEq)]
pub enum SettingKind {
    /// `name = value;`
    Key { name: Name, value: Expr },
    /// `phase name { settings }`
    Phase { name: Name, settings: Vec<Setting> },
}

/// An expression and where it stands; a parenthesised one has the span inside the parentheses.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

/// What an expression says.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A finite number, never negative; `integer` says that it was written without point and exponent, and then
    /// the value is exact.
    Number {
        value: f64,
        integer: bool,
    },
    /// `true` or `false`.
    Bool(bool),
    /// `inf`.
    Infinity,
    /// A string, with escapes resolved.
    String(String),
    Name(String),
    /// `[a, b]`, also with keys: `[conv = xavier_uniform, bias = 0.01]`.
    List(Vec<Arg>),
    /// `f(a, k = 1)`.
    Call(Call),
    /// `value |> f(a, k = 1)`, which means `f(value, a, k = 1)`; `|> f` is a call without more arguments.
    Pipe {
        value: Box<Expr>,
        call: Call,
    },
    /// `expr as label`. A pipe's label is around the pipe: `x |> f as c` is `(x |> f) as c`. A name or a string
    /// follows only a call or a pipe (the parser checks it); a type is a reshape.
    As {
        expr: Box<Expr>,
        label: Label,
    },
    /// `base[i, j]`.
    Index {
        base: Box<Expr>,
        indices: Vec<Expr>,
    },
    /// `base.name`.
    Field {
        base: Box<Expr>,
        name: Name,
    },
    /// `read else outside`: the read's value beyond its bounds.
    Fill {
        read: Box<Expr>,
        outside: Box<Expr>,
    },
    /// `sum[u < k, v < k] body`.
    Reduce {
        op: ReduceOp,
        binders: Vec<Binder>,
        body: Box<Expr>,
    },
    Unary {
        op: UnaryOp,
        operand: Box<Expr>,
    },
    Binary {
        op: BinaryOp,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    If(IfExpr),
}

/// A function and its arguments in the order they were written. The callee may be `sum prod max min mean`.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub callee: Name,
    pub args: Vec<Arg>,
}

/// An argument: `value` or `name = value`.
#[derive(Clone, Debug, PartialEq)]
pub struct Arg {
    pub name: Option<Name>,
    pub value: Expr,
}

/// What follows `as`.
#[derive(Clone, Debug, PartialEq)]
pub enum Label {
    /// The instance's name.
    Name(Name),
    /// The instance's name, with compile-time values in braces.
    String(Text),
    /// The shape of the result: a tensor type with dims.
    Type(TypeExpr),
}

/// The reductions of equations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduceOp {
    Sum,
    Prod,
    Max,
    Min,
    Mean,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    Neg,
    Not,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
}

impl ReduceOp {
    /// Its word in the language.
    pub fn word(self) -> &'static str {
        match self {
            ReduceOp::Sum => "sum",
            ReduceOp::Prod => "prod",
            ReduceOp::Max => "max",
            ReduceOp::Min => "min",
            ReduceOp::Mean => "mean",
        }
    }
}

impl UnaryOp {
    /// Its sign in the language.
    pub fn sign(self) -> &'static str {
        match self {
            UnaryOp::Neg => "-",
            UnaryOp::Not => "!",
        }
    }
}

impl BinaryOp {
    /// Its sign in the language.
    pub fn sign(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Rem => "%",
            BinaryOp::Eq => "==",
            BinaryOp::Ne => "!=",
            BinaryOp::Lt => "<",
            BinaryOp::Le => "<=",
            BinaryOp::Gt => ">",
            BinaryOp::Ge => ">=",
            BinaryOp::And => "&&",
            BinaryOp::Or => "||",
        }
    }
}
