//! Modules by wasm-smith, with exactly what the profile admits.

use crate::rng::Rng;
use arbitrary::Unstructured;
use wasm_encoder::{
    CodeSection, DataSection, ElementSection, Instruction,
    reencode::{Error, Reencode, utils},
};
use wasmparser::{DataKind, ElementKind, Operator};

/// What modules may import.
const IMPORTS: &str = r#"(module
    (import "env" "note" (func (param i32)))
    (import "env" "small" (func (param i32) (result i32)))
    (import "env" "wide" (func (param i64 i32) (result i64)))
    (import "env" "float" (func (param f32 f64) (result f64)))
    (import "env" "vector" (func (param v128) (result v128)))
    (import "env" "pair" (func (result i32 f32)))
)"#;

/// The module of a seed: up to a dozen functions, host calls, a memory, a table and globals.
///
/// # Errors
/// What the generator says of a seed that makes no module, which is rare.
pub fn module(seed: u64) -> Result<Vec<u8>, String> {
    let mut rng = Rng::new(seed);
    let config = config(&mut rng)?;
    let len = 1_000 + rng.index(8_000);
    let bytes = rng.bytes(len);
    let module = wasm_smith::Module::new(config, &mut Unstructured::new(&bytes)).map_err(|error| error.to_string())?;
    admissible(&module.to_bytes()).map_err(|error| error.to_string())
}

fn config(rng: &mut Rng) -> Result<wasm_smith::Config, String> {
    let imports = wat::parse_str(IMPORTS).map_err(|error| error.to_string())?;
    let pages = 1 + rng.below(20);
    Ok(wasm_smith::Config {
        available_imports: Some(imports),
        max_imports: if rng.one_in(2) { 0 } else { 4 },
        export_everything: true,
        allow_start_export: rng.one_in(4),
        min_funcs: 2,
        max_funcs: 3 + rng.index(10),
        max_instructions: rng.pick(&[40, 150, 400]),
        max_types: 12,
        max_type_size: 2_000,
        max_globals: rng.index(8),
        min_memories: u32::from(!rng.one_in(5)),
        max_memories: 1,
        max_memory32_bytes: pages << 16,
        memory_max_size_required: rng.one_in(2),
        memory_offset_choices: wasm_smith::MemoryOffsetChoices(75, 24, 1),
        min_tables: u32::from(rng.one_in(2)),
        max_tables: 1,
        max_table_elements: 20,
        max_elements: 20,
        max_element_segments: 4,
        max_data_segments: 4,
        disallow_traps: rng.one_in(2),
        allow_floats: true,
        bulk_memory_enabled: true,
        extended_const_enabled: true,
        multi_value_enabled: true,
        saturating_float_to_int_enabled: true,
        sign_extension_ops_enabled: true,
        simd_enabled: true,
        custom_descriptors_enabled: false,
        custom_page_sizes_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        reference_types_enabled: false,
        relaxed_simd_enabled: false,
        shared_everything_threads_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        canonicalize_nans: false,
        allow_invalid_funcs: false,
        ..wasm_smith::Config::default()
    })
}

/// Bulk memory comes with passive segments and changes of tables, which the profile refuses. They become what it
/// has of bulk memory, with the same operands, and passive segments go.
fn admissible(wasm: &[u8]) -> Result<Vec<u8>, Error> {
    let mut pass = Admissible { has_memory: false, active: 0 };
    for payload in wasmparser::Parser::new(0).parse_all(wasm) {
        match payload? {
            wasmparser::Payload::MemorySection(section) => pass.has_memory = section.count() > 0,
            wasmparser::Payload::DataSection(section) => {
                for segment in section {
                    pass.active += u32::from(matches!(segment?.kind, DataKind::Active { .. }));
                }
            }
            _ => {}
        }
    }
    let mut module = wasm_encoder::Module::new();
    pass.parse_core_module(&mut module, wasmparser::Parser::new(0), wasm)?;
    Ok(module.finish())
}

struct Admissible {
    has_memory: bool,
    active: u32,
}

impl Reencode for Admissible {
    type Error = core::convert::Infallible;

    fn data_count(&mut self, _count: u32) -> Result<u32, Error> {
        Ok(self.active)
    }

    fn parse_data(&mut self, data: &mut DataSection, datum: wasmparser::Data<'_>) -> Result<(), Error> {
        match datum.kind {
            DataKind::Active { .. } => utils::parse_data(self, data, datum),
            DataKind::Passive => Ok(()),
        }
    }

    fn parse_element(&mut self, elements: &mut ElementSection, one: wasmparser::Element<'_>) -> Result<(), Error> {
        match one.kind {
            ElementKind::Active { .. } => utils::parse_element(self, elements, one),
            ElementKind::Passive | ElementKind::Declared => Ok(()),
        }
    }

    fn parse_function_body(&mut self, code: &mut CodeSection, body: wasmparser::FunctionBody<'_>) -> Result<(), Error> {
        let mut function = self.new_function_with_parsed_locals(&body)?;
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            match operators.read()? {
                Operator::DataDrop { .. } | Operator::ElemDrop { .. } => {}
                Operator::MemoryInit { .. } => {
                    function.instruction(&Instruction::MemoryFill(0));
                }
                Operator::TableInit { .. } | Operator::TableCopy { .. } if self.has_memory => {
                    function.instruction(&Instruction::MemoryCopy { src_mem: 0, dst_mem: 0 });
                }
                Operator::TableInit { .. } | Operator::TableCopy { .. } => {
                    for _ in 0..3 {
                        function.instruction(&Instruction::Drop);
                    }
                }
                operator => {
                    function.instruction(&self.instruction(operator)?);
                }
            }
        }
        code.function(&function);
        Ok(())
    }
}
