//! Random trees: printed and parsed again they are the same.

use cranelift_entity::EntityRef;
use proptest::prelude::*;
use proptest::sample::select;

use crate::base::span::{FileId, Span};
use crate::syntax::ast::*;
use crate::te::DType;

use super::plain;

fn nowhere() -> Span {
    Span { file: FileId::new(0), start: 0, end: 0 }
}

fn word() -> impl Strategy<Value = String> {
    select(vec![
        "x",
        "y",
        "C",
        "conv2",
        "sum",
        "mean",
        "max",
        "e5",
        "_",
        "a_very_long_name_that_fills_its_line",
    ])
    .prop_map(str::to_owned)
}

fn name() -> impl Strategy<Value = Name> {
    word().prop_map(|text| Name { text, span: nowhere() })
}

fn text() -> impl Strategy<Value = Text> {
    "[ -~\n\tö\"\\\\]{0,9}".prop_map(|value| Text { value, span: nowhere() })
}

fn number() -> impl Strategy<Value = ExprKind> {
    prop_oneof![
        (0u64..(1 << 53)).prop_map(|value| ExprKind::Number { value: value as f64, integer: true }),
        (0.0f64..1e300).prop_map(|value| ExprKind::Number { value, integer: false }),
        select(vec![0.0, 1e-5, 1e16, 5e-324, f64::MAX])
            .prop_map(|value| ExprKind::Number { value, integer: false }),
    ]
}

fn leaf() -> impl Strategy<Value = Expr> {
    let kind = prop_oneof![
        4 => word().prop_map(ExprKind::Name),
        2 => number(),
        1 => any::<bool>().prop_map(ExprKind::Bool),
        1 => Just(ExprKind::Infinity),
        1 => text().prop_map(|text| ExprKind::String(text.value)),
    ];
    kind.prop_map(at)
}

fn at(kind: ExprKind) -> Expr {
    Expr { kind, span: nowhere() }
}

fn expr() -> impl Strategy<Value = Expr> {
    leaf().prop_recursive(5, 40, 3, |inner| compound(inner.boxed()).prop_map(at))
}

fn compound(inner: BoxedStrategy<Expr>) -> impl Strategy<Value = ExprKind> {
    let boxed = || inner.clone().prop_map(Box::new);
    let some = || prop::collection::vec(inner.clone(), 1..4);
    let call = (name(), args(inner.clone())).prop_map(|(callee, args)| Call { callee, args });
    let call = call.boxed();
    let pipe = (boxed(), call.clone()).prop_map(|(value, call)| ExprKind::Pipe { value, call });
    let instance = prop_oneof![call.clone().prop_map(ExprKind::Call), pipe.clone()].prop_map(at);
    let read = (boxed(), some()).prop_map(|(base, indices)| ExprKind::Index { base, indices });
    let label = prop_oneof![name().prop_map(Label::Name), text().prop_map(Label::String)];
    let tensor = tensor_type(inner.clone()).prop_map(Label::Type);
    prop_oneof![
        args(inner.clone()).prop_map(ExprKind::List),
        call.prop_map(ExprKind::Call),
        pipe,
        (instance.prop_map(Box::new), label).prop_map(|(expr, label)| ExprKind::As { expr, label }),
        (boxed(), tensor).prop_map(|(expr, label)| ExprKind::As { expr, label }),
        (boxed(), name()).prop_map(|(base, name)| ExprKind::Field { base, name }),
        (read.clone().prop_map(at), boxed())
            .prop_map(|(read, outside)| ExprKind::Fill { read: Box::new(read), outside }),
        read,
        (reduce_op(), binders(inner.clone()), boxed()).prop_map(|(op, binders, body)| ExprKind::Reduce {
            op,
            binders,
            body
        }),
        (select(vec![UnaryOp::Neg, UnaryOp::Not]), boxed())
            .prop_map(|(op, operand)| ExprKind::Unary { op, operand }),
        (binary_op(), boxed(), boxed()).prop_map(|(op, left, right)| ExprKind::Binary { op, left, right }),
        branches(inner.clone()).prop_map(ExprKind::If),
    ]
}

fn reduce_op() -> impl Strategy<Value = ReduceOp> {
    select(vec![ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min, ReduceOp::Mean])
}

