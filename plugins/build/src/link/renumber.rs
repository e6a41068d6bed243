//! Writes a module's contents anew under the numbers that they have in the result.

use std::collections::BTreeSet;

use wasm_encoder::{
    ConstExpr, ElementSection, Elements, Instruction,
    reencode::{Error, Reencode, utils},
};
use wasmparser::{Element, ElementKind, Operator};

use super::part::{Constant, Kind, evaluate};
use crate::BuildError;

/// By old number the new one; [`GONE`] for what is not in the result.
pub(super) struct Renumber<'a> {
    pub(super) types: u32,
    pub(super) functions: Vec<u32>,
    pub(super) tables: Vec<u32>,
    pub(super) memories: Vec<u32>,
    pub(super) globals: Vec<u32>,
    pub(super) data: u32,
    pub(super) elements: u32,
    /// By old number, the values of globals that cannot change.
    pub(super) constants: &'a [Option<Constant>],
    /// The new numbers of functions that are referred to as values.
    pub(super) referred: BTreeSet<u32>,
}

/// What nothing refers to that is in the result.
pub(super) const GONE: u32 = u32::MAX;

impl Renumber<'_> {
    /// The new number of a function, a table, a memory or a global.
    pub(super) fn at(&self, kind: Kind, index: u32) -> Option<u32> {
        let numbers = match kind {
            Kind::Function => &self.functions,
            Kind::Table => &self.tables,
            Kind::Memory => &self.memories,
            Kind::Global => &self.globals,
        };
        numbers.get(index as usize).copied().filter(|number| *number != GONE)
    }

    fn number(&self, kind: Kind, index: u32) -> Result<u32, Error<BuildError>> {
        self.at(kind, index).ok_or(Error::UserError(BuildError::Unwired))
    }
}

impl Reencode for Renumber<'_> {
    type Error = BuildError;

    fn type_index(&mut self, ty: u32) -> Result<u32, Error<BuildError>> {
        Ok(self.types + ty)
    }

    fn function_index(&mut self, function: u32) -> Result<u32, Error<BuildError>> {
        self.number(Kind::Function, function)
    }

    fn table_index(&mut self, table: u32) -> Result<u32, Error<BuildError>> {
        self.number(Kind::Table, table)
    }

    fn memory_index(&mut self, memory: u32) -> Result<u32, Error<BuildError>> {
        self.number(Kind::Memory, memory)
    }

    fn global_index(&mut self, global: u32) -> Result<u32, Error<BuildError>> {
        self.number(Kind::Global, global)
    }

    fn data_index(&mut self, data: u32) -> Result<u32, Error<BuildError>> {
        Ok(self.data + data)
    }

    fn element_index(&mut self, element: u32) -> Result<u32, Error<BuildError>> {
        Ok(self.elements + element)
    }

    /// A constant expression may refer to imported globals only, and in the result these are not imported.
    fn const_expr(&mut self, expression: wasmparser::ConstExpr<'_>) -> Result<ConstExpr, Error<BuildError>> {
        match evaluate(&expression, self.constants) {
            Some(Constant::I32(value)) => Ok(ConstExpr::i32_const(value)),
            Some(Constant::I64(value)) => Ok(ConstExpr::i64_const(value)),
            None => utils::const_expr(self, expression),
        }
    }

    fn instruction<'a>(&mut self, operator: Operator<'a>) -> Result<Instruction<'a>, Error<BuildError>> {
        if let Operator::RefFunc { function_index } = operator {
            let referred = self.function_index(function_index)?;
            self.referred.insert(referred);
        }
        utils::instruction(self, operator)
    }

    fn parse_element(&mut self, elements: &mut ElementSection, element: Element<'_>) -> Result<(), Error<BuildError>> {
        if let ElementKind::Active { table_index, .. } = &element.kind
            && self.at(Kind::Table, table_index.unwrap_or(0)).is_none()
        {
            // Fills a table that nobody has any more. Something must stand here, or the others would shift.
            elements.passive(Elements::Functions([].as_slice().into()));
            return Ok(());
        }
        utils::parse_element(self, elements, element)
    }
}
