//! The input of a model: its shape is what the first parameter declares, the batch, and the sample where the type
//! leaves an axis open.

use super::elaborator::Elaborator;
use super::evaluate::{Argument, Context, at, evaluate};
use super::model::{ModelCall, Request};
use super::show::show_declared;
use super::value::{TensorValue, Value, show_type};
use super::{Outcome, arguments, types};
use crate::base::diagnostic::Diagnostic;
use crate::graph::Role;
use crate::syntax::ast::{Expr, ExprKind, FnItem, Param, TypeKind};
use crate::te::DType;

impl<'m> Elaborator<'m> {
    /// Adds the input of a model to the graph.
    pub(super) fn data_input(
        &mut self,
        item: &'m FnItem,
        model: &ModelCall,
        request: &Request<'_>,
    ) -> Outcome<TensorValue> {
        let Some((param, others)) = item.params.split_first() else {
            return Err(at(format!("the model `{}` has no input", item.name.text), item.name.span));
        };
        let TypeKind::Tensor { dtype: DType::F32, dims: Some(dims) } = &param.ty.kind else {
            let message = format!("the input `{}` is a tensor of f32", param.name.text);
            return Err(at(message, param.ty.span).help("such as `x: f32[N, 1, 28, 28]`"));
        };
        if let Some(second) = others.iter().find(|param| is_second_input(param)) {
            return Err(second_input(item, param, second));
        }
        let given = self.model_arguments(model)?;
        let names: Vec<&str> = others.iter().map(|param| param.name.text.as_str()).collect();
        let places = arguments::match_arguments(&model.name, &names, &given)?;
        self.push_root(item);
        let shape = self
            .bind_others(item, others, &given, &places)
            .and_then(|()| self.input_shape(param, dims, request));
        self.frames.pop();
        let shape = shape?;
        check_sample(item, &shape, request)?;
        if types::elements(&shape).is_none() {
            return Err(types::too_large(&shape, param.ty.span));
        }
        let id = self.graph.input(&param.name.text, DType::F32, shape, Role::Data);
        Ok(self.tensor(id))
    }

    /// The other parameters of the model, which the shape of its input may mention.
    fn bind_others(
        &mut self,
        item: &FnItem,
        params: &[Param],
        given: &[Argument],
        places: &[Option<usize>],
    ) -> Outcome<()> {
        for (param, place) in params.iter().zip(places) {
            let (value, span) = match (place.map(|place| &given[place]), &param.default) {
                (Some(argument), _) => (argument.value.clone(), argument.span),
                (None, Some(default)) => (evaluate(self, default)?, Some(default.span)),
                (None, None) => continue,
            };
            let span = span.unwrap_or(item.name.span);
            let value = types::accept(self, &item.name.text, param, value, span)?;
            self.bind(&param.name.text, value);
        }
        Ok(())
    }

    fn input_shape(&mut self, param: &Param, dims: &[Expr], request: &Request<'_>) -> Outcome<Vec<i64>> {
        let mut shape = Vec::new();
        for (axis, dim) in dims.iter().enumerate() {
            let given = match axis {
                0 => Some(request.batch),
                _ => request.sample.and_then(|sample| sample.get(axis - 1).copied()),
            };
            let extent = self.input_extent(param, dim, given)?;
            if axis == 0 && extent != request.batch {
                return Err(at("the first axis of a model's input is the batch", dim.span)
                    .help("write a name in its place, such as `N`"));
            }
            if extent < 1 {
                return Err(at(format!("axis {axis} would have {extent} elements"), dim.span));
            }
            shape.push(extent);
        }
        Ok(shape)
    }

    /// The extent that a type says; where it is a new name, the given one.
    fn input_extent(&mut self, param: &Param, dim: &Expr, given: Option<i64>) -> Outcome<i64> {
        let ExprKind::Name(name) = &dim.kind else { return types::evaluate_extent(self, dim) };
        if self.lookup(name).is_some() {
            return types::evaluate_extent(self, dim);
        }
        let Some(extent) = given else {
            return Err(at("the size of this axis is not known", dim.span)
                .help(format!("write a number in {}", show_declared(&param.ty))));
        };
        self.bind(name, Value::Int(extent));
        Ok(extent)
    }
}

/// Whether a parameter can only be given a tensor, which nothing but data could be.
pub(super) fn is_second_input(param: &Param) -> bool {
    types::has_axes(&param.ty) && param.default.is_none()
}

fn second_input(item: &FnItem, first: &Param, second: &Param) -> Diagnostic {
    let message = format!("the model `{}` has a second input, `{}`", item.name.text, second.name.text);
    at(message, second.name.span)
        .secondary(first.name.span, "the first one")
        .note(
            "a batch of data is one tensor; the other parameters of a model are options such as `k: int = 2`",
        )
        .help("join both on an axis of one input, and take its parts with an op")
}

fn check_sample(item: &FnItem, shape: &[i64], request: &Request<'_>) -> Outcome<()> {
    let Some(sample) = request.sample else { return Ok(()) };
    if shape.first() == Some(&request.batch) && shape[1..] == *sample {
        return Ok(());
    }
    let whole = [&[request.batch], sample].concat();
    let (has, needs) = (show_type(DType::F32, &whole), show_type(DType::F32, shape));
    Err(at(format!("the data is {has}, but `{}` takes {needs}", item.name.text), item.params[0].ty.span))
}