fn binary_op() -> impl Strategy<Value = BinaryOp> {
    use BinaryOp::*;
    select(vec![Add, Sub, Mul, Div, Rem, Eq, Ne, Lt, Le, Gt, Ge, And, Or])
}

/// Arguments, of which only the last have names.
fn args(expr: BoxedStrategy<Expr>) -> impl Strategy<Value = Vec<Arg>> {
    let plain = prop::collection::vec(expr.clone(), 0..3);
    let named = prop::collection::vec((name(), expr), 0..2);
    (plain, named).prop_map(|(plain, named)| {
        let plain = plain.into_iter().map(|value| Arg { name: None, value });
        plain.chain(named.into_iter().map(|(name, value)| Arg { name: Some(name), value })).collect()
    })
}

fn binders(expr: BoxedStrategy<Expr>) -> impl Strategy<Value = Vec<Binder>> {
    let binder = (expr.clone(), prop::option::of(expr)).prop_map(|(index, bound)| Binder { index, bound });
    prop::collection::vec(binder, 1..3)
}

fn tensor_type(expr: BoxedStrategy<Expr>) -> impl Strategy<Value = TypeExpr> {
    (dtype(), prop::collection::vec(expr, 1..3)).prop_map(|(dtype, dims)| TypeExpr {
        kind: TypeKind::Tensor { dtype, dims: Some(dims) },
        span: nowhere(),
    })
}

fn dtype() -> impl Strategy<Value = DType> {
    select(vec![DType::F32, DType::I32, DType::U8, DType::Bool])
}

fn ty() -> impl Strategy<Value = TypeExpr> {
    let plain = prop_oneof![
        word().prop_map(TypeKind::Named),
        dtype().prop_map(|dtype| TypeKind::Tensor { dtype, dims: None }),
    ];
    prop_oneof![plain.prop_map(|kind| TypeExpr { kind, span: nowhere() }), tensor_type(leaf().boxed())]
}

fn branches(expr: BoxedStrategy<Expr>) -> impl Strategy<Value = IfExpr> {
    let block = || block(expr.clone());
    let last = prop::option::of(block().prop_map(Else::Block));
    (expr.clone(), block(), last, prop::option::of((expr.clone(), block()))).prop_map(
        |(condition, then, last, middle)| {
            let branch = |condition, then, otherwise| IfExpr {
                condition: Box::new(condition),
                then,
                otherwise,
                span: nowhere(),
            };
            match middle {
                None => branch(condition, then, last),
                Some((second, block)) => {
                    let second = branch(second, block, last);
                    branch(condition, then, Some(Else::If(Box::new(second))))
                }
            }
        },
    )
}

/// A block whose last statement is no `if`: that would be its tail.
fn block(expr: BoxedStrategy<Expr>) -> BoxedStrategy<Block> {
    let stmts = prop::collection::vec(stmt(expr.clone()), 0..3);
    (stmts, prop::option::of(expr))
        .prop_map(|(stmts, tail)| Block { stmts, tail: tail.map(Box::new), span: nowhere() })
        .boxed()
}

fn stmt(expr: BoxedStrategy<Expr>) -> impl Strategy<Value = Stmt> {
    let value = || expr.clone();
    let kind = select(vec![DeclareKind::Param, DeclareKind::State]);
    let assign = (name(), value()).prop_map(|(name, value)| StmtKind::Assign { name, value }).boxed();
    let inner = prop::collection::vec(assign.clone().prop_map(|kind| Stmt { kind, span: nowhere() }), 0..3);
    prop_oneof![
        (prop::collection::vec(name(), 1..3), value())
            .prop_map(|(targets, value)| StmtKind::Let { targets, value }),
        (kind, name(), ty(), value()).prop_map(|(kind, name, ty, init)| StmtKind::Declare {
            kind,
            name,
            ty,
            init
        }),
        assign,
        (name(), value()).prop_map(|(name, value)| StmtKind::Update { name, value }),
        (name(), value(), value(), inner).prop_map(|(var, lo, hi, body)| StmtKind::For { var, lo, hi, body }),
        assert(value()).prop_map(StmtKind::Assert),
    ]
    .prop_map(|kind| Stmt { kind, span: nowhere() })
}

