//! Another NaN in place of every NaN whose bits the specification leaves open.

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, GlobalSection, GlobalType, Instruction as I, Module, ValType,
    reencode::{Error, Reencode, utils},
};
use wasmparser::{Operator, Parser, Payload, TypeRef};

/// Puts a random NaN in place of every NaN that an operator makes, right after it.
///
/// # Errors
/// What the encoder says of a module that is not valid.
pub fn scramble(wasm: &[u8], seed: u64) -> Result<Vec<u8>, Error> {
    let mut pass = Scramble { seed, ..Scramble::default() };
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::TypeSection(section) => {
                for ty in section.into_iter_err_on_gc_types() {
                    pass.params.push(ty?.params().len());
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    match import?.ty {
                        TypeRef::Global(_) => pass.globals += 1,
                        TypeRef::Func(ty) => pass.functions.push(ty),
                        _ => {}
                    }
                }
                pass.next = pass.functions.len();
            }
            Payload::FunctionSection(section) => {
                for ty in section {
                    pass.functions.push(ty?);
                }
            }
            Payload::GlobalSection(section) => pass.globals += section.count(),
            _ => {}
        }
    }
    let mut module = Module::new();
    pass.parse_core_module(&mut module, Parser::new(0), wasm)?;
    Ok(module.finish())
}

#[derive(Default)]
struct Scramble {
    seed: u64,
    /// Parameters of each type.
    params: Vec<usize>,
    /// Type of each function.
    functions: Vec<u32>,
    /// The function whose body comes next.
    next: usize,
    /// Globals of the module; the one after them holds the state of the random numbers.
    globals: u32,
}

/// The shape of the NaN that an operator may make.
#[derive(Clone, Copy)]
enum Made {
    F32,
    F64,
    F32x4,
    F64x2,
}

fn made(operator: &Operator<'_>) -> Option<Made> {
    use Operator as O;
    Some(match operator {
        O::F32Add | O::F32Sub | O::F32Mul | O::F32Div | O::F32Min | O::F32Max | O::F32Sqrt => Made::F32,
        O::F32Ceil | O::F32Floor | O::F32Trunc | O::F32Nearest | O::F32DemoteF64 => Made::F32,
        O::F64Add | O::F64Sub | O::F64Mul | O::F64Div | O::F64Min | O::F64Max | O::F64Sqrt => Made::F64,
        O::F64Ceil | O::F64Floor | O::F64Trunc | O::F64Nearest | O::F64PromoteF32 => Made::F64,
        O::F32x4Add | O::F32x4Sub | O::F32x4Mul | O::F32x4Div | O::F32x4Min | O::F32x4Max => Made::F32x4,
        O::F32x4Sqrt | O::F32x4Ceil | O::F32x4Floor | O::F32x4Trunc | O::F32x4Nearest => Made::F32x4,
        O::F32x4DemoteF64x2Zero => Made::F32x4,
        O::F64x2Add | O::F64x2Sub | O::F64x2Mul | O::F64x2Div | O::F64x2Min | O::F64x2Max => Made::F64x2,
        O::F64x2Sqrt | O::F64x2Ceil | O::F64x2Floor | O::F64x2Trunc | O::F64x2Nearest => Made::F64x2,
        O::F64x2PromoteLowF32x4 => Made::F64x2,
        _ => return None,
    })
}

impl Scramble {
    /// Advances the random numbers and puts the last one on the stack.
    fn random(&self, code: &mut wasm_encoder::Function) {
        code.instruction(&I::GlobalGet(self.globals));
        code.instruction(&I::I64Const(0x5851_f42d_4c95_7f2d)).instruction(&I::I64Mul);
        code.instruction(&I::I64Const(0x1405_7b7e_f767_814f)).instruction(&I::I64Add);
        code.instruction(&I::GlobalSet(self.globals)).instruction(&I::GlobalGet(self.globals));
        // The low bits of such numbers repeat soon.
        code.instruction(&I::GlobalGet(self.globals)).instruction(&I::I64Const(29)).instruction(&I::I64ShrU);
        code.instruction(&I::I64Xor);
    }

