//! Which class of cost each operator is of (`samebit_spec::fuel`).

use crate::op::Code;
use samebit_spec::fuel::Class;

/// The class of an admitted operator. What is not listed is a vector instruction without a class of its own.
pub(crate) const fn class(code: Code) -> Class {
    use Code as O;
    match code {
        O::Unreachable
        | O::Nop
        | O::Block
        | O::Loop
        | O::Else
        | O::End
        | O::Drop
        | O::LocalGet
        | O::I32Const
        | O::I64Const
        | O::F32Const
        | O::F64Const
        | O::V128Const => Class::Free,
        O::LocalSet | O::LocalTee => Class::Assign,
        O::If | O::Br | O::BrIf | O::Return => Class::Branch,
        O::BrTable => Class::BranchTable,
        O::Call => Class::Call,
        O::CallIndirect => Class::CallIndirect,
        O::GlobalGet | O::GlobalSet => Class::Global,
        O::I32Load
        | O::I64Load
        | O::F32Load
        | O::F64Load
        | O::I32Load8S
        | O::I32Load8U
        | O::I32Load16S
        | O::I32Load16U
        | O::I64Load8S
        | O::I64Load8U
        | O::I64Load16S
        | O::I64Load16U
        | O::I64Load32S
        | O::I64Load32U => Class::Load,
        O::I32Store
        | O::I64Store
        | O::F32Store
        | O::F64Store
        | O::I32Store8
        | O::I32Store16
        | O::I64Store8
        | O::I64Store16
        | O::I64Store32 => Class::Store,
        O::MemorySize => Class::MemorySize,
        O::MemoryGrow => Class::MemoryGrow,
        O::MemoryCopy | O::MemoryFill => Class::MemoryBulk,
        O::Select
        | O::TypedSelect
        | O::I32ReinterpretF32
        | O::I64ReinterpretF64
        | O::F32ReinterpretI32
        | O::F64ReinterpretI64
        | O::I32Eqz
        | O::I32Eq
        | O::I32Ne
        | O::I32LtS
        | O::I32LtU
        | O::I32GtS
        | O::I32GtU
        | O::I32LeS
        | O::I32LeU
        | O::I32GeS
        | O::I32GeU
        | O::I64Eqz
        | O::I64Eq
        | O::I64Ne
        | O::I64LtS
        | O::I64LtU
        | O::I64GtS
        | O::I64GtU
        | O::I64LeS
        | O::I64LeU
        | O::I64GeS
        | O::I64GeU
        | O::I32Add
        | O::I32Sub
        | O::I32And
        | O::I32Or
        | O::I32Xor
        | O::I32Shl
        | O::I32ShrS
        | O::I32ShrU
        | O::I32Rotl
        | O::I32Rotr
        | O::I64Add
        | O::I64Sub
        | O::I64And
        | O::I64Or
        | O::I64Xor
        | O::I64Shl
        | O::I64ShrS
        | O::I64ShrU
        | O::I64Rotl
        | O::I64Rotr
        | O::I32WrapI64
        | O::I64ExtendI32S
        | O::I64ExtendI32U
        | O::I32Extend8S
        | O::I32Extend16S
        | O::I64Extend8S
        | O::I64Extend16S
        | O::I64Extend32S => Class::Integer,
        O::I32Mul | O::I64Mul | O::I32Clz | O::I32Ctz | O::I32Popcnt | O::I64Clz | O::I64Ctz | O::I64Popcnt => {
            Class::Multiply
        }
        O::I32DivS | O::I32DivU | O::I32RemS | O::I32RemU | O::I64DivS | O::I64DivU | O::I64RemS | O::I64RemU => {
            Class::Divide
        }
        O::F32Eq
        | O::F32Ne
        | O::F32Lt
        | O::F32Gt
        | O::F32Le
        | O::F32Ge
        | O::F64Eq
        | O::F64Ne
        | O::F64Lt
        | O::F64Gt
        | O::F64Le
        | O::F64Ge
        | O::F32Abs
        | O::F32Neg
        | O::F32Copysign
        | O::F32Add
        | O::F32Sub
        | O::F32Mul
        | O::F64Abs
        | O::F64Neg
        | O::F64Copysign
        | O::F64Add
        | O::F64Sub
        | O::F64Mul => Class::Float,
        O::F32Min | O::F32Max | O::F64Min | O::F64Max => Class::FloatMinMax,
        O::F32Div | O::F32Sqrt | O::F64Div | O::F64Sqrt => Class::FloatDivide,
        O::F32Ceil
        | O::F32Floor
        | O::F32Trunc
        | O::F32Nearest
        | O::F64Ceil
        | O::F64Floor
        | O::F64Trunc
        | O::F64Nearest => Class::FloatRound,
        O::I32TruncF32S
        | O::I32TruncF32U
        | O::I32TruncF64S
        | O::I32TruncF64U
        | O::I64TruncF32S
        | O::I64TruncF32U
        | O::I64TruncF64S
        | O::I64TruncF64U
        | O::I32TruncSatF32S
        | O::I32TruncSatF32U
        | O::I32TruncSatF64S
        | O::I32TruncSatF64U
        | O::I64TruncSatF32S
        | O::I64TruncSatF32U
        | O::I64TruncSatF64S
        | O::I64TruncSatF64U
        | O::F32ConvertI32S
        | O::F32ConvertI32U
        | O::F32ConvertI64S
        | O::F32ConvertI64U
        | O::F64ConvertI32S
        | O::F64ConvertI32U
        | O::F64ConvertI64S
        | O::F64ConvertI64U
        | O::F32DemoteF64
        | O::F64PromoteF32 => Class::Convert,
        O::V128Load
        | O::V128Load8x8S
        | O::V128Load8x8U
        | O::V128Load16x4S
        | O::V128Load16x4U
        | O::V128Load32x2S
        | O::V128Load32x2U
        | O::V128Load8Splat
        | O::V128Load16Splat
        | O::V128Load32Splat
        | O::V128Load64Splat
        | O::V128Load32Zero
        | O::V128Load64Zero
        | O::V128Load8Lane
        | O::V128Load16Lane
        | O::V128Load32Lane
        | O::V128Load64Lane
        | O::V128Store
        | O::V128Store8Lane
        | O::V128Store16Lane
        | O::V128Store32Lane
        | O::V128Store64Lane => Class::VectorMemory,
        O::I8x16Shl
        | O::I8x16ShrS
        | O::I8x16ShrU
        | O::I16x8Mul
        | O::I16x8Q15MulrSatS
        | O::I16x8ExtMulLowI8x16S
        | O::I16x8ExtMulHighI8x16S
        | O::I16x8ExtMulLowI8x16U
        | O::I16x8ExtMulHighI8x16U
        | O::I32x4DotI16x8S
        | O::I32x4ExtMulLowI16x8S
        | O::I32x4ExtMulHighI16x8S
        | O::I32x4ExtMulLowI16x8U
        | O::I32x4ExtMulHighI16x8U
        | O::I64x2ShrS
        | O::I64x2ExtMulLowI32x4S
        | O::I64x2ExtMulHighI32x4S
        | O::I64x2ExtMulLowI32x4U
        | O::I64x2ExtMulHighI32x4U
        | O::I8x16Popcnt
        | O::I8x16Swizzle => Class::VectorMultiply,
        O::I32x4Mul
        | O::I64x2Mul
        | O::F32x4Div
        | O::F64x2Div
        | O::F32x4Sqrt
        | O::F64x2Sqrt
        | O::F32x4Min
        | O::F32x4Max
        | O::F64x2Min
        | O::F64x2Max
        | O::F32x4Ceil
        | O::F32x4Floor
        | O::F32x4Trunc
        | O::F32x4Nearest
        | O::F64x2Ceil
        | O::F64x2Floor
        | O::F64x2Trunc
        | O::F64x2Nearest
        | O::I32x4TruncSatF32x4S
        | O::I32x4TruncSatF32x4U
        | O::I32x4TruncSatF64x2SZero
        | O::I32x4TruncSatF64x2UZero
        | O::F32x4ConvertI32x4S
        | O::F32x4ConvertI32x4U
        | O::F64x2ConvertLowI32x4S
        | O::F64x2ConvertLowI32x4U
        | O::F32x4DemoteF64x2Zero
        | O::F64x2PromoteLowF32x4 => Class::VectorDivide,
        _ => Class::Vector,
    }
}