fn assert(expr: impl Strategy<Value = Expr>) -> impl Strategy<Value = Assert> {
    (expr, text()).prop_map(|(condition, message)| Assert { condition, message })
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        text().prop_map(|path| Item::Use(Use { path, span: nowhere() })),
        function().prop_map(Item::Fn),
        op().prop_map(Item::Op),
        (name(), settings()).prop_map(|(name, settings)| Item::Data(Data {
            name,
            settings,
            span: nowhere()
        })),
        train().prop_map(Item::Train),
    ]
}

fn params() -> impl Strategy<Value = Vec<Param>> {
    let param = (name(), ty(), prop::option::of(expr()));
    prop::collection::vec(param.prop_map(|(name, ty, default)| Param { name, ty, default }), 0..4)
}

fn function() -> impl Strategy<Value = FnItem> {
    let head = select(vec![(FnKind::Model, false), (FnKind::Block, false), (FnKind::Block, true)]);
    (head, name(), params(), prop::option::of(ty()), block(expr().boxed())).prop_map(
        |((kind, inline), name, params, result, body)| FnItem {
            kind,
            inline,
            name,
            params,
            result,
            body,
            span: nowhere(),
        },
    )
}

fn op() -> impl Strategy<Value = OpItem> {
    let equation =
        (name(), prop::option::of(binders(expr().boxed())), expr()).prop_map(|(name, binders, body)| {
            OpStmtKind::Equation { name, binders: binders.unwrap_or_default(), body }
        });
    let equation = equation.boxed();
    let stmt = prop_oneof![
        3 => equation.clone(),
        1 => (name(), expr()).prop_map(|(name, value)| OpStmtKind::Let { name, value }),
        1 => assert(expr()).prop_map(OpStmtKind::Assert),
    ];
    let body = (prop::collection::vec(stmt, 0..3), equation).prop_map(|(mut kinds, last)| {
        kinds.push(last);
        kinds.into_iter().map(|kind| OpStmt { kind, span: nowhere() }).collect()
    });
    let results = prop::collection::vec((name(), ty()), 1..3);
    (name(), params(), results, body).prop_map(|(name, params, results, body)| OpItem {
        name,
        params,
        results,
        body,
        span: nowhere(),
    })
}

fn settings() -> impl Strategy<Value = Vec<Setting>> {
    let key = (name(), expr())
        .prop_map(|(name, value)| Setting { kind: SettingKind::Key { name, value }, span: nowhere() });
    let setting = key.prop_recursive(2, 8, 3, |inner| {
        (name(), prop::collection::vec(inner, 0..3)).prop_map(|(name, settings)| Setting {
            kind: SettingKind::Phase { name, settings },
            span: nowhere(),
        })
    });
    prop::collection::vec(setting, 0..4)
}

fn train() -> impl Strategy<Value = Train> {
    (name(), args(expr().boxed()), name(), prop::option::of(name()), settings()).prop_map(
        |(model, args, data, alias, settings)| Train { model, args, data, alias, settings, span: nowhere() },
    )
}

/// Printed and parsed again the tree is the same, and the text is stable under formatting.
fn check(tree: &File) {
    let text = crate::syntax::ast_text(tree);
    let (again, errors) = super::parse_text(&text);
    assert_eq!(errors, "", "\n{text}");
    assert_eq!(plain(&again), plain(tree), "\n{text}");
    let file = FileId::new(0);
    let formatted = crate::syntax::format(file, &text).expect("what parses is formatted");
    assert_eq!(crate::syntax::ast_text(&crate::syntax::parse(file, &formatted).0), text);
    assert_eq!(crate::syntax::format(file, &formatted).as_deref(), Ok(&*formatted));
}

proptest! {
    #![proptest_config(super::cases(600))]

    #[test]
    fn random_expressions(value in expr()) {
        let name = Name { text: "D".to_owned(), span: nowhere() };
        let kind = SettingKind::Key { name: name.clone(), value };
        let settings = vec![Setting { kind, span: nowhere() }];
        check(&File { items: vec![Item::Data(Data { name, settings, span: nowhere() })] });
    }

    #[test]
    fn random_files(items in prop::collection::vec(item(), 0..4)) {
        check(&File { items });
    }
}