    /// Replaces the NaN on top of the stack.
    fn replace(&self, code: &mut wasm_encoder::Function, made: Made, [f32, f64, v128]: [u32; 3]) {
        match made {
            Made::F32 => {
                code.instruction(&I::LocalTee(f32)).instruction(&I::LocalGet(f32)).instruction(&I::LocalGet(f32));
                code.instruction(&I::F32Ne).instruction(&I::If(BlockType::FunctionType(self.keeps(ValType::F32))));
                code.instruction(&I::Drop);
                self.random(code);
                code.instruction(&I::I32WrapI64).instruction(&I::I32Const(0x807f_ffff_u32.cast_signed()));
                code.instruction(&I::I32And).instruction(&I::I32Const(0x7f80_0001)).instruction(&I::I32Or);
                code.instruction(&I::F32ReinterpretI32).instruction(&I::End);
            }
            Made::F64 => {
                code.instruction(&I::LocalTee(f64)).instruction(&I::LocalGet(f64)).instruction(&I::LocalGet(f64));
                code.instruction(&I::F64Ne).instruction(&I::If(BlockType::FunctionType(self.keeps(ValType::F64))));
                code.instruction(&I::Drop);
                self.random(code);
                code.instruction(&I::I64Const(0x800f_ffff_ffff_ffff_u64.cast_signed())).instruction(&I::I64And);
                code.instruction(&I::I64Const(0x7ff0_0000_0000_0001)).instruction(&I::I64Or);
                code.instruction(&I::F64ReinterpretI64).instruction(&I::End);
            }
            Made::F32x4 | Made::F64x2 => {
                let (keep, nan, same) = match made {
                    Made::F32x4 => (0x807f_ffff_807f_ffff_u64, 0x7f80_0001_7f80_0001_i64, I::F32x4Eq),
                    _ => (0x800f_ffff_ffff_ffff, 0x7ff0_0000_0000_0001, I::F64x2Eq),
                };
                code.instruction(&I::LocalTee(v128));
                self.random(code);
                code.instruction(&I::I64x2Splat);
                self.random(code);
                code.instruction(&I::I64x2ReplaceLane(1));
                code.instruction(&I::I64Const(keep.cast_signed())).instruction(&I::I64x2Splat).instruction(&I::V128And);
                code.instruction(&I::I64Const(nan)).instruction(&I::I64x2Splat).instruction(&I::V128Or);
                code.instruction(&I::LocalGet(v128)).instruction(&I::LocalGet(v128)).instruction(&same);
                code.instruction(&I::V128Bitselect);
            }
        }
    }

    /// The type of a block that takes and gives one value: one of the two that the module gets at its end.
    fn keeps(&self, ty: ValType) -> u32 {
        let first = u32::try_from(self.params.len()).unwrap_or(u32::MAX);
        if ty == ValType::F32 { first } else { first + 1 }
    }
}

impl Reencode for Scramble {
    type Error = core::convert::Infallible;

    fn parse_type_section(
        &mut self,
        types: &mut wasm_encoder::TypeSection,
        section: wasmparser::TypeSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_type_section(self, types, section)?;
        for ty in [ValType::F32, ValType::F64] {
            types.ty().function([ty], [ty]);
        }
        Ok(())
    }

    fn parse_global_section(
        &mut self,
        globals: &mut GlobalSection,
        section: wasmparser::GlobalSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_global_section(self, globals, section)?;
        let ty = GlobalType { val_type: ValType::I64, mutable: true, shared: false };
        globals.global(ty, &ConstExpr::i64_const(self.seed.cast_signed()));
        Ok(())
    }

    /// Names and hints are of positions that change.
    fn parse_custom_section(&mut self, _: &mut Module, _: wasmparser::CustomSectionReader<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn parse_function_body(&mut self, code: &mut CodeSection, body: wasmparser::FunctionBody<'_>) -> Result<(), Error> {
        let ty = self.functions.get(self.next).copied().unwrap_or_default();
        self.next += 1;
        let mut first = u32::try_from(self.params[ty as usize]).unwrap_or(u32::MAX);
        let mut locals = Vec::new();
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            first += count;
            locals.push((count, self.val_type(ty)?));
        }
        locals.extend([(1, ValType::F32), (1, ValType::F64), (1, ValType::V128)]);
        let scratch = [first, first + 1, first + 2];
        let mut function = wasm_encoder::Function::new(locals);
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let operator = operators.read()?;
            let made = made(&operator);
            function.instruction(&self.instruction(operator)?);
            if let Some(made) = made {
                self.replace(&mut function, made, scratch);
            }
        }
        code.function(&function);
        Ok(())
    }
}
