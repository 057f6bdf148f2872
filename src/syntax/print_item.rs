//! Items, statements and types as canonical text.

use crate::base::span::Span;

use super::ast::*;
use super::layout::{Doc, group, nest, text};
use super::print::{Body, Printer};

// Items.
impl Printer<'_> {
    pub(super) fn item(&mut self, item: &Item) -> Doc {
        match item {
            Item::Use(item) => Doc::Concat(vec![text("use "), self.text(&item.path), text(";")]),
            Item::Fn(item) => self.function(item),
            Item::Op(item) => self.op(item),
            Item::Data(item) => {
                let head = vec![text("data "), self.name(&item.name)];
                self.section(head, &item.settings, item.span)
            }
            Item::Train(item) => self.train(item),
        }
    }

    fn function(&mut self, item: &FnItem) -> Doc {
        let word = match (item.kind, item.inline) {
            (FnKind::Model, _) => "model ",
            (FnKind::Block, false) => "block ",
            (FnKind::Block, true) => "inline block ",
        };
        let mut head = vec![text(word), self.name(&item.name), self.params(&item.params)];
        if let Some(result) = &item.result {
            let ty = self.ty(result);
            head.push(behind_arrow(ty));
        }
        let layout = self.layout(item.span);
        let body = self.block(&item.body, layout);
        Doc::Concat(vec![group(head), text(" "), group(vec![body])])
    }

    /// How a body of statements is laid out that is part of a span.
    fn layout(&self, span: Span) -> Body {
        if self.on_one_line(span, false) { Body::Inline(" ") } else { Body::Lines }
    }

    fn params(&mut self, params: &[Param]) -> Doc {
        let docs = params.iter().map(|param| self.param(param)).collect();
        self.list("(", docs, Vec::new(), ")")
    }

    fn param(&mut self, param: &Param) -> Doc {
        let mut parts = self.typed(&param.name, &param.ty);
        if let Some(default) = &param.default {
            parts.extend([text(" = "), self.expr(default)]);
        }
        Doc::Concat(parts)
    }

    /// `name: type`
    fn typed(&mut self, name: &Name, ty: &TypeExpr) -> Vec<Doc> {
        vec![self.name(name), text(": "), self.ty(ty)]
    }

    fn op(&mut self, item: &OpItem) -> Doc {
        let head = Doc::Concat(vec![text("op "), self.name(&item.name), self.params(&item.params)]);
        let results = self.results(&item.results);
        let head = group(vec![head, behind_arrow(results)]);
        let layout = self.layout(item.span);
        let entries =
            self.entries(&item.body, layout, |stmt| stmt.span, |printer, stmt| printer.op_stmt(stmt));
        Doc::Concat(vec![head, text(" "), group(vec![self.braces(entries, layout, item.span)])])
    }

    fn results(&mut self, results: &[(Name, TypeExpr)]) -> Doc {
        let mut docs: Vec<Doc> = results.iter().map(|(name, ty)| Doc::Concat(self.typed(name, ty))).collect();
        if docs.len() == 1 { docs.remove(0) } else { self.list("(", docs, Vec::new(), ")") }
    }

    fn train(&mut self, item: &Train) -> Doc {
        let mut head = vec![text("train "), self.name(&item.model)];
        if !item.args.is_empty() {
            let args = self.args(&item.args, "=");
            head.push(self.list("(", args, Vec::new(), ")"));
        }
        head.extend([text(" on "), self.name(&item.data)]);
        if let Some(alias) = &item.alias {
            head.extend([text(" as "), self.name(alias)]);
        }
        self.section(head, &item.settings, item.span)
    }

    /// A head and its settings, which may share lines.
    fn section(&mut self, mut head: Vec<Doc>, settings: &[Setting], span: Span) -> Doc {
        let inline = self.on_one_line(span, false);
        let body = if inline { Body::Inline("  ") } else { Body::SharedLines };
        let entries =
            self.entries(settings, body, |setting| setting.span, |printer, setting| printer.setting(setting));
        head.extend([text(" "), group(vec![self.braces(entries, body, span)])]);
        Doc::Concat(head)
    }

    fn setting(&mut self, setting: &Setting) -> Doc {
        match &setting.kind {
            SettingKind::Key { name, value } => {
                let left = self.name(name);
                self.binding(vec![left], " = ", value)
            }
            SettingKind::Phase { name, settings } => {
                let head = vec![text("phase "), self.name(name)];
                self.section(head, settings, setting.span)
            }
        }
    }
}

/// `-> result` of a head, two levels deeper than it where it needs its own line.
fn behind_arrow(result: Doc) -> Doc {
    nest(vec![nest(vec![Doc::Line(" "), text("-> "), result])])
}

// Statements.
impl Printer<'_> {
    pub(super) fn stmt(&mut self, stmt: &Stmt) -> Doc {
        match &stmt.kind {
            StmtKind::Let { targets, value } => {
                let left = vec![text("let "), self.targets(targets)];
                self.binding(left, " = ", value)
            }
            StmtKind::Declare { kind, name, ty, init } => {
                let word = match kind {
                    DeclareKind::Param => "param ",
                    DeclareKind::State => "state ",
                };
                let left = vec![text(word), Doc::Concat(self.typed(name, ty))];
                self.binding(left, " = ", init)
            }
            StmtKind::Assign { name, value } => {
                let left = self.name(name);
                self.binding(vec![left], " = ", value)
            }
            StmtKind::Update { name, value } => {
                let left = self.name(name);
                self.binding(vec![left], " <- ", value)
            }
            StmtKind::For { var, lo, hi, body } => {
                let head = vec![
                    text("for "),
                    self.name(var),
                    text(" in "),
                    self.expr(lo),
                    text(".."),
                    self.expr(hi),
                    text(" "),
                ];
                self.loop_body(head, body, stmt.span)
            }
            StmtKind::Assert(assert) => self.assert(assert),
            StmtKind::If(branches) => self.branches(branches),
        }
    }

    fn loop_body(&mut self, mut head: Vec<Doc>, body: &[Stmt], span: Span) -> Doc {
        let layout = self.layout(span);
        let entries = self.entries(body, layout, |stmt| stmt.span, |printer, stmt| printer.stmt(stmt));
        head.push(group(vec![self.braces(entries, layout, span)]));
        Doc::Concat(head)
    }

    fn targets(&mut self, targets: &[Name]) -> Doc {
        match targets {
            [name] => self.name(name),
            _ => {
                let names = targets.iter().map(|name| self.name(name)).collect();
                self.list("(", names, Vec::new(), ")")
            }
        }
    }

    fn op_stmt(&mut self, stmt: &OpStmt) -> Doc {
        match &stmt.kind {
            OpStmtKind::Equation { name, binders, body } => {
                let mut left = vec![self.name(name)];
                if !binders.is_empty() {
                    left.push(self.binders(binders));
                }
                self.binding(left, " = ", body)
            }
            OpStmtKind::Let { name, value } => {
                let left = vec![text("let "), self.name(name)];
                self.binding(left, " = ", value)
            }
            OpStmtKind::Assert(assert) => self.assert(assert),
        }
    }

    /// `left = value;`
    fn binding(&mut self, mut left: Vec<Doc>, sign: &str, value: &Expr) -> Doc {
        left.extend([text(sign), self.expr(value), text(";")]);
        Doc::Concat(left)
    }

    fn assert(&mut self, assert: &Assert) -> Doc {
        let condition = self.expr(&assert.condition);
        let message = vec![text(","), Doc::Line(" "), self.text(&assert.message), text(";")];
        group(vec![text("assert "), condition, nest(message)])
    }
}

// Types.
impl Printer<'_> {
    pub(super) fn ty(&mut self, ty: &TypeExpr) -> Doc {
        match &ty.kind {
            TypeKind::Named(name) => self.leaf(ty.span, name),
            TypeKind::Tensor { dtype, dims } => {
                let dtype = self.leaf(ty.span, &dtype.to_string());
                let dims = dims.as_deref().map(|dims| self.tight_list(dims));
                Doc::Concat([Some(dtype), dims].into_iter().flatten().collect())
            }
        }
    }
}
